/**
 * @file wire_document.c  Decodes and validates a ConfigDocument
 *
 * The bytes are looked over first (proto/scan), then one account after the other is unpacked into a bounded arena, checked,
 * and copied into the model. So the memory taken beside the model is that of the largest account, and every account is
 * looked at even when a former one is wrong.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <openssl/evp.h>
#include <re.h>
#include "edge/core/arena.h"
#include "edge/core/wire.h"
#include "proto/scan.h"
#include "sipedge/v1/sipedge.pb-c.h"

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

	PATH_SIZE = 320,
};

static const uint64_t revision_max = (uint64_t)1 << 53; /* what every JSON reader takes as an integer */

typedef Sipedge__V1__DeviceAccount pb_account;
typedef Sipedge__V1__Command pb_command;

/* What is being validated. */
struct walk {
	const struct config_policy *policy;
	struct issues *issues;
	bool is_undecodable; /* the scan found what protobuf-c can't decode */
	bool is_oom;
	char path[PATH_SIZE];    /* of the account or command under way */
	size_t account_path_len; /* of `path`, without the command */
	size_t ncommands;
};

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

/* Something is wrong with a field of what is being looked at; field NULL: with all of it */
__attribute__((format(printf, 4, 5))) static void complain(
        struct walk *w, const char *field, const char *code, const char *fmt, ...)
{
	char path[PATH_SIZE + 64], message[400];
	va_list ap;

	if (issues_is_full(w->issues)) {
		issues_add(w->issues, "", code, "%s", "");
		return;
	}
	(void)snprintf(path, sizeof(path), "%s%s%s", w->path, w->path[0] && field ? "." : "", field ? field : "");
	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	issues_add(w->issues, path, code, "%s", message);
}

static char *copy(struct walk *w, const char *text)
{
	char *p = NULL;

	if (str_dup(&p, text))
		w->is_oom = true;
	return p;
}

/* As copy(), but absent is NULL */
static char *copy_opt(struct walk *w, const char *text)
{
	return text[0] ? copy(w, text) : NULL;
}

/* A number with presence: absent is the default. 0 is refused where min is above it. */
static uint32_t number(
        struct walk *w, const char *field, bool is_set, uint32_t value, uint32_t min, uint32_t max, uint32_t absent)
{
	if (!is_set)
		return absent;
	if (value < min || value > max) {
		complain(w, field, "out_of_range", "%u is not allowed: set %u to %u, or leave it out for the default",
		        value, min, max);
		return absent;
	}
	return value;
}

static void check_name(struct walk *w, const char *field, const char *name)
{
	if (!name[0])
		complain(w, field, "required", "is missing: give it a name of 1 to 64 letters, digits, '_' and '-'");
	else if (!config_name_is_valid(name))
		complain(w, field, "invalid",
		        "'%.64s' is no valid name: use 1 to 64 of A-Z, a-z, 0-9, '_' and '-', and no '_' at the start",
		        name);
}

static void check_length(struct walk *w, const char *field, const char *text, size_t max)
{
	if (strlen(text) > max)
		complain(w, field, "out_of_range", "has %zu bytes: shorten it to at most %zu", strlen(text), max);
}

/* Sorts and reports names that are the same regardless of case: topics differ by case, file systems and people do not. */
struct name {
	const char *text;
	size_t index;
};

static int name_cmp(const void *a, const void *b)
{
	const struct name *l = a, *r = b;
	int order = strcasecmp(l->text, r->text);

	return order ? order : (l->index > r->index) - (l->index < r->index);
}

static void check_duplicates(struct walk *w, const char *list, const char *field, struct name *names, size_t n)
{
	char path[PATH_SIZE + 128];

	qsort(names, n, sizeof(*names), name_cmp);
	for (size_t i = 1; i < n; i++) {
		if (strcasecmp(names[i - 1].text, names[i].text))
			continue;
		(void)snprintf(path, sizeof(path), "%s%s%s[%zu].%s", w->path, w->path[0] ? "." : "", list,
		        names[i].index, field);
		issues_add(w->issues, path, "duplicate",
		        "'%.64s' is already taken by entry %zu (upper and lower case are the same): rename one",
		        names[i].text, names[i - 1].index);
	}
}

