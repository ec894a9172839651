/**
 * @file test_transaction.c  Client transactions in simulated time: every timer, every response, every end
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/sip/transaction.h"

enum { MS = 1000, SENT_MAX = 64, TOLD_MAX = 64 };

/* What left by the send handler. */
struct sent {
	uint64_t at_us;
	char text[2048];
};

/* What the handler was told. */
struct told {
	int err;
	uint16_t scode;
};

struct fixture {
	uint64_t now_us;
	uint64_t random;
	int send_err;
	size_t nsent;
	struct sent sent[SENT_MAX];
	size_t ntold;
	struct told told[TOLD_MAX];
	bool free_when_told;
	struct wheel *wheel;
	struct ctrans_layer *layer;
	struct flow *flow;
	struct ctrans *ct;
	struct sa dst;
};

static struct fixture f;

static int send_h(struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len, void *arg)
{
	struct sent *sent = &f.sent[f.nsent];
	(void)arg;

	if (f.send_err)
		return f.send_err;
	assert_ptr_equal(flow, f.flow);
	assert_true(sa_cmp(dst, &f.dst, SA_ALL));
	assert_true(f.nsent < SENT_MAX && len < sizeof(sent->text));
	sent->at_us = f.now_us;
	memcpy(sent->text, buf, len);
	sent->text[len] = '\0';
	f.nsent++;

	return 0;
}

static uint64_t random_h(void *arg)
{
	(void)arg;

	return f.random += 0x9e3779b97f4a7c15;
}

static uint64_t now_h(void *arg)
{
	(void)arg;

	return f.now_us;
}

static void told_h(int err, const struct ctrans_response *rsp, void *arg)
{
	assert_ptr_equal(arg, &f);
	assert_true(f.ntold < TOLD_MAX);
	assert_true(err ? !rsp : rsp && rsp->msg);
	f.told[f.ntold++] = (struct told){err, rsp ? rsp->msg->scode : 0};
	if (f.free_when_told)
		f.ct = mem_deref(f.ct);
}

static int setup(void **state)
{
	const struct ctrans_config config = {send_h, random_h, now_h, NULL};
	(void)state;

	memset(&f, 0, sizeof(f));
	f.now_us = 1000000007;
	sa_set_str(&f.dst, "192.0.2.9", 5060);
	f.flow = mem_zalloc(1, NULL);
	assert_int_equal(wheel_alloc(&f.wheel, f.now_us), 0);
	assert_int_equal(ctrans_layer_alloc(&f.layer, f.wheel, &config), 0);

	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mem_deref(f.ct);
	mem_deref(f.layer);
	mem_deref(f.wheel);
	assert_int_equal(mem_nrefs(f.flow), 1);
	mem_deref(f.flow);

	return 0;
}

static int start(struct ctrans **ctp, const char *method, enum transport proto)
{
	struct ctrans_target target = {.flow = f.flow, .proto = proto, .dst = f.dst};
	struct sip_request *req;
	int err;

	sa_set_str(&target.local, "192.0.2.1", 5062);
	assert_int_equal(sip_request_alloc(&req), 0);
	str_dup(&req->method, method);
	str_dup(&req->uri, "sip:bob@example.com");
	str_dup(&req->from, "\"a;tag=no\" <sip:alice@example.com>;tag=a1");
	str_dup(&req->to, "<sip:bob@example.com>");
	str_dup(&req->call_id, "c1");
	str_dup(&req->route, "Route: <sip:p1;lr>\r\n");
	req->cseq = 5;
	err = ctrans_request(ctp, f.layer, &target, req, told_h, &f);
	mem_deref(req);

	return err;
}

static void request(const char *method, enum transport proto)
{
	assert_int_equal(start(&f.ct, method, proto), 0);
}

/* In steps of 1 ms, as the loop does. */
static void run_ms(unsigned ms)
{
	for (; ms; ms--) {
		f.now_us += MS;
		wheel_advance(f.wheel, f.now_us);
	}
}

static void recv_from(const struct sa *src, const char *text, bool is_truncated)
{
	struct mbuf *mb = mbuf_alloc(strlen(text) + 1);

	mbuf_write_str(mb, text);
	mb->pos = 0;
	assert_true(ctrans_layer_recv(f.layer, f.flow, src, mb, is_truncated, f.now_us));
	mem_deref(mb);
}

