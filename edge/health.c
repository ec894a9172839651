/**
 * @file health.c  Tells whether a running agent is alive: a socket in its state directory
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <re.h>
#include "edge/health.h"

enum { ANSWER_TIMEOUT_S = 5 };

struct health {
	health_h *h;
	void *arg;
	int dir; /* the state directory: its path may be longer than a socket address */
	int fd;
};

static const char file_name[] = "health.sock";

static void destructor(void *arg)
{
	struct health *health = arg;

	if (health->fd >= 0) {
		fd_close(health->fd);
		(void)close(health->fd);
		(void)unlinkat(health->dir, file_name, 0);
	}
	if (health->dir >= 0)
		(void)close(health->dir);
}

static void set_address(struct sockaddr_un *addr, int dir)
{
	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	(void)snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", dir, file_name);
}

/* The peer may hang: then its queue is full, which is EAGAIN after the time. */
static int connect_to(int dir)
{
	static const struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un addr;

	set_address(&addr, dir);
	if (fd >= 0) {
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)); /* of connect(), too */
	}
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		int err = errno;

		(void)close(fd);
		errno = err;
		return -1;
	}

	return fd;
}

static void answer(int flags, void *arg)
{
	struct health *health = arg;
	int fd = accept4(health->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	const char *fault;
	(void)flags;

	if (fd < 0)
		return;

	fault = health->h(health->arg);
	if (!fault)
		fault = "ok";
	(void)!send(fd, fault, strlen(fault), MSG_NOSIGNAL); /* who asked may be gone */
	(void)close(fd);
}

/* A socket left by an agent that was killed is in the way of the next one; one that answers is another agent's. */
static int bind_socket(struct health *health)
{
	struct sockaddr_un addr;
	mode_t mask;
	int err = 0;
	int other = connect_to(health->dir);

	if (other >= 0 || errno == EAGAIN) {
		if (other >= 0)
			(void)close(other);
		return EADDRINUSE;
	}
	(void)unlinkat(health->dir, file_name, 0);

	health->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (health->fd < 0)
		return errno;

	set_address(&addr, health->dir);
	mask = umask(0177);
	if (bind(health->fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(health->fd, 8))
		err = errno;
	(void)umask(mask);
	if (err) {
		(void)close(health->fd);
		health->fd = -1;
	}

	return err;
}

int health_alloc(struct health **healthp, const char *state_dir, health_h *h, void *arg)
{
	struct health *health = mem_zalloc(sizeof(*health), destructor);
	int err = 0;

	if (!health)
		return ENOMEM;

	health->h = h;
	health->arg = arg;
	health->fd = -1;
	health->dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (health->dir < 0)
		err = errno;
	if (!err)
		err = bind_socket(health);
	if (!err)
		err = fd_listen(health->fd, FD_READ, answer, health);
	if (err) {
		mem_deref(health);
		return err;
	}

	*healthp = health;

	return 0;
}

static int ask(const char *state_dir)
{
	int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int fd = dir < 0 ? -1 : connect_to(dir);
	char text[64];
	ssize_t n;

	if (fd < 0) {
		(void)fprintf(stderr, "sipedge health: %s: no agent answers: %s\n", state_dir, strerror(errno));
		return 1;
	}

	n = recv(fd, text, sizeof(text) - 1, 0);
	if (n <= 0) {
		(void)fprintf(stderr, "sipedge health: the loop did not answer within %d s\n", ANSWER_TIMEOUT_S);
		return 1;
	}
	text[n] = '\0';
	if (strcmp(text, "ok")) {
		(void)fprintf(stderr, "sipedge health: not alive: %s\n", text);
		return 1;
	}
	(void)puts("ok");

	return 0;
}

int health_main(int argc, char *argv[])
{
	static const struct option longs[] = {
	        {"state-dir", required_argument, NULL, 's'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *state_dir = getenv("SIPEDGE_STATE_DIR");
	int c;

	optind = 0;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 's') {
			state_dir = optarg;
		} else if (c == 'h') {
			(void)puts("usage: sipedge health [--state-dir DIR]\n\n"
			           "Exit status 0 when the agent with this state directory is alive: its loop turns, "
			           "its store and\n"
			           "publisher threads go round. It says nothing about the broker. 1: not alive, 2: bad "
			           "usage.");
			return 0;
		} else {
			return 2;
		}
	}
	if (optind < argc) {
		(void)fprintf(
		        stderr, "sipedge: health: '%s' is not an option; see `sipedge health --help`\n", argv[optind]);
		return 2;
	}

	return ask(state_dir && *state_dir ? state_dir : "/var/lib/sipedge");
}
