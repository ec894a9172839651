/**
 * @file media.h  The media session of a test call: offers SDP, sends G.711 audio, counts what comes back
 *
 * Loop thread. One RTP socket per call on the call's local address (a kernel-picked even port where one can be had), receive times from the
 * kernel. Packets are accepted from anywhere but counted only when they are RTP version 2 of the agreed payload type.
 */
#ifndef SIPEDGE_MEDIA_MEDIA_H
#define SIPEDGE_MEDIA_MEDIA_H

#include "edge/media/rtpstat.h"
#include "edge/sip/stack.h"

enum {
	MEDIA_PTIME_MS = 20,
	MEDIA_CLOCK_RATE = 8000,
};

struct media;

/* local: the address that SIP leaves from; no port. EADDRNOTAVAIL, EMFILE ... */
int media_alloc(struct media **mp, struct sip_stack *stack, const struct sa *local);

int media_offer(char **sdpp, const struct media *m); /* the SDP offer: PCMU and PCMA, sendrecv */

/* The answer. EBADMSG: not SDP; ENOTSUP: no audio stream of ours in it (refused, other codec, address missing). */
int media_answer(struct media *m, const struct mbuf *sdp);

void media_send_start(struct media *m, uint64_t now_us); /* one packet every 20 ms from now */
void media_send_stop(struct media *m);                   /* receiving goes on until freed */

struct media_stats {
	const char *codec; /* "PCMU"; NULL: not agreed */
	uint64_t tx;
	uint64_t rx;
	bool has_rx; /* the fields below are valid */
	uint64_t first_rx_us;
	double loss_pct; /* of the packets sent by the peer */
	double jitter_ms;
	uint64_t reordered;
	uint64_t duplicated;
	bool rx_is_silent;    /* every payload received was digital silence */
	int remote_direction; /* what the answer allows us: bit 0 we send, bit 1 we receive */
};

void media_stats_get(const struct media *m, struct media_stats *stats);

#endif