static void recv_text(const char *text)
{
	recv_from(&f.dst, text, false);
}

/* The Via line of what was sent i-th. */
static const char *via_of(size_t i)
{
	static char via[256];
	const char *start_via = strstr(f.sent[i].text, "Via: ");

	re_snprintf(via, sizeof(via), "%b", start_via, (size_t)(strstr(start_via, "\r\n") + 2 - start_via));

	return via;
}

struct reply {
	unsigned code;
	const char *method;
	const char *to_tag;
	const char *via; /* the default is that of what was sent first */
	const char *from;
	const char *call_id;
	const char *cseq;
	const char *more;
};

static void reply_with(const struct reply *r)
{
	char text[2048];

	re_snprintf(text, sizeof(text),
	        "SIP/2.0 %u Because\r\n%sFrom: %s\r\nTo: <sip:bob@example.com>;tag=%s\r\nCall-ID: %s\r\n%s%s\r\n",
	        r->code, r->via ? r->via : via_of(0), r->from ? r->from : "\"a;tag=no\" <sip:alice@example.com>;tag=a1",
	        r->to_tag ? r->to_tag : "b1", r->call_id ? r->call_id : "c1", r->cseq ? r->cseq : "",
	        r->more ? r->more : "");
	recv_text(text);
}

static void reply(unsigned code, const char *method)
{
	char cseq[64];

	re_snprintf(cseq, sizeof(cseq), "CSeq: 5 %s\r\n", method);
	reply_with(&(struct reply){.code = code, .cseq = cseq});
}

static void assert_told(size_t i, int err, uint16_t scode)
{
	assert_true(i < f.ntold);
	assert_int_equal(f.told[i].err, err);
	assert_int_equal(f.told[i].scode, scode);
}

static void assert_sent(size_t i, const char *method, unsigned at_ms)
{
	uint64_t at_us = f.sent[0].at_us + (uint64_t)at_ms * MS;

	assert_true(i < f.nsent);
	assert_memory_equal(f.sent[i].text, method, strlen(method));
	assert_true(f.sent[i].at_us >= at_us && f.sent[i].at_us <= at_us + 2 * MS);
}

static void test_transaction_request_is_sent_with_our_via(void **state)
{
	(void)state;
	request("OPTIONS", TRANSPORT_UDP);

	assert_int_equal(f.nsent, 1);
	assert_non_null(strstr(f.sent[0].text, "\r\nVia: SIP/2.0/UDP 192.0.2.1:5062;rport;branch=z9hG4bK"));
	assert_true(ctrans_sent_us(f.ct) == f.now_us);
	assert_int_equal(ctrans_layer_count(f.layer), 1);
	assert_int_equal(f.ntold, 0);
}

static void test_transaction_via_has_no_rport_over_tcp_and_brackets(void **state)
{
	struct ctrans_target target = {.flow = f.flow, .proto = TRANSPORT_TCP, .dst = f.dst};
	struct sip_request *req;
	(void)state;

	sa_set_str(&target.local, "2001:db8::1", 5062);
	sip_request_alloc(&req);
	str_dup(&req->method, "OPTIONS");
	str_dup(&req->uri, "sip:x");
	str_dup(&req->from, "<sip:a>;tag=a1");
	str_dup(&req->to, "<sip:b>");
	str_dup(&req->call_id, "c1");
	assert_int_equal(ctrans_request(&f.ct, f.layer, &target, req, told_h, &f), 0);
	mem_deref(req);
	assert_non_null(strstr(f.sent[0].text, "\r\nVia: SIP/2.0/TCP [2001:db8::1]:5062;branch=z9hG4bK"));
}

static void test_transaction_branches_differ(void **state)
{
	char first[256];
	(void)state;

	request("OPTIONS", TRANSPORT_UDP);
	re_snprintf(first, sizeof(first), "%s", via_of(0));
	f.ct = mem_deref(f.ct);
	request("OPTIONS", TRANSPORT_UDP);
	assert_string_not_equal(first, via_of(1));
}

