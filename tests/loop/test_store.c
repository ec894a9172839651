/**
 * @file test_store.c  The store thread between a loop and a broker: numbers, history, reports, with a real broker
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <re.h>
#include "edge/clock.h"
#include "edge/log.h"
#include "edge/store/store.h"
#include "support/broker.h"
#include "support/document.h"
#include "sipedge/v1/sipedge.pb-c.h"

enum { WAIT_S = 20, RESULTS = 5000 };

/* The store and the link of the running test, and what the handlers saw. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct store *store;
	struct link *link;
	unsigned connected, plans, acked;
	uint64_t plan_revision;
} t = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void plan_h(struct plan *plan, void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&t.lock);
	t.plans++;
	t.plan_revision = plan->revision;
	(void)pthread_cond_broadcast(&t.changed);
	(void)pthread_mutex_unlock(&t.lock);
	mem_deref(plan);
}

static void received_h(const char *topic, const uint8_t *payload, size_t len, void *arg)
{
	(void)topic;
	(void)arg;
	store_put_document(t.store, payload, len);
}

static void outcome_h(struct link_message *msg, enum link_outcome outcome, int reason, void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&t.lock);
	t.acked += outcome == LINK_ACKED;
	(void)pthread_cond_broadcast(&t.changed);
	(void)pthread_mutex_unlock(&t.lock);
	store_outcome(t.store, msg, outcome, reason);
}

static void state_h(enum link_state state, void *arg)
{
	(void)arg;
	store_link_state(t.store, state);
	(void)pthread_mutex_lock(&t.lock);
	t.connected += state == LINK_CONNECTED;
	(void)pthread_cond_broadcast(&t.changed);
	(void)pthread_mutex_unlock(&t.lock);
}

static int status_h(struct mbuf *mb, int node_state, int64_t since_unix_us, void *arg)
{
	(void)since_unix_us;
	(void)arg;

	return mbuf_printf(mb, "state=%d", node_state);
}

static void wait_for(const unsigned *counter, unsigned n)
{
	struct timespec until;
	int err = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	(void)pthread_mutex_lock(&t.lock);
	while (*counter < n && !err)
		err = pthread_cond_timedwait(&t.changed, &t.lock, &until);
	(void)pthread_mutex_unlock(&t.lock);
	assert_int_equal(err, 0);
}

static void alloc_both(const char *url)
{
	static const struct store_config sc = {.prefix = "s/v1", .node = "node1", .boot_id = 7};
	static const struct store_handlers sh = {.plan = plan_h};
	static const char *const topics[] = {"s/v1/node1/config/desired", NULL};
	static const struct link_handlers lh = {
	        .received = received_h, .outcome = outcome_h, .state = state_h, .status = status_h};
	const char *const urls[] = {url, NULL};
	const struct link_config lc = {.urls = urls,
	        .client_id = "node1",
	        .status_topic = "s/v1/node1/status",
	        .topics = topics,
	        .payload_max = DOCUMENT_SIZE_MAX};

	t.connected = t.plans = t.acked = 0;
	assert_int_equal(store_alloc(&t.store, &sc, &sh), 0);
	assert_int_equal(link_alloc(&t.link, &lc, &lh), 0);
}

static void start_both(void)
{
	assert_int_equal(store_start(t.store, t.link), 0);
	assert_int_equal(link_start(t.link), 0);
}

static void open_both(const char *url)
{
	alloc_both(url);
	start_both();
}

static void close_both(unsigned timeout_ms)
{
	store_stop(t.store, timeout_ms);
	link_stop(t.link);
	t.link = mem_deref(t.link);
	t.store = mem_deref(t.store);
}

static void put(const char *variable, bool ok)
{
	struct mbuf *mb = mbuf_alloc(512);

	assert_non_null(mb);
	store_put_result(t.store, "pbx", variable, mb, ok, 60);
}

static void wait_for_spooled(uint32_t n)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	uint64_t until_us = clock_mono_us() + WAIT_S * 1000000ULL;
	struct store_figures f;

	for (;;) {
		store_figures_get(t.store, &f);
		if (f.spooled == n)
			return;
		assert_true(clock_mono_us() < until_us);
		(void)nanosleep(&pause, NULL);
	}
}

static int open_observer(const struct broker_process *broker, const char *topic)
{
	int fd = observer_open(broker, "observer");

	observer_subscribe(fd, topic);

	return fd;
}

static Sipedge__V1__CheckResult *next_result(int fd, struct observation *o)
{
	Sipedge__V1__CheckResult *r;

	assert_true(observer_next(fd, o, WAIT_S * 1000));
	r = sipedge__v1__check_result__unpack(NULL, o->len, o->payload);
	assert_non_null(r);

	return r;
}

static void expect_report(int fd, int status, uint64_t offered, uint64_t effective, const char *code)
{
	struct observation o;
	struct report_seen report;

	assert_true(observer_next(fd, &o, WAIT_S * 1000));
	assert_string_equal(o.topic, "s/v1/node1/config/reported");
	report_decode(&report, o.payload, o.len);
	assert_int_equal(report.status, status);
	assert_true(report.offered == offered);
	assert_true(report.effective == effective);
	assert_string_equal(report.code, code);
}

static void test_store_results_arrive_numbered_in_order(void **state)
{
	struct broker_process *broker = *state;
	int fd = open_observer(broker, "s/v1/node1/result/+/+");
	uint64_t seq = 0, start_us = clock_mono_us();
	struct store_figures f;

	open_both(broker->url);
	wait_for(&t.connected, 1);
	start_us = clock_mono_us();
	for (unsigned i = 0; i < RESULTS; i++) {
		char variable[16];

		(void)snprintf(variable, sizeof(variable), "v%u", i);
		put(variable, true);
	}
	wait_for(&t.acked, RESULTS);
	/* a figure for people: bound to nothing */
	log_notice("results acknowledged count=%d per_s=%.0f", RESULTS,
	        RESULTS * 1e6 / (double)(clock_mono_us() - start_us));
	for (unsigned i = 0; i < RESULTS; i++) {
		struct observation o;
		Sipedge__V1__CheckResult *r = next_result(fd, &o);
		char topic[64];

		(void)snprintf(topic, sizeof(topic), "s/v1/node1/result/pbx/v%u", i);
		assert_string_equal(o.topic, topic);
		assert_false(r->historical);
		assert_true(!i || r->seq == seq + 1);
		seq = r->seq;
		sipedge__v1__check_result__free_unpacked(r, NULL);
	}
	store_figures_get(t.store, &f);
	assert_int_equal(f.dropped, 0);
	assert_true(store_is_alive(t.store));
	close_both(1000);
	close(fd);
}

