/**
 * @file config.c  The configuration: immutable accounts and their commands
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <re.h>
#include "edge/core/config.h"

static const char *const methods[METHOD_COUNT] = {
        [METHOD_OPTIONS] = "OPTIONS",
        [METHOD_MESSAGE] = "MESSAGE",
        [METHOD_REGISTER] = "REGISTER",
        [METHOD_INVITE] = "INVITE",
};

static const char *const transports[] = {
        [TRANSPORT_UDP] = "udp",
        [TRANSPORT_TCP] = "tcp",
        [TRANSPORT_TLS] = "tls",
};

/* Any of these shows a server that reads and understands requests. */
static const struct codeset expect_options = {
        .n = 6,
        .range = {{200, 299}, {401, 401}, {403, 405}, {407, 407}, {480, 488}, {501, 501}},
};

static const struct codeset expect_success = {.n = 1, .range = {{200, 299}}};

static void command_clear(struct command *command)
{
	mem_deref(command->name);
	mem_deref(command->description);
	mem_deref(command->sip_data);
	mem_deref(command->target);
}

static void account_destructor(void *arg)
{
	struct account *account = arg;

	if (account->password)
		OPENSSL_cleanse(account->password, strlen(account->password));
	mem_deref(account->password);
	mem_deref(account->id);
	mem_deref(account->description);
	mem_deref(account->remote_address);
	mem_deref(account->login);
	for (size_t i = 0; account->commands && i < account->ncommands; i++)
		command_clear(&account->commands[i]);
	mem_deref(account->commands);
}

int account_alloc(struct account **accountp)
{
	struct account *account;

	if (!accountp)
		return EINVAL;
	account = mem_zalloc(sizeof(*account), account_destructor);
	if (!account)
		return ENOMEM;
	*accountp = account;
	return 0;
}

static void config_destructor(void *arg)
{
	struct config *config = arg;

	for (size_t i = 0; config->accounts && i < config->naccounts; i++)
		mem_deref(config->accounts[i]);
	mem_deref(config->accounts);
}

int config_alloc(struct config **configp, size_t naccounts)
{
	struct config *config;

	if (!configp)
		return EINVAL;
	config = mem_zalloc(sizeof(*config), config_destructor);
	if (!config)
		return ENOMEM;
	config->accounts = mem_zalloc((naccounts + 1) * sizeof(*config->accounts), NULL);
	if (!config->accounts) {
		mem_deref(config);
		return ENOMEM;
	}
	config->naccounts = naccounts;
	*configp = config;
	return 0;
}

const char *method_name(enum method method)
{
	return (size_t)method < METHOD_COUNT ? methods[method] : "?";
}

int method_parse(enum method *methodp, const char *name)
{
	for (size_t i = 0; name && i < METHOD_COUNT; i++) {
		if (0 == strcmp(name, methods[i])) {
			*methodp = (enum method)i;
			return 0;
		}
	}
	return ENOENT;
}

const char *transport_name(enum transport transport)
{
	return (size_t)transport < sizeof(transports) / sizeof(transports[0]) ? transports[transport] : "?";
}

int transport_parse(enum transport *transportp, const char *name)
{
	for (size_t i = 0; name && i < sizeof(transports) / sizeof(transports[0]); i++) {
		if (0 == strcmp(name, transports[i])) {
			*transportp = (enum transport)i;
			return 0;
		}
	}
	return ENOENT;
}

