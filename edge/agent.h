/**
 * @file agent.h  The agent: the composition root, the only file that knows all parts
 */
#ifndef SIPEDGE_AGENT_H
#define SIPEDGE_AGENT_H

/* `sipedge run`. Exit status: 0 ended by a signal, 1 can't run, 2 bad usage. */
int agent_main(int argc, char *argv[]);

#endif
