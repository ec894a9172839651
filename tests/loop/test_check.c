/**
 * @file test_check.c  Checks against a server that answers, lies, is silent or is not there
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "edge/clock.h"
#include "support/rig.h"

static struct rig rig;

static int setup(void **state)
{
	(void)state;

	return rig_setup(&rig);
}

static int teardown(void **state)
{
	(void)state;
	rig_teardown(&rig);

	return 0;
}

static bool silent(struct fake *fake, const struct sip_msg *msg)
{
	(void)fake;
	(void)msg;

	return true;
}

/* An answer but for one thing. */
static const char *broken_format;

static bool broken(struct fake *fake, const struct sip_msg *msg)
{
	char text[2048];
	int n = re_snprintf(text, sizeof(text), broken_format, &msg->via.val, &msg->from.val, &msg->to.val,
	        &msg->callid, msg->cseq.num);

	assert_true(n > 0);
	fake_send(fake, text, (size_t)n);

	return true;
}

static bool provisional_then_final(struct fake *fake, const struct sip_msg *msg)
{
	fake_reply(fake, msg, 100, NULL);
	fake_reply(fake, msg, 200, NULL);

	return true;
}

/* The fields that belong together in every result. */
static void assert_answered(const struct result *r, uint16_t code)
{
	assert_int_equal(cell_int(r, COL_CODE), code);
	assert_true(cell_ms(r, COL_RESPONSE_MS) > 0);
	assert_true(cell_ms(r, COL_FIRST_MS) > 0);
	assert_true(cell_ms(r, COL_FIRST_MS) <= cell_ms(r, COL_RESPONSE_MS));
	assert_true(cell_ms(r, COL_TOTAL_MS) >= cell_ms(r, COL_RESPONSE_MS));
	assert_int_equal(result_quality(r), 192);
	assert_int_equal(cell_int(r, COL_ATTEMPTS), 1);
}

static void assert_unanswered(const struct result *r, enum verdict_error error)
{
	assert_int_equal(r->error, error);
	assert_false(cell_is_set(r, COL_CODE));
	assert_false(cell_is_set(r, COL_REASON));
	assert_false(cell_is_set(r, COL_RESPONSE_MS));
	assert_true(strlen(cell_text(r, COL_ERROR_TEXT)) > 0);
	assert_true(cell_is_set(r, COL_TOTAL_MS));
}

static void test_check_options_ok(void **state)
{
	struct result *r;
	char remote[64];
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	rig.fake->headers = "Server: Fake 1.0\r\nAllow: INVITE, ACK\r\nAllow: BYE\r\nSupported: timer\r\n"
	                    "Accept: application/sdp\r\n";
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(r->error, VERDICT_ERROR_NONE);
	assert_answered(r, 200);
	assert_string_equal(cell_text(r, COL_REASON), "Reason Of 200");
	assert_string_equal(cell_text(r, COL_SERVER), "Fake 1.0");
	assert_string_equal(cell_text(r, COL_ALLOW), "INVITE, ACK, BYE");
	assert_string_equal(cell_text(r, COL_SUPPORTED), "timer");
	assert_string_equal(cell_text(r, COL_ACCEPT), "application/sdp");
	assert_string_equal(cell_text(r, COL_TRANSPORT), "udp");
	(void)snprintf(remote, sizeof(remote), "127.0.0.1:%u", (unsigned)sa_port(&rig.fake->udp));
	assert_string_equal(cell_text(r, COL_REMOTE), remote);
	assert_memory_equal(cell_text(r, COL_LOCAL), "127.0.0.1:", 10);
	assert_string_not_equal(cell_text(r, COL_LOCAL), "127.0.0.1:0");
	assert_false(cell_is_set(r, COL_DNS_MS));
	assert_false(cell_is_set(r, COL_CONNECT_MS));
	assert_false(cell_is_set(r, COL_AUTH_MS));
	assert_false(cell_is_set(r, COL_ERROR_TEXT));
	assert_int_equal(cell_int(r, COL_RETRANSMITS), 0);
	assert_int_equal(r->nresponses, 1);
	assert_non_null(strstr(rig.fake->text, "User-Agent: sipedge/test\r\n"));
	assert_non_null(strstr(rig.fake->text, "From: <sip:alive@127.0.0.1>;tag="));
	(void)snprintf(
	        remote, sizeof(remote), "OPTIONS sip:127.0.0.1:%u SIP/2.0\r\n", (unsigned)sa_port(&rig.fake->udp));
	assert_memory_equal(rig.fake->text, remote, strlen(remote));
	assert_non_null(strstr(rig.fake->text, cell_text(r, COL_CALL_ID)));
}

