/**
 * @file backoff.c  How long to wait before the next attempt
 */
#include "edge/mqtt/backoff.h"

void backoff_init(struct backoff *backoff, uint32_t min_ms, uint32_t max_ms, uint64_t seed)
{
	backoff->min_ms = min_ms;
	backoff->max_ms = max_ms;
	backoff->next_ms = min_ms;
	backoff->random = seed ? seed : 0x9e3779b97f4a7c15ULL;
}

uint32_t backoff_spread_ms(struct backoff *backoff, uint32_t delay_ms)
{
	uint64_t x = backoff->random;

	x ^= x >> 12; /* xorshift64*, Vigna 2016 */
	x ^= x << 25;
	x ^= x >> 27;
	backoff->random = x;

	return delay_ms / 2 + (uint32_t)(((x * 0x2545f4914f6cdd1dULL) >> 32) * delay_ms >> 32);
}

uint32_t backoff_take_ms(struct backoff *backoff)
{
	uint32_t delay_ms = backoff_spread_ms(backoff, backoff->next_ms);

	backoff->next_ms = backoff->next_ms > backoff->max_ms / 2 ? backoff->max_ms : backoff->next_ms * 2;

	return delay_ms;
}

void backoff_reset(struct backoff *backoff)
{
	backoff->next_ms = backoff->min_ms;
}
