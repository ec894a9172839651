/**
 * @file peer.c  A destination with transactions under way
 */
#include <errno.h>
#include "edge/sip/peer.h"

enum { HASH_SIZE = 4096 };

struct peers {
	struct hash *hash;
};

static void peers_destructor(void *arg)
{
	struct peers *peers = arg;

	hash_clear(peers->hash); /* whoever outlives the table may still hold some */
	mem_deref(peers->hash);
}

static void peer_destructor(void *arg)
{
	struct peer *peer = arg;

	hash_unlink(&peer->he);
}

int peers_alloc(struct peers **pp)
{
	struct peers *peers = mem_zalloc(sizeof(*peers), peers_destructor);
	int err;

	if (!peers)
		return ENOMEM;

	err = hash_alloc(&peers->hash, HASH_SIZE);
	if (err)
		mem_deref(peers);
	else
		*pp = peers;

	return err;
}

static bool peer_is(struct le *le, void *arg)
{
	const struct peer *peer = le->data;

	return sa_cmp(&peer->addr, arg, SA_ALL);
}

struct peer *peers_find(const struct peers *peers, const struct sa *addr)
{
	return list_ledata(hash_lookup(peers->hash, sa_hash(addr, SA_ALL), peer_is, (void *)addr));
}

int peers_get(struct peer **peerp, struct peers *peers, const struct sa *addr)
{
	struct peer *peer = peers_find(peers, addr);

	if (peer) {
		*peerp = mem_ref(peer);
		return 0;
	}
	peer = mem_zalloc(sizeof(*peer), peer_destructor);
	if (!peer)
		return ENOMEM;

	sa_cpy(&peer->addr, addr);
	hash_append(peers->hash, sa_hash(addr, SA_ALL), &peer->he, peer);
	*peerp = peer;

	return 0;
}

void peers_count_stray(struct peers *peers, const struct sa *src, const char *text)
{
	struct peer *peer = peers_find(peers, src);

	if (!peer)
		return;
	peer->nstrays++;
	peer->stray_text = text;
}
