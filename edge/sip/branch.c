/**
 * @file branch.c  Branches that name a slot of a table
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include "edge/sip/branch.h"

enum {
	SLOTS_INITIAL = 64,
	SLOTS_MAX = 1 << 20,
};

static const char magic[] = "z9hG4bK"; /* RFC 3261 8.1.1.7 */

struct slot {
	void *owner; /* NULL: free */
	uint64_t random;
	uint32_t generation;
	uint32_t next_free;
};

struct branches {
	struct slot *slots;
	uint32_t nslots;
	uint32_t first_free; /* nslots: none */
	size_t nused;
	uint32_t tag;
};

static void destructor(void *arg)
{
	struct branches *b = arg;

	mem_deref(b->slots);
}

static int grow(struct branches *b)
{
	uint32_t n = b->nslots ? 2 * b->nslots : SLOTS_INITIAL;
	struct slot *slots;

	if (n > SLOTS_MAX)
		return ENOMEM;
	slots = mem_reallocarray(b->slots, n, sizeof(*slots), NULL);
	if (!slots)
		return ENOMEM;

	for (uint32_t i = b->nslots; i < n; i++)
		slots[i] = (struct slot){.next_free = i + 1};
	b->slots = slots;
	b->first_free = b->nslots;
	b->nslots = n;

	return 0;
}

int branches_alloc(struct branches **bp, uint32_t tag)
{
	struct branches *b = mem_zalloc(sizeof(*b), destructor);
	int err;

	if (!b)
		return ENOMEM;

	b->tag = tag;
	err = grow(b);
	if (err)
		mem_deref(b);
	else
		*bp = b;

	return err;
}

int branches_take(struct branches *b, uint32_t *slotp, uint64_t random, void *owner)
{
	struct slot *slot;

	if (b->first_free == b->nslots) {
		int err = grow(b);

		if (err)
			return err;
	}
	*slotp = b->first_free;
	slot = &b->slots[b->first_free];
	b->first_free = slot->next_free;
	b->nused++;
	slot->generation++;
	slot->random = random;
	slot->owner = owner;

	return 0;
}

void branches_release(struct branches *b, uint32_t slot)
{
	b->slots[slot].owner = NULL;
	b->slots[slot].next_free = b->first_free;
	b->first_free = slot;
	b->nused--;
}

static char *put_hex(char *p, uint64_t value, unsigned ndigits)
{
	while (ndigits--)
		*p++ = "0123456789abcdef"[value >> (4 * ndigits) & 15];

	return p;
}

static bool get_hex(uint64_t *valuep, const char *p, unsigned ndigits)
{
	uint64_t value = 0;

	for (; ndigits; ndigits--, p++) {
		if (*p >= '0' && *p <= '9')
			value = value << 4 | (uint64_t)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			value = value << 4 | (uint64_t)(*p - 'a' + 10);
		else
			return false;
	}
	*valuep = value;

	return true;
}

void branch_write(char *p, const struct branches *b, uint32_t slot)
{
	memcpy(p, magic, BRANCH_MAGIC_LEN);
	p = put_hex(p + BRANCH_MAGIC_LEN, b->tag, BRANCH_ID_LEN);
	p = put_hex(p, slot, BRANCH_ID_LEN);
	p = put_hex(p, b->slots[slot].generation, BRANCH_ID_LEN);
	(void)put_hex(p, b->slots[slot].random, BRANCH_RANDOM_LEN);
}

enum branch_match branches_match(void **ownerp, const struct branches *b, const struct pl *branch)
{
	uint64_t tag, index, generation, random;
	const struct slot *slot;
	const char *p;

	if (branch->l != BRANCH_LEN || memcmp(branch->p, magic, BRANCH_MAGIC_LEN))
		return BRANCH_FOREIGN;
	p = branch->p + BRANCH_MAGIC_LEN;
	if (!get_hex(&tag, p, BRANCH_ID_LEN) || !get_hex(&index, p + BRANCH_ID_LEN, BRANCH_ID_LEN) ||
	        !get_hex(&generation, p + 2 * BRANCH_ID_LEN, BRANCH_ID_LEN) ||
	        !get_hex(&random, p + 3 * BRANCH_ID_LEN, BRANCH_RANDOM_LEN))
		return BRANCH_FOREIGN;
	if (tag != b->tag || index >= b->nslots)
		return BRANCH_FOREIGN;

	slot = &b->slots[index];
	if (!generation || generation > slot->generation)
		return BRANCH_FOREIGN;
	if (generation < slot->generation || !slot->owner)
		return BRANCH_LATE;
	if (random != slot->random)
		return BRANCH_FOREIGN;
	*ownerp = slot->owner;

	return BRANCH_LIVE;
}

size_t branches_count(const struct branches *b)
{
	return b->nused;
}

void branches_apply(const struct branches *b, branch_owner_h *h)
{
	for (uint32_t i = 0; i < b->nslots; i++) {
		if (b->slots[i].owner)
			h(b->slots[i].owner);
	}
}
