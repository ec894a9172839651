/**
 * @file safe.c  Text from the network on a terminal
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include "proto/utf8.h"
#include "provisioning/sipedgectl/safe.h"

enum { ELLIPSIS = 0x2026 };

static bool is_unsafe(uint32_t cp)
{
	return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp >= 0x200b && cp <= 0x200f) ||
	       (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2060 && cp <= 0x206f) || cp == 0xfeff || cp == 0x61c;
}

/* Columns of a terminal: East Asian wide ones take two, combining ones none (Unicode 15, by block). */
static unsigned columns_of(uint32_t cp)
{
	if (is_unsafe(cp))
		return 6;
	if (cp >= 0x300 && cp < 0x370)
		return 0;
	if ((cp >= 0x1100 && cp < 0x1160) || (cp >= 0x2e80 && cp < 0xa4d0) || (cp >= 0xac00 && cp < 0xd7a4) ||
	        (cp >= 0xf900 && cp < 0xfb00) || (cp >= 0xfe30 && cp < 0xfe70) || (cp >= 0xff00 && cp < 0xff61) ||
	        (cp >= 0x1f300 && cp < 0x1fb00) || (cp >= 0x20000 && cp < 0x40000))
		return 2;

	return 1;
}

static size_t put(char buf[8], uint32_t cp)
{
	if (is_unsafe(cp))
		return (size_t)snprintf(buf, 8, "\\u%04" PRIx32, cp);

	return utf8_put(buf, cp);
}

void safe_clean(char buf[SAFE_MAX], const char *text)
{
	const uint8_t *p = (const uint8_t *)(text ? text : ""), *end = p + strlen((const char *)p);
	char out[8];
	size_t n = 0;

	while (p < end) {
		const size_t len = put(out, utf8_take(&p, end));

		if (n + len >= SAFE_MAX)
			break;
		memcpy(buf + n, out, len);
		n += len;
	}
	buf[n] = '\0';
}

void safe_print(FILE *f, const char *text)
{
	const uint8_t *p = (const uint8_t *)(text ? text : ""), *end = p + strlen((const char *)p);
	char out[8];

	while (p < end)
		fwrite(out, 1, put(out, utf8_take(&p, end)), f);
}

void safe_print_csv(FILE *f, const char *text)
{
	char clean[SAFE_MAX];

	safe_clean(clean, text);
	if (!strpbrk(clean, "\",")) {
		fputs(clean, f);
		return;
	}
	putc('"', f);
	for (const char *p = clean; *p; p++) {
		if (*p == '"')
			putc('"', f);
		putc(*p, f);
	}
	putc('"', f);
}

unsigned safe_width(const char *text)
{
	const uint8_t *p = (const uint8_t *)(text ? text : ""), *end = p + strlen((const char *)p);
	unsigned width = 0;

	while (p < end)
		width += columns_of(utf8_take(&p, end));

	return width;
}

void safe_print_column(FILE *f, const char *text, unsigned width)
{
	const uint8_t *p = (const uint8_t *)(text ? text : ""), *end = p + strlen((const char *)p);
	const bool cut = safe_width(text) > width;
	unsigned used = 0;
	char out[8];

	while (p < end && width) {
		const uint32_t cp = utf8_take(&p, end);

		if (cut && used + columns_of(cp) > width - 1) {
			fwrite(out, 1, put(out, ELLIPSIS), f);
			used++;
			break;
		}
		fwrite(out, 1, put(out, cp), f);
		used += columns_of(cp);
	}
	while (used++ < width)
		putc(' ', f);
}

void safe_time(char *buf, size_t size, int64_t unix_us)
{
	const time_t s = (time_t)(unix_us / 1000000);
	char day[32];
	struct tm tm;

	buf[0] = '\0';
	if (unix_us <= 0 || !gmtime_r(&s, &tm) || !strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm))
		return;
	snprintf(buf, size, "%s.%03dZ", day, (int)(unix_us / 1000 % 1000));
}