static void test_check_lists_provisional_responses(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	rig.fake->requesth = provisional_then_final;
	r = rig_run(&rig);
	assert_answered(r, 200);
	assert_int_equal(r->nresponses, 2);
	assert_int_equal(r->responses[0].code, 100);
	assert_int_equal(r->responses[1].code, 200);
	assert_true(r->responses[0].offset_ms > 0);
	assert_true(r->responses[1].offset_ms >= r->responses[0].offset_ms);
}

static void test_check_answers_challenge(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, "monitor");
	rig.fake->password = "secret";
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_answered(r, 200);
	assert_int_equal(rig.fake->challenges, 1);
	assert_int_equal(cell_int(r, COL_AUTH_ROUNDS), 1);
	assert_string_equal(cell_text(r, COL_AUTH_ALG), "MD5");
	assert_true(cell_ms(r, COL_AUTH_MS) > 0);
	assert_true(cell_ms(r, COL_AUTH_MS) + cell_ms(r, COL_FIRST_MS) <= cell_ms(r, COL_RESPONSE_MS) + 0.001);
	assert_int_equal(r->nresponses, 2);
	assert_non_null(strstr(rig.fake->text, "User-Agent: sipedge/test\r\n"));
	assert_non_null(strstr(rig.fake->text, "From: <sip:monitor@127.0.0.1>;tag="));
}

static void test_check_refused_login_is_auth(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, "monitor");
	rig.fake->password = "another";
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_int_equal(r->error, VERDICT_ERROR_AUTH);
	assert_answered(r, 401);
	assert_int_equal(rig.fake->challenges, 2); /* never a lock-out */
}

static void test_check_without_password_does_not_answer(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, "monitor");
	rig.account->password = mem_deref(rig.account->password);
	rig.fake->password = "secret";
	r = rig_run(&rig);
	assert_int_equal(r->error, VERDICT_ERROR_AUTH);
	assert_answered(r, 401);
	assert_int_equal(rig.fake->requests, 1);
}

static void test_check_timeout_has_no_code(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	rig.fake->requesth = silent;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_unanswered(r, VERDICT_ERROR_TIMEOUT);
	assert_false(cell_is_set(r, COL_FIRST_MS));
	assert_int_equal(result_quality(r), 12);
	assert_true(cell_ms(r, COL_TOTAL_MS) >= 300);
	assert_true(cell_ms(r, COL_TOTAL_MS) < 1000);
	assert_int_equal(cell_int(r, COL_ATTEMPTS), 1);
}

static void test_check_retry_after_timeout(void **state)
{
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	struct result *r;
	(void)state;

	command->retries = 2;
	rig.fake->drop = 1;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(cell_int(r, COL_ATTEMPTS), 2);
	assert_true(cell_ms(r, COL_RESPONSE_MS) < 300);
	assert_true(cell_ms(r, COL_TOTAL_MS) >= 300);
	assert_int_equal(rig.fake->requests, 2);
}

static void test_check_counts_retransmissions(void **state)
{
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	struct result *r;
	(void)state;

	command->timeout_ms = 3000;
	rig.fake->drop = 1;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(cell_int(r, COL_RETRANSMITS), 1);
	assert_int_equal(cell_int(r, COL_ATTEMPTS), 1);
	assert_true(cell_ms(r, COL_RESPONSE_MS) >= 500); /* from the first bit of the first request */
}

static void test_check_refused_port_is_transport_at_once(void **state)
{
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	struct result *r;
	struct sa gone;
	int fd = peer_udp(&gone);
	(void)state;

	close(fd);
	rig.account->remote_port = sa_port(&gone);
	command->timeout_ms = 4000;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_unanswered(r, VERDICT_ERROR_TRANSPORT);
	assert_true(cell_ms(r, COL_TOTAL_MS) < 1000);
}

static void test_check_retry_after_refusal_waits(void **state)
{
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	struct result *r;
	struct sa gone;
	int fd = peer_udp(&gone);
	(void)state;

	close(fd);
	rig.account->remote_port = sa_port(&gone);
	command->retries = 1;
	r = rig_run(&rig);
	assert_unanswered(r, VERDICT_ERROR_TRANSPORT);
	assert_int_equal(cell_int(r, COL_ATTEMPTS), 2);
	assert_true(cell_ms(r, COL_TOTAL_MS) >= 500);
}

