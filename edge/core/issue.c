/**
 * @file issue.c  What is wrong with a document: a bounded list of (path, code, message)
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <re.h>
#include "edge/core/issue.h"
#include "edge/core/text.h"

enum {
	MESSAGE_SIZE = 512,
};

struct issues {
	size_t total;
	size_t n; /* kept: at most ISSUES_MAX */
	struct issue list[ISSUES_MAX];
	struct issue rest; /* shown in place of the last one when there are more */
	char rest_message[64];
};

static void destructor(void *arg)
{
	struct issues *issues = arg;

	for (size_t i = 0; i < issues->n; i++) {
		mem_deref(issues->list[i].path);
		mem_deref(issues->list[i].message);
	}
}

int issues_alloc(struct issues **issuesp)
{
	struct issues *issues;

	if (!issuesp)
		return EINVAL;
	issues = mem_zalloc(sizeof(*issues), destructor);
	if (!issues)
		return ENOMEM;
	*issuesp = issues;
	return 0;
}

static char *clean_dup(const char *text)
{
	char buf[MESSAGE_SIZE];
	char *copy = NULL;

	text_clean(buf, sizeof(buf), text, strlen(text));
	return str_dup(&copy, buf) ? NULL : copy;
}

void issues_add(struct issues *issues, const char *path, const char *code, const char *fmt, ...)
{
	char buf[MESSAGE_SIZE];
	struct issue *issue;
	va_list ap;

	++issues->total;
	if (issues->n == ISSUES_MAX) {
		issues->rest.path = (char *)"";
		issues->rest.code = issues->list[ISSUES_MAX - 1].code;
		issues->rest.message = issues->rest_message;
		(void)snprintf(issues->rest_message, sizeof(issues->rest_message), "and %zu more issues",
		        issues->total - (ISSUES_MAX - 1));
		return;
	}
	va_start(ap, fmt);
	(void)vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);

	issue = &issues->list[issues->n];
	issue->path = clean_dup(path);
	issue->message = clean_dup(buf);
	if (!issue->path || !issue->message) { /* counted all the same: a document with an issue is refused */
		issue->path = mem_deref(issue->path);
		issue->message = mem_deref(issue->message);
		return;
	}
	issue->code = code;
	++issues->n;
}

bool issues_is_full(const struct issues *issues)
{
	return issues->n == ISSUES_MAX;
}

size_t issues_total(const struct issues *issues)
{
	return issues->total;
}

size_t issues_listed(const struct issues *issues)
{
	return issues->n;
}

const struct issue *issues_get(const struct issues *issues, size_t i)
{
	if (i >= issues->n)
		return NULL;
	if (i == ISSUES_MAX - 1 && issues->total > ISSUES_MAX)
		return &issues->rest;
	return &issues->list[i];
}
