/**
 * @file rtpstat.h  What came back of a stream of RTP packets (RFC 3550 6.4.1, A.3, A.8)
 *
 * Pure; arrival times are arguments.
 */
#ifndef SIPEDGE_MEDIA_RTPSTAT_H
#define SIPEDGE_MEDIA_RTPSTAT_H

#include <stdbool.h>
#include <stdint.h>

enum { RTPSTAT_WINDOW = 256 }; /* sequence numbers remembered to tell duplicates */

/* Zeroed at start; fields other than the figures belong to rtpstat.c. */
struct rtpstat {
	uint64_t received; /* valid packets of the stream, duplicates not counted */
	uint64_t reordered;
	uint64_t duplicated;
	double jitter_ticks; /* RFC 3550 A.8, in timestamp units */
	uint64_t first_rx_us;
	bool started;
	uint32_t ssrc;
	uint64_t base_seq, max_seq; /* extended */
	int64_t transit;
	uint64_t seen[RTPSTAT_WINDOW / 64];
};

void rtpstat_add(struct rtpstat *stat, uint32_t ssrc, uint16_t seq, uint32_t ts, uint64_t rx_us, uint32_t clock_rate);
uint64_t rtpstat_expected(const struct rtpstat *stat); /* by sequence numbers; 0 before the first packet */
double rtpstat_loss_pct(const struct rtpstat *stat);   /* of expected; only when something was received */
double rtpstat_jitter_ms(const struct rtpstat *stat, uint32_t clock_rate);

#endif
