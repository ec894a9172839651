/**
 * @file test_call.c  Calls against a scripted server on a real socket: what the server saw of ACK, CANCEL and BYE
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <re.h>
#include "edge/sip/call.h"

enum { SEEN_MAX = 256, SECOND = 1000000 };

struct fixture;
typedef void(script_h)(
        struct fixture *f, const struct sip_msg *msg, unsigned n); /* n-th request of its method, from 1 */

struct seen {
	char method[16];
	char to_tag[32];
	uint32_t cseq;
	bool at_proxy;
	char text[4096];
	size_t len;
};

/* The server, its second address (a proxy), and the owner of one call. */
struct fixture {
	struct sip_stack *stack;
	struct call_list *list;
	struct account *account;
	struct flow *flow;
	struct call *call;
	int fd, proxy;
	struct sa addr, proxy_addr, client;
	script_h *script;
	struct seen seen[SEEN_MAX];
	size_t nseen;
	char invite[4096]; /* the first one, to answer later */
	struct sip_msg *kept;
	bool is_silent_to_bye;

	unsigned nprogress, nanswer, nfail, nend;
	uint16_t fail_code;
	int fail_err;
	struct call_end end;
	bool hangs_up_on_answer;
	bool takes_offers;
};

static size_t count(const struct fixture *f, const char *method, const char *to_tag)
{
	size_t n = 0;

	for (size_t i = 0; i < f->nseen; i++)
		n += !strcmp(f->seen[i].method, method) && (!to_tag || !strcmp(f->seen[i].to_tag, to_tag));
	return n;
}

static const struct seen *find(const struct fixture *f, const char *method, unsigned nth)
{
	for (size_t i = 0; i < f->nseen; i++)
		if (!strcmp(f->seen[i].method, method) && --nth == 0)
			return &f->seen[i];
	fail_msg("no such %s", method);
	return NULL;
}

static void send_text(struct fixture *f, const char *text, size_t len)
{
	assert_int_equal(sendto(f->fd, text, len, 0, &f->client.u.sa, f->client.len), len);
}

/* headers: whole lines. tag NULL: the To as it came */
static void respond(struct fixture *f, const struct sip_msg *msg, unsigned code, const char *tag, const char *headers,
        const char *body)
{
	char text[8192];
	int n = re_snprintf(text, sizeof(text),
	        "SIP/2.0 %u Whatever\r\nVia: %r\r\nFrom: %r\r\nTo: %r%s%s\r\nCall-ID: %r\r\nCSeq: %u %r\r\n%s%s"
	        "Content-Length: %zu\r\n\r\n%s",
	        code, &sip_msg_hdr(msg, SIP_HDR_VIA)->val, &msg->from.val, &msg->to.val, tag ? ";tag=" : "",
	        tag ? tag : "", &msg->callid, msg->cseq.num, &msg->cseq.met, headers,
	        *body ? "Content-Type: application/sdp\r\n" : "", strlen(body), body);

	assert_true(n > 0);
	send_text(f, text, (size_t)n);
}

static void answer(struct fixture *f, const struct sip_msg *msg, const char *tag)
{
	char contact[128];

	(void)re_snprintf(contact, sizeof(contact), "Contact: <sip:echo@%J;x=%s>\r\n", &f->addr, tag);
	respond(f, msg, 200, tag, contact, "v=0\r\n");
}

/* The stored INVITE as a message again. */
static struct sip_msg *first_invite(struct fixture *f)
{
	struct mbuf *mb = mbuf_alloc(sizeof(f->invite));
	struct sip_msg *msg = NULL;

	assert_int_equal(mbuf_write_str(mb, f->invite), 0);
	mb->pos = 0;
	assert_int_equal(sip_msg_decode(&msg, mb), 0);
	mem_deref(mb);
	return msg;
}

static void record(struct fixture *f, const struct sip_msg *msg, const char *buf, size_t len, bool at_proxy)
{
	struct seen *seen = &f->seen[f->nseen];

	assert_true(f->nseen < SEEN_MAX && len < sizeof(seen->text));
	f->nseen++;
	(void)pl_strcpy(&msg->met, seen->method, sizeof(seen->method));
	if (pl_isset(&msg->to.tag))
		(void)pl_strcpy(&msg->to.tag, seen->to_tag, sizeof(seen->to_tag));
	seen->cseq = msg->cseq.num;
	seen->at_proxy = at_proxy;
	memcpy(seen->text, buf, len);
	seen->len = len;
}