static void decode_codes(struct walk *w, const char *field, const char *text, struct codeset *set)
{
	if (text[0] && codeset_parse(set, text))
		complain(w, field, "invalid",
		        "'%.64s' is no list of final response codes: write codes from 200 to 699 and ranges, at most "
		        "%d, as 200-299,404",
		        text, (int)CODESET_RANGES_MAX);
}

static void decode_method(struct walk *w, struct command *command, const pb_command *pb)
{
	if (!pb->command[0])
		complain(w, "command", "required", "is missing: set it to OPTIONS, MESSAGE, REGISTER or INVITE");
	else if (method_parse(&command->method, pb->command))
		complain(w, "command", "invalid", "'%.32s' is no command: use OPTIONS, MESSAGE, REGISTER or INVITE",
		        pb->command);
	else
		command->expect = *method_expect_default(command->method);
}

/* What only some methods have. */
static void decode_method_fields(
        struct walk *w, struct command *command, const pb_command *pb, const struct account *account)
{
	bool is_known = 0 == method_parse(&command->method, pb->command);
	bool has_hold = pb->hold_ms_opt_case != 0;

	if (is_known && pb->sip_data[0] && command->method != METHOD_MESSAGE)
		complain(w, "sip_data", "invalid", "only a MESSAGE has a text to send: remove it from this %s",
		        pb->command);
	if (is_known && has_hold && command->method != METHOD_INVITE)
		complain(w, "hold_ms", "invalid", "only an INVITE is held: remove it from this %s", pb->command);
	command->hold_ms = number(w, "hold_ms", has_hold, pb->hold_ms, 0, HOLD_MS_MAX, HOLD_MS_DEFAULT);
	if (is_known && !pb->target[0] && !account->login &&
	        (command->method == METHOD_MESSAGE || command->method == METHOD_INVITE))
		complain(w, "target", "required",
		        "a %s needs somebody to go to: set a target, or a login of the account", pb->command);
	if (pb->target[0] && !config_target_is_valid(pb->target))
		complain(w, "target", "invalid",
		        "'%.64s' is no target: write user, user@host or sip:user@host, special characters in a SIP URI "
		        "as %%XX",
		        pb->target);
}

static void decode_limits(struct walk *w, struct command *command, const pb_command *pb, const struct account *account,
        uint32_t sync_interval_s)
{
	uint32_t timeout_s =
	        number(w, "timeout_s", pb->timeout_s_opt_case != 0, pb->timeout_s, 1, TIMEOUT_MS_MAX / 1000, 0);

	command->timeout_ms = timeout_s ? timeout_s * 1000 : account->timeout_ms;
	command->interval_s = number(
	        w, "interval_s", pb->interval_s_opt_case != 0, pb->interval_s, 1, INTERVAL_S_MAX, sync_interval_s);
	command->warn_ms = number(w, "warn_ms", pb->warn_ms_opt_case != 0, pb->warn_ms, 1, UINT32_MAX, 0);
	command->fail_ms = number(w, "fail_ms", pb->fail_ms_opt_case != 0, pb->fail_ms, 1, UINT32_MAX, 0);
	command->retries = number(w, "retries", pb->retries_opt_case != 0, pb->retries, 0, RETRIES_MAX, 0);
	command->fail_after = number(
	        w, "fail_after", pb->fail_after_opt_case != 0, pb->fail_after, 1, STREAK_MAX, FAIL_AFTER_DEFAULT);
	command->recover_after = number(w, "recover_after", pb->recover_after_opt_case != 0, pb->recover_after, 1,
	        STREAK_MAX, RECOVER_AFTER_DEFAULT);
}

static void decode_command(struct walk *w, struct command *command, const pb_command *pb, const struct account *account,
        uint32_t sync_interval_s)
{
	check_name(w, "name", pb->name);
	check_length(w, "description", pb->description, DESCRIPTION_LEN_MAX);
	check_length(w, "sip_data", pb->sip_data, SIP_DATA_LEN_MAX);
	command->name = copy(w, pb->name);
	command->description = copy(w, pb->description);
	command->sip_data = copy(w, pb->sip_data);
	command->target = copy_opt(w, pb->target);
	command->disabled = pb->disabled;
	decode_method(w, command, pb);
	decode_method_fields(w, command, pb, account);
	decode_limits(w, command, pb, account, sync_interval_s);
	decode_codes(w, "expect_codes", pb->expect_codes, &command->expect);
	decode_codes(w, "maintenance_codes", pb->maintenance_codes, &command->maintenance);
}

