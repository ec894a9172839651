/**
 * @file rig.h  A stack, a checker and a fake server for tests of checks; results are kept in the order in which they came
 */
#ifndef SIPEDGE_TESTS_SUPPORT_RIG_H
#define SIPEDGE_TESTS_SUPPORT_RIG_H

#include "edge/check/checker.h"
#include "support/fake.h"
#include "support/loop.h"

enum { RIG_RESULTS_MAX = 64 };

struct rig {
	struct sip_stack *stack;
	struct checker *checker;
	struct fake *fake;
	struct account *account; /* filled by rig_account(), changed by a test before rig_device() */
	struct device *device;
	struct result *results[RIG_RESULTS_MAX];
	unsigned nresults;
	unsigned closed;
};

int rig_setup(struct rig *rig);
void rig_teardown(struct rig *rig); /* closes the checker, waits for it, and frees all */

/* An account at the fake server with one command. login NULL: none; its password is "secret". timeout_ms 300. */
struct command *rig_account(struct rig *rig, enum method method, enum transport transport, const char *login);
void rig_device(struct rig *rig); /* device_alloc() and device_start() */
struct check *rig_start(struct rig *rig);
struct result *rig_run(struct rig *rig); /* the account's command, once, until its result is there */
void rig_close(struct rig *rig);         /* the checker, until all is gone */

const char *cell_text(const struct result *result, enum column col); /* "" when null */
bool cell_is_set(const struct result *result, enum column col);
int64_t cell_int(const struct result *result, enum column col);
double cell_ms(const struct result *result, enum column col);

#endif
