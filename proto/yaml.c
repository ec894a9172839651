/**
 * @file yaml.c  A YAML file as a message of ours
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "proto/field.h"
#include "proto/yaml.h"

enum {
	DEPTH_MAX = 16,
	FIELDS_MAX = 64,               /* of one message type */
	PAIRS_SOUGHT = 4 * FIELDS_MAX, /* a mapping with more keys than fields is wrong anyway */
	KEY_MAX = 64,                  /* an id in a path */
	STEP_MAX = KEY_MAX + 64,
	PATH_LEN = (DEPTH_MAX + 2) * STEP_MAX,
	ISSUES_MAX = 10000,
	NESTING_MAX = 64, /* of lists and mappings: ours need 12 */
	ANCHORS_MAX = 2000,
	SUGGEST_MAX = 3,  /* names in "did you mean" */
	NAME_MAX_LEN = 48 /* longest name that is compared with the known ones */
};

/* The entries of a list that have the same id: there should be one. Found by the list's node and the id. */
struct entry {
	int list;
	int first, last;
	uint32_t hash;
	const char *key;
};

struct yamldoc {
	yaml_document_t tree;
	bool has_tree;
	const ProtobufCMessageDescriptor *desc;
	ProtobufCMessage *msg;
	struct entry *entries; /* open addressing; nslots is a power of two */
	size_t nslots;
	size_t nentries;
};

/* A message under conversion. */
struct place {
	const struct place *parent;
	const ProtobufCFieldDescriptor *field; /* of the parent that holds it; NULL: the outermost */
	const char *key;                       /* its id in a list, NULL: none that is usable */
	size_t index;                          /* in a list */
	unsigned depth;
};

/* What the events of a file have shown so far. */
struct shape {
	int depth;
	size_t anchors;
	size_t documents;
};

struct loader {
	struct yamldoc *doc;
	yamldoc_issue_h *issueh;
	void *arg;
	size_t issues;
	size_t memory;
	int err; /* ENOMEM, or EBADMSG when there is no use to go on */
};

static size_t put_path(char *path, const struct place *at)
{
	size_t n;

	if (!at->parent)
		return 0;

	n = put_path(path, at->parent);
	n += (size_t)snprintf(path + n, PATH_LEN - n, "%s%s", n ? "." : "", at->field->name);
	if (at->field->label == PROTOBUF_C_LABEL_REPEATED) {
		if (at->key)
			n += (size_t)snprintf(path + n, PATH_LEN - n, "[%s]", at->key);
		else
			n += (size_t)snprintf(path + n, PATH_LEN - n, "[%zu]", at->index);
	}

	return n;
}

/* at: the message; name: of the field in it, NULL: the message itself. */
__attribute__((format(printf, 5, 6))) static void report(
        struct loader *l, const yaml_mark_t *mark, const struct place *at, const char *name, const char *fmt, ...)
{
	char path[PATH_LEN], message[512];
	size_t n = put_path(path, at);
	va_list ap;

	path[n] = '\0';
	if (name)
		snprintf(path + n, sizeof(path) - n, "%s%.*s", n ? "." : "", KEY_MAX, name);
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);

	if (l->err)
		return;
	l->issueh(mark ? mark->line + 1 : 0, mark ? mark->column + 1 : 0, path, message, l->arg);
	if (++l->issues >= ISSUES_MAX) {
		l->issueh(0, 0, "", "too many errors, the rest of the file was not looked at", l->arg);
		l->err = EBADMSG;
	}
}

static bool charge(struct loader *l, size_t bytes, const yaml_mark_t *mark, const struct place *at)
{
	if (l->err)
		return false;

	l->memory += bytes;
	if (l->memory <= YAMLDOC_MEMORY_MAX)
		return true;

	report(l, mark, at, NULL, "with its aliases the document is larger than %d MiB", YAMLDOC_MEMORY_MAX >> 20);
	l->err = EBADMSG;

	return false;
}

static yaml_node_t *node_at(const struct yamldoc *doc, int id)
{
	return doc->tree.nodes.start + (id - 1);
}

