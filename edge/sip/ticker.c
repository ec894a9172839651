/**
 * @file ticker.c  Drives a wheel from libre's loop
 */
#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <re.h>
#include "edge/clock.h"
#include "edge/sip/ticker.h"

struct ticker {
	struct wheel *wheel;
	int fd; /* -1: none */
};

static void ticker_destructor(void *data)
{
	struct ticker *t = data;

	wheel_watch(t->wheel, 0, NULL, NULL);
	if (t->fd >= 0) {
		fd_close(t->fd);
		(void)close(t->fd);
	}
	mem_deref(t->wheel);
}

static void arm(struct ticker *t, uint64_t at_us)
{
	struct itimerspec when = {.it_value = {0}};

	if (at_us != UINT64_MAX) {
		if (!at_us)
			at_us = 1; /* all zero would disarm it */
		when.it_value.tv_sec = (time_t)(at_us / 1000000);
		when.it_value.tv_nsec = (long)(at_us % 1000000) * 1000;
	}
	(void)timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void earlier_h(uint64_t at_us, void *arg)
{
	arm(arg, at_us);
}

static void watch(struct ticker *t)
{
	uint64_t next_us = wheel_next(t->wheel);

	arm(t, next_us);
	wheel_watch(t->wheel, next_us, earlier_h, t);
}

static void tick_h(int flags, void *arg)
{
	struct ticker *t = arg;
	uint64_t expirations;
	(void)flags;

	if (read(t->fd, &expirations, sizeof(expirations)) < 0)
		return; /* it was set anew meanwhile */

	/* armed once, after all: handlers start timers by the thousand */
	wheel_watch(t->wheel, 0, NULL, NULL);
	wheel_advance(t->wheel, clock_mono_us());
	watch(t);
}

int ticker_alloc(struct ticker **tp, struct wheel *wheel)
{
	struct ticker *t = mem_zalloc(sizeof(*t), ticker_destructor);
	int err;

	if (!t)
		return ENOMEM;

	t->wheel = mem_ref(wheel);
	t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (t->fd < 0) {
		err = errno;
		goto out;
	}
	err = fd_listen(t->fd, FD_READ, tick_h, t);
	if (err)
		goto out;

	watch(t);
	*tp = t;
out:
	if (err)
		mem_deref(t);

	return err;
}
