/**
 * @file framer.c  SIP messages out of a byte stream (RFC 3261 18.3)
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <re.h>
#include "edge/sip/framer.h"
#include "edge/sip/message.h"

enum {
	HELD_MAX = 2 * 65536, /* one message and what one read brings behind it */
	LENGTH_DIGITS_MAX = 9,
};

struct framer {
	uint8_t *buf;
	size_t size, start, end; /* bytes from start to end wait */
	size_t scanned;          /* no end of headers begins before this one, counted from start */
	size_t total;            /* of the message at start; 0: not known yet */
	unsigned crlfs;          /* in a row, between messages */
	unsigned pings;
	bool is_broken;
};

static void framer_destructor(void *data)
{
	struct framer *f = data;

	mem_deref(f->buf);
}

int framer_alloc(struct framer **fp)
{
	struct framer *f = mem_zalloc(sizeof(*f), framer_destructor);

	if (!f)
		return ENOMEM;

	*fp = f;

	return 0;
}

int framer_feed(struct framer *f, const uint8_t *buf, size_t len)
{
	size_t held = f->end - f->start;

	if (len > HELD_MAX - held)
		return EOVERFLOW;

	if (f->start && f->size - f->end < len) {
		memmove(f->buf, f->buf + f->start, held);
		f->start = 0;
		f->end = held;
	}
	if (f->size - f->end < len) {
		size_t size = f->size ? f->size : 2048;
		uint8_t *grown;

		while (size < held + len)
			size *= 2;
		grown = f->buf ? mem_realloc(f->buf, size) : mem_alloc(size, NULL);
		if (!grown)
			return ENOMEM;
		f->buf = grown;
		f->size = size;
	}

	memcpy(f->buf + f->end, buf, len);
	f->end += len;

	return 0;
}

/* Line ends between messages are skipped (RFC 3261 7.5); two in a row are a ping. */
static void skip_crlf(struct framer *f)
{
	while (f->start < f->end && (f->buf[f->start] == '\r' || f->buf[f->start] == '\n')) {
		if (f->buf[f->start] == '\n' && ++f->crlfs == 2) {
			f->pings++;
			f->crlfs = 0;
		}
		f->start++;
	}
	if (f->start < f->end)
		f->crlfs = 0;
}

/* A start line is text: refused at its first control character, so that noise is not waited for. */
static bool starts_like_text(const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len && buf[i] != '\r' && buf[i] != '\n'; i++) {
		if ((buf[i] < ' ' && buf[i] != '\t') || buf[i] == 0x7f)
			return false;
	}

	return true;
}

/* One decimal number with blanks around it; -1: anything else. Folded lines were seen as blanks by the caller. */
static long parse_length(const uint8_t *p, const uint8_t *end)
{
	long value = 0;
	int digits = 0;

	while (p < end && strchr(" \t\r\n", *p) && *p)
		p++;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		if (++digits > LENGTH_DIGITS_MAX)
			return -1;
		value = value * 10 + (*p - '0');
	}
	while (p < end && strchr(" \t\r\n", *p) && *p)
		p++;

	return digits && p == end ? value : -1;
}

static bool is_content_length(const uint8_t *name, size_t len)
{
	while (len && (name[len - 1] == ' ' || name[len - 1] == '\t'))
		len--;

	return (len == 1 && (name[0] | 0x20) == 'l') ||
	       (len == 14 && !strncasecmp((const char *)name, "Content-Length", 14));
}

/* The end of the header line at p, folded lines included (RFC 3261 7.3.1); its CRLF is not part of it. */
static const uint8_t *line_end(const uint8_t *p, const uint8_t *end)
{
	while (p < end) {
		const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));

		if (!nl)
			return end;
		if (nl + 1 >= end || (nl[1] != ' ' && nl[1] != '\t'))
			return nl;
		p = nl + 1;
	}

	return end;
}

/* The body's length by the header section that ends at `end`; -1: none, unreadable, or two that differ. */
static long content_length(const uint8_t *p, const uint8_t *end)
{
	long length = -1;

	p = line_end(p, end); /* the start line */
	while (p < end) {
		const uint8_t *line = p + 1, *colon;

		p = line_end(line, end);
		colon = memchr(line, ':', (size_t)(p - line));
		if (colon && is_content_length(line, (size_t)(colon - line))) {
			long value = parse_length(colon + 1, p);

			if (value < 0 || (length >= 0 && length != value))
				return -1;
			length = value;
		}
	}

	return length;
}

static int find_total(struct framer *f)
{
	const uint8_t *start = f->buf + f->start, *blank;
	size_t held = f->end - f->start, from = f->scanned > 3 ? f->scanned - 3 : 0;
	long body;

	if (!starts_like_text(start, held < 256 ? held : 256))
		return EBADMSG;
	blank = memmem(start + from, held - from, "\r\n\r\n", 4);
	if (!blank) {
		f->scanned = held;
		return held >= SIP_MESSAGE_SIZE_MAX ? EBADMSG : EAGAIN;
	}

	body = content_length(start, blank + 2);
	f->total = (size_t)(blank + 4 - start);
	if (body < 0 || (size_t)body > SIP_MESSAGE_SIZE_MAX || f->total + (size_t)body > SIP_MESSAGE_SIZE_MAX)
		return EBADMSG;
	f->total += (size_t)body;

	return 0;
}

int framer_next(struct framer *f, const uint8_t **bufp, size_t *lenp)
{
	int err;

	if (!f->is_broken && !f->total) {
		skip_crlf(f);
		if (f->start == f->end)
			return EAGAIN;
		err = find_total(f);
		if (err == EAGAIN)
			return err;
		f->is_broken = err != 0;
	}

	*bufp = f->buf + f->start;
	*lenp = f->end - f->start;
	if (f->is_broken) {
		if (*lenp > SIP_MESSAGE_SIZE_MAX)
			*lenp = SIP_MESSAGE_SIZE_MAX;
		return EBADMSG;
	}
	if (*lenp < f->total)
		return EAGAIN;

	*lenp = f->total;
	f->start += f->total;
	f->total = 0;
	f->scanned = 0;

	return 0;
}

unsigned framer_take_pings(struct framer *f)
{
	unsigned pings = f->pings;

	f->pings = 0;

	return pings;
}

bool framer_partial(const struct framer *f, const uint8_t **bufp, size_t *lenp)
{
	size_t start = f->start;

	*bufp = NULL;
	*lenp = 0;
	if (!f->buf)
		return false;
	while (!f->total && start < f->end && (f->buf[start] == '\r' || f->buf[start] == '\n'))
		start++;
	*bufp = f->buf + start;
	*lenp = f->end - start;
	if (*lenp > SIP_MESSAGE_SIZE_MAX)
		*lenp = SIP_MESSAGE_SIZE_MAX;

	return *lenp > 0;
}
