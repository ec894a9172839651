/**
 * @file branch.h  Branches that name a slot of a table: a response finds its transaction by index (RFC 3261 8.1.1.7, 17.1.3)
 *
 * Pure; one thread. "z9hG4bK", then in hexadecimal digits: the table's tag, slot, generation, 64 random bits. The generation tells
 * what comes late from what never was ours; the random bits can't be guessed.
 */
#ifndef SIPEDGE_SIP_BRANCH_H
#define SIPEDGE_SIP_BRANCH_H

#include <stdint.h>
#include <re.h>

enum {
	BRANCH_MAGIC_LEN = 7,
	BRANCH_ID_LEN = 8,
	BRANCH_RANDOM_LEN = 16,
	BRANCH_LEN = BRANCH_MAGIC_LEN + 3 * BRANCH_ID_LEN + BRANCH_RANDOM_LEN,
};

enum branch_match {
	BRANCH_FOREIGN, /* not ours, or guessed */
	BRANCH_LATE,    /* of an owner that gave its slot back */
	BRANCH_LIVE,
};

struct branches;

typedef void(branch_owner_h)(void *owner);

int branches_alloc(struct branches **bp, uint32_t tag); /* tag: random, tells our branches from everybody else's */

/* A slot for an owner; ENOMEM, also when a million are taken. The owner is not referenced. */
int branches_take(struct branches *b, uint32_t *slotp, uint64_t random, void *owner);
void branches_release(struct branches *b, uint32_t slot);

/* Writes BRANCH_LEN characters, no NUL. */
void branch_write(char *p, const struct branches *b, uint32_t slot);

enum branch_match branches_match(void **ownerp, const struct branches *b, const struct pl *branch);

size_t branches_count(const struct branches *b);                  /* slots taken */
void branches_apply(const struct branches *b, branch_owner_h *h); /* to every owner; h may give its slot back */

#endif
