/**
 * @file probe_print.c  Prints one encoded CheckResult for a person, a script or a monitoring system
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "edge/probe_print.h"
#include "proto/json.h"
#include "sipedge/v1/sipedge.pb-c.h"

typedef Sipedge__V1__CheckResult CheckResult;
typedef Sipedge__V1__Cell Cell;
typedef Sipedge__V1__NestedTable NestedTable;
typedef Sipedge__V1__NestedCell NestedCell;

static const char *const format_names[] = {"table", "json", "nagios", "protobuf"};

bool probe_format_parse(enum probe_format *formatp, const char *name)
{
	for (int i = PROBE_TABLE; i <= PROBE_PROTOBUF; i++) {
		if (!strcmp(name, format_names[i])) {
			*formatp = (enum probe_format)i;
			return true;
		}
	}

	return false;
}

/* what a server sent must not drive a terminal, nor forge a line */
static void print_text(FILE *f, const char *text, const char *refused)
{
	for (const char *p = text; *p; p++)
		(void)fputc((unsigned char)*p < 0x20 || *p == 0x7f || strchr(refused, *p) ? '?' : *p, f);
}

static void print_time(FILE *f, int64_t unix_us)
{
	time_t sec = unix_us / 1000000;
	char text[40];
	struct tm tm;

	(void)gmtime_r(&sec, &tm);
	(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	(void)fprintf(f, "%s.%06d UTC", text, (int)(unix_us % 1000000));
}

static void print_nested_cell(FILE *f, const NestedCell *cell)
{
	switch (cell->value_case) {
	case SIPEDGE__V1__NESTED_CELL__VALUE_INT_VALUE:
		(void)fprintf(f, "%" PRId64, cell->int_value);
		break;
	case SIPEDGE__V1__NESTED_CELL__VALUE_DURATION_MS:
		(void)fprintf(f, "%9.3f ms", cell->duration_ms);
		break;
	case SIPEDGE__V1__NESTED_CELL__VALUE_STRING_VALUE:
		print_text(f, cell->string_value, "");
		break;
	default:
		break;
	}
}

static void print_nested(FILE *f, const NestedTable *table)
{
	for (size_t i = 0; i < table->n_records; i++) {
		(void)fputs("\n   ", f);
		for (size_t k = 0; k < table->records[i]->n_cells; k++) {
			(void)fputc(' ', f);
			print_nested_cell(f, table->records[i]->cells[k]);
		}
	}
}

static void print_cell(FILE *f, const Cell *cell, const char *unit)
{
	switch (cell->value_case) {
	case SIPEDGE__V1__CELL__VALUE_BOOL_VALUE:
		(void)fputs(cell->bool_value ? "true" : "false", f);
		break;
	case SIPEDGE__V1__CELL__VALUE_INT_VALUE:
		(void)fprintf(f, "%" PRId64 "%s%s", cell->int_value, *unit ? " " : "", unit);
		break;
	case SIPEDGE__V1__CELL__VALUE_DOUBLE_VALUE:
		(void)fprintf(f, "%.3f%s%s", cell->double_value, *unit ? " " : "", unit);
		break;
	case SIPEDGE__V1__CELL__VALUE_DURATION_MS:
		(void)fprintf(f, "%.3f ms", cell->duration_ms);
		break;
	case SIPEDGE__V1__CELL__VALUE_STRING_VALUE:
		print_text(f, cell->string_value, "");
		break;
	case SIPEDGE__V1__CELL__VALUE_TIME_UNIX_US:
		print_time(f, cell->time_unix_us);
		break;
	case SIPEDGE__V1__CELL__VALUE_TABLE_VALUE:
		print_nested(f, cell->table_value);
		break;
	case SIPEDGE__V1__CELL__VALUE_BYTES_VALUE:
	case SIPEDGE__V1__CELL__VALUE__NOT_SET:
	default:
		break;
	}
}

static const char *colour_of(const char *verdict)
{
	if (!strcmp(verdict, "ok"))
		return "\033[32m";
	if (!strcmp(verdict, "fail"))
		return "\033[31m";

	return "\033[33m";
}

/* one line for each column that is not null */
static void print_table(FILE *f, const CheckResult *r, bool colours)
{
	const Sipedge__V1__DataTable *table = r->table;

	for (size_t i = 0; table && table->n_records && i < table->n_fields && i < table->records[0]->n_cells; i++) {
		const Sipedge__V1__TableField *field = table->fields[i];
		const Cell *cell = table->records[0]->cells[i];
		bool is_verdict = colours && !strcmp(field->name, "verdict");

		if (cell->value_case == SIPEDGE__V1__CELL__VALUE__NOT_SET ||
		        (cell->value_case == SIPEDGE__V1__CELL__VALUE_STRING_VALUE && !*cell->string_value))
			continue;
		(void)fprintf(f, "%-18s%s", field->name, is_verdict ? colour_of(r->verdict) : "");
		print_cell(f, cell, field->unit);
		(void)fputs(is_verdict ? "\033[0m\n" : "\n", f);
	}
}

static void print_limit(FILE *f, uint32_t limit_ms)
{
	(void)fputc(';', f);
	if (limit_ms)
		(void)fprintf(f, "%u", limit_ms);
}

/* Monitoring Plugins Development Guidelines, "Performance data": 'label'=value[UOM];[warn];[crit];[min];[max] */
static void print_nagios(FILE *f, const CheckResult *r, const struct command *command)
{
	static const char *const words[][2] = {
	        {"ok", "OK"}, {"warn", "WARNING"}, {"maintenance", "WARNING"}, {"fail", "CRITICAL"}};
	const char *word = "UNKNOWN";

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (!strcmp(r->verdict, words[i][0]))
			word = words[i][1];

	(void)fprintf(f, "SIP %s - %s ", word, r->command);
	if (r->code_opt_case == SIPEDGE__V1__CHECK_RESULT__CODE_OPT_CODE) {
		(void)fprintf(f, "%u ", r->code);
		print_text(f, r->reason, "|");
	}
	if (*r->error_text) {
		(void)fputs(r->code_opt_case ? ": " : "", f);
		print_text(f, r->error_text, "|");
	}
	if (!strcmp(r->verdict, "maintenance"))
		(void)fputs(" (maintenance)", f);
	if (r->response_ms_opt_case == SIPEDGE__V1__CHECK_RESULT__RESPONSE_MS_OPT_RESPONSE_MS) {
		(void)fprintf(f, " in %.3f ms | response_ms=%.3fms", r->response_ms, r->response_ms);
		print_limit(f, command->warn_ms);
		print_limit(f, command->fail_ms);
		(void)fputs(";0", f);
	}
	(void)fputc('\n', f);
}

int probe_print(
        FILE *f, enum probe_format format, const uint8_t *buf, size_t len, const struct command *command, bool colours)
{
	CheckResult *r = sipedge__v1__check_result__unpack(NULL, len, buf);
	int err = 0;

	if (!r)
		return EBADMSG;

	switch (format) {
	case PROBE_TABLE:
		print_table(f, r, colours);
		break;
	case PROBE_JSON:
		err = json_print_message(f, &r->base, JSON_PRETTY);
		break;
	case PROBE_NAGIOS:
		print_nagios(f, r, command);
		break;
	case PROBE_PROTOBUF:
		(void)fwrite(buf, 1, len, f);
		break;
	}
	if (!err && (fflush(f) || ferror(f)))
		err = EIO;
	sipedge__v1__check_result__free_unpacked(r, NULL);

	return err;
}
