/**
 * @file store.c  What waits for the broker, and the configuration in force: the thread
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <re.h>
#include "edge/clock.h"
#include "edge/inbox.h"
#include "edge/log.h"
#include "edge/store/desired.h"
#include "edge/store/spool.h"
#include "edge/store/store.h"

enum {
	RESULTS_MAX = 16384, /* put and not yet taken by the thread; clearing is not counted */
	RETURNED_MAX = 1024, /* the link holds fewer than 150 */
	REPORTS_MAX = 8,
	BATCH_MAX = 256, /* results numbered before something else gets its turn */
	ROUND_MS = 1000,
	ALIVE_MS = 30000, /* a document of 16 MiB is work for a while */
};

static const uint64_t REPORT_BIT = 1ULL << 63; /* in a message's id: not of the spool */

struct item {
	char *topic;
	struct mbuf *mb; /* NULL: the variable is gone */
	bool ok;
	uint32_t interval_s;
};

/* What any thread leaves for ours without memory that could be missing. Under `lock`. */
struct notes {
	uint8_t *document; /* NULL while document_len: it was too large to copy */
	size_t document_len;
	bool is_applied;
	uint64_t applied_revision;
	int applied_err;
	char applied_path[256], applied_message[256];
};

struct store {
	struct link *link;
	struct store_handlers handlers;
	char *node;
	char *result_prefix; /* "<prefix>/<node>/result/" */
	char *report_topic;
	struct inbox *results;  /* struct item */
	struct inbox *returned; /* struct link_message, with its outcome */
	int wake;
	pthread_mutex_t lock;
	struct notes notes;
	pthread_t thread;
	bool is_started;
	atomic_bool wants_stop, is_connected, wants_secrets;
	atomic_uint connects;         /* how often the link came up */
	atomic_uint_fast64_t stop_us; /* end of patience */
	atomic_uint_fast64_t round_us;

	/* the figures */
	atomic_uint spooled;
	atomic_uint_fast64_t refused; /* results lost without the spool: no memory, no room, or refused by the broker */
	atomic_uint_fast64_t dropped, unreadable, revision; /* as the thread last saw them */

	/* the store thread's */
	struct spool *spool;
	struct desired *desired;
	struct mbuf *reports[REPORTS_MAX]; /* to publish, in order */
	size_t nreports;
	unsigned reports_handed;
	unsigned connects_seen;
	bool is_stalled; /* the link took no more: until something comes back */
};

static void item_destructor(void *arg)
{
	struct item *item = arg;

	mem_deref(item->topic);
	mem_deref(item->mb);
}

static void inbox_item_free(void *item)
{
	mem_deref(item);
}

static void wake_up(struct store *store)
{
	uint64_t one = 1;

	if (write(store->wake, &one, sizeof(one)) < 0)
		one = 0; /* EAGAIN: awake already */
}

static void drop_report(struct store *store)
{
	mem_deref(store->reports[0]);
	store->nreports--;
	memmove(store->reports, store->reports + 1, store->nreports * sizeof(*store->reports));
}

/* The newest word on the configuration goes out; what does not fit any more is old. */
static void report_h(struct desired *desired, void *arg)
{
	struct store *store = arg;
	struct mbuf *mb = mbuf_alloc(1024);

	if (!mb || desired_encode_report(desired, mb)) {
		mem_deref(mb);
		return;
	}
	if (store->nreports == REPORTS_MAX)
		drop_report(store);
	store->reports[store->nreports++] = mb;
}

static void plan_h(struct plan *plan, void *arg)
{
	struct store *store = arg;

	store->handlers.plan(plan, store->handlers.arg);
}

/* Gives the first report to the link. */
static int publish_report(struct store *store)
{
	struct link_message *msg = NULL;
	struct mbuf *mb = store->reports[0];
	int err = link_message_alloc(&msg, store->report_topic, mb, "ConfigReport");

	if (err)
		return err;
	msg->retain = true;
	msg->id = REPORT_BIT;
	/* ours goes before the message does: it is another thread's then */
	drop_report(store);
	err = link_publish(store->link, msg);
	if (!err) {
		store->reports_handed++;
		return 0;
	}
	memmove(store->reports + 1, store->reports, store->nreports * sizeof(*store->reports));
	store->reports[0] = mem_ref(msg->payload);
	store->nreports++;
	mem_deref(msg);

	return err;
}

