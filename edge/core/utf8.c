/**
 * @file utf8.c  UTF-8 (RFC 3629): is it, and make it
 */
#include <stdint.h>
#include <string.h>
#include "edge/core/utf8.h"

static bool is_tail(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

/* RFC 3629 4: the second byte is bounded so that overlong forms, surrogates and what is above U+10FFFF are out */
static bool is_second(uint8_t first, uint8_t second)
{
	switch (first) {
	case 0xe0:
		return second >= 0xa0 && second <= 0xbf;
	case 0xed:
		return second >= 0x80 && second <= 0x9f;
	case 0xf0:
		return second >= 0x90 && second <= 0xbf;
	case 0xf4:
		return second >= 0x80 && second <= 0x8f;
	default:
		return is_tail(second);
	}
}

size_t utf8_sequence(const char *s, size_t len)
{
	const uint8_t *p = (const uint8_t *)s;
	size_t n;

	if (len == 0)
		return 0;
	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (len < n || !is_second(p[0], p[1]))
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (!is_tail(p[i]))
			return 0;
	}
	return n;
}

bool utf8_is_valid(const char *s, size_t len)
{
	while (len > 0) {
		size_t n = utf8_sequence(s, len);

		if (n == 0)
			return false;
		s += n;
		len -= n;
	}
	return true;
}

size_t utf8_clean(char *dst, size_t size, const char *s, size_t len)
{
	size_t out = 0;

	while (len > 0) {
		size_t n = utf8_sequence(s, len);
		bool is_text = n > 1 || (n == 1 && (uint8_t)s[0] >= 0x20 && s[0] != 0x7f);
		size_t width = is_text ? n : 1;

		if (out + width >= size)
			break;
		if (is_text)
			memcpy(dst + out, s, n);
		else
			dst[out] = '?';
		out += width;
		s += n > 0 ? n : 1;
		len -= n > 0 ? n : 1;
	}
	dst[out] = '\0';
	return out;
}
