/**
 * @file auth.h  Digest authentication of a client (RFC 3261 22, RFC 7616): MD5, qop=auth
 *
 * Pure but for the random numbers that are passed in. Belongs to one exchange. The password is borrowed and never copied.
 */
#ifndef SIPEDGE_SIP_AUTH_H
#define SIPEDGE_SIP_AUTH_H

#include "edge/sip/compat.h"

struct auth;

int auth_alloc(struct auth **authp, const char *user,
        const char *password); /* user copied; password must outlive it; NULL: empty */

/* Takes the challenges of a 401 or 407: of each realm the first that asks for MD5 with qop=auth or none (RFC 2069). 0: try again with
   auth_print(). EACCES: these credentials were refused (a second challenge of the same realm that is not stale, or a third
   stale one): give up, never lock an account out. ENOTSUP: no challenge that we can answer. EBADMSG: none, or broken. ENOMEM. */
int auth_challenge(struct auth *auth, const struct sip_msg *msg);

struct auth_request {
	const char *method;
	const char *uri;
	uint64_t cnonce; /* random */
};

/* Writes the Authorization and Proxy-Authorization header lines for the challenges taken so far; nonce count goes up. */
int auth_print(struct mbuf *mb, struct auth *auth, const struct auth_request *req);

const char *auth_algorithm(const struct auth *auth); /* of the last answer, "MD5"; NULL: none yet */
uint32_t auth_rounds(const struct auth *auth);       /* responses whose challenges were taken */

/* What a digest is made of. Strings as they stand between the quotes; qop, nc and cnonce NULL: RFC 2069. */
struct auth_digest {
	const char *user, *realm, *password;
	const char *nonce, *method, *uri;
	const char *qop, *nc, *cnonce;
};

enum { AUTH_DIGEST_SIZE = 33 }; /* hexadecimal MD5 with the NUL */

/* request-digest of RFC 2617 3.2.2.1, for either side. ENOTSUP: no MD5 on this machine (FIPS). */
int auth_digest(char hex[AUTH_DIGEST_SIZE], const struct auth_digest *in);

#endif