static void test_transaction_non_invite_timers_e_and_f(void **state)
{
	static const unsigned at[] = {0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500};
	(void)state;

	request("OPTIONS", TRANSPORT_UDP);
	run_ms(31999);
	assert_int_equal(f.ntold, 0);
	run_ms(2);

	assert_int_equal(f.nsent, sizeof(at) / sizeof(*at));
	for (size_t i = 0; i < f.nsent; i++) {
		assert_sent(i, "OPTIONS ", at[i]);
		assert_string_equal(f.sent[i].text, f.sent[0].text);
	}
	assert_int_equal(f.ntold, 1);
	assert_told(0, ETIMEDOUT, 0);
	assert_int_equal(ctrans_retransmits(f.ct), 10);
	assert_true(ctrans_is_ended(f.ct));
	assert_int_equal(ctrans_layer_count(f.layer), 0);
}

static void test_transaction_invite_timers_a_and_b(void **state)
{
	static const unsigned at[] = {0, 500, 1500, 3500, 7500, 15500, 31500};
	(void)state;

	request("INVITE", TRANSPORT_UDP);
	run_ms(40000);
	assert_int_equal(f.nsent, sizeof(at) / sizeof(*at));
	for (size_t i = 0; i < f.nsent; i++)
		assert_sent(i, "INVITE ", at[i]);
	assert_int_equal(f.ntold, 1);
	assert_told(0, ETIMEDOUT, 0);
}

static void test_transaction_stream_is_not_retransmitted(void **state)
{
	(void)state;
	request("OPTIONS", TRANSPORT_TCP);
	run_ms(31999);
	assert_int_equal(f.ntold, 0);
	run_ms(2);
	assert_int_equal(f.nsent, 1);
	assert_told(0, ETIMEDOUT, 0);
}

static void test_transaction_late_loop_does_not_bunch(void **state)
{
	(void)state;
	request("OPTIONS", TRANSPORT_UDP);
	f.now_us += 10000 * MS;
	wheel_advance(f.wheel, f.now_us);
	assert_int_equal(f.nsent, 2);
}

static void test_transaction_non_invite_final_ends_it_at_once(void **state)
{
	(void)state;
	request("OPTIONS", TRANSPORT_UDP);
	run_ms(20);
	reply(404, "OPTIONS");
	assert_int_equal(f.ntold, 1);
	assert_told(0, 0, 404);
	assert_true(ctrans_is_ended(f.ct));
	assert_int_equal(ctrans_layer_count(f.layer), 0);
	reply(404, "OPTIONS"); /* a retransmission */
	run_ms(40000);
	assert_int_equal(f.ntold, 1);
	assert_int_equal(f.nsent, 1);
}

static void test_transaction_non_invite_provisional_slows_down(void **state)
{
	static const unsigned at[] = {0, 500, 4500, 8500};
	(void)state;

	request("OPTIONS", TRANSPORT_UDP);
	run_ms(20);
	reply(100, "OPTIONS");
	assert_told(0, 0, 100);
	assert_true(ctrans_has_provisional(f.ct));
	run_ms(9000);
	assert_int_equal(f.nsent, sizeof(at) / sizeof(*at));
	for (size_t i = 0; i < f.nsent; i++)
		assert_sent(i, "OPTIONS ", at[i]);
	run_ms(30000);
	assert_told(1, ETIMEDOUT, 0);
}

static void test_transaction_freed_stops_everything(void **state)
{
	(void)state;
	request("MESSAGE", TRANSPORT_UDP);
	f.ct = mem_deref(f.ct);
	assert_int_equal(ctrans_layer_count(f.layer), 0);
	reply(200, "MESSAGE");
	run_ms(40000);
	assert_int_equal(f.nsent, 1);
	assert_int_equal(f.ntold, 0);
}

static void test_transaction_handler_may_free_it(void **state)
{
	(void)state;
	f.free_when_told = true;
	request("OPTIONS", TRANSPORT_UDP);
	reply(200, "OPTIONS");
	f.nsent = 0;
	request("OPTIONS", TRANSPORT_UDP);
	reply(100, "OPTIONS");
	request("OPTIONS", TRANSPORT_UDP);
	run_ms(33000);
	f.nsent = 0;
	request("INVITE", TRANSPORT_UDP);
	reply_with(&(struct reply){.code = 180}); /* broken: no CSeq */
	f.nsent = 0;
	request("INVITE", TRANSPORT_UDP);
	reply(200, "INVITE");
	request("INVITE", TRANSPORT_UDP);
	ctrans_layer_error(f.layer, f.flow, &f.dst, NULL, 0, ECONNRESET);
	assert_int_equal(f.ntold, 6);
	assert_told(2, ETIMEDOUT, 0);
	assert_told(3, EBADMSG, 0);
	assert_told(5, ECONNRESET, 0);
}

