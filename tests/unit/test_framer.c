/**
 * @file test_framer.c  Messages come out of a stream whole, however they were cut; noise ends it
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/sip/framer.h"

static const char message[] = "SIP/2.0 200 OK\r\nVia: x\r\ncONTENT-length :\r\n 5\r\nX: y\r\n\r\nhello";
static const char compact[] = "OPTIONS sip:a SIP/2.0\r\nl: 0\r\n\r\n";

static struct framer *framer;
static const uint8_t *buf;
static size_t len;

static int setup(void **state)
{
	(void)state;

	return framer_alloc(&framer);
}

static int teardown(void **state)
{
	(void)state;
	framer = mem_deref(framer);

	return 0;
}

static int feed(const void *bytes, size_t n)
{
	int err = framer_feed(framer, bytes, n);

	return err ? err : framer_next(framer, &buf, &len);
}

static int feed_str(const char *text)
{
	return feed(text, strlen(text));
}

static void assert_taken(const char *text)
{
	assert_int_equal(len, strlen(text));
	assert_memory_equal(buf, text, len);
}

static void test_framer_takes_a_message_split_at_each_byte(void **state)
{
	(void)state;

	for (size_t cut = 1; cut < strlen(message); cut++) {
		assert_int_equal(feed(message, cut), EAGAIN);
		assert_true(framer_partial(framer, &buf, &len));
		assert_int_equal(feed(message + cut, strlen(message) - cut), 0);
		assert_taken(message);
		assert_int_equal(framer_next(framer, &buf, &len), EAGAIN);
		assert_false(framer_partial(framer, &buf, &len));
	}
}

static void test_framer_takes_trickled_bytes(void **state)
{
	(void)state;

	for (size_t i = 0; i + 1 < strlen(message); i++)
		assert_int_equal(feed(message + i, 1), EAGAIN);
	assert_int_equal(feed(message + strlen(message) - 1, 1), 0);
	assert_taken(message);
}

static void test_framer_takes_several_from_one_read(void **state)
{
	char three[256];
	(void)state;

	(void)re_snprintf(three, sizeof(three), "%s\r\n%s%s", message, compact, message);
	assert_int_equal(feed_str(three), 0);
	assert_taken(message);
	assert_int_equal(framer_next(framer, &buf, &len), 0);
	assert_taken(compact);
	assert_int_equal(framer_next(framer, &buf, &len), 0);
	assert_taken(message);
	assert_int_equal(framer_next(framer, &buf, &len), EAGAIN);
}

static void test_framer_counts_pings_and_skips_line_ends(void **state)
{
	(void)state;

	assert_int_equal(feed_str("\r\n"), EAGAIN);
	assert_int_equal(framer_take_pings(framer), 0);
	assert_int_equal(feed_str("\r\n"), EAGAIN);
	assert_int_equal(framer_take_pings(framer), 1);
	assert_int_equal(framer_take_pings(framer), 0);
	assert_int_equal(feed_str(compact), 0);
	assert_taken(compact);
}

static void refuse(const char *text)
{
	framer = mem_deref(framer);
	assert_int_equal(framer_alloc(&framer), 0);
	assert_int_equal(feed_str(text), EBADMSG);
	assert_int_equal(framer_next(framer, &buf, &len), EBADMSG); /* and it stays so */
	assert_true(len > 0);
}

static void test_framer_refuses_what_has_no_readable_length(void **state)
{
	(void)state;
	refuse("SIP/2.0 200 OK\r\nVia: x\r\n\r\n");
	refuse("SIP/2.0 200 OK\r\nContent-Length: \r\n\r\n");
	refuse("SIP/2.0 200 OK\r\nContent-Length: -1\r\n\r\n");
	refuse("SIP/2.0 200 OK\r\nContent-Length: 1 2\r\n\r\n");
	refuse("SIP/2.0 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n");
	refuse("SIP/2.0 200 OK\r\nContent-Length: 65536\r\n\r\n");
	refuse("SIP/2.0 200 OK\r\nContent-Length: 1\r\nl: 2\r\n\r\n");
	refuse("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n");
	refuse("\x16\x03\x01 a TLS server");
}

static void test_framer_takes_the_same_length_twice(void **state)
{
	static const char twice[] = "SIP/2.0 200 OK\r\nContent-Length: 0\r\nl: 0\r\n\r\n";
	(void)state;

	assert_int_equal(feed_str(twice), 0);
	assert_taken(twice);
}

static void test_framer_refuses_headers_without_end(void **state)
{
	char line[1024];
	int err = EAGAIN;
	size_t fed = 0;
	(void)state;

	memset(line, 'a', sizeof(line));
	while (err == EAGAIN && fed < 1000000) {
		err = feed(line, sizeof(line));
		fed += sizeof(line);
	}
	assert_int_equal(err, EBADMSG);
	assert_true(fed <= 65536);
}

static void test_framer_is_bounded(void **state)
{
	static char flood[65536];
	(void)state;

	memset(flood, '\r', sizeof(flood));
	assert_int_equal(framer_feed(framer, (uint8_t *)flood, sizeof(flood)), 0);
	assert_int_equal(framer_feed(framer, (uint8_t *)flood, sizeof(flood)), 0);
	assert_int_equal(framer_feed(framer, (uint8_t *)flood, 1), EOVERFLOW);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_framer_takes_a_message_split_at_each_byte, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_framer_takes_trickled_bytes, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_framer_takes_several_from_one_read, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_framer_counts_pings_and_skips_line_ends, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_framer_refuses_what_has_no_readable_length, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_framer_takes_the_same_length_twice, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_framer_refuses_headers_without_end, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_framer_is_bounded, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
