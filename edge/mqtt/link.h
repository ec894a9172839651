/**
 * @file link.h  The connection to the broker
 *
 * One publisher thread, the only caller of Paho (through paho.h, the only file that includes it); Paho's own threads copy, push and return. Clean start always, own window, own
 * reconnect (0.5 s doubling to 60 s, times 0.5..1.5), MQTT 5 with a fall-back to 3.1.1, several brokers in turn. Nothing is
 * queued in Paho: at most the window (min(64, Receive Maximum), about 32 kB) is handed to it; what has an unknown fate comes
 * back as LINK_UNKNOWN. A connection whose oldest message is not acknowledged within 15 s is given up.
 *
 * One link per process at a time: Paho's callbacks find it in one place, and Paho's handles are never destroyed.
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
	/* The largest payload that is of use. Twice as much, and 64 KiB, are announced as Maximum Packet Size: so one that is a
	   little too large arrives and can be refused with a reason; above that a broker of MQTT 5 delivers nothing at all. */
	size_t payload_max;
};

/* EINVAL: *whyp is a static sentence. For option validation. */
int link_url_check(const char *url, const char **whyp);

struct link_message {
	char *topic;
	struct mbuf *payload; /* whole buffer; empty: clears a retained message */
	const char *type;     /* static: "CheckResult", for the content type */
	bool retain;
	uint32_t expiry_s; /* MQTT 5 message expiry; 0: none */
	uint64_t id;       /* the owner's, as are the two below: room for what it was told, to pass the message on */
	int outcome;
	int reason;
};

/* Message and payload belong to one thread at a time: give up your own reference to the payload before link_publish(). */
int link_message_alloc(
        struct link_message **msgp, const char *topic, struct mbuf *payload /* referenced */, const char *type);

enum link_outcome {
	LINK_ACKED,
	LINK_REFUSED, /* by the broker, for good: not authorised, quota, too large ...; reason says which */
	LINK_UNKNOWN, /* connection lost before the acknowledgement, or the broker is overloaded: hand it over again */
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
	/* The payload of the status topic, of this moment, appended to mb; node_state: enum node_state of wire.h, NODE_LOST for
	   the will at connect time. since: when this connection came up (will: when it was attempted). */
	int (*status)(struct mbuf *mb, int node_state, int64_t since_unix_us, void *arg);
	void *arg;
};

/* Before any other thread exists: takes http_proxy and its kin out of the environment, and ignores SIGPIPE. EINVAL: a URL is
   none (see link_url_check()) or none is there. EBUSY: there is a link already. */
int link_alloc(struct link **linkp, const struct link_config *config, const struct link_handlers *handlers);
int link_start(struct link *link); /* starts the publisher thread; returns at once */

/* Any thread. The message becomes the link's. ENOBUFS: more than its window waits; ENOTCONN: not connected. It stays the
   caller's then. After ENOBUFS an outcome will come; after ENOTCONN a LINK_CONNECTED. */
int link_publish(struct link *link, struct link_message *msg);

/* Any thread. From the next connect on; copied, NULL: none. Certificates are read from their files at each connect anyway. */
int link_set_password(struct link *link, const char *password);

void link_publish_status(struct link *link); /* any thread: publish the status again, soon */
bool link_is_alive(struct link *link);       /* the publisher thread went round within the last 10 s */

/* Says offline (acknowledged, or 2 s), disconnects, ends the thread. Messages without an outcome are freed; no handler is
   called after it. Returns within 4 s even when Paho hangs in a name resolution under its mutex: the thread is then left
   behind and the link's memory is never freed. mem_deref() afterwards. */
void link_stop(struct link *link);

#endif
