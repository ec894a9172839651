/**
 * @file call.c  One outgoing call: an INVITE and the dialogs that it makes
 */
#include <errno.h>
#include "edge/sip/call.h"
#include "edge/sip/leg.h"
#include "edge/sip/uas.h"

enum {
	MS = 1000,
	HASH_SIZE = 1024,
	LINGER_STEP_MS = 1000,
};

struct call_list {
	struct sip_stack *stack; /* borrowed */
	struct hash *calls;      /* by Call-ID; each holds a reference */
};

struct call {
	struct le le; /* list->calls */
	struct sip_stack *stack;
	struct call_handlers handlers;
	struct account *account;
	struct uac_target target;
	struct sip_request *invite; /* as given */
	struct uac *uac;            /* NULL: no 2xx can come any more */
	bool has_final;             /* the owner was told answerh or failh, or would have been */
	bool is_broken;             /* what came could not be read: the transaction cancels, a 2xx may still come */
	bool is_hanging_up;         /* before the answer */
	bool is_released;           /* the owner is gone */
	bool is_end_told;           /* endh */
	bool has_provisional;       /* kept when uac goes */
	bool was_cancelled;
	struct uac_stats stats;
	struct leg *legs[CALL_LEGS_MAX];
	size_t nlegs;
	struct leg *answered; /* the first one; NULL: none, or it came after failh */
	struct wheel_timer linger;
};

static void destructor(void *arg)
{
	struct call *call = arg;

	wheel_stop(&call->linger);
	hash_unlink(&call->le);
	mem_deref(call->uac);
	for (size_t i = 0; i < call->nlegs; i++)
		mem_deref(call->legs[i]);
	mem_deref(call->invite);
	mem_deref(call->target.flow);
	mem_deref(call->account);
}

static struct ctrans *transaction(const struct call *call)
{
	return call->uac ? uac_transaction(call->uac) : NULL;
}

static bool invite_is_open(const struct call *call)
{
	const struct ctrans *ct = transaction(call);

	return ct && !ctrans_is_ended(ct);
}

/* Something is left on the server. */
static bool is_open(const struct call *call)
{
	if (!call->has_final)
		return true;
	for (size_t i = 0; i < call->nlegs; i++) {
		if (!leg_is_ended(call->legs[i]))
			return true;
	}
	return call->is_broken && invite_is_open(call);
}

static void keep_figures(struct call *call)
{
	const struct ctrans *ct = transaction(call);

	if (call->uac)
		uac_stats_get(call->uac, &call->stats);
	if (!ct)
		return;
	call->has_provisional = call->has_provisional || ctrans_has_provisional(ct);
	call->was_cancelled = call->was_cancelled || ctrans_cancel_was_sent(ct);
}

/* The last thing done with a call in an event. */
static void settle(struct call *call)
{
	if (call->has_final && call->uac && !invite_is_open(call)) {
		keep_figures(call);
		call->uac = mem_deref(call->uac);
		wheel_stop(&call->linger);
	}
	if (!call->is_released || call->uac || is_open(call) || !call->le.list)
		return;
	hash_unlink(&call->le);
	mem_deref(call); /* the list's */
}

/* A transaction doesn't tell that no 2xx can come any more (Timer D, M), so it is asked. */
static void linger_h(uint64_t now_us, void *arg)
{
	struct call *call = arg;

	wheel_start(call->stack->wheel, &call->linger, now_us + LINGER_STEP_MS * MS, linger_h, call);
	settle(call);
}

static void become_final(struct call *call)
{
	call->has_final = true;
	wheel_start(call->stack->wheel, &call->linger, stack_now(call->stack) + TIMER_M * MS, linger_h, call);
}

static void cancel(struct call *call)
{
	struct ctrans *ct = transaction(call);

	call->is_hanging_up = true;
	if (ct)
		(void)ctrans_cancel(ct);
}

static const struct mbuf *sdp_of(const struct sip_msg *msg)
{
	return mbuf_get_left(msg->mb) && msg_ctype_cmp(&msg->ctyp, "application", "sdp") ? msg->mb : NULL;
}

static void leg_end_h(struct leg *leg, const struct leg_end *end, void *arg)
{
	struct call *call = arg;
	struct call_end told = {.by = end->is_remote ? CALL_ENDED_REMOTE : CALL_ENDED_LOCAL,
	        .bye_code = end->code,
	        .bye_us = end->is_remote ? end->rx_us : end->sent_us,
	        .bye_done_us = end->is_remote ? 0 : end->rx_us};

	mem_ref(call);
	if (leg == call->answered && !call->is_end_told) {
		call->is_end_told = true;
		if (call->handlers.endh)
			call->handlers.endh(&told, call->handlers.arg);
	}
	settle(call);
	mem_deref(call);
}