static void test_check_no_retry_after_an_answer(void **state)
{
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	struct result *r;
	(void)state;

	command->retries = 3;
	rig.fake->code = 500;
	r = rig_run(&rig);
	assert_answered(r, 500);
	assert_int_equal(rig.fake->requests, 1);
}

static void test_check_partial_answer_over_tcp_is_protocol(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_TCP, NULL);
	rig.fake->requesth = broken;
	broken_format = "SIP/2.0 200 OK\r\nVia: %r\r\nFrom: %r\r\n";
	r = rig_run(&rig);
	assert_unanswered(r, VERDICT_ERROR_PROTOCOL);
	assert_true(cell_ms(r, COL_TOTAL_MS) >= 300);
}

static void test_check_two_servers_from_one_tcp_port(void **state)
{
	struct rig other;
	struct sa own;
	int fd = peer_listen(&own);
	(void)state;

	close(fd);
	assert_int_equal(rig_setup(&other), 0);
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_TCP, NULL);
	rig_account(&other, METHOD_OPTIONS, TRANSPORT_TCP, NULL);
	rig.account->local = own;
	other.account->local = own;
	assert_answered(rig_run(&rig), 200);
	assert_answered(rig_run(&other), 200);
	rig_teardown(&other);
}

static void test_check_ipv6_server_that_is_gone(void **state)
{
	struct result *r;
	struct sa gone;
	int fd = peer_udp(&gone);
	char uri[64];
	(void)state;

	close(fd);
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	mem_deref(rig.account->remote_address);
	assert_int_equal(str_dup(&rig.account->remote_address, "::1"), 0);
	rig.account->remote_port = sa_port(&gone);
	(void)snprintf(uri, sizeof(uri), "sip:[::1]:%u", (unsigned)sa_port(&gone));
	r = rig_run(&rig);
	if (r->error == VERDICT_ERROR_LOCAL)
		skip(); /* a host without IPv6 */
	assert_unanswered(r, VERDICT_ERROR_TRANSPORT);
	assert_string_equal(cell_text(r, COL_TARGET), uri);
	assert_string_equal(cell_text(r, COL_REMOTE), uri + 4);
}

static void test_check_icmp_error_hits_only_its_destination(void **state)
{
	struct result *r;
	struct device *dead;
	struct account *account;
	struct sa gone;
	int fd = peer_udp(&gone);
	(void)state;

	close(fd);
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	account = rig.account;
	account->remote_port = sa_port(&gone);
	rig_device(&rig);
	dead = rig.device;
	rig.device = NULL;
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	for (unsigned i = 0; i < 5; i++) {
		struct device *live = rig.device;
		struct account *live_account = rig.account;

		rig.device = dead;
		rig.account = account;
		(void)rig_start(&rig);
		rig.device = live;
		rig.account = live_account;
		(void)rig_start(&rig);
	}
	assert_true(loop_until_count(&rig.nresults, 10));
	for (unsigned i = 0; i < 10; i++) {
		r = rig.results[i];
		if (r->account == account)
			assert_unanswered(r, VERDICT_ERROR_TRANSPORT);
		else
			assert_answered(r, 200);
	}
	device_close(dead);
	mem_deref(account);
}

static void test_check_garbage_is_protocol_at_timeout(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	rig.fake->requesth = broken;
	broken_format = "\x01\x02garbage";
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_unanswered(r, VERDICT_ERROR_PROTOCOL);
	assert_true(cell_ms(r, COL_TOTAL_MS) >= 300);
	assert_int_equal(result_quality(r), 192);
}

static void test_check_broken_answer_is_protocol_at_once(void **state)
{
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	struct result *r;
	(void)state;

	command->timeout_ms = 4000;
	rig.fake->requesth = broken;
	broken_format =
	        "SIP/2.0 200 OK\r\nVia: %r\r\nFrom: %r\r\nTo: %r;tag=1\r\nCall-ID: %r\r\nContent-Length: 0\r\n\r\n";
	r = rig_run(&rig);
	assert_unanswered(r, VERDICT_ERROR_PROTOCOL);
	assert_true(cell_ms(r, COL_TOTAL_MS) < 1000);
}

static void test_check_unexpected_code_fails(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	rig.fake->code = 503;
	rig.fake->headers = "Retry-After: 30 (busy)\r\n";
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_int_equal(r->error, VERDICT_ERROR_EXPECT);
	assert_answered(r, 503);
	assert_int_equal(cell_int(r, COL_RETRY_AFTER_S), 30);
}

