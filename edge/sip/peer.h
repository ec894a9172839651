/**
 * @file peer.h  A destination with transactions under way: told about errors together, noise counted together
 *
 * Pure; one thread. A peer lives as long as anybody references it; the table holds no reference.
 */
#ifndef SIPEDGE_SIP_PEER_H
#define SIPEDGE_SIP_PEER_H

#include <stdint.h>
#include <re.h>

/* nstrays and stray_text are peer.c's to write, the list its users'. */
struct peer {
	struct le he;
	struct sa addr;
	struct list transactions; /* live ones */
	uint32_t nstrays;
	const char *stray_text; /* static: what the last one was */
};

struct peers;

int peers_alloc(struct peers **pp);
int peers_get(
        struct peer **peerp, struct peers *peers, const struct sa *addr); /* a reference; made when there is none */
struct peer *peers_find(
        const struct peers *peers, const struct sa *addr); /* borrowed; NULL: nothing is under way to it */
void peers_count_stray(
        struct peers *peers, const struct sa *src, const char *text); /* no-op when nothing is under way */

#endif
