/**
 * @file test_inbox.c  A bounded queue between two threads: edge/inbox.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <re.h>
#include "edge/inbox.h"

static int numbers[64];
static unsigned freed;

static void count_h(void *item)
{
	(void)item;
	freed++;
}

static bool is_readable(const struct inbox *inbox)
{
	struct pollfd pfd = {.fd = inbox_fd(inbox), .events = POLLIN};

	return poll(&pfd, 1, 0) == 1;
}

static void test_inbox_full_refuses_and_counts(void **state)
{
	struct inbox *inbox;
	(void)state;

	assert_int_equal(inbox_alloc(&inbox, 2, count_h), 0);
	assert_int_equal(inbox_push(inbox, &numbers[0]), 0);
	assert_int_equal(inbox_push(inbox, &numbers[1]), 0);
	assert_int_equal(inbox_push(inbox, &numbers[2]), ENOBUFS);
	assert_int_equal(inbox_refused(inbox), 1);
	freed = 0;
	mem_deref(inbox);
	assert_int_equal(freed, 2);
}

static void test_inbox_is_readable_while_something_waits(void **state)
{
	struct inbox *inbox;
	(void)state;

	assert_int_equal(inbox_alloc(&inbox, 2, count_h), 0);
	assert_false(is_readable(inbox));
	assert_int_equal(inbox_push(inbox, &numbers[0]), 0);
	assert_int_equal(inbox_push(inbox, &numbers[1]), 0);
	assert_ptr_equal(inbox_take(inbox), &numbers[0]);
	assert_true(is_readable(inbox));
	assert_ptr_equal(inbox_take(inbox), &numbers[1]);
	assert_false(is_readable(inbox));
	assert_null(inbox_take(inbox));
	mem_deref(inbox);
}

static void test_inbox_push_anyway_makes_room_in_order(void **state)
{
	struct inbox *inbox;
	(void)state;

	assert_int_equal(inbox_alloc(&inbox, 3, count_h), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(inbox_push(inbox, &numbers[i]), 0);
	assert_ptr_equal(inbox_take(inbox), &numbers[0]);
	assert_ptr_equal(inbox_take(inbox), &numbers[1]);
	for (int i = 3; i < 64; i++) /* wrapped when it grows */
		assert_int_equal(inbox_push_anyway(inbox, &numbers[i]), 0);
	assert_int_equal(inbox_push(inbox, &numbers[0]), ENOBUFS); /* still bounded for the others */
	for (int i = 2; i < 64; i++)
		assert_ptr_equal(inbox_take(inbox), &numbers[i]);
	assert_false(is_readable(inbox));
	mem_deref(inbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_inbox_full_refuses_and_counts),
	        cmocka_unit_test(test_inbox_is_readable_while_something_waits),
	        cmocka_unit_test(test_inbox_push_anyway_makes_room_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
