/**
 * @file check.c  One check: finds the server, runs the method, ends once
 */
#include <stdio.h>
#include <string.h>
#include "edge/check/check.h"
#include "edge/clock.h"

enum {
	RETRY_DELAY_US = TIMER_T1 * 1000, /* after what failed at once: the server may be starting again */
	CLOCK_ASK_US = 1000000,
};

static const struct check_method *const methods[METHOD_COUNT] = {
        [METHOD_OPTIONS] = &check_options,
        [METHOD_MESSAGE] = &check_message,
        [METHOD_REGISTER] = &check_register,
        [METHOD_INVITE] = &check_invite,
};

/* Everything that belongs to one try. */
static void drop_try(struct check *check)
{
	wheel_stop(&check->timer);
	check->opening = mem_deref(check->opening);
	check->uac = mem_deref(check->uac);
	check->method_data = mem_deref(check->method_data);
	check->target.flow = mem_deref(check->target.flow);
}

static void destructor(void *arg)
{
	struct check *check = arg;

	list_unlink(&check->le);
	drop_try(check);
	mem_deref(check->result);
	mem_deref(check->account);
	mem_deref(check->device);
}

struct sip_stack *check_stack(const struct check *check)
{
	return check->device->checker->stack;
}

struct call_list *check_calls(const struct check *check)
{
	return check->device->checker->calls;
}

static double ms_between(uint64_t from_us, uint64_t to_us)
{
	return ((double)to_us - (double)from_us) / 1000.0;
}

/* A duration with both ends known; a clock that was set between two readings leaves none. */
static void set_ms(struct result *result, enum column col, uint64_t from_us, uint64_t to_us)
{
	if (from_us && to_us >= from_us)
		result_set_double(result, col, ms_between(from_us, to_us));
}

static void start_timer(struct check *check, uint64_t at_us, wheel_h *h)
{
	wheel_start(check_stack(check)->wheel, &check->timer, at_us, h, check);
}

/* While connecting every error of the peer's side is one of the connection. */
static enum verdict_error connect_error_of(int err)
{
	return check_error_of(err) == VERDICT_ERROR_LOCAL ? VERDICT_ERROR_LOCAL : VERDICT_ERROR_CONNECT;
}

/* Statistics of this try, once, before its exchange is let go of. */
static void collect(struct check *check)
{
	struct uac_stats *stats = &check->stats;

	if (!check->sent_us || check->is_collected)
		return;

	check->is_collected = true;
	check->method->stats(check, stats);
	check->retransmits += stats->retransmits;
	if (stats->auth_algorithm)
		result_set_str(check->result, COL_AUTH_ALG, stats->auth_algorithm);
	result_set_int(check->result, COL_AUTH_ROUNDS, stats->auth_rounds);
	if (stats->auth_us && check->authenticated_us)
		set_ms(check->result, COL_AUTH_MS, stats->auth_us, check->authenticated_us);
}

static void abandon(struct check *check)
{
	if (check->sent_us)
		check->method->abandon(check);
}

/* dst NULL: not resolved */
static void set_remote(struct check *check, const struct sa *dst)
{
	char text[ADDRESS_TEXT_SIZE];

	if (!dst)
		return;
	address_print(text, dst);
	result_set_str(check->result, COL_REMOTE, text);
}

static void deadline_handler(uint64_t now_us, void *arg)
{
	struct check *check = arg;
	struct check_end end = {.error = VERDICT_ERROR_TIMEOUT};
	(void)now_us;

	if (check->opening && line_opening_phase(check->opening) == LINE_DNS) {
		end.error = VERDICT_ERROR_DNS;
		end.text = "the name was not resolved within the timeout";
	} else if (check->opening) {
		end.error = VERDICT_ERROR_CONNECT;
		end.text = "no connection within the timeout";
		set_remote(check, line_opening_dst(check->opening));
	}

	collect(check);
	if (check->sent_us && check->method->expire && check->method->expire(check, &end))
		return;
	abandon(check);
	check_finish(check, &end);
}

static void failure_handler(uint64_t now_us, void *arg)
{
	struct check *check = arg;
	(void)now_us;

	check_finish(check, &check->failure);
}

/* Told from the loop, since the caller may still be inside check_start(). */
static void fail_later(struct check *check, enum verdict_error error, int err)
{
	check->failure = (struct check_end){
	        .error = error,
	        .text = str_error(err, check->text, sizeof(check->text)),
	};
	start_timer(check, stack_now(check_stack(check)), failure_handler);
}