static void test_store_outage_loses_nothing(void **state)
{
	struct broker_process *broker = *state;
	int fd = open_observer(broker, "s/v1/node1/result/pbx/alive");
	struct store_figures f;
	Sipedge__V1__CheckResult *r;
	struct observation o;
	uint64_t seq;

	open_both(broker->url);
	wait_for(&t.connected, 1);
	put("alive", true);
	wait_for(&t.acked, 1);
	r = next_result(fd, &o);
	seq = r->seq;
	sipedge__v1__check_result__free_unpacked(r, NULL);
	close(fd);
	broker_kill(broker);
	put("alive", true);
	put("alive", false);
	put("alive", true);
	wait_for_spooled(3);

	/* An observer would not see all of them: what Paho had when the connection broke is at the broker before anybody can
	   subscribe. What was acknowledged was there. */
	broker_start(broker);
	wait_for(&t.acked, 4);
	wait_for_spooled(0);
	store_figures_get(t.store, &f);
	assert_int_equal(f.dropped, 0);
	fd = open_observer(broker, "s/v1/node1/result/pbx/alive"); /* what is retained: the present */
	r = next_result(fd, &o);
	assert_true(o.retained && r->seq == seq + 3);
	sipedge__v1__check_result__free_unpacked(r, NULL);
	close(fd);
	close_both(1000);
}

static void test_store_clears_a_variable_that_is_gone(void **state)
{
	struct broker_process *broker = *state;
	int fd = open_observer(broker, "s/v1/node1/result/pbx/gone");
	struct observation o;

	open_both(broker->url);
	wait_for(&t.connected, 1);
	put("gone", true);
	store_clear_variable(t.store, "pbx", "gone");
	close_both(5000); /* waits for the acknowledgement */
	assert_true(observer_next(fd, &o, WAIT_S * 1000));
	assert_true(o.len > 0);
	assert_true(observer_next(fd, &o, WAIT_S * 1000));
	assert_int_equal(o.len, 0);
	close(fd);
	fd = open_observer(broker, "s/v1/node1/result/pbx/gone");
	assert_false(observer_next(fd, &o, 200));
	close(fd);
}

static void test_store_clears_any_number_at_once(void **state)
{
	enum { VARIABLES = 20000 }; /* more than results may wait */
	char name[16];
	(void)state;

	alloc_both("mqtt://127.0.0.1:1");
	for (unsigned i = 0; i < VARIABLES; i++) {
		(void)snprintf(name, sizeof(name), "v%u", i);
		store_clear_variable(t.store, "pbx", name);
	}
	start_both();
	wait_for_spooled(VARIABLES);
	close_both(1);
}

