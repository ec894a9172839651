/**
 * @file test_yaml.c  A YAML file as a message
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
#include "proto/json.h"
#include "proto/yaml.h"
#include "sipedge/v1/sipedge.pb-c.h"

struct seen {
	size_t n;
	char all[8192]; /* "line:column path: message\n" of each issue, as far as it fits */
};

static void seen_issue(size_t line, size_t column, const char *path, const char *message, void *arg)
{
	struct seen *seen = arg;
	const size_t at = strlen(seen->all);

	snprintf(seen->all + at, sizeof(seen->all) - at, "%zu:%zu %s: %s\n", line, column, path, message);
	seen->n++;
}

static int load(struct yamldoc **docp, struct seen *seen, const char *text, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	int err;

	assert_non_null(copy);
	memcpy(copy, text, len);
	memset(seen, 0, sizeof(*seen));
	err = yamldoc_load(docp, copy, len, &sipedge__v1__config_document__descriptor, seen_issue, seen);
	free(copy);

	return err;
}

static void assert_loads(const char *text, const char *json)
{
	struct yamldoc *doc = NULL;
	struct seen seen;
	char *out = NULL;

	assert_int_equal(load(&doc, &seen, text, strlen(text)), 0);
	assert_string_equal(seen.all, "");
	assert_int_equal(json_format_message(&out, yamldoc_message(doc), JSON_COMPACT), 0);
	assert_string_equal(out, json);
	free(out);
	yamldoc_free(doc);
}

static void assert_refused(const char *text, const char *issues)
{
	struct yamldoc *doc = NULL;
	struct seen seen;

	assert_int_equal(load(&doc, &seen, text, strlen(text)), EBADMSG);
	assert_null(doc);
	assert_string_equal(seen.all, issues);
}

static void test_yaml_document_of_the_manual_loads(void **state)
{
	(void)state;
	assert_loads("accounts:\n"
	             "  - id: headquarters\n"
	             "    local_port: 0                 # ephemeral\n"
	             "    remote_address: 192.0.2.10\n"
	             "    remote_port: 5060\n"
	             "    password: {file: headquarters.pw}\n"
	             "    timeout_ms: 2000\n"
	             "    commands:\n"
	             "      - {name: alive, command: OPTIONS, timeout_s: 2}\n"
	             "      - {name: greeting, command: MESSAGE, sip_data: \"hello\", target: \"600\"}\n",
	        "{\"accounts\":[{\"id\":\"headquarters\",\"local_port\":0,\"remote_address\":\"192.0.2.10\","
	        "\"remote_port\":5060,\"password\":{\"file\":\"headquarters.pw\"},\"timeout_ms\":2000,"
	        "\"commands\":[{\"name\":\"alive\",\"command\":\"OPTIONS\",\"timeout_s\":2},"
	        "{\"name\":\"greeting\",\"command\":\"MESSAGE\",\"sip_data\":\"hello\",\"target\":\"600\"}]}]}");
}

static void test_yaml_text_needs_no_quotes(void **state)
{
	(void)state;
	assert_loads("issuer: 600\nnode: \"no\"\n", "{\"issuer\":\"600\",\"node\":\"no\"}");
	assert_loads("issuer: >-\n  two\n  lines\n", "{\"issuer\":\"two lines\"}");
}

static void test_yaml_integers_reach_their_limits(void **state)
{
	(void)state;
	assert_loads("revision: 18446744073709551615\nissued_at_unix_us: -9223372036854775808\n",
	        "{\"revision\":\"18446744073709551615\",\"issued_at_unix_us\":\"-9223372036854775808\"}");
	assert_loads("revision: 0x1F\nissued_at_unix_us: +7\n", "{\"revision\":\"31\",\"issued_at_unix_us\":\"7\"}");
	assert_refused("revision: 18446744073709551616\nissued_at_unix_us: -9223372036854775809\n",
	        "1:11 revision: must be from 0 to 18446744073709551615\n"
	        "2:20 issued_at_unix_us: must be from -9223372036854775808 to 9223372036854775807\n");
	assert_refused("accounts: [{id: a, remote_port: 4294967296, timeout_ms: -1}]\n",
	        "1:33 accounts[a].remote_port: must be from 0 to 4294967295\n"
	        "1:57 accounts[a].timeout_ms: must be from 0 to 4294967295\n");
}