static const char *node_kind(const yaml_node_t *node)
{
	switch (node->type) {

	case YAML_SCALAR_NODE:
		return "a single value";
	case YAML_SEQUENCE_NODE:
		return "a list";
	case YAML_MAPPING_NODE:
		return "a mapping";
	case YAML_NO_NODE:
		break;
	}

	return "nothing";
}

static const char *scalar_text(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

static bool scalar_is_plain(const yaml_node_t *node)
{
	return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool scalar_is_null(const yaml_node_t *node)
{
	static const char *const names[] = {"", "~", "null", "Null", "NULL"};

	if (node->type != YAML_SCALAR_NODE || !scalar_is_plain(node))
		return false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(scalar_text(node), names[i]))
			return true;
	}

	return false;
}

static bool key_is_usable(const char *key)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
	const size_t n = strspn(key, set);

	return n && n <= KEY_MAX && !key[n];
}

static yaml_node_t *mapping_get(const struct yamldoc *doc, const yaml_node_t *map, const char *name)
{
	const yaml_node_pair_t *pair;
	size_t n = 0;

	if (map->type != YAML_MAPPING_NODE)
		return NULL;
	for (pair = map->data.mapping.pairs.start; pair < map->data.mapping.pairs.top && n < PAIRS_SOUGHT;
	        pair++, n++) {
		const yaml_node_t *key = node_at(doc, pair->key);

		if (key->type == YAML_SCALAR_NODE && !strcmp(scalar_text(key), name))
			return node_at(doc, pair->value);
	}

	return NULL;
}

/* The id of a list entry, as scan.c names it: `id`, else `name`. */
static const char *entry_key(const struct yamldoc *doc, const yaml_node_t *item, const ProtobufCMessageDescriptor *desc)
{
	const char *name = protobuf_c_message_descriptor_get_field_by_name(desc, "id") ? "id" : "name";
	const yaml_node_t *node = mapping_get(doc, item, name);

	if (!node || node->type != YAML_SCALAR_NODE || !key_is_usable(scalar_text(node)))
		return NULL;

	return scalar_text(node);
}

static uint32_t entry_hash(int list, const char *key)
{
	uint32_t h = 2166136261u ^ (uint32_t)list * 2654435761u; /* FNV-1a */

	while (*key)
		h = (h ^ (uint8_t)*key++) * 16777619u;

	return h;
}

static struct entry *entry_slot(const struct yamldoc *doc, int list, const char *key, uint32_t hash)
{
	size_t i = hash & (doc->nslots - 1);

	while (doc->entries[i].key &&
	        (doc->entries[i].hash != hash || doc->entries[i].list != list || strcmp(doc->entries[i].key, key)))
		i = (i + 1) & (doc->nslots - 1);

	return &doc->entries[i];
}

static int entries_grow(struct yamldoc *doc)
{
	const struct entry *old = doc->entries;
	const size_t n = doc->nslots;
	struct entry *entries = calloc(n ? n * 2 : 64, sizeof(*entries));

	if (!entries)
		return ENOMEM;

	doc->entries = entries;
	doc->nslots = n ? n * 2 : 64;
	for (size_t i = 0; i < n; i++) {
		if (old[i].key)
			*entry_slot(doc, old[i].list, old[i].key, old[i].hash) = old[i];
	}
	free((void *)(uintptr_t)old);

	return 0;
}

static int entry_add(struct yamldoc *doc, int list, int item, const char *key)
{
	const uint32_t hash = entry_hash(list, key);
	struct entry *entry;

	if ((doc->nentries + 1) * 2 > doc->nslots && entries_grow(doc))
		return ENOMEM;

	entry = entry_slot(doc, list, key, hash);
	if (!entry->key) {
		*entry = (struct entry){.list = list, .first = item, .hash = hash, .key = key};
		doc->nentries++;
	}
	entry->last = item;

	return 0;
}

