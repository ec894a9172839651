/**
 * @file test_schedule.c  Every entry once per interval, spread, never over itself, never made up for
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/core/schedule.h"

#define SECOND UINT64_C(1000000)
#define WEEK (7 * 86400 * SECOND)

static struct schedule *s;
static const uint64_t boot = 12345678901; /* the monotonic clock does not start at 0 */

static int setup(void **state)
{
	(void)state;
	return schedule_alloc(&s, NULL);
}

static int teardown(void **state)
{
	(void)state;
	s = mem_deref(s);
	return 0;
}

static void limit(uint32_t starts_per_s)
{
	const struct schedule_limits limits = {.starts_per_s = starts_per_s};

	mem_deref(s);
	assert_int_equal(schedule_alloc(&s, &limits), 0);
}

static void test_schedule_nothing_waits(void **state)
{
	(void)state;
	assert_null(schedule_take(s, boot));
	assert_true(schedule_next(s, boot) == UINT64_MAX);
}

static void test_schedule_week_of_one_entry(void **state)
{
	struct schedule_entry entry = {0};
	uint64_t now = boot, last = 0, runs = 0;

	(void)state;
	assert_int_equal(schedule_add(s, &entry, "pbx1/alive", 60 * SECOND, &runs, boot), 0);
	while ((now = schedule_next(s, now)) < boot + WEEK) {
		assert_ptr_equal(schedule_take(s, now), &entry);
		assert_ptr_equal(entry.owner, &runs);
		assert_int_equal(entry.startup, runs == 0);
		assert_true(entry.due_us == now);
		if (runs == 0)
			assert_true(now < boot + SPREAD_STARTUP_US);
		else if (runs == 1)
			assert_true(now - last >= 30 * SECOND && now - last <= 90 * SECOND);
		else
			assert_true(now - last == 60 * SECOND);
		last = now;
		++runs;
		schedule_done(s, &entry, now + 5 * SECOND);
	}
	assert_in_range(runs, 7 * 1440 - 1, 7 * 1440 + 1);
	assert_int_equal(schedule_skipped(s), 0);
}

static void test_schedule_many_are_spread_evenly_over_hours(void **state)
{
	enum { N = 1000, MINUTES = 7 * 1440 };
	static struct schedule_entry entries[N];
	static uint32_t runs[N];
	uint32_t second[60] = {0}, most = 0;
	uint64_t now = boot, total = 0;
	char key[32];

	(void)state;
	memset(entries, 0, sizeof(entries));
	for (size_t i = 0; i < N; i++) {
		(void)snprintf(key, sizeof(key), "pbx%zu/alive", i);
		assert_int_equal(schedule_add(s, &entries[i], key, 60 * SECOND, &runs[i], boot), 0);
	}
	while ((now = schedule_next(s, now)) < boot + WEEK / 21) {
		struct schedule_entry *entry = schedule_take(s, now);

		assert_non_null(entry);
		++*(uint32_t *)entry->owner;
		if (!entry->startup)
			++second[now / SECOND % 60];
		++total;
		schedule_done(s, entry, now);
	}
	for (size_t i = 0; i < N; i++)
		assert_in_range(runs[i], MINUTES / 21 - 1, MINUTES / 21 + 1);
	for (size_t i = 0; i < 60; i++)
		most = second[i] > most ? second[i] : most;
	assert_in_range(most, 1, 3 * total / 60); /* no second has more than three times its share */
}

static void test_schedule_phase_is_the_same_in_every_run(void **state)
{
	struct schedule_entry entry = {0};
	uint64_t phase[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		uint64_t start = boot + (uint64_t)i * 777777777;

		entry = (struct schedule_entry){0};
		assert_int_equal(schedule_add(s, &entry, "pbx1/alive", 3600 * SECOND, NULL, start), 0);
		assert_non_null(schedule_take(s, schedule_next(s, start)));
		schedule_done(s, &entry, entry.due_us);
		phase[i] = schedule_next(s, start) % (3600 * SECOND);
		schedule_remove(s, &entry);
	}
	assert_true(phase[0] == phase[1]);
}

static void test_schedule_second_run_is_half_an_interval_away_at_least(void **state)
{
	char key[32];

	(void)state;
	for (int i = 0; i < 200; i++) {
		struct schedule_entry entry = {0};
		uint64_t first, second;

		(void)snprintf(key, sizeof(key), "pbx%d/alive", i);
		assert_int_equal(schedule_add(s, &entry, key, 60 * SECOND, NULL, boot), 0);
		first = schedule_next(s, boot);
		assert_true(first < boot + SPREAD_STARTUP_US);
		assert_non_null(schedule_take(s, first));
		schedule_done(s, &entry, first);
		second = schedule_next(s, first);
		assert_true(second >= first + 30 * SECOND && second < first + 90 * SECOND);
		schedule_remove(s, &entry);
	}
}

static void test_schedule_never_overlaps_itself(void **state)
{
	struct schedule_entry entry = {0};
	uint64_t now, due;

	(void)state;
	assert_int_equal(schedule_add(s, &entry, "a/b", SECOND, NULL, boot), 0);
	now = schedule_next(s, boot);
	assert_non_null(schedule_take(s, now));
	schedule_done(s, &entry, now);
	due = schedule_next(s, now);
	assert_non_null(schedule_take(s, due));
	assert_null(schedule_take(s, due + 100 * SECOND));
	assert_true(schedule_next(s, due) == UINT64_MAX);
	schedule_done(s, &entry, due + 3 * SECOND + 1); /* the slots at 1, 2 and 3 s are gone */
	assert_int_equal(schedule_skipped(s), 3);
	assert_true(schedule_next(s, due) == due + 4 * SECOND);
}

