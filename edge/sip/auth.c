/**
 * @file auth.c  Digest authentication of a client (RFC 3261 22, RFC 7616): MD5, qop=auth
 */
#include <string.h>
#include <strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include "edge/sip/auth.h"

enum {
	REALMS_MAX = 8,
	STALE_MAX = 2,
	CHALLENGE_SIZE_MAX = 4096, /* of one header */
	DIGEST_LEN = 16,
	HEX_LEN = 2 * DIGEST_LEN,
};

/* One realm that asked. realm, nonce and opaque as they stood between the quotes: they go back unchanged. */
struct credentials {
	struct le le;
	bool is_proxy;
	char *realm;
	char *nonce;
	char *opaque; /* NULL: none */
	bool has_qop;
	uint32_t nc;
	uint32_t nstale;
};

struct auth {
	char *user;
	const char *password;
	struct list realms;
	const char *algorithm;
	uint32_t nrounds;
};

/* A challenge as read; all point into the header. */
struct challenge {
	struct pl realm, nonce, opaque, stale, algorithm, qop;
};

static void credentials_destructor(void *arg)
{
	struct credentials *cred = arg;

	list_unlink(&cred->le);
	mem_deref(cred->realm);
	mem_deref(cred->nonce);
	mem_deref(cred->opaque);
}

static void auth_destructor(void *arg)
{
	struct auth *auth = arg;

	list_flush(&auth->realms);
	mem_deref(auth->user);
}

int auth_alloc(struct auth **authp, const char *user, const char *password)
{
	struct auth *auth = mem_zalloc(sizeof(*auth), auth_destructor);
	int err;

	if (!auth)
		return ENOMEM;

	auth->password = password ? password : "";
	err = str_dup(&auth->user, user);
	if (err)
		mem_deref(auth);
	else
		*authp = auth;

	return err;
}

/* The MD5 of `parts` joined by colons; the last one is NULL. OpenSSL's, so that no copy of a password stays in freed memory. */
static int hash_parts(char hex[AUTH_DIGEST_SIZE], const char *const *parts)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t digest[DIGEST_LEN];
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1;

	for (size_t i = 0; ok && parts[i]; i++) {
		if (i)
			ok = EVP_DigestUpdate(ctx, ":", 1) == 1;
		ok = ok && EVP_DigestUpdate(ctx, parts[i], strlen(parts[i])) == 1;
	}
	ok = ok && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return ENOTSUP;

	for (size_t i = 0; i < DIGEST_LEN; i++) {
		hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	hex[HEX_LEN] = '\0';
	OPENSSL_cleanse(digest, sizeof(digest));

	return 0;
}

#define HASH(hex, ...) hash_parts(hex, (const char *const[]){__VA_ARGS__, NULL})

int auth_digest(char hex[AUTH_DIGEST_SIZE], const struct auth_digest *in)
{
	char a1[AUTH_DIGEST_SIZE], a2[AUTH_DIGEST_SIZE];
	int err;

	err = HASH(a1, in->user, in->realm, in->password);
	err = err ? err : HASH(a2, in->method, in->uri);
	if (!err && in->qop)
		err = HASH(hex, a1, in->nonce, in->nc, in->cnonce, in->qop, a2);
	else if (!err)
		err = HASH(hex, a1, in->nonce, a2);
	OPENSSL_cleanse(a1, sizeof(a1)); /* as good as the password within its realm */

	return err;
}

static bool is_lws(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_lws(struct pl *rest)
{
	while (rest->l && is_lws(rest->p[0]))
		pl_advance(rest, 1);
}

static struct pl take_token(struct pl *rest)
{
	struct pl token = {rest->p, 0};

	while (rest->l && !is_lws(rest->p[0]) && !strchr("=,\"", rest->p[0])) {
		pl_advance(rest, 1);
		token.l++;
	}

	return token;
}

/* The text between the quotes, escapes and all. false: no closing quote. */
static bool take_quoted(struct pl *rest, struct pl *text)
{
	pl_advance(rest, 1);
	*text = (struct pl){rest->p, 0};
	while (rest->l && rest->p[0] != '"') {
		size_t step = rest->p[0] == '\\' && rest->l > 1 ? 2 : 1;

		pl_advance(rest, (ssize_t)step);
		text->l += step;
	}
	if (!rest->l)
		return false;
	pl_advance(rest, 1);

	return true;
}

static void challenge_set(struct challenge *challenge, const struct pl *name, const struct pl *value)
{
	const struct {
		const char *name;
		struct pl *value;
	} table[] = {
	        {"realm", &challenge->realm},
	        {"nonce", &challenge->nonce},
	        {"opaque", &challenge->opaque},
	        {"stale", &challenge->stale},
	        {"algorithm", &challenge->algorithm},
	        {"qop", &challenge->qop},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!pl_strcasecmp(name, table[i].name) && !table[i].value->p)
			*table[i].value = *value;
	}
}

