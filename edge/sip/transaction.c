/**
 * @file transaction.c  SIP client transactions (RFC 3261 17.1.1, 17.1.2; RFC 6026)
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "edge/sip/branch.h"
#include "edge/sip/peer.h"
#include "edge/sip/transaction.h"

enum {
	MS = 1000,
	MBUF_SIZE = 1024,
	VIA_SIZE = 160, /* transport 12, address 48, port 6, rport 6, branch 8 + 47 */
};

static_assert((int)BRANCH_LEN < (int)SIP_BRANCH_SIZE, "a branch fits");

enum state {
	STATE_CALLING,    /* INVITE: nothing received */
	STATE_TRYING,     /* non-INVITE: nothing received */
	STATE_PROCEEDING, /* a provisional response was received */
	STATE_COMPLETED,  /* INVITE: non-2xx final, Timer D */
	STATE_ACCEPTED,   /* INVITE: 2xx, Timer M (RFC 6026) */
	STATE_TERMINATED,
};

struct ctrans_layer {
	struct wheel *wheel;
	struct ctrans_config config;
	struct branches *branches;
	struct peers *peers;
};

struct ctrans {
	struct le le;               /* peer->transactions */
	struct ctrans_layer *layer; /* NULL: it is gone */
	struct peer *peer;
	uint32_t slot;
	enum state state;
	bool is_invite;
	bool is_reliable;
	bool has_provisional;
	bool cancel_wanted;
	bool cancel_sent;
	bool is_broken; /* the handler was told EBADMSG, the INVITE is being ended */
	bool is_orphan; /* the owner is gone, the layer's reference keeps it */
	struct ctrans_target target;
	struct sip_request *req;
	struct mbuf *mb; /* what is sent again: the request, then CANCEL, then ACK */
	char via[VIA_SIZE];
	struct wheel_timer retransmit; /* Timer A, E */
	struct wheel_timer timeout;    /* Timer B, F, D, M */
	uint64_t retransmit_us;        /* when it is due */
	uint64_t interval_us;
	uint64_t sent_us;
	uint32_t nretransmits;
	uint32_t nstrays_before;
	ctrans_h *handler;
	void *arg;
};

static void retransmit_h(uint64_t now_us, void *arg);
static void timeout_h(uint64_t now_us, void *arg);

static char *put(char *p, const char *s)
{
	size_t len = strlen(s);

	memcpy(p, s, len);

	return p + len;
}

/* By hand: re_snprintf() takes longer than all of the rest. */
static int print_via(struct ctrans *ct)
{
	const struct ctrans_layer *layer = ct->layer;
	const struct sa *local = &ct->target.local;
	bool is_ipv6 = sa_af(local) == AF_INET6;
	char addr[48], digits[6] = "", *d = digits + 5, *p = ct->via;

	if (sa_ntop(local, addr, sizeof(addr)))
		return EINVAL;
	for (unsigned port = sa_port(local); port; port /= 10)
		*--d = (char)('0' + port % 10);

	switch (ct->target.proto) {
	case TRANSPORT_UDP:
		p = put(p, "SIP/2.0/UDP ");
		break;
	case TRANSPORT_TCP:
		p = put(p, "SIP/2.0/TCP ");
		break;
	case TRANSPORT_TLS:
		p = put(p, "SIP/2.0/TLS ");
		break;
	}
	p = put(p, is_ipv6 ? "[" : "");
	p = put(p, addr);
	p = put(p, is_ipv6 ? "]" : "");
	p = put(p, *d ? ":" : "");
	p = put(p, d);
	p = put(p, ct->is_reliable ? "" : ";rport"); /* RFC 3581 */
	p = put(p, ";branch=");
	branch_write(p, layer->branches, ct->slot);
	p += BRANCH_LEN;
	*p = '\0';

	return 0;
}

