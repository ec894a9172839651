/**
 * @file test_spool.c  Results that wait: numbers, order, live or history, bound
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/store/spool.h"
#include "sipedge/v1/sipedge.pb-c.h"

enum { FIRST = 1000, LARGE = 1000 };

static struct spool *new_spool(size_t bytes_max)
{
	struct spool *spool = NULL;

	assert_int_equal(spool_alloc(&spool, bytes_max, FIRST), 0);

	return spool;
}

/* An empty CheckResult is a valid one. */
static void put(struct spool *spool, const char *topic, bool ok)
{
	assert_int_equal(spool_put(spool, topic, mbuf_alloc(LARGE), ok, 60), 0);
}

static struct link_message *take(struct spool *spool)
{
	struct link_message *msg = NULL;

	assert_int_equal(spool_take(spool, &msg), 0);

	return msg;
}

static void expect(const struct link_message *msg, const char *topic, uint64_t seq, bool live)
{
	Sipedge__V1__CheckResult *r = sipedge__v1__check_result__unpack(NULL, msg->payload->end, msg->payload->buf);

	assert_non_null(r);
	assert_string_equal(msg->topic, topic);
	assert_true(r->seq == seq);
	assert_int_equal(!r->historical, live);
	assert_int_equal(msg->retain, live);
	assert_int_equal(msg->expiry_s, live ? 180 : 0);
	sipedge__v1__check_result__free_unpacked(r, NULL);
}

static void expect_next(struct spool *spool, const char *topic, uint64_t seq, bool live)
{
	struct link_message *msg = take(spool);

	expect(msg, topic, seq, live);
	spool_remove(spool, msg);
}

static void expect_empty(struct spool *spool)
{
	struct link_message *msg = NULL;

	assert_int_equal(spool_take(spool, &msg), ENOENT);
	assert_int_equal(spool_count(spool), 0);
	mem_deref(spool);
}

static void test_spool_newest_of_each_variable_is_live(void **state)
{
	struct spool *spool = new_spool(1 << 20);
	(void)state;

	put(spool, "a", true);
	put(spool, "b", true);
	put(spool, "a", true);
	put(spool, "a", true);
	assert_int_equal(spool_count(spool), 4);
	expect_next(spool, "a", FIRST, false);
	expect_next(spool, "b", FIRST + 1, true);
	expect_next(spool, "a", FIRST + 2, false);
	expect_next(spool, "a", FIRST + 3, true);
	put(spool, "a", true);
	expect_next(spool, "a", FIRST + 4, true);
	expect_empty(spool);
}

static void test_spool_given_back_keeps_its_place(void **state)
{
	struct spool *spool = new_spool(1 << 20);
	struct link_message *m[3];
	(void)state;

	put(spool, "a", true);
	put(spool, "b", true);
	put(spool, "c", true);
	for (int i = 0; i < 3; i++)
		m[i] = take(spool);
	expect(m[0], "a", FIRST, true);
	put(spool, "a", true); /* while the older one is under way */
	spool_give_back(spool, m[2]);
	spool_give_back(spool, m[0]);
	spool_remove(spool, m[1]);
	expect_next(spool, "a", FIRST, false);
	expect_next(spool, "c", FIRST + 2, true);
	expect_next(spool, "a", FIRST + 3, true);
	expect_empty(spool);
}

static void test_spool_given_back_twice_says_history_once(void **state)
{
	struct spool *spool = new_spool(1 << 20);
	struct link_message *msg;
	size_t len;
	(void)state;

	put(spool, "a", true);
	put(spool, "a", true);
	msg = take(spool);
	len = msg->payload->end;
	spool_give_back(spool, msg);
	msg = take(spool);
	assert_int_equal(msg->payload->end, len);
	spool_remove(spool, msg);
	expect_next(spool, "a", FIRST + 1, true);
	expect_empty(spool);
}

static void test_spool_clear_comes_last_and_takes_no_number(void **state)
{
	struct spool *spool = new_spool(1 << 20);
	struct link_message *msg;
	(void)state;

	put(spool, "a", true);
	assert_int_equal(spool_clear(spool, "a"), 0);
	put(spool, "b", true);
	expect_next(spool, "a", FIRST, false);
	msg = take(spool);
	assert_string_equal(msg->topic, "a");
	assert_int_equal(msg->payload->end, 0);
	assert_true(msg->retain);
	assert_int_equal(msg->expiry_s, 0);
	spool_give_back(spool, msg);
	msg = take(spool);
	assert_int_equal(msg->payload->end, 0);
	spool_remove(spool, msg);
	expect_next(spool, "b", FIRST + 1, true);
	expect_empty(spool);
}

static void test_spool_full_drops_oldest_ok_first(void **state)
{
	struct spool *spool = new_spool(3 * 1256 + 100);
	(void)state;

	put(spool, "fail1", false);
	put(spool, "ok1", true);
	put(spool, "ok2", true);
	put(spool, "fail2", false); /* drops ok1 */
	assert_int_equal(spool_dropped(spool), 1);
	put(spool, "fail3", false); /* drops ok2 */
	put(spool, "fail4", false); /* drops fail1 */
	assert_int_equal(spool_dropped(spool), 3);
	assert_int_equal(spool_count(spool), 3);
	expect_next(spool, "fail2", FIRST + 3, true);
	expect_next(spool, "fail3", FIRST + 4, true);
	expect_next(spool, "fail4", FIRST + 5, true);
	expect_empty(spool);
}

static void test_spool_full_never_drops_what_is_under_way(void **state)
{
	struct spool *spool = new_spool(1256 + 100);
	struct link_message *msg;
	(void)state;

	put(spool, "a", true);
	msg = take(spool);
	put(spool, "b", true); /* too much: it goes itself */
	assert_int_equal(spool_dropped(spool), 1);
	expect(msg, "a", FIRST, true);
	spool_remove(spool, msg);
	expect_empty(spool);
}

static void test_spool_numbers_start_at_the_clock(void **state)
{
	(void)state;
	assert_true(spool_first_seq(1800000000000000, 7) == 1800000000000000);
	/* a clock that was never set */
	assert_true(spool_first_seq(86400000000, 7) == 8);
	assert_true(spool_first_seq(86400000000, UINT64_MAX) < 1577836800000000);
	assert_true(spool_first_seq(-1, UINT64_MAX) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_spool_newest_of_each_variable_is_live),
	        cmocka_unit_test(test_spool_given_back_keeps_its_place),
	        cmocka_unit_test(test_spool_given_back_twice_says_history_once),
	        cmocka_unit_test(test_spool_clear_comes_last_and_takes_no_number),
	        cmocka_unit_test(test_spool_full_drops_oldest_ok_first),
	        cmocka_unit_test(test_spool_full_never_drops_what_is_under_way),
	        cmocka_unit_test(test_spool_numbers_start_at_the_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