static void test_check_over_tcp_connects(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_TCP, "monitor");
	rig.fake->password = "secret";
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_answered(r, 200);
	assert_true(cell_ms(r, COL_CONNECT_MS) > 0);
	assert_string_equal(cell_text(r, COL_TRANSPORT), "tcp");
	assert_non_null(strstr(rig.fake->text, ";transport=tcp>"));
	r = rig_run(&rig);
	assert_answered(r, 200);
	assert_int_equal(rig.fake->accepted, 2);
}

static void test_check_refused_connection_is_connect(void **state)
{
	struct result *r;
	struct sa gone;
	int fd = peer_listen(&gone);
	(void)state;

	close(fd);
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_TCP, NULL);
	rig.account->remote_port = sa_port(&gone);
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_unanswered(r, VERDICT_ERROR_CONNECT);
	assert_false(cell_is_set(r, COL_CONNECT_MS));
	assert_int_equal(cell_int(r, COL_ATTEMPTS), 0);
}

static unsigned close_after;

static bool close_connections(struct fake *fake, const struct sip_msg *msg)
{
	(void)fake;
	(void)msg;
	++close_after;

	return true;
}

static bool close_wanted(void *arg)
{
	(void)arg;

	return close_after > 0;
}

static void test_check_lost_connection_is_transport(void **state)
{
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_TCP, NULL);
	(void)state;

	command->timeout_ms = 4000;
	close_after = 0;
	rig.fake->requesth = close_connections;
	(void)rig_start(&rig);
	assert_true(loop_until(close_wanted, NULL, LOOP_DEADLINE_MS));
	fake_close_connections(rig.fake);
	assert_true(loop_until_count(&rig.nresults, 1));
	assert_unanswered(rig.results[0], VERDICT_ERROR_TRANSPORT);
}

static void test_check_fixed_tcp_port_keeps_its_connection(void **state)
{
	struct result *r;
	struct sa own;
	int fd = peer_listen(&own);
	char local[64];
	(void)state;

	close(fd);
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_TCP, NULL);
	rig.account->local = own;
	(void)snprintf(local, sizeof(local), "127.0.0.1:%u", (unsigned)sa_port(&own));
	r = rig_run(&rig);
	assert_answered(r, 200);
	assert_string_equal(cell_text(r, COL_LOCAL), local);
	assert_true(cell_is_set(r, COL_CONNECT_MS));
	r = rig_run(&rig);
	assert_answered(r, 200);
	assert_false(cell_is_set(r, COL_CONNECT_MS));
	assert_int_equal(rig.fake->accepted, 1);
}

static void fixed_port(void)
{
	struct sa own;
	int fd = peer_listen(&own);

	close(fd);
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_TCP, NULL);
	rig.account->local = own;
}

static void test_check_fixed_tcp_port_is_shared_by_accounts(void **state)
{
	struct device *first;
	(void)state;

	fixed_port();
	assert_answered(rig_run(&rig), 200);
	first = rig.device;
	rig.device = NULL;
	assert_answered(rig_run(&rig), 200);
	assert_int_equal(rig.fake->accepted, 1);
	device_close(first);
}

/* There is one connection between two ports: who comes second waits for the first one's. */
static void test_check_fixed_tcp_port_waits_for_a_connection_under_way(void **state)
{
	struct device *first;
	(void)state;

	fixed_port();
	(void)rig_start(&rig);
	first = rig.device;
	rig.device = NULL;
	(void)rig_start(&rig);
	assert_true(loop_until_count(&rig.nresults, 2));
	assert_answered(rig.results[0], 200);
	assert_answered(rig.results[1], 200);
	assert_int_equal(rig.fake->accepted, 1);
	device_close(first);
}

static void test_check_taken_port_is_seen_by_device_alloc(void **state)
{
	struct device *device;
	struct sa own;
	int fd = peer_udp(&own);
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	rig.account->local = own;
	assert_int_equal(device_alloc(&device, rig.checker, rig.account), EADDRINUSE);
	close(fd);
}

static void test_check_unknown_name_is_dns(void **state)
{
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	struct result *r;
	(void)state;

	command->timeout_ms = 1000;
	mem_deref(rig.account->remote_address);
	assert_int_equal(str_dup(&rig.account->remote_address, "no-such-host.invalid"), 0);
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_ERROR);
	assert_unanswered(r, VERDICT_ERROR_DNS);
	assert_int_equal(result_quality(r), 8);
	assert_int_equal(cell_int(r, COL_ATTEMPTS), 0);
}

