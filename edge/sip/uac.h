/**
 * @file uac.h  One request of a user agent client with its authentication rounds (RFC 3261 8.1, 22)
 *
 * Loop thread. Over client transactions: answers 401 and 407 (each realm once, and once more when stale), tells the owner every response
 * but the challenges that it answered, and keeps the times of the whole exchange. Used by every method and by the
 * registration; an INVITE's dialogs are call.h's.
 */
#ifndef SIPEDGE_SIP_UAC_H
#define SIPEDGE_SIP_UAC_H

#include "edge/sip/stack.h"

struct uac;

/* Where an account's requests go, once it is known. Plain value; copied. */
struct uac_target {
	struct flow *flow; /* referenced by the uac while needed */
	struct sa dst;
};

/* As ctrans_h; besides, err EACCES comes with the final 401/407 as rsp: these credentials were refused, or none is configured, or (ENOTSUP) no
   challenge can be answered. Challenges that are answered are not reported here but to observeh. */
typedef void(uac_h)(int err, const struct ctrans_response *rsp, void *arg);

/* Sees every response received, challenges included, before anything else is done with it. */
typedef void(uac_observe_h)(const struct ctrans_response *rsp, void *arg);

/* user NULL: challenges are final answers (uac_h with err 0). password is borrowed and must outlive the uac. On error nothing was sent. */
int uac_request(struct uac **uacp, struct sip_stack *stack, const struct uac_target *target, struct sip_request *req,
        const char *user, const char *password, uac_observe_h *observeh, uac_h *h, void *arg);

struct ctrans *uac_transaction(struct uac *uac);                   /* the one under way now: for ctrans_cancel() */
const struct sip_request *uac_last_request(const struct uac *uac); /* as sent last: its CSeq and credentials */

/* Takes every CSeq of this exchange from a counter that others use as well (a binding's), which must outlive it. req->cseq was counted already. */
void uac_share_cseq(struct uac *uac, uint32_t *cseq);

struct uac_stats {
	uint64_t sent_us; /* monotonic: first bit of the first request */
	uint64_t auth_us; /* when the first challenge that was answered had been received; 0: none */
	uint32_t retransmits;
	uint32_t auth_rounds;
	const char *auth_algorithm; /* NULL: none */
	uint32_t strays;
	const char *stray_text;
};

void uac_stats_get(const struct uac *uac, struct uac_stats *stats);

#endif
