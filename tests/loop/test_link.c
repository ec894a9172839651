/**
 * @file test_link.c  The connection to a real broker: birth, will, farewell, outages, acknowledgements
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <re.h>
#include "edge/clock.h"
#include "edge/mqtt/link.h"
#include "support/broker.h"

enum { WAIT_S = 40, PAYLOAD_MAX = 100000 };

/* What the handlers saw. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned connected, disconnected, acked, refused, unknown, received;
	int reason;
	size_t received_len;
	char topic[128];
	uint8_t payload[16];
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void received_h(const char *topic, const uint8_t *payload, size_t len, void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&seen.lock);
	(void)snprintf(seen.topic, sizeof(seen.topic), "%s", topic);
	memcpy(seen.payload, payload, len < sizeof(seen.payload) ? len : sizeof(seen.payload));
	seen.received_len = len;
	seen.received++;
	(void)pthread_cond_broadcast(&seen.changed);
	(void)pthread_mutex_unlock(&seen.lock);
}

static void outcome_h(struct link_message *msg, enum link_outcome outcome, int reason, void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&seen.lock);
	seen.acked += outcome == LINK_ACKED;
	seen.refused += outcome == LINK_REFUSED;
	seen.unknown += outcome == LINK_UNKNOWN;
	seen.reason = reason;
	(void)pthread_cond_broadcast(&seen.changed);
	(void)pthread_mutex_unlock(&seen.lock);
	mem_deref(msg);
}

static void state_h(enum link_state state, void *arg)
{
	(void)arg;
	(void)pthread_mutex_lock(&seen.lock);
	seen.connected += state == LINK_CONNECTED;
	seen.disconnected += state == LINK_DISCONNECTED;
	(void)pthread_cond_broadcast(&seen.changed);
	(void)pthread_mutex_unlock(&seen.lock);
}

static int status_h(struct mbuf *mb, int node_state, int64_t since_unix_us, void *arg)
{
	(void)arg;
	assert_true(since_unix_us > 0);

	return mbuf_printf(mb, "state=%d", node_state);
}

static const struct link_handlers handlers = {
        .received = received_h, .outcome = outcome_h, .state = state_h, .status = status_h};

/* Waits until *counter has reached `n`. */
static void wait_for(const unsigned *counter, unsigned n)
{
	struct timespec until;
	int err = 0;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	(void)pthread_mutex_lock(&seen.lock);
	while (*counter < n && !err)
		err = pthread_cond_timedwait(&seen.changed, &seen.lock, &until);
	(void)pthread_mutex_unlock(&seen.lock);
	assert_int_equal(err, 0);
}

static struct link *open_link(const char *const *urls)
{
	static const char *const topics[] = {"t/config", NULL};
	struct link_config config = {.urls = urls,
	        .client_id = "node1",
	        .status_topic = "t/status",
	        .topics = topics,
	        .payload_max = PAYLOAD_MAX};
	struct link *link = NULL;

	seen.connected = seen.disconnected = seen.acked = seen.refused = seen.unknown = seen.received = 0;
	assert_int_equal(link_alloc(&link, &config, &handlers), 0);
	assert_int_equal(link_start(link), 0);

	return link;
}

static struct link *open_link_to(const char *url)
{
	const char *const urls[] = {url, NULL};

	return open_link(urls);
}

static void close_link(struct link *link)
{
	link_stop(link);
	mem_deref(link);
}

static struct link_message *new_message(const char *topic, size_t len)
{
	struct mbuf *mb = mbuf_alloc(len + 1);
	struct link_message *msg = NULL;

	assert_non_null(mb);
	if (len)
		assert_int_equal(mbuf_fill(mb, 'x', len), 0);
	assert_int_equal(link_message_alloc(&msg, topic, mb, "CheckResult"), 0);
	mem_deref(mb);

	return msg;
}

/* Until the link has taken it. */
static void publish(struct link *link, const char *topic, size_t len, bool retain)
{
	const struct timespec pause = {.tv_nsec = 100000};
	struct link_message *msg = new_message(topic, len);
	uint64_t until_us = clock_mono_us() + WAIT_S * 1000000ULL;

	msg->retain = retain;
	while (link_publish(link, msg)) {
		assert_true(clock_mono_us() < until_us);
		(void)nanosleep(&pause, NULL);
	}
}

static void expect_status(int fd, const char *payload, int timeout_ms)
{
	struct observation o;

	assert_true(observer_next(fd, &o, timeout_ms));
	assert_string_equal(o.topic, "t/status");
	assert_int_equal(o.len, strlen(payload));
	assert_memory_equal(o.payload, payload, o.len);
}

