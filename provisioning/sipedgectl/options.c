/**
 * @file options.c  What was typed: the options of all sub-commands
 */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "provisioning/sipedgectl/options.h"
#include "provisioning/sipedgectl/topic.h"

enum { WAIT_S_DEFAULT = 30 };

enum option_id {
	OPT_BROKER = 256, /* above every character */
	OPT_USERNAME,
	OPT_PASSWORD_FILE,
	OPT_CA,
	OPT_CERT,
	OPT_KEY,
	OPT_PREFIX,
	OPT_NODE,
	OPT_WAIT,
	OPT_TIMEOUT,
	OPT_ACCOUNT,
	OPT_ONCE,
	OPT_FORMAT,
	OPT_HELP,
};

static const struct spec {
	const char *name;
	enum option_id id;
	unsigned bit; /* 0: every sub-command takes it */
	const char *value;
	const char *env;
	const char *text;
} specs[] = {
        {"broker", OPT_BROKER, TAKES_BROKER, "URL", "SIPEDGE_BROKER",
                "mqtt://host:1883, mqtts://host:8883, ws:// or wss://; several, with commas or repeated, are tried in "
                "turn"},
        {"node", OPT_NODE, TAKES_NODE, "ID", "SIPEDGE_NODE", "the node"},
        {"username", OPT_USERNAME, TAKES_BROKER, "NAME", "SIPEDGE_USERNAME", "user name at the broker"},
        {"password-file", OPT_PASSWORD_FILE, TAKES_BROKER, "FILE", "SIPEDGE_PASSWORD_FILE",
                "file with the password for the broker"},
        {"ca", OPT_CA, TAKES_BROKER, "FILE", NULL,
                "certificates to trust (PEM) instead of the system's, for mqtts and wss"},
        {"cert", OPT_CERT, TAKES_BROKER, "FILE", NULL, "own certificate and chain (PEM)"},
        {"key", OPT_KEY, TAKES_BROKER, "FILE", NULL, "own private key (PEM)"},
        {"topic-prefix", OPT_PREFIX, TAKES_BROKER, "PREFIX", NULL,
                "first levels of every topic, sipedge/v1 by default"},
        {"wait", OPT_WAIT, TAKES_WAIT, "S", NULL, "how long to wait for the node's answer, 30 s by default"},
        {"timeout", OPT_TIMEOUT, TAKES_TIMEOUT, "S", NULL, "end after so many seconds"},
        {"account", OPT_ACCOUNT, TAKES_ACCOUNT, "ID", NULL, "only this device account"},
        {"once", OPT_ONCE, TAKES_ONCE, NULL, NULL, "end when every command has shown a result"},
        {"format", OPT_FORMAT, TAKES_FORMAT, "FORMAT", NULL, "table (default), json or csv"},
        {"help", OPT_HELP, 0, NULL, NULL, "this text"},
};

enum { SPECS = sizeof(specs) / sizeof(specs[0]) };

static int complain(const char *what, const char *value, const char *why)
{
	fprintf(stderr, "sipedgectl: %s '%.80s': %s\n", what, value, why);
	return EINVAL;
}

/* Splits at commas, in place. */
static int add_brokers(struct options *o, char *urls)
{
	char *save = NULL;

	for (char *url = strtok_r(urls, ", ", &save); url; url = strtok_r(NULL, ", ", &save)) {
		if (o->nbrokers == BROKERS_MAX)
			return complain("--broker", url, "more than 8 brokers");
		if (!topic_url_is_valid(url))
			return complain("--broker", url,
			        "must be mqtt://host[:port], mqtts://, ws:// or wss://, without a user name");
		o->brokers[o->nbrokers++] = url;
	}

	return o->nbrokers ? 0 : complain("--broker", "", "is empty");
}

static int set_name(const char **namep, const char *what, const char *value)
{
	if (!topic_level_is_valid(value))
		return complain(what, value, "must be 1 to 64 of A-Z a-z 0-9 _ -, without a leading _");
	*namep = value;

	return 0;
}

static int set_seconds(double *sp, const char *what, const char *value)
{
	char *end;
	const double s = strtod(value, &end);

	if (!isdigit((unsigned char)*value) || *end || !(s > 0) || s > 1e6)
		return complain(what, value, "must be a number of seconds above 0");
	*sp = s;

	return 0;
}

static int set_format(enum format *formatp, const char *value)
{
	static const char *const names[] = {"table", "json", "csv"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(value, names[i])) {
			*formatp = (enum format)i;
			return 0;
		}
	}

	return complain("--format", value, "must be table, json or csv");
}