static void set_local(struct check *check)
{
	char text[ADDRESS_TEXT_SIZE];

	address_print(text, &check->local);
	result_set_str(check->result, COL_LOCAL, text);
}

static void start_method(struct check *check, const struct uac_target *target)
{
	int err;

	check->target.flow = mem_ref(target->flow);
	check->target.dst = target->dst;
	set_remote(check, &target->dst);
	err = flow_local(target->flow, &target->dst, &check->local);
	err = err ? err : device_set_local(check->device, &check->local);
	err = err ? err : check->method->start(check);
	if (err) {
		/* nothing left this host: it says nothing of the server, unless a connection is gone */
		enum verdict_error error = check_error_of(err);
		bool is_peer = error == VERDICT_ERROR_TRANSPORT && (flow_proto(target->flow) != TRANSPORT_UDP);

		fail_later(check, is_peer || err == ECONNREFUSED ? error : VERDICT_ERROR_LOCAL, err);
		return;
	}

	++check->attempts;
	if (!check->first_sent_us)
		check->first_sent_us = check->sent_us;
	set_local(check);
}

static void open_failed(struct check *check, const struct line_answer *answer)
{
	struct check_end end = {.text = answer->text};

	if (answer->phase == LINE_DNS) {
		end.error = VERDICT_ERROR_DNS;
	} else {
		end.error = line_transport(check->device->line) == TRANSPORT_UDP ? VERDICT_ERROR_LOCAL
		                                                                 : connect_error_of(answer->err);
		set_remote(check, &answer->dst);
	}
	if (!end.text)
		end.text = str_error(answer->err, check->text, sizeof(check->text));
	check_finish(check, &end);
}

static void open_handler(const struct line_answer *answer, uint64_t now_us, void *arg)
{
	struct check *check = arg;
	struct uac_target target = answer->target;
	(void)now_us;

	if (answer->was_lookup)
		result_set_double(check->result, COL_DNS_MS, (double)answer->dns_us / 1000.0);
	if (answer->was_connect)
		result_set_double(check->result, COL_CONNECT_MS, (double)answer->connect_us / 1000.0);
	if (answer->err) {
		open_failed(check, answer);
		return;
	}

	mem_ref(target.flow); /* a connection of the opening's own */
	check->opening = mem_deref(check->opening);
	start_method(check, &target);
	mem_deref(target.flow);
}

static void begin_try(struct check *check, uint64_t now_us)
{
	struct uac_target target;
	int err;

	++check->tries;
	check->sent_us = 0;
	check->first_us = 0;
	check->challenged_us = 0;
	check->authenticated_us = 0;
	check->is_collected = false;
	memset(&check->stats, 0, sizeof(check->stats));
	start_timer(check, now_us + (uint64_t)check->command->timeout_ms * 1000, deadline_handler);

	if (line_get(check->device->line, &target)) {
		start_method(check, &target);
		return;
	}

	err = line_open(&check->opening, check->device->line, open_handler, check);
	if (err)
		fail_later(check, VERDICT_ERROR_LOCAL, err);
}

static void retry_handler(uint64_t now_us, void *arg)
{
	begin_try(arg, now_us);
}

/* Only what a lost packet or a short absence explains is tried again. */
static bool is_retried(const struct check *check, const struct check_end *end)
{
	if (check->tries > check->command->retries || check->is_done)
		return false;

	return end->error == VERDICT_ERROR_TIMEOUT || end->error == VERDICT_ERROR_TRANSPORT ||
	       end->error == VERDICT_ERROR_CONNECT;
}

static void retry(struct check *check, enum verdict_error error)
{
	uint64_t now_us = stack_now(check_stack(check));

	drop_try(check);
	check->sent_us = 0; /* nothing to abandon until the next start */
	start_timer(check, error == VERDICT_ERROR_TIMEOUT ? now_us : now_us + RETRY_DELAY_US, retry_handler);
}

static void judge(struct check *check, const struct check_end *end)
{
	struct verdict_input in = {
	        .code = end->code,
	        .has_response_ms = check->result->cells[COL_RESPONSE_MS].is_set,
	        .response_ms = check->result->cells[COL_RESPONSE_MS].v.d,
	        .had_credentials = check->account->login != NULL,
	        .error = end->error,
	        .error_text = end->text,
	};
	struct verdict_output out;

	verdict_judge(&out, check->command, &in);
	check->result->verdict = out.verdict;
	check->result->error = out.error;
	if (out.error != VERDICT_ERROR_NONE)
		result_set_str(check->result, COL_ERROR_TEXT, out.text);
}

