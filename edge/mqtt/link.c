/**
 * @file link.c  The connection to the broker: what to do when
 *
 * The publisher thread turns round on three descriptors: events of Paho, messages to publish (only while the window has room),
 * and a wake-up for the flags. What is under way stands in `flights`; the number given to Paho names the slot.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <re.h>
#include "edge/clock.h"
#include "edge/inbox.h"
#include "edge/log.h"
#include "edge/core/wire.h"
#include "edge/mqtt/backoff.h"
#include "edge/mqtt/link.h"
#include "edge/mqtt/paho.h"

enum {
	WINDOW_MAX = 64,
	WINDOW_BYTES = 32768, /* more could fill the socket: then not even a disconnect gets through Paho's queue */
	FLIGHTS = 128,        /* the window, subscriptions, status; a power of two */
	PASSWORDS_MAX = 1,    /* the newest waits for the next connect */
	OUTBOX_MAX = 64,
	TOPICS_MAX = 16,
	OVERHEAD = 256, /* fixed header and properties of a PUBLISH, at most */

	KEEP_ALIVE_S = 10, /* Paho sees a dead connection after 2.5 to 3.1 times as long */
	RETRY_MIN_MS = 500,
	RETRY_MAX_MS = 60000,
	NEXT_BROKER_MS = 250, /* to the next one of the list, before the first round is over */
	DROPS_MAX = 3,        /* then the broker may not know MQTT 5, or not 3.1.1 any more */
	STABLE_MS = 5000,     /* a connection that lasted as long resets the delays */

	ATTEMPT_MS = 30000, /* Paho's own limit is 10 s: above that it has lost the attempt */
	ACK_MS = 15000,
	CLOSE_MS = 5000,
	FAREWELL_MS = 2000,
	FAREWELL_CLOSE_MS = 500,
	STOP_MS = 4000,
	ROUND_MS = 1000,
	ALIVE_MS = 10000,

	/* MQTT 5, 2.4 */
	REASON_UNSUPPORTED_VERSION = 0x84,
	REASON_IMPLEMENTATION = 0x83,
	REASON_TOPIC_NAME_INVALID = 0x90,
	REASON_PACKET_ID_IN_USE = 0x91,
	REASON_TOO_LARGE = 0x95,
	REASON_QUOTA = 0x97,
	REASON_NO_RETAIN = 0x9a,
	REASON_NO_QOS = 0x9b,
	REASON_V3_VERSION = 1, /* MQTT 3.1.1, 3.2.2.3 */
};

enum phase {
	PHASE_WAITING,    /* for the time of the next attempt */
	PHASE_CONNECTING, /* for the CONNACK */
	PHASE_GREETING,   /* for the acknowledgements of subscriptions, then of the birth */
	PHASE_UP,
	PHASE_CLOSING,  /* given up: for Paho to close it */
	PHASE_FAREWELL, /* for the acknowledgement of the last status */
	PHASE_LEAVING,  /* for the last disconnect */
	PHASE_ENDED,
};

enum flight_kind { FLIGHT_NONE, FLIGHT_SUBSCRIBE, FLIGHT_STATUS, FLIGHT_MESSAGE };

struct flight {
	enum flight_kind kind;
	uintptr_t number;
	struct link_message *msg; /* FLIGHT_MESSAGE */
	size_t size;
	uint64_t sent_us;
};

struct broker {
	char *url; /* as configured, for the log */
	char *uri;
	enum broker_scheme scheme;
	bool is_v3;
	unsigned drops; /* connections in a row closed instead of a CONNACK */
};

struct link {
	struct paho *paho;
	struct link_handlers handlers;
	struct broker *brokers;
	size_t nbrokers;
	char *status_topic;
	char *topics[TOPICS_MAX];
	size_t ntopics;
	struct inbox *outbox;
	int wake;
	pthread_t thread;
	bool is_started; /* of the thread that starts and stops */
	atomic_bool is_up, wants_stop, wants_status;
	atomic_uint_fast64_t round_us;
	struct inbox *passwords; /* the newest one counts */

