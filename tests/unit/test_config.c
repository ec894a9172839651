/**
 * @file test_config.c  Words, names and digests of the configuration (what a document may say: test_wire.c)
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/core/config.h"

static struct account *account_of(void)
{
	struct account *account;

	assert_int_equal(account_alloc(&account), 0);
	(void)str_dup(&account->id, "pbx1");
	(void)str_dup(&account->description, "");
	(void)str_dup(&account->remote_address, "192.0.2.10");
	(void)str_dup(&account->login, "monitor");
	(void)str_dup(&account->password, "secret");
	sa_set_in(&account->local, 0, 0);
	account->commands = mem_zalloc(2 * sizeof(*account->commands), NULL);
	account->ncommands = 2;
	for (size_t i = 0; i < 2; i++) {
		(void)str_dup(&account->commands[i].name, i ? "b" : "a");
		(void)str_dup(&account->commands[i].description, "");
		(void)str_dup(&account->commands[i].sip_data, "");
	}
	return account;
}

static struct account *before, *after;

static int setup(void **state)
{
	(void)state;
	before = account_of();
	after = account_of();
	return config_account_seal(before);
}

static int teardown(void **state)
{
	(void)state;
	before = mem_deref(before);
	after = mem_deref(after);
	return 0;
}

/* Which digests differ after sealing: 'c' connection, 'a' account, '0' and '1' commands */
static void differs(const char *expected)
{
	assert_int_equal(config_account_seal(after), 0);
	assert_int_equal(
	        0 != memcmp(before->connection, after->connection, DIGEST_SIZE), strchr(expected, 'c') != NULL);
	assert_int_equal(0 != memcmp(before->digest, after->digest, DIGEST_SIZE), strchr(expected, 'a') != NULL);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(0 != memcmp(before->commands[i].digest, after->commands[i].digest, DIGEST_SIZE),
		        strchr(expected, i ? '1' : '0') != NULL);
}

static void test_config_same_content_has_the_same_digests(void **state)
{
	(void)state;
	differs("");
}

static void test_config_connection_changes_leave_commands_alone(void **state)
{
	(void)state;
	after->remote_port = 5070;
	differs("ca");
	after->remote_port = 0;
	mem_deref(after->password);
	(void)str_dup(&after->password, "other");
	differs("ca");
	mem_deref(after->password);
	(void)str_dup(&after->password, "secret");
	sa_set_str(&after->local, "::1", 0);
	differs("ca");
	sa_set_in(&after->local, 0, 0);
	differs("");
}

static void test_config_command_changes_leave_the_rest_alone(void **state)
{
	(void)state;
	after->commands[1].interval_s = 5;
	differs("a1");
	after->commands[1].interval_s = 0;
	(void)str_dup(&after->commands[0].target, ""); /* "" is not absent */
	differs("a0");
	after->commands[0].target = mem_deref(after->commands[0].target);
	after->commands[0].expect.n = 1;
	differs("a0");
}

static void test_config_text_does_not_move_between_fields(void **state)
{
	(void)state;
	mem_deref(before->commands[0].description);
	mem_deref(after->commands[0].sip_data);
	(void)str_dup(&before->commands[0].description, "x");
	(void)str_dup(&after->commands[0].sip_data, "x");
	assert_int_equal(config_account_seal(before), 0);
	differs("a0");
}

static void test_config_words_go_both_ways(void **state)
{
	enum method method;
	enum transport transport;

	(void)state;
	for (enum method m = 0; m < METHOD_COUNT; m++) {
		assert_int_equal(method_parse(&method, method_name(m)), 0);
		assert_int_equal(method, m);
	}
	for (enum transport t = TRANSPORT_UDP; t <= TRANSPORT_TLS; t++) {
		assert_int_equal(transport_parse(&transport, transport_name(t)), 0);
		assert_int_equal(transport, t);
	}
	assert_int_equal(method_parse(&method, "invite"), ENOENT);
	assert_int_equal(method_parse(&method, ""), ENOENT);
	assert_int_equal(method_parse(&method, NULL), ENOENT);
	assert_int_equal(transport_parse(&transport, "ws"), ENOENT);
}

static void test_config_names(void **state)
{
	(void)state;
	assert_true(config_name_is_valid("A-z_09"));
	assert_true(config_name_is_valid("-"));
	assert_false(config_name_is_valid("_a"));
	assert_false(config_name_is_valid(""));
	assert_false(config_name_is_valid(NULL));
	assert_false(config_name_is_valid("a.b"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_config_same_content_has_the_same_digests),
	        TEST(test_config_connection_changes_leave_commands_alone),
	        TEST(test_config_command_changes_leave_the_rest_alone),
	        TEST(test_config_text_does_not_move_between_fields),
	        cmocka_unit_test(test_config_words_go_both_ways),
	        cmocka_unit_test(test_config_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
