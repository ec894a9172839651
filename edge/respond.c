/**
 * @file respond.c  `sipedge respond`: options, listeners, signals
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "edge/respond.h"
#include "edge/respond/responder.h"

enum {
	LISTENERS_MAX = 16,
	DESCRIPTORS_MAX = 65536,
	NUMBER_MAX = 3600000,
	NONCE_EXPIRES_S = 300,
	RING_MS = 100,
	EXIT_USAGE = 2,
};

struct listener {
	enum transport proto;
	struct sa local;
	void *holder;
};

struct settings {
	struct respond_options options;
	size_t n;
	struct listener listener[LISTENERS_MAX];
	const char *password_file;
	bool is_quiet;
};

static const char usage[] = "usage: sipedge respond --listen udp:127.0.0.1:5070 [--listen tcp:[::1]:0] ...\n"
                            "  --listen PROTO:ADDRESS:PORT   udp or tcp; port 0: one that is free; repeatable\n"
                            "  --auth-user USER              ask for digest credentials (realm sipedge)\n"
                            "  --auth-password-file FILE     the password: the file's first line\n"
                            "  --nonce-expires-s N           a challenge is stale after N seconds (default 300)\n"
                            "  --code METHOD=CODE            answer METHOD with CODE, 200-699; repeatable\n"
                            "  --ring-ms N                   time from 180 to 200 of a call (default 100)\n"
                            "  --delay-ms N                  hold every response back\n"
                            "  --drop-percent N              ignore N of 100 requests\n"
                            "  --quiet                       no counts at the end\n"
                            "  --help\n";

static bool parse_number(unsigned *value, const char *text, unsigned max)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || n > max)
		return false;
	*value = (unsigned)n;

	return true;
}

static bool parse_listen(struct settings *s, const char *text)
{
	struct listener *l = &s->listener[s->n];

	if (s->n == LISTENERS_MAX)
		return false;
	if (!strncmp(text, "udp:", 4))
		l->proto = TRANSPORT_UDP;
	else if (!strncmp(text, "tcp:", 4))
		l->proto = TRANSPORT_TCP;
	else
		return false;
	if (sa_decode(&l->local, text + 4, strlen(text + 4)))
		return false;
	s->n++;

	return true;
}

static bool parse_code(struct respond_options *o, const char *text)
{
	const char *equals = strchr(text, '=');
	size_t len = equals ? (size_t)(equals - text) : 0;
	unsigned code;

	if (!len || len >= METHOD_SIZE || o->ncodes == CODES_MAX || !parse_number(&code, equals + 1, 699) || code < 200)
		return false;
	memcpy(o->code[o->ncodes].method, text, len);
	o->code[o->ncodes].method[len] = '\0';
	o->code[o->ncodes].code = (uint16_t)code;
	o->ncodes++;

	return true;
}

enum option_id {
	OPTION_LISTEN = 256,
	OPTION_AUTH_USER,
	OPTION_AUTH_PASSWORD_FILE,
	OPTION_NONCE_EXPIRES,
	OPTION_CODE,
	OPTION_RING,
	OPTION_DELAY,
	OPTION_DROP,
	OPTION_QUIET,
	OPTION_HELP,
};

static const struct option long_options[] = {
        {"listen", required_argument, NULL, OPTION_LISTEN},
        {"auth-user", required_argument, NULL, OPTION_AUTH_USER},
        {"auth-password-file", required_argument, NULL, OPTION_AUTH_PASSWORD_FILE},
        {"nonce-expires-s", required_argument, NULL, OPTION_NONCE_EXPIRES},
        {"code", required_argument, NULL, OPTION_CODE},
        {"ring-ms", required_argument, NULL, OPTION_RING},
        {"delay-ms", required_argument, NULL, OPTION_DELAY},
        {"drop-percent", required_argument, NULL, OPTION_DROP},
        {"quiet", no_argument, NULL, OPTION_QUIET},
        {"help", no_argument, NULL, OPTION_HELP},
        {NULL, 0, NULL, 0},
};

static bool take_option(struct settings *s, int option)
{
	struct respond_options *o = &s->options;

	switch (option) {
	case OPTION_LISTEN:
		return parse_listen(s, optarg);
	case OPTION_AUTH_USER:
		o->auth_user = optarg;
		return *optarg != '\0';
	case OPTION_AUTH_PASSWORD_FILE:
		s->password_file = optarg;
		return true;
	case OPTION_NONCE_EXPIRES:
		return parse_number(&o->nonce_expires_s, optarg, NUMBER_MAX);
	case OPTION_CODE:
		return parse_code(o, optarg);
	case OPTION_RING:
		return parse_number(&o->ring_ms, optarg, NUMBER_MAX);
	case OPTION_DELAY:
		return parse_number(&o->delay_ms, optarg, NUMBER_MAX);
	case OPTION_DROP:
		return parse_number(&o->drop_percent, optarg, 100);
	case OPTION_QUIET:
		s->is_quiet = true;
		return true;
	default:
		return false;
	}
}

static int refuse(const char *what, const char *value)
{
	(void)fprintf(stderr, "sipedge respond: %s%s%s (see --help)\n", what, *value ? ": " : "", value);

	return EXIT_USAGE;
}

/* -1: go on; else the exit code */
static int parse(struct settings *s, int argc, char **argv)
{
	int option, index = 0;

	optind = 1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":", long_options, &index)) != -1) {
		if (option == OPTION_HELP) {
			(void)fputs(usage, stdout);
			return 0;
		}
		if (option == '?')
			return refuse("unknown option", argv[optind - 1]);
		if (option == ':')
			return refuse("a value is missing", argv[optind - 1]);
		if (!take_option(s, option))
			return refuse(long_options[index].name, optarg);
	}
	if (optind < argc)
		return refuse("not an option", argv[optind]);
	if (!s->n)
		return refuse("--listen is needed", "");
	if (!s->options.auth_user != !s->password_file)
		return refuse("--auth-user and --auth-password-file belong together", "");

	return -1;
}