static void test_yaml_what_is_no_integer_is_refused(void **state)
{
	static const char *const bad[] = {"012", "1_000", "5.0", "1e3", "0x", "five", "5s", "+", "0b1", "--1", "0x-1"};
	char text[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "revision: %s\n", bad[i]);
		assert_refused(text, "1:11 revision: must be a whole number\n");
	}
	assert_refused("revision: '5'\n", "1:11 revision: must be a whole number, without quotes\n");
}

static void test_yaml_every_error_is_reported_with_its_place(void **state)
{
	(void)state;
	assert_refused("revision: soon\n"
	               "acounts: []\n"
	               "accounts:\n"
	               "  - id: pbx\n"
	               "    disabled: yes\n"
	               "    remote_port: [5060]\n"
	               "    commands:\n"
	               "      - name: alive\n"
	               "        timeout: 2\n"
	               "      - {command: OPTIONS, retries: many}\n"
	               "      - INVITE\n"
	               "  - remote: x\n",
	        "1:11 revision: must be a whole number\n"
	        "2:1 acounts: unknown key; did you mean accounts?\n"
	        "5:15 accounts[pbx].disabled: must be true or false\n"
	        "6:18 accounts[pbx].remote_port: must be a single value, not a list\n"
	        "9:9 accounts[pbx].commands[alive].timeout: unknown key; did you mean timeout_s?\n"
	        "10:37 accounts[pbx].commands[1].retries: must be a whole number\n"
	        "11:9 accounts[pbx].commands[2]: must be a mapping, not a single value\n"
	        "12:5 accounts[1].remote: unknown key; did you mean remote_address or remote_port?\n");
}

static void test_yaml_unknown_key_without_a_neighbour_gets_no_hint(void **state)
{
	(void)state;
	assert_refused("zzz: 1\n", "1:1 zzz: unknown key\n");
	assert_refused("<<: {revision: 1}\n", "1:1 <<: unknown key\n");
	assert_refused("? [a]\n: 1\n", "1:3 : a key must be a name, not a list\n");
}

static void test_yaml_duplicate_key_names_the_first(void **state)
{
	(void)state;
	assert_refused(
	        "revision: 1\nissuer: x\nrevision: 2\n", "3:1 revision: stands here a second time, first in line 1\n");
}

static void test_yaml_oneof_takes_one_member(void **state)
{
	(void)state;
	assert_refused("accounts: [{id: a, password: {file: f, plain: p}}]\n",
	        "1:40 accounts[a].password.plain: only one of file and plain can stand here\n");
	assert_loads(
	        "accounts: [{password: {sealed: AAEC}}]\n", "{\"accounts\":[{\"password\":{\"sealed\":\"AAEC\"}}]}");
}

static void test_yaml_base64_is_checked(void **state)
{
	static const char *const good[] = {"/w==", "/wA=", "/wD+"};
	static const char *const bad[] = {"A", "AA", "AAA", "A===", "AA=A", "A-_A", "AAAA="};
	char text[64], json[96];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), "signed: {payload: %s}\n", good[i]);
		snprintf(json, sizeof(json), "{\"signed\":{\"payload\":\"%s\"}}", good[i]);
		assert_loads(text, json);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "signed: {payload: %s}\n", bad[i]);
		assert_refused(text, "1:19 signed.payload: must be base64\n");
	}
}