/* How many characters have to be put in, taken out, changed or swapped with their neighbour to make b out of a. */
static size_t distance(const char *a, const char *b)
{
	const size_t na = strlen(a), nb = strlen(b);
	size_t row[3][NAME_MAX_LEN + 1];

	if (na > NAME_MAX_LEN || nb > NAME_MAX_LEN)
		return SIZE_MAX;

	for (size_t j = 0; j <= nb; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t *now = row[i % 3], *before = row[(i + 2) % 3], *twice = row[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			size_t d = before[j - 1] + (a[i - 1] != b[j - 1]);

			if (before[j] + 1 < d)
				d = before[j] + 1;
			if (now[j - 1] + 1 < d)
				d = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && twice[j - 2] + 1 < d)
				d = twice[j - 2] + 1;
			now[j] = d;
		}
	}

	return row[na % 3][nb];
}

/* "; did you mean timeout_s?", the nearest name, else those that contain what was written; "" when nothing is near. */
static void suggest(char *text, size_t size, const ProtobufCMessageDescriptor *desc, const char *name)
{
	const size_t limit = strlen(name) < 6 ? 1 : strlen(name) / 3;
	const ProtobufCFieldDescriptor *best = NULL;
	size_t least = limit + 1, n = 0, found = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < desc->n_fields; i++) {
		const size_t d = distance(name, desc->fields[i].name);

		if (d < least) {
			least = d;
			best = &desc->fields[i];
		}
	}
	if (best) {
		snprintf(text, size, "; did you mean %s?", best->name);
		return;
	}

	for (unsigned i = 0; strlen(name) > 2 && i < desc->n_fields && found < SUGGEST_MAX && n < size; i++) {
		if (strstr(desc->fields[i].name, name))
			n += (size_t)snprintf(
			        text + n, size - n, "%s%s", found++ ? " or " : "; did you mean ", desc->fields[i].name);
	}
	if (found && n + 1 < size)
		snprintf(text + n, size - n, "?");
}

/* A number as people write it, decimal or 0x; no leading zero, which is octal to some readers. */
static bool parse_integer(const char *text, bool *negativep, uint64_t *magnitudep)
{
	const char *p = text + (*text == '-' || *text == '+');
	const bool hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X');
	char *end;

	if (hex ? !strspn(p + 2, "0123456789abcdefABCDEF") : !strspn(p, "0123456789") || (*p == '0' && p[1]))
		return false;

	errno = 0;
	*magnitudep = strtoull(p, &end, hex ? 16 : 10);
	*negativep = *text == '-' && *magnitudep;

	if (errno == ERANGE) {
		*magnitudep = UINT64_MAX;
		*negativep = true; /* beyond every type */
	}

	return !*end;
}

static bool read_integer(struct loader *l, const yaml_node_t *node, const struct place *at, const char *name,
        int64_t min, uint64_t max, uint64_t *vp)
{
	uint64_t v = 0;
	bool negative = false;

	if (!scalar_is_plain(node) || !parse_integer(scalar_text(node), &negative, &v)) {
		report(l, &node->start_mark, at, name, "must be a whole number%s",
		        scalar_is_plain(node) ? "" : ", without quotes");
		return false;
	}
	if (negative ? v > (uint64_t)(-(min + 1)) + 1 : v > max) {
		report(l, &node->start_mark, at, name, "must be from %" PRId64 " to %" PRIu64, min, max);
		return false;
	}
	*vp = negative ? -v : v;

	return true;
}

static bool read_double(struct loader *l, const yaml_node_t *node, const struct place *at, const char *name, double *vp)
{
	const char *text = scalar_text(node);
	char *end;

	*vp = strtod(text, &end);
	if (!scalar_is_plain(node) || end == text || *end || !isfinite(*vp) || strpbrk(text, "xXpP")) {
		report(l, &node->start_mark, at, name, "must be a number%s",
		        scalar_is_plain(node) ? "" : ", without quotes");
		return false;
	}

	return true;
}

static bool read_bool(
        struct loader *l, const yaml_node_t *node, const struct place *at, const char *name, protobuf_c_boolean *vp)
{
	const char *text = scalar_text(node);

