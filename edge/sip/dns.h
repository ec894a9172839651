/**
 * @file dns.h  Lookups through c-ares: cached, shared by all who ask meanwhile, never blocking. Private to resolve.c
 *
 * Loop thread. Descriptors of c-ares are on libre's loop, its timeouts on the wheel.
 */
#ifndef SIPEDGE_SIP_DNS_H
#define SIPEDGE_SIP_DNS_H

#include "edge/core/wheel.h"
#include "edge/sip/compat.h"

enum {
	DNS_RECORDS_MAX = 16, /* kept of one answer */
	DNS_FAMILY_SRV = -1,  /* in place of an address family: the SRV records */
};

struct dns_srv {
	char *host;
	uint16_t priority, weight, port;
};

/* One lookup. Read-only for others; complete once !is_pending. */
struct dns_entry {
	struct le he; /* in the hash */
	struct le le; /* oldest first */
	struct dns *dns;
	char *name;
	int family;
	bool is_pending;
	uint64_t expires_us;
	int err;          /* ENOENT, ETIMEDOUT, EPROTO, ENOMEM; 0: n >= 1 */
	const char *text; /* what c-ares calls it, static */
	size_t n;
	union {
		struct sa addr[DNS_RECORDS_MAX];
		struct dns_srv srv[DNS_RECORDS_MAX]; /* by priority, then weight */
	} u;
	struct list waits;
};

typedef void(dns_h)(void *arg);

/* Somebody's interest in an entry; embedded in the asker, zeroed before first use. */
struct dns_wait {
	struct le le;
	struct dns_entry *entry; /* referenced */
	dns_h *h;
	void *arg;
};

int dns_alloc(struct dns **dnsp, struct wheel *wheel); /* mem_deref() drops what is under way silently */
int dns_set_servers(struct dns *dns, const char *csv); /* EINVAL */

/* h is called once, when wait->entry is complete; perhaps from inside this call. ENOBUFS: too many lookups at a time. */
int dns_ask(struct dns *dns, struct dns_wait *wait, const char *name, int family, dns_h *h, void *arg);
void dns_wait_end(struct dns_wait *wait); /* h is not called any more, the entry is let go */

#endif
