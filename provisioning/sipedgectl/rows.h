/**
 * @file rows.h  The newest result of every variable that is being watched
 */
#ifndef SIPEDGE_SIPEDGECTL_ROWS_H
#define SIPEDGE_SIPEDGECTL_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "provisioning/sipedgectl/topic.h"
#include "sipedge/v1/sipedge.pb-c.h"

enum { ROWS_MAX = 200000 }; /* topics come from the network: they are not without end */

struct row {
	struct topic_result at;
	Sipedge__V1__CheckResult *result; /* owned */
	bool is_live;                     /* it came while we watched */
	int64_t arrived_ms;               /* monotonic */
};

/* Sorted by node, account and variable. */
struct rows {
	struct row **row;
	size_t n, size;
};

struct row *rows_find(const struct rows *rows, const struct topic_result *at); /* NULL: none */

/* Takes over result on success. 0, ENOMEM, E2BIG; EEXIST: what is there is newer. */
int rows_put(struct rows *rows, const struct topic_result *at, Sipedge__V1__CheckResult *result, bool is_live,
        int64_t now_ms);
void rows_remove(struct rows *rows, const struct topic_result *at);
void rows_clear(struct rows *rows);

#endif
