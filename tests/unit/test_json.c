/**
 * @file test_json.c  The protobuf JSON form of messages
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "proto/json.h"
#include "sipedge/v1/sipedge.pb-c.h"

static void assert_json(const ProtobufCMessage *msg, const char *expected)
{
	char *text = NULL;

	assert_int_equal(json_format_message(&text, msg, JSON_COMPACT), 0);
	assert_string_equal(text, expected);
	free(text);
}

static void assert_cell_double(double v, const char *expected)
{
	Sipedge__V1__Cell cell = SIPEDGE__V1__CELL__INIT;

	cell.value_case = SIPEDGE__V1__CELL__VALUE_DOUBLE_VALUE;
	cell.double_value = v;
	assert_json(&cell.base, expected);
}

static void assert_reason(const char *reason, const char *expected)
{
	Sipedge__V1__CommandReply reply = SIPEDGE__V1__COMMAND_REPLY__INIT;
	char copy[64];

	strcpy(copy, reason);
	reply.reason = copy;
	assert_json(&reply.base, expected);
}

static void test_json_absent_fields_are_left_out(void **state)
{
	Sipedge__V1__CheckResult result = SIPEDGE__V1__CHECK_RESULT__INIT;

	(void)state;
	assert_json(&result.base, "{}");
}

static void test_json_oneof_shows_false_and_zero(void **state)
{
	Sipedge__V1__CheckResult result = SIPEDGE__V1__CHECK_RESULT__INIT;

	(void)state;
	result.ok_opt_case = SIPEDGE__V1__CHECK_RESULT__OK_OPT_OK;
	result.ok = 0;
	result.response_ms_opt_case = SIPEDGE__V1__CHECK_RESULT__RESPONSE_MS_OPT_RESPONSE_MS;
	result.response_ms = 0;
	assert_json(&result.base, "{\"ok\":false,\"response_ms\":0}");
}

static void test_json_64_bit_integers_are_strings(void **state)
{
	Sipedge__V1__CheckResult result = SIPEDGE__V1__CHECK_RESULT__INIT;

	(void)state;
	result.boot_id = UINT64_MAX;
	result.started_unix_us = INT64_MIN;
	result.attempts = UINT32_MAX;
	assert_json(&result.base, "{\"boot_id\":\"18446744073709551615\","
	                          "\"started_unix_us\":\"-9223372036854775808\",\"attempts\":4294967295}");
}

static void test_json_doubles_are_the_shortest_that_reads_back(void **state)
{
	(void)state;
	assert_cell_double(0.1, "{\"double_value\":0.1}");
	assert_cell_double(1.0 / 3, "{\"double_value\":0.3333333333333333}");
	assert_cell_double(0.1 + 0.2, "{\"double_value\":0.30000000000000004}");
	assert_cell_double(-0.0, "{\"double_value\":-0}");
	assert_cell_double(5e-324, "{\"double_value\":4.94065645841247e-324}");
}

static void test_json_not_a_number_is_a_name(void **state)
{
	(void)state;
	assert_cell_double((double)NAN, "{\"double_value\":\"NaN\"}");
	assert_cell_double(-(double)INFINITY, "{\"double_value\":\"-Infinity\"}");
}

static void test_json_enums_are_names_and_unknown_ones_numbers(void **state)
{
	Sipedge__V1__NodeStatus status = SIPEDGE__V1__NODE_STATUS__INIT;

	(void)state;
	status.state = SIPEDGE__V1__NODE_STATE__NODE_STATE_LOST;
	assert_json(&status.base, "{\"state\":\"NODE_STATE_LOST\"}");
	status.state = (Sipedge__V1__NodeState)77;
	assert_json(&status.base, "{\"state\":77}");
}

static void test_json_bytes_are_base64(void **state)
{
	static const char *const expected[] = {"{}", "{\"sealing_key\":\"/w==\"}", "{\"sealing_key\":\"/wA=\"}",
	        "{\"sealing_key\":\"/wD+\"}", "{\"sealing_key\":\"/wD+AQ==\"}"};
	uint8_t data[] = {0xff, 0x00, 0xfe, 0x01};
	Sipedge__V1__NodeStatus status = SIPEDGE__V1__NODE_STATUS__INIT;

	(void)state;
	status.sealing_key.data = data;
	for (size_t len = 0; len <= sizeof(data); len++) {
		status.sealing_key.len = len;
		assert_json(&status.base, expected[len]);
	}
}

static void test_json_text_is_escaped(void **state)
{
	(void)state;
	assert_reason("a\"b\\c\n\t\x1b[31m\x7f", "{\"reason\":\"a\\\"b\\\\c\\n\\t\\u001b[31m\\u007f\"}");
	assert_reason(
	        "\xc3\xbc \xe2\x82\xac \xf0\x9f\x93\x9e", "{\"reason\":\"\xc3\xbc \xe2\x82\xac \xf0\x9f\x93\x9e\"}");
	assert_reason("\xc2\x9b\xe2\x80\xae", "{\"reason\":\"\\u009b\\u202e\"}");
}

static void test_json_bad_utf8_becomes_the_replacement_character(void **state)
{
	(void)state;
	assert_reason("a\xff\xc0\xaf", "{\"reason\":\"a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}");
	assert_reason("\xe2\x82", "{\"reason\":\"\xef\xbf\xbd\xef\xbf\xbd\"}");
	assert_reason("\xed\xa0\x80", "{\"reason\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}");
}

static void test_json_pretty_indents_lists_and_messages(void **state)
{
	Sipedge__V1__ConfigIssue issue = SIPEDGE__V1__CONFIG_ISSUE__INIT;
	Sipedge__V1__ConfigIssue *issues[] = {&issue};
	Sipedge__V1__ConfigReport report = SIPEDGE__V1__CONFIG_REPORT__INIT;
	char code[] = "stale", *text = NULL;

	(void)state;
	issue.code = code;
	report.n_issues = 1;
	report.issues = issues;
	assert_int_equal(json_format_message(&text, &report.base, JSON_PRETTY), 0);
	assert_string_equal(text, "{\n  \"issues\": [\n    {\n      \"code\": \"stale\"\n    }\n  ]\n}\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_json_absent_fields_are_left_out),
	        cmocka_unit_test(test_json_oneof_shows_false_and_zero),
	        cmocka_unit_test(test_json_64_bit_integers_are_strings),
	        cmocka_unit_test(test_json_doubles_are_the_shortest_that_reads_back),
	        cmocka_unit_test(test_json_not_a_number_is_a_name),
	        cmocka_unit_test(test_json_enums_are_names_and_unknown_ones_numbers),
	        cmocka_unit_test(test_json_bytes_are_base64),
	        cmocka_unit_test(test_json_text_is_escaped),
	        cmocka_unit_test(test_json_bad_utf8_becomes_the_replacement_character),
	        cmocka_unit_test(test_json_pretty_indents_lists_and_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