static void test_check_name_in_hosts_file_has_dns_ms(void **state)
{
	struct result *r;
	struct command *command = rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	(void)state;

	command->timeout_ms = 2000;
	mem_deref(rig.account->remote_address);
	assert_int_equal(str_dup(&rig.account->remote_address, "localhost"), 0);
	(void)sa_set_str(&rig.account->local, "127.0.0.1", 0);
	r = rig_run(&rig);
	assert_answered(r, 200);
	assert_true(cell_is_set(r, COL_DNS_MS));
}

static void test_check_cancel_gives_one_result(void **state)
{
	struct check *check;
	(void)state;

	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	check = rig_start(&rig);
	check_cancel(check);
	assert_int_equal(rig.nresults, 1);
	assert_unanswered(rig.results[0], VERDICT_ERROR_CANCELLED);
	assert_int_equal(rig.results[0]->verdict, VERDICT_ERROR);
	loop_run(50);
	assert_int_equal(rig.nresults, 1);
}

static void test_check_device_close_cancels(void **state)
{
	(void)state;
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	rig.fake->requesth = silent;
	for (unsigned i = 0; i < 5; i++)
		(void)rig_start(&rig);
	device_close(rig.device);
	rig.device = NULL;
	assert_int_equal(rig.nresults, 5);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(rig.results[i]->error, VERDICT_ERROR_CANCELLED);
}

static void test_check_message_carries_text(void **state)
{
	struct command *command = rig_account(&rig, METHOD_MESSAGE, TRANSPORT_UDP, "monitor");
	struct result *r;
	char line[128];
	(void)state;

	mem_deref(command->sip_data);
	assert_int_equal(str_dup(&command->sip_data, "hello w\xc3\xb6rld"), 0);
	assert_int_equal(str_dup(&command->target, "600"), 0);
	rig.fake->code = 202;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_answered(r, 202);
	assert_true(cell_is_set(r, COL_ACCEPTED_ONLY) && result_get(r, COL_ACCEPTED_ONLY).v.b);
	(void)snprintf(
	        line, sizeof(line), "MESSAGE sip:600@127.0.0.1:%u SIP/2.0\r\n", (unsigned)sa_port(&rig.fake->udp));
	assert_memory_equal(rig.fake->text, line, strlen(line));
	assert_null(strstr(rig.fake->text, "Contact:"));
	assert_non_null(strstr(rig.fake->text, "Content-Type: text/plain\r\n"));
	assert_non_null(strstr(rig.fake->text, "\r\n\r\nhello w\xc3\xb6rld"));
}

static void test_check_message_default_target_is_the_login(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_MESSAGE, TRANSPORT_UDP, "a b@example.net");
	r = rig_run(&rig);
	assert_answered(r, 200);
	assert_string_equal(cell_text(r, COL_TARGET), "sip:a%20b@example.net");
}

static void test_check_register_leaves_no_binding(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_REGISTER, TRANSPORT_UDP, "monitor");
	rig.fake->password = "secret";
	rig.fake->expires = 120;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_answered(r, 200);
	assert_true(cell_ms(r, COL_RRD_MS) == cell_ms(r, COL_RESPONSE_MS));
	assert_true(cell_is_set(r, COL_IRA) && !result_get(r, COL_IRA).v.b);
	assert_int_equal(cell_int(r, COL_EXPIRES_REQUESTED), 300);
	assert_int_equal(cell_int(r, COL_EXPIRES_GRANTED), 120);
	assert_int_equal(cell_int(r, COL_BINDINGS), 1);
	assert_int_equal(cell_int(r, COL_UNREGISTER_CODE), 200);
	assert_true(cell_ms(r, COL_UNREGISTER_MS) > 0);
	assert_string_equal(cell_text(r, COL_TARGET), "sip:127.0.0.1");
	assert_int_equal(rig.fake->registered, 1);
	assert_int_equal(rig.fake->nbindings, 0);
	assert_int_equal(rig.fake->max_cseq_repeats, 0);
}

static void test_check_register_removes_rewritten_contact(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_REGISTER, TRANSPORT_UDP, "monitor");
	rig.fake->rewrite = "192.0.2.7:12345";
	r = rig_run(&rig);
	assert_answered(r, 200);
	assert_int_equal(rig.fake->registered, 1);
	assert_int_equal(rig.fake->nbindings, 0);
}

