/**
 * @file wire_account.c  Decodes and validates one account with its commands
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <re.h>
#include "edge/core/wire_walk.h"

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
		walk_complain(w, field, "out_of_range",
		        "%u is not allowed: set %u to %u, or leave it out for the default", value, min, max);
		return absent;
	}
	return value;
}

static void check_length(struct walk *w, const char *field, const char *text, size_t max)
{
	if (strlen(text) > max)
		walk_complain(w, field, "out_of_range", "has %zu bytes: shorten it to at most %zu", strlen(text), max);
}

static void decode_codes(struct walk *w, const char *field, const char *text, struct codeset *set)
{
	if (text[0] && codeset_parse(set, text))
		walk_complain(w, field, "invalid",
		        "'%.64s' is no list of final response codes: write codes from 200 to 699 and ranges, at most "
		        "%d, as 200-299,404",
		        text, (int)CODESET_RANGES_MAX);
}

static void decode_method(struct walk *w, struct command *command, const Sipedge__V1__Command *pb)
{
	if (!pb->command[0])
		walk_complain(w, "command", "required", "is missing: set it to OPTIONS, MESSAGE, REGISTER or INVITE");
	else if (method_parse(&command->method, pb->command))
		walk_complain(w, "command", "invalid",
		        "'%.32s' is no command: use OPTIONS, MESSAGE, REGISTER or INVITE", pb->command);
	else
		command->expect = *method_expect_default(command->method);
}

/* What only some methods have. */
static void decode_method_fields(
        struct walk *w, struct command *command, const Sipedge__V1__Command *pb, const struct account *account)
{
	bool is_known = 0 == method_parse(&command->method, pb->command);
	bool has_hold = pb->hold_ms_opt_case != 0;

	if (is_known && pb->sip_data[0] && command->method != METHOD_MESSAGE)
		walk_complain(w, "sip_data", "invalid", "only a MESSAGE has a text to send: remove it from this %s",
		        pb->command);
	if (is_known && has_hold && command->method != METHOD_INVITE)
		walk_complain(w, "hold_ms", "invalid", "only an INVITE is held: remove it from this %s", pb->command);
	command->hold_ms = number(w, "hold_ms", has_hold, pb->hold_ms, 0, HOLD_MS_MAX, HOLD_MS_DEFAULT);
	if (is_known && !pb->target[0] && !account->login &&
	        (command->method == METHOD_MESSAGE || command->method == METHOD_INVITE))
		walk_complain(w, "target", "required",
		        "no one to send this %s to: set a target, or a login of the account", pb->command);
	if (pb->target[0] && !config_target_is_valid(pb->target))
		walk_complain(w, "target", "invalid",
		        "'%.64s' is no target: write user, user@host or sip:user@host, special characters in a SIP URI "
		        "as %%XX",
		        pb->target);
}

static void decode_limits(struct walk *w, struct command *command, const Sipedge__V1__Command *pb,
        const struct account *account, uint32_t sync_interval_s)
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

static void decode_command(struct walk *w, struct command *command, const Sipedge__V1__Command *pb,
        const struct account *account, uint32_t sync_interval_s)
{
	walk_check_name(w, "name", pb->name);
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

static void decode_commands(
        struct walk *w, struct account *account, const Sipedge__V1__DeviceAccount *pb, uint32_t sync_interval_s)
{
	struct walk_name *names;
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
		const Sipedge__V1__Command *command = pb->commands[i];
		bool is_named = config_name_is_valid(command->name);
		size_t room = sizeof(w->path) - w->account_path_len;

		if (is_named)
			(void)snprintf(w->path + w->account_path_len, room, ".commands[%s]", command->name);
		else
			(void)snprintf(w->path + w->account_path_len, room, ".commands[%zu]", i);
		decode_command(w, &account->commands[i], command, account, sync_interval_s);
		w->path[w->account_path_len] = '\0';
		if (is_named)
			names[n++] = (struct walk_name){command->name, i};
	}
	walk_check_duplicates(w, "commands", "name", names, n);
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

static void decode_remote(struct walk *w, struct account *account, const Sipedge__V1__DeviceAccount *pb)
{
	const char *text = pb->remote_address;
	size_t len = strlen(text);
	struct sa sa;

	account->remote_port =
	        (uint16_t)number(w, "remote_port", pb->remote_port_opt_case != 0, pb->remote_port, 1, 65535, 0);
	account->remote_address = copy(w, text);
	if (!text[0]) {
		walk_complain(
		        w, "remote_address", "required", "is missing: set the IP address or host name of the server");
	} else if (0 == parse_address(&sa, text, 0)) {
		if (text[0] == '[' && account->remote_address) {
			memmove(account->remote_address, text + 1, len - 2);
			account->remote_address[len - 2] = '\0';
		}
		if (sa_is_any(&sa) || is_multicast(&sa))
			walk_complain(w, "remote_address", "invalid",
			        "%s is no address of one server: set the one that it listens on", text);
	} else if (!config_host_is_valid(text)) {
		walk_complain(w, "remote_address", "invalid",
		        "'%.64s' is neither an IP address nor a host name: the port goes to remote_port, the user to "
		        "login or target",
		        text);
	}
}

static void decode_local(struct walk *w, struct account *account, const Sipedge__V1__DeviceAccount *pb)
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
		walk_complain(w, "local_address", "invalid",
		        "'%.64s' is no IP address: set one of this host's, or leave it out for the one that the route "
		        "has",
		        pb->local_address);
		return;
	}
	if (is_multicast(&account->local))
		walk_complain(w, "local_address", "invalid", "%s is a multicast address: set one of this host's",
		        pb->local_address);
	if (is_remote_ip && !sa_is_any(&account->local) && sa_af(&account->local) != remote_af)
		walk_complain(w, "local_address", "invalid",
		        "IPv4 and IPv6 do not mix: set a local address of the same kind as remote_address");
}

