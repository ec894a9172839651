/**
 * @file document.c  An operator's YAML file as a ConfigDocument
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <re.h>
#include "edge/core/issue.h"
#include "edge/core/wire.h"
#include "provisioning/sipedgectl/document.h"
#include "provisioning/sipedgectl/options.h"
#include "provisioning/sipedgectl/safe.h"

static void print_issue(const char *filename, size_t line, size_t column, const char *path, const char *message)
{
	printf("%s:", filename);
	if (line)
		printf("%zu:%zu:", line, column);
	putchar(' ');
	if (*path) {
		safe_print(stdout, path);
		fputs(": ", stdout);
	}
	safe_print(stdout, message);
}

static void yaml_issue(size_t line, size_t column, const char *path, const char *message, void *arg)
{
	const struct document *doc = arg;

	print_issue(doc->filename, line, column, path, message);
	putchar('\n');
}

void document_print_issue(const struct document *doc, const char *path, const char *code, const char *message)
{
	size_t line = 0, column = 0;

	yamldoc_locate(doc->yaml, path, &line, &column);
	print_issue(doc->filename, line, column, path, message);
	if (code && *code) {
		fputs(" [", stdout);
		safe_print(stdout, code);
		putchar(']');
	}
	putchar('\n');
}

int document_load(struct document *doc, const char *filename)
{
	int err;

	*doc = (struct document){.filename = strcmp(filename, "-") ? filename : "(standard input)"};
	err = yamldoc_load_file(&doc->yaml, filename, &sipedge__v1__config_document__descriptor, yaml_issue, doc);
	if (err == EBADMSG)
		return EXIT_NOT_OK;
	if (err) {
		fprintf(stderr, "sipedgectl: %s: %s\n", filename, strerror(err));
		return EXIT_USAGE;
	}

	doc->msg = (Sipedge__V1__ConfigDocument *)yamldoc_message(doc->yaml);
	for (size_t i = 0; i < doc->msg->n_accounts; i++)
		doc->commands += doc->msg->accounts[i]->n_commands;

	return 0;
}

int document_encode(struct document *doc)
{
	doc->len = sipedge__v1__config_document__get_packed_size(doc->msg);
	free(doc->bytes);
	doc->bytes = malloc(doc->len ? doc->len : 1);
	if (!doc->bytes) {
		fprintf(stderr, "sipedgectl: out of memory\n");
		return EXIT_USAGE;
	}
	sipedge__v1__config_document__pack(doc->msg, doc->bytes);

	return 0;
}

/* Every issue counts; the list holds the first ones. */
static void print_issues(const struct document *doc, const struct issues *issues)
{
	for (size_t i = 0; i < issues_listed(issues); i++) {
		const struct issue *issue = issues_get(issues, i);

		document_print_issue(doc, issue->path, issue->code, issue->message);
	}
}

int document_validate(struct document *doc, const char *node)
{
	/* whether it takes plain secrets and has the files is for the node to say */
	const struct config_policy policy = {.node = node, .allow_plain_secrets = true};
	const bool is_numbered = doc->msg->revision;
	struct config *config = NULL;
	struct issues *issues = NULL;
	int code, err;

	if (!is_numbered)
		doc->msg->revision = 1; /* push gives it one */
	code = document_encode(doc);
	if (!is_numbered)
		doc->msg->revision = 0;
	if (code)
		return code;

	err = issues_alloc(&issues);
	if (!err)
		err = wire_decode_document(&config, NULL, doc->bytes, doc->len, &policy, issues);
	if (err == EBADMSG) {
		print_issues(doc, issues);
		code = EXIT_NOT_OK;
	} else if (err) {
		fprintf(stderr, "sipedgectl: %s: %s\n", doc->filename, strerror(err));
		code = EXIT_USAGE;
	}
	mem_deref(config);
	mem_deref(issues);

	return code;
}

void document_close(struct document *doc)
{
	yamldoc_free(doc->yaml);
	free(doc->bytes);
	*doc = (struct document){0};
}
