/**
 * @file respond.c  `sipedge respond` in a process of its own, for tests
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "edge/respond.h"
#include "support/respond.h"

enum { ARGS_MAX = 32 };

static pid_t spawn(const char *const args[], int *output)
{
	char *argv[ARGS_MAX] = {(char *)"respond"};
	int argc = 1, fds[2];
	pid_t pid;

	while (args[argc - 1] && argc < ARGS_MAX - 1) {
		argv[argc] = (char *)args[argc - 1];
		argc++;
	}
	if (pipe(fds) < 0)
		return -1;
	(void)fflush(NULL);
	pid = fork();
	if (pid) {
		(void)close(fds[1]);
		*output = fds[0];
		return pid;
	}

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nothing outlives a test that crashed */
	(void)dup2(fds[1], STDOUT_FILENO);
	(void)close(fds[0]);
	(void)close(fds[1]);
	(void)freopen("/dev/null", "w", stderr);
	exit(respond_main(argc, argv));
}

static int wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;

	return WEXITSTATUS(status);
}

int respond_run(const char *const args[])
{
	int output;
	pid_t pid = spawn(args, &output), code;

	if (pid < 0)
		return -1;
	code = wait_for(pid);
	(void)close(output);

	return code;
}

int respond_start(struct respond_process *p, const char *const args[])
{
	size_t listeners = 0;
	char line[128];
	int output;
	FILE *file;

	memset(p, 0, sizeof(*p));
	for (size_t i = 0; args[i]; i++)
		listeners += !strcmp(args[i], "--listen");
	p->pid = spawn(args, &output);
	if (p->pid < 0)
		return errno;

	file = fdopen(output, "r");
	while (listeners && fgets(line, sizeof(line), file)) {
		char *address = line + strlen("listening udp:");
		struct sa *sa = strstr(line, " tcp:") ? &p->tcp : &p->udp;

		address[strcspn(address, "\n")] = '\0';
		(void)sa_decode(sa, address, strlen(address));
		listeners--;
	}
	(void)fclose(file);
	if (!listeners)
		return 0;
	(void)wait_for(p->pid);

	return ECHILD;
}

int respond_stop(struct respond_process *p)
{
	(void)kill(p->pid, SIGTERM);

	return wait_for(p->pid);
}