/* What we send back in a header of our own must not end it. */
static bool is_printable(const struct pl *pl)
{
	for (size_t i = 0; i < pl->l; i++) {
		if ((unsigned char)pl->p[i] < ' ' || pl->p[i] == 0x7f)
			return false;
	}

	return true;
}

/* ENOTSUP: another scheme. EBADMSG. */
static int challenge_decode(struct challenge *challenge, const struct pl *val)
{
	struct pl rest = *val, scheme;

	memset(challenge, 0, sizeof(*challenge));
	if (val->l > CHALLENGE_SIZE_MAX)
		return EBADMSG;
	skip_lws(&rest);
	scheme = take_token(&rest);
	if (!scheme.l)
		return EBADMSG;
	if (pl_strcasecmp(&scheme, "Digest"))
		return ENOTSUP;

	for (;;) {
		struct pl name, value;

		while (rest.l && (is_lws(rest.p[0]) || rest.p[0] == ','))
			pl_advance(&rest, 1);
		if (!rest.l)
			break;
		name = take_token(&rest);
		skip_lws(&rest);
		if (!name.l || !rest.l || rest.p[0] != '=')
			return EBADMSG;
		pl_advance(&rest, 1);
		skip_lws(&rest);
		if (!rest.l || rest.p[0] != '"')
			value = take_token(&rest);
		else if (!take_quoted(&rest, &value))
			return EBADMSG;
		challenge_set(challenge, &name, &value);
	}

	if (!challenge->realm.p || !pl_isset(&challenge->nonce))
		return EBADMSG;

	return is_printable(&challenge->realm) && is_printable(&challenge->nonce) && is_printable(&challenge->opaque)
	               ? 0
	               : EBADMSG;
}

static bool list_has(struct pl list, const char *word)
{
	while (list.l) {
		struct pl item;

		while (list.l && (is_lws(list.p[0]) || list.p[0] == ','))
			pl_advance(&list, 1);
		item = take_token(&list);
		if (!pl_strcasecmp(&item, word))
			return true;
		if (list.l && !item.l)
			pl_advance(&list, 1);
	}

	return false;
}

static bool can_answer(const struct challenge *challenge)
{
	if (pl_isset(&challenge->algorithm) && pl_strcasecmp(&challenge->algorithm, "MD5"))
		return false;

	return !pl_isset(&challenge->qop) || list_has(challenge->qop, "auth");
}

static struct credentials *credentials_find(const struct auth *auth, const struct pl *realm, bool is_proxy)
{
	for (struct le *le = list_head(&auth->realms); le; le = le->next) {
		struct credentials *cred = le->data;

		if (cred->is_proxy == is_proxy && !pl_strcmp(realm, cred->realm))
			return cred;
	}

	return NULL;
}

static int credentials_set(struct credentials *cred, const struct challenge *challenge)
{
	char *nonce, *opaque = NULL;
	int err = pl_strdup(&nonce, &challenge->nonce);

	if (err)
		return err;
	if (challenge->opaque.p)
		err = pl_strdup(&opaque, &challenge->opaque);
	if (err) {
		mem_deref(nonce);
		return err;
	}
	mem_deref(cred->nonce);
	mem_deref(cred->opaque);
	cred->nonce = nonce;
	cred->opaque = opaque;
	cred->has_qop = pl_isset(&challenge->qop);
	cred->nc = 0;

	return 0;
}

static int credentials_add(struct auth *auth, const struct challenge *challenge, bool is_proxy)
{
	struct credentials *cred;
	int err;

	if (list_count(&auth->realms) >= REALMS_MAX)
		return ENOTSUP;
	cred = mem_zalloc(sizeof(*cred), credentials_destructor);
	if (!cred)
		return ENOMEM;

	cred->is_proxy = is_proxy;
	err = pl_strdup(&cred->realm, &challenge->realm);
	err = err ? err : credentials_set(cred, challenge);
	if (err)
		mem_deref(cred);
	else
		list_append(&auth->realms, &cred->le, cred);

	return err;
}

