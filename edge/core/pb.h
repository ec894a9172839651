/**
 * @file pb.h  Writes protobuf fields into a fixed piece of memory
 *
 * For what is encoded thousands of times per second; all else uses protobuf-c. Pure plain value. Nothing is written past
 * the end: `failed` is set instead and stays set. As proto3 wants it, the _opt-less writers leave out 0, false and "".
 */
#ifndef SIPEDGE_CORE_PB_H
#define SIPEDGE_CORE_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum pb_wire { /* wire types */
	PB_VARINT = 0,
	PB_64BIT = 1,
	PB_LENGTH = 2,
};

struct pb {
	uint8_t *buf;
	size_t size;
	size_t len;
	bool failed;
};

static inline bool pb_room(struct pb *pb, size_t n)
{
	if (pb->size - pb->len >= n)
		return true;
	pb->failed = true;
	return false;
}

static inline void pb_varint(struct pb *pb, uint64_t v)
{
	if (!pb_room(pb, 10))
		return;
	while (v >= 0x80) {
		pb->buf[pb->len++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	pb->buf[pb->len++] = (uint8_t)v;
}

static inline void pb_tag(struct pb *pb, unsigned field, enum pb_wire wire)
{
	pb_varint(pb, (uint64_t)field << 3 | (uint64_t)wire);
}

static inline void pb_mem(struct pb *pb, const void *p, size_t n)
{
	if (!pb_room(pb, n))
		return;
	memcpy(pb->buf + pb->len, p, n);
	pb->len += n;
}

static inline void pb_uint_opt(struct pb *pb, unsigned field, uint64_t v)
{
	pb_tag(pb, field, PB_VARINT);
	pb_varint(pb, v);
}

static inline void pb_uint(struct pb *pb, unsigned field, uint64_t v)
{
	if (v)
		pb_uint_opt(pb, field, v);
}

static inline void pb_double_opt(struct pb *pb, unsigned field, double d)
{
	uint64_t bits;

	memcpy(&bits, &d, sizeof(bits));
	pb_tag(pb, field, PB_64BIT);
	if (!pb_room(pb, 8))
		return;
	for (int i = 0; i < 8; i++)
		pb->buf[pb->len++] = (uint8_t)(bits >> (8 * i));
}

static inline void pb_str_opt(struct pb *pb, unsigned field, const char *s)
{
	size_t n = strlen(s);

	pb_tag(pb, field, PB_LENGTH);
	pb_varint(pb, n);
	pb_mem(pb, s, n);
}

static inline void pb_str(struct pb *pb, unsigned field, const char *s)
{
	if (s && s[0])
		pb_str_opt(pb, field, s);
}

/* A message inside: between begin and end. The length gets one byte at first and more when it turns out longer. */
static inline size_t pb_begin(struct pb *pb, unsigned field)
{
	pb_tag(pb, field, PB_LENGTH);
	if (pb_room(pb, 1))
		pb->len++;
	return pb->len;
}

static inline void pb_end(struct pb *pb, size_t start)
{
	uint8_t varint[10];
	struct pb length = {varint, sizeof(varint), 0, false};

	if (pb->failed)
		return;
	pb_varint(&length, pb->len - start);
	if (!pb_room(pb, length.len - 1))
		return;
	memmove(pb->buf + start + length.len - 1, pb->buf + start, pb->len - start);
	memcpy(pb->buf + start - 1, varint, length.len);
	pb->len += length.len - 1;
}

#endif
