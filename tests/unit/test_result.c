#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/core/result.h"

static struct account *account;
static struct result *r;

static int setup(void **state)
{
	(void)state;
	if (account_alloc(&account))
		return -1;
	account->commands = mem_zalloc(sizeof(*account->commands), NULL);
	account->ncommands = 1;
	(void)str_dup(&account->commands[0].name, "alive");
	account->commands[0].method = METHOD_INVITE;
	return result_alloc(&r, account, &account->commands[0]);
}

static int teardown(void **state)
{
	(void)state;
	r = mem_deref(r);
	assert_int_equal(mem_nrefs(account), 1);
	account = mem_deref(account);
	return 0;
}

static void test_result_nothing_is_set_at_first_but_what_follows_from_the_command(void **state)
{
	(void)state;
	assert_false(result_get(r, COL_CODE).is_set);
	assert_false(result_get(r, COL_MEANING).is_set);
	assert_string_equal(result_get(r, COL_NAME).v.s, "alive");
	assert_string_equal(result_get(r, COL_DESCRIPTION).v.s, "");
	assert_string_equal(result_get(r, COL_COMMAND).v.s, "INVITE");
	assert_string_equal(result_get(r, COL_STATE).v.s, "unknown");
	result_set_int(r, COL_CODE, 486);
	assert_non_null(strstr(result_get(r, COL_MEANING).v.s, "busy"));
}

static void test_result_not_a_number_is_null(void **state)
{
	(void)state;
	result_set_double(r, COL_SRD_MS, 12.5);
	assert_true(result_get(r, COL_SRD_MS).is_set);
	result_set_double(r, COL_SRD_MS, (double)NAN);
	assert_false(result_get(r, COL_SRD_MS).is_set);
	result_set_double(r, COL_LOSS_PCT, (double)INFINITY);
	assert_false(result_get(r, COL_LOSS_PCT).is_set);
	result_add_response(r, (double)NAN, 100, NULL);
	assert_true(isfinite(r->responses[0].offset_ms));
}

static void test_result_strings_are_made_utf8_and_cut(void **state)
{
	char text[3000];
	struct pl pl = PL("a\r\nb\xff\xc3\xa4\x7fz");

	(void)state;
	pl.l = 8;
	result_set_pl(r, COL_SERVER, &pl);
	assert_string_equal(result_get(r, COL_SERVER).v.s, "a??b?\xc3\xa4?");

	for (size_t i = 0; i < sizeof(text); i += 3)
		memcpy(text + i, "\xe2\x82\xac", 3);
	text[sizeof(text) - 1] = '\0';
	result_set_str(r, COL_SERVER, text);
	assert_int_equal(strlen(result_get(r, COL_SERVER).v.s), 1023); /* 341 whole characters */
	assert_memory_equal(result_get(r, COL_SERVER).v.s + 1020, "\xe2\x82\xac", 4);

	result_set_str(r, COL_SERVER, result_get(r, COL_SERVER).v.s); /* onto itself */
	assert_int_equal(strlen(result_get(r, COL_SERVER).v.s), 1023);
	result_set_str(r, COL_SERVER, NULL);
	assert_false(result_get(r, COL_SERVER).is_set);
}

static void test_result_responses_are_bounded_and_counted(void **state)
{
	struct pl reason = PL("Ringing");

	(void)state;
	for (int i = 0; i < RESPONSES_MAX + 10; i++)
		result_add_response(r, i, 180, &reason);
	assert_int_equal(r->nresponses, RESPONSES_MAX + 10);
	assert_int_equal(result_responses_listed(r), RESPONSES_MAX);
	assert_string_equal(r->responses[RESPONSES_MAX - 1].reason, "Ringing");
}

static void test_result_quality_tells_who_was_silent(void **state)
{
	(void)state;
	r->verdict = VERDICT_FAIL;
	r->error = VERDICT_ERROR_TIMEOUT;
	assert_int_equal(result_quality(r), 12);
	r->verdict = VERDICT_ERROR;
	r->error = VERDICT_ERROR_DNS;
	assert_int_equal(result_quality(r), 8);
	r->verdict = VERDICT_FAIL;
	r->error = VERDICT_ERROR_PROTOCOL;
	assert_int_equal(result_quality(r), 192);
	r->error = VERDICT_ERROR_TIMEOUT;
	result_add_response(r, 1.0, 100, NULL);
	assert_int_equal(result_quality(r), 192);
}

static void test_result_columns_are_all_defined(void **state)
{
	(void)state;
	for (enum column col = 0; col < COLUMN_COUNT; col++) {
		const struct column_def *def = column_def(col);

		assert_non_null(def->name);
		assert_int_equal(strspn(def->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(def->name));
		assert_true(strlen(def->description) > 0);
		assert_non_null(def->unit);
		if (def->type == COLUMN_DURATION)
			assert_string_equal(def->unit, "ms");
		for (enum column other = 0; other < col; other++)
			assert_string_not_equal(def->name, column_def(other)->name);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_result_nothing_is_set_at_first_but_what_follows_from_the_command),
	        TEST(test_result_not_a_number_is_null),
	        TEST(test_result_strings_are_made_utf8_and_cut),
	        TEST(test_result_responses_are_bounded_and_counted),
	        TEST(test_result_quality_tells_who_was_silent),
	        TEST(test_result_columns_are_all_defined),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