static int read_password(char *password, size_t size, const char *path)
{
	FILE *file = fopen(path, "re");
	int err = 0;

	if (!file)
		return errno;
	if (!fgets(password, (int)size, file))
		err = ENODATA;
	(void)fclose(file);
	password[strcspn(password, "\r\n")] = '\0';

	return err ? err : *password ? 0 : ENODATA;
}

static int raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return errno;
	limit.rlim_cur = limit.rlim_max < DESCRIPTORS_MAX ? limit.rlim_max : DESCRIPTORS_MAX;
	(void)setrlimit(RLIMIT_NOFILE, &limit);

	return fd_setsize((int)limit.rlim_cur);
}

static int open_listeners(struct settings *s, struct responder *r)
{
	for (size_t i = 0; i < s->n; i++) {
		struct listener *l = &s->listener[i];
		char text[64];
		int err = responder_listen(&l->holder, r, l->proto, &l->local);

		(void)re_snprintf(text, sizeof(text), "%s:%J", l->proto == TRANSPORT_UDP ? "udp" : "tcp", &l->local);
		if (err) {
			(void)fprintf(stderr, "sipedge respond: %s: %s\n", text, strerror(err));
			return err;
		}
		(void)printf("listening %s\n", text);
	}
	(void)fflush(stdout);

	return 0;
}

static void signal_h(int flags, void *arg)
{
	(void)flags;
	(void)arg;
	re_cancel();
}

/* Signals as a descriptor: one that comes before the loop runs is not lost. */
static int watch_signals(int *fdp)
{
	sigset_t set;
	int fd, err;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return errno;
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return errno;
	err = fd_listen(fd, FD_READ, signal_h, NULL);
	if (err)
		(void)close(fd);
	else
		*fdp = fd;

	return err;
}

static int run(struct settings *s)
{
	struct responder *r = NULL;
	int signals = -1, err;

	err = watch_signals(&signals);
	if (!err)
		err = responder_alloc(&r, &s->options);
	if (!err)
		err = open_listeners(s, r);
	if (!err)
		err = re_main(NULL);
	if (!err && !s->is_quiet)
		(void)fprintf(stderr, "requests=%llu responses=%llu dropped=%llu calls=%llu\n",
		        (unsigned long long)r->requests, (unsigned long long)r->responses,
		        (unsigned long long)r->dropped, (unsigned long long)r->calls);

	for (size_t i = 0; i < s->n; i++)
		mem_deref(s->listener[i].holder);
	mem_deref(r);
	if (signals >= 0) {
		fd_close(signals);
		(void)close(signals);
	}

	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

int respond_main(int argc, char **argv)
{
	struct settings s = {.options = {.nonce_expires_s = NONCE_EXPIRES_S, .ring_ms = RING_MS}};
	int code = parse(&s, argc, argv), err;

	if (code >= 0)
		return code;
	if (s.password_file) {
		err = read_password(s.options.auth_password, sizeof(s.options.auth_password), s.password_file);
		if (err)
			return refuse(s.password_file, strerror(err));
	}

	err = libre_init();
	if (!err)
		err = raise_descriptors();
	if (err) {
		(void)fprintf(stderr, "sipedge respond: %s\n", strerror(err));
		return EXIT_FAILURE;
	}
	code = run(&s);
	libre_close();
	explicit_bzero(s.options.auth_password, sizeof(s.options.auth_password));

	return code;
}
