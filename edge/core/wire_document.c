/**
 * @file wire_document.c  Decodes and validates a ConfigDocument
 *
 * The bytes are looked over first (proto/scan), then one account after the other is unpacked into a bounded arena, checked,
 * and copied into the model. So the memory taken beside the model is that of the largest account, and every account is
 * looked at even when a former one is wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include <re.h>
#include "edge/core/arena.h"
#include "edge/core/wire.h"
#include "edge/core/wire_walk.h"
#include "proto/scan.h"

enum {
	/* ConfigDocument */
	DOCUMENT_REVISION = 1,
	DOCUMENT_ACCOUNTS = 4,
	DOCUMENT_NODE = 5,
	DOCUMENT_SIGNED = 15,

	/* DeviceAccount */
	ACCOUNT_COMMANDS = 13,

	/* What unpacking an account may take: this much, and ARENA_PER_BYTE for each of its bytes up to ARENA_STEEP, then ARENA_FLAT.
	   The smallest useful command has 13 bytes and takes about 350. */
	ARENA_BASE = 64 * 1024,
	ARENA_PER_BYTE = 32,
	ARENA_STEEP = 1536 * 1024,
	ARENA_FLAT = 4,

};

static const uint64_t revision_max = (uint64_t)1 << 53; /* what every JSON reader takes as an integer */

/* One field of the outermost message. */
struct member {
	uint64_t id;
	uint64_t value;      /* varint */
	const uint8_t *data; /* length-prefixed; NULL: another kind */
	size_t len;
};

static bool take_varint(const uint8_t **pp, const uint8_t *end, uint64_t *vp)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && *pp < end; shift += 7) {
		uint8_t byte = *(*pp)++;

		v |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*vp = v;
			return true;
		}
	}
	return false;
}

/* false: the end, or no field */
static bool take_member(const uint8_t **pp, const uint8_t *end, struct member *m)
{
	uint64_t tag, len = 0;

	*m = (struct member){0};
	if (!take_varint(pp, end, &tag))
		return false;
	m->id = tag >> 3;
	switch (tag & 7) {
	case PROTOBUF_C_WIRE_TYPE_VARINT:
		return take_varint(pp, end, &m->value);
	case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
		if (!take_varint(pp, end, &len) || len > (uint64_t)(end - *pp))
			return false;
		m->data = *pp;
		m->len = (size_t)len;
		break;
	case PROTOBUF_C_WIRE_TYPE_64BIT:
		len = 8;
		break;
	case PROTOBUF_C_WIRE_TYPE_32BIT:
		len = 4;
		break;
	default:
		return false;
	}
	if (len > (uint64_t)(end - *pp))
		return false;
	*pp += len;
	return true;
}

static void scan_h(const char *path, const char *code, const char *message, void *arg)
{
	struct walk *w = arg;

	if (0 == strcmp(code, "malformed") || 0 == strcmp(code, "too_large"))
		w->is_undecodable = true;
	/* the codes are literals of the scanner */
	issues_add(w->issues, path, code, "%s", message);
}

static size_t count_commands(const struct member *m)
{
	const uint8_t *p = m->data, *end = m->data + m->len;
	struct member field;
	size_t n = 0;

	while (take_member(&p, end, &field))
		n += field.id == ACCOUNT_COMMANDS;
	return n;
}

static size_t arena_size(size_t len)
{
	size_t steep = len < ARENA_STEEP ? len : ARENA_STEEP;

	return ARENA_BASE + steep * ARENA_PER_BYTE + (len - steep) * ARENA_FLAT;
}

/* NULL: too large or out of memory, which has been told */
static Sipedge__V1__DeviceAccount *unpack_account(struct walk *w, struct arena *arena, const struct member *m)
{
	size_t n = count_commands(m);
	Sipedge__V1__DeviceAccount *pb;

	if (n > ACCOUNT_COMMANDS_MAX) {
		walk_complain(w, "commands", "too_large", "%zu commands are too many for one account: at most %d", n,
		        (int)ACCOUNT_COMMANDS_MAX);
		return NULL;
	}
	w->ncommands += n;
	arena_reset(arena, arena_size(m->len));
	pb = sipedge__v1__device_account__unpack(&arena->allocator, m->len, m->data);
	if (!pb && !arena->is_exhausted)
		w->is_oom = true; /* the scan has found the account decodable */
	else if (!pb)
		walk_complain(w, NULL, "too_large", "the account repeats its fields too often: send every field once");
	return pb;
}

static struct account *take_account(struct walk *w, struct arena *arena, const struct member *m, size_t index)
{
	struct account *account = NULL;
	Sipedge__V1__DeviceAccount *pb;
	int n;

	(void)snprintf(w->path, sizeof(w->path), "accounts[%zu]", index);
	pb = unpack_account(w, arena, m);
	if (!pb)
		return NULL;
	if (account_alloc(&account)) {
		w->is_oom = true;
		return NULL;
	}
	n = config_name_is_valid(pb->id) ? snprintf(w->path, sizeof(w->path), "accounts[%s]", pb->id)
	                                 : (int)strlen(w->path);
	w->account_path_len = (size_t)n;
	wire_decode_account(w, account, pb);
	return account;
}

/* The ids of all accounts, also when the accounts themselves are no longer kept. */
struct ids {
	struct mbuf *text; /* NUL-terminated ids one after the other */
	struct walk_name *names;
	size_t n;
};

static void remember_id(struct walk *w, struct ids *ids, const struct account *account, size_t index)
{
	if (!config_name_is_valid(account->id))
		return;
	/* an offset for now: the buffer moves while it grows */
	ids->names[ids->n++] = (struct walk_name){(const char *)(uintptr_t)ids->text->pos, index};
	if (mbuf_write_mem(ids->text, (const uint8_t *)account->id, strlen(account->id) + 1))
		w->is_oom = true;
}

