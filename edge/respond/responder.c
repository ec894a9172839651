/**
 * @file responder.c  The answering peer: takes requests apart and sends what its parts answer
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "edge/clock.h"
#include "edge/core/sipcode.h"
#include "edge/respond/responder.h"
#include "edge/sip/message.h"
#include "edge/sip/ticker.h"

enum {
	DELAYED_MAX = 100000,
	SWEEP_US = 10 * 1000000,
	MILLISECOND_US = 1000,
};

/* A response on its way, held back. */
struct delayed {
	struct le le;
	struct wheel_timer timer;
	struct responder *r;
	struct flow *flow;
	struct sa dst;
	struct mbuf *mb;
};

uint64_t responder_random(void)
{
	uint64_t value = 0;

	if (getrandom(&value, sizeof(value), 0) != sizeof(value))
		abort(); /* the kernel has none: nothing else may be guessed instead */

	return value;
}

static void delayed_destructor(void *data)
{
	struct delayed *d = data;

	wheel_stop(&d->timer);
	list_unlink(&d->le);
	mem_deref(d->flow);
	mem_deref(d->mb);
}

static void send_now(struct responder *r, struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len)
{
	if (!flow_send(flow, dst, buf, len))
		r->responses++;
}

static void delayed_h(uint64_t now_us, void *arg)
{
	struct delayed *d = arg;
	(void)now_us;

	send_now(d->r, d->flow, &d->dst, d->mb->buf, d->mb->end);
	d->r->delayed_count--;
	mem_deref(d);
}

static int delay(struct responder *r, struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len)
{
	struct delayed *d;

	if (r->delayed_count >= DELAYED_MAX)
		return ENOBUFS;

	d = mem_zalloc(sizeof(*d), delayed_destructor);
	if (!d)
		return ENOMEM;
	d->mb = mbuf_alloc(len);
	if (!d->mb || mbuf_write_mem(d->mb, buf, len)) {
		mem_deref(d);
		return ENOMEM;
	}
	d->r = r;
	d->flow = mem_ref(flow);
	d->dst = *dst;
	list_append(&r->delayed, &d->le, d);
	r->delayed_count++;
	wheel_start(
	        r->wheel, &d->timer, clock_mono_us() + (uint64_t)r->options.delay_ms * MILLISECOND_US, delayed_h, d);

	return 0;
}

void responder_send(struct responder *r, struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len)
{
	if (!r->options.delay_ms)
		send_now(r, flow, dst, buf, len);
	else if (delay(r, flow, dst, buf, len))
		r->dropped++;
}

uint16_t responder_code(const struct responder *r, const struct pl *method, uint16_t normal)
{
	for (size_t i = 0; i < r->options.ncodes; i++) {
		if (!pl_strcmp(method, r->options.code[i].method))
			return r->options.code[i].code;
	}

	return normal;
}

void responder_reply(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx, uint16_t code,
        const char *headers)
{
	char lines[4096];
	struct uas_reply reply = {.code = code, .reason = sipcode_name(code), .tag = r->tag, .headers = lines};
	struct sa dst;

	if (re_snprintf(lines, sizeof(lines), "%s" RESPOND_SERVER, headers ? headers : "") < 0)
		return;
	uas_reply_dst(&dst, msg, rx);
	mbuf_rewind(r->mb);
	if (!uas_reply_encode(r->mb, msg, &rx->src, &reply))
		responder_send(r, rx->flow, &dst, r->mb->buf, r->mb->end);
}

/* True: the request has credentials that are right, or needs none. Else it was answered. */
static bool is_authorized(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	uint64_t now_us = clock_mono_us();
	enum digest_result result;
	struct mbuf *mb;

	if (!r->guard)
		return true;
	result = digest_check(r->guard, msg, now_us);
	if (result == DIGEST_GOOD)
		return true;

	mb = mbuf_alloc(256);
	if (!mb)
		return false;
	if (result == DIGEST_BROKEN)
		responder_reply(r, msg, rx, 400, NULL);
	else if (!digest_challenge(mb, r->guard, result == DIGEST_STALE, now_us) && !mbuf_write_u8(mb, 0))
		responder_reply(r, msg, rx, 401, (char *)mb->buf);
	mem_deref(mb);

	return false;
}

static void options_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	responder_reply(r, msg, rx, responder_code(r, &msg->met, 200),
	        RESPOND_ALLOW "Accept: application/sdp\r\n"
	                      "Supported: \r\n");
}

static void message_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	responder_reply(r, msg, rx, responder_code(r, &msg->met, 200), NULL);
}

static void register_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	uint16_t code = responder_code(r, &msg->met, 200);

	if (code == 200)
		registrar_request(r, msg, rx);
	else
		responder_reply(r, msg, rx, code, NULL);
}

static void invite_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	callee_invite(r->callee, msg, rx);
}