static void serve(struct fixture *f, int fd)
{
	char buf[8192];
	ssize_t n = 0;

	for (;;) {
		struct sip_msg *msg = NULL;
		struct mbuf *mb;

		f->client.len = sizeof(f->client.u);
		n = recvfrom(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT, &f->client.u.sa, &f->client.len);
		if (n <= 0)
			return;
		buf[n] = '\0';
		mb = mbuf_alloc((size_t)n);
		(void)mbuf_write_mem(mb, (uint8_t *)buf, (size_t)n);
		mb->pos = 0;
		assert_int_equal(sip_msg_decode(&msg, mb), 0);
		mem_deref(mb);
		record(f, msg, buf, (size_t)n, fd == f->proxy);
		if (msg->req && !pl_strcmp(&msg->met, "INVITE") && !f->invite[0])
			memcpy(f->invite, buf, (size_t)n + 1);
		if (msg->req && !pl_strcmp(&msg->met, "BYE") && !f->is_silent_to_bye)
			respond(f, msg, 200, NULL, "", "");
		if (msg->req && f->script)
			f->script(f, msg, (unsigned)count(f, f->seen[f->nseen - 1].method, NULL));
		mem_deref(msg);
	}
}

static void server_h(int flags, void *arg)
{
	struct fixture *f = arg;

	(void)flags;
	serve(f, f->fd);
	serve(f, f->proxy);
}

static int open_socket(struct fixture *f, struct sa *addr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(sa_set_str(addr, "127.0.0.1", 0), 0);
	assert_int_equal(bind(fd, &addr->u.sa, addr->len), 0);
	assert_int_equal(getsockname(fd, &addr->u.sa, &addr->len), 0);
	assert_int_equal(fd_listen(fd, FD_READ, server_h, f), 0);
	return fd;
}

static bool request_h(const struct sip_msg *msg, const struct transport_rx *rx, void *arg)
{
	struct fixture *f = arg;

	return call_list_request(f->list, msg, rx);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sa local;

	assert_int_equal(stack_alloc(&f->stack, "test"), 0);
	assert_int_equal(call_list_alloc(&f->list, f->stack), 0);
	stack_set_request_handler(f->stack, request_h, f);
	assert_int_equal(sa_set_str(&local, "127.0.0.1", 0), 0);
	assert_int_equal(transport_udp(&f->flow, f->stack->transport, &local), 0);
	assert_int_equal(account_alloc(&f->account), 0);
	f->fd = open_socket(f, &f->addr);
	f->proxy = open_socket(f, &f->proxy_addr);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	call_release(f->call);
	mem_deref(f->list);
	mem_deref(f->flow);
	mem_deref(f->stack);
	mem_deref(f->account);
	fd_close(f->fd);
	fd_close(f->proxy);
	(void)close(f->fd);
	(void)close(f->proxy);
	free(f);
	return 0;
}

/* The owner's handlers */

static void on_progress(const struct ctrans_response *rsp, const struct mbuf *sdp, void *arg)
{
	struct fixture *f = arg;

	(void)rsp;
	(void)sdp;
	f->nprogress++;
}

static void on_answer(const struct ctrans_response *rsp, const struct mbuf *sdp, void *arg)
{
	struct fixture *f = arg;

	assert_int_equal(rsp->msg->scode, 200);
	assert_true(!sdp || mbuf_get_left(sdp) == 5);
	f->nanswer++;
	if (f->hangs_up_on_answer)
		call_hang_up(f->call);
}

static int on_offer(char **answerp, const struct mbuf *sdp, void *arg)
{
	struct fixture *f = arg;

	(void)sdp;
	return f->takes_offers ? str_dup(answerp, "v=0\r\ns=mine\r\n") : ENOTSUP;
}

static void on_fail(int err, const struct ctrans_response *rsp, void *arg)
{
	struct fixture *f = arg;

	f->nfail++;
	f->fail_err = err;
	f->fail_code = rsp ? rsp->msg->scode : 0;
}

static void on_end(const struct call_end *end, void *arg)
{
	struct fixture *f = arg;

	f->nend++;
	f->end = *end;
}

