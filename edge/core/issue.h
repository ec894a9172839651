/**
 * @file issue.h  What is wrong with a document: a bounded list of (path, code, message)
 *
 * Pure; belongs to one thread at a time. Never a secret in a message.
 */
#ifndef SIPEDGE_CORE_ISSUE_H
#define SIPEDGE_CORE_ISSUE_H

#include <stdbool.h>
#include <stddef.h>

enum { ISSUES_MAX = 100 }; /* the last one then says how many more there are */

struct issue {
	char *path;       /* accounts[pbx1].commands[options].timeout_s; "": the whole document */
	const char *code; /* static: stale, conflict, too_large, malformed, ... (ConfigIssue.code) */
	char *message;    /* one sentence for a person */
};

struct issues;

int issues_alloc(struct issues **issuesp); /* mem_deref() frees */
void issues_add(struct issues *issues, const char *path, const char *code, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));     /* copies; code must be static */
bool issues_is_full(const struct issues *issues);  /* further ones are only counted: no need to build their text */
size_t issues_total(const struct issues *issues);  /* how many were added */
size_t issues_listed(const struct issues *issues); /* how many can be read: at most ISSUES_MAX */
const struct issue *issues_get(const struct issues *issues, size_t i); /* borrowed */

#endif
