/**
 * @file probe.c  `sipedge check`: one check from the shell, with the agent's own engine and no broker
 *
 * The command line becomes a document of one account and one command, so that it is validated as every document is; the
 * result is encoded as the agent does and printed from those bytes.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <re.h>
#include "edge/check/checker.h"
#include "edge/core/wire.h"
#include "edge/options.h"
#include "edge/probe.h"
#include "edge/probe_print.h"
#include "edge/runtime.h"
#include "edge/version.h"
#include "sipedge/v1/sipedge.pb-c.h"

enum {
	EXIT_BAD_USAGE = 3,
	CLOSE_US = 3000000, /* for what the check left behind: a BYE, an un-REGISTER */
};

typedef Sipedge__V1__ConfigDocument Document;
typedef Sipedge__V1__DeviceAccount Account;
typedef Sipedge__V1__Command Command;

struct probe {
	Document document;
	Account account;
	Account *accounts[1];
	Command command;
	Command *commands[1];
	Sipedge__V1__Secret secret;
	char *password; /* wiped */
	char *host, *user, *name;
	enum probe_format format;
	const char *password_file;

	struct config *config;
	struct sip_stack *stack;
	struct checker *checker;
	struct device *device;
	struct check *check; /* NULL: finished */
	struct mbuf *result; /* encoded; NULL: none yet */
	struct result *finished;
};

static void destructor(void *arg)
{
	struct probe *p = arg;

	mem_deref(p->finished);
	mem_deref(p->result);
	mem_deref(p->device);
	mem_deref(p->checker);
	mem_deref(p->stack);
	mem_deref(p->config);
	if (p->password)
		explicit_bzero(p->password, strlen(p->password));
	mem_deref(p->password);
	mem_deref(p->host);
	mem_deref(p->user);
	mem_deref(p->name);
}

static int complain(const char *where, const char *value, const char *why)
{
	(void)fprintf(stderr, "sipedge: check: %s '%s' %s\n", where, value, why);

	return EINVAL;
}

/* ---- the command line ---- */

enum flag {
	FLAG_TRANSPORT = 1,
	FLAG_LOGIN,
	FLAG_PASSWORD_FILE,
	FLAG_TIMEOUT_MS,
	FLAG_EXPECT,
	FLAG_MAINTENANCE,
	FLAG_WARN_MS,
	FLAG_FAIL_MS,
	FLAG_RETRIES,
	FLAG_DATA,
	FLAG_HOLD_MS,
	FLAG_LOCAL_ADDRESS,
	FLAG_LOCAL_PORT,
	FLAG_FORMAT,
	FLAG_HELP,
};

/* field: of the schema, for issues that name it */
static const struct flag_def {
	const char *name, *arg, *field, *help;
	enum flag flag;
} flags[] = {
        {"transport", "T", "transport", "udp (default) or tcp", FLAG_TRANSPORT},
        {"login", "USER", "login", "user for From and authentication", FLAG_LOGIN},
        {"password-file", "FILE", "password", "file with its password", FLAG_PASSWORD_FILE},
        {"timeout-ms", "N", "timeout_ms", "name resolution to final answer; default 5000", FLAG_TIMEOUT_MS},
        {"expect", "CODES", "expect_codes", "codes that are ok, as 200-299,404; default: the method's", FLAG_EXPECT},
        {"maintenance", "CODES", "maintenance_codes", "codes that mean maintenance, as 503", FLAG_MAINTENANCE},
        {"warn-ms", "N", "warn_ms", "a slower answer is a warning", FLAG_WARN_MS},
        {"fail-ms", "N", "fail_ms", "a slower answer is a failure", FLAG_FAIL_MS},
        {"retries", "N", "retries", "tries again after a timeout; default 0", FLAG_RETRIES},
        {"data", "TEXT", "sip_data", "MESSAGE: what to send", FLAG_DATA},
        {"hold-ms", "N", "hold_ms", "INVITE: how long to hold the call; default 1000", FLAG_HOLD_MS},
        {"local-address", "IP", "local_address", "one of this host's addresses; default: the route's",
                FLAG_LOCAL_ADDRESS},
        {"local-port", "N", "local_port", "default 0: any", FLAG_LOCAL_PORT},
        {"format", "F", "", "table (default), json, nagios, protobuf", FLAG_FORMAT},
};

enum { FLAGS = sizeof(flags) / sizeof(flags[0]) };

