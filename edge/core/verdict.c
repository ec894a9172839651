/**
 * @file verdict.c  From what a check saw to a verdict, and from verdicts to a state
 */
#include <stdio.h>
#include <string.h>
#include "edge/core/sipcode.h"
#include "edge/core/text.h"
#include "edge/core/verdict.h"

static const char *const verdicts[] = {
        [VERDICT_OK] = "ok",
        [VERDICT_WARN] = "warn",
        [VERDICT_FAIL] = "fail",
        [VERDICT_MAINTENANCE] = "maintenance",
        [VERDICT_ERROR] = "error",
};

static const char *const states[] = {
        [STATE_UNKNOWN] = "unknown",
        [STATE_OK] = "ok",
        [STATE_WARN] = "warn",
        [STATE_FAIL] = "fail",
        [STATE_MAINTENANCE] = "maintenance",
        [STATE_ERROR] = "error",
};

/* What each error class says: of the server (fail) or only of us (error). */
static const struct {
	const char *name;
	enum verdict verdict;
	const char *text;
} errors[] = {
        [VERDICT_ERROR_NONE] = {"none", VERDICT_OK, ""},
        [VERDICT_ERROR_DNS] = {"dns", VERDICT_ERROR, "the server's name could not be resolved"},
        [VERDICT_ERROR_CONNECT] = {"connect", VERDICT_FAIL, "no connection to the server"},
        [VERDICT_ERROR_TLS] = {"tls", VERDICT_FAIL, "no TLS session with the server"},
        [VERDICT_ERROR_AUTH] = {"auth", VERDICT_FAIL, "the server did not accept the login"},
        [VERDICT_ERROR_TIMEOUT] = {"timeout", VERDICT_FAIL, "no final answer within the timeout"},
        [VERDICT_ERROR_TRANSPORT] = {"transport", VERDICT_FAIL, "the request could not be delivered"},
        [VERDICT_ERROR_PROTOCOL] = {"protocol", VERDICT_FAIL, "the server's answer is malformed"},
        [VERDICT_ERROR_EXPECT] = {"expect", VERDICT_FAIL, "the answer is not the expected one"},
        [VERDICT_ERROR_MEDIA] = {"media", VERDICT_FAIL, "the call had no usable media"},
        [VERDICT_ERROR_LOCAL] = {"local", VERDICT_ERROR, "the agent could not start the check"},
        [VERDICT_ERROR_CANCELLED] = {"cancelled", VERDICT_ERROR, "the check was abandoned"},
        [VERDICT_ERROR_SKIPPED] = {"skipped", VERDICT_ERROR, "the check was not run"},
};

const char *verdict_name(enum verdict verdict)
{
	return (size_t)verdict < sizeof(verdicts) / sizeof(verdicts[0]) ? verdicts[verdict] : "?";
}

const char *verdict_error_name(enum verdict_error error)
{
	return (size_t)error < sizeof(errors) / sizeof(errors[0]) ? errors[error].name : "?";
}

const char *check_state_name(enum check_state state)
{
	return (size_t)state < sizeof(states) / sizeof(states[0]) ? states[state] : "?";
}

static void judge_error(struct verdict_output *out, enum verdict_error error, const char *text)
{
	if (!text || !text[0])
		text = errors[error].text;
	out->verdict = errors[error].verdict;
	out->error = error;
	(void)text_clean(out->text, sizeof(out->text), text, strlen(text));
}

static void judge_answer(struct verdict_output *out, const struct command *command, const struct verdict_input *in)
{
	bool over_warn = command->warn_ms && in->has_response_ms && in->response_ms > command->warn_ms;
	bool over_fail = command->fail_ms && in->has_response_ms && in->response_ms > command->fail_ms;

	if (in->had_credentials && (in->code == 401 || in->code == 407)) {
		judge_error(out, VERDICT_ERROR_AUTH, NULL);
		return;
	}
	if (codeset_has(&command->maintenance, in->code)) {
		out->verdict = VERDICT_MAINTENANCE;
		return;
	}
	if (!codeset_has(&command->expect, in->code)) {
		judge_error(out, VERDICT_ERROR_EXPECT, NULL);
		(void)snprintf(out->text, sizeof(out->text), "answered %u %s, which is not expected",
		        (unsigned)in->code, sipcode_name(in->code));
		return;
	}
	if (over_fail) {
		judge_error(out, VERDICT_ERROR_EXPECT, NULL);
		(void)snprintf(out->text, sizeof(out->text), "answered after %.1f ms, above the limit of %u ms",
		        in->response_ms, (unsigned)command->fail_ms);
		return;
	}
	out->verdict = over_warn ? VERDICT_WARN : VERDICT_OK;
}

void verdict_judge(struct verdict_output *out, const struct command *command, const struct verdict_input *in)
{
	memset(out, 0, sizeof(*out));
	if (in->error != VERDICT_ERROR_NONE)
		judge_error(out, in->error, in->error_text);
	else if (in->code == 0)
		judge_error(out, VERDICT_ERROR_LOCAL, "the check ended without an answer and without a reason");
	else
		judge_answer(out, command, in);
}

/* Order of severity. Unknown and error say nothing of the server: any verdict is a step from there. */
static int severity(enum check_state state)
{
	switch (state) {
	case STATE_OK:
		return 0;
	case STATE_WARN:
		return 1;
	case STATE_MAINTENANCE:
		return 2;
	case STATE_FAIL:
		return 3;
	case STATE_UNKNOWN:
	case STATE_ERROR:
		break;
	}
	return -1;
}

static enum check_state state_of(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_OK:
		return STATE_OK;
	case VERDICT_WARN:
		return STATE_WARN;
	case VERDICT_FAIL:
		return STATE_FAIL;
	case VERDICT_MAINTENANCE:
		return STATE_MAINTENANCE;
	case VERDICT_ERROR:
		break;
	}
	return STATE_ERROR;
}

static bool enter(struct verdict_track *track, enum check_state state, int64_t unix_us)
{
	track->candidate = STATE_UNKNOWN;
	track->streak = 0;
	if (track->state == state)
		return false;
	track->state = state;
	track->since_unix_us = unix_us;
	return true;
}

bool verdict_track_update(struct verdict_track *track, const struct command *command, enum verdict verdict,
        enum verdict_error error, int64_t unix_us)
{
	enum check_state seen = state_of(verdict);
	int from = severity(track->state), to = severity(seen), candidate = severity(track->candidate);
	bool is_worse =
	        to > (from < 0 ? 0 : from); /* the first good result counts at once, the first bad one does not */
	uint32_t needed;

	if (seen == STATE_ERROR) {
		if (track->state != STATE_UNKNOWN || error == VERDICT_ERROR_CANCELLED || error == VERDICT_ERROR_SKIPPED)
			return false;
		track->state = STATE_ERROR; /* a streak under way goes on */
		track->since_unix_us = unix_us;
		return true;
	}
	if (seen == track->state)
		return enter(track, seen, unix_us);
	if (!is_worse && from < 0)
		return enter(track, seen, unix_us);

	/* A run of results on the same side of the state moves it to the one of them that is nearest to it. */
	if (track->streak > 0 && (candidate > from) == is_worse) {
		if ((to < candidate) == is_worse)
			track->candidate = seen;
	} else {
		track->candidate = seen;
		track->streak = 0;
	}
	++track->streak;
	needed = is_worse ? command->fail_after : command->recover_after;
	return track->streak >= needed ? enter(track, track->candidate, unix_us) : false;
}