static void test_transaction_invite_failure_is_acknowledged(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	run_ms(20);
	reply(100, "INVITE");
	run_ms(5000);
	assert_int_equal(f.nsent, 1); /* no retransmission after a provisional response */
	reply(486, "INVITE");
	assert_int_equal(f.nsent, 2);
	assert_sent(1, "ACK sip:bob@example.com SIP/2.0\r\n", 5020);
	assert_non_null(strstr(f.sent[1].text, via_of(0)));
	assert_non_null(strstr(f.sent[1].text, "\r\nCSeq: 5 ACK\r\n"));
	assert_non_null(strstr(f.sent[1].text, "\r\nTo: <sip:bob@example.com>;tag=b1\r\n"));
	assert_non_null(strstr(f.sent[1].text, "\r\nRoute: <sip:p1;lr>\r\n"));
	reply(486, "INVITE");
	assert_int_equal(f.nsent, 3);
	assert_string_equal(f.sent[2].text, f.sent[1].text);
	assert_int_equal(f.ntold, 2);
	assert_told(1, 0, 486);
	run_ms(31998);
	assert_false(ctrans_is_ended(f.ct));
	run_ms(4);
	assert_true(ctrans_is_ended(f.ct)); /* Timer D */
	assert_int_equal(f.ntold, 2);
}

static void test_transaction_invite_freed_still_acknowledges(void **state)
{
	(void)state;
	f.free_when_told = true;
	request("INVITE", TRANSPORT_UDP);
	reply(486, "INVITE");
	assert_null(f.ct);
	assert_int_equal(ctrans_layer_count(f.layer), 1);
	reply(486, "INVITE");
	reply(200, "INVITE");
	assert_int_equal(f.nsent, 3);
	assert_int_equal(f.ntold, 1);
	run_ms(32002);
	assert_int_equal(ctrans_layer_count(f.layer), 0);
	assert_int_equal(mem_nrefs(f.flow), 1);
}

static void test_transaction_layer_frees_what_outlived_its_owner(void **state)
{
	(void)state;
	f.free_when_told = true;
	request("INVITE", TRANSPORT_UDP);
	reply(486, "INVITE");
	f.layer = mem_deref(f.layer);
	assert_int_equal(mem_nrefs(f.flow), 1);
}

static void test_transaction_outlives_its_layer(void **state)
{
	const char *text;
	(void)state;

	request("INVITE", TRANSPORT_UDP);
	f.layer = mem_deref(f.layer);
	assert_true(ctrans_is_ended(f.ct));
	assert_int_equal(ctrans_cancel(f.ct), 0);
	assert_int_equal(ctrans_strays(f.ct, &text), 0);
	run_ms(40000);
	assert_int_equal(f.ntold, 0);
}

static void test_transaction_invite_failure_over_tcp_ends_at_once(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_TCP);
	reply(603, "INVITE");
	assert_int_equal(f.nsent, 2);
	assert_told(0, 0, 603);
	assert_true(ctrans_is_ended(f.ct));
}

static void test_transaction_every_2xx_is_passed_up(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	reply(180, "INVITE");
	reply(200, "INVITE");
	reply(200, "INVITE");
	reply_with(&(struct reply){.code = 200, .cseq = "CSeq: 5 INVITE\r\n", .to_tag = "fork2"});
	reply(180, "INVITE");
	reply(486, "INVITE");
	assert_int_equal(f.ntold, 4);
	assert_told(3, 0, 200);
	assert_int_equal(f.nsent, 1); /* the ACK of a 2xx is the dialog's */
	run_ms(31990);
	reply(200, "INVITE");
	assert_int_equal(f.ntold, 5);
	run_ms(20);
	assert_true(ctrans_is_ended(f.ct)); /* Timer M */
	reply(200, "INVITE");
	assert_int_equal(f.ntold, 5);
}