/* The end: nothing is sent or matched any more. What an owner may still ask about stays. */
static void terminate(struct ctrans *ct)
{
	ct->state = STATE_TERMINATED;
	wheel_stop(&ct->retransmit);
	wheel_stop(&ct->timeout);
	if (ct->layer)
		branches_release(ct->layer->branches, ct->slot);
	ct->layer = NULL;
	list_unlink(&ct->le);
	ct->mb = mem_deref(ct->mb);
	ct->req = mem_deref(ct->req);
	ct->target.flow = mem_deref(ct->target.flow);
	if (ct->is_orphan)
		mem_deref(ct);
}

static bool must_outlive_owner(const struct ctrans *ct)
{
	return ct->layer && !ct->is_orphan && ct->is_invite &&
	       (ct->state == STATE_COMPLETED || (ct->state == STATE_PROCEEDING && ct->is_broken));
}

static void destructor(void *arg)
{
	struct ctrans *ct = arg;

	if (must_outlive_owner(ct)) {
		ct->handler = NULL;
		ct->is_orphan = true;
		mem_ref(ct); /* libre: a destructor may take the object back */
		return;
	}
	ct->is_orphan = false;
	terminate(ct);
	mem_deref(ct->peer);
}

static void abandon_h(void *arg)
{
	struct ctrans *ct = arg;

	ct->handler = NULL;
	terminate(ct);
}

static void layer_destructor(void *arg)
{
	struct ctrans_layer *layer = arg;

	if (layer->branches)
		branches_apply(layer->branches, abandon_h);
	mem_deref(layer->branches);
	mem_deref(layer->peers);
	mem_deref(layer->wheel);
}

int ctrans_layer_alloc(struct ctrans_layer **layerp, struct wheel *wheel, const struct ctrans_config *config)
{
	struct ctrans_layer *layer = mem_zalloc(sizeof(*layer), layer_destructor);
	int err;

	if (!layer)
		return ENOMEM;

	layer->wheel = mem_ref(wheel);
	layer->config = *config;
	err = branches_alloc(&layer->branches, (uint32_t)config->randomh(config->arg));
	err = err ? err : peers_alloc(&layer->peers);
	if (err)
		mem_deref(layer);
	else
		*layerp = layer;

	return err;
}

size_t ctrans_layer_count(const struct ctrans_layer *layer)
{
	return branches_count(layer->branches);
}

/* The last thing done with ct in an event: the handler may free it. */
static void deliver(struct ctrans *ct, int err, const struct ctrans_response *rsp)
{
	if (ct->handler)
		ct->handler(err, rsp, ct->arg);
}

/* The end without a final response. */
static void fail(struct ctrans *ct, int err)
{
	ctrans_h *h = ct->is_broken ? NULL : ct->handler;
	void *arg = ct->arg;

	terminate(ct);
	if (h)
		h(err, NULL, arg);
}

static int send_bytes(const struct ctrans *ct)
{
	const struct ctrans_config *config = &ct->layer->config;

	return config->sendh(ct->target.flow, &ct->target.dst, ct->mb->buf, ct->mb->end, config->arg);
}

static uint64_t now(const struct ctrans *ct)
{
	return ct->layer->config.nowh(ct->layer->config.arg);
}

static void start_timeout(struct ctrans *ct, uint64_t now_us, unsigned ms)
{
	wheel_start(ct->layer->wheel, &ct->timeout, now_us + (uint64_t)ms * MS, timeout_h, ct);
}

/* Timer A or E from its first value. */
static void start_retransmit(struct ctrans *ct, uint64_t now_us)
{
	if (ct->is_reliable)
		return;
	ct->interval_us = TIMER_T1 * MS;
	ct->retransmit_us = now_us + ct->interval_us;
	wheel_start(ct->layer->wheel, &ct->retransmit, ct->retransmit_us, retransmit_h, ct);
}

