/**
 * @file cycle.h  The synchronization cycle: every command of every account once per interval
 *
 * Loop thread. Owns the devices and what is known of each variable (schedule, state after hysteresis, running check). Applies a
 * plan whole or not at all; what did not change is not touched. Every finished check leaves by one handler.
 */
#ifndef SIPEDGE_CYCLE_H
#define SIPEDGE_CYCLE_H

#include "edge/check/checker.h"
#include "edge/core/plan.h"
#include "edge/core/schedule.h"

struct cycle;

struct cycle_handlers {
	void (*result)(struct result *result, void *arg); /* takes the result, complete with its state */
	void (*gone)(
	        const char *account, const char *variable, void *arg); /* no longer run: its retained result shall go */
	void *arg;
};

int cycle_alloc(struct cycle **cyclep, struct sip_stack *stack, struct checker *checker,
        const struct schedule_limits *limits, const struct cycle_handlers *handlers);

/* What kept a plan from being applied. */
struct cycle_failure {
	char path[160];    /* accounts[pbx1].local_port */
	char message[240]; /* one sentence with the remedy */
};

/* Takes over all that the plan puts and removes all that it removes, or nothing: then the errno, and `failure` says why. */
int cycle_apply(struct cycle *cycle, const struct plan *plan, struct cycle_failure *failure);

void cycle_stop(struct cycle *cycle); /* starts no more checks; what runs is the checker's to end */

size_t cycle_running(const struct cycle *cycle);   /* checks under way */
uint64_t cycle_skipped(const struct cycle *cycle); /* slots that were not run, since the start */

#endif
