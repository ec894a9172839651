/**
 * @file clock.c  The only place that asks the machine for the time
 */
#include <sys/timex.h>
#include <time.h>
#include "edge/clock.h"

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

bool clock_is_synchronized(void)
{
	struct timex tx = {.modes = 0};
	int state = adjtimex(&tx);

	return state >= 0 && state != TIME_ERROR && !(tx.status & STA_UNSYNC);
}
