/**
 * @file check.h  Inside of a check: what the methods share (private to edge/check)
 *
 * A check finds its server (line.h), runs its method, and ends by check_finish(), the only exit. The deadline covers name
 * resolution to final answer, authentication included; holding a call and cleaning up come after it. A retry is the same
 * again with a fresh deadline and a fresh transaction. Loop thread.
 */
#ifndef SIPEDGE_CHECK_CHECK_H
#define SIPEDGE_CHECK_CHECK_H

#include "edge/check/checker.h"
#include "edge/check/device.h"
#include "edge/sip/line.h"

struct check_method;

/* What ended a check. Plain value. code 0: no final answer. */
struct check_end {
	uint16_t code;
	uint64_t rx_us;           /* of the final answer */
	uint64_t known_us;        /* when the verdict was known, where that is neither rx_us nor now; else 0 */
	enum verdict_error error; /* NONE: judge the code */
	const char *text;         /* for a person; may be NULL */
};

/* Methods read all of it; they write sent_us, uac and method_data. */
struct check {
	struct le le;            /* device->checks */
	struct device *device;   /* referenced */
	struct account *account; /* referenced: outlives a reload */
	const struct command *command;
	const struct check_method *method;
	struct result *result;
	check_done_h *doneh;
	void *arg;

	uint64_t started_us;      /* monotonic */
	struct wheel_timer timer; /* the deadline; or the wait for a retry; or `failure`, told from the loop */
	struct line_opening *opening;
	struct uac_target target; /* once connected; flow referenced */
	struct sa local;          /* for Via, Contact and SDP */

	struct uac *uac;   /* OPTIONS, MESSAGE, REGISTER */
	void *method_data; /* of the method: mem_deref'd with the check and before a retry */
	uint64_t
	        sent_us; /* monotonic: first bit of this try's first request; 0: nothing sent. The method's start sets it */
	uint64_t first_us;         /* first response of any kind of this try; 0: none */
	uint64_t challenged_us;    /* first 401 or 407 of this try; 0: none */
	uint64_t authenticated_us; /* first response after that one; 0: none */

	uint64_t first_sent_us;   /* of the first try: offsets in the table of responses */
	uint32_t tries;           /* so far */
	uint32_t attempts;        /* of them, those that sent anything */
	uint32_t retransmits;     /* of all tries */
	struct check_end failure; /* could not be sent: told from the loop, never from inside check_start() */
	char text[128];           /* of `failure` */
	bool is_collected;        /* this try's statistics are here and in the result */
	struct uac_stats stats;
	bool is_done; /* the deadline is met: INVITE holds or cleans up, REGISTER removes */
};

/* One method: start is called once the target is connected, again for every retry. */
struct check_method {
	int (*start)(struct check *check); /* sends and sets sent_us; an errno: nothing was sent */
	/* The deadline came: true: the method ends the check itself, soon, with this end. May be NULL. */
	bool (*expire)(struct check *check, const struct check_end *end);
	void (*abandon)(struct
	        check *check); /* deadline or cancellation before an end: let go of what is under way; no handler after it */
	void (*stats)(const struct check *check, struct uac_stats *stats); /* of this try; *stats is zeroed before */
	void (*report)(struct check *check,
	        const struct check_end *end); /* at the very end: columns that every end has; may be NULL */
};

extern const struct check_method check_options, check_message, check_register, check_invite;

/* The only exit: retries when that is configured and due, else fills the common columns, judges, calls the handler and frees
   the check. The caller touches nothing afterwards. */
void check_finish(struct check *check, const struct check_end *end);

/* Shared by the methods. */
struct sip_stack *check_stack(const struct check *check);
struct call_list *check_calls(const struct check *check);

/* From with a fresh tag, To, a fresh Call-ID, CSeq 1, User-Agent, and a Contact where the method has one. Strings may be shared with
   others: they are replaced, never written to. `uri`, `to_uri`: without angle brackets. */
int check_request(struct sip_request **reqp, struct check *check, enum method method, char *uri, char *to_uri);

/* The Request-URI of the command, a new reference: its target (user | user@host | URI), or the method's default, at the account's server. */
int check_uri(char **urip, const struct check *check);

void check_observe(const struct ctrans_response *rsp,
        void *arg); /* uac_observe_h, arg: the check: responses table, first_ms, auth_ms, nat_addr, server */

/* What uac_h (or a call's answerh or failh) got, as an end: err 0 with rsp; EACCES, ENOTSUP and EBADMSG with rsp; any errno without. Writes
   what the final response says into the result: reason, Retry-After. */
struct check_end check_end_of(struct check *check, int err, const struct ctrans_response *rsp);
enum verdict_error check_error_of(int err);  /* errno -> error class */
void check_method_done(struct check *check); /* INVITE: holding and clean-up begin: the deadline is met */

/* The uac of methods that are one exchange. */
int check_uac_start(struct check *check, struct sip_request *req, uac_h *h);
void check_uac_abandon(struct check *check);
void check_uac_stats(const struct check *check, struct uac_stats *stats);

#endif