static void start(struct fixture *f, script_h *script)
{
	const struct call_handlers handlers = {.progressh = on_progress,
	        .answerh = on_answer,
	        .offerh = on_offer,
	        .failh = on_fail,
	        .endh = on_end,
	        .arg = f};
	struct uac_target target = {.flow = f->flow, .dst = f->addr};
	struct sip_request *req = NULL;

	f->script = script;
	assert_int_equal(sip_request_alloc(&req), 0);
	assert_int_equal(str_dup(&req->method, "INVITE"), 0);
	assert_int_equal(re_sdprintf(&req->uri, "sip:600@%J", &f->addr), 0);
	assert_int_equal(str_dup(&req->from, "<sip:me@127.0.0.1>;tag=mine"), 0);
	assert_int_equal(re_sdprintf(&req->to, "<sip:600@%J>", &f->addr), 0);
	assert_int_equal(re_sdprintf(&req->call_id, "%016llx", (unsigned long long)stack_random(f->stack)), 0);
	assert_int_equal(str_dup(&req->headers, "Contact: <sip:me@127.0.0.1>\r\n"), 0);
	assert_int_equal(str_dup(&req->content_type, "application/sdp"), 0);
	assert_int_equal(str_dup(&req->body, "v=0\r\n"), 0);
	req->cseq = 1;
	assert_int_equal(call_start(&f->call, f->list, &target, req, f->account, &handlers), 0);
	mem_deref(req);
	assert_int_equal(call_list_count(f->list), 1);
}

static void release(struct fixture *f)
{
	call_release(f->call);
	f->call = NULL;
}

/* Runs the loop until the condition holds. */

typedef bool(condition_h)(struct fixture *f);

struct waiting {
	struct tmr tmr;
	struct fixture *f;
	condition_h *h;
	unsigned left;
};

static void look(void *arg)
{
	struct waiting *w = arg;

	if (w->h(w->f) || --w->left == 0)
		re_cancel();
	else
		tmr_start(&w->tmr, 1, look, w);
}

static void run_until(struct fixture *f, condition_h *h)
{
	struct waiting w = {.f = f, .h = h, .left = 20000};

	tmr_init(&w.tmr);
	tmr_start(&w.tmr, 1, look, &w);
	(void)re_main(NULL);
	tmr_cancel(&w.tmr);
	assert_true(h(f));
}

static unsigned rounds;

static bool after_rounds(struct fixture *f)
{
	(void)f;
	return ++rounds > 5;
}

/* All that lies in sockets is read, and what that caused as well: loopback delivers at once. */
static void run_dry(struct fixture *f)
{
	rounds = 0;
	run_until(f, after_rounds);
}

/* Timers fire as if that much time had passed. */
static void advance(struct fixture *f, uint64_t us)
{
	uint64_t now_us = stack_now(f->stack);

	for (uint64_t step = 0; step <= us; step += SECOND / 4) {
		wheel_advance(f->stack->wheel, now_us + step);
		server_h(0, f);
	}
}

static bool is_answered(struct fixture *f)
{
	return f->nanswer > 0;
}

static bool is_failed(struct fixture *f)
{
	return f->nfail > 0;
}

static bool has_ack(struct fixture *f)
{
	return count(f, "ACK", NULL) > 0;
}

static bool is_quiet(struct fixture *f)
{
	return call_list_count(f->list) == 0;
}

static bool has_provisional(struct fixture *f)
{
	return call_has_provisional(f->call);
}

/* Scripts */

static void script_answer(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	(void)n;
	if (!pl_strcmp(&msg->met, "INVITE"))
		answer(f, msg, "a");
}

static void script_fork(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	(void)n;
	if (pl_strcmp(&msg->met, "INVITE"))
		return;
	answer(f, msg, "a");
	answer(f, msg, "b");
	answer(f, msg, "a");
}

static void script_many_forks(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	(void)n;
	if (pl_strcmp(&msg->met, "INVITE"))
		return;
	for (int i = 0; i < 30; i++) {
		char tag[16];

		(void)snprintf(tag, sizeof(tag), "t%d", i);
		answer(f, msg, tag);
	}
}

static void script_ring(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	if (pl_strcmp(&msg->met, "INVITE") || n > 1)
		return;
	respond(f, msg, 100, NULL, "", "");
	respond(f, msg, 180, "early", "", "");
}

static void script_ring_then_487(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	struct sip_msg *invite;

	script_ring(f, msg, n);
	if (pl_strcmp(&msg->met, "CANCEL"))
		return;
	respond(f, msg, 200, "early", "", "");
	invite = first_invite(f);
	respond(f, invite, 487, "early", "", "");
	mem_deref(invite);
}