static void test_transaction_2xx_after_failure_is_passed_up(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	reply(480, "INVITE");
	reply(200, "INVITE");
	assert_int_equal(f.ntold, 2);
	assert_told(1, 0, 200);
}

static void test_transaction_cancel_waits_for_a_provisional(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	assert_int_equal(ctrans_cancel(f.ct), 0);
	assert_int_equal(f.nsent, 1);
	assert_false(ctrans_cancel_was_sent(f.ct));
	run_ms(100);
	reply(100, "INVITE");
	assert_int_equal(f.nsent, 2);
	assert_true(ctrans_cancel_was_sent(f.ct));
	assert_int_equal(ctrans_cancel(f.ct), 0);
	assert_int_equal(f.nsent, 2);
	assert_sent(1, "CANCEL sip:bob@example.com SIP/2.0\r\n", 100);
	assert_non_null(strstr(f.sent[1].text, via_of(0)));
	assert_non_null(strstr(f.sent[1].text, "\r\nCSeq: 5 CANCEL\r\n"));
	assert_non_null(strstr(f.sent[1].text, "\r\nTo: <sip:bob@example.com>\r\n"));
	reply(200, "CANCEL");
	reply(487, "INVITE");
	assert_int_equal(f.nsent, 3);
	assert_memory_equal(f.sent[2].text, "ACK ", 4);
	assert_int_equal(f.ntold, 2);
	assert_told(1, 0, 487);
	assert_int_equal(ctrans_cancel(f.ct), 0);
	assert_int_equal(f.nsent, 3);
	assert_int_equal(ctrans_retransmits(f.ct), 0);
}

static void test_transaction_cancel_is_never_sent_to_silence(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	assert_int_equal(ctrans_cancel(f.ct), 0);
	run_ms(40000);
	for (size_t i = 0; i < f.nsent; i++)
		assert_memory_equal(f.sent[i].text, "INVITE ", 7);
	assert_told(0, ETIMEDOUT, 0);
}

static void test_transaction_cancel_is_retransmitted_until_answered(void **state)
{
	static const unsigned at[] = {0, 500, 1500, 3500, 7500, 11500};
	(void)state;

	request("INVITE", TRANSPORT_UDP);
	reply(180, "INVITE");
	assert_int_equal(ctrans_cancel(f.ct), 0);
	run_ms(12000);
	assert_int_equal(f.nsent, 7);
	for (size_t i = 1; i < f.nsent; i++)
		assert_sent(i, "CANCEL ", at[i - 1]);
	reply(200, "CANCEL");
	run_ms(19000);
	assert_int_equal(f.nsent, 7);
	assert_int_equal(f.ntold, 1);
	run_ms(1100);
	assert_told(1, ETIMEDOUT, 0); /* no 487 within 64*T1 */
}

static void test_transaction_cancel_crosses_a_200(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	reply(180, "INVITE");
	assert_int_equal(ctrans_cancel(f.ct), 0);
	reply(200, "INVITE");
	assert_told(1, 0, 200);
	reply(481, "CANCEL");
	run_ms(33000);
	assert_int_equal(f.ntold, 2);
	assert_int_equal(f.nsent, 2);
}

static void test_transaction_cancel_of_non_invite_is_refused(void **state)
{
	(void)state;
	request("OPTIONS", TRANSPORT_UDP);
	assert_int_equal(ctrans_cancel(f.ct), EINVAL);
}

static void test_transaction_broken_response_is_told_at_once(void **state)
{
	const struct reply broken[] = {
	        {.code = 200},                                /* no CSeq */
	        {.code = 200, .cseq = "CSeq: 6 OPTIONS\r\n"}, /* another number */
	        {.code = 200, .cseq = "CSeq: 5 MESSAGE\r\n"}, /* another method */
	        {.code = 200, .cseq = "CSeq: 5 CANCEL\r\n"},  /* none was sent */
	        {.code = 200, .cseq = "CSeq: 5 OPTIONS\r\n", .call_id = "c2"},
	        {.code = 200, .cseq = "CSeq: 5 OPTIONS\r\n", .from = "<sip:alice@example.com>;tag=a2"},
	        {.code = 200, .cseq = "CSeq: 5 OPTIONS\r\n", .from = "<sip:alice@example.com>"},
	        {.code = 200, .cseq = "CSeq: 5 OPTIONS\r\n", .more = "Content-Length: 1\r\n"},
	        {.code = 200, .cseq = "CSeq: 5 OPTIONS\r\n", .more = "Via: SIP/2.0/UDP 192.0.2.7;branch=x\r\n"},
	        {.code = 999, .cseq = "CSeq: 5 OPTIONS\r\n"},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
		f.nsent = f.ntold = 0;
		request("OPTIONS", TRANSPORT_UDP);
		reply_with(&broken[i]);
		assert_int_equal(f.ntold, 1);
		assert_told(0, EBADMSG, 0);
		assert_true(ctrans_is_ended(f.ct));
		f.ct = mem_deref(f.ct);
	}
}

