/**
 * @file runtime.c  What every sub-command with an event loop needs before it starts
 */
#include <errno.h>
#include <signal.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <re.h>
#define DEBUG_MODULE "sipedge"
#define DEBUG_LEVEL 0
#include <re_dbg.h>
#include "edge/runtime.h"

enum { FILES_MAX = 65536 }; /* libre allocates for each: 4 MB */

static struct {
	int fd;
	runtime_signal_h *h;
	void *arg;
} signals = {.fd = -1};

int runtime_init(void)
{
	struct rlimit limit;
	int err;

	(void)signal(SIGPIPE, SIG_IGN);

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return errno;
	limit.rlim_cur = limit.rlim_max < FILES_MAX ? limit.rlim_max : FILES_MAX;
	(void)setrlimit(RLIMIT_NOFILE, &limit);

	err = libre_init();
	if (err)
		return err;
	dbg_init(DBG_EMERG, DBG_NONE); /* libre prints what it thinks of hostile bytes; we count it */

	return fd_setsize((int)limit.rlim_cur);
}

void runtime_close(void)
{
	if (signals.fd >= 0) {
		fd_close(signals.fd);
		(void)close(signals.fd);
		signals.fd = -1;
	}
	libre_close();
}

static void read_signal(int flags, void *arg)
{
	struct signalfd_siginfo info;
	(void)flags;
	(void)arg;

	if (read(signals.fd, &info, sizeof(info)) == sizeof(info))
		signals.h((int)info.ssi_signo, signals.arg);
}

int runtime_catch_signals(runtime_signal_h *h, void *arg)
{
	sigset_t set;
	int err;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	err = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (err)
		return err;

	signals.h = h;
	signals.arg = arg;
	signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals.fd < 0)
		return errno;

	return fd_listen(signals.fd, FD_READ, read_signal, NULL);
}
