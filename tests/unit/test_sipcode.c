#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "edge/core/sipcode.h"

/* checks.md, "Response codes that have a name and a meaning" */
static const uint16_t known[] = {100, 180, 181, 182, 183, 199, 200, 202, 204, 300, 301, 302, 305, 380, 400, 401, 402,
        403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 420, 421, 422, 423, 424, 425, 428,
        429, 430, 433, 436, 437, 438, 439, 440, 469, 470, 480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491, 493,
        494, 500, 501, 502, 503, 504, 505, 513, 555, 580, 600, 603, 604, 606, 607, 608};

static void test_sipcode_every_listed_code_has_a_meaning_of_its_own(void **state)
{
	size_t n = sizeof(known) / sizeof(known[0]);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_null(strstr(sipcode_meaning(known[i]), "not registered: "));
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(sipcode_meaning(known[i]), sipcode_meaning(known[k]));
	}
}

static void test_sipcode_names_are_the_registry_s(void **state)
{
	(void)state;
	assert_string_equal(sipcode_name(100), "Trying");
	assert_string_equal(sipcode_name(204), "No Notification");
	assert_string_equal(sipcode_name(436), "Bad Identity Info");
	assert_string_equal(sipcode_name(486), "Busy Here");
	assert_string_equal(sipcode_name(608), "Rejected");
}

static void test_sipcode_unknown_code_falls_back_to_its_class(void **state)
{
	(void)state;
	assert_string_equal(sipcode_name(299), "Success");
	assert_string_equal(sipcode_name(499), "Client Error");
	assert_string_equal(sipcode_name(699), "Global Failure");
	assert_string_equal(sipcode_name(0), "Unknown");
	assert_string_equal(sipcode_name(99), "Unknown");
	assert_string_equal(sipcode_name(700), "Unknown");
	assert_string_equal(sipcode_name(65535), "Unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_sipcode_every_listed_code_has_a_meaning_of_its_own),
	        cmocka_unit_test(test_sipcode_names_are_the_registry_s),
	        cmocka_unit_test(test_sipcode_unknown_code_falls_back_to_its_class),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
