/**
 * @file test_resolve.c  Names become addresses as RFC 3263 says, once per TTL, and never from inside the call
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/sip/resolve.h"
#include "edge/sip/stack.h"
#include "support/dns.h"
#include "support/loop.h"

static const struct dns_record records[] = {
        {"pbx.example", DNS_TYPE_A, 60, 0, 0, 0, "192.0.2.10"},
        {"short.example", DNS_TYPE_A, 0, 0, 0, 0, "192.0.2.11"},
        {"six.example", DNS_TYPE_AAAA, 60, 0, 0, 0, "2001:db8::1"},
        {"_sip._udp.trunk.example", DNS_TYPE_SRV, 60, 20, 0, 5070, "last.example"},
        {"_sip._udp.trunk.example", DNS_TYPE_SRV, 60, 10, 1, 5080, "pbx.example"},
        {"_sip._udp.trunk.example", DNS_TYPE_SRV, 60, 15, 1, 5090, "missing.example"},
        {"last.example", DNS_TYPE_A, 60, 0, 0, 0, "192.0.2.20"},
        {"_sip._udp.weighted.example", DNS_TYPE_SRV, 60, 1, 30, 1000, "pbx.example"},
        {"_sip._udp.weighted.example", DNS_TYPE_SRV, 60, 1, 10, 2000, "last.example"},
        {"_sip._udp.closed.example", DNS_TYPE_SRV, 60, 0, 0, 0, "."},
        {"closed.example", DNS_TYPE_A, 60, 0, 0, 0, "192.0.2.30"},
        {NULL, 0, 0, 0, 0, 0, NULL},
};

static struct sip_stack *stack;
static struct dns_server *server;
static struct resolve_answer answer;
static unsigned answers;

static void answer_h(const struct resolve_answer *a, uint64_t now_us, void *arg)
{
	(void)now_us;
	(void)arg;
	answer = *a;
	answers++;
}

static int setup(void **state)
{
	(void)state;
	answers = 0;

	return stack_alloc(&stack, "test") || dns_server_alloc(&server, records) ||
	       resolver_set_servers(stack->resolver, dns_server_address(server));
}

static int teardown(void **state)
{
	(void)state;
	stack = mem_deref(stack);
	server = mem_deref(server);

	return 0;
}

static struct resolve_query *start(const char *host, uint16_t port, uint32_t seed)
{
	struct resolve_query *q;
	unsigned before = answers;

	assert_int_equal(
	        resolve_start(&q, stack->resolver, host, port, TRANSPORT_UDP, AF_UNSPEC, seed, answer_h, NULL), 0);
	assert_int_equal(answers, before);

	return q;
}

static void resolve(const char *host, uint16_t port, uint32_t seed)
{
	struct resolve_query *q = start(host, port, seed);

	assert_true(loop_until_count(&answers, answers + 1));
	mem_deref(q);
}

static void assert_address(size_t i, const char *address, uint16_t port)
{
	struct sa sa;

	assert_int_equal(sa_set_str(&sa, address, port), 0);
	assert_true(i < answer.n);
	assert_true(sa_cmp(&answer.addr[i], &sa, SA_ALL));
}

static void test_resolve_literal_needs_no_lookup(void **state)
{
	(void)state;
	resolve("192.0.2.1", 5062, 0);
	assert_int_equal(answer.err, 0);
	assert_false(answer.was_lookup);
	assert_address(0, "192.0.2.1", 5062);
	resolve("[2001:db8::1]", 0, 0);
	assert_address(0, "2001:db8::1", 5060);
	assert_int_equal(dns_server_queries(server), 0);
}

static void test_resolve_literal_of_the_other_family(void **state)
{
	struct resolve_query *q;
	(void)state;

	assert_int_equal(
	        resolve_start(&q, stack->resolver, "192.0.2.1", 0, TRANSPORT_UDP, AF_INET6, 0, answer_h, NULL), 0);
	assert_true(loop_until_count(&answers, 1));
	assert_int_equal(answer.err, EAFNOSUPPORT);
	mem_deref(q);
}

static void test_resolve_hosts_file(void **state)
{
	(void)state;
	resolve("localhost", 5060, 0);
	assert_int_equal(answer.err, 0);
	assert_true(answer.was_lookup);
	assert_true(sa_is_loopback(&answer.addr[0]));
}

static void test_resolve_port_means_no_srv(void **state)
{
	(void)state;
	resolve("pbx.example", 5062, 0);
	assert_int_equal(answer.err, 0);
	assert_int_equal(answer.n, 1);
	assert_address(0, "192.0.2.10", 5062);
}

static void test_resolve_ipv6(void **state)
{
	(void)state;
	resolve("six.example", 5060, 0);
	assert_int_equal(answer.n, 1);
	assert_address(0, "2001:db8::1", 5060);
}

static void test_resolve_srv_by_priority_without_dead_targets(void **state)
{
	(void)state;
	resolve("trunk.example", 0, 7);
	assert_int_equal(answer.err, 0);
	assert_int_equal(answer.n, 2);
	assert_address(0, "192.0.2.10", 5080);
	assert_address(1, "192.0.2.20", 5070);
}

static void test_resolve_no_srv_falls_back_to_the_host(void **state)
{
	(void)state;
	resolve("pbx.example", 0, 0);
	assert_int_equal(answer.n, 1);
	assert_address(0, "192.0.2.10", 5060);
}

static void test_resolve_srv_that_says_no_service(void **state)
{
	(void)state;
	resolve("closed.example", 0, 0);
	assert_int_equal(answer.err, ENOENT);
	assert_int_equal(answer.n, 0);
}

static void test_resolve_srv_weights_are_shares(void **state)
{
	unsigned first = 0;
	(void)state;

	for (uint32_t seed = 0; seed < 400; seed++) {
		resolve("weighted.example", 0, seed * 2654435761u);
		assert_int_equal(answer.n, 2);
		first += sa_port(&answer.addr[0]) == 1000;
	}
	assert_in_range(first, 260, 340); /* 30 of 40 */
}

