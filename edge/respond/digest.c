/**
 * @file digest.c  The server's side of digest authentication (RFC 3261 22.4, RFC 2617 3.2): MD5 with qop=auth
 *
 * Nonces carry their time and a keyed hash of it, so none has to be remembered. By OpenSSL, and written apart from the
 * client's: two halves that share an error would agree.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include "edge/respond/responder.h"

#define REALM "sipedge"

enum {
	MD5_HEX = 33,  /* with the NUL */
	TIME_HEX = 16, /* microseconds since the machine's start */
	MAC_BYTES = 16,
	NONCE_HEX = TIME_HEX + 2 * MAC_BYTES,
	KEY_SIZE = 32,
	SECOND_US = 1000000,
};

struct digest_guard {
	char *user;
	char ha1[MD5_HEX];
	uint64_t expires_us;
	uint8_t key[KEY_SIZE];
};

/* What a client sent. Empty where absent. */
struct credentials {
	struct pl username, realm, nonce, uri, response, algorithm, cnonce, qop, nc;
};

static void to_hex(char *hex, const uint8_t *bytes, size_t n)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		*hex++ = digits[bytes[i] >> 4];
		*hex++ = digits[bytes[i] & 15];
	}
	*hex = '\0';
}

/* MD5 over the parts with colons between them */
static int md5_of(char hex[MD5_HEX], const struct pl *part, size_t n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t hash[EVP_MAX_MD_SIZE];
	int ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL);

	for (size_t i = 0; ok && i < n; i++) {
		if (i)
			ok = EVP_DigestUpdate(ctx, ":", 1);
		ok = ok && EVP_DigestUpdate(ctx, part[i].p ? part[i].p : "", part[i].l);
	}
	ok = ok && EVP_DigestFinal_ex(ctx, hash, NULL);
	EVP_MD_CTX_free(ctx);
	if (ok)
		to_hex(hex, hash, 16);

	return ok ? 0 : ENOTSUP;
}

static struct pl pl_of(const char *text)
{
	return (struct pl){.p = text, .l = strlen(text)};
}

static void guard_destructor(void *data)
{
	struct digest_guard *g = data;

	mem_deref(g->user);
	OPENSSL_cleanse(g->ha1, sizeof(g->ha1));
	OPENSSL_cleanse(g->key, sizeof(g->key));
}

int digest_guard_alloc(struct digest_guard **gp, const char *user, const char *password, unsigned expires_s)
{
	struct digest_guard *g = mem_zalloc(sizeof(*g), guard_destructor);
	struct pl part[] = {pl_of(user), pl_of(REALM), pl_of(password)};
	int err;

	if (!g)
		return ENOMEM;

	g->expires_us = (uint64_t)expires_s * SECOND_US;
	err = str_dup(&g->user, user);
	if (!err)
		err = md5_of(g->ha1, part, 3);
	if (!err && getrandom(g->key, sizeof(g->key), 0) != sizeof(g->key))
		err = EIO;
	if (err)
		mem_deref(g);
	else
		*gp = g;

	return err;
}

static int make_nonce(char nonce[NONCE_HEX + 1], const struct digest_guard *g, uint64_t at_us)
{
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	(void)re_snprintf(nonce, NONCE_HEX + 1, "%016llx", (unsigned long long)at_us);
	if (!HMAC(EVP_sha256(), g->key, sizeof(g->key), (uint8_t *)nonce, TIME_HEX, mac, &len) || len < MAC_BYTES)
		return ENOTSUP;
	to_hex(nonce + TIME_HEX, mac, MAC_BYTES);

	return 0;
}

int digest_challenge(struct mbuf *mb, const struct digest_guard *g, bool is_stale, uint64_t now_us)
{
	char nonce[NONCE_HEX + 1];
	int err = make_nonce(nonce, g, now_us);

	if (err)
		return err;

	return mbuf_printf(mb,
	        "WWW-Authenticate: Digest realm=\"" REALM "\", nonce=\"%s\", algorithm=MD5, qop=\"auth\"%s\r\n", nonce,
	        is_stale ? ", stale=true" : "");
}

