/**
 * @file document.h  Configuration documents and reports as bytes, for tests
 */
#ifndef TESTS_SUPPORT_DOCUMENT_H
#define TESTS_SUPPORT_DOCUMENT_H

#include <stddef.h>
#include <stdint.h>

/* One account `pbx` of that description with one OPTIONS command. Returns its length. */
size_t document_encode(uint8_t buf[1024], uint64_t revision, const char *description);

struct report_seen {
	int status;
	uint64_t offered, effective;
	unsigned accounts, commands;
	size_t issues;
	char code[32], path[64]; /* of the first issue */
	int64_t changed_at_unix_us;
	size_t sha256_len;
};
void report_decode(struct report_seen *seen, const uint8_t *buf, size_t len); /* asserts that it is one */

#endif
