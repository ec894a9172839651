/**
 * @file broker.c  One connection to an MQTT broker, used step by step
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include <MQTTAsync.h>
#include "provisioning/sipedgectl/broker.h"
#include "provisioning/sipedgectl/topic.h"

enum {
	CONNECT_TIMEOUT_S = 10,
	STEP_TIMEOUT_MS = 10000, /* SUBACK, DISCONNECT */
	KEEP_ALIVE_S = 20,
	TOPICS_MAX = 8,
	QUEUE_BYTES_MAX = 256 * 1024 * 1024,
	PASSWORD_MAX = 65535, /* MQTT 5 3.1.3.6 */
	RETRY_MS_FIRST = 500,
	RETRY_MS_MAX = 10000,
};

static const char trust_store_default[] = "/etc/ssl/certs/ca-certificates.crt";

/* What Paho's threads write, under the lock. */
struct shared {
	pthread_mutex_t lock;
	int wake; /* eventfd */
	struct broker_message *first, **last;
	size_t bytes;
	size_t dropped;
	bool lost;
	bool done; /* the step under way */
	int code;  /* of the step: 0, else Paho's or the broker's reason */
	char text[160];
	char tls[160]; /* what OpenSSL said last */
};

struct broker {
	const struct options *options;
	MQTTAsync client;
	bool is_v5;
	int signals; /* signalfd */
	sigset_t signals_before;
	char *password;
	size_t password_len;
	char *topics[TOPICS_MAX];
	size_t ntopics;
	struct shared s;
};

int64_t broker_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);

	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void broker_message_free(struct broker_message *msg)
{
	if (!msg)
		return;
	free(msg->topic);
	free(msg->payload);
	free(msg);
}

static void wake(struct shared *s)
{
	const uint64_t one = 1;

	if (write(s->wake, &one, sizeof(one)) < 0)
		return; /* the counter is full: it will wake up anyway */
}

static void step_ended(struct broker *b, int code, const char *text)
{
	pthread_mutex_lock(&b->s.lock);
	b->s.done = true;
	b->s.code = code;
	snprintf(b->s.text, sizeof(b->s.text), "%s", text ? text : "");
	wake(&b->s);
	pthread_mutex_unlock(&b->s.lock);
}

static void succeeded(void *arg, MQTTAsync_successData *data)
{
	(void)data;
	step_ended(arg, 0, NULL);
}

static void succeeded5(void *arg, MQTTAsync_successData5 *data)
{
	const int reason = data ? (int)data->reasonCode : 0;

	step_ended(arg, reason >= 0x80 ? reason : 0, reason >= 0x80 ? MQTTReasonCode_toString(data->reasonCode) : NULL);
}

/* MQTT 3.1.1 3.9.3: a refused subscription comes as success with the code 0x80. */
static void subscribed(void *arg, MQTTAsync_successData *data)
{
	const bool refused = data && data->alt.qos == 0x80;

	step_ended(arg, refused ? 0x80 : 0, refused ? "refused" : NULL);
}

/* Of a CONNACK, Paho gives the broker's reason as its own code and no text. */
static const char *code_text(int code, const char *text)
{
	static const char *const connack[] = {/* MQTT 3.1.1 3.2.2.3 */
	        [1] = "the broker does not speak this version of MQTT",
	        [2] = "the broker refuses the client id",
	        [3] = "the broker is not available",
	        [4] = "bad user name or password",
	        [5] = "not authorized"};

	if (code > 0 && code < (int)(sizeof(connack) / sizeof(connack[0])))
		return connack[code];

	return code >= 0x80 ? MQTTReasonCode_toString((enum MQTTReasonCodes)code) : text;
}

static void failed(void *arg, MQTTAsync_failureData *data)
{
	const int code = data && data->code ? data->code : -1;

	step_ended(arg, code, code_text(code, data ? data->message : NULL));
}

static void failed5(void *arg, MQTTAsync_failureData5 *data)
{
	int code = data && data->code ? data->code : -1;

	if (data && data->reasonCode >= 0x80)
		code = (int)data->reasonCode;
	step_ended(arg, code, code_text(code, data ? data->message : NULL));
}

