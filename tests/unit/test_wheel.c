/**
 * @file test_wheel.c  Timers fire in order, never early, whatever is started and stopped meanwhile
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <re.h>
#include "edge/core/wheel.h"

enum { SECOND = 1000000 };

static unsigned fired;
static uint64_t fired_at;

static void count_h(uint64_t now_us, void *arg)
{
	(void)arg;
	fired++;
	fired_at = now_us;
}

static struct wheel *new_wheel(uint64_t now_us)
{
	struct wheel *wheel;

	fired = 0;
	assert_int_equal(wheel_alloc(&wheel, now_us), 0);

	return wheel;
}

static void test_wheel_fires_at_its_time_never_early(void **state)
{
	static const uint64_t delays[] = {0, 1, 999, 1000, 1001, 255000, 256000, 257000, 65535000, 65536000, 65537000,
	        500000, 32000000, 16777216000, 4294967296000, 5000000000000};
	(void)state;

	for (size_t i = 0; i < sizeof(delays) / sizeof(*delays); i++) {
		uint64_t start = 123456789, at = start + delays[i];
		struct wheel *wheel = new_wheel(start);
		struct wheel_timer timer = {0};

		wheel_start(wheel, &timer, at, count_h, NULL);
		if (delays[i] > 1000) {
			wheel_advance(wheel, at - 1);
			assert_int_equal(fired, 0);
			assert_true(wheel_timer_is_pending(&timer));
		}
		assert_true(wheel_next(wheel) <= at + 2000);
		wheel_advance(wheel, at + 2000);
		assert_int_equal(fired, 1);
		assert_false(wheel_timer_is_pending(&timer));
		assert_true(wheel_next(wheel) == UINT64_MAX);
		mem_deref(wheel);
	}
}

static void test_wheel_stopped_timer_does_not_fire(void **state)
{
	struct wheel *wheel = new_wheel(0);
	struct wheel_timer a = {0}, b = {0};
	(void)state;

	wheel_start(wheel, &a, SECOND, count_h, NULL);
	wheel_start(wheel, &b, SECOND, count_h, NULL);
	wheel_stop(&a);
	wheel_stop(&a);
	wheel_advance(wheel, 2 * SECOND);
	assert_int_equal(fired, 1);
	mem_deref(wheel);
}

static struct wheel_timer victim;

static void stop_victim_h(uint64_t now_us, void *arg)
{
	(void)now_us;
	(void)arg;
	wheel_stop(&victim);
	fired++;
}

static void test_wheel_handler_may_stop_a_timer_of_the_same_tick(void **state)
{
	struct wheel *wheel = new_wheel(0);
	struct wheel_timer first = {0};
	(void)state;

	victim = (struct wheel_timer){0};
	wheel_start(wheel, &first, SECOND, stop_victim_h, NULL);
	wheel_start(wheel, &victim, SECOND, stop_victim_h, NULL);
	wheel_advance(wheel, SECOND);
	assert_int_equal(fired, 1); /* whichever came first stopped the other, or found it gone */
	wheel_stop(&first);
	mem_deref(wheel);
}

struct periodic {
	struct wheel *wheel;
	struct wheel_timer timer;
};

static void periodic_h(uint64_t now_us, void *arg)
{
	struct periodic *p = arg;

	fired++;
	wheel_start(p->wheel, &p->timer, now_us + 20000, periodic_h, p);
}

static void test_wheel_handler_may_restart_its_timer(void **state)
{
	struct periodic p = {.wheel = new_wheel(0)};
	(void)state;

	wheel_start(p.wheel, &p.timer, 20000, periodic_h, &p);
	for (uint64_t now = 0; now <= 10 * SECOND; now += 1000)
		wheel_advance(p.wheel, now);
	assert_int_equal(fired, 500);
	wheel_stop(&p.timer);
	mem_deref(p.wheel);
}

static uint64_t last_at;

static void ordered_h(uint64_t now_us, void *arg)
{
	struct wheel_timer *timer = arg;

	assert_true(timer->at_us <= now_us);
	assert_true(timer->at_us / 1000 + 1 >= last_at / 1000);
	last_at = timer->at_us;
	fired++;
}

static void test_wheel_random_timers_fire_once_and_in_order(void **state)
{
	enum { N = 20000 };
	struct wheel_timer *timers = calloc(N, sizeof(*timers));
	struct wheel *wheel = new_wheel(77777);
	unsigned stopped = 0;
	(void)state;

	srand(1);
	last_at = 0;
	for (unsigned i = 0; i < N; i++)
		wheel_start(
		        wheel, &timers[i], 80000 + (uint64_t)rand() % (400 * (uint64_t)SECOND), ordered_h, &timers[i]);
	for (unsigned i = 0; i < N; i += 3, stopped++)
		wheel_stop(&timers[i]);

	/* woken exactly when the wheel asks for it, as the loop does */
	for (uint64_t next; (next = wheel_next(wheel)) != UINT64_MAX;)
		wheel_advance(wheel, next);

	assert_int_equal(fired, N - stopped);
	mem_deref(wheel);
	free(timers);
}

static uint64_t woken_at;

static void woken_h(uint64_t at_us, void *arg)
{
	(void)arg;
	woken_at = at_us;
}

static void test_wheel_wakes_the_sleeper_for_an_earlier_timer_only(void **state)
{
	struct wheel *wheel = new_wheel(SECOND);
	struct wheel_timer a = {0}, b = {0};
	(void)state;

	wheel_watch(wheel, UINT64_MAX, woken_h, NULL);
	wheel_start(wheel, &a, 3 * SECOND, count_h, NULL);
	assert_true(woken_at == 3 * SECOND);
	wheel_start(wheel, &b, 4 * SECOND, count_h, NULL);
	assert_true(woken_at == 3 * SECOND);
	wheel_start(wheel, &b, 2 * SECOND, count_h, NULL);
	assert_true(woken_at == 2 * SECOND);
	wheel_watch(wheel, 0, NULL, NULL);
	wheel_start(wheel, &a, SECOND, count_h, NULL);
	assert_true(woken_at == 2 * SECOND);
	mem_deref(wheel);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_wheel_fires_at_its_time_never_early),
	        cmocka_unit_test(test_wheel_stopped_timer_does_not_fire),
	        cmocka_unit_test(test_wheel_handler_may_stop_a_timer_of_the_same_tick),
	        cmocka_unit_test(test_wheel_handler_may_restart_its_timer),
	        cmocka_unit_test(test_wheel_random_timers_fire_once_and_in_order),
	        cmocka_unit_test(test_wheel_wakes_the_sleeper_for_an_earlier_timer_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
