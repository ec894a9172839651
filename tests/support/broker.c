/**
 * @file broker.c  A real mosquitto on a free loopback port, and an MQTT client that shares no code with the agent
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "support/broker.h"

#define MOSQUITTO "/usr/sbin/mosquitto"

static void die(const char *what)
{
	(void)fprintf(stderr, "test broker: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0)
		die("socket");
	if (!connect(fd, (struct sockaddr *)&sin, sizeof(sin)))
		return fd;
	(void)close(fd);

	return -1;
}

static uint16_t free_port(void)
{
	struct sockaddr_in sin = {.sin_family = AF_INET};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sin, sizeof(sin)) || getsockname(fd, (struct sockaddr *)&sin, &len))
		die("free port");
	(void)close(fd);

	return ntohs(sin.sin_port);
}

static void config_path(const struct broker_process *broker, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/mosquitto.conf", broker->dir);
}

void broker_init(struct broker_process *broker)
{
	char path[128];
	FILE *f;

	if (access(MOSQUITTO, X_OK))
		die(MOSQUITTO " is missing (Debian package mosquitto)");
	memset(broker, 0, sizeof(*broker));
	(void)snprintf(broker->dir, sizeof(broker->dir), "/tmp/sipedge-broker-XXXXXX");
	if (!mkdtemp(broker->dir))
		die("temporary folder");
	broker->port = free_port();
	(void)snprintf(broker->url, sizeof(broker->url), "mqtt://127.0.0.1:%u", broker->port);
	config_path(broker, path, sizeof(path));
	/* `user`: one that changes its user forgets that it shall die with us */
	f = fopen(path, "w");
	if (!f ||
	        fprintf(f,
	                "user root\nlistener %u 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest none\n"
	                "max_queued_messages 100000\n",
	                broker->port) < 0 ||
	        fclose(f))
		die("configuration");
}

void broker_start(struct broker_process *broker)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	char path[128];
	pid_t parent = getpid();

	config_path(broker, path, sizeof(path));
	broker->pid = fork();
	if (broker->pid < 0)
		die("fork");
	if (!broker->pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		(void)execl(MOSQUITTO, MOSQUITTO, "-c", path, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000; i++) {
		int fd = connect_to(broker->port);

		if (fd >= 0) {
			(void)close(fd);
			return;
		}
		if (waitpid(broker->pid, NULL, WNOHANG) == broker->pid)
			die("mosquitto ended at once");
		(void)nanosleep(&pause, NULL);
	}
	die("mosquitto does not listen after 10 s");
}

void broker_kill(struct broker_process *broker)
{
	if (broker->pid) {
		(void)kill(broker->pid, SIGKILL);
		(void)waitpid(broker->pid, NULL, 0);
	}
	broker->pid = 0;
}

void broker_close(struct broker_process *broker)
{
	char path[128];

	broker_kill(broker);
	config_path(broker, path, sizeof(path));
	(void)unlink(path);
	(void)rmdir(broker->dir);
}

static void send_all(int fd, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

		if (n <= 0)
			die("observer send");
		buf += n;
		len -= (size_t)n;
	}
}

static void receive_all(int fd, uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = recv(fd, buf, len, 0);

		if (n <= 0)
			die("observer receive");
		buf += n;
		len -= (size_t)n;
	}
}

static size_t put_string(uint8_t *buf, const char *text)
{
	size_t len = strlen(text);

	buf[0] = (uint8_t)(len >> 8);
	buf[1] = (uint8_t)len;
	memcpy(buf + 2, text, len);

	return len + 2;
}

static void send_packet(int fd, uint8_t type, const uint8_t *body, size_t len)
{
	uint8_t header[5] = {type};
	size_t n = 1, rest = len;

	do {
		header[n] = (uint8_t)(rest % 128);
		rest /= 128;
		if (rest)
			header[n] |= 0x80;
		n++;
	} while (rest);
	send_all(fd, header, n);
	send_all(fd, body, len);
}

/* bytes beyond `size` are read and dropped */
static uint8_t receive_packet(int fd, uint8_t *body, size_t size, size_t *lenp)
{
	uint8_t type, byte, dropped[4096];
	size_t len = 0, kept;
	unsigned shift = 0;

	receive_all(fd, &type, 1);
	do {
		receive_all(fd, &byte, 1);
		len |= (size_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	kept = len < size ? len : size;
	receive_all(fd, body, kept);
	*lenp = kept;
	for (len -= kept; len; len -= kept) {
		kept = len < sizeof(dropped) ? len : sizeof(dropped);
		receive_all(fd, dropped, kept);
	}

	return type;
}

int observer_open(const struct broker_process *broker, const char *client_id)
{
	uint8_t body[128] = {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0};
	int fd = connect_to(broker->port);
	size_t len;

	if (fd < 0)
		die("observer connect");
	send_packet(fd, 0x10, body, 10 + put_string(body + 10, client_id));
	if (receive_packet(fd, body, sizeof(body), &len) != 0x20 || len < 2 || body[1])
		die("observer not accepted");

	return fd;
}

void observer_subscribe(int fd, const char *topic)
{
	uint8_t body[300] = {0, 1};
	size_t len = 2 + put_string(body + 2, topic);

	body[len++] = 0;
	send_packet(fd, 0x82, body, len);
	if (receive_packet(fd, body, sizeof(body), &len) != 0x90)
		die("observer subscription");
}

void observer_publish(int fd, const char *topic, const void *payload, size_t len, bool retain)
{
	uint8_t *body = malloc(len + 300);
	size_t n;

	if (!body)
		die("observer memory");
	n = put_string(body, topic);
	if (len)
		memcpy(body + n, payload, len);
	send_packet(fd, retain ? 0x31 : 0x30, body, n + len);
	free(body);
}

bool observer_next(int fd, struct observation *seen, int timeout_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	uint8_t body[sizeof(seen->payload) + 300], type;
	size_t len, topic_len;

	if (poll(&pfd, 1, timeout_ms) <= 0)
		return false;
	type = receive_packet(fd, body, sizeof(body), &len);
	topic_len = len >= 2 ? ((size_t)body[0] << 8 | body[1]) : 0;
	if ((type & 0xf0) != 0x30 || len < 2 + topic_len || topic_len >= sizeof(seen->topic))
		die("observer: not a PUBLISH");
	memset(seen, 0, sizeof(*seen));
	memcpy(seen->topic, body + 2, topic_len);
	seen->len = len - 2 - topic_len;
	if (seen->len > sizeof(seen->payload))
		seen->len = sizeof(seen->payload);
	memcpy(seen->payload, body + 2 + topic_len, seen->len);
	seen->retained = type & 1;

	return true;
}
