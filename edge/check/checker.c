/**
 * @file checker.c  Runs checks: what all devices share, and how everything ends
 */
#include <string.h>
#include "edge/check/device.h"

enum { CLOSE_LOOK_US = 5000 };

static void destructor(void *arg)
{
	struct checker *checker = arg;

	wheel_stop(&checker->timer);
	list_flush(&checker->removals);
	for (enum method method = 0; method < METHOD_COUNT; method++)
		mem_deref(checker->methods[method]);
}

int checker_alloc(struct checker **checkerp, struct sip_stack *stack)
{
	struct checker *checker = mem_zalloc(sizeof(*checker), destructor);
	int err = 0;

	if (!checker)
		return ENOMEM;

	checker->stack = stack;
	list_init(&checker->devices);
	list_init(&checker->removals);
	for (enum method method = 0; method < METHOD_COUNT && !err; method++)
		err = str_dup(&checker->methods[method], method_name(method));

	if (err)
		mem_deref(checker);
	else
		*checkerp = checker;

	return err;
}

static bool is_over(const struct checker *checker)
{
	return checker->nstopping == 0 && list_isempty(&checker->removals);
}

/* Calls and removals have nobody to tell at their end, so they are looked at. */
static void close_handler(uint64_t now_us, void *arg)
{
	struct checker *checker = arg;

	if (!is_over(checker) && now_us < checker->deadline_us) {
		wheel_start(checker->stack->wheel, &checker->timer, now_us + CLOSE_LOOK_US, close_handler, checker);
		return;
	}
	checker->closedh(checker->arg);
}

void checker_close(struct checker *checker, uint64_t deadline_us, checker_closed_h *doneh, void *arg)
{
	struct le *le;

	if (checker->is_closing)
		return;

	checker->is_closing = true;
	checker->closedh = doneh;
	checker->arg = arg;
	checker->deadline_us = deadline_us;
	wheel_start(checker->stack->wheel, &checker->timer, stack_now(checker->stack), close_handler, checker);

	/* check handlers run in here: they may close any device, so the walk begins again after each */
	mem_ref(checker);
again:
	for (le = list_head(&checker->devices); le; le = le->next) {
		struct device *device = le->data;

		if (device->is_closing)
			continue;
		device_stop(device);
		goto again;
	}
	mem_deref(checker);
}