static int publish_result(struct store *store)
{
	struct link_message *msg;
	int err = spool_take(store->spool, &msg);

	if (err)
		return err;
	err = link_publish(store->link, msg);
	if (err)
		spool_give_back(store->spool, msg);

	return err;
}

static void hand_over(struct store *store)
{
	int err = 0;

	if (!atomic_load(&store->is_connected))
		return;
	while (!err && !store->is_stalled && store->nreports)
		err = publish_report(store);
	while (!err && !store->is_stalled)
		err = publish_result(store);
	if (err == ENOBUFS || err == ENOTCONN)
		store->is_stalled = true;
}

static void take_back_report(struct store *store, struct link_message *msg)
{
	store->reports_handed--;
	/* a newer one stands in line already, or this one is the newest: said again */
	if (msg->outcome == LINK_UNKNOWN && atomic_load(&store->is_connected) && !store->nreports)
		report_h(store->desired, store);
	mem_deref(msg);
}

static void take_back(struct store *store)
{
	struct link_message *msg;

	while ((msg = inbox_take(store->returned))) {
		store->is_stalled = false;
		if (msg->id & REPORT_BIT) {
			take_back_report(store, msg);
			continue;
		}
		switch ((enum link_outcome)msg->outcome) {
		case LINK_ACKED:
			spool_remove(store->spool, msg);
			break;
		case LINK_REFUSED:
			if (msg->payload->end) /* clearing is no result */
				atomic_fetch_add(&store->refused, 1);
			spool_remove(store->spool, msg);
			break;
		case LINK_UNKNOWN:
			spool_give_back(store->spool, msg);
			break;
		}
	}
}

static void see_connection(struct store *store)
{
	unsigned connects = atomic_load(&store->connects);

	if (connects == store->connects_seen)
		return;
	store->connects_seen = connects;
	store->is_stalled = false;
	/* only the newest: nobody has heard of the others, and the broker may have forgotten what it had */
	while (store->nreports)
		drop_report(store);
	report_h(store->desired, store);
}

static void number_results(struct store *store)
{
	struct item *item;

	for (int i = 0; i < BATCH_MAX && (item = inbox_take(store->results)); i++) {
		struct mbuf *mb = item->mb;

		item->mb = NULL; /* the spool takes it */
		if (mb)
			(void)spool_put(store->spool, item->topic, mb, item->ok, item->interval_s); /* counts it */
		else if (spool_clear(store->spool, item->topic))
			log_warn("retained result not cleared topic=%s reason=\"no memory\"", item->topic);
		mem_deref(item);
	}
}

static void show_figures(struct store *store)
{
	atomic_store(&store->spooled, spool_count(store->spool));
	atomic_store(&store->dropped, spool_dropped(store->spool));
	atomic_store(&store->unreadable, desired_unreadable(store->desired));
	atomic_store(&store->revision, desired_revision(store->desired));
}

static void take_applied(struct store *store)
{
	struct notes n;

	(void)pthread_mutex_lock(&store->lock);
	n = store->notes;
	store->notes.is_applied = false;
	(void)pthread_mutex_unlock(&store->lock);
	if (!n.is_applied)
		return;
	desired_applied(
	        store->desired, n.applied_revision, n.applied_err, n.applied_path, n.applied_message, clock_unix_us());
	show_figures(store);
	link_publish_status(store->link); /* tells the revision: not before it is the one in force */
}

static void take_document(struct store *store)
{
	uint8_t *document;
	size_t len;

	if (desired_is_busy(store->desired))
		return;
	(void)pthread_mutex_lock(&store->lock);
	document = store->notes.document;
	len = store->notes.document_len;
	store->notes.document = NULL;
	store->notes.document_len = 0;
	(void)pthread_mutex_unlock(&store->lock);
	if (len)
		desired_offer(store->desired, document, len);
	mem_deref(document);
}

static void take_secrets(struct store *store)
{
	if (!desired_is_busy(store->desired) && atomic_exchange(&store->wants_secrets, false))
		desired_reread(store->desired);
}

