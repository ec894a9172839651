/**
 * @file rows.c  The newest result of every variable that is being watched
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "provisioning/sipedgectl/inbound.h"
#include "provisioning/sipedgectl/rows.h"

static int compare(const struct topic_result *a, const struct topic_result *b)
{
	int d = strcmp(a->node, b->node);

	if (!d)
		d = strcmp(a->account, b->account);

	return d ? d : strcmp(a->variable, b->variable);
}

/* Where it is, or where it would have to go. */
static size_t find(const struct rows *rows, const struct topic_result *at, bool *foundp)
{
	size_t low = 0, high = rows->n;

	*foundp = false;
	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const int d = compare(&rows->row[middle]->at, at);

		if (!d) {
			*foundp = true;
			return middle;
		}
		if (d < 0)
			low = middle + 1;
		else
			high = middle;
	}

	return low;
}

struct row *rows_find(const struct rows *rows, const struct topic_result *at)
{
	bool found;
	const size_t i = find(rows, at, &found);

	return found ? rows->row[i] : NULL;
}

/* Within one run of a node the sequence number tells; across a restart the order of arrival does. */
static bool is_older(const Sipedge__V1__CheckResult *a, const Sipedge__V1__CheckResult *b)
{
	if (a->historical)
		return !b->historical || a->seq < b->seq;

	return a->boot_id == b->boot_id && a->seq < b->seq;
}

static int insert(struct rows *rows, size_t i, struct row *row)
{
	if (rows->n == ROWS_MAX)
		return E2BIG;
	if (rows->n == rows->size) {
		const size_t size = rows->size ? rows->size * 2 : 64;
		struct row **grown = realloc(rows->row, size * sizeof(*grown));

		if (!grown)
			return ENOMEM;
		rows->row = grown;
		rows->size = size;
	}
	memmove(rows->row + i + 1, rows->row + i, (rows->n - i) * sizeof(*rows->row));
	rows->row[i] = row;
	rows->n++;

	return 0;
}

int rows_put(struct rows *rows, const struct topic_result *at, Sipedge__V1__CheckResult *result, bool is_live,
        int64_t now_ms)
{
	struct row *row;
	bool found;
	size_t i = find(rows, at, &found);
	int err;

	if (found) {
		row = rows->row[i];
		if (is_older(result, row->result))
			return EEXIST;
		inbound_free(row->result);
	} else {
		row = calloc(1, sizeof(*row));
		if (!row)
			return ENOMEM;
		row->at = *at;
		err = insert(rows, i, row);
		if (err) {
			free(row);
			return err;
		}
	}
	row->result = result;
	row->is_live = is_live;
	row->arrived_ms = now_ms;

	return 0;
}

void rows_remove(struct rows *rows, const struct topic_result *at)
{
	bool found;
	const size_t i = find(rows, at, &found);

	if (!found)
		return;
	inbound_free(rows->row[i]->result);
	free(rows->row[i]);
	rows->n--;
	memmove(rows->row + i, rows->row + i + 1, (rows->n - i) * sizeof(*rows->row));
}

void rows_clear(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		inbound_free(rows->row[i]->result);
		free(rows->row[i]);
	}
	free(rows->row);
	*rows = (struct rows){0};
}
