/**
 * @file clock.c  The only place that asks the machine for the time
 */
#include <sys/timex.h>
#include <time.h>
#include "edge/clock.h"

enum {
	GAP_US = 5, /* two readings next to each other take less than one */
	TRIES = 4,  /* a third interruption in a row is not worth waiting for */
};

static int64_t read_us(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);

	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

uint64_t clock_mono_us(void)
{
	return (uint64_t)read_us(CLOCK_MONOTONIC);
}

int64_t clock_unix_us(void)
{
	return read_us(CLOCK_REALTIME);
}

void clock_both_us(uint64_t *mono_usp, int64_t *unix_usp)
{
	uint64_t best_us = UINT64_MAX;

	for (int i = 0; i < TRIES && best_us > GAP_US; i++) {
		uint64_t before_us = clock_mono_us();
		int64_t unix_us = clock_unix_us();
		uint64_t gap_us = clock_mono_us() - before_us;

		if (gap_us >= best_us)
			continue;
		best_us = gap_us;
		*mono_usp = before_us + gap_us / 2;
		*unix_usp = unix_us;
	}
}

bool clock_is_synchronized(void)
{
	struct timex tx = {.modes = 0};
	int state = adjtimex(&tx);

	return state >= 0 && state != TIME_ERROR && !(tx.status & STA_UNSYNC);
}
