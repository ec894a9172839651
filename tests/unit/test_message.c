/**
 * @file test_message.c  Requests as they go out, and the first look at what comes in
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/sip/message.h"

static const char via[] = "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1";

static struct sip_request *new_invite(void)
{
	struct sip_request *req;

	assert_int_equal(sip_request_alloc(&req), 0);
	assert_int_equal(str_dup(&req->method, "INVITE"), 0);
	assert_int_equal(str_dup(&req->uri, "sip:bob@example.com"), 0);
	assert_int_equal(str_dup(&req->from, "<sip:alice@example.com>;tag=a1"), 0);
	assert_int_equal(str_dup(&req->to, "<sip:bob@example.com>"), 0);
	assert_int_equal(str_dup(&req->call_id, "c1@192.0.2.1"), 0);
	req->cseq = 4294967295U;

	return req;
}

static void assert_text(struct mbuf *mb, const char *expected)
{
	assert_int_equal(mb->end, strlen(expected));
	assert_memory_equal(mb->buf, expected, mb->end);
	mem_deref(mb);
}

static void test_message_request_without_body(void **state)
{
	struct sip_request *req = new_invite();
	struct mbuf *mb = mbuf_alloc(16);
	(void)state;

	assert_int_equal(sip_request_encode(mb, req, via), 0);
	assert_text(mb, "INVITE sip:bob@example.com SIP/2.0\r\n"
	                "Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1\r\n"
	                "Max-Forwards: 70\r\n"
	                "From: <sip:alice@example.com>;tag=a1\r\n"
	                "To: <sip:bob@example.com>\r\n"
	                "Call-ID: c1@192.0.2.1\r\n"
	                "CSeq: 4294967295 INVITE\r\n"
	                "Content-Length: 0\r\n\r\n");
	mem_deref(req);
}

static void test_message_request_with_everything(void **state)
{
	struct sip_request *req = new_invite();
	struct mbuf *mb = mbuf_alloc(16);
	(void)state;

	req->cseq = 10;
	assert_int_equal(str_dup(&req->route, "Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\n"), 0);
	assert_int_equal(str_dup(&req->headers, "Contact: <sip:alice@192.0.2.1>\r\n"), 0);
	assert_int_equal(str_dup(&req->content_type, "text/plain"), 0);
	assert_int_equal(str_dup(&req->body, "hello, world"), 0);
	assert_int_equal(sip_request_encode(mb, req, via), 0);
	assert_text(mb, "INVITE sip:bob@example.com SIP/2.0\r\n"
	                "Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1\r\n"
	                "Max-Forwards: 70\r\n"
	                "From: <sip:alice@example.com>;tag=a1\r\n"
	                "To: <sip:bob@example.com>\r\n"
	                "Call-ID: c1@192.0.2.1\r\n"
	                "CSeq: 10 INVITE\r\n"
	                "Route: <sip:p1;lr>\r\nRoute: <sip:p2;lr>\r\n"
	                "Contact: <sip:alice@192.0.2.1>\r\n"
	                "Content-Type: text/plain\r\n"
	                "Content-Length: 12\r\n\r\nhello, world");
	mem_deref(req);
}

static void test_message_ack_has_the_response_to_on_one_line(void **state)
{
	static const char folded[] = "<sip:bob@example.com>\r\n ;tag=b1";
	const struct pl to = {folded, sizeof(folded) - 1};
	struct sip_request *req = new_invite();
	struct mbuf *mb = mbuf_alloc(16);
	(void)state;

	req->cseq = 7;
	assert_int_equal(str_dup(&req->headers, "Contact: <sip:alice@192.0.2.1>\r\n"), 0);
	assert_int_equal(str_dup(&req->body, "v=0\r\n"), 0);
	assert_int_equal(sip_request_encode_ack(mb, req, via, &to), 0);
	assert_text(mb, "ACK sip:bob@example.com SIP/2.0\r\n"
	                "Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1\r\n"
	                "Max-Forwards: 70\r\n"
	                "From: <sip:alice@example.com>;tag=a1\r\n"
	                "To: <sip:bob@example.com>   ;tag=b1\r\n"
	                "Call-ID: c1@192.0.2.1\r\n"
	                "CSeq: 7 ACK\r\n"
	                "Content-Length: 0\r\n\r\n");
	mem_deref(req);
}

static void test_message_cancel_has_route_and_no_headers(void **state)
{
	struct sip_request *req = new_invite();
	struct mbuf *mb = mbuf_alloc(16);
	(void)state;

	req->cseq = 7;
	assert_int_equal(str_dup(&req->route, "Route: <sip:p1;lr>\r\n"), 0);
	assert_int_equal(str_dup(&req->headers, "Contact: <sip:alice@192.0.2.1>\r\n"), 0);
	assert_int_equal(sip_request_encode_cancel(mb, req, via), 0);
	assert_text(mb, "CANCEL sip:bob@example.com SIP/2.0\r\n"
	                "Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bK1\r\n"
	                "Max-Forwards: 70\r\n"
	                "From: <sip:alice@example.com>;tag=a1\r\n"
	                "To: <sip:bob@example.com>\r\n"
	                "Call-ID: c1@192.0.2.1\r\n"
	                "CSeq: 7 CANCEL\r\n"
	                "Route: <sip:p1;lr>\r\n"
	                "Content-Length: 0\r\n\r\n");
	mem_deref(req);
}

static void test_message_again_differs_in_cseq_and_headers(void **state)
{
	struct sip_request *req = new_invite(), *again;
	(void)state;

	req->cseq = 1;
	assert_int_equal(str_dup(&req->headers, "A: b\r\n"), 0);
	assert_int_equal(sip_request_again(&again, req, "Authorization: x\r\n"), 0);
	mem_deref(req);
	assert_int_equal(again->cseq, 2);
	assert_string_equal(again->headers, "Authorization: x\r\n");
	assert_string_equal(again->method, "INVITE");
	assert_string_equal(again->call_id, "c1@192.0.2.1");
	mem_deref(again);
}

static void test_message_user_is_escaped(void **state)
{
	char buf[64];
	(void)state;

	assert_true(re_snprintf(buf, sizeof(buf), "%H", sip_user_print, "a b@c:%\"\xc3\xa9;+49(1)") > 0);
	assert_string_equal(buf, "a%20b%40c%3A%25%22%C3%A9;+49(1)");
}

static struct sip_glance glance(const char *text)
{
	struct sip_glance g;
	size_t len = strlen(text);
	uint8_t *copy = malloc(len + !len); /* its own size: ASan sees a read behind it */

	memcpy(copy, text, len);
	sip_glance(&g, copy, len);
	if (g.branch.l) {
		static char branch[256];

		memcpy(branch, g.branch.p, g.branch.l);
		g.branch.p = branch;
	}
	free(copy);

	return g;
}

