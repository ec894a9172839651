/**
 * @file decode.c  sipedgectl decode: any of our messages as JSON
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/json.h"
#include "proto/scan.h"
#include "provisioning/sipedgectl/subcommands.h"
#include "provisioning/sipedgectl/safe.h"
#include "sipedge/v1/sipedge.pb-c.h"

enum {
	INPUT_MAX = 64 * 1024 * 1024,
	MEMORY_MAX = 1024 * 1024 * 1024,
};

/* What stands on topics first. */
static const ProtobufCMessageDescriptor *const types[] = {
        &sipedge__v1__check_result__descriptor,
        &sipedge__v1__node_status__descriptor,
        &sipedge__v1__config_document__descriptor,
        &sipedge__v1__config_report__descriptor,
        &sipedge__v1__command_reply__descriptor,
        &sipedge__v1__check_now_request__descriptor,
        &sipedge__v1__validate_request__descriptor,
        &sipedge__v1__patch_request__descriptor,
        &sipedge__v1__rollback_request__descriptor,
        &sipedge__v1__claim_request__descriptor,
        &sipedge__v1__claim_reply__descriptor,
        &sipedge__v1__data_table__descriptor,
        &sipedge__v1__nested_table__descriptor,
        &sipedge__v1__device_account__descriptor,
        &sipedge__v1__command__descriptor,
        &sipedge__v1__signed_bytes__descriptor,
};

enum { TYPES = sizeof(types) / sizeof(types[0]) };

static const ProtobufCMessageDescriptor *find_type(const char *name)
{
	for (size_t i = 0; i < TYPES; i++) {
		if (!strcmp(name, types[i]->name) || !strcmp(name, types[i]->short_name))
			return types[i];
	}

	fprintf(stderr, "sipedgectl: no message type '%.80s'; there are", name);
	for (size_t i = 0; i < TYPES; i++)
		fprintf(stderr, "%s %s", i ? "," : "", types[i]->short_name);
	fputc('\n', stderr);

	return NULL;
}

struct findings {
	bool malformed;
};

static void print_finding(const char *path, const char *code, const char *message, void *arg)
{
	struct findings *findings = arg;

	fputs("sipedgectl: ", stderr);
	safe_print(stderr, path);
	fprintf(stderr, "%s%s [%s]\n", *path ? ": " : "", message, code);
	if (!strcmp(code, "malformed") || !strcmp(code, "too_large"))
		findings->malformed = true;
}

static int print(const ProtobufCMessageDescriptor *type, const uint8_t *buf, size_t len)
{
	struct findings findings = {0};
	ProtobufCMessage *msg = NULL;
	int err;

	if (!scan_message(type, buf, len, MEMORY_MAX, print_finding, &findings) || !findings.malformed)
		msg = protobuf_c_message_unpack(type, NULL, len, buf);
	if (!msg) {
		fprintf(stderr, "sipedgectl: these %zu bytes are no %s%s\n", len, type->short_name,
		        len && buf[len - 1] == '\n' ? " (the newline at the end? mosquitto_sub leaves it out with -N)"
		                                    : "");
		return EXIT_NOT_OK;
	}

	err = json_print_message(stdout, msg, JSON_PRETTY);
	protobuf_c_message_free_unpacked(msg, NULL);

	return err ? EXIT_NOT_OK : EXIT_OK;
}

static int decode(const struct options *options)
{
	const ProtobufCMessageDescriptor *type = find_type(options->args[0]);
	uint8_t *buf;
	size_t len;
	int code;

	if (!type)
		return EXIT_USAGE;
	buf = malloc(INPUT_MAX + 1);
	if (!buf) {
		fprintf(stderr, "sipedgectl: out of memory\n");
		return EXIT_NOT_OK;
	}

	len = fread(buf, 1, INPUT_MAX + 1, stdin);
	if (ferror(stdin) || len > INPUT_MAX) {
		fprintf(stderr, "sipedgectl: standard input: %s\n",
		        ferror(stdin) ? strerror(errno) : "larger than 64 MiB");
		code = EXIT_NOT_OK;
	} else {
		code = print(type, buf, len);
	}
	free(buf);

	return code;
}

const struct subcommand subcommand_decode = {
        .name = "decode",
        .run = decode,
        .args_min = 1,
        .args_max = 1,
        .args = "TYPE",
        .summary = "Print one message from standard input as JSON",
        .details = "TYPE is a message of the schema, with or without \"sipedge.v1.\" before it: CheckResult, "
                   "NodeStatus, …\n"
                   "    mosquitto_sub -t sipedge/v1/NODE/status -C 1 -N | sipedgectl decode NodeStatus\n"
                   "Fields that this version does not know are left out and named on standard error.\n"
                   "Exit status: 0, 1 when the bytes are no such message, 2 bad usage.",
};