static void decode_commands(struct walk *w, struct account *account, const pb_account *pb, uint32_t sync_interval_s)
{
	struct name *names;
	size_t n = 0;

	account->commands = mem_zalloc((pb->n_commands + 1) * sizeof(*account->commands), NULL);
	names = mem_alloc((pb->n_commands + 1) * sizeof(*names), NULL);
	if (!account->commands || !names) {
		w->is_oom = true;
		mem_deref(names);
		return;
	}
	account->ncommands = pb->n_commands;
	for (size_t i = 0; i < pb->n_commands; i++) {
		const pb_command *command = pb->commands[i];
		bool is_named = config_name_is_valid(command->name);
		size_t room = sizeof(w->path) - w->account_path_len;

		if (is_named)
			(void)snprintf(w->path + w->account_path_len, room, ".commands[%s]", command->name);
		else
			(void)snprintf(w->path + w->account_path_len, room, ".commands[%zu]", i);
		decode_command(w, &account->commands[i], command, account, sync_interval_s);
		w->path[w->account_path_len] = '\0';
		if (is_named)
			names[n++] = (struct name){command->name, i};
	}
	check_duplicates(w, "commands", "name", names, n);
	mem_deref(names);
}

static bool is_multicast(const struct sa *sa)
{
	uint8_t v6[16];

	if (sa_af(sa) == AF_INET)
		return sa_in(sa) >> 28 == 0xe;
	sa_in6(sa, v6);
	return v6[0] == 0xff;
}

/* An IP address, an IPv6 one also in brackets */
static int parse_address(struct sa *sa, const char *text, uint16_t port)
{
	char host[HOST_LEN_MAX + 1];
	size_t len = strlen(text);

	if (len < sizeof(host) && len > 2 && text[0] == '[' && text[len - 1] == ']') {
		memcpy(host, text + 1, len - 2);
		host[len - 2] = '\0';
		return strchr(host, ':') ? sa_set_str(sa, host, port) : EINVAL;
	}
	return sa_set_str(sa, text, port);
}

static void decode_remote(struct walk *w, struct account *account, const pb_account *pb)
{
	const char *text = pb->remote_address;
	size_t len = strlen(text);
	struct sa sa;

	account->remote_port =
	        (uint16_t)number(w, "remote_port", pb->remote_port_opt_case != 0, pb->remote_port, 1, 65535, 0);
	account->remote_address = copy(w, text);
	if (!text[0]) {
		complain(w, "remote_address", "required", "is missing: set the IP address or host name of the server");
	} else if (0 == parse_address(&sa, text, 0)) {
		if (text[0] == '[' && account->remote_address) {
			memmove(account->remote_address, text + 1, len - 2);
			account->remote_address[len - 2] = '\0';
		}
		if (sa_is_any(&sa) || is_multicast(&sa))
			complain(w, "remote_address", "invalid",
			        "%s is no address of one server: set the one that it listens on", text);
	} else if (!config_host_is_valid(text)) {
		complain(w, "remote_address", "invalid",
		        "'%.64s' is neither an IP address nor a host name: the port goes to remote_port, the user to "
		        "login or target",
		        text);
	}
}

static void decode_local(struct walk *w, struct account *account, const pb_account *pb)
{
	uint16_t port = (uint16_t)number(w, "local_port", pb->local_port_opt_case != 0, pb->local_port, 0, 65535, 0);
	bool is_remote_ip = account->remote_address && 0 == parse_address(&account->local, account->remote_address, 0);
	int remote_af = is_remote_ip ? sa_af(&account->local) : AF_UNSPEC;
	static const uint8_t any6[16];

	if (remote_af == AF_INET6)
		sa_set_in6(&account->local, any6, port);
	else
		sa_set_in(&account->local, 0, port);
	if (!pb->local_address[0])
		return;
	if (parse_address(&account->local, pb->local_address, port)) {
		complain(w, "local_address", "invalid",
		        "'%.64s' is no IP address: set one of this host's, or leave it out for the one that the route "
		        "has",
		        pb->local_address);
		return;
	}
	if (is_multicast(&account->local))
		complain(w, "local_address", "invalid", "%s is a multicast address: set one of this host's",
		        pb->local_address);
	if (is_remote_ip && !sa_is_any(&account->local) && sa_af(&account->local) != remote_af)
		complain(w, "local_address", "invalid",
		        "IPv4 and IPv6 do not mix: set a local address of the same kind as remote_address");
}