static bool late(struct fake *fake, const struct sip_msg *msg)
{
	if (fake->requests > 1)
		return false;

	/* binds, but the answer is lost */
	(void)snprintf(fake->bindings[fake->nbindings++], sizeof(fake->bindings[0]), "%.*s",
	        (int)(strchr(strstr(fake->text, "Contact: <"), '>') - strstr(fake->text, "Contact: <") - 10),
	        strstr(fake->text, "Contact: <") + 10);
	(void)msg;

	return true;
}

static bool no_bindings(void *arg)
{
	struct fake *fake = arg;

	return fake->unregistered > 0;
}

static void test_check_register_timeout_leaves_no_binding(void **state)
{
	struct result *r;
	(void)state;

	rig_account(&rig, METHOD_REGISTER, TRANSPORT_UDP, "monitor");
	rig.fake->password = "secret";
	rig.fake->requesth = late;
	r = rig_run(&rig);
	assert_unanswered(r, VERDICT_ERROR_TIMEOUT);
	assert_true(result_get(r, COL_IRA).v.b);
	assert_false(cell_is_set(r, COL_RRD_MS));
	assert_false(cell_is_set(r, COL_UNREGISTER_CODE));
	assert_true(loop_until(no_bindings, rig.fake, LOOP_DEADLINE_MS));
	assert_int_equal(rig.fake->nbindings, 0);
}

static void test_check_register_cancelled_leaves_no_binding(void **state)
{
	struct check *check;
	(void)state;

	rig_account(&rig, METHOD_REGISTER, TRANSPORT_UDP, "monitor");
	check = rig_start(&rig);
	check_cancel(check);
	assert_int_equal(rig.nresults, 1);
	rig_close(&rig); /* waits for the removal */
	assert_int_equal(rig.fake->registered, 1);
	assert_int_equal(rig.fake->nbindings, 0);
}

static void test_check_close_cancels_each_once(void **state)
{
	(void)state;
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, NULL);
	rig.fake->requesth = silent;
	for (unsigned i = 0; i < 10; i++)
		(void)rig_start(&rig);
	loop_run(20);
	rig_close(&rig);
	assert_int_equal(rig.nresults, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_unanswered(rig.results[i], VERDICT_ERROR_CANCELLED);
	assert_int_equal(
	        check_start(NULL, rig.device, &rig.account->commands[0], "request", 0, (check_done_h *)NULL, NULL),
	        EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(test_check_options_ok),
	        TEST(test_check_lists_provisional_responses),
	        TEST(test_check_answers_challenge),
	        TEST(test_check_refused_login_is_auth),
	        TEST(test_check_without_password_does_not_answer),
	        TEST(test_check_timeout_has_no_code),
	        TEST(test_check_retry_after_timeout),
	        TEST(test_check_counts_retransmissions),
	        TEST(test_check_refused_port_is_transport_at_once),
	        TEST(test_check_retry_after_refusal_waits),
	        TEST(test_check_no_retry_after_an_answer),
	        TEST(test_check_partial_answer_over_tcp_is_protocol),
	        TEST(test_check_two_servers_from_one_tcp_port),
	        TEST(test_check_ipv6_server_that_is_gone),
	        TEST(test_check_icmp_error_hits_only_its_destination),
	        TEST(test_check_garbage_is_protocol_at_timeout),
	        TEST(test_check_broken_answer_is_protocol_at_once),
	        TEST(test_check_unexpected_code_fails),
	        TEST(test_check_over_tcp_connects),
	        TEST(test_check_refused_connection_is_connect),
	        TEST(test_check_lost_connection_is_transport),
	        TEST(test_check_fixed_tcp_port_keeps_its_connection),
	        TEST(test_check_fixed_tcp_port_is_shared_by_accounts),
	        TEST(test_check_fixed_tcp_port_waits_for_a_connection_under_way),
	        TEST(test_check_taken_port_is_seen_by_device_alloc),
	        TEST(test_check_unknown_name_is_dns),
	        TEST(test_check_name_in_hosts_file_has_dns_ms),
	        TEST(test_check_cancel_gives_one_result),
	        TEST(test_check_device_close_cancels),
	        TEST(test_check_message_carries_text),
	        TEST(test_check_message_default_target_is_the_login),
	        TEST(test_check_register_leaves_no_binding),
	        TEST(test_check_register_removes_rewritten_contact),
	        TEST(test_check_register_timeout_leaves_no_binding),
	        TEST(test_check_register_cancelled_leaves_no_binding),
	        TEST(test_check_close_cancels_each_once),
	};

	return cmocka_run_group_tests(tests, loop_setup, loop_teardown);
}