static void assert_branch(const char *text, const char *branch)
{
	struct sip_glance g = glance(text);

	assert_int_equal(g.kind, SIP_KIND_RESPONSE);
	assert_int_equal(g.branch.l, strlen(branch));
	assert_memory_equal(g.branch.p, branch, g.branch.l);
}

static void test_message_glance_finds_the_branch(void **state)
{
	(void)state;

	assert_branch("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=b1\r\n\r\n", "b1");
	assert_branch("SIP/2.0 200 OK\nVia: SIP/2.0/UDP h;branch=b1\n\n", "b1");
	assert_branch("\r\n\r\nSIP/2.0 200 OK\r\nv:SIP/2.0/UDP h;branch=b1", "b1");
	assert_branch("sip/2.0 200 \r\nV  :  SIP / 2.0 / UDP h:5060 ; rport ;  BRANCH\t=\r\n b1 ;x=y\r\n\r\n", "b1");
	assert_branch("SIP/2.0 200 OK\r\nTo: x\r\n folded: y\r\nVIA: SIP/2.0/TCP [::1]:1;received=1;branch=b1,"
	              "SIP/2.0/UDP h;branch=b2\r\n\r\n",
	        "b1");
	assert_branch(
	        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;x=\";branch=no\";branch=b1\r\nVia: a;branch=b3\r\n\r\n", "b1");
	assert_branch("SIP/2.0 200 OK\r\nno colon\r\nVia: SIP/2.0/UDP h;mybranch=no;branch=b1\r\n\r\n", "b1");
}

static void test_message_glance_finds_no_branch(void **state)
{
	(void)state;

	assert_branch("SIP/2.0 200 OK", "");
	assert_branch("SIP/2.0 200 OK\r\n\r\nVia: SIP/2.0/UDP h;branch=b1\r\n", "");
	assert_branch("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\nVia: SIP/2.0/UDP h;branch=b1\r\n", "");
	assert_branch("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h,SIP/2.0/UDP h;branch=b1\r\n", "");
	assert_branch("SIP/2.0 200 OK\r\nVia: branch=b1\r\n", "");
	assert_branch("SIP/2.0 200 OK\r\nVia: h;branch\r\n", "");
	assert_branch("SIP/2.0 200 OK\r\nVia: h;branch=\r\n", "");
	assert_branch("SIP/2.0 200 OK\r\nVia: h;branch=;;;===,\"\r\n", "");
	assert_branch("SIP/2.0 200 OK\r\nVia:\r\n", "");
	assert_branch("SIP/2.0 200 OK\r\nX-Via: h;branch=b1\r\n", "");
}