static void write_columns(struct check *check, const struct check_end *end)
{
	struct result *result = check->result;
	uint64_t end_us = end->known_us ? end->known_us : end->rx_us;

	if (!end_us)
		end_us = stack_now(check_stack(check));

	if (end->code) {
		result_set_int(result, COL_CODE, end->code);
	} else { /* of an answer that does not count: cancelled while its call was held */
		result_clear(result, COL_REASON);
		result_clear(result, COL_RETRY_AFTER_S);
	}
	if (end->code && end->rx_us)
		set_ms(result, COL_RESPONSE_MS, check->sent_us, end->rx_us);
	if (check->first_us)
		set_ms(result, COL_FIRST_MS, check->sent_us, check->first_us);
	set_ms(result, COL_TOTAL_MS, check->started_us, end_us);
	result_set_str(result, COL_TRANSPORT, transport_name(check->account->transport));
	result_set_int(result, COL_ATTEMPTS, check->attempts);
	result_set_int(result, COL_RETRANSMITS, check->retransmits);
	result->finished_unix_us =
	        result->started_unix_us + (end_us > check->started_us ? (int64_t)(end_us - check->started_us) : 0);
}

/* Silence, or was there something that is no answer? Then the server is there, but broken. */
static void look_into_silence(const struct check *check, struct check_end *end)
{
	if (check->stats.strays) {
		end->error = VERDICT_ERROR_PROTOCOL;
		end->text = check->stats.stray_text;
	} else if (check->target.flow && flow_has_partial(check->target.flow)) {
		end->error = VERDICT_ERROR_PROTOCOL;
		end->text = "the server began a message and did not end it";
	}
}

void check_finish(struct check *check, const struct check_end *end)
{
	struct check_end last = *end; /* it may stand inside of what goes now */
	struct result *result;
	check_done_h *doneh = check->doneh;
	void *arg = check->arg;

	collect(check);
	if (last.error == VERDICT_ERROR_TIMEOUT)
		look_into_silence(check, &last);
	if (is_retried(check, &last)) {
		retry(check, last.error);
		return;
	}

	write_columns(check, &last);
	if (check->method->report)
		check->method->report(check, &last);
	judge(check, &last);

	result = check->result;
	check->result = NULL;
	mem_deref(check);
	doneh(result, arg);
}

void check_cancel(struct check *check)
{
	const struct check_end end = {.error = VERDICT_ERROR_CANCELLED};

	collect(check);
	abandon(check);
	check_finish(check, &end);
}

void check_method_done(struct check *check)
{
	check->is_done = true;
	wheel_stop(&check->timer);
}

static bool clock_is_good(struct checker *checker, uint64_t now_us)
{
	if (!checker->clock_asked_us || now_us - checker->clock_asked_us > CLOCK_ASK_US) {
		checker->clock_asked_us = now_us;
		checker->clock_synchronized = clock_is_synchronized();
	}

	return checker->clock_synchronized;
}

static int alloc_result(struct check *check, const char *trigger, uint64_t due_us)
{
	int err = result_alloc(&check->result, check->account, check->command);

	if (err)
		return err;

	check->result->trigger = trigger;
	check->result->started_unix_us = clock_unix_us();
	check->result->clock_synchronized = clock_is_good(check->device->checker, check->started_us);
	if (due_us)
		set_ms(check->result, COL_SCHED_LAG_MS, due_us, check->started_us);

	return 0;
}

int check_start(struct check **checkp, struct device *device, const struct command *command, const char *trigger,
        uint64_t due_us, check_done_h *doneh, void *arg)
{
	struct check *check;
	int err;

	if (!device || !command || !doneh || !methods[command->method])
		return EINVAL;
	if (command < device->account->commands || command >= device->account->commands + device->account->ncommands)
		return EINVAL;
	if (device->is_closing || device->checker->is_closing)
		return ECANCELED;

	check = mem_zalloc(sizeof(*check), destructor);
	if (!check)
		return ENOMEM;

	check->device = mem_ref(device);
	check->account = mem_ref(device->account);
	check->command = command;
	check->method = methods[command->method];
	check->doneh = doneh;
	check->arg = arg;
	check->started_us = stack_now(device->checker->stack);
	err = alloc_result(check, trigger, due_us);
	if (err) {
		mem_deref(check);
		return err;
	}

	list_append(&device->checks, &check->le, check);
	if (checkp)
		*checkp = check;
	begin_try(check, check->started_us);

	return 0;
}