static void test_link_birth_and_farewell_are_retained(void **state)
{
	struct broker_process *broker = *state;
	struct link *link = open_link_to(broker->url);
	int fd;

	wait_for(&seen.connected, 1);
	assert_true(link_is_alive(link));
	fd = observer_open(broker, "observer");
	observer_subscribe(fd, "t/status");
	expect_status(fd, "state=1", 5000);
	link_publish_status(link);
	expect_status(fd, "state=1", 5000);
	close_link(link);
	expect_status(fd, "state=2", 5000);
	close(fd);

	fd = observer_open(broker, "observer");
	observer_subscribe(fd, "t/status");
	expect_status(fd, "state=2", 5000);
	close(fd);
}

static void test_link_is_one_per_process(void **state)
{
	static const char *const urls[] = {"mqtt://127.0.0.1:1", NULL};
	static const char *const none[] = {NULL};
	struct broker_process *broker = *state;
	struct link_config config = {.urls = urls, .client_id = "x", .status_topic = "s", .topics = none};
	struct link *link = open_link_to(broker->url), *second = NULL;

	assert_int_equal(link_alloc(&second, &config, &handlers), EBUSY);
	close_link(link);
	config.urls = none;
	assert_int_equal(link_alloc(&second, &config, &handlers), EINVAL);
	assert_null(second);
}

static void test_link_receives_retained_and_too_large_ones(void **state)
{
	struct broker_process *broker = *state;
	static uint8_t large[2 * PAYLOAD_MAX];
	int fd = observer_open(broker, "observer");
	struct link *link;

	observer_publish(fd, "t/config", "first", 5, true);
	link = open_link_to(broker->url);
	wait_for(&seen.received, 1);
	assert_int_equal(seen.received_len, 5);
	assert_memory_equal(seen.payload, "first", 5);
	assert_string_equal(seen.topic, "t/config");
	wait_for(&seen.connected, 1);

	observer_publish(fd, "t/config", large, sizeof(large), false);
	wait_for(&seen.received, 2);
	assert_int_equal(seen.received_len, sizeof(large));
	observer_publish(fd, "t/config", NULL, 0, true);
	wait_for(&seen.received, 3);
	assert_int_equal(seen.received_len, 0);
	close_link(link);
	close(fd);
}

static void test_link_acknowledges_in_order_beyond_the_window(void **state)
{
	struct broker_process *broker = *state;
	int fd = observer_open(broker, "observer");
	struct observation o;
	struct link *link;

	observer_subscribe(fd, "r/#");
	link = open_link_to(broker->url);
	wait_for(&seen.connected, 1);
	for (unsigned i = 0; i < 300; i++) {
		char topic[16];

		(void)snprintf(topic, sizeof(topic), "r/%u", i);
		publish(link, topic, 400, false);
	}
	wait_for(&seen.acked, 300);
	assert_int_equal(seen.unknown + seen.refused, 0);
	for (unsigned i = 0; i < 300; i++) {
		char topic[16];

		(void)snprintf(topic, sizeof(topic), "r/%u", i);
		assert_true(observer_next(fd, &o, 5000));
		assert_string_equal(o.topic, topic);
		assert_int_equal(o.len, 400);
	}
	close_link(link);
	close(fd);
}

static void test_link_not_connected_takes_nothing(void **state)
{
	struct broker_process *broker = *state;
	struct link *link = open_link_to("mqtt://127.0.0.1:1");
	struct link_message *msg = new_message("r/1", 1);
	(void)broker;

	assert_int_equal(link_publish(link, msg), ENOTCONN);
	mem_deref(msg);
	close_link(link);
}

static void test_link_refuses_a_topic_that_is_none(void **state)
{
	struct broker_process *broker = *state;
	struct link *link = open_link_to(broker->url);

	wait_for(&seen.connected, 1);
	publish(link, "r/\xff\xfe", 1, false);
	wait_for(&seen.refused, 1);
	publish(link, "r/1", 1, false);
	wait_for(&seen.acked, 1);
	close_link(link);
}

static void test_link_comes_back_after_the_broker_died(void **state)
{
	struct broker_process *broker = *state;
	struct link *link = open_link_to(broker->url);
	struct link_message *msg;
	int fd;

	wait_for(&seen.connected, 1);
	broker_kill(broker);
	wait_for(&seen.disconnected, 1);
	msg = new_message("r/1", 1);
	assert_int_equal(link_publish(link, msg), ENOTCONN);
	mem_deref(msg);

	broker_start(broker);
	wait_for(&seen.connected, 2);
	fd = observer_open(broker, "observer");
	observer_subscribe(fd, "t/status");
	expect_status(fd, "state=1", 5000);
	observer_publish(fd, "t/config", "again", 5, false);
	wait_for(&seen.received, 1);
	publish(link, "r/1", 1, false);
	wait_for(&seen.acked, 1);
	close_link(link);
	close(fd);
}

