/**
 * @file options.h  What `sipedge run` was told: flags, environment, YAML file, defaults, in this order
 *
 * One table in options.c names every option once: its flag (--state-dir), its variable (SIPEDGE_STATE_DIR), its key in the
 * file (state_dir) and its help. Main thread, before anything else runs.
 */
#ifndef SIPEDGE_OPTIONS_H
#define SIPEDGE_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>
#include "edge/log.h"

enum { BROKERS_MAX = 16 };

struct options {                       /* strings owned; NULL where not given and without default */
	char *broker[BROKERS_MAX + 1]; /* NULL-terminated */
	char *node;                    /* never NULL after options_read() */
	char *topic_prefix;
	char *username;
	char *password; /* wiped when freed */
	char *ca, *cert, *key;
	char *state_dir;
	char *secrets_dir;
	bool allow_plain_secrets;
	enum log_level log_level;
	bool log_json;
};

/* 0: *optionsp is new (mem). EINVAL: one line said why on stderr, with the place and the remedy. ECANCELED: --help was printed. */
int options_read(struct options **optionsp, int argc, char *argv[]);

void options_print_help(FILE *f);

/* Reads a file that holds one secret, without its trailing newline: at most 4096 bytes, no NUL. An errno else. */
int options_read_secret(char **secretp, const char *path);

#endif
