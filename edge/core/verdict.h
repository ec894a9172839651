/**
 * @file verdict.h  From what a check saw to a verdict, and from verdicts to a state
 *
 * Pure. Verdict: of one check. State: the verdict after hysteresis, what alarms are made of.
 */
#ifndef SIPEDGE_CORE_VERDICT_H
#define SIPEDGE_CORE_VERDICT_H

#include "edge/core/config.h"

enum verdict {
	VERDICT_OK,
	VERDICT_WARN,
	VERDICT_FAIL,
	VERDICT_MAINTENANCE,
	VERDICT_ERROR, /* the agent could not try: says nothing of the server */
};

/* error_class */
enum verdict_error {
	VERDICT_ERROR_NONE,
	VERDICT_ERROR_DNS,
	VERDICT_ERROR_CONNECT,
	VERDICT_ERROR_TLS,
	VERDICT_ERROR_AUTH,
	VERDICT_ERROR_TIMEOUT,
	VERDICT_ERROR_TRANSPORT,
	VERDICT_ERROR_PROTOCOL,
	VERDICT_ERROR_EXPECT,
	VERDICT_ERROR_MEDIA,
	VERDICT_ERROR_LOCAL,
	VERDICT_ERROR_CANCELLED,
	VERDICT_ERROR_SKIPPED,
};

enum check_state {
	STATE_UNKNOWN, /* before the first result */
	STATE_OK,
	STATE_WARN,
	STATE_FAIL,
	STATE_MAINTENANCE,
	STATE_ERROR,
};

const char *verdict_name(enum verdict verdict);           /* "ok" */
const char *verdict_error_name(enum verdict_error error); /* "timeout" */
const char *check_state_name(enum check_state state);     /* "unknown" */

/* What a finished check saw. */
struct verdict_input {
	uint16_t code; /* final code; 0: none */
	bool has_response_ms;
	double response_ms;
	bool had_credentials;     /* a login was configured: a final 401/407 is auth, whatever expect says */
	enum verdict_error error; /* what ended it without a (good) final answer; NONE otherwise */
	const char *error_text;   /* of that error; may be NULL */
};

struct verdict_output {
	enum verdict verdict;
	enum verdict_error error;
	char text[160]; /* error_text; "" with error none */
};

void verdict_judge(struct verdict_output *out, const struct command *command, const struct verdict_input *in);

/* Hysteresis of one variable: plain value, zeroed at start (STATE_UNKNOWN). */
struct verdict_track {
	enum check_state state;
	int64_t since_unix_us;
	enum check_state candidate;
	uint32_t streak;
};

/* Takes one verdict in; returns true when the state changed. The first result sets the state at once... unless it is
   bad and fail_after is above 1: then it stays unknown until the streak is there. error and cancelled checks leave a known state alone. */
bool verdict_track_update(struct verdict_track *track, const struct command *command, enum verdict verdict,
        enum verdict_error error, int64_t unix_us);

#endif