static bool has_notes(struct store *store)
{
	bool has;

	(void)pthread_mutex_lock(&store->lock);
	has = store->notes.is_applied;
	(void)pthread_mutex_unlock(&store->lock);

	return has;
}

static bool is_done(struct store *store)
{
	struct pollfd pfd = {.fd = inbox_fd(store->results), .events = POLLIN};
	bool all_gone = !spool_count(store->spool) && !store->nreports && !store->reports_handed;

	if (!atomic_load(&store->wants_stop))
		return false;
	if (clock_mono_us() >= atomic_load(&store->stop_us))
		return true;
	if (poll(&pfd, 1, 0) || has_notes(store))
		return false;

	return all_gone || !atomic_load(&store->is_connected);
}

static void go_round(struct store *store)
{
	struct pollfd fds[] = {{.fd = store->wake, .events = POLLIN},
	        {.fd = inbox_fd(store->returned), .events = POLLIN},
	        {.fd = inbox_fd(store->results), .events = POLLIN}};
	uint64_t drained;

	(void)poll(fds, 3, atomic_load(&store->wants_stop) ? 10 : ROUND_MS);
	atomic_store(&store->round_us, clock_mono_us());
	if ((fds[0].revents & POLLIN) && read(store->wake, &drained, sizeof(drained)) < 0)
		drained = 0; /* EAGAIN: nothing to clear */

	take_back(store);
	see_connection(store);
	take_applied(store);
	if (!atomic_load(&store->wants_stop)) {
		take_document(store);
		take_secrets(store);
	}
	number_results(store);
	hand_over(store);
	show_figures(store);
}

static void *run(void *arg)
{
	struct store *store = arg;

	while (!is_done(store))
		go_round(store);

	return NULL;
}

static void destructor(void *arg)
{
	struct store *store = arg;

	mem_deref(store->results);
	mem_deref(store->returned);
	while (store->nreports)
		drop_report(store);
	mem_deref(store->spool);
	mem_deref(store->desired);
	mem_deref(store->notes.document);
	mem_deref(store->node);
	mem_deref(store->result_prefix);
	mem_deref(store->report_topic);
	if (store->wake >= 0)
		(void)close(store->wake);
	(void)pthread_mutex_destroy(&store->lock);
}

static int copy_names(struct store *store, const struct store_config *config)
{
	int err = str_dup(&store->node, config->node);

	if (!err)
		err = re_sdprintf(&store->result_prefix, "%s/%s/result/", config->prefix, config->node);
	if (!err)
		err = re_sdprintf(&store->report_topic, "%s/%s/config/reported", config->prefix, config->node);

	return err;
}

static int make_parts(struct store *store, const struct store_config *config)
{
	const struct desired_handlers handlers = {.report = report_h, .plan = plan_h, .arg = store};
	struct config_policy policy = config->policy;
	int err;

	policy.node = store->node;
	err = desired_alloc(&store->desired, &policy, &handlers);
	if (!err)
		err = spool_alloc(&store->spool, SPOOL_BYTES_MAX, spool_first_seq(clock_unix_us(), config->boot_id));
	if (!err)
		err = inbox_alloc(&store->results, RESULTS_MAX, inbox_item_free);
	if (!err)
		err = inbox_alloc(&store->returned, RETURNED_MAX, inbox_item_free);

	return err;
}

int store_alloc(struct store **storep, const struct store_config *config, const struct store_handlers *handlers)
{
	struct store *store = mem_zalloc(sizeof(*store), destructor);
	int err;

	if (!store)
		return ENOMEM;
	(void)pthread_mutex_init(&store->lock, NULL);
	store->handlers = *handlers;
	store->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	err = store->wake < 0 ? errno : 0;
	if (!err)
		err = copy_names(store, config);
	if (!err)
		err = make_parts(store, config);
	if (err)
		mem_deref(store);
	else
		*storep = store;

	return err;
}

int store_start(struct store *store, struct link *link)
{
	sigset_t all, before;
	int err;

	store->link = link;
	atomic_store(&store->round_us, clock_mono_us());
	(void)sigfillset(&all); /* signals are the main thread's */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&store->thread, NULL, run, store);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	store->is_started = !err;

	return err;
}

