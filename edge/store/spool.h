/**
 * @file spool.h  Results that the broker has not acknowledged: numbered, in order, bounded
 *
 * The store thread's alone. In memory: this is the seam behind which a persistent one takes its place. An entry is waiting or
 * handed over; what comes back with an unknown fate takes its old place. A result is published live (retained, with an expiry)
 * when it is the newest of its variable, else as history (historical = true, not retained): history never overwrites the present.
 *
 * Numbers start at the wall clock in microseconds, so that a later run never uses one again as long as the clock is not set
 * back and there are fewer than a million results per second; gaps between runs mean nothing. A clock that was never set (a
 * year before 2020) gives no such start: then it comes from the boot id, below all numbers of runs with a clock.
 */
#ifndef SIPEDGE_STORE_SPOOL_H
#define SIPEDGE_STORE_SPOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <re.h>
#include "edge/mqtt/link.h"

struct spool;

uint64_t spool_first_seq(int64_t now_unix_us, uint64_t boot_id);
int spool_alloc(struct spool **spoolp, size_t bytes_max, uint64_t first_seq);

/* Takes mb (also when it fails), numbers it, appends it. Beyond the bound the oldest ok ones are dropped first, then the oldest
   others. ENOMEM: this one is dropped. */
int spool_put(struct spool *spool, const char *topic, struct mbuf *mb, bool ok, uint32_t interval_s);

/* The topic's retained message is to be cleared, after all that waits for it, which becomes history. Never dropped. */
int spool_clear(struct spool *spool, const char *topic);

/* The oldest one that waits, as a message; its payload has left the spool until the message comes back. ENOENT: none waits. */
int spool_take(struct spool *spool, struct link_message **msgp);
void spool_give_back(struct spool *spool, struct link_message *msg); /* takes msg; it waits again in its old place */
void spool_remove(struct spool *spool, struct link_message *msg);    /* takes msg; acknowledged, or refused for good */

uint32_t spool_count(const struct spool *spool);   /* waiting and handed over */
uint64_t spool_dropped(const struct spool *spool); /* because of the bound, or of memory */

#endif