static int tls_failed(const char *text, size_t len, void *arg)
{
	struct broker *b = arg;

	pthread_mutex_lock(&b->s.lock);
	snprintf(b->s.tls, sizeof(b->s.tls), "%.*s", (int)len, text);
	b->s.tls[strcspn(b->s.tls, "\r\n")] = '\0';
	pthread_mutex_unlock(&b->s.lock);

	return 1;
}

static struct broker_message *copy_message(const char *topic, const MQTTAsync_message *m)
{
	struct broker_message *msg = calloc(1, sizeof(*msg));

	if (!msg)
		return NULL;
	msg->topic = strdup(topic);
	msg->payload = malloc(m->payloadlen > 0 ? (size_t)m->payloadlen : 1);
	if (!msg->topic || !msg->payload) {
		broker_message_free(msg);
		return NULL;
	}
	msg->len = (size_t)m->payloadlen;
	memcpy(msg->payload, m->payload, msg->len);
	msg->retained = m->retained;

	return msg;
}

/* On Paho's thread, which holds its lock: copy, push, return. */
static int arrived(void *arg, char *topic, int topic_len, MQTTAsync_message *m)
{
	struct broker *b = arg;
	/* a length is given only when the topic holds a NUL: none of ours does */
	struct broker_message *msg = topic_len && strlen(topic) != (size_t)topic_len ? NULL : copy_message(topic, m);

	pthread_mutex_lock(&b->s.lock);
	if (msg && b->s.bytes + msg->len <= QUEUE_BYTES_MAX) {
		b->s.bytes += msg->len + sizeof(*msg);
		*b->s.last = msg;
		b->s.last = &msg->next;
	} else {
		b->s.dropped++;
		broker_message_free(msg);
	}
	wake(&b->s);
	pthread_mutex_unlock(&b->s.lock);

	MQTTAsync_freeMessage(&m);
	MQTTAsync_free(topic);

	return 1;
}

static void was_lost(struct broker *b)
{
	pthread_mutex_lock(&b->s.lock);
	b->s.lost = true;
	wake(&b->s);
	pthread_mutex_unlock(&b->s.lock);
}

static void connection_lost(void *arg, char *cause)
{
	(void)cause;
	was_lost(arg);
}

/* Paho calls only this one when the broker sends a DISCONNECT. */
static void disconnected(void *arg, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
	(void)properties;
	(void)reason;
	was_lost(arg);
}

/* Sleeps until something happens. 0, ECANCELED or ETIMEDOUT. */
static int sleep_until(struct broker *b, int64_t deadline_ms)
{
	struct pollfd fds[] = {{.fd = b->signals, .events = POLLIN}, {.fd = b->s.wake, .events = POLLIN}};
	const int64_t left = deadline_ms - broker_now_ms();
	uint64_t count;
	int n;

	n = poll(fds, 2, left <= 0 ? 0 : left > 1000000 ? 1000000 : (int)left);
	if (n > 0 && fds[0].revents)
		return ECANCELED; /* stays readable: every later wait ends too */
	if (n > 0 && fds[1].revents && read(b->s.wake, &count, sizeof(count)) < 0)
		return 0;
	if (!n && left <= 1000000)
		return ETIMEDOUT;

	return 0;
}

static void step_begin(struct broker *b)
{
	pthread_mutex_lock(&b->s.lock);
	b->s.done = false;
	pthread_mutex_unlock(&b->s.lock);
}

/* rc: of the call that began the step. *codep: the reason. 0, EPROTO (see code), ECANCELED, ETIMEDOUT, ENOTCONN. */
static int step_wait(struct broker *b, int rc, int timeout_ms, int *codep)
{
	const int64_t deadline_ms = broker_now_ms() + timeout_ms;
	bool done, lost;
	int err = 0;

	*codep = rc;
	if (rc != MQTTASYNC_SUCCESS)
		return EPROTO;

	do {
		pthread_mutex_lock(&b->s.lock);
		done = b->s.done;
		lost = b->s.lost;
		*codep = b->s.code;
		pthread_mutex_unlock(&b->s.lock);
		if (done)
			return *codep ? EPROTO : 0;
		if (lost)
			return ENOTCONN;
		err = sleep_until(b, deadline_ms);
	} while (!err);

	return err;
}

