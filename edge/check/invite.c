/**
 * @file invite.c  INVITE: can a call be placed, does it answer, does audio come back (RFC 3261 13, 15; RFC 6076 4.3-4.9)
 *
 * The verdict is that of the INVITE's final answer. After it the call is held, then hung up, and the result is there when the BYE is
 * answered. Without a final answer at the deadline the call is cancelled and its 487 waited for a little, so that it stands among the responses;
 * whatever is left then goes on behind the result (call.h).
 */
#include "edge/check/check.h"
#include "edge/media/media.h"

enum {
	CANCEL_WAIT_US = 2000000, /* for the 487 */
	BYE_WAIT_US = 5000000,    /* for the answer to the BYE */
};

struct invite {
	struct check *check; /* its owner */
	struct media *media;
	struct call *call;        /* NULL: abandoned */
	struct wheel_timer timer; /* end of the hold, then of the wait for the BYE; or of that for the 487 */
	struct check_end end;
	bool is_late; /* the deadline came first: `end` stands whatever comes now */
	bool is_answered;
	bool is_agreed; /* on audio */
	bool has_early_sdp;
	bool was_cancelled;
	bool is_over; /* call_end is valid */
	uint64_t answer_us;
	struct call_end call_end;
};

static void destructor(void *arg)
{
	struct invite *invite = arg;

	wheel_stop(&invite->timer);
	call_release(invite->call);
	mem_deref(invite->media);
}

static void start_timer(struct invite *invite, uint64_t after_us, wheel_h *h)
{
	struct sip_stack *stack = check_stack(invite->check);

	wheel_start(stack->wheel, &invite->timer, stack_now(stack) + after_us, h, invite);
}

static void finish_handler(uint64_t now_us, void *arg)
{
	struct invite *invite = arg;
	(void)now_us;

	check_finish(invite->check, &invite->end);
}

static void hang_up_handler(uint64_t now_us, void *arg)
{
	struct invite *invite = arg;
	(void)now_us;

	media_send_stop(invite->media);
	start_timer(invite, BYE_WAIT_US, finish_handler);
	call_hang_up(invite->call);
}

static double ms_since_sent(const struct check *check, uint64_t us)
{
	return ((double)us - (double)check->sent_us) / 1000.0;
}

/* The first one counts. */
static void set_delay(struct check *check, enum column col, uint64_t us)
{
	if (!check->result->cells[col].is_set && us >= check->sent_us)
		result_set_double(check->result, col, ms_since_sent(check, us));
}

static void observe_handler(const struct ctrans_response *rsp, void *arg)
{
	struct invite *invite = arg;
	struct check *check = invite->check;
	uint16_t code = rsp->msg->scode;

	check_observe(rsp, check);
	if (code == 100)
		set_delay(check, COL_TRYING_MS, rsp->rx_us);
	if (code == 180)
		set_delay(check, COL_RING_MS, rsp->rx_us);
	if ((code >= 180 && code <= 183) || (code >= 200 && code < 300))
		set_delay(check, COL_SRD_MS, rsp->rx_us);
}

static void progress_handler(const struct ctrans_response *rsp, const struct mbuf *sdp, void *arg)
{
	struct invite *invite = arg;
	(void)rsp;

	if (!sdp)
		return;
	invite->has_early_sdp = true;
	invite->is_agreed = media_answer(invite->media, sdp) == 0; /* what a 2xx without SDP stands on */
}

static const char *media_error(struct invite *invite, const struct mbuf *sdp)
{
	int err = sdp ? media_answer(invite->media, sdp) : 0;

	if (!sdp)
		return invite->is_agreed ? NULL : "the call was answered without SDP";
	invite->is_agreed = err == 0;
	if (err == ENOTSUP)
		return "the answer has no audio stream in a codec that was offered";
	return err ? "the SDP of the answer is malformed" : NULL;
}

static void answer_handler(const struct ctrans_response *rsp, const struct mbuf *sdp, void *arg)
{
	struct invite *invite = arg;
	struct check *check = invite->check;

	invite->is_answered = true;
	invite->answer_us = rsp->rx_us;
	if (invite->is_late)
		return; /* it crossed the CANCEL and is being hung up */
	invite->end = check_end_of(check, 0, rsp);
	invite->end.text = media_error(invite, sdp);
	if (invite->end.text)
		invite->end.error = VERDICT_ERROR_MEDIA;
	set_delay(check, COL_ANSWER_MS, rsp->rx_us);
	check_method_done(check);
	if (invite->is_agreed && check->command->hold_ms)
		media_send_start(invite->media, stack_now(check_stack(check)));
	start_timer(invite, invite->is_agreed ? (uint64_t)check->command->hold_ms * 1000 : 0, hang_up_handler);
}

