/**
 * @file backoff.h  How long to wait before the next attempt
 *
 * Pure; plain value, one thread. Doubles from the least to the greatest delay; each delay is multiplied by a random factor of
 * 0.5..1.5 from the caller's seed, so that agents which lost the same broker do not come back in step.
 */
#ifndef SIPEDGE_MQTT_BACKOFF_H
#define SIPEDGE_MQTT_BACKOFF_H

#include <stdint.h>

struct backoff {
	uint32_t min_ms, max_ms;
	uint32_t next_ms; /* before the factor */
	uint64_t random;  /* xorshift64*: never 0 */
};

void backoff_init(struct backoff *backoff, uint32_t min_ms, uint32_t max_ms, uint64_t seed);
uint32_t backoff_take_ms(struct backoff *backoff); /* the delay to wait now; the next one is twice as long */
uint32_t backoff_spread_ms(struct backoff *backoff, uint32_t delay_ms); /* delay_ms times 0.5..1.5; nothing doubles */
void backoff_reset(struct backoff *backoff);                            /* after a success */

#endif