static void set_handlers(const struct broker *b, MQTTAsync_responseOptions *r, MQTTAsync_onSuccess *successh)
{
	r->context = (void *)(uintptr_t)b;
	if (b->is_v5) {
		r->onSuccess5 = succeeded5;
		r->onFailure5 = failed5;
	} else {
		r->onSuccess = successh;
		r->onFailure = failed;
	}
}

static int try_connect(struct broker *b, const char *url, bool is_v5, int *codep)
{
	MQTTAsync_connectOptions c5 = MQTTAsync_connectOptions_initializer5, c = MQTTAsync_connectOptions_initializer;
	MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
	char paho_url[600];
	char *const urls[] = {paho_url};

	topic_paho_url(paho_url, sizeof(paho_url), url);
	b->is_v5 = is_v5;
	if (is_v5) {
		c = c5;
		c.cleanstart = 1;
		c.onSuccess5 = succeeded5;
		c.onFailure5 = failed5;
	} else {
		c.MQTTVersion = MQTTVERSION_3_1_1;
		c.cleansession = 1;
		c.onSuccess = succeeded;
		c.onFailure = failed;
	}
	c.context = b;
	c.keepAliveInterval = KEEP_ALIVE_S;
	c.connectTimeout = CONNECT_TIMEOUT_S;
	c.serverURIs = urls;
	c.serverURIcount = 1;
	c.username = b->options->username;
	if (b->password) {
		c.binarypwd.data = b->password;
		c.binarypwd.len = (int)b->password_len;
	}
	if (topic_url_is_tls(url)) {
		ssl.enableServerCertAuth = 1;
		ssl.verify = 1; /* the host name too; Paho's default is 0 */
		ssl.trustStore = b->options->ca ? b->options->ca : trust_store_default;
		ssl.keyStore = b->options->cert;
		ssl.privateKey = b->options->key;
		ssl.ssl_error_cb = tls_failed;
		ssl.ssl_error_context = b;
		c.ssl = &ssl;
	}

	pthread_mutex_lock(&b->s.lock);
	b->s.lost = false;
	b->s.tls[0] = '\0';
	pthread_mutex_unlock(&b->s.lock);
	step_begin(b);

	return step_wait(b, MQTTAsync_connect(b->client, &c), (CONNECT_TIMEOUT_S + 2) * 1000, codep);
}

/* A broker that speaks only 3.1.1 answers code 1 or reason 0x84, or just hangs up: only a reason of MQTT 5 is final. */
static int connect_url(struct broker *b, const char *url)
{
	int code, err;

	err = try_connect(b, url, true, &code);
	if (err && err != ECANCELED && (code < 0x80 || code == MQTTREASONCODE_UNSUPPORTED_PROTOCOL_VERSION))
		err = try_connect(b, url, false, &code);

	return err;
}

static void complain(struct broker *b, const char *what, const char *about, int err)
{
	char text[sizeof(b->s.text) + sizeof(b->s.tls) + 2];

	pthread_mutex_lock(&b->s.lock);
	snprintf(text, sizeof(text), "%s%s%s", b->s.text, *b->s.tls ? ": " : "", b->s.tls);
	pthread_mutex_unlock(&b->s.lock);

	if (err == ETIMEDOUT)
		fprintf(stderr, "sipedgectl: %s %s: no answer\n", what, about);
	else if (err == ENOTCONN)
		fprintf(stderr, "sipedgectl: %s %s: the broker closed the connection\n", what, about);
	else if (err != ECANCELED)
		fprintf(stderr, "sipedgectl: %s %s: %s\n", what, about, *text ? text : "failed");
}

