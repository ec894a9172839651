/**
 * @file test_wire_result.c  What we encode by hand is what protobuf-c reads
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/core/sipcode.h"
#include "edge/core/wire.h"
#include "proto/scan.h"
#include "sipedge/v1/sipedge.pb-c.h"

#define NOT_SET SIPEDGE__V1__CELL__VALUE__NOT_SET

static const struct wire_origin origin = {.node = "edge-1", .boot_id = 0xfedcba9876543210};
static struct account *account;
static struct result *r;
static struct mbuf *mb;
static Sipedge__V1__CheckResult *message;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(account_alloc(&account), 0);
	(void)str_dup(&account->id, "pbx1");
	account->commands = mem_zalloc(sizeof(*account->commands), NULL);
	account->ncommands = 1;
	(void)str_dup(&account->commands[0].name, "alive");
	(void)str_dup(&account->commands[0].description, "is it there");
	assert_int_equal(result_alloc(&r, account, &account->commands[0]), 0);
	r->config_revision = 7;
	r->started_unix_us = 1700000000000000;
	r->finished_unix_us = 1700000000012345;
	mb = mbuf_alloc(64);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (message)
		sipedge__v1__check_result__free_unpacked(message, NULL);
	message = NULL;
	r = mem_deref(r);
	mb = mem_deref(mb);
	account = mem_deref(account);
	return 0;
}

static void issue_h(const char *path, const char *code, const char *text, void *arg)
{
	(void)arg;
	fail_msg("%s: %s: %s", path, code, text);
}

static void encode(void)
{
	assert_int_equal(wire_encode_result(mb, &origin, r), 0);
	assert_int_equal(scan_message(&sipedge__v1__check_result__descriptor, mb->buf, mb->end, 0, issue_h, NULL), 0);
	message = sipedge__v1__check_result__unpack(NULL, mb->end, mb->buf);
	assert_non_null(message);
}

static const Sipedge__V1__Cell *cell(const char *name)
{
	const Sipedge__V1__DataTable *table = message->table;

	for (size_t i = 0; i < table->n_fields; i++) {
		if (0 == strcmp(table->fields[i]->name, name))
			return table->records[0]->cells[i];
	}
	return NULL;
}

static void test_wire_result_of_a_timeout_has_no_code_and_no_times(void **state)
{
	(void)state;
	r->verdict = VERDICT_FAIL;
	r->error = VERDICT_ERROR_TIMEOUT;
	result_set_str(r, COL_ERROR_TEXT, "no final answer within 2000 ms");
	result_set_int(r, COL_ATTEMPTS, 1);
	encode();
	assert_string_equal(message->node, "edge-1");
	assert_string_equal(message->account, "pbx1");
	assert_string_equal(message->variable, "alive");
	assert_string_equal(message->command, "OPTIONS");
	assert_true(message->boot_id == origin.boot_id);
	assert_int_equal(message->seq, 0);
	assert_int_equal(message->config_revision, 7);
	assert_int_equal(message->started_unix_us, 1700000000000000);
	assert_int_equal(message->finished_unix_us, 1700000000012345);
	assert_string_equal(message->trigger, "schedule");
	assert_string_equal(message->verdict, "fail");
	assert_string_equal(message->state, "unknown");
	assert_int_not_equal(message->ok_opt_case, 0);
	assert_false(message->ok);
	assert_int_equal(message->code_opt_case, 0);
	assert_int_equal(message->response_ms_opt_case, 0);
	assert_int_equal(message->total_ms_opt_case, 0);
	assert_int_equal(message->mos_opt_case, 0);
	assert_string_equal(message->error_class, "timeout");
	assert_string_equal(message->meaning, "");
	assert_string_equal(message->description, "is it there");
	assert_int_equal(message->table->quality, 12);
	assert_int_equal(message->table->time_unix_us, 1700000000012345);
	assert_int_equal(cell("code")->value_case, NOT_SET);
	assert_int_equal(cell("response_ms")->value_case, NOT_SET);
	assert_int_equal(cell("responses")->value_case, NOT_SET);
}

static void test_wire_result_of_an_answer_has_flat_fields_and_cells(void **state)
{
	struct pl trying = PL("Trying"), busy = PL("B\xfcsy");
	const Sipedge__V1__NestedTable *responses;

	(void)state;
	r->verdict = VERDICT_WARN;
	r->state = STATE_OK;
	r->state_since_unix_us = 1600000000000000;
	r->clock_synchronized = true;
	r->trigger = "request";
	result_set_int(r, COL_CODE, 486);
	result_set_pl(r, COL_REASON, &busy);
	result_set_double(r, COL_RESPONSE_MS, 0.0);
	result_set_double(r, COL_TOTAL_MS, 12.25);
	result_set_double(r, COL_SCHED_LAG_MS, 0.5);
	result_set_int(r, COL_RETRANSMITS, 3);
	result_set_str(r, COL_TRANSPORT, "udp");
	result_set_str(r, COL_LOCAL, "127.0.0.1:40000");
	result_set_str(r, COL_REMOTE, "[::1]:5060");
	result_add_response(r, 0.5, 100, &trying);
	result_add_response(r, 12.0, 486, NULL);
	encode();
	assert_true(message->ok);
	assert_int_equal(message->code, 486);
	assert_string_equal(message->reason, "B?sy");
	assert_string_equal(message->meaning, sipcode_meaning(486));
	assert_string_equal(message->error_class, "none");
	assert_int_not_equal(message->response_ms_opt_case, 0);
	assert_true(message->response_ms == 0.0);
	assert_true(message->total_ms == 12.25);
	assert_true(message->sched_lag_ms == 0.5);
	assert_int_equal(message->retransmits, 3);
	assert_string_equal(message->remote, "[::1]:5060");
	assert_string_equal(message->trigger, "request");
	assert_string_equal(message->state, "ok");
	assert_int_equal(message->state_since_unix_us, 1600000000000000);
	assert_true(message->clock_synchronized);
	assert_int_equal(message->table->quality, 192);
	assert_int_equal(cell("code")->int_value, 486);
	assert_true(cell("response_ms")->duration_ms == 0.0);
	assert_int_equal(cell("started")->time_unix_us, r->started_unix_us);
	assert_string_equal(cell("name")->string_value, "alive");
	assert_null(cell("sched_lag_ms"));
	responses = cell("responses")->table_value;
	assert_int_equal(responses->n_columns, 4);
	assert_int_equal(responses->n_records, 2);
	assert_string_equal(responses->columns[3]->name, "meaning");
	assert_true(responses->records[0]->cells[0]->duration_ms == 0.5);
	assert_int_equal(responses->records[0]->cells[1]->int_value, 100);
	assert_string_equal(responses->records[0]->cells[2]->string_value, "Trying");
	assert_int_equal(responses->records[1]->cells[2]->value_case, 0);
	assert_string_equal(responses->records[1]->cells[3]->string_value, sipcode_meaning(486));
}

static void test_wire_result_ok_is_absent_when_nothing_is_said_of_the_server(void **state)
{
	(void)state;
	r->verdict = VERDICT_ERROR;
	encode();
	assert_int_equal(message->ok_opt_case, 0);
	assert_int_equal(message->table->quality, 8);
	sipedge__v1__check_result__free_unpacked(message, NULL);
	mbuf_rewind(mb);
	r->verdict = VERDICT_MAINTENANCE;
	encode();
	assert_int_equal(message->ok_opt_case, 0);
}

/* Counters are never negative, other numbers may be. */
static int64_t number_of(enum column col)
{
	return col == COL_CODE || col == COL_ATTEMPTS || col == COL_RETRANSMITS ? (int64_t)col : -(int64_t)col;
}

