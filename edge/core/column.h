/**
 * @file column.h  The columns of result tables: one flat table, from which the DataTable and the reference are made
 *
 * Pure, static. Order here is the order in a table. Names never change.
 */
#ifndef SIPEDGE_CORE_COLUMN_H
#define SIPEDGE_CORE_COLUMN_H

#include <stdbool.h>

enum column_type {
	COLUMN_BOOL = 1, /* the numbers of FieldType */
	COLUMN_INT = 2,
	COLUMN_DOUBLE = 3,
	COLUMN_STRING = 4,
	COLUMN_TIME = 6,
	COLUMN_DURATION = 7,
	COLUMN_TABLE = 8,
};

enum column {
	/* every method */
	COL_NAME,
	COL_DESCRIPTION,
	COL_COMMAND,
	COL_TARGET,
	COL_STARTED,
	COL_VERDICT,
	COL_STATE,
	COL_CODE,
	COL_REASON,
	COL_MEANING,
	COL_ERROR_CLASS,
	COL_ERROR_TEXT,
	COL_LOCAL,
	COL_REMOTE,
	COL_TRANSPORT,
	COL_DNS_MS,
	COL_CONNECT_MS,
	COL_FIRST_MS,
	COL_AUTH_MS,
	COL_RESPONSE_MS,
	COL_TOTAL_MS,
	COL_RETRANSMITS,
	COL_ATTEMPTS,
	COL_AUTH_ALG,
	COL_AUTH_ROUNDS,
	COL_RETRY_AFTER_S,
	COL_SERVER,
	COL_NAT_ADDR,
	COL_CALL_ID,
	COL_RESPONSES,
	/* OPTIONS */
	COL_ALLOW,
	COL_SUPPORTED,
	COL_ACCEPT,
	/* MESSAGE */
	COL_ACCEPTED_ONLY,
	/* REGISTER */
	COL_RRD_MS,
	COL_IRA,
	COL_EXPIRES_REQUESTED,
	COL_EXPIRES_GRANTED,
	COL_BINDINGS,
	COL_UNREGISTER_CODE,
	COL_UNREGISTER_MS,
	/* INVITE */
	COL_TRYING_MS,
	COL_SRD_MS,
	COL_SRD_FAILED,
	COL_RING_MS,
	COL_ANSWER_MS,
	COL_SDT_S,
	COL_SDD_MS,
	COL_SER,
	COL_SEER,
	COL_ISA,
	COL_SCR,
	COL_ENDED_BY,
	COL_CANCEL_SENT,
	COL_BYE_CODE,
	COL_EARLY_MEDIA,
	COL_CODEC,
	COL_RTP_TX,
	COL_RTP_RX,
	COL_FIRST_RTP_MS,
	COL_LOSS_PCT,
	COL_JITTER_MS,
	COL_REORDERED,
	COL_DUPLICATED,
	COL_AUDIO,
	/* not in tables: flat fields only */
	COL_SCHED_LAG_MS,
	COLUMN_COUNT,
};

struct column_def {
	const char *name;
	enum column_type type;
	const char *unit;        /* "" where it has none */
	const char *description; /* one line */
	bool nullable;
	unsigned methods; /* bit mask of 1 << enum method; 0: flat field only */
};

const struct column_def *column_def(enum column col);

#endif
