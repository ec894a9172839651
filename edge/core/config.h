/**
 * @file config.h  The configuration: immutable accounts and their commands
 *
 * Pure. Built by wire_decode_document() on the store thread, handed over whole to the loop thread, then read-only. An
 * account is reference-counted by itself (mem_ref/mem_deref, one thread at a time): a running check holds its account,
 * so a new document never pulls it away. Defaults are filled in: nothing here is "absent" but where a comment says so.
 */
#ifndef SIPEDGE_CORE_CONFIG_H
#define SIPEDGE_CORE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <re.h>
#include "edge/core/codeset.h"

enum {
	DIGEST_SIZE = 32, /* SHA-256 */

	/* defaults and bounds, as the schema's comments say */
	TIMEOUT_MS_DEFAULT = 5000,
	TIMEOUT_MS_MAX = 300000,
	INTERVAL_S_DEFAULT = 60,
	INTERVAL_S_MAX = 604800,
	HOLD_MS_DEFAULT = 1000,
	HOLD_MS_MAX = 60000,
	RETRIES_MAX = 5,
	FAIL_AFTER_DEFAULT = 2,
	RECOVER_AFTER_DEFAULT = 1,
	STREAK_MAX = 100,
	NAME_LEN_MAX = 64,
	DESCRIPTION_LEN_MAX = 1024,
	SIP_DATA_LEN_MAX = 16384,
	DOCUMENT_SIZE_MAX = 16 * 1024 * 1024,

	/* bounds of ours: far above what a node can run, so that no document takes all of its memory */
	ACCOUNTS_MAX = 200000,
	COMMANDS_MAX = 500000,         /* of a document */
	ACCOUNT_COMMANDS_MAX = 100000, /* of one account */
	HOST_LEN_MAX = 253,            /* RFC 1035 2.3.4 */
	LOGIN_LEN_MAX = 256,
	PASSWORD_LEN_MAX = 1024,
	TARGET_LEN_MAX = 512,
};

enum method {
	METHOD_OPTIONS,
	METHOD_MESSAGE,
	METHOD_REGISTER,
	METHOD_INVITE,
	METHOD_COUNT,
};

enum transport {
	TRANSPORT_UDP,
	TRANSPORT_TCP,
	TRANSPORT_TLS,
};

struct command {
	char *name;        /* the variable */
	char *description; /* "" when absent */
	char *sip_data;    /* MESSAGE body; "" when absent */
	char *target;      /* user, user@host or SIP URI; NULL: the method's default */
	enum method method;
	bool disabled;
	uint32_t timeout_ms; /* the command's, else the account's */
	uint32_t interval_s; /* the command's, else the account's */
	uint32_t hold_ms;
	struct codeset expect; /* the method's default when absent */
	struct codeset maintenance;
	uint32_t warn_ms; /* 0: no limit */
	uint32_t fail_ms; /* 0: no limit */
	uint32_t retries;
	uint32_t fail_after;
	uint32_t recover_after;
	uint8_t digest[DIGEST_SIZE]; /* of all above: tells whether a command changed */
};

struct account {
	char *id;
	char *description;
	struct sa local;      /* address and port; sa_is_any(): the route decides; port 0: ephemeral */
	char *remote_address; /* IP address or host name */
	uint16_t remote_port; /* 0: by SRV, then 5060 or 5061 */
	enum transport transport;
	char *login;    /* NULL: neither registration nor authentication */
	char *password; /* NULL: none; resolved from its Secret; wiped when freed */
	bool registers; /* keep a binding as long as the account is configured */
	bool disabled;
	uint32_t timeout_ms;
	uint8_t connection[DIGEST_SIZE]; /* of everything but the commands, the password included */
	uint8_t digest[DIGEST_SIZE];     /* of everything: equal means unchanged */
	size_t ncommands;
	struct command *commands;
};

struct config {
	uint64_t revision;
	uint8_t sha256[DIGEST_SIZE]; /* of the document's bytes as received */
	size_t naccounts;
	size_t ncommands;
	struct account **accounts; /* referenced */
};

int account_alloc(struct account **accountp); /* zeroed; the destructor frees all strings */
int config_alloc(struct config **configp, size_t naccounts);

/* The table of "what may stand where": one name per enumerator, both directions. parse: ENOENT when unknown. */
const char *method_name(enum method method); /* "OPTIONS" */
int method_parse(enum method *methodp, const char *name);
const char *transport_name(enum transport transport); /* "udp" */
int transport_parse(enum transport *transportp, const char *name);
const struct codeset *method_expect_default(enum method method); /* checks.md: what shows a living server */

/* [A-Za-z0-9_-]{1,64}, not starting with '_': a topic level that every broker takes */
bool config_name_is_valid(const char *name);

/* An IP address (an IPv6 one without brackets) or a host name (RFC 1123 2.1, with '_' for service names) */
bool config_host_is_valid(const char *host);
/* What a SIP user part may hold after escaping: no control characters, spaces, quotes, angle brackets, backslashes */
bool config_login_is_valid(const char *login);
/* user, user@host[:port], or a sip: or sips: URI without headers (RFC 3261 19.1.1) */
bool config_target_is_valid(const char *target);
/* Relative, without '..', control characters and backslashes */
bool config_file_name_is_valid(const char *name);
/* The same address and port at both ends on one host: requests would reach ourselves */
bool config_account_clashes(const struct account *account);

/* Computes the digests of an account and its commands once all else is set. ENOMEM. */
int config_account_seal(struct account *account);

/* What a document is checked against beside itself. All borrowed for the call. */
struct config_policy {
	const char *node;         /* the node's id */
	bool allow_plain_secrets; /* Secret.plain is accepted */
	/* Reads a secret file by its name below the node's secrets folder. 0: *secretp is a new NUL-terminated string (mem);
	   else an errno. NULL handler: files are not looked at (an operator's tool), the password stays NULL. */
	int (*secret_read)(char **secretp, const char *name, void *arg);
	void *arg;
};

#endif
