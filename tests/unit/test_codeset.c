#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "edge/core/codeset.h"

static void test_codeset_codes_and_ranges(void **state)
{
	struct codeset set = {0};

	(void)state;
	assert_false(codeset_has(&set, 200));
	assert_int_equal(codeset_parse(&set, "200-299, 404,480 - 488"), 0);
	assert_true(codeset_has(&set, 200));
	assert_true(codeset_has(&set, 299));
	assert_true(codeset_has(&set, 404));
	assert_true(codeset_has(&set, 488));
	assert_false(codeset_has(&set, 300));
	assert_false(codeset_has(&set, 403));
	assert_false(codeset_has(&set, 0));
}

static void test_codeset_anything_else_is_refused_and_changes_nothing(void **state)
{
	static const char *const bad[] = {"", " ", ",", "200,", ",200", "200,,201", "199", "100-299", "700", "2000",
	        "20", "299-200", "200-", "-200", "200-299-300", "2xx", "200;404", "+200", "200\n", "0200"};
	struct codeset set;

	(void)state;
	assert_int_equal(codeset_parse(&set, "404"), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (codeset_parse(&set, bad[i]) != EINVAL)
			fail_msg("accepted: '%s'", bad[i]);
		assert_true(codeset_has(&set, 404));
		assert_false(codeset_has(&set, 200));
	}
	assert_int_equal(codeset_parse(&set, NULL), EINVAL);
}

static void test_codeset_has_at_most_its_ranges(void **state)
{
	struct codeset set;
	char text[CODESET_RANGES_MAX * 4 + 8] = "";

	(void)state;
	for (int i = 0; i < CODESET_RANGES_MAX; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%d", i ? "," : "", 200 + i);
	assert_int_equal(codeset_parse(&set, text), 0);
	assert_true(codeset_has(&set, 200 + CODESET_RANGES_MAX - 1));
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), ",600");
	assert_int_equal(codeset_parse(&set, text), EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_codeset_codes_and_ranges),
	        cmocka_unit_test(test_codeset_anything_else_is_refused_and_changes_nothing),
	        cmocka_unit_test(test_codeset_has_at_most_its_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