	*vp = !strcmp(text, "true");
	if (scalar_is_plain(node) && (*vp || !strcmp(text, "false")))
		return true;

	report(l, &node->start_mark, at, name, "must be true or false%s",
	        scalar_is_plain(node) ? "" : ", without quotes");

	return false;
}

static bool read_enum(struct loader *l, const yaml_node_t *node, const struct place *at,
        const ProtobufCFieldDescriptor *field, int32_t *vp)
{
	const ProtobufCEnumDescriptor *desc = field->descriptor;
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value_by_name(desc, scalar_text(node));
	char names[256] = "";
	size_t n = 0;

	if (value) {
		*vp = value->value;
		return true;
	}

	for (unsigned i = 0; i < desc->n_values && n < sizeof(names); i++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", i ? ", " : "", desc->values[i].name);
	report(l, &node->start_mark, at, field->name, "must be one of %s", names);

	return false;
}

static bool read_string(struct loader *l, const yaml_node_t *node, const struct place *at, const char *name, char **vp)
{
	const size_t len = node->data.scalar.length;

	if (memchr(scalar_text(node), '\0', len)) {
		report(l, &node->start_mark, at, name, "holds a NUL character");
		return false;
	}
	if (!charge(l, len + 1, &node->start_mark, at))
		return false;
	*vp = strdup(scalar_text(node));
	if (!*vp)
		l->err = ENOMEM;

	return *vp;
}

static int base64_digit(char c)
{
	static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c ? strchr(set, c) : NULL;

	return p ? (int)(p - set) : -1;
}

/* RFC 4648 4, with spaces and line breaks between, as folded text has. False: not base64. out: 3/4 of the text. */
static bool base64_decode(uint8_t *out, size_t *lenp, const char *text)
{
	size_t n = 0, digits = 0, padding = 0;
	uint32_t bits = 0;

	for (; *text; text++) {
		const int d = base64_digit(*text);

		if (strchr(" \t\r\n", *text))
			continue;
		if (*text == '=') {
			padding++;
			continue;
		}
		if (d < 0 || padding)
			return false;

		bits = bits << 6 | (uint32_t)d;
		switch (++digits % 4) {

		case 2:
			out[n++] = (uint8_t)(bits >> 4);
			break;
		case 3:
			out[n++] = (uint8_t)(bits >> 2);
			break;
		case 0:
			out[n++] = (uint8_t)bits;
			break;
		}
	}
	*lenp = n;

	return digits % 4 != 1 && padding == (4 - digits % 4) % 4;
}

static bool read_bytes(
        struct loader *l, const yaml_node_t *node, const struct place *at, const char *name, ProtobufCBinaryData *vp)
{
	const size_t size = node->data.scalar.length / 4 * 3 + 3;
	uint8_t *data;
	size_t len;

	if (!charge(l, size, &node->start_mark, at))
		return false;

	data = malloc(size);
	if (!data) {
		l->err = ENOMEM;
		return false;
	}
	if (!base64_decode(data, &len, scalar_text(node))) {
		report(l, &node->start_mark, at, name, "must be base64");
		free(data);
		return false;
	}
	vp->data = data;
	vp->len = len;

	return true;
}

/* p: where the value goes, field_size() bytes of the message or of a list. */
static bool read_scalar(struct loader *l, const yaml_node_t *node, const struct place *at,
        const ProtobufCFieldDescriptor *field, void *p)
{
	const char *name = field->name;
	uint64_t v = 0;
	double d = 0;

	switch (field->type) {

	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		if (!read_integer(l, node, at, name, INT32_MIN, INT32_MAX, &v))
			return false;
		*(int32_t *)p = (int32_t)v;
		return true;

	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		if (!read_integer(l, node, at, name, INT64_MIN, INT64_MAX, &v))
			return false;
		*(int64_t *)p = (int64_t)v;
		return true;

	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		if (!read_integer(l, node, at, name, 0, UINT32_MAX, &v))
			return false;
		*(uint32_t *)p = (uint32_t)v;
		return true;

	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return read_integer(l, node, at, name, 0, UINT64_MAX, p);

	case PROTOBUF_C_TYPE_FLOAT:
		if (!read_double(l, node, at, name, &d))
			return false;
		*(float *)p = (float)d;
		return true;

	case PROTOBUF_C_TYPE_DOUBLE:
		return read_double(l, node, at, name, p);

	case PROTOBUF_C_TYPE_BOOL:
		return read_bool(l, node, at, name, p);

	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(l, node, at, field, p);

	case PROTOBUF_C_TYPE_STRING:
		return read_string(l, node, at, name, p);

	case PROTOBUF_C_TYPE_BYTES:
		return read_bytes(l, node, at, name, p);

	case PROTOBUF_C_TYPE_MESSAGE:
		break;
	}

	return false;
}

static void read_mapping(struct loader *l, const yaml_node_t *node, const struct place *at, ProtobufCMessage *msg);

static bool read_message(struct loader *l, const yaml_node_t *node, const struct place *at,
        const ProtobufCFieldDescriptor *field, size_t index, ProtobufCMessage **msgp)
{
	const ProtobufCMessageDescriptor *desc = field->descriptor;
	struct place place = {.parent = at, .field = field, .index = index, .depth = at->depth + 1};
	ProtobufCMessage *msg;

	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		place.key = entry_key(l->doc, node, desc);
	if (node->type != YAML_MAPPING_NODE) {
		report(l, &node->start_mark, &place, NULL, "must be a mapping, not %s", node_kind(node));
		return false;
	}
	if (place.depth > DEPTH_MAX) {
		report(l, &node->start_mark, at, NULL, "nests deeper than %d", DEPTH_MAX);
		return false;
	}
	if (!charge(l, desc->sizeof_message, &node->start_mark, at))
		return false;

	msg = malloc(desc->sizeof_message);
	if (!msg) {
		l->err = ENOMEM;
		return false;
	}
	protobuf_c_message_init(desc, msg);
	*msgp = msg;
	read_mapping(l, node, &place, msg);

	return true;
}

static bool read_value(struct loader *l, const yaml_node_t *node, const struct place *at,
        const ProtobufCFieldDescriptor *field, size_t index, void *p)
{
	if (scalar_is_null(node)) {
		report(l, &node->start_mark, at, field->name, "has no value; leave the key out, or write \"\"");
		return false;
	}
	if (strncmp((const char *)node->tag, "tag:yaml.org,2002:", 18)) {
		report(l, &node->start_mark, at, field->name, "tags like %.40s mean nothing here",
		        (const char *)node->tag);
		return false;
	}
	if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		return read_message(l, node, at, field, index, p);
	if (node->type != YAML_SCALAR_NODE) {
		report(l, &node->start_mark, at, field->name, "must be a single value, not %s", node_kind(node));
		return false;
	}

	return read_scalar(l, node, at, field, p);
}

static void read_list(
        struct loader *l, int id, const struct place *at, const ProtobufCFieldDescriptor *field, ProtobufCMessage *msg)
{
	const yaml_node_t *node = node_at(l->doc, id);
	const size_t size = field_size(field->type);
	size_t *np = (size_t *)((uint8_t *)msg + field->quantifier_offset);
	uint8_t *items;
	size_t n;

	if (node->type != YAML_SEQUENCE_NODE) {
		report(l, &node->start_mark, at, field->name, "must be a list, not %s", node_kind(node));
		return;
	}
	n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
	if (!n || !charge(l, n * size, &node->start_mark, at))
		return;

	items = calloc(n, size);
	if (!items) {
		l->err = ENOMEM;
		return;
	}
	*(void **)((uint8_t *)msg + field->offset) = items;

	for (size_t i = 0; i < n && !l->err; i++) {
		const int item = node->data.sequence.items.start[i];
		const yaml_node_t *child = node_at(l->doc, item);
		const char *key = NULL;

		if (field->type == PROTOBUF_C_TYPE_MESSAGE)
			key = entry_key(l->doc, child, field->descriptor);
		if (key && entry_add(l->doc, id, item, key))
			l->err = ENOMEM;
		if (read_value(l, child, at, field, i, items + *np * size))
			++*np;
	}
}

/* The other member of the same oneof that is set already; NULL: none. */
static const ProtobufCFieldDescriptor *oneof_rival(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
	const uint32_t id = *(const uint32_t *)((const uint8_t *)msg + field->quantifier_offset);

	if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) || !id)
		return NULL;

	return protobuf_c_message_descriptor_get_field(msg->descriptor, id);
}

