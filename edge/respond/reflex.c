/**
 * @file reflex.c  OPTIONS answered by copying its headers
 *
 * A peer that is to be faster than what it measures has no time to parse. Whatever is unusual (folded lines, several values
 * in a line, no rport, a header that is missing or there twice) goes the long way.
 */
#include <string.h>
#include <strings.h>
#include "edge/respond/responder.h"

enum {
	SEEN_FROM = 1 << 0,
	SEEN_TO = 1 << 1,
	SEEN_CALL_ID = 1 << 2,
	SEEN_CSEQ = 1 << 3,
	SEEN_ALL = 15,
	SEEN_VIA = 1 << 4,
	LINE_MAX_LEN = 1024,
};

static const char tail[] = RESPOND_ALLOW "Accept: application/sdp\r\n"
                                         "Supported: \r\n" RESPOND_SERVER "Content-Length: 0\r\n\r\n";

static const struct name {
	const char *name;
	char compact;
	unsigned bit;
} names[] = {
        {"Via", 'v', SEEN_VIA},
        {"From", 'f', SEEN_FROM},
        {"To", 't', SEEN_TO},
        {"Call-ID", 'i', SEEN_CALL_ID},
        {"CSeq", 0, SEEN_CSEQ},
};

/* Which of the copied headers a line is; 0: none. value: behind the colon. */
static unsigned classify(const struct pl *line, struct pl *value)
{
	const char *colon = memchr(line->p, ':', line->l < 16 ? line->l : 16);
	size_t len;

	if (!colon)
		return 0;
	len = (size_t)(colon - line->p);
	value->p = colon + 1;
	value->l = line->l - len - 1;
	while (len && (line->p[len - 1] == ' ' || line->p[len - 1] == '\t'))
		len--;

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if ((len == 1 && names[i].compact && (line->p[0] | 0x20) == names[i].compact) ||
		        (len == strlen(names[i].name) && !strncasecmp(line->p, names[i].name, len)))
			return names[i].bit;
	}

	return 0;
}

static void write_pl(struct mbuf *mb, const char *p, size_t len)
{
	(void)mbuf_write_mem(mb, (const uint8_t *)p, len);
}

static void write_str(struct mbuf *mb, const char *text)
{
	write_pl(mb, text, strlen(text));
}

/* RFC 3581 4: the valueless rport is filled in, received stands beside it. */
static bool write_top_via(struct mbuf *mb, const struct pl *line, const struct sa *src)
{
	const char *rport = memmem(line->p, line->l, ";rport", 6), *end = line->p + line->l, *rest;
	char text[96];
	int n;

	if (!rport || memchr(line->p, ',', line->l) || memmem(line->p, line->l, ";received", 9))
		return false;
	rest = rport + 6;
	if (rest < end && *rest != ';')
		return false;

	n = re_snprintf(text, sizeof(text), ";received=%j;rport=%u", src, sa_port(src));
	if (n < 0)
		return false;
	write_pl(mb, line->p, (size_t)(rport - line->p));
	write_pl(mb, text, (size_t)n);
	write_pl(mb, rest, (size_t)(end - rest));

	return true;
}

static bool has_tag(const struct pl *line)
{
	const char *closed = memrchr(line->p, '>', line->l), *start = closed ? closed : line->p;

	return memmem(start, (size_t)(line->p + line->l - start), ";tag=", 5) != NULL;
}

static bool is_options_cseq(const struct pl *value)
{
	return value->l > 8 && !memcmp(value->p + value->l - 8, " OPTIONS", 8);
}

static bool copy_line(struct mbuf *mb, const struct pl *line, const struct sa *src, const char *tag, unsigned *seen)
{
	struct pl value;
	unsigned bit = classify(line, &value);

	if (!bit)
		return true;
	if (line->l > LINE_MAX_LEN || (bit != SEEN_VIA && (*seen & bit)))
		return false;
	if (bit == SEEN_CSEQ && !is_options_cseq(&value))
		return false;

	if (bit == SEEN_VIA && !(*seen & SEEN_VIA)) {
		if (!write_top_via(mb, line, src))
			return false;
	} else {
		write_pl(mb, line->p, line->l);
		if (bit == SEEN_TO && !has_tag(line)) {
			write_str(mb, ";tag=");
			write_str(mb, tag);
		}
	}
	write_str(mb, "\r\n");
	*seen |= bit;

	return true;
}

bool reflex_options(
        struct mbuf *mb, const uint8_t *buf, size_t len, const struct sa *src, const char *code_line, const char *tag)
{
	const char *p = (const char *)buf, *end = p + len, *nl;
	unsigned seen = 0;

	if (len < 8 || memcmp(p, "OPTIONS ", 8) != 0 || memchr(p, '\0', len))
		return false;

	mbuf_rewind(mb);
	write_str(mb, code_line);
	nl = memchr(p, '\n', len);
	for (p = nl ? nl + 1 : end; p < end; p = nl + 1) {
		struct pl line = {.p = p};

		nl = memchr(p, '\n', (size_t)(end - p));
		if (!nl || nl == p || nl[-1] != '\r' || *p == ' ' || *p == '\t')
			return false;
		line.l = (size_t)(nl - 1 - p);
		if (!line.l) {
			write_str(mb, tail);
			return seen == (SEEN_ALL | SEEN_VIA);
		}
		if (!copy_line(mb, &line, src, tag, &seen))
			return false;
	}

	return false;
}
