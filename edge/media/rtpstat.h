/**
 * @file rtpstat.h  What came back of a stream of RTP packets (RFC 3550 6.4.1, A.1, A.3, A.8)
 *
 * Pure; arrival times are arguments. One source is followed: the SSRC seen first, until another one (or a sequence far away)
 * shows itself by two packets in a row; a single stray packet changes nothing but `ignored`.
 */
#ifndef SIPEDGE_MEDIA_RTPSTAT_H
#define SIPEDGE_MEDIA_RTPSTAT_H

#include <stdbool.h>
#include <stdint.h>

enum {
	RTPSTAT_WINDOW = 256,   /* sequence numbers remembered to tell duplicates; what is older is no late packet */
	RTPSTAT_DROPOUT = 3000, /* RFC 3550 A.1 MAX_DROPOUT: a gap up to this is loss, a larger one a new start */
};

/* Zeroed at start; fields other than the figures belong to rtpstat.c. */
struct rtpstat {
	uint64_t received; /* packets of the stream, duplicates not counted */
	uint64_t reordered;
	uint64_t duplicated;
	uint64_t ignored; /* of another SSRC or far out of sequence */
	uint64_t first_rx_us;
	uint64_t arrivals; /* packets that the jitter was taken from */
	double jitter_us;  /* RFC 3550 A.8; valid from the second arrival on */

	bool started;
	uint32_t ssrc;
	uint64_t base_seq, max_seq;         /* extended */
	uint64_t past_expected;             /* of the starts before */
	uint64_t seen[RTPSTAT_WINDOW / 64]; /* bit seq % RTPSTAT_WINDOW, for the window that ends at max_seq */
	bool has_candidate;
	uint32_t candidate_ssrc;
	uint16_t candidate_seq; /* what would confirm it */
	bool has_transit;
	uint32_t last_ts;
	uint64_t last_rx_us;
};

enum rtpstat_kind {
	RTPSTAT_COUNTED,
	RTPSTAT_DUPLICATE,
	RTPSTAT_IGNORED,
};

enum rtpstat_kind rtpstat_add(struct rtpstat *stat, uint32_t ssrc, uint16_t seq, uint64_t rx_us);

/* Takes a counted packet into the jitter. Only for packets whose timestamps run with the audio's clock. */
void rtpstat_arrive(struct rtpstat *stat, uint32_t ts, uint64_t rx_us, uint32_t clock_rate);

uint64_t rtpstat_expected(const struct rtpstat *stat); /* by sequence numbers; 0 before the first packet */
double rtpstat_loss_pct(const struct rtpstat *stat);   /* 0 to 100, of expected; only when something was received */

#endif