/* CANCEL takes the place of the INVITE, which is not sent again once a provisional response came. */
static int send_cancel(struct ctrans *ct)
{
	struct mbuf *mb = mbuf_alloc(MBUF_SIZE);
	uint64_t now_us = now(ct);
	int err;

	start_timeout(ct, now_us, TIMER_B);
	if (!mb)
		return ENOMEM;
	err = sip_request_encode_cancel(mb, ct->req, ct->via);
	if (err) {
		mem_deref(mb);
		return err;
	}
	mem_deref(ct->mb);
	ct->mb = mb;
	ct->cancel_sent = true;
	start_retransmit(ct, now_us);
	(void)send_bytes(ct); /* a datagram is sent again; for a stream the transport tells */

	return 0;
}

/* RFC 3261 17.1.1.3. No memory: the response comes again, and so does the attempt. */
static void send_ack(struct ctrans *ct, const struct pl *to)
{
	struct mbuf *mb = mbuf_alloc(MBUF_SIZE);

	if (!mb)
		return;
	if (sip_request_encode_ack(mb, ct->req, ct->via, to)) {
		mem_deref(mb);
		return;
	}
	mem_deref(ct->mb);
	ct->mb = mb;
	(void)send_bytes(ct);
}

static int encode_request(struct ctrans *ct)
{
	int err = print_via(ct);

	if (err)
		return err;
	ct->mb = mbuf_alloc(MBUF_SIZE);
	if (!ct->mb)
		return ENOMEM;
	err = sip_request_encode(ct->mb, ct->req, ct->via);
	if (err)
		return err;

	return ct->mb->end > SIP_MESSAGE_SIZE_MAX ? EMSGSIZE : 0;
}

int ctrans_request(struct ctrans **ctp, struct ctrans_layer *layer, const struct ctrans_target *target,
        struct sip_request *req, ctrans_h *h, void *arg)
{
	struct ctrans *ct = mem_zalloc(sizeof(*ct), destructor);
	int err;

	if (!ct)
		return ENOMEM;

	err = branches_take(layer->branches, &ct->slot, layer->config.randomh(layer->config.arg), ct);
	if (err) {
		mem_deref(ct);
		return err;
	}
	ct->layer = layer;
	ct->is_invite = !strcmp(req->method, "INVITE");
	ct->is_reliable = target->proto != TRANSPORT_UDP;
	ct->state = ct->is_invite ? STATE_CALLING : STATE_TRYING;
	ct->target = *target;
	mem_ref(target->flow);
	ct->req = mem_ref(req);
	ct->handler = h;
	ct->arg = arg;
	err = peers_get(&ct->peer, layer->peers, &target->dst);
	err = err ? err : encode_request(ct);
	if (!err) {
		ct->sent_us = now(ct);
		err = send_bytes(ct);
	}
	if (err) {
		mem_deref(ct);
		return err;
	}

	ct->nstrays_before = ct->peer->nstrays;
	list_append(&ct->peer->transactions, &ct->le, ct);
	start_retransmit(ct, ct->sent_us);
	start_timeout(ct, ct->sent_us, ct->is_invite ? TIMER_B : TIMER_F);
	*ctp = ct;

	return 0;
}

int ctrans_cancel(struct ctrans *ct)
{
	if (!ct->is_invite)
		return EINVAL;

	switch (ct->state) {
	case STATE_CALLING:
		ct->cancel_wanted = true; /* RFC 3261 9.1: not before a provisional response */
		return 0;
	case STATE_PROCEEDING:
		return ct->cancel_sent ? 0 : send_cancel(ct);
	case STATE_TRYING:
	case STATE_COMPLETED:
	case STATE_ACCEPTED:
	case STATE_TERMINATED:
		break;
	}

	return 0;
}

bool ctrans_cancel_was_sent(const struct ctrans *ct)
{
	return ct->cancel_sent;
}

bool ctrans_has_provisional(const struct ctrans *ct)
{
	return ct->has_provisional;
}

