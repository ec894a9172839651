/**
 * @file paho.h  Paho's asynchronous client, made harmless: the only file that includes it
 *
 * Called by the publisher thread alone. Every callback becomes an event in one inbox; nothing is decided here. Contexts are
 * numbers, not pointers: Paho calls back late, also for connections that are long gone, and such a number is simply unknown.
 * Handles (one per URL scheme, since Paho's flags for TLS and WebSocket stick to a handle) live until the process ends.
 */
#ifndef SIPEDGE_MQTT_PAHO_H
#define SIPEDGE_MQTT_PAHO_H

#include <stdbool.h>
#include <stdint.h>
#include "edge/mqtt/link.h"
#include "edge/mqtt/url.h"

struct paho;

struct paho_config { /* strings copied */
	const char *client_id, *username, *password;
	const char *ca, *cert, *key;
	const char *will_topic;
	uint32_t packet_max; /* announced as Maximum Packet Size */
	void (*received)(const char *topic, const uint8_t *payload, size_t len, void *arg); /* on Paho's thread */
	void *arg;
};

struct paho_limits { /* of the broker, from its CONNACK */
	uint16_t receive_maximum;
	uint16_t keep_alive_s; /* 0: it takes ours */
	uint32_t packet_max;
	uint8_t qos_max;
	bool retains;
};

enum paho_event_kind {
	PAHO_CONNECTED,      /* limits are set */
	PAHO_CONNECT_FAILED, /* code: CONNACK's, or negative; text */
	PAHO_LOST,           /* code: DISCONNECT's reason, or 0 */
	PAHO_CLOSED,         /* what paho_disconnect() wanted */
	PAHO_DONE,           /* published or subscribed */
	PAHO_FAILED,         /* published or subscribed not: code is the reason, or negative: unknown fate */
};

struct paho_event {
	enum paho_event_kind kind;
	uintptr_t number; /* of the request; PAHO_LOST: 0 */
	int code;
	bool was_dropped; /* PAHO_CONNECT_FAILED: the broker closed the connection instead of a CONNACK */
	char text[128];
	struct paho_limits limits;
};

struct paho_connect {
	const char *uri; /* of broker_url_parse() */
	enum broker_scheme scheme;
	bool is_v5;
	uint16_t keep_alive_s;
	struct mbuf *will; /* NULL: none */
	bool will_retain;
	int will_qos;
};

/* Before other threads exist: changes the environment. EBUSY: there is one already. */
int paho_alloc(struct paho **pahop, const struct paho_config *config);
struct inbox;
struct inbox *paho_inbox(struct paho *paho); /* of struct paho_event; the taker frees each with mem_deref() */

/* 0, or: no event with this number will come. All may block while Paho resolves a name. */
int paho_connect(struct paho *paho, const struct paho_connect *connect, uintptr_t number);
int paho_subscribe(struct paho *paho, const char *topic, uintptr_t number);
int paho_publish(struct paho *paho, const struct link_message *msg, int qos, uintptr_t number);
int paho_disconnect(struct paho *paho, uintptr_t number); /* at once: without waiting for acknowledgements */

/* From the next paho_connect() on; copied; NULL: none. ENOMEM. */
int paho_set_password(struct paho *paho, const char *password);

void paho_mute(struct paho *paho); /* any thread: no event and no payload from now on */

#endif