static void test_yaml_empty_values_are_refused(void **state)
{
	(void)state;
	assert_refused("issuer:\nrevision: ~\naccounts:\nsigned: null\n",
	        "1:8 issuer: has no value; leave the key out, or write \"\"\n"
	        "2:11 revision: has no value; leave the key out, or write \"\"\n"
	        "3:1 accounts: has no value; leave the key out, or write []\n"
	        "4:9 signed: has no value; leave the key out, or write \"\"\n");
}

static void test_yaml_unreadable_text_is_reported_with_its_place(void **state)
{
	struct yamldoc *doc = NULL;
	struct seen seen;

	(void)state;
	assert_int_equal(load(&doc, &seen, "a: [1,\nb: }\n", 12), EBADMSG);
	assert_int_equal(seen.n, 1);
	assert_int_equal(strncmp(seen.all, "2:", 2), 0);

	assert_int_equal(load(&doc, &seen, "issuer: x\nnode: \xff\n", 18), EBADMSG);
	assert_int_equal(strncmp(seen.all, "2:7 : not YAML", 14), 0);

	assert_refused("", "0:0 : the file is empty\n");
	assert_refused("# nothing\n", "0:0 : the file is empty\n");
	assert_refused("- 1\n", "1:1 : must be a mapping, not a list\n");
	assert_refused("revision: 1\n---\nrevision: 2\n",
	        "2:1 : a second YAML document begins here: one file, one document\n");
	assert_refused("issuer: \"a\\0b\"\n", "1:9 issuer: holds a NUL character\n");
	assert_refused("issuer: !vault x\n", "1:9 issuer: tags like !vault mean nothing here\n");
}

