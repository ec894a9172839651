/**
 * @file fuzz_response.c  Arbitrary bytes as what a server sends, with an OPTIONS and an INVITE under way
 *
 * The input is a row of records, ended by 0x1e. A record's first byte says what happens (enum event), the rest is what is received.
 * Two marks in it are replaced by live branches, which no fuzzer would guess: "@O" the one of the OPTIONS, "@I" the one of the INVITE.
 */
#include <stdlib.h>
#include <string.h>
#include "edge/sip/auth.h"
#include "edge/sip/transaction.h"

enum event {
	EVENT_RECV = '0',
	EVENT_TRUNCATED = '1',
	EVENT_CANCEL = '2', /* then received */
	EVENT_TIME = '3',   /* 5 s pass, then received */
	EVENT_FREE = '4',   /* the INVITE loses its owner, then received */
	EVENT_ERROR = '5',  /* the rest is what ICMP returned */
	EVENT_CLOSED = '6', /* the connection */
};

enum {
	SECOND = 1000000,
	RECORD_MAX = 65535,
	BRANCH_LEN_MAX = SIP_BRANCH_SIZE,
};

/* One transaction and what its handler was told. */
struct probe {
	struct ctrans *ct;
	bool is_invite;
	unsigned nfinals; /* other than 2xx to INVITE */
	unsigned nerrors;
	char branch[BRANCH_LEN_MAX];
};

struct fuzz {
	uint64_t now_us;
	uint64_t random;
	struct wheel *wheel;
	struct ctrans_layer *layer;
	struct flow *flow;
	struct sa dst;
	struct auth *auth;
	struct probe options;
	struct probe invite;
	char *last_branch; /* where the next request's branch goes */
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static int send_h(struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len, void *arg)
{
	struct fuzz *fuzz = arg;
	struct sip_glance glance;
	(void)flow;
	(void)dst;

	sip_glance(&glance, buf, len);
	check(glance.kind == SIP_KIND_REQUEST && glance.branch.l > 0 && glance.branch.l < BRANCH_LEN_MAX);
	if (fuzz->last_branch) {
		memcpy(fuzz->last_branch, glance.branch.p, glance.branch.l);
		fuzz->last_branch[glance.branch.l] = '\0';
		fuzz->last_branch = NULL;
	}

	return 0;
}

static uint64_t random_h(void *arg)
{
	struct fuzz *fuzz = arg;

	return fuzz->random += 0x9e3779b97f4a7c15;
}

static uint64_t now_h(void *arg)
{
	const struct fuzz *fuzz = arg;

	return fuzz->now_us;
}

static struct fuzz *current;

static void answer_challenge(const struct sip_msg *msg)
{
	const struct auth_request req = {"OPTIONS", "sip:b", 1};
	struct mbuf *mb;

	if (auth_challenge(current->auth, msg))
		return;
	mb = mbuf_alloc(256);
	check(!auth_print(mb, current->auth, &req));
	mem_deref(mb);
}

static void told_h(int err, const struct ctrans_response *rsp, void *arg)
{
	struct probe *probe = arg;
	uint16_t scode = rsp ? rsp->msg->scode : 0;

	check(err ? !rsp : rsp && scode >= 100 && scode <= 699);
	if (err) {
		check(++probe->nerrors == 1 && !probe->nfinals);
		return;
	}
	check(rsp->msg->mb->pos <= rsp->msg->mb->end && rsp->msg->mb->end <= rsp->msg->mb->size);
	check(pl_isset(&rsp->msg->cseq.met) && pl_isset(&rsp->msg->callid) && pl_isset(&rsp->msg->to.val));
	if (scode == 401 || scode == 407)
		answer_challenge(rsp->msg);
	if (scode < 200)
		check(!probe->nfinals && !probe->nerrors);
	else if (!probe->is_invite || scode >= 300)
		check(++probe->nfinals == 1 && !probe->nerrors);
}

static void start(struct fuzz *fuzz, struct probe *probe, const char *method)
{
	struct ctrans_target target = {.flow = fuzz->flow, .proto = TRANSPORT_UDP, .dst = fuzz->dst};
	struct sip_request *req;

	sa_set_str(&target.local, "192.0.2.1", 5060);
	check(!sip_request_alloc(&req));
	str_dup(&req->method, method);
	str_dup(&req->uri, "sip:b");
	str_dup(&req->from, "<sip:a>;tag=1");
	str_dup(&req->to, "<sip:b>");
	str_dup(&req->call_id, "c");
	req->cseq = 1;
	fuzz->last_branch = probe->branch;
	check(!ctrans_request(&probe->ct, fuzz->layer, &target, req, told_h, probe));
	mem_deref(req);
}

static void setup(struct fuzz *fuzz)
{
	const struct ctrans_config config = {send_h, random_h, now_h, fuzz};

	memset(fuzz, 0, sizeof(*fuzz));
	current = fuzz;
	fuzz->now_us = SECOND;
	fuzz->invite.is_invite = true;
	sa_set_str(&fuzz->dst, "192.0.2.9", 5060);
	fuzz->flow = mem_zalloc(1, NULL);
	check(!wheel_alloc(&fuzz->wheel, fuzz->now_us));
	check(!ctrans_layer_alloc(&fuzz->layer, fuzz->wheel, &config));
	check(!auth_alloc(&fuzz->auth, "user", "password"));
	start(fuzz, &fuzz->options, "OPTIONS");
	start(fuzz, &fuzz->invite, "INVITE");
}

/* From timer to timer: thousands of ticks in between would be most of the work. */
static void pass_seconds(struct fuzz *fuzz, unsigned seconds)
{
	const uint64_t until_us = fuzz->now_us + (uint64_t)seconds * SECOND;

	while (fuzz->now_us < until_us) {
		uint64_t next_us = wheel_next(fuzz->wheel);

		fuzz->now_us = next_us > fuzz->now_us ? next_us : fuzz->now_us + 1000;
		if (fuzz->now_us > until_us)
			fuzz->now_us = until_us;
		wheel_advance(fuzz->wheel, fuzz->now_us);
	}
}

/* A record with its marks replaced, in a block of its own size: a sanitizer then sees every byte read too far. */
static struct mbuf *expand(const struct fuzz *fuzz, const uint8_t *data, size_t len)
{
	struct mbuf *text = mbuf_alloc(len + BRANCH_LEN_MAX), *mb;