static int connect_any(struct broker *b, bool silently)
{
	int err = ECONNREFUSED;

	for (size_t i = 0; i < b->options->nbrokers && err && err != ECANCELED; i++) {
		err = connect_url(b, b->options->brokers[i]);
		if (err && !silently)
			complain(b, "cannot connect to", b->options->brokers[i], err);
	}

	return !err || err == ECANCELED ? err : ECONNREFUSED;
}

/* Without the newline at the end. */
static int read_password(struct broker *b)
{
	const char *filename = b->options->password_file;
	FILE *f = fopen(filename, "re");
	int err = 0;

	if (!f) {
		fprintf(stderr, "sipedgectl: %s: %s\n", filename, strerror(errno));
		return EINVAL;
	}
	b->password = calloc(1, PASSWORD_MAX + 1);
	if (b->password)
		b->password_len = fread(b->password, 1, PASSWORD_MAX, f);
	if (!b->password || ferror(f)) {
		fprintf(stderr, "sipedgectl: %s: cannot be read\n", filename);
		err = EINVAL;
	}
	fclose(f);
	while (!err && b->password_len && strchr("\r\n", b->password[b->password_len - 1]))
		b->password_len--;

	return err;
}

/* Paho would only say that TLS failed. */
static int check_files(const struct options *o)
{
	const char *const files[] = {o->ca, o->cert, o->key};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		if (files[i] && access(files[i], R_OK)) {
			fprintf(stderr, "sipedgectl: %s: %s\n", files[i], strerror(errno));
			return EINVAL;
		}
	}

	return 0;
}

static int create_client(struct broker *b)
{
	MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer5;
	char id[24]; /* 23 characters are what every 3.1.1 broker takes */
	uint64_t bits = 0;

	if (getrandom(&bits, sizeof(bits), 0) < 0)
		return errno;
	snprintf(id, sizeof(id), "ctl%016llx", (unsigned long long)bits);
	srandom((unsigned)bits);

	/* Paho would use it even for tcp:// */
	unsetenv("http_proxy");
	unsetenv("https_proxy");

	create.sendWhileDisconnected = 0;
	if (MQTTAsync_createWithOptions(&b->client, "tcp://localhost", id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create))
		return ENOMEM;
	MQTTAsync_setCallbacks(b->client, b, connection_lost, arrived, NULL);
	MQTTAsync_setDisconnected(b->client, b, disconnected);

	return 0;
}

/* Before Paho starts its threads, so that none of them takes the signals. */
static int catch_signals(struct broker *b)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, &b->signals_before);
	b->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);

	return b->signals < 0 ? errno : 0;
}

int broker_open(struct broker **bp, const struct options *options)
{
	struct broker *b = calloc(1, sizeof(*b));
	int err = 0;

	if (!b)
		return ENOMEM;

	b->options = options;
	b->signals = -1;
	pthread_mutex_init(&b->s.lock, NULL);
	b->s.last = &b->s.first;
	b->s.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->s.wake < 0)
		err = errno;
	if (!err)
		err = catch_signals(b);
	if (!err)
		err = check_files(options);
	if (!err && options->password_file)
		err = read_password(b);
	if (!err)
		err = create_client(b);
	if (!err)
		err = connect_any(b, false);
	if (err) {
		broker_close(b);
		return err;
	}
	*bp = b;

	return 0;
}

void broker_close(struct broker *b)
{
	MQTTAsync_disconnectOptions d = MQTTAsync_disconnectOptions_initializer;
	struct broker_message *msg;
	int code;

	if (!b)
		return;

	if (b->client && MQTTAsync_isConnected(b->client)) {
		d.timeout = 100;
		d.onSuccess = b->is_v5 ? NULL : succeeded;
		d.onSuccess5 = b->is_v5 ? succeeded5 : NULL;
		d.struct_version = b->is_v5 ? 1 : 0;
		d.context = b;
		step_begin(b);
		step_wait(b, MQTTAsync_disconnect(b->client, &d), 1000, &code);
	}
	MQTTAsync_destroy(&b->client);

	while ((msg = b->s.first)) {
		b->s.first = msg->next;
		broker_message_free(msg);
	}
	for (size_t i = 0; i < b->ntopics; i++)
		free(b->topics[i]);
	if (b->password)
		explicit_bzero(b->password, b->password_len);
	free(b->password);
	if (b->s.wake >= 0)
		close(b->s.wake);
	if (b->signals >= 0)
		close(b->signals);
	pthread_mutex_destroy(&b->s.lock);
	free(b);
}