static void fill(enum column col)
{
	switch (column_def(col)->type) {
	case COLUMN_BOOL:
		result_set_bool(r, col, false);
		break;
	case COLUMN_INT:
		result_set_int(r, col, number_of(col));
		break;
	case COLUMN_DOUBLE:
	case COLUMN_DURATION:
		result_set_double(r, col, col + 0.25);
		break;
	case COLUMN_STRING:
		result_set_str(r, col, "");
		break;
	case COLUMN_TIME:
	case COLUMN_TABLE:
		break;
	}
}

static void check_cell(const Sipedge__V1__Cell *c, const Sipedge__V1__TableField *field, enum column col)
{
	assert_string_equal(field->name, column_def(col)->name);
	assert_int_equal(field->type, column_def(col)->type);
	assert_string_equal(field->unit, column_def(col)->unit);
	assert_string_equal(field->description, column_def(col)->description);
	assert_int_equal(field->nullable, column_def(col)->nullable);
	assert_int_not_equal(c->value_case, NOT_SET);
	assert_int_equal(c->value_case, (int)column_def(col)->type); /* the numbers of both are the same by design */
	if (column_def(col)->type == COLUMN_INT)
		assert_int_equal(c->int_value, number_of(col));
	if (column_def(col)->type == COLUMN_DURATION)
		assert_true(c->duration_ms == col + 0.25);
}

static void test_wire_result_tables_have_the_columns_of_their_method_in_order(void **state)
{
	(void)state;
	for (enum column col = 0; col < COLUMN_COUNT; col++)
		fill(col);
	result_add_response(r, 1, 200, NULL);
	for (enum method m = 0; m < METHOD_COUNT; m++) {
		size_t i = 0;

		account->commands[0].method = m;
		mbuf_rewind(mb);
		encode();
		assert_int_equal(message->table->n_records, 1);
		for (enum column col = 0; col < COLUMN_COUNT; col++) {
			if (!(column_def(col)->methods & 1U << m))
				continue;
			assert_true(i < message->table->n_fields);
			check_cell(message->table->records[0]->cells[i], message->table->fields[i], col);
			++i;
		}
		assert_int_equal(i, message->table->n_fields);
		assert_int_equal(i, message->table->records[0]->n_cells);
		assert_int_equal(message->loss_pct_opt_case != 0, true);
		sipedge__v1__check_result__free_unpacked(message, NULL);
		message = NULL;
	}
}