/* The answer crosses the CANCEL. */
static void script_ring_then_late_answer(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	struct sip_msg *invite;

	script_ring(f, msg, n);
	if (pl_strcmp(&msg->met, "CANCEL"))
		return;
	respond(f, msg, 200, "late", "", "");
	invite = first_invite(f);
	answer(f, invite, "late");
	mem_deref(invite);
}

static void script_busy(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	(void)n;
	if (!pl_strcmp(&msg->met, "INVITE"))
		respond(f, msg, 486, "busy", "", "");
}

static void script_busy_then_fork_answers(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	script_busy(f, msg, n);
	if (!pl_strcmp(&msg->met, "INVITE"))
		answer(f, msg, "other");
}

static void script_digest(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	static const char challenge[] = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n";

	(void)n;
	if (!pl_strcmp(&msg->met, "ACK"))
		return;
	if (!sip_msg_hdr(msg, SIP_HDR_AUTHORIZATION))
		respond(f, msg, 401, "c", challenge, "");
	else if (!pl_strcmp(&msg->met, "INVITE"))
		answer(f, msg, "a");
	else
		respond(f, msg, 200, NULL, "", "");
}

static void script_loose_routes(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	char headers[512];

	(void)n;
	if (pl_strcmp(&msg->met, "INVITE"))
		return;
	(void)re_snprintf(headers, sizeof(headers),
	        "Contact: \"A, B\" <sip:echo@192.0.2.1>\r\n"
	        "Record-Route: <sip:far.example;lr>, <sip:middle.example;lr;a=b>\r\n"
	        "Record-Route: <sip:%J;lr>\r\n",
	        &f->proxy_addr);
	respond(f, msg, 200, "a", headers, "v=0\r\n");
}

static void script_strict_route(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	char headers[512];

	(void)n;
	if (pl_strcmp(&msg->met, "INVITE"))
		return;
	(void)re_snprintf(headers, sizeof(headers),
	        "Contact: <sip:echo@192.0.2.1>\r\nRecord-Route: <sip:far.example;lr>\r\nRecord-Route: <sip:%J>\r\n",
	        &f->proxy_addr);
	respond(f, msg, 200, "a", headers, "v=0\r\n");
}

static void script_no_contact(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	(void)n;
	if (!pl_strcmp(&msg->met, "INVITE"))
		respond(f, msg, 200, "a", "Contact: ???\r\n", "v=0\r\n");
}

static void script_named_contact(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	char headers[128];

	(void)n;
	if (pl_strcmp(&msg->met, "INVITE"))
		return;
	(void)re_snprintf(headers, sizeof(headers), "Contact: <sip:echo@localhost:%u>\r\n", sa_port(&f->proxy_addr));
	respond(f, msg, 200, "a", headers, "v=0\r\n");
}

/* Requests of the peer inside the dialog "a" */
static void peer_request(struct fixture *f, const char *method, unsigned cseq, const char *to_tag)
{
	struct sip_msg *invite = first_invite(f);
	char text[1024];
	int n = re_snprintf(text, sizeof(text),
	        "%s sip:me@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %J;rport;branch=z9hG4bKp%u\r\nFrom: %r;tag=a\r\n"
	        "To: <sip:me@127.0.0.1>;tag=%s\r\nCall-ID: %r\r\nCSeq: %u %s\r\nContact: <sip:moved@%J>\r\n"
	        "Content-Length: 0\r\n\r\n",
	        method, &f->addr, cseq, &invite->to.val, to_tag, &invite->callid, cseq, method, &f->addr);

	send_text(f, text, (size_t)n);
	mem_deref(invite);
}

/* The responses come to the same socket; record() keeps them with an empty method. */
static const struct seen *last_response(const struct fixture *f)
{
	for (size_t i = f->nseen; i-- > 0;)
		if (!f->seen[i].method[0])
			return &f->seen[i];
	return NULL;
}

static bool has_response(struct fixture *f)
{
	return last_response(f) != NULL;
}

/* Sends a request and returns the code that it got. */
static unsigned ask(struct fixture *f, const char *method, unsigned cseq, const char *to_tag)
{
	unsigned code = 0;

	for (size_t i = 0; i < f->nseen; i++)
		if (!f->seen[i].method[0])
			(void)snprintf(f->seen[i].method, sizeof(f->seen[i].method), "old");
	peer_request(f, method, cseq, to_tag);
	run_until(f, has_response);
	assert_int_equal(sscanf(last_response(f)->text, "SIP/2.0 %u", &code), 1);
	return code;
}

