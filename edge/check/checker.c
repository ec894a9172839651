/**
 * @file checker.c  Runs checks: what all devices share, and how everything ends
 */
#include <string.h>
#include "edge/check/device.h"
#include "edge/sip/auth.h"

enum { CLOSE_LOOK_US = 5000 };

static void destructor(void *arg)
{
	struct checker *checker = arg;

	wheel_stop(&checker->timer);
	if (checker->calls)
		stack_set_request_handler(checker->stack, NULL, NULL);
	list_flush(&checker->removals);
	mem_deref(checker->calls);
	for (enum method method = 0; method < METHOD_COUNT; method++)
		mem_deref(checker->methods[method]);
}

static bool request_handler(const struct sip_msg *msg, const struct transport_rx *rx, void *arg)
{
	struct checker *checker = arg;

	return call_list_request(checker->calls, msg, rx);
}

/* OpenSSL's first digest and first random number of a process (sip_msg_decode() asks for one) take two milliseconds: not between a
   challenge and its answer, where they would count as the server's. */
static void warm_up(void)
{
	static const struct auth_digest nothing = {
	        .user = "", .realm = "", .password = "", .nonce = "", .method = "", .uri = ""};
	char hex[AUTH_DIGEST_SIZE];

	(void)auth_digest(hex, &nothing);
	(void)rand_u64();
}

int checker_alloc(struct checker **checkerp, struct sip_stack *stack)
{
	struct checker *checker = mem_zalloc(sizeof(*checker), destructor);
	int err = 0;

	if (!checker)
		return ENOMEM;

	warm_up();
	checker->stack = stack;
	list_init(&checker->devices);
	list_init(&checker->removals);
	for (enum method method = 0; method < METHOD_COUNT && !err; method++)
		err = str_dup(&checker->methods[method], method_name(method));

	err = err ? err : call_list_alloc(&checker->calls, stack);
	if (err) {
		mem_deref(checker);
		return err;
	}
	stack_set_request_handler(stack, request_handler, checker);
	*checkerp = checker;

	return 0;
}

static bool is_over(const struct checker *checker)
{
	return checker->nstopping == 0 && list_isempty(&checker->removals) && call_list_count(checker->calls) == 0;
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