static void test_transaction_cut_response_is_told_at_once(void **state)
{
	char text[512];
	(void)state;

	request("OPTIONS", TRANSPORT_UDP);
	re_snprintf(text, sizeof(text), "SIP/2.0 200 OK\r\n%sFrom: <sip:al", via_of(0));
	recv_text(text);
	assert_told(0, EBADMSG, 0);

	f.ct = mem_deref(f.ct);
	f.nsent = 0;
	request("OPTIONS", TRANSPORT_UDP);
	re_snprintf(text, sizeof(text),
	        "SIP/2.0 200 OK\r\n%sFrom: <sip:a@b>;tag=a1\r\nTo: <sip:b@c>\r\nCall-ID: c1\r\nCSeq: 5 OPTIONS\r\n\r\n",
	        via_of(0));
	recv_from(&f.dst, text, true); /* the transport had to cut it */
	assert_told(1, EBADMSG, 0);
}

static void test_transaction_broken_answer_to_invite_is_cancelled(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	reply_with(&(struct reply){.code = 200});
	assert_int_equal(f.ntold, 1);
	assert_told(0, EBADMSG, 0);
	assert_int_equal(f.nsent, 2);
	assert_memory_equal(f.sent[1].text, "CANCEL ", 7);
	reply_with(&(struct reply){.code = 200});
	reply(180, "INVITE");
	assert_int_equal(f.ntold, 1);
	f.ct = mem_deref(f.ct); /* lives on for the final response */
	reply(200, "CANCEL");
	reply(487, "INVITE");
	assert_memory_equal(f.sent[2].text, "ACK ", 4);
	run_ms(33000);
	assert_int_equal(f.ntold, 1);
	assert_int_equal(f.nsent, 3);
	assert_int_equal(ctrans_layer_count(f.layer), 0);
}

static void test_transaction_2xx_after_a_broken_answer_is_passed_up(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	reply_with(&(struct reply){.code = 180});
	reply(200, "INVITE");
	assert_int_equal(f.ntold, 2);
	assert_told(1, 0, 200);
}

static void test_transaction_guessed_branch_is_noise(void **state)
{
	char via[256], *last;
	const char *text;
	(void)state;

	request("OPTIONS", TRANSPORT_UDP);
	assert_int_equal(ctrans_strays(f.ct, &text), 0);
	assert_null(text);
	re_snprintf(via, sizeof(via), "%s", via_of(0));
	last = strstr(via, "\r\n") - 1;
	*last = *last == '0' ? '1' : '0';
	reply_with(&(struct reply){.code = 200, .cseq = "CSeq: 5 OPTIONS\r\n", .via = via});
	assert_int_equal(f.ntold, 0);
	assert_int_equal(ctrans_strays(f.ct, &text), 1);
	assert_non_null(text);
}

static void test_transaction_noise_is_counted_per_source(void **state)
{
	struct ctrans *second;
	struct sa other;
	const char *text;
	(void)state;

	request("OPTIONS", TRANSPORT_UDP);
	sa_set_str(&other, "192.0.2.9", 5061);
	recv_from(&other, "\x01\x02\x03", false);
	assert_int_equal(ctrans_strays(f.ct, &text), 0);
	recv_text("\x01\x02\x03");
	recv_text("SIP/2.0 200 OK\r\n\r\n");
	recv_text("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK77\r\n\r\n");
	recv_text("\r\n\r\n");
	assert_int_equal(ctrans_strays(f.ct, &text), 3);

	assert_int_equal(start(&second, "OPTIONS", TRANSPORT_UDP), 0);
	assert_int_equal(ctrans_strays(second, &text), 0); /* what came before it is not its own */
	recv_text("HTTP/1.1 400 Bad Request\r\n\r\n");
	assert_int_equal(ctrans_strays(second, &text), 1);
	assert_int_equal(ctrans_strays(f.ct, &text), 4);
	assert_string_equal(text, "not a SIP message");
	mem_deref(second);
	run_ms(32002);
	assert_told(0, ETIMEDOUT, 0);
	assert_int_equal(ctrans_strays(f.ct, &text), 4); /* for the verdict */
}