/* Tests */

static void test_call_answered_call_is_acknowledged_and_hung_up(void **state)
{
	struct fixture *f = *state;
	const struct seen *invite, *ack;

	start(f, script_answer);
	run_until(f, is_answered);
	run_until(f, has_ack);
	invite = find(f, "INVITE", 1);
	ack = find(f, "ACK", 1);
	assert_int_equal(ack->cseq, invite->cseq);
	assert_string_equal(ack->to_tag, "a");
	assert_non_null(strstr(ack->text, ";x=a SIP/2.0\r\n")); /* the Contact */
	assert_int_equal(count(f, "BYE", NULL), 0);
	call_hang_up(f->call);
	run_until(f, is_quiet);
	assert_int_equal(f->nend, 1);
	assert_int_equal(f->end.by, CALL_ENDED_LOCAL);
	assert_int_equal(f->end.bye_code, 200);
	assert_true(f->end.bye_us && f->end.bye_done_us >= f->end.bye_us);
	assert_int_equal(count(f, "BYE", "a"), 1);
	assert_int_equal(find(f, "BYE", 1)->cseq, invite->cseq + 1);
	call_hang_up(f->call);
	run_dry(f);
	assert_int_equal(count(f, "BYE", NULL), 1);
}

static void test_call_repeated_answer_gets_the_same_ack(void **state)
{
	struct fixture *f = *state;
	struct sip_msg *invite;

	start(f, script_answer);
	run_until(f, has_ack);
	invite = first_invite(f);
	answer(f, invite, "a");
	mem_deref(invite);
	run_dry(f);
	assert_int_equal(count(f, "ACK", NULL), 2);
	assert_string_equal(find(f, "ACK", 1)->text, find(f, "ACK", 2)->text);
	assert_int_equal(f->nanswer, 1);
	release(f);
	run_until(f, is_quiet);
	invite = first_invite(f);
	answer(f, invite, "a"); /* even after the end */
	mem_deref(invite);
	run_dry(f);
	assert_int_equal(count(f, "ACK", NULL), 3);
	assert_int_equal(count(f, "BYE", NULL), 1);
}

static void test_call_every_fork_is_acknowledged_and_hung_up(void **state)
{
	struct fixture *f = *state;

	start(f, script_fork);
	run_until(f, is_answered);
	run_dry(f);
	assert_int_equal(count(f, "ACK", "a"), 2);
	assert_int_equal(count(f, "ACK", "b"), 1);
	assert_int_equal(count(f, "BYE", "b"), 1);
	assert_int_equal(count(f, "BYE", "a"), 0);
	assert_int_equal(call_list_count(f->list), 1);
	call_hang_up(f->call);
	run_until(f, is_quiet);
	assert_int_equal(count(f, "BYE", "a"), 1);
	assert_int_equal(f->nend, 1);
}

static void test_call_forks_without_end_stay_bounded(void **state)
{
	struct fixture *f = *state;

	start(f, script_many_forks);
	run_until(f, is_answered);
	call_hang_up(f->call);
	run_until(f, is_quiet);
	run_dry(f);
	for (int i = 0; i < 30; i++) {
		char tag[16];

		(void)snprintf(tag, sizeof(tag), "t%d", i);
		assert_int_equal(count(f, "ACK", tag), 1);
		assert_int_equal(count(f, "BYE", tag), 1);
	}
}

static void test_call_cancel_awaits_487(void **state)
{
	struct fixture *f = *state;

	start(f, script_ring_then_487);
	run_until(f, has_provisional);
	run_dry(f);
	assert_int_equal(f->nprogress, 1); /* 180; 100 is no progress */
	call_hang_up(f->call);
	run_until(f, is_failed);
	assert_int_equal(f->fail_code, 487);
	assert_true(call_cancel_was_sent(f->call));
	assert_int_equal(call_list_count(f->list), 0);
	run_dry(f);
	assert_int_equal(count(f, "CANCEL", NULL), 1);
	assert_int_equal(count(f, "ACK", "early"), 1);
	assert_int_equal(count(f, "BYE", NULL), 0);
}