bool ctrans_is_ended(const struct ctrans *ct)
{
	return ct->state == STATE_TERMINATED;
}

uint64_t ctrans_sent_us(const struct ctrans *ct)
{
	return ct->sent_us;
}

uint32_t ctrans_retransmits(const struct ctrans *ct)
{
	return ct->nretransmits;
}

uint32_t ctrans_strays(const struct ctrans *ct, const char **text)
{
	uint32_t n = ct->peer->nstrays - ct->nstrays_before;

	*text = n ? ct->peer->stray_text : NULL;

	return n;
}

/* The next interval: Timer A doubles without end, Timer E up to T2, which is also its value after a provisional response. */
static uint64_t next_interval(const struct ctrans *ct)
{
	uint64_t twice = 2 * ct->interval_us;

	if (ct->state == STATE_CALLING)
		return twice;
	if (ct->state == STATE_PROCEEDING && !ct->is_invite)
		return TIMER_T2 * MS;

	return twice < TIMER_T2 * MS ? twice : TIMER_T2 * MS;
}

static void retransmit_h(uint64_t now_us, void *arg)
{
	struct ctrans *ct = arg;
	int err;

	if (!ct->cancel_sent)
		ct->nretransmits++;
	ct->interval_us = next_interval(ct);
	ct->retransmit_us += ct->interval_us; /* the instants of the RFC, however late the loop is */
	if (ct->retransmit_us <= now_us)
		ct->retransmit_us = now_us + ct->interval_us;
	wheel_start(ct->layer->wheel, &ct->retransmit, ct->retransmit_us, retransmit_h, ct);

	err = send_bytes(ct);
	if (err && err != EAGAIN && err != ENOBUFS && err != ENOMEM)
		fail(ct, err);
}

static void timeout_h(uint64_t now_us, void *arg)
{
	struct ctrans *ct = arg;
	(void)now_us;

	switch (ct->state) {
	case STATE_CALLING:
	case STATE_TRYING:
	case STATE_PROCEEDING:
		fail(ct, ETIMEDOUT); /* Timer B, F */
		break;
	case STATE_COMPLETED:
	case STATE_ACCEPTED:
		terminate(ct); /* Timer D, M */
		break;
	case STATE_TERMINATED:
		break;
	}
}

static void recv_provisional(struct ctrans *ct, const struct ctrans_response *rsp)
{
	switch (ct->state) {
	case STATE_CALLING:
		wheel_stop(&ct->retransmit);
		wheel_stop(&ct->timeout);
		/* fall through */
	case STATE_TRYING:
	case STATE_PROCEEDING:
		ct->state = STATE_PROCEEDING;
		ct->has_provisional = true;
		if (ct->cancel_wanted && !ct->cancel_sent)
			(void)send_cancel(ct); /* no memory: with the next provisional response, if any */
		if (!ct->is_broken)
			deliver(ct, 0, rsp);
		break;
	case STATE_COMPLETED:
	case STATE_ACCEPTED:
	case STATE_TERMINATED:
		break;
	}
}

/* INVITE: 2xx; the dialog acknowledges it. */
static void recv_success(struct ctrans *ct, const struct ctrans_response *rsp)
{
	if (ct->is_orphan)
		return; /* nobody left to acknowledge it */

	switch (ct->state) {
	case STATE_CALLING:
	case STATE_PROCEEDING:
	case STATE_COMPLETED:
		wheel_stop(&ct->retransmit);
		ct->state = STATE_ACCEPTED;
		start_timeout(ct, now(ct), TIMER_M);
		deliver(ct, 0, rsp);
		break;
	case STATE_ACCEPTED:
		deliver(ct, 0, rsp);
		break;
	case STATE_TRYING:
	case STATE_TERMINATED:
		break;
	}
}

