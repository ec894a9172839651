/**
 * @file utf8.h  UTF-8 (RFC 3629): is it, and make it
 *
 * Pure, any thread. Our messages carry strings; what peers send need not be one.
 */
#ifndef SIPEDGE_CORE_UTF8_H
#define SIPEDGE_CORE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Length of the well-formed sequence at the start of s[0..len), 1 to 4; 0: there is none. NUL is a sequence of 1. */
size_t utf8_sequence(const char *s, size_t len);

bool utf8_is_valid(const char *s, size_t len);

/* Copies into dst[0..size) with a NUL: ill-formed bytes and control characters become '?', what does not fit is cut between
   characters. Returns the length written. size is at least 1. */
size_t utf8_clean(char *dst, size_t size, const char *s, size_t len);

#endif
