/**
 * @file yaml.h  A YAML file as a message of ours
 *
 * The keys are the schema's field names, taken from the descriptors. Everything that is wrong is reported, not only the
 * first thing, each with line, column and path. Strings may be written with or without quotes; numbers, true and false
 * without; bytes are base64; enums are names. Aliases work, within bounds. The tree stays with the object, so that
 * what is found wrong later can be shown with its line too. Not thread-safe: one object, one thread.
 */
#ifndef SIPEDGE_PROTO_YAML_H
#define SIPEDGE_PROTO_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>

enum {
	YAMLDOC_SIZE_MAX = 16 * 1024 * 1024,    /* of a file */
	YAMLDOC_MEMORY_MAX = 256 * 1024 * 1024, /* of the message: aliases can make much out of little */
};

struct yamldoc;

/* line and column count from 1; 0: the file as a whole. path: accounts[pbx1].commands[alive].timeout_s, a list entry
   by its `id` or `name` where that is usable, else by its index from 0; "" is the whole document. Borrowed. */
typedef void(yamldoc_issue_h)(size_t line, size_t column, const char *path, const char *message, void *arg);

/* Reads `filename`, "-" is standard input. 0: *docp and its message are new, and nothing was reported. EBADMSG: at least
   one issue was given to issueh, no message; *docp is NULL. ENOMEM; any errno of open and read. */
int yamldoc_load_file(struct yamldoc **docp, const char *filename, const ProtobufCMessageDescriptor *desc,
        yamldoc_issue_h *issueh, void *arg);

/* The same from memory, borrowed for this call. */
int yamldoc_load(struct yamldoc **docp, const uint8_t *text, size_t len, const ProtobufCMessageDescriptor *desc,
        yamldoc_issue_h *issueh, void *arg);

void yamldoc_free(struct yamldoc *doc); /* the message too; NULL is fine */

/* Belongs to the object. Scalars in it may be changed; what points to memory may not. */
ProtobufCMessage *yamldoc_message(const struct yamldoc *doc);

/* Where the thing at `path` stands, or the nearest thing around it that does. False: nothing of the path is there. */
bool yamldoc_locate(const struct yamldoc *doc, const char *path, size_t *linep, size_t *columnp);

#endif
