/**
 * @file identity.h  What an account calls itself and its server: URIs that stay the same for as long as it is configured
 *
 * Pure but for the random numbers that are passed in. Strings belong to the identity (mem) and are never written to, so requests share
 * them by reference. Only sip: URIs; what a user typed is escaped (RFC 3261 25.1).
 */
#ifndef SIPEDGE_SIP_IDENTITY_H
#define SIPEDGE_SIP_IDENTITY_H

#include "edge/core/config.h"
#include "edge/sip/compat.h"

struct identity {
	char *host;      /* the configured server, IPv6 in brackets: pbx.example.net */
	char *server;    /* sip:host[:port]: the server itself */
	char *registrar; /* sip:domain: where a REGISTER goes (RFC 3261 10.2) */
	char *aor; /* sip:login@domain; NULL without a login. domain: the host, or what stands behind an @ in the login */
	char *user;    /* sip:login@host[:port] as a target; NULL without a login */
	uint16_t port; /* as configured; 0: none */
};

int identity_alloc(struct identity **identityp, const struct account *account);

/* sip:user@host, for a From where no login is configured */
int identity_uri(char **urip, const struct identity *identity, const char *user);

/* user | user@host | URI: a URI is taken as it is, a user is put at the server, with its port when one is configured. */
int identity_target(char **urip, const struct identity *identity, const char *target);

/* sip:token@address:port[;transport=tcp] */
int identity_contact(char **urip, const char *token, const struct sa *local, enum transport transport);

/* "192.0.2.1:5060", "[2001:db8::1]:5060" */
enum { ADDRESS_TEXT_SIZE = 64 };
void address_print(char text[ADDRESS_TEXT_SIZE], const struct sa *sa);

/* Random text: a tag, a Call-ID (each 64 bits in 16 hex digits), a token. */
void token_print(char text[17], uint64_t random);

/* The number that a header value begins with, "30 (busy);x=y": at most UINT32_MAX. false: it begins with none. */
bool text_u32(uint32_t *valuep, const struct pl *pl);

/* a, b, c, ... , NULL in one new string (mem); the hot path has no re_printf. */
int text_join(char **textp, ...) __attribute__((sentinel));

#endif