static int subscribe(struct broker *b, const char *topic)
{
	MQTTAsync_responseOptions r = MQTTAsync_responseOptions_initializer;
	int code, err;

	set_handlers(b, &r, subscribed);
	step_begin(b);
	err = step_wait(b, MQTTAsync_subscribe(b->client, topic, 1, &r), STEP_TIMEOUT_MS, &code);
	if (err)
		complain(b, "cannot subscribe to", topic, err);

	return err;
}

int broker_subscribe(struct broker *b, const char *topic)
{
	int err;

	if (b->ntopics == TOPICS_MAX)
		return E2BIG;
	err = subscribe(b, topic);
	if (err)
		return err;
	b->topics[b->ntopics] = strdup(topic);

	return b->topics[b->ntopics++] ? 0 : ENOMEM;
}

int broker_publish_retained(struct broker *b, const char *topic, const uint8_t *data, size_t len, int timeout_ms)
{
	MQTTAsync_responseOptions r = MQTTAsync_responseOptions_initializer;
	MQTTAsync_message m = MQTTAsync_message_initializer;
	int code, err;

	m.payload = (void *)(uintptr_t)data;
	m.payloadlen = (int)len;
	m.qos = 1;
	m.retained = 1;
	set_handlers(b, &r, succeeded);
	step_begin(b);
	err = step_wait(b, MQTTAsync_sendMessage(b->client, topic, &m, &r), timeout_ms, &code);
	if (err)
		complain(b, "cannot publish on", topic, err);

	return err;
}

static struct broker_message *take_message(struct broker *b, bool *lostp)
{
	struct broker_message *msg;
	size_t dropped;

	pthread_mutex_lock(&b->s.lock);
	msg = b->s.first;
	if (msg) {
		b->s.bytes -= msg->len + sizeof(*msg);
		b->s.first = msg->next;
		if (!b->s.first)
			b->s.last = &b->s.first;
	}
	dropped = b->s.dropped;
	b->s.dropped = 0;
	*lostp = b->s.lost;
	pthread_mutex_unlock(&b->s.lock);

	if (dropped)
		fprintf(stderr, "sipedgectl: %zu messages were dropped: they come faster than they can be shown\n",
		        dropped);

	return msg;
}

enum broker_event broker_wait(struct broker *b, int64_t deadline_ms, struct broker_message **msgp)
{
	bool lost;
	int err;

	for (;;) {
		*msgp = take_message(b, &lost);
		if (*msgp)
			return BROKER_MESSAGE;
		if (lost)
			return BROKER_LOST;
		err = sleep_until(b, deadline_ms);
		if (err == ECANCELED)
			return BROKER_INTERRUPTED;
		if (err == ETIMEDOUT)
			return BROKER_TIMEOUT;
	}
}

static int subscribe_all(struct broker *b)
{
	int err = 0;

	for (size_t i = 0; i < b->ntopics && !err; i++)
		err = subscribe(b, b->topics[i]);

	return err;
}

int broker_reopen(struct broker *b, int64_t deadline_ms)
{
	int delay_ms = RETRY_MS_FIRST;
	int err;

	for (;;) {
		const int64_t next_ms = broker_now_ms() + delay_ms / 2 + random() % delay_ms;

		do
			err = sleep_until(b, next_ms < deadline_ms ? next_ms : deadline_ms);
		while (!err);
		if (err == ECANCELED)
			return err;
		if (broker_now_ms() >= deadline_ms)
			return ETIMEDOUT;

		err = connect_any(b, true);
		if (!err)
			err = subscribe_all(b);
		if (!err || err == ECANCELED)
			return err;
		delay_ms = delay_ms * 2 < RETRY_MS_MAX ? delay_ms * 2 : RETRY_MS_MAX;
	}
}
