/**
 * @file answer.c  An answer to an SDP offer (RFC 3264 6)
 */
#include <errno.h>
#include <string.h>
#include "edge/respond/responder.h"

enum {
	STREAMS_MAX = 8,
	LINE_MAX_LEN = 512,
};

/* One m= section of the offer. */
struct stream_offer {
	struct pl line;  /* behind "m=" */
	struct pl lines; /* those below it */
};

struct offer {
	struct pl session; /* lines above the first m= */
	size_t n;
	struct stream_offer stream[STREAMS_MAX];
};

/* The next line of *p, without its end; false: no more. */
static bool take_line(struct pl *p, struct pl *line)
{
	const char *nl;

	if (!p->l)
		return false;
	nl = pl_strchr(p, '\n');
	line->p = p->p;
	line->l = nl ? (size_t)(nl - p->p) : p->l;
	pl_advance(p, (ssize_t)(line->l + (nl ? 1 : 0)));
	if (line->l && line->p[line->l - 1] == '\r')
		line->l--;

	return true;
}

static bool starts_with(const struct pl *line, const char *prefix)
{
	size_t len = strlen(prefix);

	return line->l >= len && !memcmp(line->p, prefix, len);
}

static int read_offer(struct offer *o, const struct pl *sdp)
{
	struct pl p = *sdp, line, *section = &o->session;

	memset(o, 0, sizeof(*o));
	o->session.p = sdp->p;
	if (!starts_with(sdp, "v=0"))
		return EBADMSG;
	while (take_line(&p, &line)) {
		if (line.l > LINE_MAX_LEN)
			return EBADMSG;
		if (starts_with(&line, "m=")) {
			if (o->n == STREAMS_MAX)
				return EBADMSG;
			o->stream[o->n].line = (struct pl){line.p + 2, line.l - 2};
			section = &o->stream[o->n++].lines;
			section->p = p.p;
		} else {
			section->l = (size_t)(line.p + line.l - section->p);
		}
	}

	return o->n ? 0 : EBADMSG;
}

/* The direction that answers the offered one; the stream's own goes before the session's. */
static const char *answer_direction(const struct offer *o, const struct stream_offer *stream)
{
	static const char *const pairs[][2] = {{"a=sendonly", "recvonly"}, {"a=recvonly", "sendonly"},
	        {"a=inactive", "inactive"}, {"a=sendrecv", "sendrecv"}};
	struct pl sections[] = {stream->lines, o->session}, line;

	for (size_t i = 0; i < 2; i++) {
		while (take_line(&sections[i], &line)) {
			for (size_t j = 0; j < sizeof(pairs) / sizeof(*pairs); j++) {
				if (!pl_strcmp(&line, pairs[j][0]))
					return pairs[j][1];
			}
		}
	}

	return "sendrecv";
}

static int print_attributes(struct mbuf *mb, const struct stream_offer *stream, const struct pl *format)
{
	struct pl lines = stream->lines, line;
	char rtpmap[32], fmtp[32];
	int err = 0;

	(void)re_snprintf(rtpmap, sizeof(rtpmap), "a=rtpmap:%r ", format);
	(void)re_snprintf(fmtp, sizeof(fmtp), "a=fmtp:%r ", format);
	while (take_line(&lines, &line)) {
		if (starts_with(&line, rtpmap) || starts_with(&line, fmtp) || starts_with(&line, "a=ptime:"))
			err |= mbuf_printf(mb, "%r\r\n", &line);
	}

	return err;
}

/* "audio 49170 RTP/AVP 0 8": its words */
static bool read_media(const struct pl *line, struct pl *media, struct pl *port, struct pl *proto, struct pl *formats)
{
	return !re_regex(line->p, line->l, "[a-z]+ [0-9]+[^ ]* [^ ]+ [^]+", media, port, NULL, proto, formats);
}

static struct pl first_word(const struct pl *words)
{
	const char *space = pl_strchr(words, ' ');

	return (struct pl){words->p, space ? (size_t)(space - words->p) : words->l};
}

static bool is_usable(const struct stream_offer *stream, struct pl *format)
{
	struct pl media, port, proto, formats;

	if (!read_media(&stream->line, &media, &port, &proto, &formats))
		return false;
	*format = first_word(&formats);

	return !pl_strcmp(&media, "audio") && pl_u32(&port) && !pl_strcmp(&proto, "RTP/AVP") && format->l &&
	       format->l <= 3;
}

static int print_refusal(struct mbuf *mb, const struct stream_offer *stream)
{
	struct pl media, port, proto, formats;

	if (!read_media(&stream->line, &media, &port, &proto, &formats))
		return EBADMSG;

	return mbuf_printf(mb, "m=%r 0 %r %r\r\n", &media, &proto, &formats);
}

static int print_session(struct mbuf *mb, const struct sa *media, uint32_t session)
{
	const char *net = sa_af(media) == AF_INET6 ? "IP6" : "IP4";

	return mbuf_printf(mb,
	        "v=0\r\n"
	        "o=- %u 1 IN %s %j\r\n"
	        "s=-\r\n"
	        "c=IN %s %j\r\n"
	        "t=0 0\r\n",
	        session, net, media, net, media);
}

static int print_streams(struct mbuf *mb, const struct offer *o, const struct sa *media)
{
	bool has_audio = false;
	int err = 0;

	for (size_t i = 0; i < o->n && !err; i++) {
		const struct stream_offer *stream = &o->stream[i];
		struct pl format;

		if (has_audio || !is_usable(stream, &format)) {
			err = print_refusal(mb, stream);
			continue;
		}
		has_audio = true;
		err = mbuf_printf(mb, "m=audio %u RTP/AVP %r\r\n", sa_port(media), &format);
		err |= print_attributes(mb, stream, &format);
		err |= mbuf_printf(mb, "a=%s\r\n", answer_direction(o, stream));
	}
	if (err)
		return err;

	return has_audio ? 0 : EPROTO;
}

int sdp_answer(struct mbuf *mb, const struct pl *sdp, const struct sa *media, uint32_t session)
{
	struct offer offer;
	int err;

	if (!sdp->l) {
		err = print_session(mb, media, session);
		return err ? err : mbuf_printf(mb, "m=audio %u RTP/AVP 0 8\r\na=sendrecv\r\n", sa_port(media));
	}

	err = read_offer(&offer, sdp);
	if (!err)
		err = print_session(mb, media, session);
	if (!err)
		err = print_streams(mb, &offer, media);

	return err;
}
