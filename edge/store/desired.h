/**
 * @file desired.h  The configuration that is offered and the one in force
 *
 * The store thread's alone. Decodes, validates and compares a document; says what to report; makes the plan for the loop. One
 * plan at a time: between the plan and desired_applied() nothing is offered.
 */
#ifndef SIPEDGE_STORE_DESIRED_H
#define SIPEDGE_STORE_DESIRED_H

#include <stdbool.h>
#include <stdint.h>
#include <re.h>
#include "edge/core/plan.h"
#include "edge/core/wire.h"

struct desired;

struct desired_handlers {
	void (*report)(struct desired *desired, void *arg); /* it changed: publish desired_encode_report() */
	void (*plan)(struct plan *plan, void *arg);         /* the receiver's from now on, another thread's too */
	void *arg;
};

int desired_alloc(struct desired **desiredp,
        const struct config_policy *policy /* copied; node and arg borrowed for ever */,
        const struct desired_handlers *handlers);

/* protocol.md, Provisioning 1 to 3. len 0: ignored. buf NULL: it was larger than DOCUMENT_SIZE_MAX, len is its size. */
void desired_offer(struct desired *desired, const uint8_t *buf, size_t len);

/* The secret files of the document in force are read again; accounts whose password changed come in a plan. If one can't
   be read, that is logged and nothing is changed. While busy: nothing. */
void desired_reread(struct desired *desired);

bool desired_is_busy(const struct desired *desired); /* a plan is with the loop */
void desired_applied(struct desired *desired, uint64_t revision, int err, const char *path, const char *message,
        int64_t now_unix_us);

int desired_encode_report(const struct desired *desired, struct mbuf *mb); /* ENOENT: nothing was offered yet */
uint64_t desired_revision(const struct desired *desired);                  /* effective; 0: none */
uint64_t desired_unreadable(const struct desired *desired);                /* documents that could not be decoded */

#endif
