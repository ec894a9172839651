/**
 * @file test_uac.c  One request with its authentication rounds
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/sip/uac.h"
#include "support/fake.h"
#include "support/loop.h"

static struct sip_stack *stack;
static struct fake *fake;
static struct flow *flow;
static struct uac *uac;
static unsigned observed, ended;
static int last_err;
static uint16_t last_code;
static bool has_response;

static int setup(void **state)
{
	struct sa local;
	(void)state;

	observed = ended = 0;
	loopback(&local);

	return stack_alloc(&stack, "sipedge/test") || fake_alloc(&fake) ||
	       transport_udp(&flow, stack->transport, &local);
}

static int teardown(void **state)
{
	(void)state;
	uac = mem_deref(uac);
	flow = mem_deref(flow);
	stack = mem_deref(stack);
	fake = mem_deref(fake);

	return 0;
}

static void observe(const struct ctrans_response *rsp, void *arg)
{
	(void)rsp;
	(void)arg;
	++observed;
}

static void handler(int err, const struct ctrans_response *rsp, void *arg)
{
	(void)arg;
	if (!err && rsp->msg->scode < 200)
		return;
	last_err = err;
	has_response = rsp != NULL;
	last_code = rsp ? rsp->msg->scode : 0;
	++ended;
}

static void freeing_handler(int err, const struct ctrans_response *rsp, void *arg)
{
	handler(err, rsp, arg);
	uac = mem_deref(uac);
}

static void send_request(const char *user, const char *password, uac_h *h)
{
	const struct uac_target target = {.flow = flow, .dst = fake->udp};
	struct sip_request *req;

	assert_int_equal(sip_request_alloc(&req), 0);
	assert_int_equal(str_dup(&req->method, "OPTIONS"), 0);
	assert_int_equal(str_dup(&req->uri, "sip:127.0.0.1"), 0);
	assert_int_equal(str_dup(&req->from, "<sip:me@127.0.0.1>;tag=1"), 0);
	assert_int_equal(str_dup(&req->to, "<sip:127.0.0.1>"), 0);
	assert_int_equal(str_dup(&req->call_id, "call"), 0);
	assert_int_equal(str_dup(&req->headers, "X-Mine: 1\r\n"), 0);
	req->cseq = 5;
	assert_int_equal(uac_request(&uac, stack, &target, req, user, password, observe, h, NULL), 0);
	mem_deref(req);
}

static void test_uac_without_user_takes_a_challenge_as_final(void **state)
{
	(void)state;
	fake->password = "secret";
	send_request(NULL, NULL, handler);
	assert_true(loop_until_count(&ended, 1));
	assert_int_equal(last_err, 0);
	assert_int_equal(last_code, 401);
	assert_int_equal(observed, 1);
}

static void test_uac_answers_challenge_with_its_headers_and_next_cseq(void **state)
{
	struct uac_stats stats;
	(void)state;

	fake->password = "secret";
	send_request("me", "secret", handler);
	assert_true(loop_until_count(&ended, 1));
	assert_int_equal(last_err, 0);
	assert_int_equal(last_code, 200);
	assert_int_equal(observed, 2);
	assert_non_null(strstr(fake->text, "X-Mine: 1\r\n"));
	assert_non_null(strstr(fake->text, "CSeq: 6 OPTIONS\r\n"));
	uac_stats_get(uac, &stats);
	assert_int_equal(stats.auth_rounds, 1);
	assert_string_equal(stats.auth_algorithm, "MD5");
	assert_true(stats.auth_us > stats.sent_us);
}

static void test_uac_refused_password_is_eacces_with_the_answer(void **state)
{
	(void)state;
	fake->password = "another";
	send_request("me", "secret", handler);
	assert_true(loop_until_count(&ended, 1));
	assert_int_equal(last_err, EACCES);
	assert_int_equal(last_code, 401);
	assert_int_equal(fake->requests, 2);
}

static bool unknown_challenge(struct fake *server, const struct sip_msg *msg)
{
	fake_reply(server, msg, 407, "Proxy-Authenticate: Bearer realm=\"x\"\r\n");

	return true;
}

static void test_uac_challenge_of_another_scheme_is_enotsup(void **state)
{
	(void)state;
	fake->requesth = unknown_challenge;
	send_request("me", "secret", handler);
	assert_true(loop_until_count(&ended, 1));
	assert_int_equal(last_err, ENOTSUP);
	assert_int_equal(last_code, 407);
}

static void test_uac_counts_retransmissions_of_all_rounds(void **state)
{
	struct uac_stats stats;
	(void)state;

	fake->password = "secret";
	fake->drop = 1;
	send_request("me", "secret", handler);
	assert_true(loop_until_count(&ended, 1));
	assert_int_equal(last_code, 200);
	uac_stats_get(uac, &stats);
	assert_int_equal(stats.retransmits, 1);
	assert_true(stats.auth_us - stats.sent_us >= 500000);
}

static void test_uac_may_be_freed_by_its_handler(void **state)
{
	(void)state;
	fake->password = "another";
	send_request("me", "secret", freeing_handler);
	assert_true(loop_until_count(&ended, 1));
	assert_null(uac);
}

static void test_uac_shares_a_counter(void **state)
{
	uint32_t cseq = 5;
	(void)state;

	fake->password = "secret";
	send_request("me", "secret", handler);
	uac_share_cseq(uac, &cseq);
	cseq = 41; /* another exchange of the same Call-ID */
	assert_true(loop_until_count(&ended, 1));
	assert_int_equal(last_code, 200);
	assert_non_null(strstr(fake->text, "CSeq: 42 OPTIONS\r\n"));
	assert_int_equal(cseq, 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(test_uac_without_user_takes_a_challenge_as_final),
	        TEST(test_uac_answers_challenge_with_its_headers_and_next_cseq),
	        TEST(test_uac_refused_password_is_eacces_with_the_answer),
	        TEST(test_uac_challenge_of_another_scheme_is_enotsup),
	        TEST(test_uac_counts_retransmissions_of_all_rounds),
	        TEST(test_uac_may_be_freed_by_its_handler),
	        TEST(test_uac_shares_a_counter),
	};

	return cmocka_run_group_tests(tests, loop_setup, loop_teardown);
}
