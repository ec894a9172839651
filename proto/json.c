/**
 * @file json.c  Any message of ours in the protobuf JSON form
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "proto/field.h"
#include "proto/json.h"
#include "proto/utf8.h"

struct writer {
	FILE *f;
	enum json_style style;
	unsigned depth;
};

static void print_message(struct writer *w, const ProtobufCMessage *msg);

/* What a terminal could take for a command, or would show in another order than it stands. */
static bool must_escape(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x200b && cp <= 0x200f) ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) || cp == 0xfeff;
}

static void print_character(FILE *f, uint32_t cp)
{
	static const char plain[] = "\b\f\n\r\t\"\\", letter[] = "bfnrt\"\\";
	const char *p = cp && cp < 0x80 ? strchr(plain, (int)cp) : NULL;
	char buf[4];

	if (p)
		fprintf(f, "\\%c", letter[p - plain]);
	else if (must_escape(cp))
		fprintf(f, "\\u%04" PRIx32, cp);
	else
		fwrite(buf, 1, utf8_put(buf, cp), f);
}

void json_print_string(FILE *f, const char *s)
{
	const uint8_t *p = (const uint8_t *)s, *end = p + strlen(s);

	putc('"', f);
	while (p < end)
		print_character(f, utf8_take(&p, end));
	putc('"', f);
}

static void print_bytes(FILE *f, const ProtobufCBinaryData *bytes)
{
	static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	putc('"', f);
	for (size_t i = 0; i < bytes->len; i += 3) {
		const size_t n = bytes->len - i;
		const uint32_t v = (uint32_t)bytes->data[i] << 16 | (n > 1 ? (uint32_t)bytes->data[i + 1] << 8 : 0) |
		                   (n > 2 ? bytes->data[i + 2] : 0);

		putc(digit[v >> 18], f);
		putc(digit[v >> 12 & 63], f);
		putc(n > 1 ? digit[v >> 6 & 63] : '=', f);
		putc(n > 2 ? digit[v & 63] : '=', f);
	}
	putc('"', f);
}

/* The shortest text that reads as the same number. NaN and infinity have names in the protobuf JSON form. */
static void print_double(FILE *f, double v)
{
	char text[40];
	double back;
	int digits = 15;

	if (!isfinite(v)) {
		fputs(isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"", f);
		return;
	}

	do {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		back = strtod(text, NULL);
	} while (back != v && digits++ < 17);

	fputs(text, f);
}

static void print_float(FILE *f, float v)
{
	char text[40];
	float back;
	int digits = 6;

	if (!isfinite(v)) {
		print_double(f, (double)v);
		return;
	}

	do {
		snprintf(text, sizeof(text), "%.*g", digits, (double)v);
		back = strtof(text, NULL);
	} while (back != v && digits++ < 9);

	fputs(text, f);
}

static void print_enum(FILE *f, const ProtobufCEnumDescriptor *desc, int32_t v)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(desc, v);

	if (value)
		json_print_string(f, value->name);
	else
		fprintf(f, "%" PRId32, v);
}

/* p: the value in the message's struct, or one element of a repeated field. */
static void print_value(struct writer *w, const ProtobufCFieldDescriptor *field, const void *p)
{
	switch (field->type) {

	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		fprintf(w->f, "%" PRId32, *(const int32_t *)p);
		break;

	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		fprintf(w->f, "\"%" PRId64 "\"", *(const int64_t *)p);
		break;

	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		fprintf(w->f, "%" PRIu32, *(const uint32_t *)p);
		break;

	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		fprintf(w->f, "\"%" PRIu64 "\"", *(const uint64_t *)p);
		break;

	case PROTOBUF_C_TYPE_FLOAT:
		print_float(w->f, *(const float *)p);
		break;

	case PROTOBUF_C_TYPE_DOUBLE:
		print_double(w->f, *(const double *)p);
		break;

	case PROTOBUF_C_TYPE_BOOL:
		fputs(*(const protobuf_c_boolean *)p ? "true" : "false", w->f);
		break;

	case PROTOBUF_C_TYPE_ENUM:
		print_enum(w->f, field->descriptor, *(const int32_t *)p);
		break;

	case PROTOBUF_C_TYPE_STRING:
		json_print_string(w->f, *(const char *const *)p ? *(const char *const *)p : "");
		break;

	case PROTOBUF_C_TYPE_BYTES:
		print_bytes(w->f, p);
		break;

	case PROTOBUF_C_TYPE_MESSAGE:
		print_message(w, *(const ProtobufCMessage *const *)p);
		break;
	}
}