static void decode_transport(struct walk *w, struct account *account, const pb_account *pb)
{
	if (!pb->transport[0])
		return;
	if (transport_parse(&account->transport, pb->transport))
		complain(w, "transport", "invalid", "'%.32s' is no transport: use udp or tcp", pb->transport);
	else if (account->transport == TRANSPORT_TLS)
		complain(w, "transport", "unsupported", "this version has no TLS for SIP yet: use udp or tcp");
}

static void read_secret_file(struct walk *w, struct account *account, const char *name)
{
	int err;

	if (!config_file_name_is_valid(name)) {
		complain(w, "password.file", "invalid",
		        "is no file name below the secrets folder: no '/' at the start, no '..', no control "
		        "characters");
		return;
	}
	if (!w->policy->secret_read)
		return;
	err = w->policy->secret_read(&account->password, name, w->policy->arg);
	if (err)
		complain(w, "password.file", "secret", "'%.64s' can't be read from the secrets folder: %s", name,
		        strerror(err));
	else if (!account->password || !account->password[0])
		complain(w, "password.file", "secret", "'%.64s' is empty: write the password into it", name);
	else if (strlen(account->password) > PASSWORD_LEN_MAX)
		complain(w, "password.file", "secret", "'%.64s' is longer than a password of at most %d bytes", name,
		        (int)PASSWORD_LEN_MAX);
}

static void decode_password(struct walk *w, struct account *account, const Sipedge__V1__Secret *secret)
{
	switch ((int)secret->source_case) {
	case SIPEDGE__V1__SECRET__SOURCE_FILE:
		read_secret_file(w, account, secret->file);
		break;
	case SIPEDGE__V1__SECRET__SOURCE_PLAIN:
		if (!w->policy->allow_plain_secrets)
			complain(w, "password.plain", "secret",
			        "this node refuses passwords in plain text: name a file below its secrets folder "
			        "instead");
		else if (!secret->plain[0] || strlen(secret->plain) > PASSWORD_LEN_MAX)
			complain(w, "password.plain", "secret", "a password has 1 to %d bytes", (int)PASSWORD_LEN_MAX);
		else
			account->password = copy(w, secret->plain);
		break;
	case SIPEDGE__V1__SECRET__SOURCE_SEALED:
		complain(w, "password.sealed", "unsupported",
		        "this version can't open sealed secrets yet: name a file below the secrets folder instead");
		break;
	default:
		complain(w, "password", "required", "is empty: set password.file");
		break;
	}
}

static void decode_login(struct walk *w, struct account *account, const pb_account *pb)
{
	if (pb->login[0] && !config_login_is_valid(pb->login))
		complain(w, "login", "invalid",
		        "is no SIP user: at most %d bytes without spaces, quotes, angle brackets, backslashes and "
		        "control characters",
		        (int)LOGIN_LEN_MAX);
	account->login = copy_opt(w, pb->login);
	if (pb->password)
		decode_password(w, account, pb->password);
	if (pb->password && !pb->login[0])
		complain(w, "password", "invalid",
		        "there is no login that it belongs to: set login too, or remove the password");

	account->registers = pb->login[0] != '\0';
	if (0 == strcmp(pb->registration, "never"))
		account->registers = false;
	else if (0 == strcmp(pb->registration, "always") && !pb->login[0])
		complain(w, "registration", "invalid",
		        "there is no login to register: set login, or registration to never");
	else if (pb->registration[0] && strcmp(pb->registration, "always"))
		complain(w, "registration", "invalid", "'%.32s' is no kind of registration: use always or never",
		        pb->registration);
}