	/* handlers are called under it, so that none is called after link_stop() */
	pthread_mutex_t gate;
	pthread_cond_t ended;
	bool is_muted, has_ended;

	/* the publisher thread's */
	enum phase phase;
	uint64_t deadline_us; /* of the phase; UINT64_MAX: none */
	uint64_t up_us;
	uint64_t paused_until_us; /* the broker is overloaded */
	int64_t since_unix_us;
	size_t current; /* index of brokers */
	uintptr_t attempt;
	struct backoff backoff, pause;
	struct paho_limits limits;
	bool will_retain;
	int will_qos;
	uint16_t keep_alive_s;
	struct flight flights[FLIGHTS];
	size_t nmessages, nothers; /* flights with a message, and without */
	size_t bytes;              /* of the messages under way */
	struct link_message *next; /* taken from the outbox, did not fit the window yet */
	bool was_born;
	int last_refusal;
	uint64_t refused;
	char last_failure[192];
};

/* Process-wide: a late callback of an older link must not name a request of this one. */
static atomic_uintptr_t last_number;

static void password_free(void *item)
{
	explicit_bzero(item, strlen(item));
	mem_deref(item);
}

static struct broker *broker(struct link *link)
{
	return &link->brokers[link->current];
}

static void enter(struct link *link, enum phase phase, uint32_t limit_ms)
{
	link->phase = phase;
	link->deadline_us = limit_ms ? clock_mono_us() + limit_ms * 1000ULL : UINT64_MAX;
}

/* the same failure again is no news */
static void log_failure(struct link *link, const char *what, const char *why)
{
	char line[sizeof(link->last_failure)];

	(void)snprintf(line, sizeof(line), "%s url=%s reason=\"%s\"", what, broker(link)->url, why);
	if (strcmp(line, link->last_failure))
		log_warn("%s", line);
	else
		log_debug("%s", line);
	memcpy(link->last_failure, line, sizeof(line));
}

static void tell_outcome(struct link *link, struct link_message *msg, enum link_outcome outcome, int reason)
{
	(void)pthread_mutex_lock(&link->gate);
	if (!link->is_muted) {
		link->handlers.outcome(msg, outcome, reason, link->handlers.arg);
		msg = NULL;
	}
	(void)pthread_mutex_unlock(&link->gate);
	mem_deref(msg);
}

static void tell_state(struct link *link, enum link_state state)
{
	(void)pthread_mutex_lock(&link->gate);
	if (!link->is_muted)
		link->handlers.state(state, link->handlers.arg);
	(void)pthread_mutex_unlock(&link->gate);
}

static struct mbuf *ask_status(struct link *link, enum node_state state)
{
	struct mbuf *mb = mbuf_alloc(512);
	int err = mb ? EINTR : ENOMEM;

	(void)pthread_mutex_lock(&link->gate);
	if (mb && !link->is_muted)
		err = link->handlers.status(mb, (int)state, link->since_unix_us, link->handlers.arg);
	(void)pthread_mutex_unlock(&link->gate);

	return err ? mem_deref(mb) : mb;
}

static struct flight *flight_new(struct link *link, enum flight_kind kind)
{
	uintptr_t number = atomic_load(&last_number);
	struct flight *flight;

	if (link->nmessages + link->nothers == FLIGHTS)
		return NULL;
	do
		flight = &link->flights[++number % FLIGHTS];
	while (flight->kind != FLIGHT_NONE);
	atomic_store(&last_number, number);

	*flight = (struct flight){.kind = kind, .number = number, .sent_us = clock_mono_us()};
	if (kind == FLIGHT_MESSAGE)
		link->nmessages++;
	else
		link->nothers++;

	return flight;
}

/* returns its message, if it has one */
static struct link_message *flight_end(struct link *link, struct flight *flight)
{
	struct link_message *msg = flight->msg;

	if (flight->kind == FLIGHT_MESSAGE)
		link->nmessages--;
	else
		link->nothers--;
	link->bytes -= flight->size;
	*flight = (struct flight){.kind = FLIGHT_NONE};

	return msg;
}

