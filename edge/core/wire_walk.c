/**
 * @file wire_walk.c  A document under validation: where we are, and what is wrong so far
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "edge/core/wire_walk.h"

__attribute__((format(printf, 4, 5))) void walk_complain(
        struct walk *w, const char *field, const char *code, const char *fmt, ...)
{
	char path[WALK_PATH_SIZE + 64], message[400];
	va_list ap;

	if (issues_is_full(w->issues)) {
		issues_add(w->issues, "", code, "%s", "");
		return;
	}
	(void)snprintf(path, sizeof(path), "%s%s%s", w->path, w->path[0] && field ? "." : "", field ? field : "");
	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	issues_add(w->issues, path, code, "%s", message);
}

void walk_check_name(struct walk *w, const char *field, const char *name)
{
	if (!name[0])
		walk_complain(
		        w, field, "required", "is missing: give it a name of 1 to 64 letters, digits, '_' and '-'");
	else if (!config_name_is_valid(name))
		walk_complain(w, field, "invalid",
		        "'%.64s' is no valid name: use 1 to 64 of A-Z, a-z, 0-9, '_' and '-', and no '_' at the start",
		        name);
}

static int name_cmp(const void *a, const void *b)
{
	const struct walk_name *l = a, *r = b;
	int order = strcasecmp(l->text, r->text);

	return order ? order : (l->index > r->index) - (l->index < r->index);
}

void walk_check_duplicates(struct walk *w, const char *list, const char *field, struct walk_name *names, size_t n)
{
	char path[WALK_PATH_SIZE + 128];

	qsort(names, n, sizeof(*names), name_cmp);
	for (size_t i = 1; i < n; i++) {
		if (strcasecmp(names[i - 1].text, names[i].text))
			continue;
		(void)snprintf(path, sizeof(path), "%s%s%s[%zu].%s", w->path, w->path[0] ? "." : "", list,
		        names[i].index, field);
		issues_add(w->issues, path, "duplicate",
		        "'%.64s' is already taken by entry %zu (upper and lower case are the same): rename one",
		        names[i].text, names[i - 1].index);
	}
}
