/**
 * @file stack.c  One SIP stack on one event loop
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "edge/clock.h"
#include "edge/log.h"
#include "edge/sip/stack.h"
#include "edge/sip/ticker.h"
#include "edge/sip/uas.h"

enum {
	RANDOM_WORDS = 512, /* one system call for 4 KiB */
	SWEEP_US = 10 * 1000000,
};

struct stack {
	struct sip_stack pub; /* first: a stack is a sip_stack */
	struct ticker *ticker;
	struct wheel_timer sweep;
	stack_request_h *requesth;
	void *request_arg;
	char *user_agent;
	uint64_t tag_secret;
	size_t random_left;
	uint64_t random[RANDOM_WORDS];
};

uint64_t stack_now(const struct sip_stack *stack)
{
	(void)stack;

	return clock_mono_us();
}

static void refill(struct stack *stack)
{
	uint8_t *p = (uint8_t *)stack->random;
	size_t got = 0;

	while (got < sizeof(stack->random)) {
		ssize_t n = getrandom(p + got, sizeof(stack->random) - got, 0);

		if (n < 0 && errno != EINTR) {
			log_error("no randomness from the kernel errno=%d", errno);
			abort(); /* guessable branches and tags would be worse than a restart */
		}
		got += n > 0 ? (size_t)n : 0;
	}
	stack->random_left = RANDOM_WORDS;
}

uint64_t stack_random(const struct sip_stack *pub)
{
	struct stack *stack = (struct stack *)pub;
	uint64_t *word, value;

	if (!stack->random_left)
		refill(stack);
	word = &stack->random[--stack->random_left];
	value = *word;
	*word = 0; /* what was given out is not found in memory again */

	return value;
}

static void sweep_h(uint64_t now_us, void *arg)
{
	struct stack *stack = arg;

	transport_sweep(stack->pub.transport, now_us);
	wheel_start(stack->pub.wheel, &stack->sweep, now_us + SWEEP_US, sweep_h, stack);
}

static void request(struct stack *stack, const struct transport_rx *rx)
{
	struct sip_msg *msg = NULL;

	if (rx->is_truncated || sip_message_decode(&msg, rx->mb) || !msg->req)
		goto out;
	msg->src = rx->src;
	msg->dst = rx->dst;
	msg->tp = flow_proto(rx->flow) == TRANSPORT_UDP ? SIP_TRANSP_UDP : SIP_TRANSP_TCP;

	if (stack->requesth && stack->requesth(msg, rx, stack->request_arg))
		goto out;
	uas_answer(msg, rx, stack->user_agent, stack->tag_secret);
out:
	mem_deref(msg);
}

static void recv_h(const struct transport_rx *rx, void *arg)
{
	struct stack *stack = arg;

	if (ctrans_layer_recv(stack->pub.transactions, rx->flow, &rx->src, rx->mb, rx->is_truncated, rx->rx_us))
		return;

	rx->mb->pos = 0;
	request(stack, rx);
}

static void error_h(struct flow *flow, const struct sa *dst, const uint8_t *payload, size_t len, int err,
        uint64_t now_us, void *arg)
{
	struct stack *stack = arg;
	(void)now_us;

	ctrans_layer_error(stack->pub.transactions, flow, dst, payload, len, err);
}

static int send_h(struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len, void *arg)
{
	(void)arg;

	return flow_send(flow, dst, buf, len);
}

static uint64_t random_h(void *arg)
{
	return stack_random(arg);
}

static uint64_t now_h(void *arg)
{
	return stack_now(arg);
}

static void stack_destructor(void *data)
{
	struct stack *stack = data;

	mem_deref(stack->ticker);
	mem_deref(stack->pub.resolver);
	mem_deref(stack->pub.transactions);
	mem_deref(stack->pub.transport);
	wheel_stop(&stack->sweep);
	mem_deref(stack->pub.wheel);
	mem_deref(stack->user_agent);
	explicit_bzero(stack->random, sizeof(stack->random));
}

static int start_parts(struct stack *stack)
{
	struct ctrans_config config = {.sendh = send_h, .randomh = random_h, .nowh = now_h, .arg = stack};
	int err;

	err = wheel_alloc(&stack->pub.wheel, clock_mono_us());
	if (!err)
		err = ticker_alloc(&stack->ticker, stack->pub.wheel);
	if (!err)
		err = transport_alloc(&stack->pub.transport, recv_h, error_h, stack);
	if (!err)
		err = ctrans_layer_alloc(&stack->pub.transactions, stack->pub.wheel, &config);
	if (!err)
		err = resolver_alloc(&stack->pub.resolver, stack->pub.wheel);

	return err;
}

int stack_alloc(struct sip_stack **stackp, const char *user_agent)
{
	struct stack *stack = mem_zalloc(sizeof(*stack), stack_destructor);
	int err;

	if (!stack)
		return ENOMEM;

	err = str_dup(&stack->user_agent, user_agent);
	if (!err)
		err = start_parts(stack);
	if (err) {
		mem_deref(stack);
		return err;
	}

	stack->pub.user_agent = stack->user_agent;
	stack->tag_secret = stack_random(&stack->pub);
	sweep_h(clock_mono_us(), stack);
	*stackp = &stack->pub;

	return 0;
}

void stack_set_request_handler(struct sip_stack *pub, stack_request_h *h, void *arg)
{
	struct stack *stack = (struct stack *)pub;

	stack->requesth = h;
	stack->request_arg = arg;
}
