/**
 * @file test_scan.c  Raw bytes looked over before protobuf-c decodes them
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
#include "proto/scan.h"
#include "sipedge/v1/sipedge.pb-c.h"

struct seen {
	size_t n;
	char all[4096]; /* "path code;" of each issue, as far as it fits */
};

static void seen_issue(const char *path, const char *code, const char *message, void *arg)
{
	struct seen *seen = arg;
	const size_t at = strlen(seen->all);

	assert_true(message[0]);
	snprintf(seen->all + at, sizeof(seen->all) - at, "%s %s;", path, code);
	seen->n++;
}

static int scan(struct seen *seen, const uint8_t *buf, size_t len, size_t memory_max)
{
	memset(seen, 0, sizeof(*seen));
	return scan_message(&sipedge__v1__config_document__descriptor, buf, len, memory_max, seen_issue, seen);
}

static void assert_scan(const char *bytes, size_t len, const char *expected)
{
	uint8_t *copy = malloc(len ? len : 1); /* exactly as long, so that ASan sees a read beyond it */
	struct seen seen;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	assert_int_equal(scan(&seen, copy, len, 0), expected[0] ? EBADMSG : 0);
	assert_string_equal(seen.all, expected);
	free(copy);
}

#define ASSERT_SCAN(bytes, expected) assert_scan((bytes), sizeof(bytes) - 1, (expected))

static void test_scan_good_document_has_no_issues(void **state)
{
	Sipedge__V1__Command command = SIPEDGE__V1__COMMAND__INIT, *commands[] = {&command};
	Sipedge__V1__DeviceAccount account = SIPEDGE__V1__DEVICE_ACCOUNT__INIT, *accounts[] = {&account};
	Sipedge__V1__ConfigDocument doc = SIPEDGE__V1__CONFIG_DOCUMENT__INIT;
	char id[] = "pbx", name[] = "alive", text[] = "gr\xc3\xbc\xc3\x9f dich";
	uint8_t buf[256];
	struct seen seen;

	(void)state;
	command.name = name;
	command.sip_data = text;
	command.timeout_s_opt_case = SIPEDGE__V1__COMMAND__TIMEOUT_S_OPT_TIMEOUT_S;
	command.timeout_s = UINT32_MAX;
	account.id = id;
	account.n_commands = 1;
	account.commands = commands;
	doc.revision = UINT64_MAX;
	doc.issued_at_unix_us = -1;
	doc.n_accounts = 1;
	doc.accounts = accounts;

	assert_int_equal(scan(&seen, buf, sipedge__v1__config_document__pack(&doc, buf), 0), 0);
	assert_int_equal(seen.n, 0);
	assert_scan("", 0, "");
}

static void test_scan_unknown_field_is_found_at_every_level(void **state)
{
	(void)state;
	ASSERT_SCAN("\xf8\x06\x01", " unknown_field;");
	ASSERT_SCAN("\x22\x08\xf8\x06\x01\x0a\x03pbx", "accounts[pbx] unknown_field;");
	ASSERT_SCAN("\x22\x03\xf8\x06\x01\x22\x03\xf8\x06\x01", "accounts[0] unknown_field;accounts[1] unknown_field;");
	ASSERT_SCAN("\x22\x09\x0a\x02"
	            "p1"
	            "\x6a\x03\xf8\x06\x01",
	        "accounts[p1].commands[0] unknown_field;");
}

static void test_scan_unusable_id_falls_back_to_the_index(void **state)
{
	(void)state;
	ASSERT_SCAN("\x22\x06\xf8\x06\x01\x0a\x01/", "accounts[0] unknown_field;");
	ASSERT_SCAN("\x22\x05\xf8\x06\x01\x0a\x00", "accounts[0] unknown_field;");
}

static void test_scan_text_with_nul_or_bad_utf8_is_invalid(void **state)
{
	(void)state;
	ASSERT_SCAN("\x12\x03"
	            "a\0b",
	        "issuer invalid;");
	ASSERT_SCAN("\x12\x02\xc0\xaf", "issuer invalid;");
	ASSERT_SCAN("\x12\x01\xe2", "issuer invalid;");
	ASSERT_SCAN("\x12\x02\xc3\xbc", "");
}