static struct flight *flight_find(struct link *link, uintptr_t number)
{
	struct flight *flight = &link->flights[number % FLIGHTS];

	return flight->kind != FLIGHT_NONE && flight->number == number ? flight : NULL;
}

static int qos(const struct link *link)
{
	return link->limits.qos_max ? 1 : 0;
}

static int publish_status(struct link *link, enum node_state state)
{
	struct mbuf *mb = ask_status(link, state);
	struct link_message *msg = NULL;
	struct flight *flight;
	int err = ENOMEM;

	if (mb)
		err = link_message_alloc(&msg, link->status_topic, mb, "NodeStatus");
	mem_deref(mb);
	if (err)
		return err;

	msg->retain = link->limits.retains;
	flight = flight_new(link, FLIGHT_STATUS);
	err = flight ? paho_publish(link->paho, msg, qos(link), flight->number) : ENOBUFS;
	mem_deref(msg); /* Paho copied it */
	if (err && flight)
		(void)flight_end(link, flight);

	return err;
}

static void drain_outbox(struct link *link)
{
	struct link_message *msg = link->next;

	link->next = NULL;
	for (; msg; msg = inbox_take(link->outbox))
		tell_outcome(link, msg, LINK_UNKNOWN, 0);
	while ((msg = inbox_take(link->outbox)))
		tell_outcome(link, msg, LINK_UNKNOWN, 0);
}

/* The connection is no more: what was under way has an unknown fate. */
static void forget_connection(struct link *link)
{
	bool was_up = atomic_exchange(&link->is_up, false);

	for (size_t i = 0; i < FLIGHTS; i++) {
		struct link_message *msg;

		if (link->flights[i].kind == FLIGHT_NONE)
			continue;
		msg = flight_end(link, &link->flights[i]);
		if (msg)
			tell_outcome(link, msg, LINK_UNKNOWN, 0);
	}
	drain_outbox(link);
	if (was_up)
		tell_state(link, LINK_DISCONNECTED);
}

static void wait_for_retry(struct link *link)
{
	uint32_t delay_ms;

	if (link->up_us && clock_mono_us() - link->up_us > STABLE_MS * 1000ULL)
		backoff_reset(&link->backoff);
	link->up_us = 0;

	link->current = (link->current + 1) % link->nbrokers;
	delay_ms = link->current ? backoff_spread_ms(&link->backoff, NEXT_BROKER_MS) : backoff_take_ms(&link->backoff);
	enter(link, PHASE_WAITING, delay_ms);
}

static void connection_over(struct link *link, const char *what, const char *why)
{
	log_failure(link, what, why);
	forget_connection(link);
	wait_for_retry(link);
}

static void give_up(struct link *link, const char *why)
{
	log_failure(link, "broker given up", why);
	forget_connection(link);
	if (paho_disconnect(link->paho, link->attempt))
		wait_for_retry(link);
	else
		enter(link, PHASE_CLOSING, CLOSE_MS);
}

static void take_password(struct link *link)
{
	char *password;

	while ((password = inbox_take(link->passwords))) {
		if (paho_set_password(link->paho, *password ? password : NULL))
			log_error("broker password lost: out of memory");
		password_free(password);
	}
}

static void attempt(struct link *link)
{
	struct paho_connect connect = {.uri = broker(link)->uri,
	        .scheme = broker(link)->scheme,
	        .is_v5 = !broker(link)->is_v3,
	        .keep_alive_s = link->keep_alive_s,
	        .will_retain = link->will_retain,
	        .will_qos = link->will_qos};

	take_password(link);
	link->since_unix_us = clock_unix_us();
	link->attempt = atomic_fetch_add(&last_number, 1) + 1;
	connect.will = ask_status(link, NODE_LOST);
	log_debug("broker connecting url=%s version=%s", broker(link)->url, connect.is_v5 ? "5" : "3.1.1");
	enter(link, PHASE_CONNECTING, ATTEMPT_MS);
	if (paho_connect(link->paho, &connect, link->attempt))
		connection_over(link, "broker not connected", "the connection could not be prepared");
	mem_deref(connect.will);
}