/* takes mb */
static int put_item(
        struct store *store, const char *account, const char *variable, struct mbuf *mb, bool ok, uint32_t interval_s)
{
	struct item *item = mem_zalloc(sizeof(*item), item_destructor);
	int err = ENOMEM;

	if (!item) {
		mem_deref(mb);
		return ENOMEM;
	}
	item->mb = mb;
	item->ok = ok;
	item->interval_s = interval_s;
	if (!re_sdprintf(&item->topic, "%s%s/%s", store->result_prefix, account, variable))
		/* every variable is cleared once at most, but all of them at once; nobody would do it later */
		err = mb ? inbox_push(store->results, item) : inbox_push_anyway(store->results, item);
	if (err)
		mem_deref(item);

	return err;
}

void store_put_result(
        struct store *store, const char *account, const char *variable, struct mbuf *mb, bool ok, uint32_t interval_s)
{
	if (put_item(store, account, variable, mb, ok, interval_s))
		atomic_fetch_add(&store->refused, 1);
}

void store_clear_variable(struct store *store, const char *account, const char *variable)
{
	if (put_item(store, account, variable, NULL, false, 0))
		log_warn("retained result not cleared account=%s variable=%s", account, variable);
}

void store_put_document(struct store *store, const uint8_t *buf, size_t len)
{
	uint8_t *copy = NULL, *older;

	if (!len)
		return;
	if (len <= DOCUMENT_SIZE_MAX) {
		copy = mem_alloc(len, NULL);
		if (!copy) {
			log_warn("document not read bytes=%zu reason=\"no memory\"", len);
			return;
		}
		memcpy(copy, buf, len);
	}
	(void)pthread_mutex_lock(&store->lock);
	older = store->notes.document;
	store->notes.document = copy;
	store->notes.document_len = len;
	(void)pthread_mutex_unlock(&store->lock);
	mem_deref(older);
	wake_up(store);
}

void store_reread_secrets(struct store *store)
{
	atomic_store(&store->wants_secrets, true);
	wake_up(store);
}

void store_applied(struct store *store, uint64_t revision, int err, const char *path, const char *message)
{
	struct notes *n = &store->notes;

	(void)pthread_mutex_lock(&store->lock);
	n->is_applied = true;
	n->applied_revision = revision;
	n->applied_err = err;
	(void)snprintf(n->applied_path, sizeof(n->applied_path), "%s", path ? path : "");
	(void)snprintf(n->applied_message, sizeof(n->applied_message), "%s", message ? message : "");
	(void)pthread_mutex_unlock(&store->lock);
	wake_up(store);
}

void store_outcome(struct store *store, struct link_message *msg, enum link_outcome outcome, int reason)
{
	msg->outcome = (int)outcome;
	msg->reason = reason;
	if (inbox_push(store->returned, msg)) { /* cannot be: the link holds fewer than it has room for */
		log_error("outcome lost topic=%s", msg->topic);
		mem_deref(msg);
	}
}

void store_link_state(struct store *store, enum link_state state)
{
	atomic_store(&store->is_connected, state == LINK_CONNECTED);
	if (state == LINK_CONNECTED)
		atomic_fetch_add(&store->connects, 1);
	wake_up(store);
}

void store_figures_get(struct store *store, struct store_figures *figures)
{
	figures->spooled = atomic_load(&store->spooled);
	figures->dropped = atomic_load(&store->dropped) + atomic_load(&store->refused);
	figures->unreadable = atomic_load(&store->unreadable);
	figures->revision = atomic_load(&store->revision);
}

bool store_is_alive(struct store *store)
{
	uint64_t now_us = clock_mono_us(), round_us = atomic_load(&store->round_us);

	return now_us < round_us || now_us - round_us < ALIVE_MS * 1000ULL;
}

void store_stop(struct store *store, unsigned timeout_ms)
{
	if (!store->is_started)
		return;
	atomic_store(&store->stop_us, clock_mono_us() + timeout_ms * 1000ULL);
	atomic_store(&store->wants_stop, true);
	wake_up(store);
	(void)pthread_join(store->thread, NULL);
	store->is_started = false;
}
