/**
 * @file fuzz_yaml.c  YAML files: to a message, encoded, scanned, and as JSON
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "proto/json.h"
#include "proto/scan.h"
#include "proto/yaml.h"
#include "sipedge/v1/sipedge.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore_issue(size_t line, size_t column, const char *path, const char *message, void *arg)
{
	(void)line;
	(void)column;
	(void)path;
	(void)message;
	(void)arg;
}

/* What a file becomes has nothing that the scan is against. */
static void fail(const char *path, const char *code, const char *message, void *arg)
{
	(void)path;
	(void)code;
	(void)message;
	(void)arg;
	abort();
}

/* Every path, also one that makes no sense, is found or not found. */
static void locate(const struct yamldoc *doc, const uint8_t *data, size_t size)
{
	char path[128];
	size_t n = size < sizeof(path) ? size : sizeof(path) - 1, line, column;

	memcpy(path, data, n);
	path[n] = '\0';
	yamldoc_locate(doc, path, &line, &column);
	yamldoc_locate(doc, "accounts[0].commands[0].name", &line, &column);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *desc = &sipedge__v1__config_document__descriptor;
	struct yamldoc *doc;
	ProtobufCMessage *msg;
	uint8_t *bytes;
	char *text;
	size_t len;

	if (yamldoc_load(&doc, data, size, desc, ignore_issue, NULL))
		return 0;

	msg = yamldoc_message(doc);
	len = protobuf_c_message_get_packed_size(msg);
	bytes = malloc(len ? len : 1);
	if (!bytes)
		abort();
	protobuf_c_message_pack(msg, bytes);
	scan_message(desc, bytes, len, 0, fail, NULL);
	locate(doc, data, size);
	if (json_format_message(&text, msg, JSON_PRETTY))
		abort();

	free(text);
	free(bytes);
	yamldoc_free(doc);

	return 0;
}
