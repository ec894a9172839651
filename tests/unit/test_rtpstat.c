/**
 * @file test_rtpstat.c  Loss, order, repeats and jitter of a stream of RTP packets
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "edge/media/g711.h"
#include "edge/media/rtpstat.h"

enum { SSRC = 0xabcd, PTIME_US = 20000, SAMPLES = 160, RATE = 8000 };

static struct rtpstat stat_of(const uint16_t *seqs, size_t n)
{
	struct rtpstat stat = {0};

	for (size_t i = 0; i < n; i++)
		(void)rtpstat_add(&stat, SSRC, seqs[i], 1000 + i);
	return stat;
}

#define STAT_OF(...)                                                                                                   \
	stat_of((const uint16_t[]){__VA_ARGS__}, sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t))

static void test_rtpstat_whole_stream_across_the_wrap_has_no_loss(void **state)
{
	struct rtpstat stat = {0};

	(void)state;
	assert_int_equal(rtpstat_expected(&stat), 0);
	for (unsigned i = 0; i < 200000; i++)
		assert_int_equal(rtpstat_add(&stat, SSRC, (uint16_t)(65500 + i), i), RTPSTAT_COUNTED);
	assert_int_equal(rtpstat_expected(&stat), 200000);
	assert_int_equal(stat.received, 200000);
	assert_true(rtpstat_loss_pct(&stat) == 0.0);
	assert_int_equal(stat.first_rx_us, 0);
}

static void test_rtpstat_gap_is_loss(void **state)
{
	struct rtpstat stat = STAT_OF(65534, 65535, 2, 3);

	(void)state;
	assert_int_equal(rtpstat_expected(&stat), 6);
	assert_true(rtpstat_loss_pct(&stat) > 33.3 && rtpstat_loss_pct(&stat) < 33.4);
	assert_int_equal(stat.reordered, 0);
}

static void test_rtpstat_late_packet_is_reordered_not_lost(void **state)
{
	struct rtpstat stat = STAT_OF(10, 12, 11, 13);

	(void)state;
	assert_int_equal(stat.reordered, 1);
	assert_int_equal(stat.duplicated, 0);
	assert_true(rtpstat_loss_pct(&stat) == 0.0);
}

static void test_rtpstat_packet_before_the_first_one_counts(void **state)
{
	struct rtpstat stat = STAT_OF(0, 65535, 1);

	(void)state;
	assert_int_equal(rtpstat_expected(&stat), 3);
	assert_int_equal(stat.received, 3);
	assert_int_equal(stat.reordered, 1);
}

static void test_rtpstat_repeat_is_duplicate_and_hides_no_loss(void **state)
{
	struct rtpstat stat = STAT_OF(1, 1, 2, 4, 2);

	(void)state;
	assert_int_equal(stat.duplicated, 2);
	assert_int_equal(stat.received, 3);
	assert_true(rtpstat_loss_pct(&stat) == 25.0);
}

static void test_rtpstat_late_after_a_large_gap_is_no_duplicate(void **state)
{
	struct rtpstat stat = {0};

	(void)state;
	for (unsigned i = 0; i <= 300; i++)
		(void)rtpstat_add(&stat, SSRC, (uint16_t)i, i);
	(void)rtpstat_add(&stat, SSRC, 600, 600);
	assert_int_equal(rtpstat_add(&stat, SSRC, 599, 601), RTPSTAT_COUNTED);
	assert_int_equal(rtpstat_add(&stat, SSRC, 599, 602), RTPSTAT_DUPLICATE);
}

static void test_rtpstat_stray_packet_changes_nothing(void **state)
{
	struct rtpstat stat = STAT_OF(10, 11, 40000, 12);

	(void)state;
	assert_int_equal(rtpstat_add(&stat, SSRC + 1, 13, 9), RTPSTAT_IGNORED);
	assert_int_equal(rtpstat_add(&stat, SSRC, 13, 10), RTPSTAT_COUNTED);
	assert_int_equal(rtpstat_expected(&stat), 4);
	assert_int_equal(stat.ignored, 2);
}

static void test_rtpstat_new_source_counts_from_its_second_packet(void **state)
{
	struct rtpstat stat = STAT_OF(10, 11, 12);

	(void)state;
	assert_int_equal(rtpstat_add(&stat, SSRC + 1, 500, 1), RTPSTAT_IGNORED);
	assert_int_equal(rtpstat_add(&stat, SSRC + 1, 501, 2), RTPSTAT_COUNTED);
	assert_int_equal(rtpstat_add(&stat, SSRC + 1, 503, 3), RTPSTAT_COUNTED);
	assert_int_equal(rtpstat_expected(&stat), 3 + 4);
	assert_int_equal(stat.received, 3 + 3);
	assert_int_equal(stat.ignored, 0);
}

static void test_rtpstat_jitter_is_that_of_the_rfc(void **state)
{
	struct rtpstat stat = {0};
	double expected = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) /* every second packet is 5 ms late: |D| is always 5 ms */
		rtpstat_arrive(&stat, 0xffffff00u + i * SAMPLES, 1000000 + i * PTIME_US + (i % 2) * 5000, RATE);
	for (unsigned i = 1; i < 100; i++)
		expected += (5000 - expected) / 16;
	assert_true(stat.jitter_us > expected - 0.01 && stat.jitter_us < expected + 0.01);
	assert_int_equal(stat.arrivals, 100);
}

static void test_g711_known_values(void **state)
{
	(void)state;
	assert_int_equal(g711_encode(G711_ULAW, 0), 0xff);
	assert_int_equal(g711_encode(G711_ULAW, 32767), 0x80);
	assert_int_equal(g711_encode(G711_ULAW, -32768), 0x00);
	assert_int_equal(g711_encode(G711_ULAW, 1000), 0xce);
	assert_int_equal(g711_encode(G711_ALAW, 0), 0xd5);
	assert_int_equal(g711_encode(G711_ALAW, 32767), 0xaa);
	assert_int_equal(g711_encode(G711_ALAW, -32768), 0x2a);
	assert_int_equal(g711_encode(G711_ALAW, 1000), 0xfa);
}

static void test_g711_tone_is_no_silence(void **state)
{
	static const enum g711_law laws[] = {G711_ULAW, G711_ALAW};
	uint8_t tone[G711_TONE_PERIOD], silence[G711_TONE_PERIOD];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		g711_tone(laws[i], tone);
		assert_false(g711_is_silence(laws[i], tone, sizeof(tone)));
		for (size_t k = 0; k < sizeof(silence); k++)
			silence[k] = g711_encode(laws[i], 0);
		assert_true(g711_is_silence(laws[i], silence, sizeof(silence)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_rtpstat_whole_stream_across_the_wrap_has_no_loss),
	        cmocka_unit_test(test_rtpstat_gap_is_loss),
	        cmocka_unit_test(test_rtpstat_late_packet_is_reordered_not_lost),
	        cmocka_unit_test(test_rtpstat_packet_before_the_first_one_counts),
	        cmocka_unit_test(test_rtpstat_repeat_is_duplicate_and_hides_no_loss),
	        cmocka_unit_test(test_rtpstat_late_after_a_large_gap_is_no_duplicate),
	        cmocka_unit_test(test_rtpstat_stray_packet_changes_nothing),
	        cmocka_unit_test(test_rtpstat_new_source_counts_from_its_second_packet),
	        cmocka_unit_test(test_rtpstat_jitter_is_that_of_the_rfc),
	        cmocka_unit_test(test_g711_known_values),
	        cmocka_unit_test(test_g711_tone_is_no_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