/* One `name=value` or `name="value"` from the start of *p; false: none is there. */
static bool take_param(struct pl *p, struct pl *name, struct pl *value)
{
	while (p->l && (*p->p == ' ' || *p->p == ',' || *p->p == '\t' || *p->p == '\r' || *p->p == '\n'))
		pl_advance(p, 1);
	name->p = p->p;
	while (p->l && *p->p != '=' && *p->p != ',')
		pl_advance(p, 1);
	name->l = (size_t)(p->p - name->p);
	if (!p->l || *p->p != '=' || !name->l)
		return false;
	pl_advance(p, 1);

	if (p->l && *p->p == '"') {
		pl_advance(p, 1);
		value->p = p->p;
		while (p->l && *p->p != '"') /* our own values have no escapes: one that has is not ours */
			pl_advance(p, 1);
		value->l = (size_t)(p->p - value->p);
		if (!p->l)
			return false;
		pl_advance(p, 1);
	} else {
		value->p = p->p;
		while (p->l && *p->p != ',' && *p->p != ' ' && *p->p != '\t' && *p->p != '\r')
			pl_advance(p, 1);
		value->l = (size_t)(p->p - value->p);
	}

	return true;
}

static bool read_credentials(struct credentials *c, const struct pl *header)
{
	const struct {
		const char *name;
		struct pl *value;
	} known[] = {{"username", &c->username}, {"realm", &c->realm}, {"nonce", &c->nonce}, {"uri", &c->uri},
	        {"response", &c->response}, {"algorithm", &c->algorithm}, {"cnonce", &c->cnonce}, {"qop", &c->qop},
	        {"nc", &c->nc}};
	struct pl p = *header, name, value;

	memset(c, 0, sizeof(*c));
	if (p.l < 7 || strncasecmp(p.p, "Digest ", 7) != 0)
		return false;
	pl_advance(&p, 7);
	while (take_param(&p, &name, &value)) {
		for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
			if (!pl_strcasecmp(&name, known[i].name))
				*known[i].value = value;
		}
	}

	return !p.l && pl_isset(&c->username) && pl_isset(&c->nonce) && pl_isset(&c->uri) && pl_isset(&c->response);
}

static bool is_our_nonce(const struct digest_guard *g, const struct pl *nonce, uint64_t *made_us)
{
	char expected[NONCE_HEX + 1];
	struct pl time = {.p = nonce->p, .l = TIME_HEX};

	if (nonce->l != NONCE_HEX)
		return false;
	*made_us = pl_x64(&time);

	return !make_nonce(expected, g, *made_us) && !CRYPTO_memcmp(expected, nonce->p, NONCE_HEX);
}

static bool is_right(const struct digest_guard *g, const struct sip_msg *msg, const struct credentials *c)
{
	char ha2[MD5_HEX], expected[MD5_HEX];
	struct pl a2[] = {msg->met, c->uri};

	if (pl_strcmp(&c->username, g->user) || pl_strcmp(&c->realm, REALM) || pl_strcasecmp(&c->qop, "auth") ||
	        (pl_isset(&c->algorithm) && pl_strcasecmp(&c->algorithm, "MD5")) || !pl_isset(&c->cnonce) ||
	        c->nc.l != 8 || c->response.l != MD5_HEX - 1)
		return false;
	if (pl_cmp(&c->uri, &msg->ruri)) /* credentials of another request (RFC 2617 3.2.2.5) */
		return false;

	if (md5_of(ha2, a2, 2))
		return false;
	struct pl all[] = {pl_of(g->ha1), c->nonce, c->nc, c->cnonce, c->qop, pl_of(ha2)};
	if (md5_of(expected, all, 6))
		return false;

	return !CRYPTO_memcmp(expected, c->response.p, MD5_HEX - 1);
}

enum digest_result digest_check(const struct digest_guard *g, const struct sip_msg *msg, uint64_t now_us)
{
	const struct sip_hdr *hdr = sip_msg_hdr(msg, SIP_HDR_AUTHORIZATION);
	struct credentials c;
	uint64_t made_us;

	if (!hdr)
		return DIGEST_MISSING;
	if (!read_credentials(&c, &hdr->val))
		return DIGEST_BROKEN;
	if (!is_our_nonce(g, &c.nonce, &made_us) || !is_right(g, msg, &c))
		return DIGEST_MISSING;

	return now_us - made_us > g->expires_us ? DIGEST_STALE : DIGEST_GOOD;
}