static void print_help(void)
{
	(void)puts("usage: sipedge check METHOD TARGET [OPTION]...\n\n"
	           "Runs one SIP check and prints the answer.\n"
	           "METHOD: OPTIONS, MESSAGE, REGISTER or INVITE. TARGET: host, host:port or a SIP URI "
	           "(sip:600@host:5060).\n");
	for (size_t i = 0; i < FLAGS; i++)
		(void)printf("  --%s %-*s %s\n", flags[i].name, (int)(22 - strlen(flags[i].name)), flags[i].arg,
		        flags[i].help);
	(void)puts("  --help                    this text\n\n"
	           "Exit status: 0 ok, 1 warn or maintenance, 2 fail, 3 error or bad usage.");
}

static int parse_number(uint32_t *np, const char *flag, const char *text)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || !*text || *text < '0' || *text > '9' || n > UINT32_MAX)
		return complain(flag, text, "is no number");
	*np = (uint32_t)n;

	return 0;
}

static int set_format(struct probe *p, const char *text)
{
	return probe_format_parse(&p->format, text)
	               ? 0
	               : complain("--format", text, "is none of table, json, nagios, protobuf");
}

#define NUMBER(message, field, CASE)                                                                                   \
	((message)->field##_opt_case = (CASE), parse_number(&(message)->field, flag, value))

static int set_flag(struct probe *p, enum flag id, const char *flag, char *value)
{
	Account *account = &p->account;
	Command *command = &p->command;

	switch (id) {
	case FLAG_TRANSPORT:
		account->transport = value;
		return 0;
	case FLAG_LOGIN:
		account->login = value;
		return 0;
	case FLAG_PASSWORD_FILE:
		p->password_file = value;
		return 0;
	case FLAG_TIMEOUT_MS:
		return NUMBER(account, timeout_ms, SIPEDGE__V1__DEVICE_ACCOUNT__TIMEOUT_MS_OPT_TIMEOUT_MS);
	case FLAG_EXPECT:
		command->expect_codes = value;
		return 0;
	case FLAG_MAINTENANCE:
		command->maintenance_codes = value;
		return 0;
	case FLAG_WARN_MS:
		return NUMBER(command, warn_ms, SIPEDGE__V1__COMMAND__WARN_MS_OPT_WARN_MS);
	case FLAG_FAIL_MS:
		return NUMBER(command, fail_ms, SIPEDGE__V1__COMMAND__FAIL_MS_OPT_FAIL_MS);
	case FLAG_RETRIES:
		return NUMBER(command, retries, SIPEDGE__V1__COMMAND__RETRIES_OPT_RETRIES);
	case FLAG_DATA:
		command->sip_data = value;
		return 0;
	case FLAG_HOLD_MS:
		return NUMBER(command, hold_ms, SIPEDGE__V1__COMMAND__HOLD_MS_OPT_HOLD_MS);
	case FLAG_LOCAL_ADDRESS:
		account->local_address = value;
		return 0;
	case FLAG_LOCAL_PORT:
		return NUMBER(account, local_port, SIPEDGE__V1__DEVICE_ACCOUNT__LOCAL_PORT_OPT_LOCAL_PORT);
	case FLAG_FORMAT:
		return set_format(p, value);
	case FLAG_HELP:
		break;
	}

	return EINVAL;
}

static int set_port(struct probe *p, const struct pl *port)
{
	if (!pl_isset(port))
		return 0;

	p->account.remote_port_opt_case = SIPEDGE__V1__DEVICE_ACCOUNT__REMOTE_PORT_OPT_REMOTE_PORT;
	p->account.remote_port = port->l > 5 ? UINT32_MAX : pl_u32(port);

	return 0;
}

/* sip:600@host:5060;transport=tcp */
static int set_uri(struct probe *p, const char *text)
{
	struct pl pl, transport;
	struct uri uri;
	int err;

	pl_set_str(&pl, text);
	if (uri_decode(&uri, &pl) || pl_strcasecmp(&uri.scheme, "sip"))
		return complain("TARGET", text, "is no SIP URI (sip:user@host:port)");

	err = pl_strdup(&p->host, &uri.host);
	if (!err && pl_isset(&uri.user))
		err = pl_strdup(&p->user, &uri.user);
	if (!err && !msg_param_decode(&uri.params, "transport", &transport) && !*p->account.transport) {
		if (pl_strcasecmp(&transport, "tcp") && pl_strcasecmp(&transport, "udp"))
			return complain(
			        "TARGET", text, "names a transport that this version does not have: udp and tcp");
		p->account.transport =
		        pl_strcasecmp(&transport, "tcp") ? (char *)(uintptr_t) "udp" : (char *)(uintptr_t) "tcp";
	}
	if (!err && uri.port)
		p->account.remote_port_opt_case = SIPEDGE__V1__DEVICE_ACCOUNT__REMOTE_PORT_OPT_REMOTE_PORT;
	p->account.remote_port = uri.port;

	return err;
}

/* host, host:port, 192.0.2.1:5060, [2001:db8::1]:5060, 2001:db8::1 */
static int set_target(struct probe *p, const char *text)
{
	struct pl host, port = PL_INIT;
	int err;

	if (!strncasecmp(text, "sip:", 4) || !strncasecmp(text, "sips:", 5))
		return set_uri(p, text);

	pl_set_str(&host, text);
	if (text[0] == '[') {
		if (re_regex(text, strlen(text), "\\[[^\\]]+\\][:]*[0-9]*", &host, NULL, &port))
			return complain("TARGET", text, "is no address");
	} else if (strchr(text, ':') == strrchr(text, ':') && strchr(text, ':')) {
		host.l = (size_t)(strchr(text, ':') - text);
		pl_set_str(&port, strchr(text, ':') + 1);
		if (!pl_isset(&port) || strspn(port.p, "0123456789") != port.l)
			return complain("TARGET", text, "has no number for a port");
	}
	err = pl_strdup(&p->host, &host);

	return err ? err : set_port(p, &port);
}

static int parse(struct probe *p, int argc, char *argv[])
{
	struct option longs[FLAGS + 2] = {{"help", no_argument, NULL, FLAG_HELP}};
	int c, err = 0;

	for (size_t i = 0; i < FLAGS; i++)
		longs[i + 1] = (struct option){flags[i].name, required_argument, NULL, (int)flags[i].flag};

	optind = 0;
	while (!err && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		char where[64];

		if (c == '?')
			return EINVAL;
		if (c == FLAG_HELP) {
			print_help();
			return ECANCELED;
		}
		(void)snprintf(where, sizeof(where), "--%s", flags[c - 1].name);
		err = set_flag(p, (enum flag)c, where, optarg);
	}
	if (err)
		return err;
	if (argc - optind != 2) {
		(void)fputs("sipedge: check: needs METHOD and TARGET; see `sipedge check --help`\n", stderr);
		return EINVAL;
	}
	p->command.command = argv[optind];

	return set_target(p, argv[optind + 1]);
}

/* ---- the document ---- */

static void init(struct probe *p)
{
	sipedge__v1__config_document__init(&p->document);
	sipedge__v1__device_account__init(&p->account);
	sipedge__v1__command__init(&p->command);
	sipedge__v1__secret__init(&p->secret);
	p->document.revision = 1;
	p->document.n_accounts = 1;
	p->document.accounts = p->accounts;
	p->accounts[0] = &p->account;
	p->account.id = (char *)(uintptr_t) "check";
	p->account.registration = (char *)(uintptr_t) "never";
	p->account.n_commands = 1;
	p->account.commands = p->commands;
	p->commands[0] = &p->command;
}

static int fill(struct probe *p)
{
	int err;

	/* upper case as in SIP is the contract, but nobody should have to press shift */
	err = str_dup(&p->name, p->command.command);
	for (char *c = p->name; !err && *c; c++)
		*c = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
	p->command.command = p->name;
	p->command.name = (char *)(uintptr_t) "check";
	p->account.remote_address = p->host;
	if (p->user)
		p->command.target = p->user;

	if (!err && p->password_file) {
		err = options_read_secret(&p->password, p->password_file);
		if (err)
			return complain("--password-file", p->password_file, strerror(err));
		p->secret.source_case = SIPEDGE__V1__SECRET__SOURCE_PLAIN;
		p->secret.plain = p->password;
		p->account.password = &p->secret;
	}

	return err;
}

static void explain(const struct issues *issues)
{
	for (size_t i = 0; i < issues_listed(issues); i++) {
		const struct issue *issue = issues_get(issues, i);
		const char *field = strrchr(issue->path, '.');
		const char *flag = NULL;

		field = field ? field + 1 : issue->path;
		for (size_t k = 0; k < FLAGS; k++)
			if (*flags[k].field && !strncmp(field, flags[k].field, strlen(flags[k].field)))
				flag = flags[k].name;
		if (flag)
			(void)fprintf(stderr, "sipedge: check: --%s: %s\n", flag, issue->message);
		else
			(void)fprintf(stderr, "sipedge: check: %s: %s\n",
			        !strcmp(field, "command") ? "METHOD" : "TARGET", issue->message);
	}
}

static int validate(struct probe *p)
{
	const struct config_policy policy = {.node = "check", .allow_plain_secrets = true};
	size_t size = sipedge__v1__config_document__get_packed_size(&p->document);
	uint8_t *buf = mem_alloc(size, NULL);
	struct issues *issues = NULL;
	uint64_t revision;
	int err = buf ? issues_alloc(&issues) : ENOMEM;

	if (!err) {
		(void)sipedge__v1__config_document__pack(&p->document, buf);
		err = wire_decode_document(&p->config, &revision, buf, size, &policy, issues);
	}
	if (err == EBADMSG)
		explain(issues);
	if (buf)
		explicit_bzero(buf, size);
	mem_deref(issues);
	mem_deref(buf);

	return err;
}

/* ---- the check ---- */

static void on_closed(void *arg)
{
	(void)arg;
	re_cancel();
}

static void on_done(struct result *result, void *arg)
{
	static const struct wire_origin origin = {.node = "check"};
	struct probe *p = arg;

	p->check = NULL;
	p->finished = result;
	p->result = mbuf_alloc(2048);
	if (p->result && wire_encode_result(p->result, &origin, result))
		p->result = mem_deref(p->result);

	checker_close(p->checker, stack_now(p->stack) + CLOSE_US, on_closed, p);
}

static void on_signal(int signum, void *arg)
{
	struct probe *p = arg;
	(void)signum;

	if (p->check) {
		check_cancel(p->check); /* ends in on_done() */
	} else {
		re_cancel();
	}
}

static int run(struct probe *p)
{
	char user_agent[64];
	int err;

	(void)re_snprintf(user_agent, sizeof(user_agent), "sipedge/%s", version_number());
	err = runtime_catch_signals(on_signal, p);
	if (!err)
		err = stack_alloc(&p->stack, user_agent);
	if (!err)
		err = checker_alloc(&p->checker, p->stack);
	if (err)
		return err;

	err = device_alloc(&p->device, p->checker, p->config->accounts[0]);
	if (err) {
		(void)fputs("sipedge: check: the local address or port can't be used\n", stderr);
		return err;
	}
	device_start(p->device);
	err = check_start(&p->check, p->device, &p->config->accounts[0]->commands[0], "request", 0, on_done, p);
	if (err)
		return err;

	return re_main(NULL);
}

static int exit_status(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_OK:
		return 0;
	case VERDICT_WARN:
	case VERDICT_MAINTENANCE:
		return 1;
	case VERDICT_FAIL:
		return 2;
	case VERDICT_ERROR:
		return 3;
	}

	return EXIT_BAD_USAGE;
}

/* The status of the check, or that of bad usage when there was none. */
static int check_and_print(struct probe *p)
{
	int err = runtime_init();

	if (!err)
		err = run(p);
	if (err || !p->result) {
		(void)fprintf(stderr, "sipedge: check: %s\n", strerror(err ? err : ENOMEM));
		return EXIT_BAD_USAGE;
	}
	err = probe_print(stdout, p->format, p->result->buf, p->result->end, &p->config->accounts[0]->commands[0],
	        isatty(STDOUT_FILENO));
	if (err) {
		(void)fprintf(stderr, "sipedge: check: the result can't be printed: %s\n", strerror(err));
		return EXIT_BAD_USAGE;
	}

	return exit_status(p->finished->verdict);
}

int probe_main(int argc, char *argv[])
{
	struct probe *p = mem_zalloc(sizeof(*p), destructor);
	int status = EXIT_BAD_USAGE, err;

	if (!p)
		return EXIT_BAD_USAGE;

	init(p);
	err = parse(p, argc, argv);
	if (!err)
		err = fill(p);
	if (!err)
		err = validate(p);
	if (!err)
		status = check_and_print(p);
	else if (err == ECANCELED)
		status = 0;
	mem_deref(p);
	runtime_close();

	return status;
}