static void test_message_glance_tells_the_kind(void **state)
{
	(void)state;

	assert_int_equal(glance("").kind, SIP_KIND_KEEPALIVE);
	assert_int_equal(glance("\r\n\r\n").kind, SIP_KIND_KEEPALIVE);
	assert_int_equal(glance("OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=b\r\n\r\n").kind, SIP_KIND_REQUEST);
	assert_int_equal(glance("OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=b\r\n\r\n").branch.l, 1);
	assert_int_equal(glance("OPTIONS SIP/2.0\r\n").kind, SIP_KIND_BROKEN);
	assert_int_equal(glance("OPTIONS  SIP/2.0\r\n").kind, SIP_KIND_BROKEN);
	assert_int_equal(glance(" sip:a SIP/2.0\r\n").kind, SIP_KIND_BROKEN);
	assert_int_equal(glance("HTTP/1.1 200 OK\r\n\r\n").kind, SIP_KIND_BROKEN);
	assert_int_equal(glance("SIP/2.0").kind, SIP_KIND_BROKEN);
	assert_int_equal(glance("SIP/2.00 200 OK\r\n").kind, SIP_KIND_BROKEN);
	assert_int_equal(glance("\x01\x02\xff").kind, SIP_KIND_BROKEN);
}

/* Every prefix, each in a block of its own size. */
static void test_message_glance_stays_inside(void **state)
{
	static const char text[] =
	        "SIP/2.0 200 OK\r\nTo: \"a\r\n b\"\r\nv : SIP/2.0/UDP [::1]:5 ; x=\"y\" ; branch = b ,z\r\n\r\n";
	char prefix[sizeof(text)];
	(void)state;

	for (size_t len = 0; len < sizeof(text); len++) {
		memcpy(prefix, text, len);
		prefix[len] = '\0';
		(void)glance(prefix);
	}
}

#define HEAD                                                                                                           \
	"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"                    \
	"To: <sip:b@c>;tag=2\r\nCall-ID: c\r\n"
#define CSEQ "CSeq: 1 OPTIONS\r\n"

static struct mbuf *new_buf(const char *text)
{
	struct mbuf *mb = mbuf_alloc(strlen(text) + 1);

	assert_int_equal(mbuf_write_str(mb, text), 0);
	mb->pos = 0;

	return mb;
}

static int decode(const char *text)
{
	struct mbuf *mb = new_buf(text);
	struct sip_msg *msg = NULL;
	int err = sip_message_decode(&msg, mb);

	mem_deref(msg);
	mem_deref(mb);

	return err;
}

static void test_message_decode_leaves_the_body(void **state)
{
	struct mbuf *mb = new_buf("\r\n" HEAD CSEQ "Content-Length: 4\r\n\r\nbodyrest");
	struct sip_msg *msg = NULL;
	(void)state;

	assert_int_equal(sip_message_decode(&msg, mb), 0);
	assert_int_equal(msg->scode, 200);
	assert_int_equal(mbuf_get_left(mb), 4);
	assert_memory_equal(mbuf_buf(mb), "body", 4);
	mem_deref(msg);
	mem_deref(mb);
}

static void test_message_decode_takes_what_is_unusual_but_right(void **state)
{
	(void)state;

	assert_int_equal(decode(HEAD CSEQ "\r\n"), 0);
	assert_int_equal(decode(HEAD CSEQ "\r\nbody without a length"), 0);
	assert_int_equal(
	        decode("SIP/2.0 404 \r\nv: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\nf: <sip:a@b>\r\n ;tag=1\r\n"
	               "t: <sip:b@c>\r\ni: c\r\nCSEQ  :  1\r\n\tOPTIONS\r\nl: 0\r\n\r\n"),
	        0);
	assert_int_equal(decode("BYE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
	                        "From: <sip:a@b>\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 2 BYE\r\n\r\n"),
	        0);
}

