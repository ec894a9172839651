/**
 * @file scan.c  Looks over the bytes of a message before protobuf-c decodes them
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "proto/scan.h"
#include "proto/utf8.h"

enum {
	KEY_MAX = 64,
	STEP_MAX = KEY_MAX + 64, /* of a path: a field of ours is named shorter than 60 characters */
	PATH_LEN = (SCAN_DEPTH_MAX + 2) * STEP_MAX,
	MEMBER_COST = 64, /* protobuf-c's ScannedMember, in slabs that double */
	ALLOC_COST = 16,  /* malloc's header and rounding */
};

/* One message under the walk. */
struct frame {
	struct frame *parent;
	const ProtobufCMessageDescriptor *desc;
	const ProtobufCFieldDescriptor *field; /* of the parent that holds this message; NULL: the outermost */
	const uint8_t *buf;
	size_t len;
	uint32_t index; /* among the entries of `field` */
	unsigned depth;
	const uint8_t *key; /* what names this entry, NULL: nothing does; looked for once, at the first issue */
	size_t keylen;
	bool key_sought;
	uint32_t count[SCAN_FIELDS_MAX]; /* entries seen of every repeated field */
};

struct scan {
	scan_issue_h *issueh;
	void *arg;
	size_t issues;
	size_t memory;
	size_t memory_max;
	bool over; /* no use to go on */
};

/* One field on the wire. */
struct member {
	uint32_t id;
	uint8_t wire_type;
	uint64_t value;      /* varint */
	const uint8_t *data; /* length-prefixed, 32 and 64 bits */
	size_t len;
};

static bool take_varint(const uint8_t **pp, const uint8_t *end, uint64_t *vp)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70 && *pp < end; shift += 7) {
		const uint8_t c = *(*pp)++;

		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80)) {
			*vp = v;
			return shift < 63 || c <= 1;
		}
	}

	return false;
}

static bool take_member(const uint8_t **pp, const uint8_t *end, struct member *m)
{
	uint64_t tag, len;

	*m = (struct member){0};

	if (!take_varint(pp, end, &tag) || tag > UINT32_MAX || !(tag >> 3))
		return false;

	m->id = (uint32_t)(tag >> 3);
	m->wire_type = tag & 7;

	switch (m->wire_type) {

	case PROTOBUF_C_WIRE_TYPE_VARINT:
		return take_varint(pp, end, &m->value);

	case PROTOBUF_C_WIRE_TYPE_64BIT:
		len = 8;
		break;

	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		if (!take_varint(pp, end, &len))
			return false;
		break;

	case PROTOBUF_C_WIRE_TYPE_32BIT:
		len = 4;
		break;

	default: /* groups: proto3 has none and protobuf-c can't skip them */
		return false;
	}

	if (len > (size_t)(end - *pp))
		return false;
	m->data = *pp;
	m->len = len;
	*pp += len;

	return true;
}

static bool key_is_usable(const uint8_t *p, size_t len)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

	if (!len || len > KEY_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!p[i] || !strchr(set, p[i]))
			return false;
	}

	return true;
}

static const ProtobufCFieldDescriptor *key_field(const ProtobufCMessageDescriptor *desc)
{
	const ProtobufCFieldDescriptor *field;

	field = protobuf_c_message_descriptor_get_field_by_name(desc, "id");
	if (!field)
		field = protobuf_c_message_descriptor_get_field_by_name(desc, "name");

	return field && field->type == PROTOBUF_C_TYPE_STRING ? field : NULL;
}

/* The last one on the wire is the one that counts. */
static void frame_seek_key(struct frame *f)
{
	const ProtobufCFieldDescriptor *field = key_field(f->desc);
	const uint8_t *p = f->buf;
	struct member m;

	f->key_sought = true;
	while (field && p < f->buf + f->len && take_member(&p, f->buf + f->len, &m)) {
		if (m.id == field->id && m.wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
			f->key = m.data;
			f->keylen = m.len;
		}
	}

	if (f->key && !key_is_usable(f->key, f->keylen))
		f->key = NULL;
}

