/**
 * @file registration.h  A binding kept fresh (RFC 3261 10.2)
 *
 * Loop thread. Registers at once, refreshes at half of what was granted (at least 5 s before its end, at most every 3600 s), tries again
 * with a growing delay (5 s doubling to 300 s) after a failure, but waits 300 s after refused credentials: never a lock-out.
 * 423 Min-Expires is obeyed. On TCP the flow is kept open with CRLF keep-alives (RFC 5626 3.5.1) and made again when lost.
 * The state is logged when it changes; no result comes from here.
 */
#ifndef SIPEDGE_SIP_REGISTRATION_H
#define SIPEDGE_SIP_REGISTRATION_H

#include "edge/sip/uac.h"

enum { REGISTRATION_EXPIRES_S = 300 }; /* asked for */

struct registration;

/* What identifies the binding; a REGISTER check of the same account uses it too. Belongs to the device. */
struct registration_id {
	char *aor; /* sip:login@host */
	char *call_id;
	uint32_t cseq; /* last one used */
	char *contact; /* user part of the Contact, unique per account and process */
};

#endif
