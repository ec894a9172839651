/**
 * @file health.h  Tells whether a running agent is alive: a socket in its state directory
 *
 * The loop answers by itself, so an answer proves that it turns; the threads beside it are asked by a handler. A broker
 * that can't be reached is no reason to restart an agent, so it is not asked for.
 */
#ifndef SIPEDGE_HEALTH_H
#define SIPEDGE_HEALTH_H

struct health;

/* NULL: alive; else one word for what is not. Loop thread. */
typedef const char *(health_h)(void *arg);

/* Listens on <state_dir>/health.sock (mode 0600). EADDRINUSE: another agent runs with this state directory. */
int health_alloc(struct health **healthp, const char *state_dir, health_h *h, void *arg);

/* `sipedge health [--state-dir DIR]`: exit status 0 alive, 1 not, 2 bad usage. */
int health_main(int argc, char *argv[]);

#endif
