/**
 * @file rtpstat.c  What came back of a stream of RTP packets (RFC 3550 6.4.1, A.1, A.3, A.8)
 */
#include <math.h>
#include <string.h>
#include "edge/media/rtpstat.h"

enum { CYCLE = 1 << 16 };

static bool is_seen(const struct rtpstat *stat, uint64_t seq)
{
	uint64_t bit = seq % RTPSTAT_WINDOW;

	return stat->seen[bit / 64] >> bit % 64 & 1;
}

static void mark(struct rtpstat *stat, uint64_t seq, bool seen)
{
	uint64_t bit = seq % RTPSTAT_WINDOW;
	uint64_t mask = UINT64_C(1) << bit % 64;

	if (seen)
		stat->seen[bit / 64] |= mask;
	else
		stat->seen[bit / 64] &= ~mask;
}

static void start(struct rtpstat *stat, uint32_t ssrc, uint16_t seq)
{
	stat->past_expected = rtpstat_expected(stat);
	stat->started = true;
	stat->ssrc = ssrc;
	stat->base_seq = stat->max_seq =
	        (uint64_t)CYCLE + seq; /* a cycle of room for what was sent before it and comes late */
	stat->has_candidate = false;
	stat->has_transit = false;
	memset(stat->seen, 0, sizeof(stat->seen));
	mark(stat, stat->max_seq, true);
}

/* Two packets in a row make a new start (RFC 3550 A.1); the first of them, ignored until now, then counts. */
static enum rtpstat_kind outsider(struct rtpstat *stat, uint32_t ssrc, uint16_t seq)
{
	if (stat->has_candidate && stat->candidate_ssrc == ssrc && stat->candidate_seq == seq) {
		start(stat, ssrc, (uint16_t)(seq - 1));
		stat->max_seq++;
		mark(stat, stat->max_seq, true);
		stat->received += 2;
		stat->ignored--;
		return RTPSTAT_COUNTED;
	}
	stat->has_candidate = true;
	stat->candidate_ssrc = ssrc;
	stat->candidate_seq = (uint16_t)(seq + 1);
	stat->ignored++;
	return RTPSTAT_IGNORED;
}

static void move_on(struct rtpstat *stat, unsigned steps)
{
	for (unsigned i = 1; i <= steps && i <= RTPSTAT_WINDOW; i++)
		mark(stat, stat->max_seq + i, false);
	stat->max_seq += steps;
	mark(stat, stat->max_seq, true);
	stat->received++;
}

static enum rtpstat_kind late(struct rtpstat *stat, unsigned behind)
{
	uint64_t seq = stat->max_seq - behind;

	if (is_seen(stat, seq)) {
		stat->duplicated++;
		return RTPSTAT_DUPLICATE;
	}
	mark(stat, seq, true);
	if (seq < stat->base_seq)
		stat->base_seq = seq;
	stat->received++;
	stat->reordered++;
	return RTPSTAT_COUNTED;
}

enum rtpstat_kind rtpstat_add(struct rtpstat *stat, uint32_t ssrc, uint16_t seq, uint64_t rx_us)
{
	uint16_t ahead = (uint16_t)(seq - (uint16_t)stat->max_seq);
	uint16_t behind = (uint16_t)-ahead;

	if (!stat->started) {
		start(stat, ssrc, seq);
		stat->first_rx_us = rx_us;
		stat->received = 1;
		return RTPSTAT_COUNTED;
	}
	if (ssrc == stat->ssrc && ahead > 0 && ahead < RTPSTAT_DROPOUT)
		move_on(stat, ahead);
	else if (ssrc == stat->ssrc && behind < RTPSTAT_WINDOW)
		return late(stat, behind);
	else
		return outsider(stat, ssrc, seq);
	return RTPSTAT_COUNTED;
}

void rtpstat_arrive(struct rtpstat *stat, uint32_t ts, uint64_t rx_us, uint32_t clock_rate)
{
	if (stat->has_transit) {
		double sent_us = (double)(int32_t)(ts - stat->last_ts) * 1e6 / clock_rate;
		double arrived_us = (double)(int64_t)(rx_us - stat->last_rx_us);

		stat->jitter_us += (fabs(arrived_us - sent_us) - stat->jitter_us) / 16;
	}
	stat->arrivals++;
	stat->has_transit = true;
	stat->last_ts = ts;
	stat->last_rx_us = rx_us;
}

uint64_t rtpstat_expected(const struct rtpstat *stat)
{
	return stat->started ? stat->past_expected + stat->max_seq - stat->base_seq + 1 : 0;
}

double rtpstat_loss_pct(const struct rtpstat *stat)
{
	uint64_t expected = rtpstat_expected(stat);

	return expected > stat->received ? 100.0 * (double)(expected - stat->received) / (double)expected : 0.0;
}
