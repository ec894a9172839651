/**
 * @file uac.c  One request of a user agent client with its authentication rounds
 */
#include <string.h>
#include "edge/sip/auth.h"
#include "edge/sip/uac.h"

struct uac {
	struct sip_stack *stack;
	struct ctrans_target target; /* flow referenced */
	struct sip_request *first;   /* what the owner gave: its headers go with every round */
	struct sip_request *req;     /* as sent last */
	struct ctrans *ct;
	struct auth *auth; /* NULL: challenges are final */
	const char *user;
	uint32_t *shared_cseq;
	bool is_challenge_final; /* a user, but no password */
	uac_observe_h *observeh;
	uac_h *h;
	void *arg;

	/* of the transactions before this one */
	struct uac_stats past;
};

static void destructor(void *arg)
{
	struct uac *uac = arg;

	mem_deref(uac->ct);
	mem_deref(uac->req);
	mem_deref(uac->first);
	mem_deref(uac->auth);
	mem_deref(uac->target.flow);
}

static void response_handler(int err, const struct ctrans_response *rsp, void *arg);

static int send_request(struct uac *uac)
{
	return ctrans_request(&uac->ct, uac->stack->transactions, &uac->target, uac->req, response_handler, uac);
}

/* The base headers and the answers to all challenges so far, NUL-terminated. */
static int write_headers(struct mbuf *mb, struct uac *uac)
{
	const struct auth_request request = {
	        .method = uac->first->method,
	        .uri = uac->first->uri,
	        .cnonce = stack_random(uac->stack),
	};
	int err = 0;

	if (uac->first->headers)
		err = mbuf_write_str(mb, uac->first->headers);
	err = err ? err : auth_print(mb, uac->auth, &request);

	return err ? err : mbuf_write_u8(mb, 0);
}

/* The transaction that got the challenge is over: its figures are kept, the next one takes its place. */
static void drop_transaction(struct uac *uac)
{
	const char *text = NULL;
	uint32_t strays = ctrans_strays(uac->ct, &text);

	uac->past.retransmits += ctrans_retransmits(uac->ct);
	uac->past.strays += strays;
	if (strays)
		uac->past.stray_text = text;
	uac->ct = mem_deref(uac->ct);
}

static int send_again(struct uac *uac)
{
	struct sip_request *again = NULL;
	struct mbuf *mb = mbuf_alloc(1024);
	int err;

	if (!mb)
		return ENOMEM;

	err = write_headers(mb, uac);
	err = err ? err : sip_request_again(&again, uac->req, (const char *)mb->buf);
	mem_deref(mb);
	if (err)
		return err;

	if (uac->shared_cseq)
		again->cseq = ++*uac->shared_cseq;
	mem_deref(uac->req);
	uac->req = again;

	return send_request(uac);
}

/* 0: answered, the exchange goes on. Else why it ends with this challenge. */
static int answer_challenge(struct uac *uac, const struct ctrans_response *rsp)
{
	int err;

	if (uac->is_challenge_final)
		return EACCES;

	err = auth_challenge(uac->auth, rsp->msg);
	if (err)
		return err;

	if (!uac->past.auth_us)
		uac->past.auth_us = rsp->rx_us;
	drop_transaction(uac);

	return send_again(uac);
}

static bool is_challenge(const struct uac *uac, const struct sip_msg *msg)
{
	return uac->user && (msg->scode == 401 || msg->scode == 407);
}

static void response_handler(int err, const struct ctrans_response *rsp, void *arg)
{
	struct uac *uac = arg;

	if (rsp && uac->observeh)
		uac->observeh(rsp, uac->arg);

	if (!err && rsp && is_challenge(uac, rsp->msg)) {
		err = answer_challenge(uac, rsp);
		if (!err)
			return;
		if (!uac->ct)
			rsp = NULL; /* not the credentials: the next request could not be sent */
	}

	uac->h(err, rsp, uac->arg);
}

static int alloc_auth(struct uac *uac, const char *user, const char *password)
{
	uac->user = user;
	uac->is_challenge_final = user && !password;

	return user && password ? auth_alloc(&uac->auth, user, password) : 0;
}

int uac_request(struct uac **uacp, struct sip_stack *stack, const struct uac_target *target, struct sip_request *req,
        const char *user, const char *password, uac_observe_h *observeh, uac_h *h, void *arg)
{
	struct uac *uac;
	int err;

	if (!uacp || !stack || !target || !target->flow || !req || !h)
		return EINVAL;

	uac = mem_zalloc(sizeof(*uac), destructor);
	if (!uac)
		return ENOMEM;

	uac->stack = stack;
	uac->target.flow = mem_ref(target->flow);
	uac->target.proto = flow_proto(target->flow);
	uac->target.dst = target->dst;
	uac->first = mem_ref(req);
	uac->req = mem_ref(req);
	uac->observeh = observeh;
	uac->h = h;
	uac->arg = arg;

	err = flow_local(target->flow, &target->dst, &uac->target.local);
	err = err ? err : alloc_auth(uac, user, password);
	err = err ? err : send_request(uac);
	if (err) {
		mem_deref(uac);
		return err;
	}

	uac->past.sent_us = ctrans_sent_us(uac->ct);
	*uacp = uac;

	return 0;
}

void uac_share_cseq(struct uac *uac, uint32_t *cseq)
{
	uac->shared_cseq = cseq;
}

struct ctrans *uac_transaction(struct uac *uac)
{
	return uac->ct;
}

const struct sip_request *uac_last_request(const struct uac *uac)
{
	return uac->req;
}

void uac_stats_get(const struct uac *uac, struct uac_stats *stats)
{
	const char *text = NULL;
	uint32_t strays;

	*stats = uac->past;
	stats->auth_rounds = uac->auth ? auth_rounds(uac->auth) : 0;
	stats->auth_algorithm = uac->auth ? auth_algorithm(uac->auth) : NULL;
	if (!uac->ct)
		return;

	strays = ctrans_strays(uac->ct, &text);
	stats->retransmits += ctrans_retransmits(uac->ct);
	stats->strays += strays;
	if (strays)
		stats->stray_text = text;
}