static void test_transaction_late_duplicate_is_no_noise(void **state)
{
	const char *text;
	(void)state;

	request("OPTIONS", TRANSPORT_UDP);
	reply(200, "OPTIONS");
	f.ct = mem_deref(f.ct);
	request("OPTIONS", TRANSPORT_UDP); /* takes the same slot */
	reply(200, "OPTIONS");             /* to the first */
	assert_int_equal(f.ntold, 1);
	assert_int_equal(ctrans_strays(f.ct, &text), 0);
}

static void test_transaction_request_is_left_to_the_caller(void **state)
{
	struct mbuf *mb = mbuf_alloc(128);
	(void)state;

	mbuf_write_str(mb, "OPTIONS sip:a SIP/2.0\r\n\r\n");
	mb->pos = 0;
	assert_false(ctrans_layer_recv(f.layer, f.flow, &f.dst, mb, false, f.now_us));
	mem_deref(mb);
}

static void test_transaction_first_send_error_is_returned(void **state)
{
	(void)state;
	f.send_err = ENETUNREACH;
	assert_int_equal(start(&f.ct, "OPTIONS", TRANSPORT_UDP), ENETUNREACH);
	assert_null(f.ct);
	assert_int_equal(ctrans_layer_count(f.layer), 0);
	run_ms(40000);
	assert_int_equal(f.ntold, 0);
}

static void test_transaction_retransmission_error_ends_it(void **state)
{
	(void)state;
	request("OPTIONS", TRANSPORT_UDP);
	f.send_err = EAGAIN; /* as if the network had lost it */
	run_ms(600);
	assert_int_equal(f.ntold, 0);
	f.send_err = ENETUNREACH;
	run_ms(1000);
	assert_told(0, ENETUNREACH, 0);
	assert_int_equal(f.ntold, 1);
}

static void test_transaction_error_with_payload_hits_one(void **state)
{
	struct ctrans *second;
	(void)state;

	request("OPTIONS", TRANSPORT_UDP);
	assert_int_equal(start(&second, "OPTIONS", TRANSPORT_UDP), 0);
	ctrans_layer_error(f.layer, f.flow, &f.dst, (const uint8_t *)f.sent[1].text, 200, ECONNREFUSED);
	assert_int_equal(f.ntold, 1);
	assert_true(ctrans_is_ended(second));
	assert_false(ctrans_is_ended(f.ct));
	ctrans_layer_error(f.layer, f.flow, &f.dst, (const uint8_t *)f.sent[1].text, 200, ECONNREFUSED);
	assert_int_equal(f.ntold, 1); /* of one that ended */
	mem_deref(second);
}

static void test_transaction_error_without_payload_hits_flow_and_destination(void **state)
{
	struct flow *other_flow = mem_zalloc(1, NULL);
	struct ctrans *second;
	struct sa other;
	(void)state;

	request("OPTIONS", TRANSPORT_TCP);
	assert_int_equal(start(&second, "INVITE", TRANSPORT_TCP), 0);
	sa_set_str(&other, "192.0.2.8", 5060);
	ctrans_layer_error(f.layer, f.flow, &other, NULL, 0, ECONNRESET);
	ctrans_layer_error(f.layer, other_flow, &f.dst, NULL, 0, ECONNRESET);
	assert_int_equal(f.ntold, 0);
	ctrans_layer_error(f.layer, f.flow, &f.dst, (const uint8_t *)f.sent[0].text, 8, ECONNREFUSED);
	assert_int_equal(f.ntold, 2);
	assert_told(0, ECONNREFUSED, 0);
	assert_true(ctrans_is_ended(f.ct) && ctrans_is_ended(second));
	mem_deref(second);
	mem_deref(other_flow);
}

static struct ctrans *many[3];

