/**
 * @file main.c  sipedgectl, the operator's tool
 */
#include <stdio.h>
#include <string.h>
#include "provisioning/sipedgectl/subcommands.h"

static const struct subcommand *const commands[] = {
        &subcommand_validate,
        &subcommand_push,
        &subcommand_show,
        &subcommand_watch,
        &subcommand_decode,
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const struct subcommand *find(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++) {
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	}

	return NULL;
}

static void print_usage(void)
{
	printf("usage: sipedgectl COMMAND [OPTION…] …\n\n");
	for (size_t i = 0; i < COMMANDS; i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	printf("  %-10s %s\n", "version", "Print the version");
	printf("  %-10s %s\n", "help", "Print this text, or what a command does: sipedgectl help COMMAND");
	printf("\nEvery command takes --help.\n");
}

static int help(const char *name)
{
	const struct subcommand *command = name ? find(name) : NULL;

	if (name && !command) {
		fprintf(stderr, "sipedgectl: no command '%.80s' (see sipedgectl help)\n", name);
		return EXIT_USAGE;
	}
	if (command)
		options_print_help(command);
	else
		print_usage();

	return EXIT_OK;
}

static int run(const struct subcommand *command, int argc, char **argv)
{
	struct options options;

	switch (options_parse(&options, command, argc, argv)) {

	case 0:
		return command->run(&options);
	case 1:
		options_print_help(command);
		return EXIT_OK;
	default:
		return EXIT_USAGE;
	}
}

int main(int argc, char **argv)
{
	char program[] = "sipedgectl"; /* what getopt puts before its messages */
	const char *name = argc > 1 ? argv[1] : "";
	const struct subcommand *command = find(name);

	if (argc < 2) {
		fprintf(stderr, "sipedgectl: no command given (see sipedgectl help)\n");
		return EXIT_USAGE;
	}
	if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
		return help(argc > 2 ? argv[2] : NULL);
	if (!strcmp(name, "version") || !strcmp(name, "--version")) {
		printf("sipedgectl %s\n", SIPEDGE_VERSION);
		return EXIT_OK;
	}
	if (!command)
		return help(name);

	argv[1] = program;

	return run(command, argc - 1, argv + 1);
}
