/**
 * @file text.h  Strings of peers made fit for our messages
 *
 * Pure, any thread.
 */
#ifndef SIPEDGE_CORE_TEXT_H
#define SIPEDGE_CORE_TEXT_H

#include <stddef.h>

/* Copies into dst[0..size) with a NUL: what is not UTF-8 (RFC 3629) and control characters become '?', what does not fit is
   cut between characters. Returns the length written. size is at least 1. */
size_t text_clean(char *dst, size_t size, const char *s, size_t len);

#endif