	for (size_t i = 0; i < len && text->end < RECORD_MAX; i++) {
		bool is_mark = data[i] == '@' && i + 1 < len && (data[i + 1] == 'O' || data[i + 1] == 'I');

		if (is_mark) {
			mbuf_write_str(text, data[i + 1] == 'O' ? fuzz->options.branch : fuzz->invite.branch);
			i++;
		} else {
			mbuf_write_u8(text, data[i]);
		}
	}
	mb = mbuf_alloc(text->end ? text->end : 1);
	mbuf_write_mem(mb, text->buf, text->end);
	mb->pos = 0;
	mem_deref(text);

	return mb;
}

static void receive(struct fuzz *fuzz, struct mbuf *mb, bool is_truncated)
{
	struct sip_msg *msg = NULL;

	if (ctrans_layer_recv(fuzz->layer, fuzz->flow, &fuzz->dst, mb, is_truncated, fuzz->now_us))
		return;
	check(mb->pos == 0);
	if (!sip_message_decode(&msg, mb)) /* a request, as the stack does */
		check(msg->req);
	mem_deref(msg);
}

static void play(struct fuzz *fuzz, const uint8_t *data, size_t len)
{
	struct mbuf *mb;

	if (!len)
		return;
	mb = expand(fuzz, data + 1, len - 1);
	switch (data[0]) {
	case EVENT_CANCEL:
		if (fuzz->invite.ct)
			check(!ctrans_cancel(fuzz->invite.ct));
		break;
	case EVENT_TIME:
		pass_seconds(fuzz, 5);
		break;
	case EVENT_FREE:
		fuzz->invite.ct = mem_deref(fuzz->invite.ct);
		break;
	case EVENT_ERROR:
		ctrans_layer_error(fuzz->layer, fuzz->flow, &fuzz->dst, mb->buf, mb->end, ECONNREFUSED);
		break;
	case EVENT_CLOSED:
		ctrans_layer_error(fuzz->layer, fuzz->flow, &fuzz->dst, NULL, 0, ECONNRESET);
		break;
	default:
		break;
	}
	receive(fuzz, mb, data[0] == EVENT_TRUNCATED);
	mem_deref(mb);
}

static void teardown(struct fuzz *fuzz)
{
	const char *text;

	check(!!ctrans_strays(fuzz->options.ct, &text) == !!text);
	fuzz->options.ct = mem_deref(fuzz->options.ct);
	fuzz->invite.ct = mem_deref(fuzz->invite.ct);
	pass_seconds(fuzz, 34); /* Timer D */
	check(ctrans_layer_count(fuzz->layer) == 0);
	check(mem_nrefs(fuzz->flow) == 1);
	mem_deref(fuzz->auth);
	mem_deref(fuzz->layer);
	mem_deref(fuzz->wheel);
	mem_deref(fuzz->flow);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz fuzz;

	setup(&fuzz);
	while (len) {
		const uint8_t *end = memchr(data, 0x1e, len);
		size_t n = end ? (size_t)(end - data) : len;

		play(&fuzz, data, n);
		n += end ? 1 : 0;
		data += n;
		len -= n;
	}
	teardown(&fuzz);

	return 0;
}
