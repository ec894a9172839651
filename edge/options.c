/**
 * @file options.c  Flags, environment, YAML file, defaults
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <yaml.h>
#include <re.h>
#include "edge/core/config.h"
#include "edge/mqtt/link.h"
#include "edge/options.h"

enum {
	SECRET_SIZE_MAX = 4096,
	FLAG_CONFIG = 1000,
	FLAG_HELP,
};

/* How the text of an option becomes its value: 0, or EINVAL with the reason in *whyp. */
typedef int(set_h)(struct options *o, size_t offset, const char *value, const char **whyp);

static set_h set_string, set_broker, set_bool, set_log_level, set_log_format, set_prefix;

static const struct option_def {
	const char *name; /* of the flag; with _ for - the key in the file; in capitals the variable SIPEDGE_... */
	const char *arg;  /* NULL: a flag without value */
	bool is_secret;   /* never a flag, only in the environment and as --NAME-file, NAME_file, SIPEDGE_NAME_FILE */
	set_h *seth;
	size_t offset;
	const char *help;
} defs[] = {
        {"broker", "URL", false, set_broker, 0,
                "mqtt://host[:1883], mqtts://host[:8883], ws://, wss://; several are tried in turn"},
        {"node", "ID", false, set_string, offsetof(struct options, node),
                "id of this node; else the certificate's CN, the user name, the host name"},
        {"username", "NAME", false, set_string, offsetof(struct options, username), "user name at the broker"},
        {"password", "FILE", true, set_string, offsetof(struct options, password), "password at the broker"},
        {"ca", "FILE", false, set_string, offsetof(struct options, ca),
                "trust anchors for the broker's certificate (PEM); default: the system's"},
        {"cert", "FILE", false, set_string, offsetof(struct options, cert), "client certificate (PEM)"},
        {"key", "FILE", false, set_string, offsetof(struct options, key), "its private key (PEM)"},
        {"state-dir", "DIR", false, set_string, offsetof(struct options, state_dir),
                "what the agent keeps; default /var/lib/sipedge"},
        {"secrets-dir", "DIR", false, set_string, offsetof(struct options, secrets_dir),
                "where `password: {file: ...}` of accounts is looked up; default: secrets in the state directory"},
        {"allow-plain-secrets", NULL, false, set_bool, offsetof(struct options, allow_plain_secrets),
                "accept `password: {plain: ...}` in documents"},
        {"topic-prefix", "PREFIX", false, set_prefix, offsetof(struct options, topic_prefix), "default sipedge/v1"},
        {"log-level", "LEVEL", false, set_log_level, 0, "debug, info, notice (default), warn, error"},
        {"log-format", "FORMAT", false, set_log_format, 0, "text (default) or json"},
};

enum { DEFS = sizeof(defs) / sizeof(defs[0]) };

static void destructor(void *arg)
{
	struct options *o = arg;

	for (size_t i = 0; i < BROKERS_MAX; i++)
		mem_deref(o->broker[i]);
	if (o->password)
		explicit_bzero(o->password, strlen(o->password));
	mem_deref(o->node);
	mem_deref(o->topic_prefix);
	mem_deref(o->username);
	mem_deref(o->password);
	mem_deref(o->ca);
	mem_deref(o->cert);
	mem_deref(o->key);
	mem_deref(o->state_dir);
	mem_deref(o->secrets_dir);
}

static int set_string(struct options *o, size_t offset, const char *value, const char **whyp)
{
	char **field = (char **)(void *)((char *)o + offset);

	if (!*value) {
		*whyp = "is empty";
		return EINVAL;
	}
	*field = mem_deref(*field);

	return str_dup(field, value);
}

static int set_prefix(struct options *o, size_t offset, const char *value, const char **whyp)
{
	size_t len = strlen(value);

	if (strpbrk(value, "+# \t") || value[0] == '/' || (len && value[len - 1] == '/') || len > 200) {
		*whyp = "is no topic: levels separated by '/', without wildcards and spaces";
		return EINVAL;
	}

	return set_string(o, offset, value, whyp);
}