static void free_all_h(int err, const struct ctrans_response *rsp, void *arg)
{
	(void)err;
	(void)rsp;
	(void)arg;
	f.ntold++;
	for (size_t i = 0; i < 3; i++)
		many[i] = mem_deref(many[i]);
}

static void test_transaction_error_handler_may_free_the_others(void **state)
{
	struct ctrans_target target = {.flow = f.flow, .proto = TRANSPORT_UDP, .dst = f.dst};
	struct sip_request *req;
	(void)state;

	sa_set_str(&target.local, "192.0.2.1", 5062);
	sip_request_alloc(&req);
	str_dup(&req->method, "OPTIONS");
	str_dup(&req->uri, "sip:x");
	str_dup(&req->from, "<sip:a>;tag=a1");
	str_dup(&req->to, "<sip:b>");
	str_dup(&req->call_id, "c1");
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(ctrans_request(&many[i], f.layer, &target, req, free_all_h, NULL), 0);
	mem_deref(req);
	ctrans_layer_error(f.layer, f.flow, &f.dst, NULL, 0, ECONNREFUSED);
	assert_int_equal(f.ntold, 1);
	assert_int_equal(ctrans_layer_count(f.layer), 0);
}

static void test_transaction_established_call_survives_an_error(void **state)
{
	(void)state;
	request("INVITE", TRANSPORT_UDP);
	reply(200, "INVITE");
	ctrans_layer_error(f.layer, f.flow, &f.dst, NULL, 0, ECONNREFUSED);
	assert_int_equal(f.ntold, 1);
}

static void test_transaction_slots_grow_and_are_used_again(void **state)
{
	static struct ctrans *cts[200];
	(void)state;

	for (size_t round = 0; round < 3; round++) {
		for (size_t i = 0; i < 200; i++) {
			f.nsent = 0;
			assert_int_equal(start(&cts[i], "OPTIONS", TRANSPORT_UDP), 0);
		}
		assert_int_equal(ctrans_layer_count(f.layer), 200);
		reply(200, "OPTIONS"); /* the last one sent */
		assert_true(ctrans_is_ended(cts[199]));
		assert_int_equal(f.ntold, round + 1);
		for (size_t i = 0; i < 200; i++)
			mem_deref(cts[i]);
		assert_int_equal(ctrans_layer_count(f.layer), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_transaction_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(request_is_sent_with_our_via),
	        TEST(via_has_no_rport_over_tcp_and_brackets),
	        TEST(branches_differ),
	        TEST(non_invite_timers_e_and_f),
	        TEST(invite_timers_a_and_b),
	        TEST(stream_is_not_retransmitted),
	        TEST(late_loop_does_not_bunch),
	        TEST(non_invite_final_ends_it_at_once),
	        TEST(non_invite_provisional_slows_down),
	        TEST(freed_stops_everything),
	        TEST(handler_may_free_it),
	        TEST(invite_failure_is_acknowledged),
	        TEST(invite_freed_still_acknowledges),
	        TEST(layer_frees_what_outlived_its_owner),
	        TEST(outlives_its_layer),
	        TEST(invite_failure_over_tcp_ends_at_once),
	        TEST(every_2xx_is_passed_up),
	        TEST(2xx_after_failure_is_passed_up),
	        TEST(cancel_waits_for_a_provisional),
	        TEST(cancel_is_never_sent_to_silence),
	        TEST(cancel_is_retransmitted_until_answered),
	        TEST(cancel_crosses_a_200),
	        TEST(cancel_of_non_invite_is_refused),
	        TEST(broken_response_is_told_at_once),
	        TEST(cut_response_is_told_at_once),
	        TEST(broken_answer_to_invite_is_cancelled),
	        TEST(2xx_after_a_broken_answer_is_passed_up),
	        TEST(guessed_branch_is_noise),
	        TEST(noise_is_counted_per_source),
	        TEST(late_duplicate_is_no_noise),
	        TEST(request_is_left_to_the_caller),
	        TEST(first_send_error_is_returned),
	        TEST(retransmission_error_ends_it),
	        TEST(error_with_payload_hits_one),
	        TEST(error_without_payload_hits_flow_and_destination),
	        TEST(error_handler_may_free_the_others),
	        TEST(established_call_survives_an_error),
	        TEST(slots_grow_and_are_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
