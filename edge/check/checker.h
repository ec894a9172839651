/**
 * @file checker.h  Runs checks: devices (accounts at work) and their commands
 *
 * Loop thread. The engine as `sipedge run`, `sipedge check` and the benchmarks use it; it knows no MQTT, schedule or files.
 */
#ifndef SIPEDGE_CHECK_CHECKER_H
#define SIPEDGE_CHECK_CHECKER_H

#include "edge/core/result.h"
#include "edge/sip/call.h"
#include "edge/sip/stack.h"

struct checker;
struct device;
struct check;

/* Takes the stack's request handler, for requests inside of calls. The stack must outlive the checker. */
int checker_alloc(struct checker **checkerp, struct sip_stack *stack);

/* Ends everything cleanly: running checks finish as `cancelled`, calls get CANCEL or BYE, bindings are removed. doneh is called once nothing is left
   on any server, or at the deadline. */
typedef void(checker_closed_h)(void *arg);
void checker_close(struct checker *checker, uint64_t deadline_us, checker_closed_h *doneh, void *arg);

/* An account at work: holds its sockets (EADDRINUSE, EADDRNOTAVAIL, EACCES: a resource is missing) and, when it
   registers, its binding. Nothing is sent before device_start(). mem_deref() before that undoes all. */
int device_alloc(struct device **devicep, struct checker *checker, struct account *account);
void device_start(struct device *device);

/* The same connection with other commands: keeps sockets and binding. The account's `connection` digest must be equal. */
void device_set_account(struct device *device, struct account *account);
const struct account *device_account(const struct device *device);

/* The account is gone or replaced: running checks finish as `cancelled` at once, the binding is removed in the background. Takes the caller's reference. */
void device_close(struct device *device);

/* Called exactly once per started check, never from inside check_start(). The result becomes the handler's, complete but for state. */
typedef void(check_done_h)(struct result *result, void *arg);

/* Starts a command of the device's account. trigger: static. due_us: when it was due (sched_lag_ms), 0: not scheduled. ENOMEM: nothing was started; ECANCELED: the
   device or the checker is being closed.
   The check belongs to the checker until its handler was called. */
int check_start(struct check **checkp, struct device *device, const struct command *command, const char *trigger,
        uint64_t due_us, check_done_h *doneh, void *arg);

/* The command is gone: ends as `cancelled` (the handler is called from inside), CANCEL and BYE go on behind it. */
void check_cancel(struct check *check);

#endif
