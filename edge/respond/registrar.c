/**
 * @file registrar.c  Bindings in memory (RFC 3261 10.3)
 */
#include <errno.h>
#include <string.h>
#include "edge/clock.h"
#include "edge/respond/responder.h"

enum {
	BINDINGS_MAX = 10000,
	BINDINGS_PER_USER_MAX = 10,
	CONTACT_SIZE_MAX = 512,
	EXPIRES_DEFAULT_S = 3600,
	EXPIRES_MAX_S = 7200,
	BUCKETS = 1024,
	SECOND_US = 1000000,
};

struct binding {
	struct le le;
	char *user; /* address of record: user@host */
	char *uri;
	uint64_t expires_us;
};

struct registrar {
	struct hash *bindings; /* by user */
	unsigned count;
};

static void binding_destructor(void *data)
{
	struct binding *b = data;

	hash_unlink(&b->le);
	mem_deref(b->user);
	mem_deref(b->uri);
}

static void registrar_destructor(void *data)
{
	struct registrar *reg = data;

	if (reg->bindings)
		hash_flush(reg->bindings);
	mem_deref(reg->bindings);
}

int registrar_alloc(struct registrar **rp)
{
	struct registrar *reg = mem_zalloc(sizeof(*reg), registrar_destructor);

	if (!reg)
		return ENOMEM;
	if (hash_alloc(&reg->bindings, BUCKETS)) {
		mem_deref(reg);
		return ENOMEM;
	}
	*rp = reg;

	return 0;
}

static void drop(struct registrar *reg, struct binding *b)
{
	reg->count--;
	mem_deref(b);
}

/* Drops those of the user's that match: a URI, or NULL for all; now_us: or that have expired, 0: none of those. */
static void drop_bindings(struct registrar *reg, const char *user, const struct pl *uri, uint64_t now_us)
{
	struct le *le = list_head(hash_list(reg->bindings, hash_joaat_str_ci(user)));

	while (le) {
		struct binding *b = le->data;

		le = le->next;
		if (str_casecmp(b->user, user))
			continue;
		if (now_us ? now_us >= b->expires_us : !uri || !pl_strcmp(uri, b->uri))
			drop(reg, b);
	}
}

static unsigned count_bindings(const struct registrar *reg, const char *user)
{
	unsigned n = 0;
	struct le *le;

	LIST_FOREACH (hash_list(reg->bindings, hash_joaat_str_ci(user)), le) {
		const struct binding *b = le->data;

		n += !str_casecmp(b->user, user);
	}

	return n;
}

static int add(struct registrar *reg, const char *user, const struct pl *uri, uint32_t expires_s, uint64_t now_us)
{
	struct binding *b;
	int err;

	if (reg->count >= BINDINGS_MAX || count_bindings(reg, user) >= BINDINGS_PER_USER_MAX)
		return ENOBUFS;

	b = mem_zalloc(sizeof(*b), binding_destructor);
	if (!b)
		return ENOMEM;
	err = str_dup(&b->user, user);
	if (!err)
		err = pl_strdup(&b->uri, uri);
	if (err) {
		mem_deref(b);
		return err;
	}
	b->expires_us = now_us + (uint64_t)expires_s * SECOND_US;
	hash_append(reg->bindings, hash_joaat_str_ci(user), &b->le, b);
	reg->count++;

	return 0;
}

static uint32_t expires_of(const struct sip_msg *msg, const struct sip_addr *contact)
{
	struct pl value;
	uint32_t expires = EXPIRES_DEFAULT_S;

	if (!msg_param_decode(&contact->params, "expires", &value))
		expires = pl_u32(&value);
	else if (pl_isset(&msg->expires))
		expires = pl_u32(&msg->expires);

	return expires > EXPIRES_MAX_S ? EXPIRES_MAX_S : expires;
}

