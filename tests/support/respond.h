/**
 * @file respond.h  `sipedge respond` in a process of its own, for tests
 */
#ifndef SIPEDGE_TESTS_SUPPORT_RESPOND_H
#define SIPEDGE_TESTS_SUPPORT_RESPOND_H

#include <sys/types.h>
#include <re.h>

struct respond_process {
	pid_t pid;
	struct sa udp, tcp; /* where it listens; unset: not there */
};

/* args: after "respond", ended by NULL. ECHILD: it ended at once. */
int respond_start(struct respond_process *p, const char *const args[]);
int respond_stop(struct respond_process *p); /* SIGTERM; the exit code, -1: ended by a signal */
int respond_run(const char *const args[]);   /* one that ends by itself: its exit code */

#endif
