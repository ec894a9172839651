/**
 * @file call.h  One outgoing call: INVITE, its dialogs, ACK and BYE (RFC 3261 12, 13, 15)
 *
 * Loop thread. Leaves nothing behind on the server: every 2xx, also a late, forked or retransmitted one, is ACKed, and each of
 * its dialogs gets a BYE; no final answer in time means CANCEL as soon as a provisional one is there, and its 487 is
 * waited for. A call that its owner let go of lives on in its stack until all of that is done (64*T1 at most per step).
 */
#ifndef SIPEDGE_SIP_CALL_H
#define SIPEDGE_SIP_CALL_H

#include "edge/sip/uac.h"

struct call;
struct call_list; /* every call of a stack that is not over, let go of or not */

int call_list_alloc(struct call_list **listp, struct sip_stack *stack);
size_t call_list_count(const struct call_list *list);

/* A request inside one of our dialogs (BYE, re-INVITE, INFO, UPDATE, OPTIONS): answers it and returns true. For stack_set_request_handler(). */
bool call_list_request(struct call_list *list, const struct sip_msg *msg, const struct transport_rx *rx);

enum call_ended_by {
	CALL_ENDED_NONE,
	CALL_ENDED_LOCAL,  /* our BYE */
	CALL_ENDED_REMOTE, /* their BYE */
	CALL_ENDED_CANCEL, /* our CANCEL */
	CALL_ENDED_REJECT, /* a final answer of 300 or above */
	CALL_ENDED_ERROR,  /* no final answer: timeout, transport, broken */
};

struct call_handlers {
	uac_observe_h *observeh; /* every response to the INVITE, challenges included */
	/* 101-199 with or without SDP. sdp: body or NULL; borrowed */
	void (*progressh)(const struct ctrans_response *rsp, const struct mbuf *sdp, void *arg);
	/* the first 2xx; ACK has been sent. */
	void (*answerh)(const struct ctrans_response *rsp, const struct mbuf *sdp, void *arg);
	/* The INVITE failed: final >= 300 (rsp set, err 0 or as uac_h) or err. Called once, instead of answerh. */
	void (*failh)(int err, const struct ctrans_response *rsp, void *arg);
	/* An answered call is over: our BYE has its final answer (bye_code; 0: none came), or they sent theirs. Called once after answerh. */
	void (*endh)(enum call_ended_by by, uint16_t bye_code, void *arg);
	void *arg;
};

/* req: a whole INVITE with SDP body and Contact. password borrowed and must outlive the call. */
int call_start(struct call **callp, struct call_list *list, const struct uac_target *target, struct sip_request *req,
        const char *user, const char *password, const struct call_handlers *handlers);

void call_hangup(struct call *call); /* before the answer: CANCEL; after: BYE. endh or failh tells when it is done */

/* The owner's reference goes: no handler is called any more; the call hangs up and lives on until nothing is left of it. */
void call_release(struct call *call);

void call_stats_get(const struct call *call, struct uac_stats *stats);
bool call_cancel_was_sent(const struct call *call);
const char *call_id(const struct call *call);

#endif
