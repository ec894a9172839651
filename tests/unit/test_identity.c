/**
 * @file test_identity.c  What an account calls itself and its server
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/sip/identity.h"

static struct account *account;
static struct identity *identity;

static void make(const char *host, uint16_t port, const char *login)
{
	assert_int_equal(account_alloc(&account), 0);
	assert_int_equal(str_dup(&account->remote_address, host), 0);
	account->remote_port = port;
	if (login)
		assert_int_equal(str_dup(&account->login, login), 0);
	assert_int_equal(identity_alloc(&identity, account), 0);
}

static int teardown(void **state)
{
	(void)state;
	identity = mem_deref(identity);
	account = mem_deref(account);

	return 0;
}

static void assert_target(const char *target, const char *expected)
{
	char *uri;

	assert_int_equal(identity_target(&uri, identity, target), 0);
	assert_string_equal(uri, expected);
	mem_deref(uri);
}

static void test_identity_without_login(void **state)
{
	(void)state;
	make("pbx.example.net", 0, NULL);
	assert_string_equal(identity->server, "sip:pbx.example.net");
	assert_string_equal(identity->registrar, "sip:pbx.example.net");
	assert_null(identity->aor);
	assert_null(identity->user);
}

static void test_identity_port_belongs_to_targets_not_to_the_aor(void **state)
{
	(void)state;
	make("192.0.2.1", 5070, "monitor");
	assert_string_equal(identity->server, "sip:192.0.2.1:5070");
	assert_string_equal(identity->registrar, "sip:192.0.2.1");
	assert_string_equal(identity->aor, "sip:monitor@192.0.2.1");
	assert_string_equal(identity->user, "sip:monitor@192.0.2.1:5070");
}

static void test_identity_login_with_domain(void **state)
{
	(void)state;
	make("192.0.2.1", 5070, "monitor@example.org");
	assert_string_equal(identity->registrar, "sip:example.org");
	assert_string_equal(identity->aor, "sip:monitor@example.org");
	assert_string_equal(identity->user, "sip:monitor@example.org");
}

static void test_identity_ipv6_stands_in_brackets(void **state)
{
	(void)state;
	make("2001:db8::1", 5060, "monitor");
	assert_string_equal(identity->server, "sip:[2001:db8::1]:5060");
	assert_string_equal(identity->aor, "sip:monitor@[2001:db8::1]");
}

static void test_identity_targets(void **state)
{
	(void)state;
	make("192.0.2.1", 5070, NULL);
	assert_target("600", "sip:600@192.0.2.1:5070");
	assert_target("600@example.org", "sip:600@example.org");
	assert_target("sip:600@example.org:99;x=y", "sip:600@example.org:99;x=y");
	assert_target("a b<c>", "sip:a%20b%3Cc%3E@192.0.2.1:5070");
}

static void test_identity_contact(void **state)
{
	struct sa local;
	char *uri;
	(void)state;

	assert_int_equal(sa_set_str(&local, "2001:db8::2", 5066), 0);
	assert_int_equal(identity_contact(&uri, "token", &local, TRANSPORT_TCP), 0);
	assert_string_equal(uri, "sip:token@[2001:db8::2]:5066;transport=tcp");
	mem_deref(uri);
	assert_int_equal(sa_set_str(&local, "192.0.2.2", 5066), 0);
	assert_int_equal(identity_contact(&uri, "token", &local, TRANSPORT_UDP), 0);
	assert_string_equal(uri, "sip:token@192.0.2.2:5066");
	mem_deref(uri);
}

static void test_text_u32_takes_what_stands_at_the_start(void **state)
{
	struct pl pl;
	uint32_t value = 7;
	(void)state;

	pl_set_str(&pl, "30 (busy)");
	assert_true(text_u32(&value, &pl));
	assert_int_equal(value, 30);
	pl_set_str(&pl, "99999999999999999999999");
	assert_true(text_u32(&value, &pl));
	assert_true(value == UINT32_MAX);
	value = 7;
	pl_set_str(&pl, "x1");
	assert_false(text_u32(&value, &pl));
	assert_int_equal(value, 7);
	assert_false(text_u32(&value, &pl_null));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, NULL, teardown)
	        TEST(test_identity_without_login),
	        TEST(test_identity_port_belongs_to_targets_not_to_the_aor),
	        TEST(test_identity_login_with_domain),
	        TEST(test_identity_ipv6_stands_in_brackets),
	        TEST(test_identity_targets),
	        TEST(test_identity_contact),
	        TEST(test_text_u32_takes_what_stands_at_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