static void test_wire_result_seq_and_historical_are_appended(void **state)
{
	uint8_t buf[16];

	(void)state;
	assert_int_equal(wire_encode_result(mb, &origin, r), 0);
	assert_int_equal(mbuf_write_mem(mb, buf, wire_seq(buf, UINT64_MAX)), 0);
	assert_int_equal(mbuf_write_mem(mb, buf, wire_historical(buf)), 0);
	message = sipedge__v1__check_result__unpack(NULL, mb->end, mb->buf);
	assert_non_null(message);
	assert_true(message->seq == UINT64_MAX);
	assert_true(message->historical);
	assert_non_null(message->table);
}

static void test_wire_result_of_any_size_fits(void **state)
{
	char text[1025];
	struct pl reason = {text, 1024};

	(void)state;
	memset(text, 'x', 1024);
	text[1024] = '\0';
	account->commands[0].method = METHOD_INVITE;
	for (enum column col = 0; col < COLUMN_COUNT; col++) {
		if (column_def(col)->type == COLUMN_STRING)
			result_set_str(r, col, text);
	}
	for (int i = 0; i < RESPONSES_MAX + 1; i++)
		result_add_response(r, i, 183, &reason);
	mb->pos = 3; /* appended, not put at the start */
	assert_int_equal(wire_encode_result(mb, &origin, r), 0);
	message = sipedge__v1__check_result__unpack(NULL, mb->end - 3, mb->buf + 3);
	assert_non_null(message);
	assert_int_equal(cell("responses")->table_value->n_records, RESPONSES_MAX);
	assert_string_equal(cell("server")->string_value, text);
}

static void test_wire_report_carries_every_issue(void **state)
{
	Sipedge__V1__ConfigReport *report;
	struct issues *issues;
	uint8_t sha256[DIGEST_SIZE] = {1, 2, 3};
	struct wire_report in = {.status = CONFIG_REJECTED,
	        .offered_revision = 8,
	        .effective_revision = 7,
	        .effective_sha256 = sha256,
	        .changed_at_unix_us = 99,
	        .accounts = 2,
	        .commands = 5};

	(void)state;
	assert_int_equal(issues_alloc(&issues), 0);
	for (int i = 0; i < 250; i++)
		issues_add(issues, "accounts[a].id", "invalid", "number %d \xff", i);
	in.issues = issues;
	assert_int_equal(wire_encode_report(mb, &in), 0);
	report = sipedge__v1__config_report__unpack(NULL, mb->end, mb->buf);
	assert_non_null(report);
	assert_int_equal(report->status, SIPEDGE__V1__CONFIG_STATUS__CONFIG_STATUS_REJECTED);
	assert_int_equal(report->offered_revision, 8);
	assert_int_equal(report->effective_revision, 7);
	assert_int_equal(report->effective_sha256.len, DIGEST_SIZE);
	assert_int_equal(report->accounts, 2);
	assert_int_equal(report->commands, 5);
	assert_int_equal(report->n_issues, ISSUES_MAX);
	assert_string_equal(report->issues[0]->message, "number 0 ?");
	assert_string_equal(report->issues[0]->path, "accounts[a].id");
	assert_string_equal(report->issues[99]->message, "and 151 more issues");
	assert_string_equal(report->issues[99]->path, "");
	sipedge__v1__config_report__free_unpacked(report, NULL);
	mem_deref(issues);
}

static void test_wire_status(void **state)
{
	static const char *const capabilities[] = {"OPTIONS", "udp", NULL};
	Sipedge__V1__NodeStatus *status;
	struct wire_status in = {.state = NODE_LOST,
	        .node = "edge-1",
	        .session = 5,
	        .since_unix_us = 6,
	        .version = "0.1.0",
	        .capabilities = capabilities,
	        .dropped_results = 9,
	        .clock_synchronized = true};

	(void)state;
	assert_int_equal(wire_encode_status(mb, &in), 0);
	status = sipedge__v1__node_status__unpack(NULL, mb->end, mb->buf);
	assert_non_null(status);
	assert_int_equal(status->state, SIPEDGE__V1__NODE_STATE__NODE_STATE_LOST);
	assert_string_equal(status->node, "edge-1");
	assert_int_equal(status->n_capabilities, 2);
	assert_string_equal(status->capabilities[1], "udp");
	assert_int_equal(status->dropped_results, 9);
	assert_true(status->clock_synchronized);
	sipedge__v1__node_status__free_unpacked(status, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_wire_result_of_a_timeout_has_no_code_and_no_times),
	        TEST(test_wire_result_of_an_answer_has_flat_fields_and_cells),
	        TEST(test_wire_result_ok_is_absent_when_nothing_is_said_of_the_server),
	        TEST(test_wire_result_tables_have_the_columns_of_their_method_in_order),
	        TEST(test_wire_result_seq_and_historical_are_appended),
	        TEST(test_wire_result_of_any_size_fits),
	        TEST(test_wire_report_carries_every_issue),
	        TEST(test_wire_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