static void progress(struct call *call, const struct ctrans_response *rsp)
{
	call->has_provisional = true;
	if (call->is_hanging_up)
		cancel(call); /* an authentication round may have made another transaction meanwhile */
	if (rsp->msg->scode > 100 && !call->has_final && call->handlers.progressh)
		call->handlers.progressh(rsp, sdp_of(rsp->msg), call->handlers.arg);
}

static void fail(struct call *call, int err, const struct ctrans_response *rsp)
{
	if (call->has_final)
		return;
	become_final(call);
	call->is_broken = err == EBADMSG && !rsp;
	if (call->handlers.failh)
		call->handlers.failh(err, rsp, call->handlers.arg);
}

static struct leg *find_leg(const struct call *call, const struct sip_msg *msg)
{
	for (size_t i = 0; i < call->nlegs; i++) {
		if (dialog_has_response(leg_dialog(call->legs[i]), msg))
			return call->legs[i];
	}
	return NULL;
}

static void answer(struct call *call, struct leg *leg, const struct ctrans_response *rsp)
{
	become_final(call);
	call->answered = leg;
	if (call->handlers.answerh)
		call->handlers.answerh(rsp, sdp_of(rsp->msg), call->handlers.arg);
	if (call->is_hanging_up || call->is_released)
		leg_hang_up(leg);
}

/* Each To tag is a dialog (13.2.2.4); the first one is the call, the others are hung up. */
static void success(struct call *call, const struct ctrans_response *rsp)
{
	struct sip_request *invite = (struct sip_request *)uac_last_request(call->uac);
	struct leg_config config = {
	        .stack = call->stack, .target = &call->target, .account = call->account, .h = leg_end_h, .arg = call};
	struct leg *leg = find_leg(call, rsp->msg);

	if (leg) {
		leg_acknowledge(leg);
		return;
	}
	if (call->nlegs == CALL_LEGS_MAX) {
		leg_refuse(&config, invite, rsp->msg);
		return;
	}
	if (leg_alloc(&leg, &config, invite, rsp->msg))
		return; /* no memory: the 2xx comes again */
	call->legs[call->nlegs++] = leg;
	if (call->has_final)
		leg_hang_up(leg);
	else
		answer(call, leg, rsp);
}

static void invite_h(int err, const struct ctrans_response *rsp, void *arg)
{
	struct call *call = mem_ref(arg);

	if (err || !rsp || rsp->msg->scode >= 300)
		fail(call, err, rsp);
	else if (rsp->msg->scode < 200)
		progress(call, rsp);
	else
		success(call, rsp);
	settle(call);
	mem_deref(call);
}

static void observe_h(const struct ctrans_response *rsp, void *arg)
{
	struct call *call = arg;

	keep_figures(call);
	if (call->handlers.observeh)
		call->handlers.observeh(rsp, call->handlers.arg);
}

int call_start(struct call **callp, struct call_list *list, const struct uac_target *target, struct sip_request *req,
        struct account *account, const struct call_handlers *handlers)
{
	struct call *call;
	int err;

	if (!callp || !list || !target || !req || !account || !handlers)
		return EINVAL;
	call = mem_zalloc(sizeof(*call), destructor);
	if (!call)
		return ENOMEM;
	call->stack = list->stack;
	call->handlers = *handlers;
	call->account = mem_ref(account);
	call->target.flow = mem_ref(target->flow);
	call->target.dst = target->dst;
	call->invite = mem_ref(req);
	err = uac_request(
	        &call->uac, list->stack, target, req, account->login, account->password, observe_h, invite_h, call);
	if (err) {
		mem_deref(call);
		return err;
	}
	hash_append(list->calls, hash_joaat_str(req->call_id), &call->le, call);
	*callp = call;
	return 0;
}

void call_hang_up(struct call *call)
{
	if (!call->has_final)
		cancel(call);
	else if (call->answered)
		leg_hang_up(call->answered);
}

void call_release(struct call *call)
{
	if (!call)
		return;
	mem_ref(call);
	call->is_released = true;
	call->handlers = (struct call_handlers){.arg = NULL};
	call_hang_up(call);
	settle(call);
	mem_deref(call);
}

void call_stats_get(const struct call *call, struct uac_stats *stats)
{
	if (call->uac)
		uac_stats_get(call->uac, stats);
	else
		*stats = call->stats;
}