/* Applies one Contact; the response code. */
static uint16_t apply_contact(
        struct registrar *reg, const struct sip_msg *msg, const char *user, const struct pl *value, uint64_t now_us)
{
	struct sip_addr contact;
	uint32_t expires_s;

	if (!pl_strcmp(value, "*")) {
		if (!pl_isset(&msg->expires) || pl_u32(&msg->expires))
			return 400; /* RFC 3261 10.2.2 */
		drop_bindings(reg, user, NULL, 0);
		return 200;
	}
	if (value->l > CONTACT_SIZE_MAX || sip_addr_decode(&contact, value))
		return 400;

	expires_s = expires_of(msg, &contact);
	drop_bindings(reg, user, &contact.auri, 0);
	if (!expires_s)
		return 200;

	return add(reg, user, &contact.auri, expires_s, now_us) ? 503 : 200;
}

/* The next of the comma-separated values (libre splits Via only); commas inside quotes and angle brackets separate nothing. */
static bool take_value(struct pl *p, struct pl *value)
{
	bool in_quotes = false, in_angles = false;

	while (p->l && strchr(" \t\r\n,", *p->p))
		pl_advance(p, 1);
	value->p = p->p;
	while (p->l && (in_quotes || in_angles || *p->p != ',')) {
		if (in_quotes && *p->p == '\\' && p->l > 1)
			pl_advance(p, 1);
		else if (*p->p == '"')
			in_quotes = !in_quotes;
		else if (!in_quotes && (*p->p == '<' || *p->p == '>'))
			in_angles = *p->p == '<';
		pl_advance(p, 1);
	}
	value->l = (size_t)(p->p - value->p);
	while (value->l && strchr(" \t\r\n", value->p[value->l - 1]))
		value->l--;

	return value->l > 0;
}

static uint16_t apply(struct registrar *reg, const struct sip_msg *msg, const char *user, uint64_t now_us)
{
	uint16_t code = 200;
	struct le *le;

	drop_bindings(reg, user, NULL, now_us);
	LIST_FOREACH (&msg->hdrl, le) {
		const struct sip_hdr *hdr = le->data;
		struct pl rest = hdr->val, value;

		while (hdr->id == SIP_HDR_CONTACT && code == 200 && take_value(&rest, &value))
			code = apply_contact(reg, msg, user, &value, now_us);
	}

	return code;
}

static int print_bindings(struct mbuf *mb, const struct registrar *reg, const char *user, uint64_t now_us)
{
	struct le *le;
	int err = 0;

	LIST_FOREACH (hash_list(reg->bindings, hash_joaat_str_ci(user)), le) {
		const struct binding *b = le->data;

		if (!str_casecmp(b->user, user))
			err |= mbuf_printf(mb, "Contact: <%s>;expires=%u\r\n", b->uri,
			        (uint32_t)((b->expires_us - now_us + SECOND_US - 1) / SECOND_US));
	}

	return err | mbuf_write_u8(mb, 0);
}

void registrar_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx)
{
	uint64_t now_us = clock_mono_us();
	struct mbuf *headers = mbuf_alloc(512);
	char *user = NULL;
	uint16_t code;

	if (!headers || re_sdprintf(&user, "%r@%r", &msg->to.uri.user, &msg->to.uri.host))
		goto out;

	code = apply(r->registrar, msg, user, now_us);
	if (code != 200)
		responder_reply(r, msg, rx, code, NULL);
	else if (!print_bindings(headers, r->registrar, user, now_us))
		responder_reply(r, msg, rx, code, (char *)headers->buf);
out:
	mem_deref(headers);
	mem_deref(user);
}

void registrar_sweep(struct registrar *reg, uint64_t now_us)
{
	for (uint32_t i = 0; i < hash_bsize(reg->bindings); i++) {
		struct le *le = list_head(hash_list(reg->bindings, i));

		while (le) {
			struct binding *b = le->data;

			le = le->next;
			if (now_us >= b->expires_us)
				drop(reg, b);
		}
	}
}