/* INVITE: a final response other than 2xx. */
static void recv_failure(struct ctrans *ct, const struct ctrans_response *rsp)
{
	switch (ct->state) {
	case STATE_CALLING:
	case STATE_PROCEEDING:
		wheel_stop(&ct->retransmit);
		send_ack(ct, &rsp->msg->to.val);
		if (ct->is_reliable) {
			ctrans_h *h = ct->is_broken ? NULL : ct->handler;
			void *arg = ct->arg;

			terminate(ct); /* Timer D is zero */
			if (h)
				h(0, rsp, arg);
			break;
		}
		ct->state = STATE_COMPLETED;
		start_timeout(ct, now(ct), TIMER_D);
		if (!ct->is_broken)
			deliver(ct, 0, rsp);
		break;
	case STATE_COMPLETED:
		send_ack(ct, &rsp->msg->to.val);
		break;
	case STATE_TRYING:
	case STATE_ACCEPTED:
	case STATE_TERMINATED:
		break;
	}
}

/* Non-INVITE: any final response. */
static void recv_final(struct ctrans *ct, const struct ctrans_response *rsp)
{
	terminate(ct);
	deliver(ct, 0, rsp);
}

/* A response to our CANCEL says nothing of the call; it only ends the retransmissions. */
static void recv_cancel_response(struct ctrans *ct, uint16_t scode)
{
	if (ct->state == STATE_PROCEEDING && scode >= 200)
		wheel_stop(&ct->retransmit);
}

/* A response that is ours and can't be understood. */
static void recv_broken(struct ctrans *ct)
{
	switch (ct->state) {
	case STATE_CALLING:
	case STATE_PROCEEDING:
		if (!ct->is_invite) {
			fail(ct, EBADMSG);
			break;
		}
		if (ct->is_broken)
			break;
		ct->is_broken = true;
		wheel_stop(&ct->retransmit);
		ct->state = STATE_PROCEEDING; /* who answers has the INVITE, so CANCEL finds it there */
		if (!ct->cancel_sent)
			(void)send_cancel(ct);
		deliver(ct, EBADMSG, NULL);
		break;
	case STATE_TRYING:
		fail(ct, EBADMSG);
		break;
	case STATE_COMPLETED:
	case STATE_ACCEPTED:
	case STATE_TERMINATED:
		break;
	}
}

/* The tag in a From value that we wrote: the last parameter of that name. */
static struct pl own_tag(const char *from)
{
	static const char param[] = ";tag=";
	const char *tag = NULL;

	for (const char *p = from; (p = strstr(p, param)); p += sizeof(param) - 1)
		tag = p + sizeof(param) - 1;

	return (struct pl){tag, tag ? strcspn(tag, "; \t") : 0};
}

/* RFC 3261 8.1.3.3, 17.1.3, and what a response copies from its request (8.2.6.2) */
static bool is_answer(const struct ctrans *ct, const struct sip_msg *msg)
{
	struct pl tag = own_tag(ct->req->from);

	if (sip_msg_hdr_count(msg, SIP_HDR_VIA) != 1 || msg->cseq.num != ct->req->cseq)
		return false;
	if (pl_strcmp(&msg->cseq.met, ct->req->method) && !(ct->cancel_sent && !pl_strcmp(&msg->cseq.met, "CANCEL")))
		return false;

	return !pl_strcmp(&msg->callid, ct->req->call_id) && !pl_cmp(&msg->from.tag, &tag);
}

static void recv_response(struct ctrans *ct, const struct ctrans_response *rsp)
{
	uint16_t scode = rsp->msg->scode;

	if (ct->cancel_sent && !pl_strcmp(&rsp->msg->cseq.met, "CANCEL"))
		recv_cancel_response(ct, scode);
	else if (scode < 200)
		recv_provisional(ct, rsp);
	else if (!ct->is_invite)
		recv_final(ct, rsp);
	else if (scode < 300)
		recv_success(ct, rsp);
	else
		recv_failure(ct, rsp);
}

