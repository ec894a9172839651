/**
 * @file rig.c  A stack, a checker and a fake server for tests of checks
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/clock.h"
#include "support/rig.h"

int rig_setup(struct rig *rig)
{
	memset(rig, 0, sizeof(*rig));

	return stack_alloc(&rig->stack, "sipedge/test") || checker_alloc(&rig->checker, rig->stack) ||
	       fake_alloc(&rig->fake);
}

static void closed_handler(void *arg)
{
	struct rig *rig = arg;

	++rig->closed;
}

void rig_close(struct rig *rig)
{
	if (rig->closed)
		return;
	checker_close(rig->checker, clock_mono_us() + 4000000, closed_handler, rig);
	assert_int_equal(rig->closed, 0);
	assert_true(loop_until_count(&rig->closed, 1));
}

void rig_teardown(struct rig *rig)
{
	rig_close(rig);
	mem_deref(rig->device);
	mem_deref(rig->account);
	for (unsigned i = 0; i < rig->nresults; i++)
		mem_deref(rig->results[i]);
	mem_deref(rig->checker);
	mem_deref(rig->stack);
	mem_deref(rig->fake);
}

struct command *rig_account(struct rig *rig, enum method method, enum transport transport, const char *login)
{
	struct account *account;
	struct command *command;
	const struct sa *server = transport == TRANSPORT_UDP ? &rig->fake->udp : &rig->fake->tcp;

	assert_int_equal(account_alloc(&account), 0);
	account->commands = mem_zalloc(sizeof(*account->commands), NULL);
	account->ncommands = 1;
	command = &account->commands[0];
	assert_int_equal(str_dup(&account->id, "acc"), 0);
	assert_int_equal(str_dup(&account->remote_address, "127.0.0.1"), 0);
	account->remote_port = sa_port(server);
	account->transport = transport;
	if (login) {
		assert_int_equal(str_dup(&account->login, login), 0);
		assert_int_equal(str_dup(&account->password, "secret"), 0);
	}
	assert_int_equal(str_dup(&command->name, "alive"), 0);
	assert_int_equal(str_dup(&command->description, ""), 0);
	assert_int_equal(str_dup(&command->sip_data, ""), 0);
	command->method = method;
	command->timeout_ms = 300;
	command->expect = *method_expect_default(method);
	command->fail_after = 1;
	command->recover_after = 1;
	rig->account = account;

	return command;
}

void rig_device(struct rig *rig)
{
	assert_int_equal(device_alloc(&rig->device, rig->checker, rig->account), 0);
	device_start(rig->device);
}

static void done_handler(struct result *result, void *arg)
{
	struct rig *rig = arg;

	assert_true(rig->nresults < RIG_RESULTS_MAX);
	rig->results[rig->nresults++] = result;
}

struct check *rig_start(struct rig *rig)
{
	struct check *check = NULL;
	unsigned before = rig->nresults;

	if (!rig->device)
		rig_device(rig);
	assert_int_equal(
	        check_start(&check, rig->device, &rig->account->commands[0], "request", 0, done_handler, rig), 0);
	assert_int_equal(rig->nresults, before); /* never from inside */

	return check;
}

struct result *rig_run(struct rig *rig)
{
	unsigned wanted = rig->nresults + 1;

	(void)rig_start(rig);
	assert_true(loop_until_count(&rig->nresults, wanted));
	assert_int_equal(rig->nresults, wanted);

	return rig->results[wanted - 1];
}

bool cell_is_set(const struct result *result, enum column col)
{
	return result_get(result, col).is_set;
}

const char *cell_text(const struct result *result, enum column col)
{
	struct cell cell = result_get(result, col);

	return cell.is_set ? cell.v.s : "";
}

int64_t cell_int(const struct result *result, enum column col)
{
	assert_true(cell_is_set(result, col));

	return result_get(result, col).v.i;
}

double cell_ms(const struct result *result, enum column col)
{
	assert_true(cell_is_set(result, col));

	return result_get(result, col).v.d;
}
