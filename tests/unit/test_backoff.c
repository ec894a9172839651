/**
 * @file test_backoff.c  Delays double to their bound, and two agents do not wait alike
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "edge/mqtt/backoff.h"

static void test_backoff_doubles_from_least_to_greatest(void **state)
{
	static const uint32_t base[] = {500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000, 60000};
	struct backoff b;
	(void)state;

	for (uint64_t seed = 0; seed < 1000; seed++) {
		backoff_init(&b, 500, 60000, seed);
		for (size_t i = 0; i < sizeof(base) / sizeof(*base); i++) {
			uint32_t delay_ms = backoff_take_ms(&b);

			assert_in_range(delay_ms, base[i] / 2, base[i] + base[i] / 2);
		}
	}
}

static void test_backoff_reset_starts_again(void **state)
{
	struct backoff b;
	(void)state;

	backoff_init(&b, 500, 60000, 7);
	for (int i = 0; i < 8; i++)
		(void)backoff_take_ms(&b);
	backoff_reset(&b);
	assert_in_range(backoff_take_ms(&b), 250, 750);
}

static void test_backoff_uses_the_whole_range(void **state)
{
	uint32_t low = UINT32_MAX, high = 0;
	struct backoff b;
	(void)state;

	backoff_init(&b, 500, 60000, 42);
	for (int i = 0; i < 1000; i++) {
		uint32_t delay_ms = backoff_spread_ms(&b, 60000);

		low = delay_ms < low ? delay_ms : low;
		high = delay_ms > high ? delay_ms : high;
	}
	assert_in_range(low, 30000, 31000);
	assert_in_range(high, 89000, 90000);
}

static void test_backoff_seeds_differ(void **state)
{
	struct backoff a, b;
	unsigned same = 0;
	(void)state;

	backoff_init(&a, 500, 60000, 1);
	backoff_init(&b, 500, 60000, 2);
	for (int i = 0; i < 20; i++)
		same += backoff_take_ms(&a) == backoff_take_ms(&b);
	assert_true(same < 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_backoff_doubles_from_least_to_greatest),
	        cmocka_unit_test(test_backoff_reset_starts_again),
	        cmocka_unit_test(test_backoff_uses_the_whole_range),
	        cmocka_unit_test(test_backoff_seeds_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
