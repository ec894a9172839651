/**
 * @file utf8.c  UTF-8 from strangers (RFC 3629)
 */
#include "proto/utf8.h"

size_t utf8_next(const uint8_t *p, size_t len, uint32_t *cpp)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t cp;
	size_t n;

	if (!len)
		return 0;

	if (p[0] < 0x80) {
		cp = p[0];
		n = 1;
	} else if (p[0] >= 0xc2 && p[0] < 0xe0) {
		cp = p[0] & 0x1f;
		n = 2;
	} else if (p[0] >= 0xe0 && p[0] < 0xf0) {
		cp = p[0] & 0x0f;
		n = 3;
	} else if (p[0] >= 0xf0 && p[0] < 0xf5) {
		cp = p[0] & 0x07;
		n = 4;
	} else {
		return 0;
	}

	if (n > len)
		return 0;

	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		cp = cp << 6 | (p[i] & 0x3f);
	}
	if (n > 1 && (cp < least[n] || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)))
		return 0;

	if (cpp)
		*cpp = cp;

	return n;
}

uint32_t utf8_take(const uint8_t **pp, const uint8_t *end)
{
	uint32_t cp = UTF8_REPLACEMENT;
	const size_t n = utf8_next(*pp, (size_t)(end - *pp), &cp);

	*pp += n ? n : 1;

	return cp;
}

size_t utf8_put(char buf[4], uint32_t cp)
{
	if (cp < 0x80) {
		buf[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		buf[0] = (char)(0xc0 | cp >> 6);
		buf[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		buf[0] = (char)(0xe0 | cp >> 12);
		buf[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		buf[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	buf[0] = (char)(0xf0 | cp >> 18);
	buf[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	buf[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	buf[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}
