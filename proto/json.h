/**
 * @file json.h  Any message of ours in the protobuf JSON form
 *
 * With the schema's own field names; absent fields, and proto3 scalars without presence that have their default value,
 * are left out; 64-bit integers are strings, bytes are base64, enums are names (a number where there is no name). Bad
 * UTF-8 becomes U+FFFD. Control and bidirectional-override characters are escaped, so that the text is safe on a
 * terminal. Unknown fields don't appear. Any thread.
 */
#ifndef SIPEDGE_PROTO_JSON_H
#define SIPEDGE_PROTO_JSON_H

#include <stdio.h>
#include <protobuf-c/protobuf-c.h>

enum json_style {
	JSON_COMPACT, /* one line, no newline at the end */
	JSON_PRETTY,  /* two spaces a level, a newline at the end */
};

/* 0, or EIO when the stream has an error. */
int json_print_message(FILE *f, const ProtobufCMessage *msg, enum json_style style);

/* The same into a new string: free() it. ENOMEM. */
int json_format_message(char **textp, const ProtobufCMessage *msg, enum json_style style);

/* A quoted and escaped string. */
void json_print_string(FILE *f, const char *s);

#endif