static void decode_transport(struct walk *w, struct account *account, const Sipedge__V1__DeviceAccount *pb)
{
	if (!pb->transport[0])
		return;
	if (transport_parse(&account->transport, pb->transport))
		walk_complain(w, "transport", "invalid", "'%.32s' is no transport: use udp or tcp", pb->transport);
	else if (account->transport == TRANSPORT_TLS)
		walk_complain(w, "transport", "unsupported", "this version has no TLS for SIP yet: use udp or tcp");
}

static void read_secret_file(struct walk *w, struct account *account, const char *name)
{
	int err;

	if (!config_file_name_is_valid(name)) {
		walk_complain(w, "password.file", "invalid",
		        "is no file name below the secrets folder: no '/' at the start, no '..', no control "
		        "characters");
		return;
	}
	if (!w->policy->secret_read)
		return;
	err = w->policy->secret_read(&account->password, name, w->policy->arg);
	if (err)
		walk_complain(w, "password.file", "secret", "'%.64s' can't be read from the secrets folder: %s", name,
		        strerror(err));
	else if (!account->password || !account->password[0])
		walk_complain(w, "password.file", "secret", "'%.64s' is empty: write the password into it", name);
	else if (strlen(account->password) > PASSWORD_LEN_MAX)
		walk_complain(w, "password.file", "secret", "'%.64s' is longer than a password of at most %d bytes",
		        name, (int)PASSWORD_LEN_MAX);
}

static void decode_password(struct walk *w, struct account *account, const Sipedge__V1__Secret *secret)
{
	switch ((int)secret->source_case) {
	case SIPEDGE__V1__SECRET__SOURCE_FILE:
		read_secret_file(w, account, secret->file);
		break;
	case SIPEDGE__V1__SECRET__SOURCE_PLAIN:
		if (!w->policy->allow_plain_secrets)
			walk_complain(w, "password.plain", "secret",
			        "this node refuses passwords in plain text: name a file below its secrets folder "
			        "instead");
		else if (!secret->plain[0] || strlen(secret->plain) > PASSWORD_LEN_MAX)
			walk_complain(
			        w, "password.plain", "secret", "a password has 1 to %d bytes", (int)PASSWORD_LEN_MAX);
		else
			account->password = copy(w, secret->plain);
		break;
	case SIPEDGE__V1__SECRET__SOURCE_SEALED:
		walk_complain(w, "password.sealed", "unsupported",
		        "this version can't open sealed secrets yet: name a file below the secrets folder instead");
		break;
	default:
		walk_complain(w, "password", "required", "is empty: set password.file");
		break;
	}
}

static void decode_login(struct walk *w, struct account *account, const Sipedge__V1__DeviceAccount *pb)
{
	if (pb->login[0] && !config_login_is_valid(pb->login))
		walk_complain(w, "login", "invalid",
		        "is no SIP user: at most %d bytes without spaces, quotes, angle brackets, backslashes and "
		        "control characters",
		        (int)LOGIN_LEN_MAX);
	account->login = copy_opt(w, pb->login);
	if (pb->password)
		decode_password(w, account, pb->password);
	if (pb->password && !pb->login[0])
		walk_complain(w, "password", "invalid",
		        "there is no login that it belongs to: set login too, or remove the password");

	account->registers = pb->login[0] != '\0';
	if (0 == strcmp(pb->registration, "never"))
		account->registers = false;
	else if (0 == strcmp(pb->registration, "always") && !pb->login[0])
		walk_complain(w, "registration", "invalid",
		        "there is no login to register: set login, or registration to never");
	else if (pb->registration[0] && strcmp(pb->registration, "always"))
		walk_complain(w, "registration", "invalid", "'%.32s' is no kind of registration: use always or never",
		        pb->registration);
}

void wire_decode_account(struct walk *w, struct account *account, const Sipedge__V1__DeviceAccount *pb)
{
	uint32_t sync_interval_s;

	walk_check_name(w, "id", pb->id);
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
		walk_complain(w, "local_port", "clash",
		        "the local address and port are the server's own: you must use a local port different from the "
		        "remote port if "
		        "the agent runs on the same host as the SIP device; set another local_port, or 0");
	decode_commands(w, account, pb, sync_interval_s);
}
