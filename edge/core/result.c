/**
 * @file result.c  What one check found: one cell per column
 */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <re.h>
#include "edge/core/result.h"
#include "edge/core/sipcode.h"
#include "edge/core/text.h"

enum { TEXT_LEN_MAX = 1024 };

static void destructor(void *arg)
{
	struct result *r = arg;

	for (enum column col = 0; col < COLUMN_COUNT; col++) {
		if (r->cells[col].is_set && column_def(col)->type == COLUMN_STRING)
			mem_deref(r->cells[col].v.s);
	}
	for (size_t i = 0; i < result_responses_listed(r); i++)
		mem_deref(r->responses[i].reason);
	mem_deref(r->account);
}

int result_alloc(struct result **resultp, struct account *account, const struct command *command)
{
	struct result *r;

	if (!resultp || !account || !command)
		return EINVAL;
	r = mem_zalloc(sizeof(*r), destructor);
	if (!r)
		return ENOMEM;
	r->account = mem_ref(account);
	r->command = command;
	r->trigger = "schedule";
	*resultp = r;
	return 0;
}

void result_set_bool(struct result *r, enum column col, bool value)
{
	assert(column_def(col)->type == COLUMN_BOOL);
	r->cells[col].is_set = true;
	r->cells[col].v.b = value;
}

void result_set_int(struct result *r, enum column col, int64_t value)
{
	assert(column_def(col)->type == COLUMN_INT || column_def(col)->type == COLUMN_TIME);
	r->cells[col].is_set = true;
	r->cells[col].v.i = value;
}

void result_set_double(struct result *r, enum column col, double value)
{
	assert(column_def(col)->type == COLUMN_DOUBLE || column_def(col)->type == COLUMN_DURATION);
	r->cells[col].is_set = isfinite(value);
	r->cells[col].v.d = isfinite(value) ? value : 0.0;
}

/* NULL when out of memory: the cell then stays null */
static char *clean_dup(const char *p, size_t len)
{
	char buf[TEXT_LEN_MAX + 1];
	size_t n = text_clean(buf, sizeof(buf), p, len);
	char *copy = mem_alloc(n + 1, NULL);

	if (copy)
		memcpy(copy, buf, n + 1);
	return copy;
}

void result_set_pl(struct result *r, enum column col, const struct pl *pl)
{
	struct cell *cell = &r->cells[col];
	char *copy;

	assert(column_def(col)->type == COLUMN_STRING);
	copy = pl && pl->p ? clean_dup(pl->p, pl->l) : NULL; /* before the old one goes: it may be the source */
	result_clear(r, col);
	cell->v.s = copy;
	cell->is_set = copy != NULL;
}

void result_set_str(struct result *r, enum column col, const char *text)
{
	struct pl pl = {text, text ? strlen(text) : 0};

	result_set_pl(r, col, &pl);
}

void result_clear(struct result *r, enum column col)
{
	struct cell *cell = &r->cells[col];

	if (cell->is_set && column_def(col)->type == COLUMN_STRING)
		mem_deref(cell->v.s);
	memset(cell, 0, sizeof(*cell));
}

void result_add_response(struct result *r, double offset_ms, uint16_t code, const struct pl *reason)
{
	if (r->nresponses < RESPONSES_MAX) {
		struct result_response *response = &r->responses[r->nresponses];

		response->offset_ms = isfinite(offset_ms) ? offset_ms : 0.0;
		response->code = code;
		response->reason = reason && reason->p ? clean_dup(reason->p, reason->l) : NULL;
	}
	++r->nresponses;
}

size_t result_responses_listed(const struct result *r)
{
	return r->nresponses < RESPONSES_MAX ? r->nresponses : RESPONSES_MAX;
}

static struct cell cell_str(const char *text)
{
	return (struct cell){.is_set = text != NULL, .v.s = (char *)text};
}

struct cell result_get(const struct result *r, enum column col)
{
	switch ((int)col) { /* the rest is what the check set */
	case COL_NAME:
		return cell_str(r->command->name);
	case COL_DESCRIPTION:
		return cell_str(r->command->description ? r->command->description : "");
	case COL_COMMAND:
		return cell_str(method_name(r->command->method));
	case COL_STARTED:
		return (struct cell){.is_set = true, .v.i = r->started_unix_us};
	case COL_VERDICT:
		return cell_str(verdict_name(r->verdict));
	case COL_STATE:
		return cell_str(check_state_name(r->state));
	case COL_ERROR_CLASS:
		return cell_str(verdict_error_name(r->error));
	case COL_MEANING:
		return cell_str(r->cells[COL_CODE].is_set ? sipcode_meaning((uint16_t)r->cells[COL_CODE].v.i) : NULL);
	default:
		return r->cells[col];
	}
}

uint32_t result_quality(const struct result *r)
{
	if (r->nresponses > 0 || r->cells[COL_CODE].is_set || r->error == VERDICT_ERROR_PROTOCOL)
		return 192; /* good: the server answered, if only rubbish */
	if (r->verdict == VERDICT_ERROR)
		return 8; /* not connected: we could not try */
	return 12;        /* device failure */
}