static void test_call_late_answer_after_cancel_is_hung_up(void **state)
{
	struct fixture *f = *state;

	start(f, script_ring_then_late_answer);
	run_until(f, has_provisional);
	release(f);
	run_until(f, is_quiet);
	run_dry(f);
	assert_int_equal(count(f, "CANCEL", NULL), 1);
	assert_int_equal(count(f, "ACK", "late"), 1);
	assert_int_equal(count(f, "BYE", "late"), 1);
	assert_int_equal(f->nanswer, 0); /* the owner is gone */
}

static void test_call_answer_that_crosses_cancel_is_told_and_hung_up(void **state)
{
	struct fixture *f = *state;

	start(f, script_ring_then_late_answer);
	run_until(f, has_provisional);
	call_hang_up(f->call);
	run_until(f, is_quiet);
	assert_int_equal(f->nanswer, 1);
	assert_int_equal(f->nend, 1);
	assert_int_equal(count(f, "BYE", "late"), 1);
}

static void test_call_without_provisional_is_cancelled_when_one_comes(void **state)
{
	struct fixture *f = *state;
	struct sip_msg *invite;

	start(f, NULL);
	run_dry(f);
	release(f);
	advance(f, 3 * SECOND);
	run_dry(f);
	assert_true(count(f, "INVITE", NULL) >= 3); /* retransmitted */
	assert_int_equal(count(f, "CANCEL", NULL), 0);
	assert_int_equal(call_list_count(f->list), 1);
	f->script = script_ring_then_487;
	invite = first_invite(f);
	respond(f, invite, 100, NULL, "", "");
	mem_deref(invite);
	run_until(f, is_quiet);
	assert_int_equal(count(f, "CANCEL", NULL), 1);
}

static void test_call_without_any_answer_ends_at_timer_b(void **state)
{
	struct fixture *f = *state;

	start(f, NULL);
	run_dry(f);
	release(f);
	advance(f, 31 * (uint64_t)SECOND);
	assert_int_equal(call_list_count(f->list), 1);
	advance(f, 33 * (uint64_t)SECOND);
	assert_int_equal(call_list_count(f->list), 0);
	assert_int_equal(mem_nrefs(f->account), 1); /* nothing holds it any more */
	assert_int_equal(count(f, "CANCEL", NULL), 0);
}

static void test_call_cancel_without_487_ends(void **state)
{
	struct fixture *f = *state;

	start(f, script_ring);
	run_until(f, has_provisional);
	call_hang_up(f->call);
	advance(f, 33 * (uint64_t)SECOND);
	assert_int_equal(f->nfail, 1);
	assert_int_equal(f->fail_err, ETIMEDOUT);
	assert_int_equal(call_list_count(f->list), 0);
}

static void test_call_busy_is_acknowledged(void **state)
{
	struct fixture *f = *state;

	start(f, script_busy);
	run_until(f, is_failed);
	run_until(f, has_ack);
	assert_int_equal(f->fail_code, 486);
	assert_int_equal(f->fail_err, 0);
	assert_int_equal(call_list_count(f->list), 0);
	release(f);
	advance(f, 70 * (uint64_t)SECOND);
	assert_int_equal(mem_nrefs(f->account), 1);
}

static void test_call_answer_after_a_failure_is_hung_up(void **state)
{
	struct fixture *f = *state;

	start(f, script_busy_then_fork_answers);
	run_until(f, is_failed);
	run_dry(f);
	run_until(f, is_quiet);
	assert_int_equal(count(f, "ACK", "other"), 1);
	assert_int_equal(count(f, "BYE", "other"), 1);
	assert_int_equal(f->nanswer, 0);
	assert_int_equal(f->nend, 0);
}

static void test_call_challenged_everywhere(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(str_dup(&f->account->login, "me"), 0);
	assert_int_equal(str_dup(&f->account->password, "secret"), 0);
	f->is_silent_to_bye = true; /* the script answers it */
	start(f, script_digest);
	run_until(f, is_answered);
	run_dry(f);
	assert_int_equal(count(f, "INVITE", NULL), 2);
	assert_int_equal(count(f, "ACK", "c"), 1);
	assert_int_equal(count(f, "ACK", "a"), 1);
	assert_int_equal(find(f, "ACK", 2)->cseq, 2);
	assert_non_null(strstr(find(f, "ACK", 2)->text, "\r\nAuthorization: Digest ")); /* 22.1 */
	call_hang_up(f->call);
	run_until(f, is_quiet);
	assert_int_equal(f->end.bye_code, 200);
	assert_int_equal(count(f, "BYE", "a"), 2);
	assert_int_equal(find(f, "BYE", 2)->cseq, 4);
}

