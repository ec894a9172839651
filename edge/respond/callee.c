/**
 * @file callee.c  Calls that are answered: INVITE, ACK, CANCEL, BYE (RFC 3261 9.2, 13.3, 15.1.2, 17.2.1)
 *
 * A call is found by Call-ID and tags. It rings, is answered, echoes, and ends by BYE; without an ACK it ends after 64*T1,
 * without media for a while it is taken for dead. What has ended stays for a moment and answers repeated requests.
 */
#include <errno.h>
#include <string.h>
#include "edge/clock.h"
#include "edge/core/sipcode.h"
#include "edge/respond/responder.h"
#include "edge/sip/transaction.h"

enum {
	CALLS_MAX = 2000,    /* with media: a descriptor each */
	ENTRIES_MAX = 50000, /* ended ones included */
	BUCKETS = 4096,
	MS = 1000, /* in microseconds */
	SILENCE_US = 120 * 1000 * MS,
	CONTACT_SIZE = 128,
};

enum call_state {
	CALL_RINGING,
	CALL_ANSWERED,  /* 200 sent, until ACK */
	CALL_CONFIRMED, /* ACK received */
	CALL_REJECTED,  /* 487 sent, until ACK */
	CALL_ENDED,
};

struct call {
	struct le he;
	struct callee *callee;
	enum call_state state;
	struct sip_msg *invite; /* the latest; all that identifies the call is in it */
	char *remote_tag;
	char tag[TAG_SIZE];
	struct flow *flow;
	struct sa src, dst;
	struct echo *echo; /* NULL: ended */
	struct sa media;
	uint32_t session;
	struct mbuf *sdp;   /* our answer, NUL-terminated */
	struct mbuf *final; /* the last final response */
	struct wheel_timer timer;
	uint64_t interval_us, end_us; /* of retransmissions */
};

struct callee {
	struct responder *r;
	struct hash *calls; /* by Call-ID */
	unsigned entries, active;
};

static void end_media(struct call *call)
{
	if (!call->echo)
		return;
	call->echo = mem_deref(call->echo);
	call->callee->active--;
}

static void call_destructor(void *data)
{
	struct call *call = data;

	wheel_stop(&call->timer);
	end_media(call);
	if (call->he.list)
		call->callee->entries--;
	hash_unlink(&call->he);
	mem_deref(call->invite);
	mem_deref(call->remote_tag);
	mem_deref(call->flow);
	mem_deref(call->sdp);
	mem_deref(call->final);
}

static void callee_destructor(void *data)
{
	struct callee *c = data;

	if (c->calls)
		hash_flush(c->calls);
	mem_deref(c->calls);
}

int callee_alloc(struct callee **cp, struct responder *r)
{
	struct callee *c = mem_zalloc(sizeof(*c), callee_destructor);

	if (!c)
		return ENOMEM;
	c->r = r;
	if (hash_alloc(&c->calls, BUCKETS)) {
		mem_deref(c);
		return ENOMEM;
	}
	*cp = c;

	return 0;
}

/* The call of which our tag is `to`, or with no tag there yet, that of this very INVITE. */
struct search {
	const struct sip_msg *msg;
	bool is_same_invite; /* branch and CSeq number count, not the To tag */
};

static bool same_call_h(struct le *le, void *arg)
{
	const struct call *call = le->data;
	const struct search *search = arg;
	const struct sip_msg *msg = search->msg;

	if (pl_cmp(&msg->callid, &call->invite->callid) || pl_strcmp(&msg->from.tag, call->remote_tag))
		return false;
	if (search->is_same_invite)
		return msg->cseq.num == call->invite->cseq.num && !pl_cmp(&msg->via.branch, &call->invite->via.branch);

	return !pl_strcmp(&msg->to.tag, call->tag);
}

static struct call *find(const struct callee *c, const struct sip_msg *msg, bool is_same_invite)
{
	struct search search = {msg, is_same_invite};
	struct le *le = hash_lookup(c->calls, hash_joaat_pl(&msg->callid), same_call_h, &search);

	return le ? le->data : NULL;
}

static void print_contact(char *line, const struct call *call)
{
	struct sa local;

	*line = '\0';
	if (!flow_local(call->flow, &call->src, &local))
		(void)re_snprintf(line, CONTACT_SIZE, "Contact: <sip:%J%s>\r\n", &local,
		        flow_proto(call->flow) == TRANSPORT_UDP ? "" : ";transport=tcp");
}