static void read_field(struct loader *l, int id, const yaml_mark_t *mark, const struct place *at,
        const ProtobufCFieldDescriptor *field, ProtobufCMessage *msg)
{
	const ProtobufCFieldDescriptor *rival = oneof_rival(msg, field);
	uint8_t *base = (uint8_t *)msg;
	union { /* the widest values: a oneof's storage must not be touched before its member is known to be good */
		uint64_t u;
		void *p;
		ProtobufCBinaryData bytes;
	} value = {0};

	if (rival) {
		report(l, mark, at, field->name, "only one of %s and %s can stand here", rival->name, field->name);
		return;
	}
	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		if (scalar_is_null(node_at(l->doc, id)))
			report(l, mark, at, field->name, "has no value; leave the key out, or write []");
		else
			read_list(l, id, at, field, msg);
		return;
	}
	if (!read_value(l, node_at(l->doc, id), at, field, 0, &value))
		return;

	memcpy(base + field->offset, &value, field_size(field->type));
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*(uint32_t *)(base + field->quantifier_offset) = field->id;
	else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->quantifier_offset)
		*(protobuf_c_boolean *)(base + field->quantifier_offset) = 1;
}

static const ProtobufCFieldDescriptor *find_field(
        struct loader *l, const yaml_node_t *key, const struct place *at, const ProtobufCMessageDescriptor *desc)
{
	const ProtobufCFieldDescriptor *field;
	char hint[256];

