/**
 * @file test_plan.c  Only what changed is touched
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/core/plan.h"

/* One letter per account; its case is its content: "aB" has account a of one content and account b of another */
static struct config *config_of(const char *letters)
{
	struct config *config;

	assert_int_equal(config_alloc(&config, strlen(letters)), 0);
	config->revision = strlen(letters);
	for (size_t i = 0; letters[i]; i++) {
		char id[2] = {(char)(letters[i] | 0x20), '\0'};
		struct account *account;

		assert_int_equal(account_alloc(&account), 0);
		(void)str_dup(&account->id, id);
		(void)str_dup(&account->remote_address, letters[i] & 0x20 ? "pbx" : "other");
		assert_int_equal(config_account_seal(account), 0);
		config->accounts[i] = account;
	}
	return config;
}

static void expect(const char *old, const char *new, const char *put, const char *removed)
{
	struct config *before = old ? config_of(old) : NULL, *after = config_of(new);
	struct config_index *index = NULL;
	struct plan *plan;

	if (before)
		assert_int_equal(config_index_alloc(&index, before), 0);
	mem_deref(before); /* the index stands alone */
	assert_int_equal(plan_diff(&plan, index, after), 0);
	assert_int_equal(plan->naccounts, strlen(new));
	assert_int_equal(plan->revision, after->revision);
	mem_deref(after); /* the plan holds what it puts */
	assert_int_equal(plan->nput, strlen(put));
	for (size_t i = 0; put[i]; i++)
		assert_int_equal(plan->put[i]->id[0], put[i]);
	assert_int_equal(plan->nremoved, strlen(removed));
	for (size_t i = 0; removed[i]; i++)
		assert_int_equal(plan->removed[i][0], removed[i]);
	mem_deref(plan);
	mem_deref(index);
}

static void test_plan_everything_is_new_at_first(void **state)
{
	(void)state;
	expect(NULL, "cab", "abc", "");
	expect("", "cab", "abc", "");
	expect(NULL, "", "", "");
}

static void test_plan_the_same_is_left_alone(void **state)
{
	(void)state;
	expect("abc", "abc", "", "");
	expect("abc", "cba", "", ""); /* the order means nothing */
}

static void test_plan_changed_new_and_gone(void **state)
{
	(void)state;
	expect("abc", "aBd", "bd", "c");
	expect("abc", "", "", "abc");
	expect("b", "abc", "ac", "");
	expect("xyz", "abc", "abc", "xyz");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_plan_everything_is_new_at_first),
	        cmocka_unit_test(test_plan_the_same_is_left_alone),
	        cmocka_unit_test(test_plan_changed_new_and_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
