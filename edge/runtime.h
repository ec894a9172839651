/**
 * @file runtime.h  What every sub-command with an event loop needs before it starts
 */
#ifndef SIPEDGE_RUNTIME_H
#define SIPEDGE_RUNTIME_H

/* Raises the limit of open files to what the system allows, prepares libre, ignores SIGPIPE. Once, main thread. */
int runtime_init(void);
void runtime_close(void);

/* From now on SIGTERM, SIGINT and SIGHUP arrive at the handler, on the loop; threads started later never see them. */
typedef void(runtime_signal_h)(int signum, void *arg);
int runtime_catch_signals(runtime_signal_h *h, void *arg);

#endif