static void test_message_decode_refuses(void **state)
{
	static const char *const texts[] = {
	        "",
	        "SIP/2.0 200 OK\r\n\r\n",
	        HEAD "\r\n",                                              /* no CSeq */
	        HEAD CSEQ,                                                /* no end */
	        HEAD CSEQ "Content-Length: 5\r\n\r\nbody",                /* cut short */
	        HEAD CSEQ "Content-Length: -1\r\n\r\n",                   /* not a number */
	        HEAD CSEQ "Content-Length: 4 4\r\n\r\nbody",              /* nor this */
	        HEAD CSEQ "Content-Length: 18446744073709551616\r\n\r\n", /* 2^64 */
	        HEAD CSEQ "l: 0\r\nContent-Length: 4\r\n\r\nbody",
	        HEAD CSEQ CSEQ "\r\n",
	        HEAD CSEQ "To: <sip:d@e>\r\n\r\n",
	        HEAD CSEQ "no colon\r\n\r\n",
	        HEAD CSEQ ": no name\r\n\r\n",
	        HEAD "CSeq: OPTIONS\r\n\r\n",
	        "SIP/2.0 200 SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>\r\nTo: <sip:b@c>\r\n"
	        "Call-ID: c\r\n" CSEQ "\r\n", /* a request to libre */
	        "SIP/2.0 200\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>\r\nTo: <sip:b@c>\r\nCall-ID: "
	        "c\r\n" CSEQ "\r\n",
	        "SIP/2.0 65736 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>\r\nTo: <sip:b@c>\r\n"
	        "Call-ID: c\r\n" CSEQ "\r\n",
	        "SIP/2.0 099 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>\r\nTo: <sip:b@c>\r\n"
	        "Call-ID: c\r\n" CSEQ "\r\n",
	        "SIP/2.0 700 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>\r\nTo: <sip:b@c>\r\n"
	        "Call-ID: c\r\n" CSEQ "\r\n",
	};
	(void)state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_int_equal(decode(texts[i]), EBADMSG);
}

/* head, `n` times `unit`, tail */
static int decode_long(const char *head, const char *unit, size_t n, const char *tail)
{
	char *text = malloc(strlen(head) + n * strlen(unit) + strlen(tail) + 1), *p = text;
	int err;

	p = stpcpy(p, head);
	for (size_t i = 0; i < n; i++)
		p = stpcpy(p, unit);
	stpcpy(p, tail);
	err = decode(text);
	free(text);

	return err;
}

static void test_message_decode_is_bounded(void **state)
{
	(void)state;

	assert_int_equal(decode_long(HEAD CSEQ, "X-A: b\r\n", 200, "\r\n"), 0);
	assert_int_equal(decode_long(HEAD CSEQ, "X-A: b\r\n", 8000, "\r\n"), EBADMSG);
	assert_int_equal(decode_long(HEAD CSEQ "X-A: ", "a", 8000, "\r\n\r\n"), 0);
	assert_int_equal(decode_long(HEAD CSEQ "X-A: ", "a", 60000, "\r\n\r\n"), EBADMSG);
	assert_int_equal(decode_long(HEAD CSEQ "Allow: ", "A,", 1000, "B\r\n\r\n"), 0);
	assert_int_equal(decode_long(HEAD CSEQ "Allow: ", "A,", 30000, "B\r\n\r\n"), EBADMSG);
	assert_int_equal(decode_long("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>\r\n"
	                             "Call-ID: c\r\n" CSEQ "To: ",
	                         "a", 60000, "\r\n\r\n"),
	        EBADMSG);
	assert_int_equal(decode_long(HEAD "CSeq: ", "1", 9, " OPTIONS\r\n\r\n"), 0);
	assert_int_equal(decode_long(HEAD "CSeq: ", "1", 200, " OPTIONS\r\n\r\n"), EBADMSG);
	assert_int_equal(decode_long("SIP/2.0 200 ", "a", 60000, "\r\n\r\n"), EBADMSG);
	assert_int_equal(decode_long("", "a", 60000, ""), EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_message_request_without_body),
	        cmocka_unit_test(test_message_request_with_everything),
	        cmocka_unit_test(test_message_ack_has_the_response_to_on_one_line),
	        cmocka_unit_test(test_message_cancel_has_route_and_no_headers),
	        cmocka_unit_test(test_message_again_differs_in_cseq_and_headers),
	        cmocka_unit_test(test_message_user_is_escaped),
	        cmocka_unit_test(test_message_glance_finds_the_branch),
	        cmocka_unit_test(test_message_glance_finds_no_branch),
	        cmocka_unit_test(test_message_glance_tells_the_kind),
	        cmocka_unit_test(test_message_glance_stays_inside),
	        cmocka_unit_test(test_message_decode_leaves_the_body),
	        cmocka_unit_test(test_message_decode_takes_what_is_unusual_but_right),
	        cmocka_unit_test(test_message_decode_refuses),
	        cmocka_unit_test(test_message_decode_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