static void test_link_tries_the_next_broker(void **state)
{
	struct broker_process *broker = *state;
	const char *const urls[] = {"mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2", broker->url, NULL};
	struct link *link = open_link(urls);

	wait_for(&seen.connected, 1);
	close_link(link);
}

/* A broker of our own that answers as told: one connection after the other, until the socket is closed. */
struct fake {
	int listener;
	uint16_t port;
	char url[64];
	pthread_t thread;
	uint8_t level_refused; /* protocol level that gets `refusal`; 0: none */
	uint8_t refusal;       /* CONNACK code; 0: the connection is dropped */
	uint8_t puback_reason; /* of every PUBLISH but those of t/status; MQTT 5 */
	bool swallows_publish; /* no PUBACK: the connection is closed instead */
	unsigned drops;        /* so many connections are closed without an answer */
	unsigned levels[8], n; /* of the connections so far */
	char will[64];         /* of the newest connection */
};

static bool fake_read(int fd, uint8_t *buf, size_t len)
{
	return !len || recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static bool fake_connect(struct fake *fake, int fd, const uint8_t *body, size_t len)
{
	uint8_t level = body[6];
	uint8_t connack[] = {0x20, 3, 0, 0, 0};
	const uint8_t *will = memmem(body, len, "state=", 6);

	if (fake->n < 8)
		fake->levels[fake->n++] = level;
	(void)snprintf(fake->will, sizeof(fake->will), "%.7s", will ? (const char *)will : "");
	if ((level == fake->level_refused && !fake->refusal) || fake->n <= fake->drops)
		return false;
	if (level == fake->level_refused)
		connack[3] = fake->refusal;
	if (level < 5)
		connack[1] = 2;
	(void)send(fd, connack, 2U + connack[1], MSG_NOSIGNAL);

	return level != fake->level_refused;
}

static bool fake_answer(struct fake *fake, int fd, uint8_t type, const uint8_t *body, size_t len, bool is_v5)
{
	if ((type & 0xf0) == 0x80) { /* SUBSCRIBE */
		uint8_t suback[] = {0x90, 4, body[0], body[1], 0, 1};

		if (!is_v5) {
			suback[1] = 3;
			suback[4] = 1;
		}
		(void)send(fd, suback, 2U + suback[1], MSG_NOSIGNAL);
	} else if ((type & 0xf0) == 0x30) { /* PUBLISH, QoS 1 */
		size_t topic_len = (size_t)body[0] << 8 | body[1];
		bool is_status = len > topic_len + 4 && !memcmp(body + 2, "t/status", 8);
		uint8_t puback[] = {0x40, 2, body[2 + topic_len], body[3 + topic_len], 0, 0};

		if (!is_status && fake->swallows_publish)
			return false;
		if (!is_status && fake->puback_reason) {
			puback[1] = 4;
			puback[4] = fake->puback_reason;
		}
		(void)send(fd, puback, 2U + puback[1], MSG_NOSIGNAL);
	} else if (type == 0xe0) {
		return false;
	}

	return true;
}

static void fake_serve(struct fake *fake, int fd)
{
	uint8_t body[2048], head, byte;
	bool is_v5 = false, goes_on = true;

	while (goes_on && fake_read(fd, &head, 1)) {
		unsigned shift = 0;
		size_t len = 0;

		do {
			if (!fake_read(fd, &byte, 1))
				return;
			len |= (size_t)(byte & 0x7f) << shift;
			shift += 7;
		} while (byte & 0x80);
		if (len > sizeof(body) || !fake_read(fd, body, len))
			return;
		if (head == 0x10) {
			is_v5 = body[6] == 5;
			goes_on = fake_connect(fake, fd, body, len);
		} else {
			goes_on = fake_answer(fake, fd, head, body, len, is_v5);
		}
	}
}

static void *fake_run(void *arg)
{
	struct fake *fake = arg;
	int fd;

	while ((fd = accept(fake->listener, NULL, NULL)) >= 0) {
		fake_serve(fake, fd);
		(void)close(fd);
	}

	return NULL;
}

static void fake_start(struct fake *fake)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	socklen_t len = sizeof(sin);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fake->listener >= 0);
	assert_int_equal(bind(fake->listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fake->listener, 8), 0);
	assert_int_equal(getsockname(fake->listener, (struct sockaddr *)&sin, &len), 0);
	(void)snprintf(fake->url, sizeof(fake->url), "mqtt://127.0.0.1:%u", ntohs(sin.sin_port));
	assert_int_equal(pthread_create(&fake->thread, NULL, fake_run, fake), 0);
}

static void fake_stop(struct fake *fake)
{
	(void)shutdown(fake->listener, SHUT_RDWR);
	(void)pthread_join(fake->thread, NULL);
	(void)close(fake->listener);
}