	if (key->type != YAML_SCALAR_NODE) {
		report(l, &key->start_mark, at, NULL, "a key must be a name, not %s", node_kind(key));
		return NULL;
	}

	field = protobuf_c_message_descriptor_get_field_by_name(desc, scalar_text(key));
	if (!field) {
		suggest(hint, sizeof(hint), desc, scalar_text(key));
		report(l, &key->start_mark, at, scalar_text(key), "unknown key%s", hint);
	}

	return field;
}

static void read_mapping(struct loader *l, const yaml_node_t *node, const struct place *at, ProtobufCMessage *msg)
{
	const ProtobufCMessageDescriptor *desc = msg->descriptor;
	size_t line[FIELDS_MAX] = {0};
	const yaml_node_pair_t *pair;

	assert(desc->n_fields <= FIELDS_MAX);

	for (pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *key = node_at(l->doc, pair->key);
		const ProtobufCFieldDescriptor *field;

		if (!charge(l, sizeof(*pair), &key->start_mark, at))
			return;
		field = find_field(l, key, at, desc);
		if (!field)
			continue;
		if (line[field - desc->fields]) {
			report(l, &key->start_mark, at, field->name, "stands here a second time, first in line %zu",
			        line[field - desc->fields]);
			continue;
		}
		line[field - desc->fields] = key->start_mark.line + 1;
		read_field(l, pair->value, &key->start_mark, at, field, msg);
	}
}

/* libyaml tells of unreadable characters only at which byte they are. */
static yaml_mark_t offset_mark(const uint8_t *text, size_t len, size_t offset)
{
	yaml_mark_t mark = {.index = offset};

	for (size_t i = 0; i < offset && i < len; i++) {
		mark.column++;
		if (text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		}
	}

	return mark;
}

