/**
 * @file main.c  sub-commands
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "edge/agent.h"
#include "edge/health.h"
#include "edge/probe.h"
#include "edge/respond.h"
#include "edge/version.h"

static int version_main(int argc, char *argv[])
{
	(void)argc;
	(void)argv;
	(void)printf("sipedge %s (%s)\n", version_number(), version_build());

	return 0;
}

static const struct {
	const char *name;
	int (*main)(int argc, char *argv[]);
	const char *help;
} commands[] = {
        {"run", agent_main, "the agent: takes its configuration from a broker, publishes results there"},
        {"check", probe_main, "runs one check and prints the answer"},
        {"respond", respond_main, "an answering peer: OPTIONS, MESSAGE, REGISTER, INVITE with media echo"},
        {"health", health_main, "exit 0 when the running agent is alive"},
        {"version", version_main, "what this is"},
};

static void print_help(FILE *f)
{
	(void)fputs("usage: sipedge COMMAND [OPTION]...\n\nWatches VoIP servers from the edge.\n\n", f);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		(void)fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].help);
	(void)fputs("\n`sipedge COMMAND --help` says more.\n", f);
}

/* Who starts us may have closed some of the first three: the next socket must not be what log lines go to. */
static void fill_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd);
}

int main(int argc, char *argv[])
{
	fill_standard_files();
	if (argc < 2) {
		print_help(stderr);
		return 2;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].main(argc - 1, argv + 1);

	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		print_help(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version"))
		return version_main(argc, argv);
	(void)fprintf(stderr, "sipedge: '%s' is no command; see `sipedge --help`\n", argv[1]);

	return 2;
}
