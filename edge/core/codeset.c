/**
 * @file codeset.c  A set of SIP response codes, written as "200-299,404,405"
 */
#include <errno.h>
#include "edge/core/codeset.h"

enum {
	CODE_FIRST = 200, /* RFC 3261 7.2: final codes */
	CODE_LAST = 699,
};

static const char *skip_space(const char *p)
{
	while (*p == ' ')
		++p;
	return p;
}

/* Three digits, 200 to 699; NULL: something else */
static const char *parse_code(uint16_t *codep, const char *p)
{
	unsigned code = 0;

	p = skip_space(p);
	for (int i = 0; i < 3; i++) {
		if (p[i] < '0' || p[i] > '9')
			return NULL;
		code = code * 10 + (unsigned)(p[i] - '0');
	}
	if (code < CODE_FIRST || code > CODE_LAST)
		return NULL;
	*codep = (uint16_t)code;
	return skip_space(p + 3);
}

int codeset_parse(struct codeset *set, const char *text)
{
	struct codeset parsed = {0};
	const char *p = text;

	if (!set || !text)
		return EINVAL;
	for (;;) {
		uint16_t first, last;

		p = parse_code(&first, p);
		if (!p)
			return EINVAL;
		last = first;
		if (*p == '-') {
			p = parse_code(&last, p + 1);
			if (!p || last < first)
				return EINVAL;
		}
		if (parsed.n == CODESET_RANGES_MAX)
			return EINVAL;
		parsed.range[parsed.n].first = first;
		parsed.range[parsed.n].last = last;
		++parsed.n;
		if (*p == '\0')
			break;
		if (*p++ != ',')
			return EINVAL;
	}
	*set = parsed;
	return 0;
}

bool codeset_has(const struct codeset *set, uint16_t code)
{
	for (size_t i = 0; i < set->n; i++) {
		if (code >= set->range[i].first && code <= set->range[i].last)
			return true;
	}
	return false;
}
