/**
 * @file stack.h  One SIP stack on one event loop: wheel, transport, transactions, resolver, answers to requests
 *
 * Loop thread. Composition only: nothing here decides anything. Several stacks may run, one per loop thread.
 */
#ifndef SIPEDGE_SIP_STACK_H
#define SIPEDGE_SIP_STACK_H

#include "edge/core/wheel.h"
#include "edge/sip/resolve.h"
#include "edge/sip/transaction.h"
#include "edge/sip/transport.h"

/* Read-only for others; made and freed by stack.c. */
struct sip_stack {
	struct wheel *wheel;
	struct sip_transport *transport;
	struct ctrans_layer *transactions;
	struct resolver *resolver;
	const char *user_agent; /* "sipedge/0.1.0" */
};

/* Requests that arrive: a dialog takes its own (true: handled); what nobody takes uas.c answers (OPTIONS 200, INVITE 486,
   NOTIFY 481, CANCEL/BYE 481, ACK nothing, others 405). */
typedef bool(stack_request_h)(const struct sip_msg *msg, const struct transport_rx *rx, void *arg);

/* Drives the wheel by a timerfd on CLOCK_MONOTONIC. Call fd_setsize() and libre_init() first. */
int stack_alloc(struct sip_stack **stackp, const char *user_agent);
void stack_set_request_handler(struct sip_stack *stack, stack_request_h *h, void *arg);

uint64_t stack_now(const struct sip_stack *stack); /* clock_mono_us() */
uint64_t stack_random(const struct sip_stack
                *stack); /* fast, seeded by the kernel; unguessable (not rand_u64 of libre: two OpenSSL calls each) */

#endif
