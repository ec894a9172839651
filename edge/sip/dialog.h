/**
 * @file dialog.h  One dialog that a 2xx to our INVITE made (RFC 3261 12.1.2): its identity, its route set, its sequence numbers
 *
 * Pure. What the peer wrote is bounded and loses its line ends before it stands in a request of ours.
 */
#ifndef SIPEDGE_SIP_DIALOG_H
#define SIPEDGE_SIP_DIALOG_H

#include "edge/sip/message.h"

struct dialog;

enum {
	DIALOG_ROUTES_MAX = 32,      /* more is a loop: the route set is left out then */
	DIALOG_TEXT_SIZE_MAX = 2048, /* of one value of the peer's; a longer one is left out too */
};

/* invite: as sent last; referenced. msg: the 2xx, borrowed. ENOMEM. Without a usable Contact requests go to the INVITE's Request-URI. */
int dialog_alloc(struct dialog **dp, struct sip_request *invite, const struct sip_msg *msg);

/* The 2xx is of this dialog: the same To tag. */
bool dialog_has_response(const struct dialog *d, const struct sip_msg *msg);

/* The request is inside this dialog: Call-ID and both tags are its own. */
bool dialog_has_request(const struct dialog *d, const struct sip_msg *msg);

/* false: its CSeq is lower than that of a request before it (12.2.2: 500). */
bool dialog_take_cseq(struct dialog *d, const struct sip_msg *msg);

/* A re-INVITE moves the remote target to its Contact (12.2.2). Keeps the old one when there is none. */
int dialog_refresh(struct dialog *d, const struct sip_msg *msg);

/* The ACK (13.2.2.4): number and credentials of the INVITE. */
int dialog_ack(struct sip_request **reqp, const struct dialog *d);

/* A request with the next CSeq number; headers: whole lines, copied; may be NULL. */
int dialog_request(struct sip_request **reqp, struct dialog *d, const char *method, const char *headers);

/* Where requests go next: the first route, else the remote target. */
struct dialog_hop {
	struct pl host; /* borrowed: valid until the dialog changes or ends; unset: nothing usable */
	uint16_t port;  /* 0: by the scheme */
};
struct dialog_hop dialog_next_hop(const struct dialog *d);

/* Copies the lines of `headers` (whole lines) whose name is `name`. */
int header_lines_copy(struct mbuf *mb, const char *headers, const char *name);

#endif
