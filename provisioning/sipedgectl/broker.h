/**
 * @file broker.h  One connection to an MQTT broker, used step by step
 *
 * For a tool that lives for seconds: every call waits until it is done. MQTT 5, else 3.1.1. One object, one thread; Paho's own
 * threads only copy into its queue. SIGINT and SIGTERM end every wait while it exists. It says on stderr what went wrong.
 */
#ifndef SIPEDGE_SIPEDGECTL_BROKER_H
#define SIPEDGE_SIPEDGECTL_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "provisioning/sipedgectl/options.h"

struct broker;

struct broker_message {
	struct broker_message *next;
	char *topic;
	uint8_t *payload;
	size_t len;
	bool retained; /* it was there before: not a live one */
};

enum broker_event {
	BROKER_MESSAGE,
	BROKER_TIMEOUT,
	BROKER_INTERRUPTED, /* SIGINT or SIGTERM */
	BROKER_LOST,        /* the connection */
};

/* Connects to the first broker that answers. EINVAL: bad options; ECANCELED: interrupted; ECONNREFUSED: none answers. */
int broker_open(struct broker **bp, const struct options *options);
void broker_close(struct broker *b); /* NULL is fine */

int broker_subscribe(struct broker *b, const char *topic);

/* QoS 1, retained; returns when the broker has acknowledged. Data are borrowed until then. */
int broker_publish_retained(struct broker *b, const char *topic, const uint8_t *data, size_t len, int timeout_ms);

/* Waits until `deadline_ms` of broker_now_ms() for the next message, which becomes the caller's. What was received before the
   connection was lost comes first. */
enum broker_event broker_wait(struct broker *b, int64_t deadline_ms, struct broker_message **msgp);
void broker_message_free(struct broker_message *msg); /* NULL is fine */

/* Connects and subscribes again after BROKER_LOST, waiting a little longer each time. ECANCELED: interrupted; ETIMEDOUT. */
int broker_reopen(struct broker *b, int64_t deadline_ms);

int64_t broker_now_ms(void); /* monotonic */

#endif
