/**
 * @file codeset.h  A set of SIP response codes, written as "200-299,404,405"
 *
 * Pure value, any thread.
 */
#ifndef SIPEDGE_CORE_CODESET_H
#define SIPEDGE_CORE_CODESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CODESET_RANGES_MAX = 16 };

struct codeset {
	size_t n; /* 0: the empty set */
	struct {
		uint16_t first, last; /* 200 to 699: final codes only */
	} range[CODESET_RANGES_MAX];
};

/* EINVAL: not a list of codes 200-699 and ranges low-high, or more than CODESET_RANGES_MAX; *set is unchanged then. */
int codeset_parse(struct codeset *set, const char *text);
bool codeset_has(const struct codeset *set, uint16_t code);

#endif