static void recv_matched(struct ctrans *ct, const struct sa *src, struct mbuf *mb, bool is_truncated, uint64_t rx_us)
{
	struct sip_msg *msg = NULL;
	int err = is_truncated ? EBADMSG : sip_message_decode(&msg, mb);

	if (err == ENOMEM)
		return; /* as if the network had lost it */

	if (err || !is_answer(ct, msg)) {
		recv_broken(ct);
	} else {
		struct ctrans_response rsp = {.msg = msg, .rx_us = rx_us, .src = *src};

		msg->src = *src;
		recv_response(ct, &rsp);
	}
	mem_deref(msg);
}

bool ctrans_layer_recv(struct ctrans_layer *layer, struct flow *flow, const struct sa *src, struct mbuf *mb,
        bool is_truncated, uint64_t rx_us)
{
	struct sip_glance glance;
	void *ct;
	(void)flow; /* a response may come by another connection (RFC 3261 18.2.2); the branch is what counts */

	sip_glance(&glance, mbuf_buf(mb), mbuf_get_left(mb));
	switch (glance.kind) {
	case SIP_KIND_REQUEST:
		return false;
	case SIP_KIND_KEEPALIVE:
		return true;
	case SIP_KIND_BROKEN:
		peers_count_stray(
		        layer->peers, src, is_truncated ? "a message too long or cut short" : "not a SIP message");
		return true;
	case SIP_KIND_RESPONSE:
		break;
	}
	if (!glance.branch.l) {
		peers_count_stray(layer->peers, src, "a response without a branch in its Via");
		return true;
	}

	switch (branches_match(&ct, layer->branches, &glance.branch)) {
	case BRANCH_FOREIGN:
		peers_count_stray(layer->peers, src, "a response with a branch that is not ours");
		break;
	case BRANCH_LATE:
		break;
	case BRANCH_LIVE:
		recv_matched(ct, src, mb, is_truncated, rx_us);
		break;
	}

	return true;
}

static bool is_waiting(const struct ctrans *ct)
{
	switch (ct->state) {
	case STATE_CALLING:
	case STATE_TRYING:
	case STATE_PROCEEDING:
		return true;
	case STATE_COMPLETED: /* the ACK was what failed: the response comes again */
	case STATE_ACCEPTED:
	case STATE_TERMINATED:
		break;
	}

	return false;
}

static void fail_all(struct ctrans_layer *layer, const struct flow *flow, const struct sa *dst, int err)
{
	struct peer *peer = peers_find(layer->peers, dst);
	struct list failed = LIST_INIT;
	struct le *next;

	if (!peer)
		return;

	/* set aside first: handlers free transactions and start new ones to the same destination */
	for (struct le *le = list_head(&peer->transactions); le; le = next) {
		struct ctrans *ct = le->data;

		next = le->next;
		if (ct->target.flow != flow || !is_waiting(ct))
			continue;
		list_unlink(le);
		list_append(&failed, le, ct);
	}
	while (list_head(&failed))
		fail(list_ledata(list_head(&failed)), err);
}

void ctrans_layer_error(struct ctrans_layer *layer, struct flow *flow, const struct sa *dst, const uint8_t *payload,
        size_t len, int err)
{
	struct sip_glance glance = {.kind = SIP_KIND_BROKEN};
	void *ct;
	bool is_whole;

	if (len)
		sip_glance(&glance, payload, len);

	/* ICMP returns as little as 8 bytes of what was sent */
	is_whole = glance.branch.l && (const uint8_t *)glance.branch.p + glance.branch.l < payload + len;
	if (!is_whole) {
		if (glance.kind != SIP_KIND_RESPONSE)
			fail_all(layer, flow, dst, err);
		return;
	}
	if (branches_match(&ct, layer->branches, &glance.branch) == BRANCH_LIVE && is_waiting(ct))
		fail(ct, err);
}