/* Subscriptions are acknowledged: say that we are here. */
static void give_birth(struct link *link)
{
	link->was_born = true;
	if (publish_status(link, NODE_ONLINE))
		give_up(link, "the birth could not be published");
}

static void greet(struct link *link)
{
	link->was_born = false;
	enter(link, PHASE_GREETING, ATTEMPT_MS);
	for (size_t i = 0; i < link->ntopics; i++) {
		struct flight *flight = flight_new(link, FLIGHT_SUBSCRIBE);

		if (!flight || paho_subscribe(link->paho, link->topics[i], flight->number)) {
			give_up(link, "the subscription could not be sent");
			return;
		}
	}
	if (!link->ntopics)
		give_birth(link);
}

static void go_up(struct link *link)
{
	log_notice("broker connected url=%s version=%s window=%u", broker(link)->url,
	        broker(link)->is_v3 ? "3.1.1" : "5",
	        link->limits.receive_maximum < WINDOW_MAX ? link->limits.receive_maximum : WINDOW_MAX);
	link->last_failure[0] = '\0';
	link->last_refusal = 0;
	link->up_us = clock_mono_us();
	link->paused_until_us = 0;
	enter(link, PHASE_UP, 0);
	drain_outbox(link); /* pushed while the connection before this one broke */
	atomic_store(&link->is_up, true);
	tell_state(link, LINK_CONNECTED);
}

static void on_connected(struct link *link, const struct paho_event *event)
{
	broker(link)->drops = 0;
	link->limits = event->limits;
	if (!link->limits.receive_maximum)
		link->limits.receive_maximum = 1;
	link->since_unix_us = clock_unix_us();
	/* Paho goes on with ours: the next connection is made with the broker's */
	if (event->limits.keep_alive_s && event->limits.keep_alive_s < link->keep_alive_s)
		link->keep_alive_s = event->limits.keep_alive_s;
	greet(link);
}

/* Was it the version of the protocol? Then the other one is tried at once. */
static bool change_version(struct link *link, const struct paho_event *event)
{
	struct broker *b = broker(link);
	bool refused = b->is_v3 ? event->code == REASON_V3_VERSION
	                        : event->code == REASON_V3_VERSION || event->code == REASON_UNSUPPORTED_VERSION;

	if (event->was_dropped)
		b->drops++;
	else
		b->drops = 0;
	if (!refused && b->drops < DROPS_MAX)
		return false;

	b->drops = 0;
	b->is_v3 = !b->is_v3;
	log_debug("broker takes no MQTT %s url=%s", b->is_v3 ? "5" : "3.1.1", b->url);

	return b->is_v3;
}

static void on_connect_failed(struct link *link, const struct paho_event *event)
{
	if (event->code == REASON_NO_RETAIN)
		link->will_retain = false;
	if (event->code == REASON_NO_QOS)
		link->will_qos = 0;
	if (change_version(link, event)) {
		enter(link, PHASE_WAITING, backoff_spread_ms(&link->backoff, NEXT_BROKER_MS));
		return;
	}
	connection_over(link, "broker not connected", event->text);
}

static void message_refused(struct link *link, struct link_message *msg, int reason)
{
	link->refused++;
	if (reason != link->last_refusal)
		log_warn("message refused by the broker topic=%s reason=0x%02x count=%" PRIu64, msg->topic,
		        (unsigned)reason, link->refused);
	else
		log_debug("message refused by the broker topic=%s reason=0x%02x", msg->topic, (unsigned)reason);
	link->last_refusal = reason;
	tell_outcome(link, msg, LINK_REFUSED, reason);
}

static void message_failed(struct link *link, struct link_message *msg, int reason)
{
	switch (reason) {
	case REASON_IMPLEMENTATION:
	case REASON_QUOTA: {
		uint32_t delay_ms = backoff_take_ms(&link->pause);

		log_failure(link, "broker overloaded", "quota or implementation limit");
		link->paused_until_us = clock_mono_us() + delay_ms * 1000ULL;
		tell_outcome(link, msg, LINK_UNKNOWN, reason);
		break;
	}
	case REASON_PACKET_ID_IN_USE:
		tell_outcome(link, msg, LINK_UNKNOWN, reason);
		break;
	default:
		if (reason < 0x80)
			tell_outcome(link, msg, LINK_UNKNOWN, 0);
		else
			message_refused(link, msg, reason);
		break;
	}
}