const struct codeset *method_expect_default(enum method method)
{
	return method == METHOD_OPTIONS ? &expect_options : &expect_success;
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool config_name_is_valid(const char *name)
{
	size_t n = 0;

	if (!name || name[0] == '_')
		return false;
	for (; name[n] != '\0'; n++) {
		if (n == NAME_LEN_MAX || !is_name_char(name[n]))
			return false;
	}
	return n > 0;
}

static bool is_alnum(char c)
{
	return is_name_char(c) && c != '_' && c != '-';
}

/* One label of a host name, up to a dot or the end; NULL: not one */
static const char *skip_label(const char *p, bool *numericp)
{
	const char *start = p;

	*numericp = true;
	if (!is_alnum(*p) && *p != '_')
		return NULL;
	for (; is_name_char(*p); p++)
		*numericp &= *p >= '0' && *p <= '9';
	if (p - start > 63 || p[-1] == '-')
		return NULL;
	return p;
}

static bool host_name_is_valid(const char *p)
{
	bool is_numeric = true;

	for (;;) {
		p = skip_label(p, &is_numeric);
		if (!p)
			return false;
		if (*p == '.' && p[1] != '\0')
			++p;
		else
			break;
	}
	if (*p == '.') /* the root */
		++p;
	return *p == '\0' && !is_numeric; /* a numeric last label is a broken address */
}

bool config_host_is_valid(const char *host)
{
	struct sa sa;
	size_t len = host ? strlen(host) : 0;

	if (len == 0 || len > HOST_LEN_MAX)
		return false;
	return 0 == sa_set_str(&sa, host, 0) || host_name_is_valid(host);
}

static bool is_header_safe(const char *text, const char *refused)
{
	for (const char *p = text; *p; p++) {
		if ((uint8_t)*p <= 0x20 || *p == 0x7f || strchr(refused, *p))
			return false;
	}
	return true;
}

bool config_login_is_valid(const char *login)
{
	return login && login[0] && strlen(login) <= LOGIN_LEN_MAX && is_header_safe(login, "\"'<>\\");
}

/* host, host:port, [v6] or [v6]:port */
static bool host_port_is_valid(const struct pl *host, const struct pl *port)
{
	char buf[HOST_LEN_MAX + 1];

	if (pl_strcpy(host, buf, sizeof(buf)) || !config_host_is_valid(buf))
		return false;
	return !pl_isset(port) || (pl_u32(port) > 0 && pl_u32(port) <= 65535);
}

static bool uri_is_valid(const char *text)
{
	struct uri uri;
	struct pl pl;

	pl_set_str(&pl, text);
	for (const char *p = text; *p; p++) {
		if ((uint8_t)*p >= 0x80) /* escaped in a URI */
			return false;
	}
	if (uri_decode(&uri, &pl) || pl_isset(&uri.headers) || pl_isset(&uri.password))
		return false;
	if (pl_strcasecmp(&uri.scheme, "sip") && pl_strcasecmp(&uri.scheme, "sips"))
		return false;
	return host_port_is_valid(&uri.host, NULL);
}

bool config_target_is_valid(const char *target)
{
	struct pl host, port = PL_INIT, hostport;
	const char *at;

	if (!target || !target[0] || strlen(target) > TARGET_LEN_MAX || !is_header_safe(target, "\"'<>\\"))
		return false;
	if (0 == strncasecmp(target, "sip:", 4) || 0 == strncasecmp(target, "sips:", 5))
		return uri_is_valid(target);
	at = strchr(target, '@');
	if (strcspn(target, ":/?") < (at ? (size_t)(at - target) : strlen(target)))
		return false;
	if (!at)
		return true;
	pl_set_str(&hostport, at + 1);
	return at != target && 0 == uri_decode_hostport(&hostport, &host, &port) && host_port_is_valid(&host, &port);
}

bool config_file_name_is_valid(const char *name)
{
	if (!name || !name[0] || name[0] == '/')
		return false;
	for (const char *p = name; *p; p++) {
		if ((uint8_t)*p < 0x20 || *p == 0x7f || *p == '\\')
			return false;
		if ((p == name || p[-1] == '/') && p[0] == '.' && p[1] == '.' && (p[2] == '/' || p[2] == '\0'))
			return false;
	}
	return true;
}

bool config_account_clashes(const struct account *account)
{
	uint16_t remote_port = account->remote_port ? account->remote_port : 5060;
	bool is_localhost = 0 == strcasecmp(account->remote_address, "localhost") ||
	                    0 == strcasecmp(account->remote_address, "localhost.");
	struct sa remote;

	if (sa_port(&account->local) != remote_port)
		return false;
	if (is_localhost)
		return sa_is_any(&account->local) || sa_is_loopback(&account->local);
	if (sa_set_str(&remote, account->remote_address, 0))
		return false; /* a name may lead anywhere: the bind and the answers will tell */
	if (sa_is_any(&account->local))
		return sa_is_loopback(&remote);
	return sa_cmp(&account->local, &remote, SA_ADDR);
}

static void put_u64(EVP_MD_CTX *hash, uint64_t v)
{
	(void)EVP_DigestUpdate(hash, &v, sizeof(v)); /* never leaves this machine: byte order does not matter */
}

/* With its length, so that no two different lists of strings look alike; NULL differs from "" */
static void put_str(EVP_MD_CTX *hash, const char *text)
{
	put_u64(hash, text ? strlen(text) : UINT64_MAX);
	if (text)
		(void)EVP_DigestUpdate(hash, text, strlen(text));
}

static void put_codeset(EVP_MD_CTX *hash, const struct codeset *set)
{
	put_u64(hash, set->n);
	for (size_t i = 0; i < set->n; i++)
		put_u64(hash, (uint64_t)set->range[i].first << 16 | set->range[i].last);
}

static void put_command(EVP_MD_CTX *hash, const struct command *command)
{
	put_str(hash, command->name);
	put_str(hash, command->description);
	put_str(hash, command->sip_data);
	put_str(hash, command->target);
	put_u64(hash, command->method);
	put_u64(hash, command->disabled);
	put_u64(hash, command->timeout_ms);
	put_u64(hash, command->interval_s);
	put_u64(hash, command->hold_ms);
	put_codeset(hash, &command->expect);
	put_codeset(hash, &command->maintenance);
	put_u64(hash, command->warn_ms);
	put_u64(hash, command->fail_ms);
	put_u64(hash, command->retries);
	put_u64(hash, command->fail_after);
	put_u64(hash, command->recover_after);
}

static void put_connection(EVP_MD_CTX *hash, const struct account *account)
{
	uint8_t address[16] = {0};

	if (sa_af(&account->local) == AF_INET6)
		sa_in6(&account->local, address);
	else
		put_u64(hash, sa_in(&account->local));
	put_str(hash, account->id);
	put_str(hash, account->description);
	put_u64(hash, (uint64_t)sa_af(&account->local));
	(void)EVP_DigestUpdate(hash, address, sizeof(address));
	put_u64(hash, sa_port(&account->local));
	put_str(hash, account->remote_address);
	put_u64(hash, account->remote_port);
	put_u64(hash, account->transport);
	put_str(hash, account->login);
	put_str(hash, account->password);
	put_u64(hash, account->registers);
	put_u64(hash, account->disabled);
	put_u64(hash, account->timeout_ms);
}

static bool start(EVP_MD_CTX *hash)
{
	return EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1;
}

static bool finish(EVP_MD_CTX *hash, uint8_t digest[DIGEST_SIZE])
{
	return EVP_DigestFinal_ex(hash, digest, NULL) == 1;
}

int config_account_seal(struct account *account)
{
	EVP_MD_CTX *hash = EVP_MD_CTX_new(), *all = EVP_MD_CTX_new();
	bool ok = hash && all && start(hash) && start(all);

	if (ok) {
		put_connection(hash, account);
		ok = finish(hash, account->connection);
		(void)EVP_DigestUpdate(all, account->connection, DIGEST_SIZE);
	}
	for (size_t i = 0; ok && i < account->ncommands; i++) {
		struct command *command = &account->commands[i];

		ok = start(hash);
		put_command(hash, command);
		ok = ok && finish(hash, command->digest);
		(void)EVP_DigestUpdate(all, command->digest, DIGEST_SIZE);
	}
	ok = ok && finish(all, account->digest);
	EVP_MD_CTX_free(hash);
	EVP_MD_CTX_free(all);
	return ok ? 0 : ENOMEM;
}