/* The challenges of one response. */
struct round {
	struct auth *auth;
	bool is_proxy;
	int err;         /* ends it: EACCES, ENOMEM */
	bool is_broken;  /* one could not be read */
	bool is_foreign; /* one asked for what we can't do */
	unsigned ntaken;
};

static void round_take(struct round *round, const struct challenge *challenge)
{
	struct credentials *cred = credentials_find(round->auth, &challenge->realm, round->is_proxy);
	int err;

	if (!cred) {
		err = credentials_add(round->auth, challenge, round->is_proxy);
	} else if (!cred->nc) {
		return; /* a second choice of this very response */
	} else if (pl_strcasecmp(&challenge->stale, "true") || cred->nstale >= STALE_MAX) {
		err = EACCES;
	} else {
		cred->nstale++;
		err = credentials_set(cred, challenge);
	}

	if (!err)
		round->ntaken++;
	else if (err == ENOTSUP)
		round->is_foreign = true;
	else
		round->err = err;
}

static bool round_header_h(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
	struct round *round = arg;
	struct challenge challenge;
	int err = challenge_decode(&challenge, &hdr->val);
	(void)msg;

	if (err == EBADMSG)
		round->is_broken = true;
	else if (err || !can_answer(&challenge))
		round->is_foreign = true;
	else
		round_take(round, &challenge);

	return round->err != 0;
}

int auth_challenge(struct auth *auth, const struct sip_msg *msg)
{
	struct round round = {.auth = auth};

	(void)sip_msg_hdr_apply(msg, true, SIP_HDR_WWW_AUTHENTICATE, round_header_h, &round);
	round.is_proxy = true;
	if (!round.err)
		(void)sip_msg_hdr_apply(msg, true, SIP_HDR_PROXY_AUTHENTICATE, round_header_h, &round);

	if (round.err)
		return round.err;
	if (!round.ntaken)
		return round.is_foreign ? ENOTSUP : EBADMSG;
	auth->nrounds++;

	return 0;
}

/* quoted-string of text that is not escaped yet (RFC 3261 25.1) */
static int print_quoted(struct re_printf *pf, const char *text)
{
	int err = 0;

	for (; *text && !err; text++) {
		if (*text == '"' || *text == '\\')
			err = pf->vph("\\", 1, pf->arg);
		err = err ? err : pf->vph(text, 1, pf->arg);
	}

	return err;
}

static int credentials_print(
        struct mbuf *mb, const struct auth *auth, struct credentials *cred, const struct auth_request *req)
{
	char hex[AUTH_DIGEST_SIZE], nc[9], cnonce[17];
	struct auth_digest digest = {
	        .user = auth->user,
	        .realm = cred->realm,
	        .password = auth->password,
	        .nonce = cred->nonce,
	        .method = req->method,
	        .uri = req->uri,
	};
	int err;

	cred->nc++;
	(void)re_snprintf(nc, sizeof(nc), "%08x", cred->nc);
	(void)re_snprintf(cnonce, sizeof(cnonce), "%016llx", (unsigned long long)req->cnonce);
	if (cred->has_qop) {
		digest.qop = "auth";
		digest.nc = nc;
		digest.cnonce = cnonce;
	}
	err = auth_digest(hex, &digest);
	if (err)
		return err;

	err = mbuf_printf(mb,
	        "%s: Digest username=\"%H\", realm=\"%s\", nonce=\"%s\", uri=\"%H\", response=\"%s\", algorithm=MD5",
	        cred->is_proxy ? "Proxy-Authorization" : "Authorization", print_quoted, auth->user, cred->realm,
	        cred->nonce, print_quoted, req->uri, hex);
	if (!err && cred->has_qop)
		err = mbuf_printf(mb, ", cnonce=\"%s\", qop=auth, nc=%s", cnonce, nc);
	if (!err && cred->opaque)
		err = mbuf_printf(mb, ", opaque=\"%s\"", cred->opaque);

	return err ? err : mbuf_write_str(mb, "\r\n");
}

int auth_print(struct mbuf *mb, struct auth *auth, const struct auth_request *req)
{
	int err = 0;

	for (struct le *le = list_head(&auth->realms); le && !err; le = le->next)
		err = credentials_print(mb, auth, le->data, req);
	if (!err && list_head(&auth->realms))
		auth->algorithm = "MD5";

	return err;
}

const char *auth_algorithm(const struct auth *auth)
{
	return auth->algorithm;
}

uint32_t auth_rounds(const struct auth *auth)
{
	return auth->nrounds;
}
