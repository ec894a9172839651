/**
 * @file wheel.h  Timer wheel: start and stop in constant time, whatever is pending
 *
 * Pure: the owner calls wheel_advance() with the monotonic time and asks wheel_next() how long it may sleep. One
 * thread. Times are microseconds; timers fire in order of their tick (1 ms), never early. Handlers may start and stop
 * any timer, their own included. A timer is embedded in its owner's struct, zeroed before first use, and stopped
 * before the owner is freed.
 */
#ifndef SIPEDGE_CORE_WHEEL_H
#define SIPEDGE_CORE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wheel;

typedef void(wheel_h)(uint64_t now_us, void *arg);

/* Fields belong to wheel.c. */
struct wheel_timer {
	struct wheel_timer *next;
	struct wheel_timer **pprev; /* NULL: not pending */
	uint64_t at_us;
	wheel_h *handler;
	void *arg;
};

int wheel_alloc(
        struct wheel **wheelp, uint64_t now_us); /* ENOMEM; mem_deref() frees; timers still pending are forgotten */

/* (Re)starts: fires at the first wheel_advance() with now_us >= at_us. */
void wheel_start(struct wheel *wheel, struct wheel_timer *timer, uint64_t at_us, wheel_h *handler, void *arg);
void wheel_stop(struct wheel_timer *timer); /* no-op when not pending */
bool wheel_timer_is_pending(const struct wheel_timer *timer);

void wheel_advance(struct wheel *wheel, uint64_t now_us);

/* When wheel_advance() is needed next; UINT64_MAX: nothing pending. May be early, never late. */
uint64_t wheel_next(const struct wheel *wheel);

/* For whoever sleeps until wheel_next(): h is called from inside wheel_start() when the timer is due before `before_us`,
   which then becomes that timer's time. So nobody has to tell the sleeper about new timers. h NULL: no more calls. */
typedef void(wheel_earlier_h)(uint64_t at_us, void *arg);
void wheel_watch(struct wheel *wheel, uint64_t before_us, wheel_earlier_h *h, void *arg);

#endif
