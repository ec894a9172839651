/**
 * @file arena.h  A bounded piece of memory for what protobuf-c decodes: taken bit by bit, given back at once
 *
 * Pure; one thread. protobuf-c has no limit of its own.
 */
#ifndef SIPEDGE_CORE_ARENA_H
#define SIPEDGE_CORE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <protobuf-c/protobuf-c.h>

struct arena_chunk;

struct arena {
	ProtobufCAllocator allocator; /* pass this one to unpack; never free_unpacked */
	struct arena_chunk *chunks;
	size_t used; /* of all chunks */
	size_t max;
	bool is_exhausted; /* an allocation was refused because of max */
};

void arena_init(struct arena *arena);              /* holds nothing; may take nothing before arena_reset() */
void arena_reset(struct arena *arena, size_t max); /* forgets all that was taken; keeps one chunk for reuse */
void arena_close(struct arena *arena);

#endif