static void test_resolve_unknown_name(void **state)
{
	unsigned queries;
	(void)state;

	resolve("nobody.example", 5060, 0);
	assert_int_equal(answer.err, ENOENT);
	assert_true(*answer.text != '\0');
	queries = dns_server_queries(server);
	resolve("nobody.example", 5060, 0);
	assert_int_equal(answer.err, ENOENT);
	assert_int_equal(dns_server_queries(server), queries); /* remembered */
}

static void test_resolve_asks_once_for_all_who_ask(void **state)
{
	struct resolve_query *q[10];
	unsigned queries;
	(void)state;

	for (int i = 0; i < 10; i++)
		q[i] = start("PBX.example", 5060, 0);
	assert_true(loop_until_count(&answers, 10));
	for (int i = 0; i < 10; i++)
		mem_deref(q[i]);
	queries = dns_server_queries(server);
	assert_true(queries <= 2); /* A and AAAA */
	resolve("pbx.example", 5060, 0);
	assert_int_equal(dns_server_queries(server), queries);
}

static void test_resolve_ttl_of_nothing_is_a_second(void **state)
{
	unsigned queries;
	(void)state;

	resolve("short.example", 5060, 0);
	queries = dns_server_queries(server);
	resolve("short.example", 5060, 0);
	assert_int_equal(dns_server_queries(server), queries);
	loop_run(1050);
	resolve("short.example", 5060, 0);
	assert_address(0, "192.0.2.11", 5060);
	assert_true(dns_server_queries(server) > queries);
}

static void test_resolve_abandoned_query_is_not_answered(void **state)
{
	struct resolve_query *q = start("pbx.example", 5060, 0), *literal = start("192.0.2.1", 5060, 0);
	(void)state;

	mem_deref(q);
	mem_deref(literal);
	loop_run(50);
	assert_int_equal(answers, 0);
}

static void test_resolve_outage_is_a_timeout(void **state)
{
	(void)state;
	dns_server_set_silent(server, 1);
	resolve("pbx.example", 5060, 0);
	assert_int_equal(answer.err, ETIMEDOUT);
}

static void test_resolve_stack_freed_with_open_queries(void **state)
{
	struct resolve_query *q = start("pbx.example", 0, 0), *literal = start("192.0.2.1", 0, 0);
	(void)state;

	stack = mem_deref(stack);
	loop_run(10);
	assert_int_equal(answers, 0);
	mem_deref(q);
	mem_deref(literal);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_resolve_literal_needs_no_lookup),
	        TEST(test_resolve_literal_of_the_other_family),
	        TEST(test_resolve_hosts_file),
	        TEST(test_resolve_port_means_no_srv),
	        TEST(test_resolve_ipv6),
	        TEST(test_resolve_srv_by_priority_without_dead_targets),
	        TEST(test_resolve_no_srv_falls_back_to_the_host),
	        TEST(test_resolve_srv_that_says_no_service),
	        TEST(test_resolve_srv_weights_are_shares),
	        TEST(test_resolve_unknown_name),
	        TEST(test_resolve_asks_once_for_all_who_ask),
	        TEST(test_resolve_ttl_of_nothing_is_a_second),
	        TEST(test_resolve_abandoned_query_is_not_answered),
	        TEST(test_resolve_outage_is_a_timeout),
	        TEST(test_resolve_stack_freed_with_open_queries),
	};

	return cmocka_run_group_tests(tests, loop_setup, loop_teardown);
}