static void decode_account(struct walk *w, struct account *account, const pb_account *pb)
{
	uint32_t sync_interval_s;

	check_name(w, "id", pb->id);
	check_length(w, "description", pb->description, DESCRIPTION_LEN_MAX);
	account->id = copy(w, pb->id);
	account->description = copy(w, pb->description);
	account->disabled = pb->disabled;
	account->timeout_ms = number(
	        w, "timeout_ms", pb->timeout_ms_opt_case != 0, pb->timeout_ms, 1, TIMEOUT_MS_MAX, TIMEOUT_MS_DEFAULT);
	sync_interval_s = number(w, "sync_interval_s", pb->sync_interval_s_opt_case != 0, pb->sync_interval_s, 1,
	        INTERVAL_S_MAX, INTERVAL_S_DEFAULT);
	decode_remote(w, account, pb);
	decode_local(w, account, pb);
	decode_transport(w, account, pb);
	decode_login(w, account, pb);
	if (account->remote_address && config_account_clashes(account))
		complain(w, "local_port", "clash",
		        "the local address and port are the server's own: you must use a local port different from the "
		        "remote port if "
		        "the agent runs on the same host as the SIP device; set another local_port, or 0");
	decode_commands(w, account, pb, sync_interval_s);
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
static pb_account *unpack_account(struct walk *w, struct arena *arena, const struct member *m)
{
	size_t n = count_commands(m);
	pb_account *pb;

	if (n > ACCOUNT_COMMANDS_MAX) {
		complain(w, "commands", "too_large", "%zu commands are too many for one account: at most %d", n,
		        (int)ACCOUNT_COMMANDS_MAX);
		return NULL;
	}
	w->ncommands += n;
	arena_reset(arena, arena_size(m->len));
	pb = sipedge__v1__device_account__unpack(&arena->allocator, m->len, m->data);
	if (!pb && !arena->is_exhausted)
		w->is_oom = true; /* the scan has found the account decodable */
	else if (!pb)
		complain(w, NULL, "too_large", "the account repeats its fields too often: send every field once");
	return pb;
}

static struct account *take_account(struct walk *w, struct arena *arena, const struct member *m, size_t index)
{
	struct account *account = NULL;
	pb_account *pb;
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
	decode_account(w, account, pb);
	return account;
}

/* The ids of all accounts, also when the accounts themselves are no longer kept. */
struct ids {
	struct mbuf *text; /* NUL-terminated ids one after the other */
	struct name *names;
	size_t n;
};

static void remember_id(struct walk *w, struct ids *ids, const struct account *account, size_t index)
{
	if (!config_name_is_valid(account->id))
		return;
	/* an offset for now: the buffer moves while it grows */
	ids->names[ids->n++] = (struct name){(const char *)(uintptr_t)ids->text->pos, index};
	if (mbuf_write_mem(ids->text, (const uint8_t *)account->id, strlen(account->id) + 1))
		w->is_oom = true;
}

static void check_ids(struct walk *w, struct ids *ids)
{
	if (w->is_oom)
		return;
	for (size_t i = 0; i < ids->n; i++)
		ids->names[i].text = (const char *)ids->text->buf + (uintptr_t)ids->names[i].text;
	check_duplicates(w, "accounts", "id", ids->names, ids->n);
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
		if (account && issues_total(w->issues) == 0 && !w->is_oom) {
			account->revision = config->revision;
			w->is_oom = config_account_seal(account) != 0;
		}
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
		complain(w, "signed", "unsupported",
		        "this version can't verify signatures yet: send the document unsigned");
		return;
	}
	if (config->revision == 0)
		complain(w, "revision", "required", "is missing: set one higher than that of the document in force");
	else if (config->revision > revision_max)
		complain(w, "revision", "out_of_range", "is above 2^53: nothing could follow it");
	if (node->len && own && (strlen(own) != node->len || memcmp(own, node->data, node->len)))
		complain(w, "node", "invalid", "is '%.*s', but this is node '%s': check the topic, or leave it out",
		        (int)(node->len < 64 ? node->len : 64), node->data, own);
	if (config->naccounts > ACCOUNTS_MAX)
		complain(w, "accounts", "too_large", "%zu accounts are too many for one node: at most %d",
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
		complain(w, NULL, "too_large", "has %zu bytes: at most %d are allowed, split it over several nodes",
		        len, (int)DOCUMENT_SIZE_MAX);
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
		complain(w, NULL, "too_large", "there are too many commands for one node: at most %d",
		        (int)COMMANDS_MAX);
	if (w->is_oom)
		err = ENOMEM;
	else if (issues_total(w->issues) > 0)
		err = EBADMSG;
	else if (EVP_Digest(buf, len, config->sha256, NULL, EVP_sha256(), NULL) != 1)
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