/* A subscription or the birth got its answer; a refused one is reported and not waited for. */
static void on_greeting(struct link *link, enum flight_kind kind, const struct paho_event *event)
{
	char why[64];

	if (event->kind == PAHO_FAILED && event->code >= 0x80) {
		(void)snprintf(why, sizeof(why), "reason 0x%02x", (unsigned)event->code);
		log_failure(link, kind == FLIGHT_SUBSCRIBE ? "subscription refused" : "status refused", why);
	} else if (event->kind == PAHO_FAILED) {
		return; /* the connection broke: that comes as an event of its own, or watch() sees it */
	}
	if (link->phase == PHASE_FAREWELL && kind == FLIGHT_STATUS)
		link->deadline_us = 0;
	if (link->phase != PHASE_GREETING || link->nothers)
		return;
	if (!link->was_born)
		give_birth(link);
	else
		go_up(link);
}

static void on_answer(struct link *link, const struct paho_event *event)
{
	struct flight *flight = flight_find(link, event->number);
	struct link_message *msg;
	enum flight_kind kind;

	if (!flight)
		return; /* of a connection that is gone */
	kind = flight->kind;
	msg = flight_end(link, flight);
	if (kind != FLIGHT_MESSAGE) {
		on_greeting(link, kind, event);
	} else if (event->kind == PAHO_DONE) {
		backoff_reset(&link->pause);
		tell_outcome(link, msg, LINK_ACKED, 0);
	} else {
		message_failed(link, msg, event->code);
	}
}

static void on_lost(struct link *link, int code)
{
	char why[64] = "connection closed";

	switch (link->phase) {
	case PHASE_GREETING:
	case PHASE_UP:
		if (code)
			(void)snprintf(why, sizeof(why), "disconnected by the broker, reason 0x%02x", (unsigned)code);
		connection_over(link, "broker lost", why);
		break;
	case PHASE_CLOSING:
		wait_for_retry(link);
		break;
	case PHASE_FAREWELL:
	case PHASE_LEAVING:
		link->phase = PHASE_ENDED;
		break;
	case PHASE_WAITING:    /* said before already: Paho tells it twice */
	case PHASE_CONNECTING: /* likewise; the attempt has its own result */
	case PHASE_ENDED:
		break;
	}
}

static void on_event(struct link *link, const struct paho_event *event)
{
	bool is_of_attempt = event->number == link->attempt;

	switch (event->kind) {
	case PAHO_CONNECTED:
		if (is_of_attempt && link->phase == PHASE_CONNECTING)
			on_connected(link, event);
		break;
	case PAHO_CONNECT_FAILED:
		if (is_of_attempt && link->phase == PHASE_CONNECTING)
			on_connect_failed(link, event);
		break;
	case PAHO_LOST:
		on_lost(link, event->code);
		break;
	case PAHO_CLOSED:
		if (is_of_attempt)
			on_lost(link, 0);
		break;
	case PAHO_DONE:
	case PAHO_FAILED:
		on_answer(link, event);
		break;
	}
}

static bool window_has_room(const struct link *link, size_t size)
{
	size_t n = link->limits.receive_maximum < WINDOW_MAX ? link->limits.receive_maximum : WINDOW_MAX;

	return link->nmessages + link->nothers < n && (!link->bytes || link->bytes + size <= WINDOW_BYTES);
}

static size_t size_of(const struct link_message *msg)
{
	return strlen(msg->topic) + msg->payload->end + OVERHEAD;
}