static void check_ids(struct walk *w, struct ids *ids)
{
	if (w->is_oom)
		return;
	for (size_t i = 0; i < ids->n; i++)
		ids->names[i].text = (const char *)ids->text->buf + (uintptr_t)ids->names[i].text;
	walk_check_duplicates(w, "accounts", "id", ids->names, ids->n);
}

static void decode_accounts(struct walk *w, struct config *config, const uint8_t *buf, size_t len)
{
	struct ids ids = {
	        .text = mbuf_alloc(4096), .names = mem_alloc((config->naccounts + 1) * sizeof(*ids.names), NULL)};
	const uint8_t *p = buf, *end = buf + len;
	struct arena arena;
	struct member m;
	size_t i = 0;

	arena_init(&arena);
	w->is_oom = !ids.text || !ids.names;
	while (!w->is_oom && w->ncommands <= COMMANDS_MAX && take_member(&p, end, &m)) {
		struct account *account;

		if (m.id != DOCUMENT_ACCOUNTS || i == config->naccounts)
			continue;
		account = take_account(w, &arena, &m, i);
		if (account && !w->is_oom)
			remember_id(w, &ids, account, i);
		if (account && issues_total(w->issues) == 0 && !w->is_oom)
			w->is_oom = config_account_seal(account) != 0;
		if (issues_total(w->issues) > 0)
			account = mem_deref(account); /* a refused document takes no memory */
		config->accounts[i++] = account;
	}
	w->path[0] = '\0';
	check_ids(w, &ids);
	arena_close(&arena);
	mem_deref(ids.text);
	mem_deref(ids.names);
}

static void check_head(struct walk *w, const struct config *config, const struct member *node, bool is_signed)
{
	const char *own = w->policy->node;

	if (is_signed) {
		walk_complain(w, "signed", "unsupported",
		        "this version can't verify signatures yet: send the document unsigned");
		return;
	}
	if (config->revision == 0)
		walk_complain(
		        w, "revision", "required", "is missing: set one higher than that of the document in force");
	else if (config->revision > revision_max)
		walk_complain(w, "revision", "out_of_range", "is above 2^53: nothing could follow it");
	if (node->len && own && (strlen(own) != node->len || memcmp(own, node->data, node->len)))
		walk_complain(w, "node", "invalid",
		        "is '%.*s', but this is node '%s': check the topic, or leave it out",
		        (int)(node->len < 64 ? node->len : 64), node->data, own);
	if (config->naccounts > ACCOUNTS_MAX)
		walk_complain(w, "accounts", "too_large", "%zu accounts are too many for one node: at most %d",
		        config->naccounts, (int)ACCOUNTS_MAX);
}

/* What stands in the document beside its accounts; also of one that can't be decoded as a whole. */
static void read_head(
        const uint8_t *buf, size_t len, uint64_t *revisionp, size_t *naccountsp, struct member *node, bool *is_signedp)
{
	const uint8_t *p = buf, *end = buf + len;
	struct member m;

	*node = (struct member){0};
	while (take_member(&p, end, &m)) {
		if (m.id == DOCUMENT_REVISION && !m.data)
			*revisionp = m.value;
		else if (m.id == DOCUMENT_ACCOUNTS)
			++*naccountsp;
		else if (m.id == DOCUMENT_NODE && m.data)
			*node = m;
		else if (m.id == DOCUMENT_SIGNED)
			*is_signedp = true;
	}
}

static int decode(struct walk *w, struct config **configp, const uint8_t *buf, size_t len, uint64_t *revisionp)
{
	struct config *config = NULL;
	bool is_signed = false;
	size_t naccounts = 0;
	struct member node;
	int err;

	read_head(buf, len, revisionp, &naccounts, &node, &is_signed);
	if (len > DOCUMENT_SIZE_MAX) {
		walk_complain(w, NULL, "too_large",
		        "has %zu bytes: at most %d are allowed, split it over several nodes", len,
		        (int)DOCUMENT_SIZE_MAX);
		return EBADMSG;
	}
	err = scan_message(&sipedge__v1__config_document__descriptor, buf, len, 0, scan_h, w);
	if (w->is_undecodable || (err && err != EBADMSG))
		return err;
	err = config_alloc(&config, naccounts <= ACCOUNTS_MAX ? naccounts : 0);
	if (err)
		return err;
	config->revision = *revisionp;
	config->naccounts = naccounts;
	check_head(w, config, &node, is_signed);
	if (naccounts > ACCOUNTS_MAX)
		config->naccounts = 0;
	else
		decode_accounts(w, config, buf, len);
	config->ncommands = w->ncommands;
	if (w->ncommands > COMMANDS_MAX)
		walk_complain(w, NULL, "too_large", "there are too many commands for one node: at most %d",
		        (int)COMMANDS_MAX);
	err = issues_total(w->issues) > 0 ? EBADMSG : 0;
	if (w->is_oom || EVP_Digest(buf, len, config->sha256, NULL, EVP_sha256(), NULL) != 1)
		err = ENOMEM;
	if (err)
		mem_deref(config);
	else
		*configp = config;
	return err;
}

int wire_decode_document(struct config **configp, uint64_t *revisionp, const uint8_t *buf, size_t len,
        const struct config_policy *policy, struct issues *issues)
{
	struct walk w = {.policy = policy, .issues = issues};
	uint64_t revision = 0;
	int err;

	if (!configp || (!buf && len) || !policy || !issues)
		return EINVAL;
	err = decode(&w, configp, buf ? buf : (const uint8_t *)"", len, &revision);
	if (revisionp)
		*revisionp = revision;
	return err;
}
