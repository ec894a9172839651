/**
 * @file call.h  One outgoing call: an INVITE and the dialogs that it makes (RFC 3261 13, 15; RFC 6026)
 *
 * Loop thread. Leaves nothing behind on the server: every 2xx, also a late, forked or retransmitted one, is ACKed, and each of
 * its dialogs gets a BYE; no final answer in time means CANCEL as soon as a provisional one is there, and its 487 is
 * waited for. A call that its owner let go of lives on in its list until all of that is done (64*T1 at most per step).
 */
#ifndef SIPEDGE_SIP_CALL_H
#define SIPEDGE_SIP_CALL_H

#include "edge/sip/uac.h"

struct call;
struct call_list;

enum { CALL_LEGS_MAX = 16 }; /* dialogs of one call that are kept track of; further ones get ACK and BYE once */

/* Holds the calls of a stack; stack: borrowed, must outlive it. mem_deref() forgets them, whatever is left on the server. */
int call_list_alloc(struct call_list **listp, struct sip_stack *stack);

/* Calls with something on the server that is not over yet: an INVITE without a final answer, a dialog whose BYE has none. */
size_t call_list_count(const struct call_list *list);

/* A request inside one of our dialogs: answers BYE, re-INVITE and what is out of order, takes ACK. false: not ours, or a method for which uas.h has the
   answer. For stack_set_request_handler(). */
bool call_list_request(struct call_list *list, const struct sip_msg *msg, const struct transport_rx *rx);

enum call_ended_by {
	CALL_ENDED_LOCAL,  /* our BYE */
	CALL_ENDED_REMOTE, /* their BYE */
};

struct call_end {
	enum call_ended_by by;
	uint16_t bye_code;    /* final answer to our BYE; 0: none came */
	uint64_t bye_us;      /* monotonic: our BYE was sent, or theirs received; 0: neither */
	uint64_t bye_done_us; /* monotonic: ours was answered; 0: it was not */
};

/* All may be NULL. A handler may hang up or release the call. */
struct call_handlers {
	uac_observe_h *observeh; /* every response to the INVITE, challenges included */
	/* 101-199 with or without SDP. sdp: body or NULL; borrowed */
	void (*progressh)(const struct ctrans_response *rsp, const struct mbuf *sdp, void *arg);
	/* The first 2xx, also one that crossed our CANCEL; it is acknowledged. */
	void (*answerh)(const struct ctrans_response *rsp, const struct mbuf *sdp, void *arg);
	/* Their re-INVITE. sdp: their offer, NULL: they want ours. 0: *answerp is new (mem); else they get 488 */
	int (*offerh)(char **answerp, const struct mbuf *sdp, void *arg);
	/* The INVITE failed: final >= 300 (rsp set, err 0 or as uac_h) or err. Called once, instead of answerh. */
	void (*failh)(int err, const struct ctrans_response *rsp, void *arg);
	/* An answered call is over. Called once after answerh. */
	void (*endh)(const struct call_end *end, void *arg);
	void *arg;
};

/* req: a whole INVITE with SDP body and Contact. account: login and password; referenced. On error nothing was sent.
   The call belongs to its list; the owner lets go of it by call_release(). */
int call_start(struct call **callp, struct call_list *list, const struct uac_target *target, struct sip_request *req,
        struct account *account, const struct call_handlers *handlers);

/* Before the answer: CANCEL; after: BYE. endh or failh tells when it is done. Idempotent. endh may be called from inside. */
void call_hang_up(struct call *call);

/* The owner lets go: no handler is called any more; the call hangs up and lives on until nothing is left of it. */
void call_release(struct call *call);

void call_stats_get(const struct call *call, struct uac_stats *stats);
bool call_has_provisional(const struct call *call);
bool call_cancel_was_sent(const struct call *call);

#endif