static void test_schedule_late_tick_runs_once(void **state)
{
	struct schedule_entry entry = {0};
	uint64_t due;

	(void)state;
	assert_int_equal(schedule_add(s, &entry, "a/b", SECOND, NULL, boot), 0);
	assert_non_null(schedule_take(s, schedule_next(s, boot)));
	schedule_done(s, &entry, entry.due_us);
	due = schedule_next(s, boot);
	assert_ptr_equal(schedule_take(s, due + 10 * SECOND + 5), &entry); /* the machine slept */
	assert_true(entry.due_us == due);
	schedule_done(s, &entry, due + 10 * SECOND + 6);
	assert_null(schedule_take(s, due + 10 * SECOND + 6));
	assert_int_equal(schedule_skipped(s), 10);
	assert_true(schedule_next(s, due) == due + 11 * SECOND);
}

static void test_schedule_starts_per_second_are_capped(void **state)
{
	enum { N = 2000 };
	static struct schedule_entry entries[N];
	uint64_t now, end;
	unsigned started = 0;
	char key[32];

	(void)state;
	limit(100);
	memset(entries, 0, sizeof(entries));
	for (size_t i = 0; i < N; i++) {
		(void)snprintf(key, sizeof(key), "pbx%zu/alive", i);
		assert_int_equal(schedule_add(s, &entries[i], key, 60 * SECOND, NULL, boot), 0);
	}
	now = boot + 10 * SECOND; /* all are due */
	end = now + 10 * SECOND;
	while (now < end) {
		uint64_t next;

		while (schedule_take(s, now))
			++started;
		next = schedule_next(s, now);
		assert_true(next > now); /* no spinning */
		now = next;
	}
	assert_in_range(started, 1000, 1011); /* 10 s, and the bucket at the start */
}

static void test_schedule_slow_rate_lets_one_go(void **state)
{
	struct schedule_entry entries[2] = {{0}, {0}};
	uint64_t now = boot + 20 * SECOND;

	(void)state;
	limit(1);
	assert_int_equal(schedule_add(s, &entries[0], "a/b", 60 * SECOND, NULL, boot), 0);
	assert_int_equal(schedule_add(s, &entries[1], "a/c", 60 * SECOND, NULL, boot), 0);
	assert_non_null(schedule_take(s, now));
	assert_null(schedule_take(s, now));
	assert_true(schedule_next(s, now) == now + SECOND);
	assert_null(schedule_take(s, now + SECOND - 1));
	assert_non_null(schedule_take(s, now + SECOND));
}

static void test_schedule_remove_waiting_and_running(void **state)
{
	struct schedule_entry entries[3] = {{0}, {0}, {0}}, *running;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(schedule_add(s, &entries[i], i ? i == 1 ? "b" : "c" : "a", SECOND, NULL, boot), 0);
	running = schedule_take(s, boot + SECOND);
	assert_int_equal(schedule_add(s, running, "a", SECOND, NULL, boot), EINVAL);
	schedule_remove(s, running);
	assert_int_equal(schedule_add(s, running, "a", SECOND, NULL, boot), EINVAL); /* not before it is done */
	schedule_done(s, running, boot + SECOND);
	for (size_t i = 0; i < 3; i++) {
		if (&entries[i] != running)
			schedule_remove(s, &entries[i]);
		schedule_remove(s, &entries[i]);
	}
	assert_true(schedule_next(s, boot) == UINT64_MAX);
	assert_int_equal(schedule_add(s, running, "a", SECOND, NULL, boot), 0);
	assert_int_equal(schedule_add(s, &(struct schedule_entry){0}, "a", 0, NULL, boot), EINVAL);
}

static void test_schedule_100000_entries_in_any_order(void **state)
{
	enum { N = 100000 };
	struct schedule_entry *entries = calloc(N, sizeof(*entries));
	uint64_t last = 0, n = 0;
	char key[32];

	(void)state;
	for (size_t i = 0; i < N; i++) {
		(void)snprintf(key, sizeof(key), "%zu/x", i);
		assert_int_equal(schedule_add(s, &entries[i], key, 3600 * SECOND, NULL, boot), 0);
	}
	for (size_t i = 0; i < N; i += 3) /* holes anywhere in the heap */
		schedule_remove(s, &entries[i]);
	for (struct schedule_entry *entry; (entry = schedule_take(s, boot + 10 * SECOND)) != NULL; n++) {
		assert_true(entry->due_us >= last);
		last = entry->due_us;
	}
	assert_int_equal(n, N - (N + 2) / 3);
	s = mem_deref(s);
	free(entries);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_schedule_nothing_waits),
	        TEST(test_schedule_week_of_one_entry),
	        TEST(test_schedule_many_are_spread_evenly_over_hours),
	        TEST(test_schedule_phase_is_the_same_in_every_run),
	        TEST(test_schedule_second_run_is_half_an_interval_away_at_least),
	        TEST(test_schedule_never_overlaps_itself),
	        TEST(test_schedule_late_tick_runs_once),
	        TEST(test_schedule_starts_per_second_are_capped),
	        TEST(test_schedule_slow_rate_lets_one_go),
	        TEST(test_schedule_remove_waiting_and_running),
	        TEST(test_schedule_100000_entries_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
