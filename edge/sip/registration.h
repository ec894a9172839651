/**
 * @file registration.h  A binding kept fresh (RFC 3261 10.2)
 *
 * Loop thread. Registers at once, refreshes at half of what was granted (at least 5 s before its end, at most every 3600 s), tries again
 * with a growing delay (5 s doubling to 300 s, up to a tenth less by chance) after a failure, but waits 300 s after refused credentials:
 * never a lock-out. 423 Min-Expires is obeyed. On TCP the flow is kept open with CRLF keep-alives (RFC 5626 3.5.1) and made again when lost.
 * The state is logged when it changes; no result comes from here.
 */
#ifndef SIPEDGE_SIP_REGISTRATION_H
#define SIPEDGE_SIP_REGISTRATION_H

#include "edge/sip/identity.h"
#include "edge/sip/line.h"

enum {
	REGISTRATION_EXPIRES_S = 300, /* asked for */
	REGISTRATION_STOP_MS = 2000,  /* how long the removal of a binding is waited for */
};

struct registration;

/* What identifies the binding; a REGISTER check of the same account uses it too. Belongs to the device. */
struct registration_id {
	char *call_id;
	uint32_t cseq; /* last one used */
	char *contact; /* user part of the Contact, unique per account and process */
};

/* All borrowed, and must outlive the registration. */
struct registration_config {
	const char *name; /* the account's id, for the log */
	const struct identity *identity;
	struct registration_id *id;
	struct line *line;
	const char *login;
	const char *password; /* may be NULL */
};

int registration_alloc(struct registration **regp, struct sip_stack *stack, const struct registration_config *config);
void registration_start(struct registration *reg);

/* Removes the binding where there may be one. doneh is called once, from the loop, when that was answered or was waited for long enough. */
typedef void(registration_stopped_h)(void *arg);
void registration_stop(struct registration *reg, registration_stopped_h *doneh, void *arg);

bool registration_is_bound(const struct registration *reg);

/* A whole REGISTER. contact: a URI. expires_s 0 removes the binding (RFC 3261 10.2.2). */
struct register_request {
	const struct identity *identity;
	const char *user_agent;
	char *call_id;
	const char *aor; /* what is bound; identity->aor, or another one */
	uint32_t cseq;
	const char *contact;
	const char *stale; /* an older contact of ours, to be removed by the way; may be NULL */
	uint32_t expires_s;
	uint64_t tag; /* random */
};
int register_request_alloc(struct sip_request **reqp, const struct register_request *config);

/* What a 2xx to a REGISTER says (RFC 3261 10.3). */
struct register_answer {
	uint32_t bindings;  /* Contacts listed */
	bool has_expires;   /* expires_s is valid */
	uint32_t expires_s; /* of our contact, else of the Expires header */
	struct pl contact;  /* our contact as the registrar has it (URI); unset: not listed. Points into the message */
};
void register_answer_get(struct register_answer *answer, const struct sip_msg *msg, const char *token);

#endif
