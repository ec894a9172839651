/**
 * @file media.h  The media session of a test call: offers SDP, sends G.711 audio, counts what comes back
 *
 * Loop thread. One RTP socket per call on the call's local address (an even port where one can be had, RFC 3550 11), receive times from the
 * kernel. Everything received is hostile. One source is counted: the negotiated address as soon as it sends, until then
 * whoever sent the first packet of an agreed payload type; a stray sender must not spoil the loss.
 */
#ifndef SIPEDGE_MEDIA_MEDIA_H
#define SIPEDGE_MEDIA_MEDIA_H

#include <re.h>
#include "edge/core/wheel.h"
#include "edge/media/rtpstat.h"

enum {
	MEDIA_PTIME_MS = 20,
	MEDIA_CLOCK_RATE = 8000,
	MEDIA_BURST_MAX = 3, /* packets sent at once after a late tick; what is older is not sent at all */
};

struct media;

/* local: the address that SIP leaves from; its port is not used. wheel: borrowed, must outlive it. seed: random. EADDRNOTAVAIL, EMFILE ... */
int media_alloc(struct media **mp, struct wheel *wheel, const struct sa *local, uint64_t seed);

int media_offer(char **sdpp, struct media *m); /* the SDP offer: PCMU and PCMA, sendrecv; before media_answer() */

/* The answer. EBADMSG: no SDP that answers our offer; ENOTSUP: no audio stream of ours in it (refused, other codec, address missing). */
int media_answer(struct media *m, const struct mbuf *sdp);

/* Their offer inside the call: EBADMSG, ENOTSUP as above. 0: *sdpp is our answer, and what is sent goes where they say now. sdp NULL: they want
   our offer. */
int media_take_offer(char **sdpp, struct media *m, const struct mbuf *sdp);

void media_send_start(
        struct media *m, uint64_t now_us); /* one packet every 20 ms from now; none when the answer forbids it */
void media_send_stop(struct media *m);     /* receiving goes on until freed */

struct media_stats {
	const char *codec; /* "PCMU"; NULL: not agreed */
	uint64_t tx;
	uint64_t rx;     /* packets of the counted source, duplicates not counted */
	bool has_rx;     /* the fields below are valid */
	bool has_jitter; /* two packets at least */
	uint64_t first_rx_us;
	double loss_pct; /* of the packets sent by the peer */
	double jitter_ms;
	uint64_t reordered;
	uint64_t duplicated;
	bool rx_is_silent; /* every audio packet received was digital silence */
};

void media_stats_get(const struct media *m, struct media_stats *stats);

#endif
