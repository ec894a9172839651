/**
 * @file inbound.c  Messages from the broker, decoded
 */
#include <stdio.h>
#include <string.h>
#include "proto/scan.h"
#include "provisioning/sipedgectl/inbound.h"
#include "provisioning/sipedgectl/safe.h"

enum { MEMORY_MAX = 512 * 1024 * 1024 };

static void note_malformed(const char *path, const char *code, const char *message, void *arg)
{
	bool *malformed = arg;

	(void)path;
	(void)message;
	if (!strcmp(code, "malformed") || !strcmp(code, "too_large"))
		*malformed = true;
}

void *inbound_decode(const struct broker_message *m, const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *msg = NULL;
	bool malformed = false;

	if (!m->len)
		return NULL;

	scan_message(type, m->payload, m->len, MEMORY_MAX, note_malformed, &malformed);
	if (!malformed)
		msg = protobuf_c_message_unpack(type, NULL, m->len, m->payload);
	if (!msg) {
		fputs("sipedgectl: ", stderr);
		safe_print(stderr, m->topic);
		fprintf(stderr, ": %zu bytes that are no %s\n", m->len, type->short_name);
	}

	return msg;
}

void inbound_free(void *msg)
{
	if (msg)
		protobuf_c_message_free_unpacked(msg, NULL);
}
