/**
 * @file utf8.h  UTF-8 from strangers (RFC 3629)
 *
 * Pure, any thread.
 */
#ifndef SIPEDGE_PROTO_UTF8_H
#define SIPEDGE_PROTO_UTF8_H

#include <stddef.h>
#include <stdint.h>

enum { UTF8_REPLACEMENT = 0xfffd };

/* Bytes of the well-formed character at p, of which `len` bytes can be read: 1 to 4. 0: there is none (overlong forms,
   surrogates and what lies above U+10FFFF included). *cpp, unless NULL, is its code point. */
size_t utf8_next(const uint8_t *p, size_t len, uint32_t *cpp);

/* Takes one character or one bad byte from *pp, which ends before `end`; a bad byte reads as UTF8_REPLACEMENT. */
uint32_t utf8_take(const uint8_t **pp, const uint8_t *end);

/* Writes the code point, without NUL; returns the number of bytes, 1 to 4. */
size_t utf8_put(char buf[4], uint32_t cp);

#endif