static int set_bool(struct options *o, size_t offset, const char *value, const char **whyp)
{
	bool *field = (bool *)(void *)((char *)o + offset);

	if (!strcmp(value, "true") || !strcmp(value, "yes") || !strcmp(value, "1"))
		*field = true;
	else if (!strcmp(value, "false") || !strcmp(value, "no") || !strcmp(value, "0"))
		*field = false;
	else {
		*whyp = "is neither true nor false";
		return EINVAL;
	}

	return 0;
}

static int set_log_level(struct options *o, size_t offset, const char *value, const char **whyp)
{
	(void)offset;
	*whyp = "is none of debug, info, notice, warn, error";

	return log_level_parse(&o->log_level, value) ? 0 : EINVAL;
}

static int set_log_format(struct options *o, size_t offset, const char *value, const char **whyp)
{
	(void)offset;
	o->log_json = !strcmp(value, "json");
	*whyp = "is neither text nor json";

	return o->log_json || !strcmp(value, "text") ? 0 : EINVAL;
}

/* one URL, or several separated by commas */
static int set_broker(struct options *o, size_t offset, const char *value, const char **whyp)
{
	size_t n = 0;
	(void)offset;

	while (o->broker[n])
		n++;

	for (const char *p = value; *p;) {
		size_t len = strcspn(p, ", ");
		char *url = NULL;

		if (n == BROKERS_MAX) {
			*whyp = "names more than 16 brokers";
			return EINVAL;
		}
		if (len) {
			if (re_sdprintf(&url, "%b", p, len))
				return ENOMEM;
			o->broker[n++] = url;
			if (link_url_check(url, whyp))
				return EINVAL;
		}
		p += len + (p[len] != '\0');
	}
	*whyp = "is empty";

	return strspn(value, ", ") == strlen(value) ? EINVAL : 0;
}

int options_read_secret(char **secretp, const char *path)
{
	char buf[SECRET_SIZE_MAX + 2];
	FILE *f = fopen(path, "re");
	size_t n;
	int err = 0;

	if (!f)
		return errno;

	n = fread(buf, 1, sizeof(buf) - 1, f);
	if (ferror(f))
		err = errno ? errno : EIO;
	(void)fclose(f);

	while (n && (buf[n - 1] == '\n' || buf[n - 1] == '\r'))
		n--;
	if (!err && n > SECRET_SIZE_MAX)
		err = EFBIG;
	if (!err && memchr(buf, '\0', n))
		err = EINVAL;
	buf[n] = '\0';
	if (!err)
		err = str_dup(secretp, buf);
	explicit_bzero(buf, sizeof(buf));

	return err;
}

/* where: "--node", "SIPEDGE_NODE" or "FILE:3: node" */
static int complain(const char *where, const char *value, const char *why)
{
	if (value)
		(void)fprintf(stderr, "sipedge: %s: '%s' %s\n", where, value, why);
	else
		(void)fprintf(stderr, "sipedge: %s: %s\n", where, why);

	return EINVAL;
}

static int set_value(struct options *o, const struct option_def *def, const char *where, const char *value)
{
	const char *why = "can't be set";

	return def->seth(o, def->offset, value, &why) ? complain(where, def->is_secret ? NULL : value, why) : 0;
}

static int set_secret_file(struct options *o, const struct option_def *def, const char *where, const char *path)
{
	char *secret = NULL;
	int err = options_read_secret(&secret, path);

	if (err) {
		(void)fprintf(stderr, "sipedge: %s: %s: %s\n", where, path, strerror(err));
		return EINVAL;
	}
	err = set_value(o, def, where, secret);
	if (secret)
		explicit_bzero(secret, strlen(secret));
	mem_deref(secret);

	return err;
}

static void spell(char *out, size_t size, const char *prefix, const char *name, const char *suffix, bool upper)
{
	(void)snprintf(out, size, "%s%s%s", prefix, name, suffix);
	for (char *p = out; *p; p++) {
		if (*p == '-')
			*p = '_';
		else if (upper && *p >= 'a' && *p <= 'z')
			*p = (char)(*p - 'a' + 'A');
	}
}

static int read_environment(struct options *o, bool given[DEFS])
{
	char name[64];
	int err = 0;

	for (size_t i = 0; i < DEFS && !err; i++) {
		const char *value, *path = NULL;

		if (given[i])
			continue;
		spell(name, sizeof(name), "SIPEDGE_", defs[i].name, "", true);
		value = getenv(name);
		if (!value && defs[i].is_secret) {
			spell(name, sizeof(name), "SIPEDGE_", defs[i].name, "_FILE", true);
			path = getenv(name);
		}
		if (value)
			err = set_value(o, &defs[i], name, value);
		else if (path)
			err = set_secret_file(o, &defs[i], name, path);
		given[i] = value || path;
	}

	return err;
}

