/**
 * @file message.h  SIP requests that we send, and a first look at what arrives
 *
 * Pure. Requests are written from parts that were checked for CR, LF and NUL when they were configured; responses are
 * parsed by libre once they are known to belong to a transaction, behind bounds of our own (sip_message_decode).
 */
#ifndef SIPEDGE_SIP_MESSAGE_H
#define SIPEDGE_SIP_MESSAGE_H

#include "edge/core/config.h"
#include "edge/sip/compat.h"

enum {
	SIP_MESSAGE_SIZE_MAX = 65535,
	SIP_BRANCH_SIZE = 64, /* with the NUL */
	SIP_MAX_FORWARDS = 70,

	/* What a message that we look into may have. libre's header parsers are searches: quadratic in what they get. */
	SIP_HEADERS_MAX = 256,
	SIP_VALUES_MAX = 4096,     /* values, comma-separated ones counted singly */
	SIP_VALUE_SIZE_MAX = 8192, /* of one value */
	SIP_SINGLE_SIZE_MAX =
	        1024, /* of the start line, of Via, and of each header that stands once: To, From, Call-ID, ... */
	SIP_CSEQ_SIZE_MAX = 128, /* of CSeq: the worst of them, 10 ms for 2 KiB of digits */
};

/* A request but for its Via, which the transaction writes. Reference-counted (mem), read-only once sent. Strings are owned; NULL where absent. */
struct sip_request {
	char *method;
	char *uri;  /* Request-URI */
	char *from; /* whole value, with tag */
	char *to;   /* whole value, with tag inside a dialog */
	char *call_id;
	uint32_t cseq;
	char *route;   /* whole header lines, each ended by CRLF */
	char *headers; /* more whole header lines: Contact, Authorization, ... */
	char *content_type;
	char *body; /* NUL-terminated text: SDP or text/plain */
};

int sip_request_alloc(struct sip_request **reqp); /* zeroed */

/* The same request again with other credentials: CSeq + 1 and `headers` replaced (RFC 3261 22.2). */
int sip_request_again(struct sip_request **reqp, const struct sip_request *req, const char *headers);

/* Writes the request at mb's position. via: "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=..." (rport only over UDP). */
int sip_request_encode(struct mbuf *mb, const struct sip_request *req, const char *via);

/* ACK to a non-2xx final (RFC 3261 17.1.1.3) and CANCEL (9.1): same branch, so same via. to: the response's To value. */
int sip_request_encode_ack(struct mbuf *mb, const struct sip_request *invite, const char *via, const struct pl *to);
int sip_request_encode_cancel(struct mbuf *mb, const struct sip_request *invite, const char *via);

/* Escapes a user part (RFC 3261 25.1 user); re_printf handler for %H, arg: const char *. */
int sip_user_print(struct re_printf *pf, const char *user);

enum sip_kind {
	SIP_KIND_BROKEN, /* neither: noise */
	SIP_KIND_REQUEST,
	SIP_KIND_RESPONSE, /* starts like one; `branch` may be unset when the Via is missing or broken */
	SIP_KIND_KEEPALIVE /* only CRLFs */
};

struct sip_glance {
	enum sip_kind kind;
	struct pl branch; /* of the topmost Via; points into buf */
};

/* Looks at the first line and the topmost Via only: enough to match a transaction, cheap on what matches none. */
void sip_glance(struct sip_glance *glance, const uint8_t *buf, size_t len);

/* A whole request or response at mb's position: within the bounds above, well-formed, with Via, From, To, Call-ID and CSeq once each,
   and as long as its Content-Length says. CRLFs before the start line are skipped. On success mb is the body: what is behind
   it in a datagram is cut off (RFC 3261 18.3). EBADMSG: anything else; ENOMEM. Takes a reference to mb. */
int sip_message_decode(struct sip_msg **msgp, struct mbuf *mb);

#endif
