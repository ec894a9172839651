/**
 * @file test_stack.c  The parts of a stack together: the wheel is driven, requests are answered or handed to a dialog
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "edge/clock.h"
#include "edge/sip/stack.h"
#include "support/loop.h"

static struct sip_stack *stack;
static struct flow *flow;
static struct sa own, peer;
static int fd;
static char reply[4096];
static unsigned requests, fired;
static uint64_t fired_us;

static int setup(void **state)
{
	struct sa local;
	(void)state;

	requests = fired = 0;
	loopback(&local);
	fd = peer_udp(&peer);

	return fd < 0 || stack_alloc(&stack, "sipedge/test") || transport_udp(&flow, stack->transport, &local) ||
	       flow_local(flow, &peer, &own);
}

static int teardown(void **state)
{
	(void)state;
	flow = mem_deref(flow);
	stack = mem_deref(stack);
	close(fd);

	return 0;
}

static void fire_h(uint64_t now_us, void *arg)
{
	(void)arg;
	fired++;
	fired_us = now_us;
}

static void test_stack_drives_timers_started_from_anywhere(void **state)
{
	struct wheel_timer late = {0}, early = {0};
	uint64_t start = clock_mono_us();
	(void)state;

	wheel_start(stack->wheel, &late, start + 60000000, fire_h, NULL);
	loop_run(5);
	wheel_start(stack->wheel, &early, start + 20000, fire_h, NULL);
	assert_true(loop_until_count(&fired, 1));
	assert_true(fired_us >= start + 20000);
	assert_true(clock_mono_us() < start + 1000000);
	wheel_start(stack->wheel, &early, 0, fire_h, NULL);
	assert_true(loop_until_count(&fired, 2));
	wheel_stop(&late);
}

static void test_stack_random_does_not_repeat(void **state)
{
	uint64_t last = stack_random(stack);
	(void)state;

	for (int i = 0; i < 10000; i++) {
		uint64_t next = stack_random(stack);

		assert_true(next != last && next);
		last = next;
	}
}

static void send_request(const char *method, const char *via_params, const char *to_params)
{
	char text[1024];
	int n = re_snprintf(text, sizeof(text),
	        "%s sip:me@127.0.0.1 SIP/2.0\r\n"
	        "Via: SIP/2.0/UDP 192.0.2.99:%u;branch=z9hG4bKabc%s\r\n"
	        "Via: SIP/2.0/UDP 192.0.2.98;branch=z9hG4bKdef\r\n"
	        "From: <sip:you@192.0.2.99>;tag=1\r\n"
	        "To: <sip:me@127.0.0.1>%s\r\n"
	        "Call-ID: call@test\r\n"
	        "CSeq: 7 %s\r\n"
	        "Max-Forwards: 70\r\n"
	        "Content-Length: 0\r\n\r\n",
	        method, sa_port(&peer), via_params, to_params, method);

	assert_true(n > 0);
	assert_int_equal(sendto(fd, text, (size_t)n, 0, &own.u.sa, own.len), n);
}

static bool replied_h(void *arg)
{
	ssize_t n = recv(fd, reply, sizeof(reply) - 1, MSG_DONTWAIT);
	(void)arg;

	if (n > 0)
		reply[n] = '\0';

	return n > 0 || *reply;
}

static const char *ask(const char *method, const char *via_params, const char *to_params)
{
	*reply = '\0';
	send_request(method, via_params, to_params);
	assert_true(loop_until(replied_h, NULL, LOOP_DEADLINE_MS));

	return reply;
}

static void test_uas_answers_what_nobody_expects(void **state)
{
	static const struct {
		const char *method, *line;
	} cases[] = {
	        {"OPTIONS", "SIP/2.0 200 OK\r\n"},
	        {"INVITE", "SIP/2.0 486 Busy Here\r\n"},
	        {"NOTIFY", "SIP/2.0 481 "},
	        {"BYE", "SIP/2.0 481 "},
	        {"CANCEL", "SIP/2.0 481 "},
	        {"MESSAGE", "SIP/2.0 405 Method Not Allowed\r\n"},
	        {"WHATEVER", "SIP/2.0 405 "},
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		ask(cases[i].method, "", "");
		assert_memory_equal(reply, cases[i].line, strlen(cases[i].line));
		assert_non_null(strstr(reply, "\r\nServer: sipedge/test\r\n"));
		assert_non_null(strstr(reply, "\r\nCall-ID: call@test\r\n"));
		assert_non_null(strstr(reply, "\r\nContent-Length: 0\r\n\r\n"));
	}
}

static void test_uas_vias_tell_where_it_came_from(void **state)
{
	char rport[64];
	const char *first, *second;
	(void)state;

	ask("OPTIONS", "; rport ;Received=192.0.2.66;x=y;received-by=z", "");
	(void)re_snprintf(rport, sizeof(rport), ";rport=%u", sa_port(&peer));
	first = strstr(reply, "Via: SIP/2.0/UDP 192.0.2.99");
	assert_non_null(first);
	second = strstr(first, "Via: SIP/2.0/UDP 192.0.2.98;branch=z9hG4bKdef\r\n");
	assert_non_null(second);
	assert_non_null(strstr(first, rport));
	assert_true(strstr(first, rport) < second);
	assert_non_null(strstr(first, ";received=127.0.0.1"));
	assert_non_null(strstr(first, ";branch=z9hG4bKabc;x=y;received-by=z\r\n"));
	assert_null(strstr(reply, "192.0.2.66"));
}

static void test_uas_tag_is_the_same_for_a_retransmission(void **state)
{
	char first[64] = "", again[64] = "";
	(void)state;

	assert_int_equal(
	        sscanf(strstr(ask("OPTIONS", "", ""), "\r\nTo: "), "\r\nTo: <sip:me@127.0.0.1>;tag=%60s", first), 1);
	assert_int_equal(
	        sscanf(strstr(ask("OPTIONS", "", ""), "\r\nTo: "), "\r\nTo: <sip:me@127.0.0.1>;tag=%60s", again), 1);
	assert_string_equal(first, again);
	assert_non_null(strstr(ask("BYE", "", ";tag=mine"), "\r\nTo: <sip:me@127.0.0.1>;tag=mine\r\n"));
}

static void test_uas_never_answers_an_ack_or_noise(void **state)
{
	static const char *noise[] = {
	        "\r\n\r\n", "hello", "OPTIONS sip:a SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "\x00\xff"};
	(void)state;

	*reply = '\0';
	send_request("ACK", "", "");
	for (size_t i = 0; i < sizeof(noise) / sizeof(*noise); i++)
		(void)sendto(fd, noise[i], strlen(noise[i]), 0, &own.u.sa, own.len);
	loop_run(30);
	assert_false(replied_h(NULL));
}

static bool dialog_h(const struct sip_msg *msg, const struct transport_rx *rx, void *arg)
{
	(void)arg;
	assert_ptr_equal(rx->flow, flow);
	requests++;

	return !pl_strcmp(&msg->met, "BYE");
}

static void test_stack_dialog_takes_its_request(void **state)
{
	(void)state;
	*reply = '\0';
	stack_set_request_handler(stack, dialog_h, NULL);
	send_request("BYE", "", "");
	assert_true(loop_until_count(&requests, 1));
	loop_run(10);
	assert_false(replied_h(NULL));
	assert_memory_equal(ask("OPTIONS", "", ""), "SIP/2.0 200", 11);
	assert_int_equal(requests, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_stack_drives_timers_started_from_anywhere),
	        TEST(test_stack_random_does_not_repeat),
	        TEST(test_uas_answers_what_nobody_expects),
	        TEST(test_uas_vias_tell_where_it_came_from),
	        TEST(test_uas_tag_is_the_same_for_a_retransmission),
	        TEST(test_uas_never_answers_an_ack_or_noise),
	        TEST(test_stack_dialog_takes_its_request),
	};

	return cmocka_run_group_tests(tests, loop_setup, loop_teardown);
}