static void test_yaml_aliases_work_within_bounds(void **state)
{
	struct yamldoc *doc = NULL;
	struct seen seen;
	char *text;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	assert_loads("accounts:\n  - id: a\n    commands: &c [{name: alive}]\n  - {id: b, commands: *c}\n",
	        "{\"accounts\":[{\"id\":\"a\",\"commands\":[{\"name\":\"alive\"}]},"
	        "{\"id\":\"b\",\"commands\":[{\"name\":\"alive\"}]}]}");
	assert_refused("accounts: &a [*a]\n", "1:11 accounts[0]: must be a mapping, not a list\n");
	assert_refused("signed: &s {signatures: [*s]}\n", "1:13 signed.signatures[0].signatures: unknown key\n");

	/* 300 MB out of 1 MB */
	assert_non_null(f);
	fprintf(f, "accounts:\n  - description: &d \"%01000000d\"\n", 0);
	for (int i = 0; i < 300; i++)
		fputs("  - {description: *d}\n", f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(load(&doc, &seen, text, len), EBADMSG);
	assert_int_equal(seen.n, 1);
	assert_non_null(strstr(seen.all, "with its aliases the document is larger than"));
	free(text);
}

static void test_yaml_deep_nesting_and_many_anchors_end_soon(void **state)
{
	const size_t size = 1000000;
	char *text = malloc(size + 1);
	size_t n;

	(void)state;
	assert_non_null(text);
	memset(text, '[', size);
	text[size] = '\0';
	assert_refused(text, "1:65 : nests deeper than 64\n");

	n = (size_t)sprintf(text, "accounts:\n");
	for (int i = 0; n < size - 32; i++)
		n += (size_t)sprintf(text + n, "- &a%d x\n", i);
	assert_refused(text, "2002:3 : has more than 2000 anchors\n");
	free(text);
}

static void test_yaml_alias_to_nothing_is_refused(void **state)
{
	struct yamldoc *doc = NULL;
	struct seen seen;

	(void)state;
	assert_int_equal(load(&doc, &seen, "issuer: *x\n", 11), EBADMSG);
	assert_non_null(strstr(seen.all, "1:9 : not YAML"));
}

static void test_yaml_larger_file_is_refused(void **state)
{
	char *text = malloc(YAMLDOC_SIZE_MAX + 1);
	struct yamldoc *doc = NULL;
	struct seen seen;

	(void)state;
	assert_non_null(text);
	memset(text, '\n', YAMLDOC_SIZE_MAX + 1);
	assert_int_equal(load(&doc, &seen, text, YAMLDOC_SIZE_MAX + 1), EBADMSG);
	assert_string_equal(seen.all, "0:0 : the file is larger than 16 MiB\n");
	free(text);
}

static void assert_located(const struct yamldoc *doc, const char *path, size_t line, size_t column)
{
	size_t l = 0, c = 0;

	assert_int_equal(yamldoc_locate(doc, path, &l, &c), line != 0);
	assert_int_equal(l, line);
	assert_int_equal(c, column);
}

static void test_yaml_later_issues_find_their_line(void **state)
{
	static const char text[] = "revision: 3\n"
	                           "accounts:\n"
	                           "  - id: pbx\n"
	                           "    commands:\n"
	                           "      - name: alive\n"
	                           "        timeout_s: 2\n"
	                           "  - id: a/b\n"
	                           "    remote_port: 1\n"
	                           "  - id: pbx\n"
	                           "    remote_port: 2\n"
	                           "  - id: '0'\n";
	struct yamldoc *doc = NULL;
	struct seen seen;

	(void)state;
	assert_int_equal(load(&doc, &seen, text, strlen(text)), 0);
	assert_located(doc, "revision", 1, 11);
	assert_located(doc, "accounts[1].remote_port", 8, 18);
	assert_located(doc, "accounts[pbx].remote_port", 10, 18);
	assert_located(doc, "accounts[pbx].commands[alive].timeout_s", 6, 20);
	assert_located(doc, "accounts[pbx].remote_address", 3, 5);
	assert_located(doc, "accounts[0]", 11, 5);
	assert_located(doc, "accounts[2].id", 9, 9);
	assert_located(doc, "accounts[7].id", 3, 3);
	assert_located(doc, "accounts[pbx].commands[0][0][0].x", 5, 9);
	assert_located(doc, "", 0, 0);
	assert_located(doc, "nothing", 0, 0);
	assert_located(doc, "[[..]]", 0, 0);
	yamldoc_free(doc);
}

static void test_yaml_nested_entries_are_located_in_their_own_list(void **state)
{
	static const char text[] = "accounts:\n"
	                           "- {id: a, commands: [{name: x}]}\n"
	                           "- {id: b, commands: [{name: x}]}\n";
	struct yamldoc *doc = NULL;
	struct seen seen;

	(void)state;
	assert_int_equal(load(&doc, &seen, text, strlen(text)), 0);
	assert_located(doc, "accounts[a].commands[x].name", 2, 29);
	assert_located(doc, "accounts[b].commands[x].name", 3, 29);
	yamldoc_free(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_yaml_document_of_the_manual_loads),
	        cmocka_unit_test(test_yaml_text_needs_no_quotes),
	        cmocka_unit_test(test_yaml_integers_reach_their_limits),
	        cmocka_unit_test(test_yaml_what_is_no_integer_is_refused),
	        cmocka_unit_test(test_yaml_every_error_is_reported_with_its_place),
	        cmocka_unit_test(test_yaml_unknown_key_without_a_neighbour_gets_no_hint),
	        cmocka_unit_test(test_yaml_duplicate_key_names_the_first),
	        cmocka_unit_test(test_yaml_oneof_takes_one_member),
	        cmocka_unit_test(test_yaml_base64_is_checked),
	        cmocka_unit_test(test_yaml_empty_values_are_refused),
	        cmocka_unit_test(test_yaml_unreadable_text_is_reported_with_its_place),
	        cmocka_unit_test(test_yaml_aliases_work_within_bounds),
	        cmocka_unit_test(test_yaml_deep_nesting_and_many_anchors_end_soon),
	        cmocka_unit_test(test_yaml_alias_to_nothing_is_refused),
	        cmocka_unit_test(test_yaml_larger_file_is_refused),
	        cmocka_unit_test(test_yaml_later_issues_find_their_line),
	        cmocka_unit_test(test_yaml_nested_entries_are_located_in_their_own_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
