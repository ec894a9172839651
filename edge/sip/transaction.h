/**
 * @file transaction.h  SIP client transactions (RFC 3261 17.1.1, 17.1.2; RFC 6026)
 *
 * Pure of time and sockets: `now` is an argument or comes from the wheel, bytes leave by a send handler. One thread.
 *
 * A branch is "z9hG4bK" + slot + generation + 64 random bits: a response is matched by index, in constant time, and can't be
 * guessed. What matches no transaction is not parsed; it is counted against its source, so that an answer that is there but
 * broken is told from silence (ctrans_strays). What carries a branch of ours that ended is a late duplicate: ignored, not counted.
 * So a finished non-INVITE needs no Timer K and gives up its slot with the final response: thousands per second don't pile up.
 *
 * Terms: a transaction is *abandoned* when its owner frees its reference: retransmissions stop at once, nothing more is sent.
 * Except: an INVITE that got a non-2xx final response lives on without a handler until Timer D, to acknowledge that response
 * again. An INVITE must not be abandoned before its final response or Timer B unless nobody could ever be called (see dialog.h).
 */
#ifndef SIPEDGE_SIP_TRANSACTION_H
#define SIPEDGE_SIP_TRANSACTION_H

#include "edge/core/wheel.h"
#include "edge/sip/message.h"

struct flow;
struct ctrans_layer;
struct ctrans;

/* RFC 3261 17, table 4 (milliseconds) */
enum {
	TIMER_T1 = 500,
	TIMER_T2 = 4000,
	TIMER_T4 = 5000,
	TIMER_B = 64 * TIMER_T1, /* 17.1.1.2 INVITE transaction timeout */
	TIMER_D = 32000,         /* 17.1.1.2 wait for response retransmits, UDP */
	TIMER_F = 64 * TIMER_T1, /* 17.1.2.2 */
	TIMER_M = 64 * TIMER_T1, /* RFC 6026 7.2: absorbs and passes up 2xx */
};

/* Where requests leave. local: for the Via. Errors are the transport's. */
typedef int(ctrans_send_h)(struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len, void *arg);
typedef uint64_t(ctrans_random_h)(void *arg);
typedef uint64_t(ctrans_now_h)(void *arg); /* monotonic us at the moment of a send */

struct ctrans_config {
	ctrans_send_h *sendh;
	ctrans_random_h *randomh;
	ctrans_now_h *nowh;
	void *arg;
};

int ctrans_layer_alloc(struct ctrans_layer **layerp, struct wheel *wheel, const struct ctrans_config *config);

struct ctrans_response {
	const struct sip_msg *msg; /* borrowed; mem_ref to keep */
	uint64_t rx_us;            /* monotonic, kernel's */
	struct sa src;
};

/* err 0: a response, provisional ones included; for INVITE every 2xx (retransmitted, late, forked) until Timer M, also
   one that comes after a non-2xx (a forking proxy sends both, RFC 3261 16.7). Nothing is told when Timer M or D ends (ctrans_is_ended).
   err set: the end without a final response, called once: ETIMEDOUT (Timer B or F), EBADMSG (a response with our branch that
   can't be parsed, or whose CSeq or Call-ID is not ours), or the transport's errno (ECONNREFUSED, EHOSTUNREACH, ECONNRESET ...). rsp is NULL then.
   INVITE and EBADMSG: the call may stand nevertheless, so CANCEL is sent, the final response is acknowledged, and a 2xx still
   comes to the handler, as long as the owner keeps the transaction (64*T1 at most).
   The handler may free the transaction. Never called from inside ctrans_request(). */
typedef void(ctrans_h)(int err, const struct ctrans_response *rsp, void *arg);

struct ctrans_target {
	struct flow *flow;    /* referenced while needed */
	enum transport proto; /* udp retransmits; tcp and tls do not */
	struct sa local;      /* Via sent-by */
	struct sa dst;
};

/* Sends the request. On error nothing was sent (the transport's errno). The transaction belongs to the caller. */
int ctrans_request(struct ctrans **ctp, struct ctrans_layer *layer, const struct ctrans_target *target,
        struct sip_request *req, ctrans_h *h, void *arg);

/* INVITE: sends CANCEL (retransmitted like any request over UDP), now or as soon as a provisional response was received (RFC 3261 9.1); idempotent; no-op after a final response. The 487 arrives at
   the handler like any response. If no final response comes within 64*T1 of the CANCEL: ETIMEDOUT. EINVAL: not an INVITE. */
int ctrans_cancel(struct ctrans *ct);
bool ctrans_cancel_was_sent(const struct ctrans *ct);
bool ctrans_has_provisional(const struct ctrans *ct);
bool ctrans_is_ended(const struct ctrans *ct); /* nothing will come any more; non-INVITE: with the final response */

uint64_t ctrans_sent_us(const struct ctrans *ct); /* monotonic, just before the first send */
uint32_t ctrans_retransmits(const struct ctrans *ct);

/* Noise that came from this transaction's destination since it started: truncated, binary, no Via, a branch that is not
   ours. text: what it was, static; NULL when 0. For the verdict at the timeout: protocol instead of timeout. */
uint32_t ctrans_strays(const struct ctrans *ct, const char **text);

/* From the transport. recv: false for a request, which is the caller's to handle; true: done with it, whatever it was (a
   response, matched or not; a keep-alive; noise). mb: its position and end change when a response is decoded.
   error: payload is the start of what was sent; what is not a request of ours is ignored. */
bool ctrans_layer_recv(struct ctrans_layer *layer, struct flow *flow, const struct sa *src, struct mbuf *mb,
        bool is_truncated, uint64_t rx_us);
void ctrans_layer_error(struct ctrans_layer *layer, struct flow *flow, const struct sa *dst, const uint8_t *payload,
        size_t len, int err);

size_t ctrans_layer_count(const struct ctrans_layer *layer); /* transactions alive, lingering ones included */

#endif
