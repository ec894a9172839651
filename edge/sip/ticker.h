/**
 * @file ticker.h  Drives a wheel from libre's loop
 *
 * Loop thread. One timerfd on CLOCK_MONOTONIC, set only when an earlier timer is started (wheel_watch) and after it fired:
 * libre's own timers are a sorted list, and follow the wall clock in 1.1.0.
 */
#ifndef SIPEDGE_SIP_TICKER_H
#define SIPEDGE_SIP_TICKER_H

#include "edge/core/wheel.h"

struct ticker;

int ticker_alloc(struct ticker **tp,
        struct wheel *wheel); /* errno of the descriptor; references the wheel; mem_deref() ends it */

#endif