static void send_message(struct link *link, struct link_message *msg)
{
	struct flight *flight;
	int err;

	if (size_of(msg) > link->limits.packet_max) {
		message_refused(link, msg, REASON_TOO_LARGE);
		return;
	}
	if (!link->limits.retains)
		msg->retain = false;
	flight = flight_new(link, FLIGHT_MESSAGE);
	flight->msg = msg;
	flight->size = size_of(msg);
	link->bytes += flight->size;

	err = paho_publish(link->paho, msg, qos(link), flight->number);
	if (!err)
		return;
	(void)flight_end(link, flight);
	if (err == EINVAL) {
		message_refused(link, msg, REASON_TOPIC_NAME_INVALID);
		return;
	}
	link->paused_until_us = clock_mono_us() + RETRY_MIN_MS * 1000ULL;
	tell_outcome(link, msg, LINK_UNKNOWN, 0);
}

static bool can_send(const struct link *link)
{
	return link->phase == PHASE_UP && clock_mono_us() >= link->paused_until_us &&
	       window_has_room(link, link->next ? size_of(link->next) : 1);
}

static void send_messages(struct link *link)
{
	while (can_send(link)) {
		struct link_message *msg = link->next;

		link->next = NULL;
		if (!msg)
			msg = inbox_take(link->outbox);
		if (!msg)
			return;
		if (window_has_room(link, size_of(msg)))
			send_message(link, msg);
		else
			link->next = msg;
	}
}

/* Half-open connections: Paho would notice after half a minute, or not at all while it waits for an acknowledgement. */
static void watch(struct link *link, uint64_t now_us)
{
	for (size_t i = 0; i < FLIGHTS; i++) {
		const struct flight *flight = &link->flights[i];

		if (flight->kind != FLIGHT_NONE && now_us - flight->sent_us > ACK_MS * 1000ULL &&
		        now_us > flight->sent_us) {
			give_up(link, "no acknowledgement for 15 s");
			return;
		}
	}
}

static void leave(struct link *link)
{
	if (paho_disconnect(link->paho, link->attempt))
		link->phase = PHASE_ENDED;
	else
		enter(link, PHASE_LEAVING, FAREWELL_CLOSE_MS);
}

static void say_farewell(struct link *link)
{
	atomic_store(&link->is_up, false);
	switch (link->phase) {
	case PHASE_GREETING:
	case PHASE_UP:
		enter(link, PHASE_FAREWELL, FAREWELL_MS);
		if (publish_status(link, NODE_OFFLINE))
			leave(link);
		break;
	case PHASE_FAREWELL:
	case PHASE_LEAVING:
		break;
	case PHASE_WAITING:
	case PHASE_CONNECTING:
	case PHASE_CLOSING:
	case PHASE_ENDED:
		link->phase = PHASE_ENDED;
		break;
	}
}

static void on_deadline(struct link *link)
{
	switch (link->phase) {
	case PHASE_WAITING:
		attempt(link);
		break;
	case PHASE_CONNECTING:
		connection_over(link, "broker not connected", "no answer");
		break;
	case PHASE_GREETING:
		give_up(link, "no answer to the subscription");
		break;
	case PHASE_CLOSING:
		wait_for_retry(link);
		break;
	case PHASE_FAREWELL:
		leave(link);
		break;
	case PHASE_LEAVING:
		link->phase = PHASE_ENDED;
		break;
	case PHASE_UP:
	case PHASE_ENDED:
		break;
	}
}

static int poll_timeout_ms(const struct link *link, uint64_t now_us)
{
	uint64_t until_us = link->deadline_us;

	if (link->phase == PHASE_UP && link->paused_until_us > now_us && link->paused_until_us < until_us)
		until_us = link->paused_until_us;
	if (until_us <= now_us)
		return 0;

	return until_us - now_us > ROUND_MS * 1000ULL ? ROUND_MS : (int)((until_us - now_us) / 1000 + 1);
}