static int set_prefix(const char **prefixp, const char *value)
{
	if (!topic_prefix_is_valid(value))
		return complain("--topic-prefix", value, "must be levels of A-Z a-z 0-9 _ - with / between");
	*prefixp = value;

	return 0;
}

static int set_option(struct options *o, enum option_id id, char *value)
{
	switch (id) {

	case OPT_BROKER:
		return add_brokers(o, value);
	case OPT_USERNAME:
		o->username = value;
		return 0;
	case OPT_PASSWORD_FILE:
		o->password_file = value;
		return 0;
	case OPT_CA:
		o->ca = value;
		return 0;
	case OPT_CERT:
		o->cert = value;
		return 0;
	case OPT_KEY:
		o->key = value;
		return 0;
	case OPT_PREFIX:
		return set_prefix(&o->prefix, value);
	case OPT_NODE:
		return set_name(&o->node, "--node", value);
	case OPT_WAIT:
		return set_seconds(&o->wait_s, "--wait", value);
	case OPT_TIMEOUT:
		return set_seconds(&o->timeout_s, "--timeout", value);
	case OPT_ACCOUNT:
		return set_name(&o->account, "--account", value);
	case OPT_ONCE:
		o->once = true;
		return 0;
	case OPT_FORMAT:
		return set_format(&o->format, value);
	case OPT_HELP:
		return 1;
	}

	return EINVAL;
}

static bool is_taken(const struct subcommand *command, const struct spec *spec)
{
	return !spec->bit || (command->takes & spec->bit);
}

/* What the command line left open. */
static int set_from_environment(struct options *o, const struct subcommand *command, const bool *given)
{
	int err = 0;

	for (size_t i = 0; i < SPECS && !err; i++) {
		char *value = specs[i].env ? getenv(specs[i].env) : NULL;

		if (value && *value && !given[i] && is_taken(command, &specs[i]))
			err = set_option(o, specs[i].id, value);
	}

	return err;
}

static int check(const struct options *o, const struct subcommand *command)
{
	if (o->nargs < command->args_min || o->nargs > command->args_max) {
		fprintf(stderr, "sipedgectl: usage: sipedgectl %s %s (see --help)\n", command->name, command->args);
		return EINVAL;
	}
	if ((command->takes & TAKES_BROKER) && !o->nbrokers) {
		fprintf(stderr, "sipedgectl: no broker: give --broker URL or set SIPEDGE_BROKER\n");
		return EINVAL;
	}
	if (!o->cert != !o->key) {
		fprintf(stderr, "sipedgectl: --cert and --key go together\n");
		return EINVAL;
	}

	return 0;
}

int options_parse(struct options *o, const struct subcommand *command, int argc, char **argv)
{
	struct option table[SPECS + 1] = {0};
	bool given[SPECS] = {false};
	int index, c, n = 0, err = 0;

	*o = (struct options){.prefix = "sipedge/v1", .wait_s = WAIT_S_DEFAULT};

	for (size_t i = 0; i < SPECS; i++) {
		if (is_taken(command, &specs[i]))
			table[n++] = (struct option){specs[i].name, specs[i].value ? required_argument : no_argument,
			        NULL, (int)specs[i].id};
	}

	while (!err && (c = getopt_long(argc, argv, "", table, &index)) != -1) {
		if (c == '?')
			return EINVAL; /* getopt has said why */
		for (size_t i = 0; i < SPECS; i++)
			given[i] = given[i] || specs[i].id == (enum option_id)c;
		err = set_option(o, (enum option_id)c, optarg);
	}
	if (err)
		return err;

	o->args = argv + optind;
	o->nargs = (size_t)(argc - optind);
	err = set_from_environment(o, command, given);

	return err ? err : check(o, command);
}

void options_print_help(const struct subcommand *command)
{
	printf("usage: sipedgectl %s [OPTION…] %s\n\n%s.\n", command->name, command->args, command->summary);
	if (*command->details)
		printf("\n%s\n", command->details);
	printf("\nOptions:\n");
	for (size_t i = 0; i < SPECS; i++) {
		char name[64];

		if (!is_taken(command, &specs[i]))
			continue;
		snprintf(name, sizeof(name), "--%s%s%s", specs[i].name, specs[i].value ? " " : "",
		        specs[i].value ? specs[i].value : "");
		printf("  %-22s %s%s%s%s\n", name, specs[i].text, specs[i].env ? " (else " : "",
		        specs[i].env ? specs[i].env : "", specs[i].env ? ")" : "");
	}
}
