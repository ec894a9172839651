/**
 * @file check.h  Inside of a check: what the methods share (private to edge/check)
 *
 * A check resolves, connects, runs its method, and ends by check_finish(), the only exit. The deadline covers name resolution to
 * final answer, authentication included; holding a call and cleaning up come after it.
 */
#ifndef SIPEDGE_CHECK_CHECK_H
#define SIPEDGE_CHECK_CHECK_H

#include "edge/check/checker.h"
#include "edge/sip/registration.h"

struct device {
	struct checker *checker;
	struct account *account;         /* referenced */
	struct flow *udp;                /* the bound socket; NULL for streams */
	struct transport_port *reserved; /* a fixed TCP port */
	struct flow *stream;       /* kept connection (fixed local port, or registered); NULL: each check connects */
	struct registration_id id; /* shared by the registration and REGISTER checks */
	struct registration *registration;
	bool is_closing;
	struct list checks; /* running */
};

struct check {
	struct le le;            /* device->checks */
	struct device *device;   /* referenced */
	struct account *account; /* referenced: outlives a reload */
	const struct command *command;
	struct result *result;
	check_done_h *doneh;
	void *arg;

	uint64_t started_us; /* monotonic */
	struct wheel_timer deadline;
	struct resolve_query *query;
	struct uac_target target; /* once connected; flow referenced */
	struct sa local;          /* for Via and Contact */
	struct uac *uac;          /* OPTIONS, MESSAGE, REGISTER */
	uint64_t sent_us;         /* monotonic: first bit of the first request; 0: nothing sent */
	uint64_t first_us;        /* first response of any kind; 0: none */
	uint32_t tries;           /* so far */
	void *method_data;        /* of the method; freed with the check */
	bool is_finished;
};

/* One method: start is called once the target is connected, again for every retry. */
struct check_method {
	enum method method;
	int (*start)(struct check *check);    /* sends; an errno: nothing was sent */
	void (*abandon)(struct check *check); /* deadline or cancellation before an end: let go of what is under way */
};

extern const struct check_method check_options, check_message, check_register, check_invite;

/* What ended a check. code 0: no final answer. */
struct check_end {
	uint16_t code;
	struct pl reason;
	uint64_t rx_us;           /* of the final answer */
	enum verdict_error error; /* NONE: judge the code */
	const char *text;         /* for a person; may be NULL */
};

/* The only exit: fills the common columns, judges, retries when that is configured and due, else calls the handler and frees the check. The caller
   touches nothing afterwards. */
void check_finish(struct check *check, const struct check_end *end);

/* Shared by the methods. */
int check_request(struct sip_request **reqp, struct check *check, const char *method, const char *uri,
        const char *to_uri); /* From, To, Call-ID, CSeq, Contact */
int check_uri(char **urip, const struct check *check,
        const char *target); /* user | user@host | URI -> Request-URI at the account's server */
void check_observe(const struct ctrans_response *rsp,
        void *arg); /* uac_observe_h, arg: the check: responses table, first_ms, nat_addr, server */
enum verdict_error check_error_of(int err);  /* errno -> error class */
void check_method_done(struct check *check); /* INVITE: holding and clean-up begin: the deadline is met */

#endif
