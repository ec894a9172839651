/**
 * @file result.h  What one check found: one cell per column
 *
 * Pure; belongs to the loop thread. The cells are the only truth: the flat fields of CheckResult are copies of some of
 * them, made by wire.c. A cell that was never set is null: not measured, did not happen.
 */
#ifndef SIPEDGE_CORE_RESULT_H
#define SIPEDGE_CORE_RESULT_H

#include "edge/core/column.h"
#include "edge/core/config.h"
#include "edge/core/verdict.h"

enum { RESPONSES_MAX = 64 }; /* responses kept of one check; further ones are counted only */

/* One response received, provisional ones included. */
struct result_response {
	double offset_ms; /* since the request was first sent */
	uint16_t code;
	char *reason; /* as received, valid UTF-8 */
};

struct cell {
	bool is_set;
	union {
		bool b;
		int64_t i; /* INT, TIME (unix us) */
		double d;  /* DOUBLE, DURATION (ms) */
		char *s;   /* STRING, owned */
	} v;
};

struct result {
	struct account *account;       /* referenced */
	const struct command *command; /* inside account */
	uint64_t config_revision;      /* of the configuration in force when it started; 0: none */
	const char *trigger;           /* static: schedule, request, startup */
	int64_t started_unix_us;
	int64_t finished_unix_us;
	bool clock_synchronized;
	enum verdict verdict;
	enum verdict_error error;
	enum check_state state;
	int64_t state_since_unix_us; /* 0 while unknown */
	struct cell cells[COLUMN_COUNT];
	size_t nresponses; /* received; listed: at most RESPONSES_MAX */
	struct result_response responses[RESPONSES_MAX];
};

int result_alloc(struct result **resultp, struct account *account, const struct command *command);

/* Each asserts that the column has that type. Strings are copied, made valid UTF-8 and cut at 1024 bytes; NaN and infinity leave the cell null. */
void result_set_bool(struct result *r, enum column col, bool value);
void result_set_int(struct result *r, enum column col, int64_t value);
void result_set_double(struct result *r, enum column col, double value); /* DOUBLE and DURATION */
void result_set_str(struct result *r, enum column col, const char *text);
void result_set_pl(struct result *r, enum column col, const struct pl *pl);
void result_clear(struct result *r, enum column col);
void result_add_response(struct result *r, double offset_ms, uint16_t code, const struct pl *reason);

size_t result_responses_listed(const struct result *r); /* at most RESPONSES_MAX */

/* The cell of any column, also of those that checks never set because they follow from the rest: name, description,
   command, started, verdict, state, meaning, error_class. Borrowed from r. */
struct cell result_get(const struct result *r, enum column col);

/* quality of the table (OPC DA): 192 whenever the server answered, 12 when it did not, 8 when we could not try, 4 for a configuration error */
uint32_t result_quality(const struct result *r);

#endif
