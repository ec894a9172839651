/**
 * @file options.h  What was typed: the options of all sub-commands
 */
#ifndef SIPEDGE_SIPEDGECTL_OPTIONS_H
#define SIPEDGE_SIPEDGECTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum { BROKERS_MAX = 8 };

enum exit_code {
	EXIT_OK = 0,
	EXIT_NOT_OK = 1, /* the document is wrong or was rejected; a result is not ok */
	EXIT_USAGE = 2,  /* also a file that can't be read */
	EXIT_ROLLED_BACK = 3,
	EXIT_NO_ANSWER = 4, /* of the broker or the node */
};

enum format {
	FORMAT_TABLE,
	FORMAT_JSON,
	FORMAT_CSV,
};

/* Bits of struct subcommand.takes */
enum option_bit {
	TAKES_BROKER = 1 << 0, /* --broker, --username, --password-file, --ca, --cert, --key, --topic-prefix */
	TAKES_NODE = 1 << 1,
	TAKES_WAIT = 1 << 2,
	TAKES_TIMEOUT = 1 << 3,
	TAKES_ACCOUNT = 1 << 4,
	TAKES_ONCE = 1 << 5,
	TAKES_FORMAT = 1 << 6,
};

/* All strings are borrowed from the command line or the environment. */
struct options {
	const char *brokers[BROKERS_MAX];
	size_t nbrokers;
	const char *username; /* NULL: none */
	const char *password_file;
	const char *ca, *cert, *key;
	const char *prefix;
	const char *node;    /* NULL: not given */
	const char *account; /* NULL: all */
	double wait_s;
	double timeout_s; /* 0: not given */
	bool once;
	enum format format;
	char **args; /* what is left, NULL-terminated */
	size_t nargs;
};

struct subcommand {
	const char *name;
	int (*run)(const struct options *options); /* returns an exit_code */
	unsigned takes;
	size_t args_min, args_max;
	const char *args;    /* as in the usage line */
	const char *summary; /* one line */
	const char *details; /* paragraphs for --help */
};

/* Reads argv[1..] of a sub-command. 0: go on. 1: --help was asked for. EINVAL: one line on stderr says what is wrong. */
int options_parse(struct options *options, const struct subcommand *command, int argc, char **argv);

void options_print_help(const struct subcommand *command);

#endif