static void go_round(struct link *link)
{
	struct pollfd fds[] = {{.fd = link->wake, .events = POLLIN},
	        {.fd = inbox_fd(paho_inbox(link->paho)), .events = POLLIN},
	        {.fd = inbox_fd(link->outbox), .events = POLLIN}};
	struct paho_event *event;
	uint64_t drained;

	(void)poll(fds, can_send(link) && !link->next ? 3 : 2, poll_timeout_ms(link, clock_mono_us()));
	atomic_store(&link->round_us, clock_mono_us());
	if ((fds[0].revents & POLLIN) && read(link->wake, &drained, sizeof(drained)) < 0)
		drained = 0; /* EAGAIN: nothing to clear */

	while ((event = inbox_take(paho_inbox(link->paho)))) {
		on_event(link, event);
		mem_deref(event);
	}
	if (atomic_load(&link->wants_stop))
		say_farewell(link);
	if (link->phase == PHASE_UP && atomic_exchange(&link->wants_status, false))
		(void)publish_status(
		        link, NODE_ONLINE); /* not sent: the connection is going, and the next birth says it */
	send_messages(link);
	if (link->phase == PHASE_GREETING || link->phase == PHASE_UP)
		watch(link, clock_mono_us());
	if (clock_mono_us() >= link->deadline_us)
		on_deadline(link);
}

static void *publisher(void *arg)
{
	struct link *link = arg;

	enter(link, PHASE_WAITING, 1);
	while (link->phase != PHASE_ENDED)
		go_round(link);

	(void)pthread_mutex_lock(&link->gate);
	link->has_ended = true;
	(void)pthread_cond_signal(&link->ended);
	(void)pthread_mutex_unlock(&link->gate);

	return NULL;
}

static void destructor(void *arg)
{
	struct link *link = arg;

	for (size_t i = 0; i < FLIGHTS; i++)
		mem_deref(link->flights[i].msg);
	mem_deref(link->next);
	mem_deref(link->outbox);
	mem_deref(link->passwords);
	mem_deref(link->paho);
	for (size_t i = 0; i < link->nbrokers; i++) {
		mem_deref(link->brokers[i].url);
		mem_deref(link->brokers[i].uri);
	}
	mem_deref(link->brokers);
	for (size_t i = 0; i < link->ntopics; i++)
		mem_deref(link->topics[i]);
	mem_deref(link->status_topic);
	if (link->wake >= 0)
		(void)close(link->wake);
	(void)pthread_cond_destroy(&link->ended);
	(void)pthread_mutex_destroy(&link->gate);
}

static void message_free(void *item)
{
	mem_deref(item);
}

int link_url_check(const char *url, const char **whyp)
{
	return broker_url_parse(NULL, NULL, url, whyp);
}

static int copy_brokers(struct link *link, const char *const *urls)
{
	size_t n = 0;

	while (urls[n])
		n++;
	if (!n)
		return EINVAL;
	link->brokers = mem_zalloc(n * sizeof(*link->brokers), NULL);
	if (!link->brokers)
		return ENOMEM;
	for (; link->nbrokers < n; link->nbrokers++) {
		struct broker *b = &link->brokers[link->nbrokers];
		int err = broker_url_parse(&b->uri, &b->scheme, urls[link->nbrokers], NULL);

		if (!err)
			err = str_dup(&b->url, urls[link->nbrokers]);
		if (err) {
			mem_deref(b->uri);
			return err;
		}
	}

	return 0;
}

static int copy_topics(struct link *link, const struct link_config *config)
{
	for (; config->topics[link->ntopics]; link->ntopics++) {
		if (link->ntopics == TOPICS_MAX)
			return EINVAL;
		if (str_dup(&link->topics[link->ntopics], config->topics[link->ntopics]))
			return ENOMEM;
	}

	return str_dup(&link->status_topic, config->status_topic);
}

static int make_paho(struct link *link, const struct link_config *config)
{
	size_t packet_max = 2 * config->payload_max + 65536;
	struct paho_config pc = {.client_id = config->client_id,
	        .username = config->username,
	        .password = config->password,
	        .ca = config->ca,
	        .cert = config->cert,
	        .key = config->key,
	        .will_topic = config->status_topic,
	        .packet_max = packet_max > 268435455 ? 268435455 /* MQTT 5, 1.5.5 */ : (uint32_t)packet_max,
	        .received = link->handlers.received,
	        .arg = link->handlers.arg};

	return paho_alloc(&link->paho, &pc);
}

