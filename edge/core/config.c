/**
 * @file config.c  The configuration: immutable accounts and their commands
 */
#include <errno.h>
#include <string.h>
#include <openssl/crypto.h>
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
