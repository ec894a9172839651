/**
 * @file loop.h  Runs libre's loop in a test until something has happened, with a deadline
 */
#ifndef SIPEDGE_TESTS_SUPPORT_LOOP_H
#define SIPEDGE_TESTS_SUPPORT_LOOP_H

#include <stdbool.h>
#include <re.h>

enum { LOOP_DEADLINE_MS = 5000 };

/* cmocka group fixtures: libre with room for many descriptors */
int loop_setup(void **state);
int loop_teardown(void **state);

/* Runs until done(arg) is true or the time is over; returns done(arg). */
typedef bool(loop_done_h)(void *arg);
bool loop_until(loop_done_h *done, void *arg, unsigned deadline_ms);
bool loop_until_count(const unsigned *count, unsigned wanted); /* within LOOP_DEADLINE_MS */
void loop_run(unsigned ms);                                    /* lets things happen that must not */

/* A plain blocking socket on 127.0.0.1 (or ::1), port chosen by the kernel, that gives up reading after LOOP_DEADLINE_MS. */
int peer_udp(struct sa *local);
int peer_listen(struct sa *local);
int peer_connect(const struct sa *to);

void loopback(struct sa *sa); /* 127.0.0.1, port 0 */

#endif
