/**
 * @file safe.h  Text from the network on a terminal
 *
 * Everything that did not come from this program goes through here: control characters, which a terminal obeys, and characters
 * that change the order of what stands around them are shown as \u001b.
 */
#ifndef SIPEDGE_SIPEDGECTL_SAFE_H
#define SIPEDGE_SIPEDGECTL_SAFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { SAFE_MAX = 512 };

/* Safe to print, cut at SAFE_MAX - 1 bytes between characters. NULL reads as "". */
void safe_clean(char buf[SAFE_MAX], const char *text);

void safe_print(FILE *f, const char *text);     /* the same, not cut */
void safe_print_csv(FILE *f, const char *text); /* a field of RFC 4180 */

/* A column of a table: exactly `width` columns of a terminal, cut with an ellipsis or filled with spaces. */
void safe_print_column(FILE *f, const char *text, unsigned width);
unsigned safe_width(const char *text); /* columns of what safe_print() prints */

void safe_time(char *buf, size_t size, int64_t unix_us); /* 2026-01-31T12:00:00.123Z, "" for 0 */

#endif