static void test_link_will_says_lost(void **state)
{
	struct fake fake = {0};
	struct link *link;
	(void)state;

	fake_start(&fake);
	link = open_link_to(fake.url);
	wait_for(&seen.connected, 1);
	close_link(link);
	fake_stop(&fake);
	assert_string_equal(fake.will, "state=3");
	assert_int_equal(fake.n, 1);
	assert_int_equal(fake.levels[0], 5);
}

static void test_link_falls_back_when_version_5_is_refused(void **state)
{
	struct fake fake = {.level_refused = 5, .refusal = 0x84};
	struct link *link;
	(void)state;

	fake_start(&fake);
	link = open_link_to(fake.url);
	wait_for(&seen.connected, 1);
	publish(link, "r/1", 10, true);
	wait_for(&seen.acked, 1);
	close_link(link);
	fake_stop(&fake);
	assert_int_equal(fake.n, 2);
	assert_int_equal(fake.levels[1], 4);
	assert_string_equal(fake.will, "state=3");
}

static void test_link_falls_back_after_three_drops(void **state)
{
	struct fake fake = {.level_refused = 5};
	struct link *link;
	(void)state;

	fake_start(&fake);
	link = open_link_to(fake.url);
	wait_for(&seen.connected, 1);
	close_link(link);
	fake_stop(&fake);
	assert_int_equal(fake.n, 4);
	assert_int_equal(fake.levels[2], 5);
	assert_int_equal(fake.levels[3], 4);
}

/* A proxy whose broker is away says nothing about versions. */
static void test_link_goes_back_to_version_5_after_six_drops(void **state)
{
	struct fake fake = {.drops = 6};
	struct link *link;
	(void)state;

	fake_start(&fake);
	link = open_link_to(fake.url);
	wait_for(&seen.connected, 1);
	close_link(link);
	fake_stop(&fake);
	assert_int_equal(fake.n, 7);
	assert_int_equal(fake.levels[3], 4);
	assert_int_equal(fake.levels[6], 5);
}

static void test_link_reason_not_authorized_is_final(void **state)
{
	struct fake fake = {.puback_reason = 0x87};
	struct link *link;
	(void)state;

	fake_start(&fake);
	link = open_link_to(fake.url);
	wait_for(&seen.connected, 1);
	publish(link, "r/1", 10, false);
	wait_for(&seen.refused, 1);
	assert_int_equal(seen.reason, 0x87);
	close_link(link);
	fake_stop(&fake);
}

static void test_link_reason_quota_is_tried_again_later(void **state)
{
	struct fake fake = {.puback_reason = 0x97};
	struct link *link;
	uint64_t start_us;
	(void)state;

	fake_start(&fake);
	link = open_link_to(fake.url);
	wait_for(&seen.connected, 1);
	publish(link, "r/1", 10, false);
	wait_for(&seen.unknown, 1);
	start_us = clock_mono_us();
	publish(link, "r/1", 10, false);
	wait_for(&seen.unknown, 2);
	assert_true(clock_mono_us() - start_us > 200000);
	assert_int_equal(seen.refused + seen.disconnected, 0);
	close_link(link);
	fake_stop(&fake);
}

static void test_link_lost_acknowledgement_is_unknown(void **state)
{
	struct fake fake = {.swallows_publish = true};
	struct link *link;
	(void)state;

	fake_start(&fake);
	link = open_link_to(fake.url);
	wait_for(&seen.connected, 1);
	publish(link, "r/1", 10, false);
	wait_for(&seen.unknown, 1);
	wait_for(&seen.connected, 2);
	assert_int_equal(seen.acked + seen.refused, 0);
	close_link(link);
	fake_stop(&fake);
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
	        cmocka_unit_test(test_link_birth_and_farewell_are_retained),
	        cmocka_unit_test(test_link_is_one_per_process),
	        cmocka_unit_test(test_link_receives_retained_and_too_large_ones),
	        cmocka_unit_test(test_link_acknowledges_in_order_beyond_the_window),
	        cmocka_unit_test(test_link_not_connected_takes_nothing),
	        cmocka_unit_test(test_link_refuses_a_topic_that_is_none),
	        cmocka_unit_test(test_link_comes_back_after_the_broker_died),
	        cmocka_unit_test(test_link_tries_the_next_broker),
	        cmocka_unit_test(test_link_will_says_lost),
	        cmocka_unit_test(test_link_falls_back_when_version_5_is_refused),
	        cmocka_unit_test(test_link_falls_back_after_three_drops),
	        cmocka_unit_test(test_link_goes_back_to_version_5_after_six_drops),
	        cmocka_unit_test(test_link_reason_not_authorized_is_final),
	        cmocka_unit_test(test_link_reason_quota_is_tried_again_later),
	        cmocka_unit_test(test_link_lost_acknowledgement_is_unknown),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
