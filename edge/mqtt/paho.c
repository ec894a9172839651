/**
 * @file paho.c  Paho's asynchronous client, made harmless
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <re.h>
#include <MQTTAsync.h>
#include "edge/inbox.h"
#include "edge/mqtt/paho.h"

enum {
	EVENTS_MAX =
	        4096, /* the window is 64: never reached; a lost event is a lost acknowledgement, which the watchdog sees */
	TOPIC_MAX = 512, /* longer than any that we subscribe to */
	CONNECT_TIMEOUT_S = 10,
	WILL_DELAY_S = 10,     /* protocol.md, topics */
	SESSION_EXPIRY_S = 15, /* a will delay beyond the end of the session would be cut; clean start all the same */
	IN_FLIGHT_MAX = 65535, /* our own window is the limit: Paho's own does not wake its sender */
};

#define SYSTEM_TRUST_STORE "/etc/ssl/certs/ca-certificates.crt"

struct paho {
	MQTTAsync handles[BROKER_SCHEME_COUNT]
	                 [2]; /* the other one for 3.1.1: after that a handle takes no 5 any more */
	MQTTAsync handle;     /* of the newest connect */
	bool is_v5;           /* likewise */
	struct inbox *events;
	char *client_id, *username, *password, *ca, *cert, *key, *will_topic;
	uint32_t packet_max;
	void (*received)(const char *topic, const uint8_t *payload, size_t len, void *arg);
	void *arg;
};

