/**
 * @file wire_result.c  Encodes results
 *
 * By hand, since it happens for every check: the description of the columns is the same in every result of a method and is copied
 * as bytes; the rest is a few hundred short fields.
 */
#include <assert.h>
#include <errno.h>
#include <re.h>
#include "edge/core/pb.h"
#include "edge/core/sipcode.h"
#include "edge/core/wire.h"

enum {
	/* CheckResult */
	RESULT_NODE = 1,
	RESULT_ACCOUNT = 2,
	RESULT_VARIABLE = 3,
	RESULT_COMMAND = 4,
	RESULT_BOOT_ID = 5,
	RESULT_SEQ = 6,
	RESULT_CONFIG_REVISION = 7,
	RESULT_STARTED = 8,
	RESULT_FINISHED = 9,
	RESULT_TRIGGER = 10,
	RESULT_HISTORICAL = 11,
	RESULT_VERDICT = 12,
	RESULT_STATE = 13,
	RESULT_STATE_SINCE = 14,
	RESULT_OK = 15,
	RESULT_CLOCK_SYNCHRONIZED = 33,
	RESULT_TABLE = 40,

	/* DataTable, NestedTable */
	TABLE_FIELDS = 1,
	TABLE_RECORDS = 2,
	TABLE_QUALITY = 3,
	TABLE_TIME = 4,

	/* TableField, NestedColumn */
	FIELD_NAME = 1,
	FIELD_TYPE = 2,
	FIELD_DESCRIPTION = 3,
	FIELD_UNIT = 4,
	FIELD_NULLABLE = 5,

	/* Record, NestedRecord */
	RECORD_CELLS = 2,
	NESTED_RECORD_CELLS = 1,

	/* Cell, NestedCell */
	CELL_BOOL = 1,
	CELL_INT = 2,
	CELL_DOUBLE = 3,
	CELL_STRING = 4,
	CELL_TIME = 6,
	CELL_DURATION = 7,
	CELL_TABLE = 8,

	FIELDS_SIZE = 8192,         /* of one method's columns described; about 3500 are used */
	ROOM = 8192,                /* what a usual result takes */
	ROOM_MAX = 4 * 1024 * 1024, /* what no result takes: all strings of it are bounded */
};

/* The flat fields that are copies of cells. */
static const struct {
	unsigned field;
	enum column col;
	bool is_optional; /* in a oneof: 0 is written too */
} flat[] = {
        {16, COL_CODE, true},
        {17, COL_REASON, false},
        {18, COL_MEANING, false},
        {19, COL_ERROR_CLASS, false},
        {20, COL_ERROR_TEXT, false},
        {21, COL_RESPONSE_MS, true},
        {22, COL_TOTAL_MS, true},
        {23, COL_SCHED_LAG_MS, true},
        {24, COL_ATTEMPTS, false},
        {25, COL_RETRANSMITS, false},
        {26, COL_TRANSPORT, false},
        {27, COL_LOCAL, false},
        {28, COL_REMOTE, false},
        {30, COL_LOSS_PCT, true},
        {32, COL_DESCRIPTION, false},
};

/* The nested table `responses`. */
static const struct column_def response_columns[] = {
        {"offset_ms", COLUMN_DURATION, "ms", "Request first sent to this response", false, 0},
        {"code", COLUMN_INT, "", "SIP status code", false, 0},
        {"reason", COLUMN_STRING, "", "Reason phrase as received", true, 0},
        {"meaning", COLUMN_STRING, "", "What the code means", false, 0},
};

static void put_definition(struct pb *pb, const struct column_def *def, bool is_nested)
{
	size_t at = pb_begin(pb, TABLE_FIELDS);

	pb_str(pb, FIELD_NAME, def->name);
	pb_uint(pb, FIELD_TYPE, def->type);
	pb_str(pb, FIELD_DESCRIPTION, def->description);
	pb_str(pb, FIELD_UNIT, def->unit);
	if (!is_nested)
		pb_uint(pb, FIELD_NULLABLE, def->nullable);
	pb_end(pb, at);
}

/* The encoded TableFields of a method. Kept per thread, so that no lock is needed. */
static void put_definitions(struct pb *pb, enum method method)
{
	static _Thread_local struct {
		uint8_t buf[FIELDS_SIZE];
		size_t len;
	} cache[METHOD_COUNT];

	if (cache[method].len == 0) {
		struct pb fields = {cache[method].buf, FIELDS_SIZE, 0, false};

		for (enum column col = 0; col < COLUMN_COUNT; col++) {
			if (column_def(col)->methods & 1U << method)
				put_definition(&fields, column_def(col), false);
		}
		assert(!fields.failed);
		cache[method].len = fields.len;
	}
	pb_mem(pb, cache[method].buf, cache[method].len);
}

static void put_str_cell(struct pb *pb, unsigned field, const char *text)
{
	size_t at = pb_begin(pb, field);

	if (text)
		pb_str_opt(pb, CELL_STRING, text);
	pb_end(pb, at);
}

static void put_responses(struct pb *pb, const struct result *result)
{
	size_t table, record, at;

	if (result->nresponses == 0)
		return;
	table = pb_begin(pb, CELL_TABLE);
	for (size_t i = 0; i < sizeof(response_columns) / sizeof(response_columns[0]); i++)
		put_definition(pb, &response_columns[i], true);
	for (size_t i = 0; i < result_responses_listed(result); i++) {
		const struct result_response *response = &result->responses[i];

		record = pb_begin(pb, TABLE_RECORDS);
		at = pb_begin(pb, NESTED_RECORD_CELLS);
		pb_double_opt(pb, CELL_DURATION, response->offset_ms);
		pb_end(pb, at);
		at = pb_begin(pb, NESTED_RECORD_CELLS);
		pb_uint_opt(pb, CELL_INT, response->code);
		pb_end(pb, at);
		put_str_cell(pb, NESTED_RECORD_CELLS, response->reason);
		put_str_cell(pb, NESTED_RECORD_CELLS, sipcode_meaning(response->code));
		pb_end(pb, record);
	}
	pb_end(pb, table);
}