/* A value of the file: a scalar, or a sequence of scalars for what may be given several times. doc NULL: no sequence. */
static int set_node(struct options *o, const struct option_def *def, bool is_file, const char *where,
        yaml_document_t *doc, const yaml_node_t *node)
{
	int err = 0;

	if (doc && node->type == YAML_SEQUENCE_NODE && def->seth == set_broker) {
		for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top && !err;
		        i++)
			err = set_node(o, def, false, where, NULL, yaml_document_get_node(doc, *i));
		return err;
	}
	if (node->type != YAML_SCALAR_NODE)
		return complain(where, NULL, "a plain value is needed here");
	if (is_file)
		return set_secret_file(o, def, where, (const char *)node->data.scalar.value);

	return set_value(o, def, where, (const char *)node->data.scalar.value);
}

static int set_pair(
        struct options *o, bool given[DEFS], const char *path, yaml_document_t *doc, const yaml_node_pair_t *pair)
{
	const yaml_node_t *key = yaml_document_get_node(doc, pair->key);
	const yaml_node_t *value = yaml_document_get_node(doc, pair->value);
	char where[PATH_MAX + 128], name[64];

	(void)snprintf(where, sizeof(where), "%s:%zu: %s", path, key->start_mark.line + 1,
	        key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "?");

	for (size_t i = 0; i < DEFS && key->type == YAML_SCALAR_NODE; i++) {
		spell(name, sizeof(name), "", defs[i].name, defs[i].is_secret ? "-file" : "", false);
		if (!strcmp(name, (const char *)key->data.scalar.value))
			return given[i] ? 0 : set_node(o, &defs[i], defs[i].is_secret, where, doc, value);
	}

	return complain(where, NULL, "unknown key; `sipedge run --help` lists the options, written here with _ for -");
}

static int read_file(struct options *o, bool given[DEFS], const char *path)
{
	yaml_document_t doc;
	yaml_parser_t parser;
	yaml_node_t *root;
	FILE *f = fopen(path, "re");
	int err = 0;

	if (!f)
		return complain("--config", path, strerror(errno));

	(void)yaml_parser_initialize(&parser);
	yaml_parser_set_input_file(&parser, f);
	if (!yaml_parser_load(&parser, &doc)) {
		(void)fprintf(stderr, "sipedge: %s:%zu:%zu: not YAML: %s\n", path, parser.problem_mark.line + 1,
		        parser.problem_mark.column + 1, parser.problem ? parser.problem : "unreadable");
		err = EINVAL;
	} else {
		root = yaml_document_get_root_node(&doc);
		if (root && root->type != YAML_MAPPING_NODE)
			err = complain(path, NULL, "must be a mapping of option names to values");
		else if (root)
			for (yaml_node_pair_t *p = root->data.mapping.pairs.start;
			        p < root->data.mapping.pairs.top && !err; p++)
				err = set_pair(o, given, path, &doc, p);
		yaml_document_delete(&doc);
	}
	yaml_parser_delete(&parser);
	(void)fclose(f);

	return err;
}

static int read_flags(struct options *o, bool given[DEFS], const char **config, int argc, char *argv[])
{
	struct option longs[DEFS + 3] = {
	        {"config", required_argument, NULL, FLAG_CONFIG}, {"help", no_argument, NULL, FLAG_HELP}};
	int c, err = 0;

	for (size_t i = 0; i < DEFS; i++)
		longs[i + 2] = (struct option){defs[i].is_secret ? "password-file" : defs[i].name,
		        defs[i].arg ? required_argument : no_argument, NULL, (int)i};

	optind = 0; /* glibc: a full restart */
	while (!err && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		char where[64];

		if (c == '?')
			return EINVAL; /* getopt has said why */
		if (c == FLAG_HELP) {
			options_print_help(stdout);
			return ECANCELED;
		}
		if (c == FLAG_CONFIG) {
			*config = optarg;
			continue;
		}
		(void)snprintf(where, sizeof(where), "--%s%s", defs[c].name, defs[c].is_secret ? "-file" : "");
		err = defs[c].is_secret ? set_secret_file(o, &defs[c], where, optarg)
		                        : set_value(o, &defs[c], where, defs[c].arg ? optarg : "true");
		given[c] = true;
	}
	if (!err && optind < argc)
		err = complain("run", argv[optind], "is not an option; see `sipedge run --help`");

	return err;
}