static int offer_handler(char **answerp, const struct mbuf *sdp, void *arg)
{
	struct invite *invite = arg;

	return media_take_offer(answerp, invite->media, sdp);
}

static void fail_handler(int err, const struct ctrans_response *rsp, void *arg)
{
	struct invite *invite = arg;

	if (!invite->is_late)
		invite->end = check_end_of(invite->check, err, rsp);
	check_finish(invite->check, &invite->end);
}

static void end_handler(const struct call_end *end, void *arg)
{
	struct invite *invite = arg;

	media_send_stop(invite->media);
	invite->is_over = true;
	invite->call_end = *end;
	/* from the loop: this may be inside of call_hang_up() or of the answer */
	start_timer(invite, 0, finish_handler);
}

static int make_request(struct sip_request **reqp, struct check *check, struct invite *invite)
{
	struct sip_request *req = NULL;
	char *uri = NULL, *headers = NULL;
	int err;

	err = check_uri(&uri, check);
	err = err ? err : check_request(&req, check, METHOD_INVITE, uri, uri);
	mem_deref(uri);
	if (err)
		return err;
	err = text_join(&headers, req->headers, "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE\r\n", NULL);
	err = err ? err : str_dup(&req->content_type, "application/sdp");
	err = err ? err : media_offer(&req->body, invite->media);
	if (err) {
		mem_deref(headers);
		mem_deref(req);
		return err;
	}
	mem_deref(req->headers);
	req->headers = headers;
	*reqp = req;
	return 0;
}

static void clear_columns(struct result *result)
{
	static const enum column cols[] = {COL_TRYING_MS, COL_RING_MS, COL_SRD_MS, COL_ANSWER_MS};

	for (size_t i = 0; i < sizeof(cols) / sizeof(cols[0]); i++)
		result_clear(result, cols[i]);
}

static int start(struct check *check)
{
	struct sip_stack *stack = check_stack(check);
	struct invite *invite = mem_zalloc(sizeof(*invite), destructor);
	const struct call_handlers handlers = {.observeh = observe_handler,
	        .progressh = progress_handler,
	        .answerh = answer_handler,
	        .offerh = offer_handler,
	        .failh = fail_handler,
	        .endh = end_handler,
	        .arg = invite};
	struct sip_request *req = NULL;
	struct uac_stats stats;
	int err;

	if (!invite)
		return ENOMEM;
	check->method_data = invite;
	invite->check = check;
	clear_columns(check->result); /* of the try before */
	err = media_alloc(&invite->media, stack->wheel, &check->local, stack_random(stack));
	err = err ? err : make_request(&req, check, invite);
	err = err ? err : call_start(&invite->call, check_calls(check), &check->target, req, check->account, &handlers);
	mem_deref(req);
	if (err)
		return err;
	call_stats_get(invite->call, &stats);
	check->sent_us = stats.sent_us;
	return 0;
}

/* What the call is asked once more before it goes its own way. */
static void let_go(struct invite *invite)
{
	if (!invite->call)
		return;
	if (!invite->is_answered) {
		call_hang_up(invite->call);
		invite->was_cancelled = call_cancel_was_sent(invite->call);
	}
	call_release(invite->call);
	invite->call = NULL;
}

static void abandon(struct check *check)
{
	let_go(check->method_data);
}

/* RFC 3261 9.1: without a provisional response there is no CANCEL, and nothing to wait for. */
static bool expire(struct check *check, const struct check_end *end)
{
	struct invite *invite = check->method_data;

	if (!call_has_provisional(invite->call))
		return false;
	invite->is_late = true;
	invite->end = *end;
	invite->end.known_us = stack_now(check_stack(check));
	start_timer(invite, CANCEL_WAIT_US, finish_handler);
	call_hang_up(invite->call);
	return true;
}

static void stats_get(const struct check *check, struct uac_stats *stats)
{
	const struct invite *invite = check->method_data;

	if (invite && invite->call)
		call_stats_get(invite->call, stats);
}

static const char *ended_by(const struct invite *invite, const struct check_end *end, bool cancelled)
{
	if (invite->is_answered && !invite->is_late)
		return invite->is_over && invite->call_end.by == CALL_ENDED_REMOTE ? "remote" : "local";
	if (cancelled)
		return "cancel";
	if (end->code >= 300)
		return "reject";
	return end->error == VERDICT_ERROR_TIMEOUT ? "timeout" : NULL;
}