static void put_value(struct pb *pb, enum column_type type, const struct cell *cell)
{
	switch (type) {
	case COLUMN_BOOL:
		pb_uint_opt(pb, CELL_BOOL, cell->v.b);
		break;
	case COLUMN_INT:
		pb_uint_opt(pb, CELL_INT, (uint64_t)cell->v.i);
		break;
	case COLUMN_DOUBLE:
		pb_double_opt(pb, CELL_DOUBLE, cell->v.d);
		break;
	case COLUMN_STRING:
		pb_str_opt(pb, CELL_STRING, cell->v.s);
		break;
	case COLUMN_TIME:
		pb_uint_opt(pb, CELL_TIME, (uint64_t)cell->v.i);
		break;
	case COLUMN_DURATION:
		pb_double_opt(pb, CELL_DURATION, cell->v.d);
		break;
	case COLUMN_TABLE:
		break;
	}
}

static void put_record(struct pb *pb, const struct result *result)
{
	size_t record = pb_begin(pb, TABLE_RECORDS);

	for (enum column col = 0; col < COLUMN_COUNT; col++) {
		const struct column_def *def = column_def(col);
		struct cell cell;
		size_t at;

		if (!(def->methods & 1U << result->command->method))
			continue;
		at = pb_begin(pb, RECORD_CELLS);
		cell = result_get(result, col);
		if (col == COL_RESPONSES)
			put_responses(pb, result);
		else if (cell.is_set)
			put_value(pb, def->type, &cell);
		pb_end(pb, at);
	}
	pb_end(pb, record);
}

static void put_table(struct pb *pb, const struct result *result)
{
	size_t table = pb_begin(pb, RESULT_TABLE);

	put_definitions(pb, result->command->method);
	put_record(pb, result);
	pb_uint(pb, TABLE_QUALITY, result_quality(result));
	pb_uint(pb, TABLE_TIME, (uint64_t)result->finished_unix_us);
	pb_end(pb, table);
}

static void put_flat(struct pb *pb, const struct result *result)
{
	for (size_t i = 0; i < sizeof(flat) / sizeof(flat[0]); i++) {
		struct cell cell = result_get(result, flat[i].col);

		if (!cell.is_set)
			continue;
		switch ((int)column_def(flat[i].col)->type) {
		case COLUMN_STRING:
			pb_str(pb, flat[i].field, cell.v.s);
			break;
		case COLUMN_INT:
			if (flat[i].is_optional || cell.v.i)
				pb_uint_opt(pb, flat[i].field, (uint64_t)cell.v.i);
			break;
		default:
			pb_double_opt(pb, flat[i].field, cell.v.d);
			break;
		}
	}
}

static void put_result(struct pb *pb, const struct wire_origin *origin, const struct result *result)
{
	pb_str(pb, RESULT_NODE, origin->node);
	pb_str(pb, RESULT_ACCOUNT, result->account->id);
	pb_str(pb, RESULT_VARIABLE, result->command->name);
	pb_str(pb, RESULT_COMMAND, method_name(result->command->method));
	pb_uint(pb, RESULT_BOOT_ID, origin->boot_id);
	pb_uint(pb, RESULT_CONFIG_REVISION, result->config_revision);
	pb_uint(pb, RESULT_STARTED, (uint64_t)result->started_unix_us);
	pb_uint(pb, RESULT_FINISHED, (uint64_t)result->finished_unix_us);
	pb_str(pb, RESULT_TRIGGER, result->trigger);
	pb_str(pb, RESULT_VERDICT, verdict_name(result->verdict));
	pb_str(pb, RESULT_STATE, check_state_name(result->state));
	pb_uint(pb, RESULT_STATE_SINCE, (uint64_t)result->state_since_unix_us);
	if (result->verdict == VERDICT_OK || result->verdict == VERDICT_WARN)
		pb_uint_opt(pb, RESULT_OK, true);
	else if (result->verdict == VERDICT_FAIL)
		pb_uint_opt(pb, RESULT_OK, false);
	put_flat(pb, result);
	pb_uint(pb, RESULT_CLOCK_SYNCHRONIZED, result->clock_synchronized);
	put_table(pb, result);
}

int wire_encode_result(struct mbuf *mb, const struct wire_origin *origin, const struct result *result)
{
	if (!mb || !origin || !result)
		return EINVAL;
	for (size_t room = ROOM; room <= ROOM_MAX; room *= 4) {
		struct pb pb = {0};

		if (mbuf_get_space(mb) < room && mbuf_resize(mb, mb->pos + room))
			return ENOMEM;
		pb.buf = mb->buf + mb->pos;
		pb.size = mbuf_get_space(mb);
		put_result(&pb, origin, result);
		if (!pb.failed) {
			mb->pos += pb.len;
			mb->end = mb->pos;
			return 0;
		}
	}
	return EOVERFLOW;
}

size_t wire_seq(uint8_t buf[16], uint64_t seq)
{
	struct pb pb = {buf, 16, 0, false};

	pb_tag(&pb, RESULT_SEQ, PB_VARINT);
	pb_varint(&pb, seq);
	return pb.len;
}

size_t wire_historical(uint8_t buf[16])
{
	struct pb pb = {buf, 16, 0, false};

	pb_tag(&pb, RESULT_HISTORICAL, PB_VARINT);
	pb_varint(&pb, true);
	return pb.len;
}