/* Where callbacks find us. A handle outlives its paho: `instance` tells the callbacks of an older one. */
static struct {
	pthread_mutex_t lock;
	struct paho *paho;
	uintptr_t instance;
	char tls_error[100];
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void push_locked(const struct paho_event *event)
{
	struct paho_event *copy;

	if (!registry.paho)
		return;
	copy = mem_alloc(sizeof(*copy), NULL);
	if (!copy)
		return;
	*copy = *event;
	if (inbox_push(registry.paho->events, copy))
		mem_deref(copy);
}

static void push(const struct paho_event *event)
{
	(void)pthread_mutex_lock(&registry.lock);
	push_locked(event);
	(void)pthread_mutex_unlock(&registry.lock);
}

static void push_lost(void *context, int code)
{
	struct paho_event event = {.kind = PAHO_LOST, .code = code};

	(void)pthread_mutex_lock(&registry.lock);
	if ((uintptr_t)context == registry.instance)
		push_locked(&event);
	(void)pthread_mutex_unlock(&registry.lock);
}

static void lost_h(void *context, char *cause)
{
	(void)cause;
	push_lost(context, 0);
}

/* a DISCONNECT of the broker is reported here and not to lost_h */
static void disconnected_h(void *context, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
	(void)properties;
	push_lost(context, (int)reason);
}

static int arrived_h(void *context, char *topic, int topic_len, MQTTAsync_message *message)
{
	/* 0 means: up to its NUL; but Paho sets it now and then. A NUL within is none of our topics. */
	size_t len = topic_len > 0 ? (size_t)topic_len : strlen(topic);
	char name[TOPIC_MAX];

	if (len < sizeof(name) && !memchr(topic, '\0', len) && message->payloadlen >= 0) {
		memcpy(name, topic, len);
		name[len] = '\0';
		(void)pthread_mutex_lock(&registry.lock);
		if (registry.paho && (uintptr_t)context == registry.instance)
			registry.paho->received(
			        name, message->payload, (size_t)message->payloadlen, registry.paho->arg);
		(void)pthread_mutex_unlock(&registry.lock);
	}
	MQTTAsync_freeMessage(&message);
	MQTTAsync_free(topic);

	return 1; /* 0 would deliver it again and not withhold the acknowledgement */
}

/* The sentence within OpenSSL's "thread:error:code:library:function:sentence:file:line": the thread differs each time, which
   would make each failure a new one in the log. */
static const char *tls_reason(const char *text, size_t *lenp)
{
	const char *end = text + *lenp, *p = text;

	for (int colons = 0; colons < 5; colons++) {
		p = memchr(p, ':', (size_t)(end - p));
		if (!p)
			return text;
		p++;
	}
	*lenp = (size_t)(end - p);
	end = memchr(p, ':', *lenp);
	if (end)
		*lenp = (size_t)(end - p);

	return p;
}

static int tls_error_h(const char *text, size_t len, void *arg)
{
	(void)arg;
	text = tls_reason(text, &len);
	while (len && (text[len - 1] == '\n' || !text[len - 1]))
		len--;
	(void)pthread_mutex_lock(&registry.lock);
	if (!registry.tls_error[0]) /* the first is the cause of the others */
		(void)snprintf(registry.tls_error, sizeof(registry.tls_error), "TLS: %.*s", (int)len, text);
	(void)pthread_mutex_unlock(&registry.lock);

	return 1;
}

static const char *v3_refusal(int code)
{
	static const char *const texts[] = {NULL, "unacceptable protocol version", "client identifier rejected",
	        "server unavailable", "bad user name or password", "not authorized"}; /* MQTT 3.1.1, 3.2.2.3 */

	return code > 0 && code < (int)(sizeof(texts) / sizeof(*texts)) ? texts[code] : NULL;
}

static void connect_failed(uintptr_t number, int code, const char *message)
{
	struct paho_event event = {.kind = PAHO_CONNECT_FAILED, .number = number, .code = code};
	const char *text = NULL;

	(void)pthread_mutex_lock(&registry.lock);
	if (code > 0)
		text = code < 0x80 ? v3_refusal(code) : MQTTReasonCode_toString((enum MQTTReasonCodes)code);
	else if (registry.tls_error[0])
		text = registry.tls_error;
	if (!text)
		text = message ? message : "name not resolved or connection refused";
	/* Paho's words for: CONNECT was sent, and the peer closed the connection */
	event.was_dropped = code <= 0 && message && strstr(message, "completion");
	(void)snprintf(event.text, sizeof(event.text), "%s", text);
	push_locked(&event);
	(void)pthread_mutex_unlock(&registry.lock);
}

static void connect_failed_h(void *context, MQTTAsync_failureData *data)
{
	connect_failed((uintptr_t)context, data->code, data->message);
}

static void connect_failed5_h(void *context, MQTTAsync_failureData5 *data)
{
	connect_failed((uintptr_t)context, data->code, data->message);
}

static const struct paho_limits no_limits = {
        .receive_maximum = UINT16_MAX, .packet_max = UINT32_MAX, .qos_max = 2, .retains = true};

static void connected_h(void *context, MQTTAsync_successData *data)
{
	struct paho_event event = {.kind = PAHO_CONNECTED, .number = (uintptr_t)context, .limits = no_limits};

	(void)data;
	push(&event);
}

static int64_t property(MQTTProperties *properties, enum MQTTPropertyCodes code, int64_t otherwise)
{
	/* a four-byte value is an int of Paho's: undo its sign */
	return MQTTProperties_hasProperty(properties, code)
	               ? (int64_t)(uint32_t)MQTTProperties_getNumericValue(properties, code)
	               : otherwise;
}

static void connected5_h(void *context, MQTTAsync_successData5 *data)
{
	struct paho_event event = {.kind = PAHO_CONNECTED, .number = (uintptr_t)context, .limits = no_limits};
	MQTTProperties *p = &data->properties;

	event.limits.receive_maximum = (uint16_t)property(p, MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, UINT16_MAX);
	event.limits.packet_max = (uint32_t)property(p, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, UINT32_MAX);
	event.limits.qos_max = (uint8_t)property(p, MQTTPROPERTY_CODE_MAXIMUM_QOS, 2);
	event.limits.retains = property(p, MQTTPROPERTY_CODE_RETAIN_AVAILABLE, 1) != 0;
	event.limits.keep_alive_s = (uint16_t)property(p, MQTTPROPERTY_CODE_SERVER_KEEP_ALIVE, 0);
	push(&event);
}

static void done_h(void *context, MQTTAsync_successData *data)
{
	struct paho_event event = {.kind = PAHO_DONE, .number = (uintptr_t)context};

	(void)data;
	push(&event);
}

static void done5_h(void *context, MQTTAsync_successData5 *data)
{
	struct paho_event event = {.kind = PAHO_DONE, .number = (uintptr_t)context};

	(void)data;
	push(&event);
}

static void failed_h(void *context, MQTTAsync_failureData *data)
{
	struct paho_event event = {.kind = PAHO_FAILED, .number = (uintptr_t)context, .code = data->code};

	push(&event);
}

static void failed5_h(void *context, MQTTAsync_failureData5 *data)
{
	struct paho_event event = {.kind = PAHO_FAILED, .number = (uintptr_t)context};

	event.code = (int)data->reasonCode >= 0x80 ? (int)data->reasonCode : data->code < 0 ? data->code : -1;
	push(&event);
}

static void closed_h(void *context, MQTTAsync_successData *data)
{
	struct paho_event event = {.kind = PAHO_CLOSED, .number = (uintptr_t)context};

	(void)data;
	push(&event);
}

static void closed5_h(void *context, MQTTAsync_successData5 *data)
{
	struct paho_event event = {.kind = PAHO_CLOSED, .number = (uintptr_t)context};

	(void)data;
	push(&event);
}

static void event_free(void *item)
{
	mem_deref(item);
}

static void forget_password(struct paho *paho)
{
	if (paho->password)
		explicit_bzero(paho->password, strlen(paho->password));
	paho->password = mem_deref(paho->password);
}

static void destructor(void *arg)
{
	struct paho *paho = arg;

	paho_mute(paho);
	mem_deref(paho->events);
	mem_deref(paho->client_id);
	mem_deref(paho->username);
	forget_password(paho);
	mem_deref(paho->ca);
	mem_deref(paho->cert);
	mem_deref(paho->key);
	mem_deref(paho->will_topic);
}

static int copy(char **textp, const char *text)
{
	return text ? str_dup(textp, text) : 0;
}

int paho_set_password(struct paho *paho, const char *password)
{
	forget_password(paho);

	return copy(&paho->password, password);
}

static int copy_config(struct paho *paho, const struct paho_config *config)
{
	paho->packet_max = config->packet_max;
	paho->received = config->received;
	paho->arg = config->arg;
	if (copy(&paho->client_id, config->client_id) || copy(&paho->username, config->username) ||
	        copy(&paho->password, config->password) || copy(&paho->cert, config->cert) ||
	        copy(&paho->key, config->key) || copy(&paho->will_topic, config->will_topic))
		return ENOMEM;

	return copy(&paho->ca, config->ca ? config->ca : SYSTEM_TRUST_STORE);
}

int paho_alloc(struct paho **pahop, const struct paho_config *config)
{
	struct paho *paho = mem_zalloc(sizeof(*paho), destructor);
	int err;

	if (!paho)
		return ENOMEM;
	err = copy_config(paho, config);
	if (!err)
		err = inbox_alloc(&paho->events, EVENTS_MAX, event_free);
	if (err)
		goto out;

	/* Paho would send even tcp:// through a proxy */
	(void)unsetenv("http_proxy");
	(void)unsetenv("https_proxy");
	(void)signal(SIGPIPE, SIG_IGN);

	(void)pthread_mutex_lock(&registry.lock);
	if (registry.paho)
		err = EBUSY;
	else {
		registry.paho = paho;
		registry.instance++;
	}
	(void)pthread_mutex_unlock(&registry.lock);
out:
	if (err)
		mem_deref(paho);
	else
		*pahop = paho;

	return err;
}

struct inbox *paho_inbox(struct paho *paho)
{
	return paho->events;
}

void paho_mute(struct paho *paho)
{
	(void)pthread_mutex_lock(&registry.lock);
	if (registry.paho == paho)
		registry.paho = NULL;
	(void)pthread_mutex_unlock(&registry.lock);
}

static int create_handle(struct paho *paho, MQTTAsync *handlep, const char *uri)
{
	MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer5;
	void *context;
	int rc;

	(void)pthread_mutex_lock(&registry.lock);
	context = (void *)registry.instance;
	(void)pthread_mutex_unlock(&registry.lock);

	options.maxBufferedMessages = IN_FLIGHT_MAX;
	rc = MQTTAsync_createWithOptions(handlep, uri, paho->client_id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &options);
	if (rc != MQTTASYNC_SUCCESS)
		return EINVAL;
	rc = MQTTAsync_setCallbacks(*handlep, context, lost_h, arrived_h, NULL);
	if (rc == MQTTASYNC_SUCCESS)
		rc = MQTTAsync_setDisconnected(*handlep, context, disconnected_h);

	return rc == MQTTASYNC_SUCCESS ? 0 : EINVAL;
}

static int add_integer(MQTTProperties *properties, enum MQTTPropertyCodes code, unsigned value)
{
	MQTTProperty p = {.identifier = code};

	p.value.integer4 = value;

	return MQTTProperties_add(properties, &p);
}

static int add_content_type(MQTTProperties *properties, const char *type)
{
	MQTTProperty p = {.identifier = MQTTPROPERTY_CODE_CONTENT_TYPE};
	char text[128];

	(void)snprintf(text, sizeof(text), "application/x-protobuf; messageType=\"sipedge.v1.%s\"", type);
	p.value.data.data = text;
	p.value.data.len = (int)strlen(text);

	return MQTTProperties_add(properties, &p); /* copies */
}

int paho_connect(struct paho *paho, const struct paho_connect *connect, uintptr_t number)
{
	MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
	MQTTAsync_connectOptions options5 = MQTTAsync_connectOptions_initializer5;
	MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
	MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;
	MQTTProperties properties = MQTTProperties_initializer;
	MQTTProperties will_properties = MQTTProperties_initializer;
	char *uris[] = {(char *)connect->uri};
	MQTTAsync *handlep = &paho->handles[connect->scheme][connect->is_v5];
	int rc = 0;

	if (!*handlep) {
		int err = create_handle(paho, handlep, connect->uri);

		if (err)
			return err;
	}
	paho->handle = *handlep;
	paho->is_v5 = connect->is_v5;

	if (connect->is_v5) {
		options = options5;
		options.onSuccess5 = connected5_h;
		options.onFailure5 = connect_failed5_h;
		options.connectProperties = &properties;
		rc |= add_integer(&properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, SESSION_EXPIRY_S);
		rc |= add_integer(&properties, MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, paho->packet_max);
		if (connect->will) {
			options.willProperties = &will_properties;
			rc |= add_integer(&will_properties, MQTTPROPERTY_CODE_WILL_DELAY_INTERVAL, WILL_DELAY_S);
			rc |= add_content_type(&will_properties, "NodeStatus");
		}
	} else {
		options.MQTTVersion = MQTTVERSION_3_1_1;
		options.cleansession = 1;
		options.onSuccess = connected_h;
		options.onFailure = connect_failed_h;
	}
	options.context = (void *)number;
	options.keepAliveInterval = connect->keep_alive_s;
	options.connectTimeout = CONNECT_TIMEOUT_S;
	options.maxInflight = IN_FLIGHT_MAX;
	options.automaticReconnect = 0;
	options.serverURIs = uris; /* one: Paho never comes back to the first of several */
	options.serverURIcount = 1;
	options.username = paho->username;
	options.password = paho->password;
	if (connect->will) {
		will.topicName = paho->will_topic;
		will.retained = connect->will_retain;
		will.qos = connect->will_qos;
		will.payload.data = connect->will->buf;
		will.payload.len = (int)connect->will->end;
		options.will = &will;
	}
	if (broker_scheme_is_tls(connect->scheme)) {
		tls.enableServerCertAuth = 1;
		tls.verify = 1; /* the host name too; Paho's default is not to */
		tls.disableDefaultTrustStore = 1;
		tls.trustStore = paho->ca;
		tls.keyStore = paho->cert;
		tls.privateKey = paho->key;
		tls.ssl_error_cb = tls_error_h;
		options.ssl = &tls;
	}
	(void)pthread_mutex_lock(&registry.lock);
	registry.tls_error[0] = '\0';
	(void)pthread_mutex_unlock(&registry.lock);

	if (!rc)
		rc = MQTTAsync_connect(paho->handle, &options);
	MQTTProperties_free(&properties);
	MQTTProperties_free(&will_properties);

	return rc == MQTTASYNC_SUCCESS ? 0 : EINVAL;
}

static void set_response(const struct paho *paho, MQTTAsync_responseOptions *response, uintptr_t number)
{
	response->context = (void *)number;
	if (paho->is_v5) {
		response->onSuccess5 = done5_h;
		response->onFailure5 = failed5_h;
	} else {
		response->onSuccess = done_h;
		response->onFailure = failed_h;
	}
}

static int to_errno(int rc)
{
	switch (rc) {
	case MQTTASYNC_SUCCESS:
		return 0;
	case MQTTASYNC_DISCONNECTED:
		return ENOTCONN;
	case MQTTASYNC_NO_MORE_MSGIDS:
	case MQTTASYNC_MAX_BUFFERED_MESSAGES:
		return ENOBUFS;
	default:
		return EINVAL;
	}
}

int paho_subscribe(struct paho *paho, const char *topic, uintptr_t number)
{
	MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;

	set_response(paho, &response, number);

	return to_errno(MQTTAsync_subscribe(paho->handle, topic, 1, &response));
}

int paho_publish(struct paho *paho, const struct link_message *msg, int qos, uintptr_t number)
{
	MQTTAsync_responseOptions response = MQTTAsync_responseOptions_initializer;
	MQTTAsync_message message = MQTTAsync_message_initializer;
	int rc = 0;

	set_response(paho, &response, number);
	message.payload = msg->payload->buf;
	message.payloadlen = (int)msg->payload->end;
	message.qos = qos;
	message.retained = msg->retain;
	if (paho->is_v5) {
		/* an empty one is no message of a type: it only clears */
		if (msg->type && msg->payload->end)
			rc |= add_content_type(&message.properties, msg->type);
		if (msg->expiry_s)
			rc |= add_integer(
			        &message.properties, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, msg->expiry_s);
	}
	/* with a response always: without one Paho drops the properties */
	if (!rc)
		rc = to_errno(MQTTAsync_sendMessage(paho->handle, msg->topic, &message, &response));
	else
		rc = ENOMEM;
	MQTTProperties_free(&message.properties);

	return rc;
}

int paho_disconnect(struct paho *paho, uintptr_t number)
{
	MQTTAsync_disconnectOptions options = MQTTAsync_disconnectOptions_initializer;
	MQTTAsync_disconnectOptions options5 = MQTTAsync_disconnectOptions_initializer5;

	if (!paho->handle)
		return ENOTCONN;
	if (paho->is_v5) {
		options = options5;
		options.onSuccess5 = closed5_h;
	} else {
		options.onSuccess = closed_h;
	}
	options.context = (void *)number;
	options.timeout = 0;

	return to_errno(MQTTAsync_disconnect(paho->handle, &options));
}