static void report_end(struct result *r, const struct invite *invite, const struct check_end *end)
{
	const struct call_end *over = &invite->call_end;
	bool cancelled = invite->was_cancelled || (invite->call && call_cancel_was_sent(invite->call));
	const char *by = ended_by(invite, end, cancelled);

	result_set_bool(r, COL_CANCEL_SENT, cancelled);
	if (by)
		result_set_str(r, COL_ENDED_BY, by);
	if (!invite->is_over)
		return;
	if (over->bye_us > invite->answer_us)
		result_set_double(r, COL_SDT_S, (double)(over->bye_us - invite->answer_us) / 1e6);
	if (over->bye_code)
		result_set_int(r, COL_BYE_CODE, over->bye_code);
	if (over->bye_code >= 200 && over->bye_code < 300 && over->bye_done_us > over->bye_us)
		result_set_double(r, COL_SDD_MS, (double)(over->bye_done_us - over->bye_us) / 1000.0);
}

/* Each call's part of the ratios of RFC 6076. Silence counts as a 408, a transport error as a 503 (RFC 3261 8.1.3.1). */
static void report_ratios(struct result *r, const struct invite *invite, const struct check_end *end)
{
	bool success = end->code >= 200 && end->code < 300;
	bool is_lost = !end->code && (end->error == VERDICT_ERROR_TIMEOUT || end->error == VERDICT_ERROR_TRANSPORT);
	bool is_effective = end->code == 480 || end->code == 486 || end->code == 600 || end->code == 603;
	bool is_ineffective = end->code == 408 || end->code == 500 || end->code == 503 || end->code == 504;

	if ((!end->code && !is_lost) || (end->code >= 300 && end->code < 400))
		return;
	result_set_bool(r, COL_SER, success);
	result_set_bool(r, COL_SEER, success || is_effective);
	result_set_bool(r, COL_ISA, is_lost || is_ineffective);
	result_set_bool(r, COL_SCR,
	        success && invite->is_over &&
	                (invite->call_end.by == CALL_ENDED_REMOTE || invite->call_end.bye_code / 100 == 2));
}

static const char *audio(const struct media_stats *stats)
{
	if (stats->has_rx && stats->rx_is_silent)
		return "silent";
	if (stats->has_rx)
		return stats->tx ? "two_way" : "rx_only";
	return stats->tx ? "tx_only" : "none";
}

static void report_media(struct check *check, const struct invite *invite)
{
	struct result *r = check->result;
	struct media_stats stats;

	media_stats_get(invite->media, &stats);
	if (stats.codec)
		result_set_str(r, COL_CODEC, stats.codec);
	result_set_int(r, COL_RTP_TX, (int64_t)stats.tx);
	result_set_int(r, COL_RTP_RX, (int64_t)stats.rx);
	if (check->command->hold_ms)
		result_set_str(r, COL_AUDIO, audio(&stats));
	if (!stats.has_rx)
		return;
	if (stats.first_rx_us >= invite->answer_us)
		result_set_double(r, COL_FIRST_RTP_MS, (double)(stats.first_rx_us - invite->answer_us) / 1000.0);
	result_set_double(r, COL_LOSS_PCT, stats.loss_pct);
	if (stats.has_jitter)
		result_set_double(r, COL_JITTER_MS, stats.jitter_ms);
	result_set_int(r, COL_REORDERED, (int64_t)stats.reordered);
	result_set_int(r, COL_DUPLICATED, (int64_t)stats.duplicated);
}

static void report(struct check *check, const struct check_end *end)
{
	const struct invite *invite = check->method_data;
	struct result *r = check->result;
	bool is_challenge = end->code == 401 || end->code == 402 || end->code == 407;

	if (!check->sent_us || !invite)
		return;
	if (end->code >= 400 && !is_challenge && !r->cells[COL_SRD_MS].is_set)
		set_delay(check, COL_SRD_FAILED, end->rx_us);
	if (check->first_us)
		result_set_bool(r, COL_EARLY_MEDIA, invite->has_early_sdp);
	report_end(r, invite, end);
	report_ratios(r, invite, end);
	if (invite->is_answered && !invite->is_late)
		report_media(check, invite);
}

const struct check_method check_invite = {
        .start = start,
        .expire = expire,
        .abandon = abandon,
        .stats = stats_get,
        .report = report,
};
