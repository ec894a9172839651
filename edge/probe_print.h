/**
 * @file probe_print.h  Prints one encoded CheckResult for a person, a script or a monitoring system
 */
#ifndef SIPEDGE_PROBE_PRINT_H
#define SIPEDGE_PROBE_PRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "edge/core/config.h"

enum probe_format {
	PROBE_TABLE,    /* a column of the result a line */
	PROBE_JSON,     /* the protobuf JSON form */
	PROBE_NAGIOS,   /* one line with performance data */
	PROBE_PROTOBUF, /* the bytes as they would be published */
};

bool probe_format_parse(enum probe_format *formatp, const char *name);

/* EBADMSG: these are no CheckResult. command: for the limits in performance data. Foreign text is escaped. */
int probe_print(
        FILE *f, enum probe_format format, const uint8_t *buf, size_t len, const struct command *command, bool colours);

#endif
