/**
 * @file wire_walk.h  A document under validation: where we are, and what is wrong so far
 *
 * Private to wire_*.c. One thread.
 */
#ifndef SIPEDGE_CORE_WIRE_WALK_H
#define SIPEDGE_CORE_WIRE_WALK_H

#include "edge/core/config.h"
#include "edge/core/issue.h"
#include "sipedge/v1/sipedge.pb-c.h"

enum { WALK_PATH_SIZE = 320 };

/* What is being validated. */
struct walk {
	const struct config_policy *policy;
	struct issues *issues;
	bool is_undecodable; /* the scan found what protobuf-c can't decode */
	bool is_oom;
	char path[WALK_PATH_SIZE]; /* of the account or command under way */
	size_t account_path_len;   /* of `path`, without the command */
	size_t ncommands;
};

/* Something is wrong with a field of what is being looked at; field NULL: with all of it */
void walk_complain(struct walk *w, const char *field, const char *code, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));

void walk_check_name(struct walk *w, const char *field, const char *name);

struct walk_name {
	const char *text;
	size_t index; /* of its entry in the list */
};

/* Sorts the names and reports those that are the same regardless of case: topics differ by case, file systems and people do not. */
void walk_check_duplicates(struct walk *w, const char *list, const char *field, struct walk_name *names, size_t n);

/* From an account without fault or with: what is wrong is told to w, and defaults stand in its place. The digests are not computed. */
void wire_decode_account(struct walk *w, struct account *account, const Sipedge__V1__DeviceAccount *pb);

#endif
