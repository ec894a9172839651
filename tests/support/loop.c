/**
 * @file loop.c  Runs libre's loop in a test until something has happened, with a deadline
 */
#include <sys/time.h>
#include <unistd.h>
#include "edge/clock.h"
#include "support/loop.h"

enum {
	DESCRIPTORS = 4096,
	LOOK_MS = 1,
};

struct look {
	struct tmr tmr;
	loop_done_h *done;
	void *arg;
	uint64_t end_us;
};

int loop_setup(void **state)
{
	(void)state;

	return libre_init() || fd_setsize(DESCRIPTORS);
}

int loop_teardown(void **state)
{
	(void)state;
	libre_close();

	return 0;
}

static void look_h(void *arg)
{
	struct look *look = arg;

	if ((look->done && look->done(look->arg)) || clock_mono_us() >= look->end_us)
		re_cancel();
	else
		tmr_start(&look->tmr, LOOK_MS, look_h, look);
}

bool loop_until(loop_done_h *done, void *arg, unsigned deadline_ms)
{
	struct look look = {.done = done, .arg = arg, .end_us = clock_mono_us() + (uint64_t)deadline_ms * 1000};

	tmr_init(&look.tmr);
	tmr_start(&look.tmr, 0, look_h, &look);
	(void)re_main(NULL);
	tmr_cancel(&look.tmr);

	return done && done(arg);
}

struct count {
	const unsigned *value;
	unsigned wanted;
};

static bool counted_h(void *arg)
{
	const struct count *count = arg;

	return *count->value >= count->wanted;
}

bool loop_until_count(const unsigned *value, unsigned wanted)
{
	struct count count = {value, wanted};

	return loop_until(counted_h, &count, LOOP_DEADLINE_MS);
}

void loop_run(unsigned ms)
{
	(void)loop_until(NULL, NULL, ms);
}

void loopback(struct sa *sa)
{
	(void)sa_set_str(sa, "127.0.0.1", 0);
}

static int peer_socket(int type, struct sa *local)
{
	struct timeval limit = {.tv_sec = LOOP_DEADLINE_MS / 1000};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!local)
		return fd;

	loopback(local);
	if (bind(fd, &local->u.sa, local->len) < 0 || getsockname(fd, &local->u.sa, &local->len) < 0) {
		(void)close(fd);
		return -1;
	}

	return fd;
}

int peer_udp(struct sa *local)
{
	return peer_socket(SOCK_DGRAM, local);
}

int peer_listen(struct sa *local)
{
	int fd = peer_socket(SOCK_STREAM, local);

	if (fd >= 0 && listen(fd, 16) < 0) {
		(void)close(fd);
		return -1;
	}

	return fd;
}

int peer_connect(const struct sa *to)
{
	int fd = peer_socket(SOCK_STREAM, NULL);

	if (fd >= 0 && connect(fd, &to->u.sa, to->len) < 0) {
		(void)close(fd);
		return -1;
	}

	return fd;
}
