/**
 * @file device.h  An account at work: its sockets, its identity, its binding, its running checks (private to edge/check)
 *
 * Loop thread. Its public half is checker.h.
 */
#ifndef SIPEDGE_CHECK_DEVICE_H
#define SIPEDGE_CHECK_DEVICE_H

#include "edge/check/checker.h"
#include "edge/sip/registration.h"

struct checker {
	struct sip_stack *stack; /* borrowed */
	struct call_list *calls;
	struct list devices;         /* alive, not referenced */
	struct list removals;        /* bindings that REGISTER checks may have left (register.c) */
	size_t nstopping;            /* registrations whose binding is being removed */
	char *methods[METHOD_COUNT]; /* names, shared by requests */
	bool is_closing;
	checker_closed_h *closedh;
	void *arg;
	uint64_t deadline_us;
	struct wheel_timer timer; /* closing: looks whether all is gone */
	uint64_t clock_asked_us;  /* clock_is_synchronized() is a system call: asked once a second */
	bool clock_synchronized;
};

struct device {
	struct le le;             /* checker->devices */
	struct checker *checker;  /* referenced */
	struct account *account;  /* referenced */
	struct account *original; /* referenced: holds the strings that the registration borrows */
	struct identity *identity;
	struct line *line;
	struct registration_id id; /* shared by the registration and REGISTER checks */
	struct registration *registration;
	bool is_closing;    /* no more checks */
	bool is_stopping;   /* counted in checker->nstopping */
	bool is_dropped;    /* device_close() was called: its reference goes once the binding is removed */
	struct list checks; /* running */

	/* headers of the last local address, shared by reference */
	struct sa contact_local;
	char *contact; /* URI */
	char *headers
	        [METHOD_COUNT]; /* header lines of each method's requests: User-Agent, Contact, Accept; REGISTER makes its own */
};

bool device_is_registered(const struct device *device); /* stays registered: REGISTER checks use its binding */

/* Cancels the checks and removes the binding. */
void device_stop(struct device *device);

/* Makes contact and headers those of requests that leave from `local`. */
int device_set_local(struct device *device, const struct sa *local);

#endif