static void test_scan_number_beyond_32_bits_is_out_of_range(void **state)
{
	(void)state;
	/* 2^32 + 2 would be read as 2 */
	ASSERT_SCAN("\x22\x06\x30\x82\x80\x80\x80\x10", "accounts[0].remote_port out_of_range;");
	ASSERT_SCAN("\x22\x06\x30\xff\xff\xff\xff\x0f", "");
}

static void test_scan_broken_wire_format_is_malformed(void **state)
{
	(void)state;
	ASSERT_SCAN("\x08", " malformed;");                                         /* no value */
	ASSERT_SCAN("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", " malformed;"); /* more than 64 bits */
	ASSERT_SCAN("\x00\x01", " malformed;");                                     /* field 0 */
	ASSERT_SCAN("\x0b\x0c", " malformed;");                                     /* a group */
	ASSERT_SCAN("\x12\x05"
	            "abc",
	        " malformed;");                                                 /* longer than the message */
	ASSERT_SCAN("\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", " malformed;"); /* a length that overflows */
	ASSERT_SCAN("\x0a\x01x", "revision malformed;");                        /* another wire type */
	ASSERT_SCAN("\x22\x02\x08\x01", "accounts[0].id malformed;");
	ASSERT_SCAN("\x22\x01\x0a", "accounts[0] malformed;");
}

static void test_scan_memory_is_bounded_before_it_is_taken(void **state)
{
	uint8_t buf[20000];
	struct seen seen;

	(void)state;
	for (size_t i = 0; i < sizeof(buf); i += 2) {
		buf[i] = 0x22; /* an empty account: 2 bytes here, hundreds in memory */
		buf[i + 1] = 0;
	}
	assert_int_equal(scan(&seen, buf, sizeof(buf), 1000000), EBADMSG);
	assert_string_equal(seen.all, " too_large;");
	assert_int_equal(scan(&seen, buf, sizeof(buf), 0), 0);
}

static void test_scan_ends_after_so_many_issues(void **state)
{
	const size_t len = 3 * (SCAN_ISSUES_MAX + 50);
	uint8_t *buf = malloc(len);
	struct seen seen;

	(void)state;
	assert_non_null(buf);
	for (size_t i = 0; i < len; i += 3)
		memcpy(buf + i, "\xf8\x06\x01", 3);
	assert_int_equal(scan(&seen, buf, len, 0), EBADMSG);
	assert_int_equal(seen.n, SCAN_ISSUES_MAX);
	free(buf);
}

static void test_scan_list_of_texts_is_named_by_index(void **state)
{
	static const uint8_t bytes[] = {0x0a, 0x01, 'a', 0x22, 0x01, 'b', 0x22, 0x02, 'c', 0};
	struct seen seen = {0};

	(void)state;
	/* CheckNowRequest.variables: a repeated string is never packed */
	assert_int_equal(
	        scan_message(&sipedge__v1__check_now_request__descriptor, bytes, sizeof(bytes), 0, seen_issue, &seen),
	        EBADMSG);
	assert_string_equal(seen.all, "variables[1] invalid;");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_scan_good_document_has_no_issues),
	        cmocka_unit_test(test_scan_unknown_field_is_found_at_every_level),
	        cmocka_unit_test(test_scan_unusable_id_falls_back_to_the_index),
	        cmocka_unit_test(test_scan_text_with_nul_or_bad_utf8_is_invalid),
	        cmocka_unit_test(test_scan_number_beyond_32_bits_is_out_of_range),
	        cmocka_unit_test(test_scan_broken_wire_format_is_malformed),
	        cmocka_unit_test(test_scan_memory_is_bounded_before_it_is_taken),
	        cmocka_unit_test(test_scan_ends_after_so_many_issues),
	        cmocka_unit_test(test_scan_list_of_texts_is_named_by_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
