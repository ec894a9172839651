/**
 * @file broker.h  A real mosquitto on a free loopback port, and an MQTT client that shares no code with the agent
 *
 * For loop tests. Everything fails the test when it does not work, with a line that says why.
 */
#ifndef TESTS_SUPPORT_BROKER_H
#define TESTS_SUPPORT_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct broker_process {
	char dir[64]; /* temporary */
	uint16_t port;
	pid_t pid; /* 0: not running */
	char url[64];
};

void broker_init(struct broker_process *broker);  /* picks the port; nothing runs yet */
void broker_start(struct broker_process *broker); /* returns when it accepts connections */
void broker_kill(struct broker_process *broker);  /* SIGKILL, and waited for */
void broker_close(struct broker_process *broker); /* kills it when it runs, and removes the folder */

/* MQTT 3.1.1 on a plain socket, QoS 0 */
struct observation {
	char topic[256];
	uint8_t payload[4096];
	size_t len;
	bool retained;
};

int observer_open(const struct broker_process *broker, const char *client_id); /* a socket */
void observer_subscribe(int fd, const char *topic);
void observer_publish(int fd, const char *topic, const void *payload, size_t len, bool retain);
bool observer_next(int fd, struct observation *seen, int timeout_ms); /* false: nothing within the time */

#endif