/* The CN of the client certificate; NULL: none. */
static char *certificate_cn(const char *path)
{
	char cn[NAME_LEN_MAX + 2], *copy = NULL;
	FILE *f = path ? fopen(path, "re") : NULL;
	X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

	if (cert && X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn)) > 0)
		(void)str_dup(&copy, cn);
	X509_free(cert);
	if (f)
		(void)fclose(f);

	return copy;
}

static int default_to(char **field, const char *value)
{
	return *field ? 0 : str_dup(field, value);
}

static int set_defaults(struct options *o)
{
	char host[HOST_NAME_MAX + 1] = "";
	const char *source = "--node";
	int err;

	err = default_to(&o->broker[0], "mqtt://localhost:1883");
	if (!err)
		err = default_to(&o->topic_prefix, "sipedge/v1");
	if (!err)
		err = default_to(&o->state_dir, "/var/lib/sipedge");
	if (!err && !o->secrets_dir)
		err = re_sdprintf(&o->secrets_dir, "%s/secrets", o->state_dir);
	if (err)
		return err;

	if (!o->node && (o->node = certificate_cn(o->cert)))
		source = "CN of the certificate, taken as the node id";
	if (!o->node && o->username) {
		source = "user name, taken as the node id";
		(void)str_dup(&o->node, o->username);
	}
	if (!o->node) {
		source = "host name, taken as the node id";
		(void)gethostname(host, sizeof(host) - 1);
		(void)str_dup(&o->node, host);
	}
	if (!o->node || !config_name_is_valid(o->node))
		return complain(source, o->node,
		        "is no valid node id (1 to 64 of A-Z a-z 0-9 _ -, not starting with _); give one with --node");
	if (!o->cert != !o->key)
		return complain("--cert", NULL, "--cert and --key go together");

	return 0;
}

int options_read(struct options **optionsp, int argc, char *argv[])
{
	struct options *o = mem_zalloc(sizeof(*o), destructor);
	bool given[DEFS] = {false};
	const char *config = getenv("SIPEDGE_CONFIG");
	int err;

	if (!o)
		return ENOMEM;

	o->log_level = LOG_LEVEL_NOTICE;
	err = read_flags(o, given, &config, argc, argv);
	if (!err)
		err = read_environment(o, given);
	if (!err && config && *config)
		err = read_file(o, given, config);
	if (!err)
		err = set_defaults(o);
	if (err) {
		mem_deref(o);
		return err;
	}

	*optionsp = o;

	return 0;
}

void options_print_help(FILE *f)
{
	(void)fprintf(f,
	        "usage: sipedge run [OPTION]...\n\n"
	        "Connects to a broker, takes accounts and commands from <prefix>/<node>/config/desired, runs the "
	        "checks\n"
	        "and publishes each result on <prefix>/<node>/result/<account>/<variable>.\n\n"
	        "  --config FILE              options as YAML, with _ for -: {broker: mqtt://..., node: site-1}\n");
	for (size_t i = 0; i < DEFS; i++) {
		char flag[64];

		(void)snprintf(flag, sizeof(flag), "--%s%s %s", defs[i].name, defs[i].is_secret ? "-file" : "",
		        defs[i].arg ? defs[i].arg : "");
		(void)fprintf(f, "  %-26s %s\n", flag, defs[i].help);
	}
	(void)fprintf(f,
	        "  --help                     this text\n\n"
	        "Every option is also an environment variable (--state-dir: SIPEDGE_STATE_DIR); a flag goes before "
	        "the\n"
	        "environment, that before the file. Several brokers: repeat --broker, or separate with commas.\n"
	        "The broker's password: SIPEDGE_PASSWORD or SIPEDGE_PASSWORD_FILE.\n"
	        "SIGTERM ends running checks cleanly, says offline, exits 0. SIGHUP reads files anew.\n"
	        "Exit status: 0 ended by a signal, 1 can't run, 2 bad usage.\n");
}
