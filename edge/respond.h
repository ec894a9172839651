/**
 * @file respond.h  `sipedge respond`: a peer that answers, for tests, demonstrations and benches
 *
 * A process of its own with one thread. It shares the agent's sockets, but no digest, registrar or call logic: the peer must not
 * share the client's mistakes.
 */
#ifndef SIPEDGE_RESPOND_H
#define SIPEDGE_RESPOND_H

/* argv[0] is "respond". Runs until SIGINT or SIGTERM; returns the exit code: 0, 1 when a listener can't be opened, 2 on bad usage. */
int respond_main(int argc, char **argv);

#endif
