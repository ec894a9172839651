/**
 * @file clock.h  The only place that asks the machine for the time
 *
 * Any thread. Core code never calls this: it gets `now_us` as an argument.
 */
#ifndef SIPEDGE_CLOCK_H
#define SIPEDGE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

uint64_t clock_mono_us(void); /* CLOCK_MONOTONIC, microseconds: all durations */
int64_t clock_unix_us(void);  /* wall clock, microseconds since 1970, UTC: labels only */

/* Both at the same moment, to bring the kernel's wall-clock stamps onto the monotonic clock: read again when something
   came between the two readings, so that they belong together within microseconds. */
void clock_both_us(uint64_t *mono_usp, int64_t *unix_usp);

bool clock_is_synchronized(void); /* what the kernel says of the wall clock (adjtimex) */

#endif
