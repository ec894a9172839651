/**
 * @file uas.h  Stateless answers to requests that no dialog of ours expects
 *
 * Loop thread. A registered account is called by others: OPTIONS gets 200, INVITE 486, NOTIFY, BYE and CANCEL 481, ACK
 * nothing, any other 405. A retransmission is answered like the first (RFC 3261 8.2.7).
 */
#ifndef SIPEDGE_SIP_UAS_H
#define SIPEDGE_SIP_UAS_H

#include "edge/sip/transport.h"

struct sip_msg;

/* Answers on the flow that the request came by. secret: of this process, makes the To tag the same for a retransmission.
   A failed send is a lost answer: the peer asks again. */
void uas_answer(const struct sip_msg *msg, const struct transport_rx *rx, const char *user_agent, uint64_t secret);

/* Writes a response to msg at mb's position: status line, every Via (the topmost with received and rport, RFC 3261 18.2.1,
   RFC 3581 4), Record-Route when `keeps_route`, From, To (with tag, unless it has one or tag is NULL), Call-ID, CSeq; then `headers`
   (whole lines, may be NULL), then Content-Length and the body (may be NULL; its Content-Type stands in headers). */
struct uas_reply {
	uint16_t code;
	const char *reason;
	const char *tag;
	const char *headers;
	const char *body;
	bool keeps_route;
};
int uas_reply_encode(struct mbuf *mb, const struct sip_msg *msg, const struct sa *src, const struct uas_reply *reply);

/* Where a response goes: the source, or with no rport the Via's port at the source address (RFC 3261 18.2.2). Streams: src. */
void uas_reply_dst(struct sa *dst, const struct sip_msg *msg, const struct transport_rx *rx);

#endif
