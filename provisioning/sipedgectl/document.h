/**
 * @file document.h  An operator's YAML file as a ConfigDocument
 */
#ifndef SIPEDGE_SIPEDGECTL_DOCUMENT_H
#define SIPEDGE_SIPEDGECTL_DOCUMENT_H

#include <stddef.h>
#include <stdint.h>
#include "proto/yaml.h"
#include "sipedge/v1/sipedge.pb-c.h"

/* Revisions are at most 2^53 (protocol.md, Provisioning 1). */
#define DOCUMENT_REVISION_MAX (UINT64_C(1) << 53)

struct document {
	const char *filename; /* borrowed */
	struct yamldoc *yaml;
	Sipedge__V1__ConfigDocument *msg; /* inside yaml */
	size_t commands;
	uint8_t *bytes; /* encoded by document_encode() */
	size_t len;
};

/* Each returns 0 or an exit_code and has then said why: errors of the file on stdout, one a line, as
   FILE:LINE:COLUMN: path: message. */
int document_load(struct document *doc, const char *filename);
int document_validate(struct document *doc, const char *node); /* as the node will; node NULL: any */
int document_encode(struct document *doc);
void document_close(struct document *doc); /* zeroed or half-built is fine */

/* One line with the place of `path` in the file; code: may be NULL. */
void document_print_issue(const struct document *doc, const char *path, const char *code, const char *message);

#endif