static void report_unreadable(struct loader *l, const yaml_parser_t *parser, const uint8_t *text, size_t len)
{
	const struct place root = {0};
	yaml_mark_t mark = parser->problem_mark;

	if (parser->error == YAML_MEMORY_ERROR) {
		l->err = ENOMEM;
		return;
	}
	if (parser->error == YAML_READER_ERROR)
		mark = offset_mark(text, len, parser->problem_offset);

	report(l, &mark, &root, NULL, "not YAML: %s%s%s", parser->problem ? parser->problem : "unreadable",
	        parser->context ? ", " : "", parser->context ? parser->context : "");
}

/* libyaml takes quadratic time for deep nesting and for many anchors, and checks neither: so look before composing the tree.
   False: this event ends the walk. */
static bool check_event(struct loader *l, const yaml_event_t *event, struct shape *shape)
{
	const struct place root = {0};
	const yaml_char_t *anchor = NULL;

	switch (event->type) {

	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		shape->depth++;
		break;

	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		shape->depth++;
		break;

	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		shape->depth--;
		break;

	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		break;

	case YAML_DOCUMENT_START_EVENT:
		if (shape->documents++)
			report(l, &event->start_mark, &root, NULL,
			        "a second YAML document begins here: one file, one document");
		break;

	default:
		break;
	}

	if (shape->depth > NESTING_MAX)
		report(l, &event->start_mark, &root, NULL, "nests deeper than %d", NESTING_MAX);
	if (anchor && ++shape->anchors > ANCHORS_MAX)
		report(l, &event->start_mark, &root, NULL, "has more than %d anchors", ANCHORS_MAX);

	return !l->issues && event->type != YAML_STREAM_END_EVENT;
}

static void check_shape(struct loader *l, const uint8_t *text, size_t len)
{
	const struct place root = {0};
	struct shape shape = {0};
	yaml_parser_t parser;
	yaml_event_t event;
	bool more = true;

	if (!yaml_parser_initialize(&parser)) {
		l->err = ENOMEM;
		return;
	}
	yaml_parser_set_input_string(&parser, text, len);

	while (more) {
		if (!yaml_parser_parse(&parser, &event)) {
			report_unreadable(l, &parser, text, len);
			break;
		}
		more = check_event(l, &event, &shape);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);

	if (!l->issues && !l->err && !shape.documents)
		report(l, NULL, &root, NULL, "the file is empty");
}

static void load_tree(struct loader *l, const uint8_t *text, size_t len)
{
	yaml_parser_t parser;

	if (!yaml_parser_initialize(&parser)) {
		l->err = ENOMEM;
		return;
	}
	yaml_parser_set_input_string(&parser, text, len);

	/* an alias to nothing is found only here */
	if (yaml_parser_load(&parser, &l->doc->tree))
		l->doc->has_tree = true;
	else
		report_unreadable(l, &parser, text, len);
	yaml_parser_delete(&parser);
}

int yamldoc_load(struct yamldoc **docp, const uint8_t *text, size_t len, const ProtobufCMessageDescriptor *desc,
        yamldoc_issue_h *issueh, void *arg)
{
	struct loader l = {.issueh = issueh, .arg = arg};
	const struct place root = {0};
	const yaml_node_t *node;

	*docp = NULL;
	l.doc = calloc(1, sizeof(*l.doc));
	if (!l.doc)
		return ENOMEM;

	if (len > YAMLDOC_SIZE_MAX)
		report(&l, NULL, &root, NULL, "the file is larger than %d MiB", YAMLDOC_SIZE_MAX >> 20);
	else
		check_shape(&l, text, len);
	if (!l.err && !l.issues)
		load_tree(&l, text, len);
	if (l.err || l.issues)
		goto out;

	node = yaml_document_get_root_node(&l.doc->tree);
	if (node->type != YAML_MAPPING_NODE) {
		report(&l, &node->start_mark, &root, NULL, "must be a mapping, not %s", node_kind(node));
		goto out;
	}

	l.doc->msg = malloc(desc->sizeof_message);
	if (!l.doc->msg) {
		l.err = ENOMEM;
		goto out;
	}
	protobuf_c_message_init(desc, l.doc->msg);
	read_mapping(&l, node, &root, l.doc->msg);
out:
	if (l.err || l.issues) {
		yamldoc_free(l.doc);
		return l.err == ENOMEM ? ENOMEM : EBADMSG;
	}
	*docp = l.doc;

	return 0;
}