static size_t put_path(char *path, struct frame *f)
{
	size_t n;

	if (!f->parent)
		return 0;

	n = put_path(path, f->parent);
	n += (size_t)snprintf(path + n, PATH_LEN - n, "%s%s", n ? "." : "", f->field->name);
	if (f->field->label != PROTOBUF_C_LABEL_REPEATED)
		return n;

	if (!f->key_sought)
		frame_seek_key(f);
	if (f->key)
		n += (size_t)snprintf(path + n, PATH_LEN - n, "[%.*s]", (int)f->keylen, f->key);
	else
		n += (size_t)snprintf(path + n, PATH_LEN - n, "[%u]", f->index);

	return n;
}

__attribute__((format(printf, 5, 6))) static void report(
        struct scan *s, struct frame *f, const ProtobufCFieldDescriptor *field, const char *code, const char *fmt, ...)
{
	char path[PATH_LEN], message[256];
	size_t n = put_path(path, f);
	va_list ap;

	path[n] = '\0';
	if (field) {
		n += (size_t)snprintf(path + n, sizeof(path) - n, "%s%s", n ? "." : "", field->name);
		if (field->label == PROTOBUF_C_LABEL_REPEATED)
			snprintf(path + n, sizeof(path) - n, "[%u]", f->count[field - f->desc->fields]);
	}
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);

	s->issueh(path, code, message, s->arg);
	if (++s->issues >= SCAN_ISSUES_MAX)
		s->over = true;
}

static void charge(struct scan *s, struct frame *f, size_t bytes)
{
	s->memory += bytes;
	if (!s->memory_max || s->memory <= s->memory_max || s->over)
		return;

	s->over = true;
	while (f->parent)
		f = f->parent;
	report(s, f, NULL, "too_large", "decoding takes more than %zu bytes of memory", s->memory_max);
}

static void check_text(struct scan *s, struct frame *f, const ProtobufCFieldDescriptor *field, const struct member *m)
{
	const uint8_t *p = m->data, *end = m->data + m->len;

	charge(s, f, m->len + 1 + ALLOC_COST);

	while (p < end) {
		const size_t n = utf8_next(p, (size_t)(end - p), NULL);

		if (!n || !*p) {
			report(s, f, field, "invalid", "%s at byte %zu of the text",
			        n ? "a NUL character" : "not UTF-8", (size_t)(p - m->data));
			return;
		}
		p += n;
	}
}

static bool value_fits(ProtobufCType type, uint64_t v)
{
	switch (type) {

	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_SINT32:
		return v <= UINT32_MAX;

	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_ENUM: /* negative ones are sign-extended to 64 bits */
		return v <= INT32_MAX || v >= (uint64_t)INT32_MIN;

	default:
		return true;
	}
}

static uint8_t wire_type_of(ProtobufCType type)
{
	switch (type) {

	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return PROTOBUF_C_WIRE_TYPE_32BIT;

	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return PROTOBUF_C_WIRE_TYPE_64BIT;

	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;

	default:
		return PROTOBUF_C_WIRE_TYPE_VARINT;
	}
}

/* A repeated number may stand packed: all entries one after the other. */
static void check_packed(struct scan *s, struct frame *f, const ProtobufCFieldDescriptor *field, const struct member *m)
{
	const uint8_t wire_type = wire_type_of(field->type);
	const uint8_t *p = m->data, *end = m->data + m->len;
	uint64_t v;

	charge(s, f, m->len * sizeof(v) + ALLOC_COST);

	if (wire_type != PROTOBUF_C_WIRE_TYPE_VARINT) {
		if (m->len % (wire_type == PROTOBUF_C_WIRE_TYPE_64BIT ? 8 : 4))
			report(s, f, field, "malformed", "a packed list ends in mid-number");
		return;
	}

	while (p < end && !s->over) {
		if (!take_varint(&p, end, &v)) {
			report(s, f, field, "malformed", "a packed list ends in mid-number");
			return;
		}
		if (!value_fits(field->type, v))
			report(s, f, field, "out_of_range", "does not fit 32 bits");
		f->count[field - f->desc->fields]++;
	}
}