static void ack_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	(void)rx;
	callee_ack(r->callee, msg);
}

static void cancel_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	callee_cancel(r->callee, msg, rx);
}

static void bye_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	callee_bye(r->callee, msg, rx);
}

static const struct handler {
	const char *method;
	void (*handle)(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx);
	bool is_challenged;
} handlers[] = {
        {"OPTIONS", options_request, true},
        {"MESSAGE", message_request, true},
        {"REGISTER", register_request, true},
        {"INVITE", invite_request, true},
        {"ACK", ack_request, false},
        {"CANCEL", cancel_request, false},
        {"BYE", bye_request, false},
};

static void request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(*handlers); i++) {
		if (pl_strcmp(&msg->met, handlers[i].method))
			continue;
		if (!handlers[i].is_challenged || is_authorized(r, msg, rx))
			handlers[i].handle(r, msg, rx);
		return;
	}
	responder_reply(r, msg, rx, responder_code(r, &msg->met, 405), RESPOND_ALLOW);
}

static void recv_h(const struct transport_rx *rx, void *arg)
{
	struct responder *r = arg;
	struct sip_msg *msg = NULL;

	if (rx->is_truncated)
		return;
	r->requests++;
	if (r->options.drop_percent && responder_random() % 100 < r->options.drop_percent) {
		r->dropped++;
		return;
	}

	if (!r->guard &&
	        reflex_options(r->mb, mbuf_buf(rx->mb), mbuf_get_left(rx->mb), &rx->src, r->options_line, r->tag)) {
		responder_send(r, rx->flow, &rx->src, r->mb->buf, r->mb->end);
		return;
	}

	if (!sip_message_decode(&msg, rx->mb) && msg->req)
		request(r, msg, rx);
	mem_deref(msg);
}

static void sweep_h(uint64_t now_us, void *arg)
{
	struct responder *r = arg;

	transport_sweep(r->transport, now_us);
	registrar_sweep(r->registrar, now_us);
	wheel_start(r->wheel, &r->sweep, now_us + SWEEP_US, sweep_h, r);
}

static void responder_destructor(void *data)
{
	struct responder *r = data;

	mem_deref(r->callee);
	list_flush(&r->delayed);
	mem_deref(r->transport);
	mem_deref(r->registrar);
	mem_deref(r->guard);
	wheel_stop(&r->sweep);
	mem_deref(r->ticker);
	mem_deref(r->wheel);
	mem_deref(r->mb);
	explicit_bzero(r->options.auth_password, sizeof(r->options.auth_password));
}

static int start_parts(struct responder *r)
{
	const struct respond_options *o = &r->options;
	int err;

	err = wheel_alloc(&r->wheel, clock_mono_us());
	if (!err)
		err = ticker_alloc(&r->ticker, r->wheel);
	if (!err)
		err = transport_alloc(&r->transport, recv_h, NULL, r);
	if (!err)
		err = registrar_alloc(&r->registrar);
	if (!err)
		err = callee_alloc(&r->callee, r);
	if (!err && o->auth_user)
		err = digest_guard_alloc(&r->guard, o->auth_user, o->auth_password, o->nonce_expires_s);

	return err;
}

int responder_alloc(struct responder **rp, const struct respond_options *options)
{
	struct responder *r = mem_zalloc(sizeof(*r), responder_destructor);
	struct pl method = PL("OPTIONS");
	uint16_t code;
	int err;

	if (!r)
		return ENOMEM;

	r->options = *options;
	r->mb = mbuf_alloc(4096);
	err = r->mb ? start_parts(r) : ENOMEM;
	if (err) {
		mem_deref(r);
		return err;
	}

	code = responder_code(r, &method, 200);
	(void)re_snprintf(r->options_line, sizeof(r->options_line), "SIP/2.0 %u %s\r\n", code, sipcode_name(code));
	(void)re_snprintf(r->tag, sizeof(r->tag), "%016llx", (unsigned long long)responder_random());
	sweep_h(clock_mono_us(), r);
	*rp = r;

	return 0;
}

int responder_listen(void **holderp, struct responder *r, enum transport proto, struct sa *local)
{
	struct transport_listener *listener;
	struct flow *flow;
	int err;

	if (proto == TRANSPORT_UDP) {
		err = transport_udp(&flow, r->transport, local);
		if (err)
			return err;
		*holderp = flow;
		if (sa_is_any(local)) {
			struct sa route = *local;

			/* only the port is asked for: an address of the same family that is always there */
			(void)sa_set_str(&route, sa_af(local) == AF_INET6 ? "::1" : "127.0.0.1", 0);
			err = flow_local(flow, &route, &route);
			sa_set_port(local, sa_port(&route));
			return err;
		}
		return flow_local(flow, local, local);
	}

	err = transport_listen(&listener, r->transport, local);
	if (err)
		return err;
	*holderp = listener;
	*local = *transport_listener_local(listener);

	return 0;
}