/* A scalar without presence is absent when it has its default value. -0.0 is not 0. */
static bool is_default(const ProtobufCFieldDescriptor *field, const void *p)
{
	static const uint8_t zero[8];

	if (field->type == PROTOBUF_C_TYPE_STRING)
		return !*(const char *const *)p || !**(const char *const *)p;
	if (field->type == PROTOBUF_C_TYPE_BYTES)
		return !((const ProtobufCBinaryData *)p)->len;
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return !*(const ProtobufCMessage *const *)p;

	return !memcmp(p, zero, field_size(field->type));
}

static bool is_present(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
	const uint8_t *base = (const uint8_t *)msg;

	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(base + field->quantifier_offset) == field->id;

	switch (field->label) {

	case PROTOBUF_C_LABEL_REQUIRED:
		return true;

	case PROTOBUF_C_LABEL_REPEATED:
		return *(const size_t *)(base + field->quantifier_offset) > 0;

	case PROTOBUF_C_LABEL_OPTIONAL:
		if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE)
			return *(void *const *)(base + field->offset);
		return *(const protobuf_c_boolean *)(base + field->quantifier_offset);

	case PROTOBUF_C_LABEL_NONE:
		break;
	}

	return !is_default(field, base + field->offset);
}

static void print_break(const struct writer *w)
{
	if (w->style == JSON_PRETTY)
		fprintf(w->f, "\n%*s", (int)w->depth * 2, "");
}

static void print_list(struct writer *w, const ProtobufCFieldDescriptor *field, const ProtobufCMessage *msg)
{
	const uint8_t *base = (const uint8_t *)msg;
	const size_t n = *(const size_t *)(base + field->quantifier_offset);
	const uint8_t *items = *(const uint8_t *const *)(base + field->offset);

	putc('[', w->f);
	w->depth++;
	for (size_t i = 0; i < n; i++) {
		if (i)
			putc(',', w->f);
		print_break(w);
		print_value(w, field, items + i * field_size(field->type));
	}
	w->depth--;
	print_break(w);
	putc(']', w->f);
}

static void print_message(struct writer *w, const ProtobufCMessage *msg)
{
	bool any = false;

	putc('{', w->f);
	w->depth++;
	for (unsigned i = 0; i < msg->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *field = &msg->descriptor->fields[i];

		if (!is_present(msg, field))
			continue;
		if (any)
			putc(',', w->f);
		any = true;
		print_break(w);
		fprintf(w->f, w->style == JSON_PRETTY ? "\"%s\": " : "\"%s\":", field->name);
		if (field->label == PROTOBUF_C_LABEL_REPEATED)
			print_list(w, field, msg);
		else
			print_value(w, field, (const uint8_t *)msg + field->offset);
	}
	w->depth--;
	if (any)
		print_break(w);
	putc('}', w->f);
}

int json_print_message(FILE *f, const ProtobufCMessage *msg, enum json_style style)
{
	struct writer w = {.f = f, .style = style};

	print_message(&w, msg);
	if (style == JSON_PRETTY)
		putc('\n', f);

	return ferror(f) ? EIO : 0;
}

int json_format_message(char **textp, const ProtobufCMessage *msg, enum json_style style)
{
	char *text = NULL;
	size_t size;
	FILE *f;
	int err;

	f = open_memstream(&text, &size);
	if (!f)
		return ENOMEM;

	err = json_print_message(f, msg, style);
	if (fclose(f) || err) {
		free(text);
		return ENOMEM;
	}
	*textp = text;

	return 0;
}