static void scan_frame(struct scan *s, struct frame *f);

static void check_message(
        struct scan *s, struct frame *f, const ProtobufCFieldDescriptor *field, const struct member *m)
{
	struct frame child = {
	        .parent = f,
	        .desc = field->descriptor,
	        .field = field,
	        .buf = m->data,
	        .len = m->len,
	        .index = f->count[field - f->desc->fields],
	        .depth = f->depth + 1,
	};

	if (child.depth > SCAN_DEPTH_MAX) {
		report(s, f, field, "malformed", "nests deeper than %d", SCAN_DEPTH_MAX);
		return;
	}

	charge(s, f, child.desc->sizeof_message + sizeof(void *) + ALLOC_COST);
	scan_frame(s, &child);
}

static void check_member(struct scan *s, struct frame *f, const ProtobufCFieldDescriptor *field, const struct member *m)
{
	const uint8_t expected = wire_type_of(field->type);

	charge(s, f, MEMBER_COST);

	if (m->wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED && m->wire_type != expected &&
	        field->label == PROTOBUF_C_LABEL_REPEATED) {
		check_packed(s, f, field, m);
		return;
	}
	if (m->wire_type != expected) {
		report(s, f, field, "malformed", "has wire type %u instead of %u", m->wire_type, expected);
		return;
	}

	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		check_message(s, f, field, m);
	else if (field->type == PROTOBUF_C_TYPE_STRING)
		check_text(s, f, field, m);
	else if (field->type == PROTOBUF_C_TYPE_BYTES)
		charge(s, f, m->len + ALLOC_COST);
	else if (expected == PROTOBUF_C_WIRE_TYPE_VARINT && !value_fits(field->type, m->value))
		report(s, f, field, "out_of_range", "does not fit 32 bits");

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		f->count[field - f->desc->fields]++;
}

static void scan_frame(struct scan *s, struct frame *f)
{
	const uint8_t *p = f->buf, *end = f->buf + f->len;
	const ProtobufCFieldDescriptor *field;
	struct member m;

	while (p < end && !s->over) {
		const size_t at = (size_t)(p - f->buf);

		if (!take_member(&p, end, &m)) {
			report(s, f, NULL, "malformed", "not a field of a protobuf message at byte %zu of %zu", at,
			        f->len);
			return;
		}

		field = protobuf_c_message_descriptor_get_field(f->desc, m.id);
		if (field) {
			check_member(s, f, field, &m);
		} else {
			charge(s, f, MEMBER_COST + m.len + ALLOC_COST);
			report(s, f, NULL, "unknown_field", "%s has no field %u in this version", f->desc->short_name,
			        m.id);
		}
	}
}

static bool fields_fit(const ProtobufCMessageDescriptor *desc, unsigned depth)
{
	if (desc->n_fields > SCAN_FIELDS_MAX)
		return false;
	for (unsigned i = 0; i < desc->n_fields && depth < SCAN_DEPTH_MAX; i++) {
		if (desc->fields[i].type == PROTOBUF_C_TYPE_MESSAGE &&
		        !fields_fit(desc->fields[i].descriptor, depth + 1))
			return false;
	}

	return true;
}

int scan_message(const ProtobufCMessageDescriptor *desc, const uint8_t *buf, size_t len, size_t memory_max,
        scan_issue_h *issueh, void *arg)
{
	struct scan s = {.issueh = issueh, .arg = arg, .memory_max = memory_max};
	struct frame f = {.desc = desc, .buf = buf, .len = len};

	if (!desc || (!buf && len) || !issueh || !fields_fit(desc, 0))
		return EINVAL;

	scan_frame(&s, &f);

	return s.issues ? EBADMSG : 0;
}