bool call_has_provisional(const struct call *call)
{
	return call->has_provisional;
}

bool call_cancel_was_sent(const struct call *call)
{
	const struct ctrans *ct = transaction(call);

	return call->was_cancelled || (ct && ctrans_cancel_was_sent(ct));
}

static void list_destructor(void *arg)
{
	struct call_list *list = arg;

	hash_flush(list->calls);
	mem_deref(list->calls);
}

int call_list_alloc(struct call_list **listp, struct sip_stack *stack)
{
	struct call_list *list;
	int err;

	if (!listp || !stack)
		return EINVAL;
	list = mem_zalloc(sizeof(*list), list_destructor);
	if (!list)
		return ENOMEM;
	list->stack = stack;
	err = hash_alloc(&list->calls, HASH_SIZE);
	if (err)
		mem_deref(list);
	else
		*listp = list;
	return err;
}

static bool count_open(struct le *le, void *arg)
{
	size_t *n = arg;

	*n += is_open(le->data);
	return false;
}

size_t call_list_count(const struct call_list *list)
{
	size_t n = 0;

	(void)hash_apply(list->calls, count_open, &n);
	return n;
}

struct place {
	const struct sip_msg *msg;
	struct call *call;
	struct leg *leg;
};

static bool find_place(struct le *le, void *arg)
{
	struct place *place = arg;
	struct call *call = le->data;

	for (size_t i = 0; i < call->nlegs; i++) {
		if (!dialog_has_request(leg_dialog(call->legs[i]), place->msg))
			continue;
		place->call = call;
		place->leg = call->legs[i];
		return true;
	}
	return false;
}

static void reply(const struct call *call, const struct sip_msg *msg, const struct transport_rx *rx, uint16_t code,
        const char *reason, const char *sdp)
{
	struct mbuf *headers = mbuf_alloc(256), *mb = mbuf_alloc(1024);
	struct uas_reply answer_parts = {.code = code, .reason = reason, .body = sdp, .keeps_route = sdp != NULL};
	struct sa dst;

	if (!headers || !mb)
		goto out;
	if (mbuf_printf(headers, "Server: %s\r\n", call->stack->user_agent))
		goto out;
	if (sdp && (header_lines_copy(headers, call->invite->headers, "Contact") ||
	                   mbuf_write_str(headers, "Content-Type: application/sdp\r\n")))
		goto out;
	if (mbuf_write_u8(headers, 0))
		goto out;
	answer_parts.headers = (const char *)headers->buf;
	uas_reply_dst(&dst, msg, rx);
	if (!uas_reply_encode(mb, msg, &rx->src, &answer_parts))
		(void)flow_send(rx->flow, &dst, mb->buf, mb->end); /* a lost answer is asked for again */
out:
	mem_deref(headers);
	mem_deref(mb);
}

/* Stateless: a re-INVITE that comes again is answered again, which also repeats a lost 200. */
static void reinvite(const struct place *place, const struct transport_rx *rx)
{
	const struct call_handlers *handlers = &place->call->handlers;
	const struct sip_msg *msg = place->msg;
	char *sdp = NULL;

	if (leg_is_ending(place->leg)) {
		reply(place->call, msg, rx, 481, "Call/Transaction Does Not Exist", NULL);
	} else if (place->leg != place->call->answered || !handlers->offerh ||
	           handlers->offerh(&sdp, sdp_of(msg), handlers->arg)) {
		reply(place->call, msg, rx, 488, "Not Acceptable Here", NULL);
	} else {
		reply(place->call, msg, rx, 200, "OK", sdp);
		leg_refresh(place->leg, msg);
	}
	mem_deref(sdp);
}

bool call_list_request(struct call_list *list, const struct sip_msg *msg, const struct transport_rx *rx)
{
	struct place place = {.msg = msg};

	if (!hash_lookup(list->calls, hash_joaat_pl(&msg->callid), find_place, &place))
		return false;
	if (!pl_strcmp(&msg->met, "ACK"))
		return true;
	mem_ref(place.call);
	if (!dialog_take_cseq(leg_dialog(place.leg), msg)) {
		reply(place.call, msg, rx, 500, "Server Internal Error", NULL);
	} else if (!pl_strcmp(&msg->met, "BYE")) {
		reply(place.call, msg, rx, 200, "OK", NULL);
		leg_take_bye(place.leg, rx->rx_us);
	} else if (!pl_strcmp(&msg->met, "INVITE")) {
		reinvite(&place, rx);
	} else {
		mem_deref(place.call);
		return false;
	}
	mem_deref(place.call);
	return true;
}
