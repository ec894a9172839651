/**
 * @file wire.h  Between the contract's messages and the model: wire*.c are the only files of core with protobuf-c
 *
 * Pure. Any thread, one object at a time. Input is hostile: everything is bounded, and every fault becomes an issue.
 */
#ifndef SIPEDGE_CORE_WIRE_H
#define SIPEDGE_CORE_WIRE_H

#include "edge/core/config.h"
#include "edge/core/issue.h"
#include "edge/core/result.h"

/* Decodes and validates a ConfigDocument. 0: *configp is new and `issues` is empty. EBADMSG: every reason is in
   `issues`, *configp unchanged. ENOMEM. *revisionp is set to the offered revision whenever it could be read, else 0. */
int wire_decode_document(struct config **configp, uint64_t *revisionp, const uint8_t *buf, size_t len,
        const struct config_policy *policy, struct issues *issues);

/* What a result carries beside what the check found. Borrowed. */
struct wire_origin {
	const char *node;
	uint64_t boot_id;
};

/* A whole CheckResult without seq: appended to mb at its position. The last field in the bytes wins (protobuf), so seq and
   historical are appended later without encoding again. */
int wire_encode_result(struct mbuf *mb, const struct wire_origin *origin, const struct result *result);
size_t wire_seq(uint8_t buf[16], uint64_t seq); /* bytes to append to an encoded result */
size_t wire_historical(uint8_t buf[16]);        /* likewise: historical = true */

enum config_status { /* the numbers of ConfigStatus */
	CONFIG_APPLYING = 1,
	CONFIG_APPLIED = 2,
	CONFIG_REJECTED = 3,
	CONFIG_ROLLED_BACK = 4,
};

struct wire_report {
	enum config_status status;
	uint64_t offered_revision;
	uint64_t effective_revision;
	const uint8_t *effective_sha256; /* DIGEST_SIZE bytes; NULL: none */
	int64_t changed_at_unix_us;
	const struct issues *issues; /* may be NULL */
	uint32_t accounts, commands;
};

int wire_encode_report(struct mbuf *mb, const struct wire_report *report);

enum node_state { /* the numbers of NodeState */
	NODE_ONLINE = 1,
	NODE_OFFLINE = 2,
	NODE_LOST = 3,
};

struct wire_status {
	enum node_state state;
	const char *node;
	uint64_t session;
	int64_t since_unix_us;
	const char *version, *build, *os, *arch;
	const char *const *capabilities; /* NULL-terminated */
	uint64_t config_revision;
	uint32_t spooled_results;
	uint64_t dropped_results;
	uint64_t unreadable_messages;
	uint64_t uptime_s;
	bool clock_synchronized;
};

int wire_encode_status(struct mbuf *mb, const struct wire_status *status);

#endif
