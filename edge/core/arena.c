/**
 * @file arena.c  A bounded piece of memory for what protobuf-c decodes
 */
#include <stdint.h>
#include <openssl/crypto.h>
#include <re.h>
#include "edge/core/arena.h"

enum {
	CHUNK_SIZE = 64 * 1024,
	ALIGNMENT = sizeof(max_align_t),
};

/* Wiped when it goes: it may hold a password. */
struct arena_chunk {
	struct arena_chunk *next;
	size_t size;
	size_t used;
	max_align_t data[];
};

static void chunk_destructor(void *arg)
{
	struct arena_chunk *chunk = arg;

	OPENSSL_cleanse(chunk->data, chunk->used);
}

static struct arena_chunk *chunk_new(struct arena *arena, size_t need)
{
	size_t size = need > CHUNK_SIZE ? need : CHUNK_SIZE;
	struct arena_chunk *chunk = mem_alloc(sizeof(*chunk) + size, chunk_destructor);

	if (!chunk)
		return NULL;
	chunk->next = arena->chunks;
	chunk->size = size;
	chunk->used = 0;
	arena->chunks = chunk;
	return chunk;
}

static void *take(void *arg, size_t size)
{
	struct arena *arena = arg;
	struct arena_chunk *chunk = arena->chunks;
	void *p;

	if (size > arena->max - arena->used) {
		arena->is_exhausted = true;
		return NULL;
	}
	size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; /* max is far below SIZE_MAX */
	if (!chunk || chunk->size - chunk->used < size) {
		chunk = chunk_new(arena, size);
		if (!chunk)
			return NULL;
	}
	p = (uint8_t *)chunk->data + chunk->used;
	chunk->used += size;
	arena->used = arena->used + size < arena->max ? arena->used + size : arena->max;
	return p;
}

static void give_back(void *arg, void *p)
{
	(void)arg;
	(void)p; /* all at once, by arena_reset() */
}

void arena_init(struct arena *arena)
{
	*arena = (struct arena){.allocator = {take, give_back, arena}};
}

void arena_reset(struct arena *arena, size_t max)
{
	struct arena_chunk *chunk = arena->chunks;

	while (chunk && (chunk->next || chunk->size > CHUNK_SIZE)) {
		struct arena_chunk *next = chunk->next;

		mem_deref(chunk);
		chunk = next;
	}
	if (chunk) {
		OPENSSL_cleanse(chunk->data, chunk->used);
		chunk->used = 0;
	}
	arena->chunks = chunk;
	arena->used = 0;
	arena->max = max;
	arena->is_exhausted = false;
}

void arena_close(struct arena *arena)
{
	arena_reset(arena, 0);
	arena->chunks = mem_deref(arena->chunks);
}
