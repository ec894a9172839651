/**
 * @file link.h  The connection to the broker: the only file with Paho
 *
 * One publisher thread, the only caller of Paho; Paho's own threads copy, push and return. Clean start always, own
 * window, own reconnect (0.5 s doubling to 60 s, times 0.5..1.5), MQTT 5 with a fall-back to 3.1.1, several brokers in turn. Nothing is queued in
 * Paho: at most the window (min(64, Receive Maximum)) is handed to it; what its fate is unknown comes back as LINK_UNKNOWN.
 */
#ifndef SIPEDGE_MQTT_LINK_H
#define SIPEDGE_MQTT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <re.h>

struct link;

struct link_config {             /* strings borrowed until link_alloc() returns */
	const char *const *urls; /* mqtt:// mqtts:// ws:// wss://, NULL-terminated */
	const char *client_id;
	const char *username, *password; /* NULL: none */
	const char *ca, *cert, *key;     /* files; NULL: the system's trust store, no client certificate */
	const char *status_topic;        /* of birth, will and farewell */
	const char *const *topics;       /* to subscribe to exactly, QoS 1; NULL-terminated */
	size_t payload_max;              /* announced as Maximum Packet Size, topic and properties on top */
};

struct link_message {
	char *topic;
	struct mbuf *payload; /* whole buffer; empty: clears a retained message */
	const char *type;     /* static: "CheckResult", for the content type */
	bool retain;
	uint32_t expiry_s; /* MQTT 5 message expiry; 0: none */
	uint64_t id;       /* the owner's */
};

int link_message_alloc(
        struct link_message **msgp, const char *topic, struct mbuf *payload /* referenced */, const char *type);

enum link_outcome {
	LINK_ACKED,
	LINK_REFUSED, /* by the broker, for good: not authorised, quota, too large ...; reason says which */
	LINK_UNKNOWN, /* connection lost before the acknowledgement: hand it over again */
};

enum link_state {
	LINK_CONNECTED, /* subscribed, birth published */
	LINK_DISCONNECTED,
};

/* Called on the publisher thread (received: on Paho's): copy, push, return. Never from inside a link_ function. */
struct link_handlers {
	void (*received)(const char *topic, const uint8_t *payload, size_t len, void *arg);
	void (*outcome)(
	        struct link_message *msg, enum link_outcome outcome, int reason, void *arg); /* takes msg back */
	void (*state)(enum link_state state, void *arg);
	/* The payload of the status topic, of this moment; for the will (lost) at connect time. since: when this connection came up. */
	int (*status)(struct mbuf *mb, int node_state, int64_t since_unix_us, void *arg);
	void *arg;
};

int link_alloc(struct link **linkp, const struct link_config *config, const struct link_handlers *handlers);
int link_start(struct link *link); /* starts the publisher thread; returns at once */

/* Any thread. The message becomes the link's. ENOBUFS: more than its window waits; ENOTCONN: not connected. It stays the caller's then. */
int link_publish(struct link *link, struct link_message *msg);

void link_publish_status(struct link *link); /* any thread: publish the status again, soon */
bool link_is_alive(struct link *link);       /* the publisher thread went round within the last 10 s */

/* Says offline (acknowledged, or 2 s), disconnects, ends the thread. Messages without an outcome are freed. mem_deref() afterwards. */
void link_stop(struct link *link);

#endif