static void script_digest_then_ring(struct fixture *f, const struct sip_msg *msg, unsigned n)
{
	if (!pl_strcmp(&msg->met, "CANCEL")) {
		respond(f, msg, 200, "early", "", "");
		respond(f, f->kept, 487, "early", "", "");
	} else if (!pl_strcmp(&msg->met, "INVITE") && n == 1) {
		call_hang_up(f->call); /* before the challenge is there */
		script_digest(f, msg, n);
	} else if (!pl_strcmp(&msg->met, "INVITE")) {
		f->kept = mem_ref((void *)msg);
		respond(f, msg, 180, "early", "", "");
	}
}

static void test_call_hung_up_before_the_challenge_is_cancelled(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(str_dup(&f->account->login, "me"), 0);
	assert_int_equal(str_dup(&f->account->password, "secret"), 0);
	start(f, script_digest_then_ring);
	run_until(f, is_failed);
	assert_int_equal(f->fail_code, 487);
	assert_int_equal(count(f, "CANCEL", NULL), 1);
	f->kept = mem_deref(f->kept);
}

static void test_call_loose_routes_are_used_in_reverse(void **state)
{
	struct fixture *f = *state;
	char expected[512];

	start(f, script_loose_routes);
	run_until(f, has_ack);
	call_hang_up(f->call);
	run_until(f, is_quiet);
	(void)re_snprintf(expected, sizeof(expected),
	        "\r\nRoute: <sip:%J;lr>\r\nRoute: <sip:middle.example;lr;a=b>\r\nRoute: <sip:far.example;lr>\r\n",
	        &f->proxy_addr);
	for (int i = 0; i < 2; i++) {
		const struct seen *seen = find(f, i ? "BYE" : "ACK", 1);

		assert_true(seen->at_proxy);
		assert_non_null(strstr(seen->text, " sip:echo@192.0.2.1 SIP/2.0\r\n"));
		assert_non_null(strstr(seen->text, expected));
	}
}

static void test_call_strict_router_becomes_the_request_uri(void **state)
{
	struct fixture *f = *state;
	char line[128];

	start(f, script_strict_route);
	run_until(f, has_ack);
	(void)re_snprintf(line, sizeof(line), "ACK sip:%J SIP/2.0\r\n", &f->proxy_addr);
	assert_true(find(f, "ACK", 1)->at_proxy);
	assert_non_null(strstr(find(f, "ACK", 1)->text, line));
	assert_non_null(
	        strstr(find(f, "ACK", 1)->text, "\r\nRoute: <sip:far.example;lr>\r\nRoute: <sip:echo@192.0.2.1>\r\n"));
	call_hang_up(f->call);
	run_until(f, is_quiet);
}

static void test_call_broken_contact_means_the_request_uri(void **state)
{
	struct fixture *f = *state;
	char line[128];

	start(f, script_no_contact);
	run_until(f, has_ack);
	(void)re_snprintf(line, sizeof(line), "ACK sip:600@%J SIP/2.0\r\n", &f->addr);
	assert_non_null(strstr(find(f, "ACK", 1)->text, line));
	call_hang_up(f->call);
	run_until(f, is_quiet);
}

static void test_call_named_contact_is_looked_up(void **state)
{
	struct fixture *f = *state;

	f->hangs_up_on_answer = true; /* the BYE waits for the ACK, which waits for the name */
	start(f, script_named_contact);
	run_until(f, is_quiet);
	assert_int_equal(f->end.bye_code, 200);
	assert_true(find(f, "ACK", 1) < find(f, "BYE", 1));
	assert_true(find(f, "ACK", 1)->at_proxy);
	assert_true(find(f, "BYE", 1)->at_proxy);
}

static void test_call_peer_hangs_up(void **state)
{
	struct fixture *f = *state;

	start(f, script_answer);
	run_until(f, has_ack);
	assert_int_equal(ask(f, "BYE", 5, "mine"), 200);
	assert_int_equal(f->nend, 1);
	assert_int_equal(f->end.by, CALL_ENDED_REMOTE);
	assert_int_equal(f->end.bye_code, 0);
	assert_int_equal(ask(f, "BYE", 5, "mine"), 200); /* our answer was lost */
	assert_int_equal(call_list_count(f->list), 0);
	release(f);
	run_dry(f);
	assert_int_equal(count(f, "ACK", NULL), 1);
	for (size_t i = 0; i < f->nseen; i++)
		assert_string_not_equal(f->seen[i].method, "BYE");
	assert_int_equal(f->nend, 1);
}