static int encode(struct mbuf *mb, const struct call *call, uint16_t code)
{
	char contact[CONTACT_SIZE], headers[512];
	struct uas_reply reply = {.code = code, .reason = sipcode_name(code), .headers = headers};

	print_contact(contact, call);
	if (code > 100) {
		reply.tag = call->tag;
		reply.keeps_route = true;
	}
	if (code == 200)
		reply.body = (const char *)call->sdp->buf;
	(void)re_snprintf(headers, sizeof(headers), "%s%s%s" RESPOND_SERVER, code > 100 ? contact : "",
	        code == 200 ? RESPOND_ALLOW : "", code == 200 ? "Content-Type: application/sdp\r\n" : "");

	return uas_reply_encode(mb, call->invite, &call->src, &reply);
}

static void send_provisional(struct call *call, uint16_t code)
{
	struct responder *r = call->callee->r;

	mbuf_rewind(r->mb);
	if (!encode(r->mb, call, code))
		responder_send(r, call->flow, &call->dst, r->mb->buf, r->mb->end);
}

static void send_final(const struct call *call)
{
	if (call->final)
		responder_send(call->callee->r, call->flow, &call->dst, call->final->buf, call->final->end);
}

static void start_timer(struct call *call, uint64_t delay_us);

/* 200 and 487 are repeated until the ACK (RFC 3261 13.3.1.4, 17.2.1). */
static void finish_invite(struct call *call, enum call_state state, uint16_t code)
{
	mem_deref(call->final);
	call->final = mbuf_alloc(1024);
	if (!call->final || encode(call->final, call, code)) {
		mem_deref(call);
		return;
	}

	call->state = state;
	call->interval_us = TIMER_T1 * MS;
	call->end_us = clock_mono_us() + (uint64_t)64 * TIMER_T1 * MS;
	start_timer(call, call->interval_us);
	send_final(call);
}

static void repeat_final(struct call *call, uint64_t now_us)
{
	if (now_us >= call->end_us) {
		mem_deref(call); /* nobody acknowledges: the caller is gone */
		return;
	}

	/* a stream loses nothing; the 2xx is end to end and goes again all the same */
	if (call->state == CALL_ANSWERED || flow_proto(call->flow) == TRANSPORT_UDP)
		send_final(call);
	call->interval_us *= 2;
	if (call->interval_us > TIMER_T2 * MS)
		call->interval_us = TIMER_T2 * MS;
	start_timer(call, call->interval_us);
}

static void timer_h(uint64_t now_us, void *arg)
{
	struct call *call = arg;

	switch (call->state) {
	case CALL_RINGING:
		finish_invite(call, CALL_ANSWERED, 200);
		break;
	case CALL_ANSWERED:
	case CALL_REJECTED:
		repeat_final(call, now_us);
		break;
	case CALL_CONFIRMED:
		if (now_us > echo_last_us(call->echo) + SILENCE_US)
			mem_deref(call);
		else
			start_timer(call, SILENCE_US);
		break;
	case CALL_ENDED:
		mem_deref(call);
		break;
	}
}

static void start_timer(struct call *call, uint64_t delay_us)
{
	wheel_start(call->callee->r->wheel, &call->timer, clock_mono_us() + delay_us, timer_h, call);
}

static void end_call(struct call *call)
{
	end_media(call);
	call->state = CALL_ENDED;
	start_timer(call, (uint64_t)64 * TIMER_T1 * MS);
}

static bool is_sdp(const struct sip_msg *msg)
{
	return msg_ctype_cmp(&msg->ctyp, "application", "sdp");
}

/* Makes our answer to the offer in msg. Returns the response code. */
static uint16_t negotiate(struct call *call, const struct sip_msg *msg)
{
	struct mbuf *sdp = mbuf_alloc(512);
	struct pl offer;
	int err;

	if (!sdp)
		return 500;
	pl_set_mbuf(&offer, msg->mb);
	if (offer.l && !is_sdp(msg)) {
		mem_deref(sdp);
		return 415;
	}

	err = sdp_answer(sdp, &offer, &call->media, call->session);
	if (!err)
		err = mbuf_write_u8(sdp, 0);
	if (err) {
		mem_deref(sdp);
		return err == ENOMEM ? 500 : 488;
	}
	mem_deref(call->sdp);
	call->sdp = sdp;

	return 200;
}

static void set_invite(struct call *call, const struct sip_msg *msg, const struct transport_rx *rx)
{
	mem_deref(call->invite);
	call->invite = mem_ref((void *)msg);
	mem_deref(call->flow);
	call->flow = mem_ref(rx->flow);
	call->src = rx->src;
	uas_reply_dst(&call->dst, msg, rx);
}

static int open_media(struct call *call)
{
	int err = flow_local(call->flow, &call->src, &call->media);

	if (err)
		return err;
	sa_set_port(&call->media, 0);
	err = echo_alloc(&call->echo, &call->media);
	if (!err)
		call->callee->active++;

	return err;
}

