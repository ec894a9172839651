/**
 * @file wheel.c  Hierarchical timer wheel (Varghese and Lauck 1987, scheme 7)
 *
 * Four levels of 256 slots, one tick a millisecond: 49 days; what lies beyond waits in the last slot of the top level
 * and is sorted in again. A slot of a higher level is spread over the lower one when the hand reaches it.
 */
#include <errno.h>
#include <re.h>
#include "edge/core/wheel.h"

enum {
	TICK_US = 1000,
	LEVELS = 4,
	SLOT_BITS = 8,
	SLOTS = 1 << SLOT_BITS,
	SLOT_MASK = SLOTS - 1,
	WORDS = SLOTS / 64,
};

struct wheel {
	uint64_t tick;     /* every tick up to this one has fired */
	uint64_t watch_us; /* a timer due before this wakes the sleeper */
	wheel_earlier_h *earlierh;
	void *earlier_arg;
	uint64_t used[LEVELS][WORDS]; /* which slots may hold timers: cleared when found empty */
	struct wheel_timer *slot[LEVELS][SLOTS];
};

int wheel_alloc(struct wheel **wheelp, uint64_t now_us)
{
	struct wheel *wheel = mem_zalloc(sizeof(*wheel), NULL);

	if (!wheel)
		return ENOMEM;

	wheel->tick = now_us / TICK_US;
	*wheelp = wheel;

	return 0;
}

/* never early: a timer fires on the first tick that begins at or after its time */
static uint64_t tick_of(uint64_t at_us)
{
	return at_us / TICK_US + (at_us % TICK_US != 0);
}

/* earliest: the first tick that has not fired yet */
static void insert(struct wheel *wheel, struct wheel_timer *timer, uint64_t earliest)
{
	uint64_t tick = tick_of(timer->at_us), distance;
	struct wheel_timer **head;
	unsigned level, index;

	if (tick < earliest)
		tick = earliest;
	distance = tick - wheel->tick;
	if (distance >> (LEVELS * SLOT_BITS)) {
		distance = (1ull << (LEVELS * SLOT_BITS)) - 1;
		tick = wheel->tick + distance;
	}

	for (level = 0; level < LEVELS - 1 && distance >= 1ull << ((level + 1) * SLOT_BITS); level++)
		;
	index = (unsigned)(tick >> (level * SLOT_BITS)) & SLOT_MASK;

	head = &wheel->slot[level][index];
	wheel->used[level][index / 64] |= 1ull << (index % 64);
	timer->next = *head;
	timer->pprev = head;
	if (*head)
		(*head)->pprev = &timer->next;
	*head = timer;
}

void wheel_stop(struct wheel_timer *timer)
{
	if (!timer->pprev)
		return;

	*timer->pprev = timer->next;
	if (timer->next)
		timer->next->pprev = timer->pprev;
	timer->next = NULL;
	timer->pprev = NULL;
}

void wheel_start(struct wheel *wheel, struct wheel_timer *timer, uint64_t at_us, wheel_h *handler, void *arg)
{
	wheel_stop(timer);
	timer->at_us = at_us;
	timer->handler = handler;
	timer->arg = arg;
	insert(wheel, timer, wheel->tick + 1);

	if (wheel->earlierh && at_us < wheel->watch_us) {
		wheel->watch_us = at_us;
		wheel->earlierh(at_us, wheel->earlier_arg);
	}
}

void wheel_watch(struct wheel *wheel, uint64_t before_us, wheel_earlier_h *h, void *arg)
{
	wheel->watch_us = before_us;
	wheel->earlierh = h;
	wheel->earlier_arg = arg;
}

bool wheel_timer_is_pending(const struct wheel_timer *timer)
{
	return timer->pprev != NULL;
}

/* Moves a slot's list to *list, which then owns it: handlers may stop its timers while it is walked. */
static void take_slot(struct wheel *wheel, unsigned level, unsigned index, struct wheel_timer **list)
{
	*list = wheel->slot[level][index];
	wheel->slot[level][index] = NULL;
	wheel->used[level][index / 64] &= ~(1ull << (index % 64));
	if (*list)
		(*list)->pprev = list;
}

static void cascade(struct wheel *wheel, unsigned level, unsigned index)
{
	struct wheel_timer *list, *timer;

	take_slot(wheel, level, index, &list);
	while ((timer = list)) {
		wheel_stop(timer);
		insert(wheel, timer, wheel->tick); /* this tick fires next */
	}
}

static void fire(struct wheel *wheel, uint64_t now_us)
{
	struct wheel_timer *list, *timer;

	take_slot(wheel, 0, (unsigned)wheel->tick & SLOT_MASK, &list);
	while ((timer = list)) {
		wheel_stop(timer);
		if (tick_of(timer->at_us) > wheel->tick)
			insert(wheel, timer, wheel->tick + 1); /* from beyond the wheel's reach */
		else
			timer->handler(now_us, timer->arg); /* may have freed the timer */
	}
}

/* The next tick at which a slot may have to be looked at; UINT64_MAX: all are empty. A mark may stand over a slot that
   wheel_stop() emptied. */
static uint64_t next_tick(const struct wheel *wheel)
{
	uint64_t best = UINT64_MAX;

	for (unsigned level = 0; level < LEVELS; level++) {
		unsigned shift = level * SLOT_BITS;
		uint64_t hand = wheel->tick >> shift;

		for (unsigned i = 1; i <= SLOTS; i++) {
			unsigned index = (unsigned)(hand + i) & SLOT_MASK;
			uint64_t tick;

			if (!wheel->used[level][index / 64]) {
				i += 63 - index % 64; /* on to the next word */
				continue;
			}
			if (!wheel->slot[level][index])
				continue;
			tick = (hand + i) << shift;
			if (tick < best)
				best = tick;
			break;
		}
	}

	return best;
}

void wheel_advance(struct wheel *wheel, uint64_t now_us)
{
	uint64_t target = now_us / TICK_US;

	while (wheel->tick < target) {
		uint64_t tick = next_tick(wheel);

		if (tick > target) {
			wheel->tick = target;
			return;
		}

		wheel->tick = tick;
		for (unsigned level = LEVELS - 1; level > 0; level--) {
			unsigned shift = level * SLOT_BITS;

			if (!(tick & ((1ull << shift) - 1)))
				cascade(wheel, level, (unsigned)(tick >> shift) & SLOT_MASK);
		}
		fire(wheel, now_us);
	}
}

uint64_t wheel_next(const struct wheel *wheel)
{
	uint64_t tick = next_tick(wheel);

	return tick == UINT64_MAX ? UINT64_MAX : tick * TICK_US;
}