static void test_call_requests_in_the_dialog(void **state)
{
	struct fixture *f = *state;

	start(f, script_answer);
	run_until(f, has_ack);
	assert_int_equal(ask(f, "INVITE", 5, "mine"), 488);
	f->takes_offers = true;
	assert_int_equal(ask(f, "INVITE", 6, "mine"), 200);
	assert_non_null(strstr(last_response(f)->text, "Content-Type: application/sdp\r\n"));
	assert_non_null(strstr(last_response(f)->text, "Contact: <sip:me@127.0.0.1>\r\n"));
	assert_non_null(strstr(last_response(f)->text, "s=mine"));
	assert_int_equal(ask(f, "OPTIONS", 7, "mine"), 200);
	assert_int_equal(ask(f, "INFO", 8, "mine"), 405);
	assert_int_equal(ask(f, "BYE", 3, "mine"), 500); /* out of order */
	assert_int_equal(ask(f, "BYE", 9, "other"), 481);
	assert_int_equal(f->nend, 0);
	call_hang_up(f->call);
	run_until(f, is_quiet);
	assert_non_null(strstr(find(f, "BYE", 1)->text, "BYE sip:moved@")); /* the re-INVITE moved the target */
}

static void test_call_bye_without_answer_is_bounded(void **state)
{
	struct fixture *f = *state;

	f->is_silent_to_bye = true;
	start(f, script_answer);
	run_until(f, has_ack);
	call_hang_up(f->call);
	advance(f, 33 * (uint64_t)SECOND);
	assert_int_equal(f->nend, 1);
	assert_int_equal(f->end.by, CALL_ENDED_LOCAL);
	assert_int_equal(f->end.bye_code, 0);
	assert_int_equal(call_list_count(f->list), 0);
	release(f);
	advance(f, 70 * (uint64_t)SECOND);
	assert_int_equal(mem_nrefs(f->account), 1);
}

static void test_call_owner_lets_go_while_answered(void **state)
{
	struct fixture *f = *state;

	start(f, script_answer);
	run_until(f, has_ack);
	release(f);
	run_until(f, is_quiet);
	assert_int_equal(count(f, "BYE", "a"), 1);
	assert_int_equal(f->nend, 0);
	advance(f, 70 * (uint64_t)SECOND);
	assert_int_equal(mem_nrefs(f->account), 1);
}

static void test_call_hang_up_from_the_answer_handler(void **state)
{
	struct fixture *f = *state;

	f->hangs_up_on_answer = true;
	start(f, script_answer);
	run_until(f, is_quiet);
	assert_int_equal(count(f, "BYE", "a"), 1);
	assert_int_equal(f->nend, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_call_answered_call_is_acknowledged_and_hung_up),
	        TEST(test_call_repeated_answer_gets_the_same_ack),
	        TEST(test_call_every_fork_is_acknowledged_and_hung_up),
	        TEST(test_call_forks_without_end_stay_bounded),
	        TEST(test_call_cancel_awaits_487),
	        TEST(test_call_late_answer_after_cancel_is_hung_up),
	        TEST(test_call_answer_that_crosses_cancel_is_told_and_hung_up),
	        TEST(test_call_without_provisional_is_cancelled_when_one_comes),
	        TEST(test_call_without_any_answer_ends_at_timer_b),
	        TEST(test_call_cancel_without_487_ends),
	        TEST(test_call_busy_is_acknowledged),
	        TEST(test_call_answer_after_a_failure_is_hung_up),
	        TEST(test_call_challenged_everywhere),
	        TEST(test_call_hung_up_before_the_challenge_is_cancelled),
	        TEST(test_call_loose_routes_are_used_in_reverse),
	        TEST(test_call_strict_router_becomes_the_request_uri),
	        TEST(test_call_broken_contact_means_the_request_uri),
	        TEST(test_call_named_contact_is_looked_up),
	        TEST(test_call_peer_hangs_up),
	        TEST(test_call_requests_in_the_dialog),
	        TEST(test_call_bye_without_answer_is_bounded),
	        TEST(test_call_owner_lets_go_while_answered),
	        TEST(test_call_hang_up_from_the_answer_handler),
	};
	int err;

	(void)libre_init();
	err = cmocka_run_group_tests(tests, NULL, NULL);
	libre_close();
	return err;
}