static uint64_t seed(void)
{
	uint64_t value;

	return getrandom(&value, sizeof(value), GRND_NONBLOCK) == (ssize_t)sizeof(value) ? value : clock_mono_us();
}

static void init_gate(struct link *link)
{
	pthread_condattr_t attr;

	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&link->gate, NULL);
	(void)pthread_cond_init(&link->ended, &attr);
	(void)pthread_condattr_destroy(&attr);
}

int link_alloc(struct link **linkp, const struct link_config *config, const struct link_handlers *handlers)
{
	struct link *link = mem_zalloc(sizeof(*link), destructor);
	int err;

	if (!link)
		return ENOMEM;
	init_gate(link);
	link->handlers = *handlers;
	link->will_retain = true;
	link->will_qos = 1;
	link->keep_alive_s = KEEP_ALIVE_S;
	backoff_init(&link->backoff, RETRY_MIN_MS, RETRY_MAX_MS, seed());
	backoff_init(&link->pause, RETRY_MIN_MS, RETRY_MAX_MS, seed());
	link->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	err = link->wake < 0 ? errno : 0;
	if (!err)
		err = copy_brokers(link, config->urls);
	if (!err)
		err = copy_topics(link, config);
	if (!err)
		err = inbox_alloc(&link->outbox, OUTBOX_MAX, message_free);
	if (!err)
		err = inbox_alloc(&link->passwords, PASSWORDS_MAX, password_free);
	if (!err)
		err = make_paho(link, config);
	if (err)
		mem_deref(link);
	else
		*linkp = link;

	return err;
}

int link_start(struct link *link)
{
	sigset_t all, before;
	int err;

	/* signals are the main thread's; Paho's threads inherit this from ours */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	atomic_store(&link->round_us, clock_mono_us());
	err = pthread_create(&link->thread, NULL, publisher, link);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	link->is_started = !err;

	return err;
}

static void wake_up(struct link *link)
{
	uint64_t one = 1;

	if (write(link->wake, &one, sizeof(one)) < 0)
		one = 0; /* EAGAIN: awake already */
}

int link_publish(struct link *link, struct link_message *msg)
{
	return atomic_load(&link->is_up) ? inbox_push(link->outbox, msg) : ENOTCONN;
}

int link_set_password(struct link *link, const char *password)
{
	char *copy = NULL, *older;

	if (str_dup(&copy, password ? password : ""))
		return ENOMEM;
	/* only the newest one counts: connected, nobody takes them */
	while (inbox_push(link->passwords, copy)) {
		older = inbox_take(link->passwords);
		if (older)
			password_free(older);
	}

	return 0;
}

void link_publish_status(struct link *link)
{
	atomic_store(&link->wants_status, true);
	wake_up(link);
}

bool link_is_alive(struct link *link)
{
	uint64_t now_us = clock_mono_us(), round_us = atomic_load(&link->round_us);

	return now_us < round_us || now_us - round_us < ALIVE_MS * 1000ULL;
}

/* False: it hangs in Paho. */
static bool wait_for_end(struct link *link)
{
	struct timespec until;
	bool has_ended;
	int err = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += STOP_MS / 1000;
	(void)pthread_mutex_lock(&link->gate);
	while (!link->has_ended && !err)
		err = pthread_cond_timedwait(&link->ended, &link->gate, &until);
	has_ended = link->has_ended;
	link->is_muted = true;
	(void)pthread_mutex_unlock(&link->gate);

	return has_ended;
}

void link_stop(struct link *link)
{
	if (link->is_started) {
		atomic_store(&link->wants_stop, true);
		wake_up(link);
		if (wait_for_end(link)) {
			(void)pthread_join(link->thread, NULL);
		} else {
			(void)pthread_detach(link->thread);
			(void)mem_ref(link); /* the thread's, for ever */
			log_warn("broker connection left behind reason=\"name resolution hangs\"");
		}
		link->is_started = false;
	}
	paho_mute(link->paho);
}
