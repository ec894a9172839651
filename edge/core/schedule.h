/**
 * @file schedule.h  Which command runs next: once per interval, spread by a stable hash, never overlapping itself
 *
 * Pure: times are arguments (monotonic microseconds). One thread. An entry is embedded in its owner.
 *
 * A new entry first runs within SPREAD_STARTUP_US (or its interval when shorter), then on a grid of its interval whose phase is
 * a hash of its key: the same in every run of the agent, so a restart does not bunch the checks of a fleet. A slot that
 * comes while the entry still runs, or while the loop was late, is skipped and counted, never made up for.
 */
#ifndef SIPEDGE_CORE_SCHEDULE_H
#define SIPEDGE_CORE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SPREAD_STARTUP_US = 10 * 1000000 };

struct schedule;

/* Fields belong to schedule.c but for reading `due_us` and `startup` of an entry that was just taken. */
struct schedule_entry {
	uint64_t due_us; /* when this run was due */
	uint64_t interval_us;
	uint64_t phase_us;
	size_t heap_index; /* SIZE_MAX: not waiting */
	bool startup;      /* the run just taken is the first one */
	bool running;
	bool added;
	void *owner;
};

struct schedule_limits {
	uint32_t starts_per_s; /* cap on starts; 0: none */
};

int schedule_alloc(struct schedule **schedulep,
        const struct schedule_limits *limits); /* mem_deref() frees; entries are the owners' */

/* ENOMEM. EINVAL: no interval, or the entry is added already or still runs. key: "<account>/<variable>", hashed, not kept. */
int schedule_add(struct schedule *s, struct schedule_entry *entry, const char *key, uint64_t interval_us, void *owner,
        uint64_t now_us);
void schedule_remove(struct schedule *s, struct schedule_entry *entry);

/* The next entry that is due, marked running; NULL: none, or the cap is reached. Every taken entry is given back by schedule_done(). */
struct schedule_entry *schedule_take(struct schedule *s, uint64_t now_us);
void schedule_done(struct schedule *s, struct schedule_entry *entry, uint64_t now_us);

uint64_t schedule_next(
        const struct schedule *s, uint64_t now_us);  /* when to call schedule_take() again; UINT64_MAX: nothing waits */
uint64_t schedule_skipped(const struct schedule *s); /* slots not run, since the start */

#endif
