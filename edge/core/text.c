/**
 * @file text.c  Strings of peers made fit for our messages
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "edge/core/text.h"
#include "proto/utf8.h"

size_t text_clean(char *dst, size_t size, const char *s, size_t len)
{
	size_t out = 0;

	while (len > 0) {
		size_t n = utf8_next((const uint8_t *)s, len, NULL);
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
