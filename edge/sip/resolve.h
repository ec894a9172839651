/**
 * @file resolve.h  From a configured host to addresses: hosts file, SRV, A and AAAA, through c-ares
 *
 * Loop thread; never blocks. An IP literal is answered without a lookup. Answers are cached for their TTL (1 s to 300 s; negative
 * ones 5 s), lookups of the same name are coalesced. A DNS outage ends a lookup with ETIMEDOUT.
 */
#ifndef SIPEDGE_SIP_RESOLVE_H
#define SIPEDGE_SIP_RESOLVE_H

#include "edge/core/config.h"
#include "edge/core/wheel.h"
#include "edge/sip/compat.h"

enum { RESOLVE_ADDRESSES_MAX = 16 };

struct resolver;
struct resolve_query;

/* err: 0 with n >= 1 addresses, best first (SRV priority and weight, RFC 2782; port filled in); ENOENT: no such name; ETIMEDOUT; EPROTO ...
   text: for a person, static. was_lookup: false for an IP literal (then there is no dns_ms to report). */
struct resolve_answer {
	int err;
	const char *text;
	bool was_lookup;
	size_t n;
	struct sa addr[RESOLVE_ADDRESSES_MAX];
};

/* Called once, from the loop, never from inside resolve_start(); not after the query was freed. */
typedef void(resolve_h)(const struct resolve_answer *answer, uint64_t now_us, void *arg);

int resolver_alloc(struct resolver **rp,
        struct wheel *wheel); /* servers of resolv.conf; mem_deref() drops open queries silently */

/* Other name servers: "192.0.2.53,[2001:db8::53]:5353". EINVAL. */
int resolver_set_servers(struct resolver *r, const char *csv);

/* port 0: by SRV (_sip._udp, _sip._tcp, _sips._tcp) then 5060 or 5061. family: AF_UNSPEC, or that of a local address
   that is configured. mem_deref(query) abandons it. seed: randomness for the weights. */
int resolve_start(struct resolve_query **qp, struct resolver *r, const char *host, uint16_t port,
        enum transport transport, int family, uint32_t seed, resolve_h *h, void *arg);

#endif