static void test_store_reports_what_became_of_a_document(void **state)
{
	struct broker_process *broker = *state;
	int fd = open_observer(broker, "s/v1/node1/config/reported");
	int sender = observer_open(broker, "sender");
	uint8_t buf[1024];
	size_t len = document_encode(buf, 3, "x");
	struct store_figures f;

	observer_publish(sender, "s/v1/node1/config/desired", buf, len, true);
	open_both(broker->url);
	wait_for(&t.plans, 1);
	assert_true(t.plan_revision == 3);
	expect_report(fd, CONFIG_APPLYING, 3, 0, "");
	store_applied(t.store, 3, 0, NULL, NULL);
	expect_report(fd, CONFIG_APPLIED, 3, 3, "");
	store_figures_get(t.store, &f);
	assert_true(f.revision == 3 || f.revision == 0);

	len = document_encode(buf, 2, "x");
	observer_publish(sender, "s/v1/node1/config/desired", buf, len, false);
	expect_report(fd, CONFIG_REJECTED, 2, 3, "stale");
	observer_publish(sender, "s/v1/node1/config/desired", "\xff\xff\xff", 3, false);
	expect_report(fd, CONFIG_REJECTED, 0, 3, "malformed");
	len = document_encode(buf, 4, "y");
	observer_publish(sender, "s/v1/node1/config/desired", buf, len, false);
	wait_for(&t.plans, 2);
	expect_report(fd, CONFIG_APPLYING, 4, 3, "");
	store_applied(t.store, 4, EADDRINUSE, "accounts[pbx].local_port", "It is taken.");
	expect_report(fd, CONFIG_ROLLED_BACK, 4, 3, "resource");
	close_both(1000);
	close(fd);
	close(sender);
}

static void test_store_refuses_a_document_that_is_too_large(void **state)
{
	struct broker_process *broker = *state;
	int fd = open_observer(broker, "s/v1/node1/config/reported");
	int sender = observer_open(broker, "sender");
	size_t len = (size_t)DOCUMENT_SIZE_MAX + 1;
	uint8_t *buf = calloc(1, len);
	struct observation o;

	while (observer_next(fd, &o, 100)) /* the retained one of another test */
		;
	observer_publish(sender, "s/v1/node1/config/desired", NULL, 0, true);
	open_both(broker->url);
	wait_for(&t.connected, 1);
	observer_publish(sender, "s/v1/node1/config/desired", buf, len, false);
	expect_report(fd, CONFIG_REJECTED, 0, 0, "too_large");
	close_both(1000);
	free(buf);
	close(fd);
	close(sender);
}

static void test_store_reports_again_to_a_broker_that_forgot(void **state)
{
	struct broker_process *broker = *state;
	uint8_t buf[1024];
	size_t len = document_encode(buf, 3, "x");
	int fd;

	open_both(broker->url);
	wait_for(&t.connected, 1);
	store_put_document(t.store, buf, len);
	wait_for(&t.plans, 1);
	store_applied(t.store, 3, 0, NULL, NULL);
	broker_kill(broker);
	broker_start(broker);
	wait_for(&t.connected, 2);
	fd = open_observer(broker, "s/v1/node1/config/reported");
	expect_report(fd, CONFIG_APPLIED, 3, 3, "");
	close(fd);
	close_both(1000);
}

static void test_store_newest_document_waits_for_the_plan_before_it(void **state)
{
	struct broker_process *broker = *state;
	uint8_t buf[1024];
	(void)broker;

	open_both("mqtt://127.0.0.1:1"); /* no broker is needed */
	store_put_document(t.store, buf, document_encode(buf, 3, "x"));
	wait_for(&t.plans, 1);
	for (uint64_t revision = 4; revision <= 9; revision++)
		store_put_document(t.store, buf, document_encode(buf, revision, "x"));
	assert_int_equal(t.plans, 1);
	store_applied(t.store, 3, 0, NULL, NULL);
	wait_for(&t.plans, 2);
	assert_true(t.plan_revision == 9);
	close_both(0); /* a plan that nobody answers does not hold it up */
}

static void test_store_stop_without_broker_is_quick(void **state)
{
	uint64_t start_us;
	(void)state;

	open_both("mqtt://127.0.0.1:1");
	put("alive", true);
	store_clear_variable(t.store, "pbx", "alive");
	start_us = clock_mono_us();
	close_both(5000);
	assert_true(clock_mono_us() - start_us < 3000000);
}

static int setup(void **state)
{
	static struct broker_process broker;

	broker_init(&broker);
	broker_start(&broker);
	*state = &broker;

	return 0;
}

static int teardown(void **state)
{
	broker_close(*state);

	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_store_results_arrive_numbered_in_order),
	        cmocka_unit_test(test_store_outage_loses_nothing),
	        cmocka_unit_test(test_store_clears_a_variable_that_is_gone),
	        cmocka_unit_test(test_store_clears_any_number_at_once),
	        cmocka_unit_test(test_store_reports_what_became_of_a_document),
	        cmocka_unit_test(test_store_refuses_a_document_that_is_too_large),
	        cmocka_unit_test(test_store_reports_again_to_a_broker_that_forgot),
	        cmocka_unit_test(test_store_newest_document_waits_for_the_plan_before_it),
	        cmocka_unit_test(test_store_stop_without_broker_is_quick),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
