/**
 * @file probe.h  `sipedge check`: one check from the shell, with the agent's own engine and no broker
 */
#ifndef SIPEDGE_PROBE_H
#define SIPEDGE_PROBE_H

/* Exit status as monitoring plugins have it: 0 ok, 1 warn or maintenance, 2 fail, 3 error and bad usage. */
int probe_main(int argc, char *argv[]);

#endif