int yamldoc_load_file(struct yamldoc **docp, const char *filename, const ProtobufCMessageDescriptor *desc,
        yamldoc_issue_h *issueh, void *arg)
{
	FILE *f = strcmp(filename, "-") ? fopen(filename, "re") : stdin;
	uint8_t *text;
	size_t len;
	int err;

	*docp = NULL;
	if (!f)
		return errno;

	text = malloc(YAMLDOC_SIZE_MAX + 1);
	if (!text) {
		err = ENOMEM;
		goto out;
	}

	errno = 0;
	len = fread(text, 1, YAMLDOC_SIZE_MAX + 1, f);
	err = ferror(f) ? errno : yamldoc_load(docp, text, len, desc, issueh, arg);
out:
	free(text);
	if (f != stdin)
		fclose(f);

	return err;
}

void yamldoc_free(struct yamldoc *doc)
{
	if (!doc)
		return;

	if (doc->msg)
		protobuf_c_message_free_unpacked(doc->msg, NULL);
	if (doc->has_tree)
		yaml_document_delete(&doc->tree);
	free(doc->entries);
	free(doc);
}

ProtobufCMessage *yamldoc_message(const struct yamldoc *doc)
{
	return doc->msg;
}

static bool locate(const struct yamldoc *doc, const yaml_node_t *node, const char *path, const yaml_node_t **foundp);

/* The entry by its id, else by its index. Of two with the same id, the one that has what is looked for. */
static bool locate_entry(const struct yamldoc *doc, const yaml_node_t *list, const char *key, const char *rest,
        const yaml_node_t **foundp)
{
	const int id = (int)(list - doc->tree.nodes.start) + 1;
	const struct entry *entry;
	const yaml_node_t *last;
	uint64_t index = 0;
	bool negative = false;

	if (list->type != YAML_SEQUENCE_NODE)
		return false;

	entry = doc->nslots ? entry_slot(doc, id, key, entry_hash(id, key)) : NULL;
	if (entry && entry->key) {
		if (locate(doc, node_at(doc, entry->first), rest, foundp))
			return true;
		last = node_at(doc, entry->last);
		if (!locate(doc, node_at(doc, entry->last), rest, &last))
			return false;
		*foundp = last;
		return true;
	}

	if (!parse_integer(key, &negative, &index) || negative ||
	        index >= (size_t)(list->data.sequence.items.top - list->data.sequence.items.start))
		return false;

	return locate(doc, node_at(doc, list->data.sequence.items.start[index]), rest, foundp);
}

/* *foundp: how far the path leads from `node`; true: to its end. Every step makes the path shorter. */
static bool locate(const struct yamldoc *doc, const yaml_node_t *node, const char *path, const yaml_node_t **foundp)
{
	const bool in_list = *path == '[';
	const size_t n = strcspn(path + in_list, in_list ? "]" : ".[");
	const char *rest = path + in_list + n;
	const yaml_node_t *child;
	char step[STEP_MAX];

	*foundp = node;
	if (!*path)
		return true;
	if (n >= sizeof(step))
		return false;
	memcpy(step, path + in_list, n);
	step[n] = '\0';
	rest += strspn(rest, in_list ? "]." : ".");
	if (rest == path)
		return false;

	if (in_list)
		return locate_entry(doc, node, step, rest, foundp);

	child = mapping_get(doc, node, step);

	return child && locate(doc, child, rest, foundp);
}

bool yamldoc_locate(const struct yamldoc *doc, const char *path, size_t *linep, size_t *columnp)
{
	const yaml_node_t *root = node_at(doc, 1), *found = root;

	locate(doc, root, path, &found);
	if (found == root)
		return false;

	*linep = found->start_mark.line + 1;
	*columnp = found->start_mark.column + 1;

	return true;
}
