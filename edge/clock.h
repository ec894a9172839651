/**
 * @file clock.h  The only place that asks the machine for the time
 *
 * Any thread. Core code never calls this: it gets `now_us` as an argument.
 */
#ifndef SIPEDGE_CLOCK_H
#define SIPEDGE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

uint64_t clock_mono_us(void);     /* CLOCK_MONOTONIC, microseconds: all durations */
int64_t clock_unix_us(void);      /* wall clock, microseconds since 1970, UTC: labels only */
bool clock_is_synchronized(void); /* what the kernel says of the wall clock (adjtimex) */

#endif
