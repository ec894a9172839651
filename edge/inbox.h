/**
 * @file inbox.h  Bounded queue between two threads, with a wake-up
 *
 * Any thread pushes, one thread takes. Items are pointers: ownership moves with them, nothing is shared. The descriptor
 * is readable while something waits, for fd_listen() or poll().
 */
#ifndef SIPEDGE_INBOX_H
#define SIPEDGE_INBOX_H

#include <stdbool.h>
#include <stddef.h>

struct inbox;

typedef void(inbox_free_h)(void *item); /* frees what nobody took */

int inbox_alloc(struct inbox **inboxp, size_t capacity, inbox_free_h *freeh); /* mem_deref() frees, with its items */
int inbox_fd(const struct inbox *inbox);

/* ENOBUFS when full: the item stays the caller's, and the refusal is counted. Never blocks but for the lock. */
int inbox_push(struct inbox *inbox, void *item);

/* For what must not be lost and is bounded by its sender: makes room instead. ENOMEM: the item stays the caller's. */
int inbox_push_anyway(struct inbox *inbox, void *item);

/* NULL when empty: then the descriptor is not readable any more. */
void *inbox_take(struct inbox *inbox);
size_t inbox_refused(struct inbox *inbox); /* pushes refused since the start */

#endif
