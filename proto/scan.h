/**
 * @file scan.h  Looks over the bytes of a message before protobuf-c decodes them
 *
 * protobuf-c keeps unknown fields silently, takes any bytes for a string, cuts a string at an embedded NUL, cuts numbers
 * down to 32 bits, and has neither a depth nor a memory limit. This walk finds all of that on the raw bytes, driven by
 * the descriptor, without allocating. Pure, any thread.
 */
#ifndef SIPEDGE_PROTO_SCAN_H
#define SIPEDGE_PROTO_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <protobuf-c/protobuf-c.h>

enum {
	SCAN_DEPTH_MAX = 16,    /* messages in messages */
	SCAN_FIELDS_MAX = 64,   /* fields of one message type */
	SCAN_ISSUES_MAX = 1000, /* the walk ends after so many */
};

/* One thing that is wrong. path: accounts[pbx1].commands[2].timeout_s, a list entry by its `id` or `name` where that is
   usable ([A-Za-z0-9_-]{1,64}), else by its index; "" is the whole message. code: malformed, unknown_field,
   invalid (text), out_of_range or too_large (a ConfigIssue.code). Never a value out of the message. All borrowed. */
typedef void(scan_issue_h)(const char *path, const char *code, const char *message, void *arg);

/* 0: protobuf-c can decode it and will lose nothing. EBADMSG: at least one issue was given to `issueh`; those of code
   unknown_field, invalid and out_of_range don't keep protobuf-c from decoding. memory_max bounds what decoding takes
   (an upper estimate in bytes), 0: no bound. EINVAL: a type with too many fields. */
int scan_message(const ProtobufCMessageDescriptor *desc, const uint8_t *buf, size_t len, size_t memory_max,
        scan_issue_h *issueh, void *arg);

#endif