static int call_alloc(struct call **callp, struct callee *c, const struct sip_msg *msg, const struct transport_rx *rx)
{
	struct call *call;
	int err;

	if (c->active >= CALLS_MAX || c->entries >= ENTRIES_MAX)
		return ENOBUFS;

	call = mem_zalloc(sizeof(*call), call_destructor);
	if (!call)
		return ENOMEM;
	call->callee = c;
	call->session = (uint32_t)responder_random() >> 1;
	(void)re_snprintf(call->tag, sizeof(call->tag), "%016llx", (unsigned long long)responder_random());
	set_invite(call, msg, rx);
	err = pl_strdup(&call->remote_tag, &msg->from.tag);
	if (!err)
		err = open_media(call);
	if (err) {
		mem_deref(call);
		return err;
	}
	hash_append(c->calls, hash_joaat_pl(&call->invite->callid), &call->he, call);
	c->entries++;
	*callp = call;

	return 0;
}

static void new_call(struct callee *c, const struct sip_msg *msg, const struct transport_rx *rx)
{
	uint16_t code = responder_code(c->r, &msg->met, 200);
	struct call *call;
	int err;

	if (code != 200 || !pl_isset(&msg->from.tag)) {
		responder_reply(c->r, msg, rx, code != 200 ? code : 400, NULL);
		return;
	}
	err = call_alloc(&call, c, msg, rx);
	if (err) {
		responder_reply(c->r, msg, rx, err == ENOBUFS ? 486 : 500, NULL);
		return;
	}
	code = negotiate(call, msg);
	if (code != 200) {
		mem_deref(call);
		responder_reply(c->r, msg, rx, code, NULL);
		return;
	}

	c->r->calls++;
	send_provisional(call, 100);
	send_provisional(call, 180);
	call->state = CALL_RINGING;
	if (c->r->options.ring_ms)
		start_timer(call, (uint64_t)c->r->options.ring_ms * MS);
	else
		finish_invite(call, CALL_ANSWERED, 200);
}

/* An INVITE inside a call: a new offer, the same socket. */
static void again(struct call *call, const struct sip_msg *msg, const struct transport_rx *rx)
{
	uint16_t code;

	if (call->state != CALL_CONFIRMED || msg->cseq.num <= call->invite->cseq.num) {
		responder_reply(call->callee->r, msg, rx, call->state == CALL_ENDED ? 481 : 500, NULL);
		return;
	}
	code = negotiate(call, msg);
	if (code != 200) {
		responder_reply(call->callee->r, msg, rx, code, NULL);
		return;
	}
	set_invite(call, msg, rx);
	finish_invite(call, CALL_ANSWERED, 200);
}

void callee_invite(struct callee *c, const struct sip_msg *msg, const struct transport_rx *rx)
{
	struct call *call = find(c, msg, true);

	if (call) { /* repeated */
		if (call->state == CALL_RINGING)
			send_provisional(call, 180);
		else if (call->state == CALL_ANSWERED || call->state == CALL_REJECTED)
			send_final(call);
		return;
	}
	if (!pl_isset(&msg->to.tag)) {
		new_call(c, msg, rx);
		return;
	}

	call = find(c, msg, false);
	if (call)
		again(call, msg, rx);
	else
		responder_reply(c->r, msg, rx, 481, NULL);
}

void callee_ack(struct callee *c, const struct sip_msg *msg)
{
	struct call *call = find(c, msg, false);

	if (!call || msg->cseq.num != call->invite->cseq.num)
		return;

	switch (call->state) {
	case CALL_ANSWERED:
		call->state = CALL_CONFIRMED;
		start_timer(call, SILENCE_US);
		break;
	case CALL_REJECTED:
		end_call(call);
		break;
	case CALL_RINGING:
	case CALL_CONFIRMED:
	case CALL_ENDED:
		break;
	}
}

void callee_cancel(struct callee *c, const struct sip_msg *msg, const struct transport_rx *rx)
{
	struct call *call = find(c, msg, true);

	responder_reply(c->r, msg, rx, call ? 200 : 481, NULL);
	if (!call || call->state != CALL_RINGING)
		return;

	end_media(call);
	finish_invite(call, CALL_REJECTED, 487);
}

void callee_bye(struct callee *c, const struct sip_msg *msg, const struct transport_rx *rx)
{
	struct call *call = find(c, msg, false);

	/* a caller may end a call that rings, too (RFC 3261 15); ended already: the BYE is repeated */
	responder_reply(c->r, msg, rx, call ? 200 : 481, NULL);
	if (!call || call->state == CALL_ENDED || call->state == CALL_REJECTED)
		return;
	if (call->state == CALL_RINGING) {
		end_media(call);
		finish_invite(call, CALL_REJECTED, 487);
	} else {
		end_call(call);
	}
}
