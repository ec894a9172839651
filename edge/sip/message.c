/**
 * @file message.c  SIP requests that we send, and a first look at what arrives
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>
#include "edge/sip/message.h"

static const char sip_version[] = "SIP/2.0";

static void request_destructor(void *arg)
{
	struct sip_request *req = arg;

	mem_deref(req->method);
	mem_deref(req->uri);
	mem_deref(req->from);
	mem_deref(req->to);
	mem_deref(req->call_id);
	mem_deref(req->route);
	mem_deref(req->headers);
	mem_deref(req->content_type);
	mem_deref(req->body);
}

int sip_request_alloc(struct sip_request **reqp)
{
	struct sip_request *req = mem_zalloc(sizeof(*req), request_destructor);

	if (!req)
		return ENOMEM;

	*reqp = req;

	return 0;
}

int sip_request_again(struct sip_request **reqp, const struct sip_request *req, const char *headers)
{
	struct sip_request *again;
	int err = sip_request_alloc(&again);

	if (err)
		return err;

	/* nobody writes to a request's strings once it was sent, so both may hold them */
	*again = *req;
	again->headers = NULL;
	mem_ref(again->method);
	mem_ref(again->uri);
	mem_ref(again->from);
	mem_ref(again->to);
	mem_ref(again->call_id);
	mem_ref(again->route);
	mem_ref(again->content_type);
	mem_ref(again->body);
	again->cseq++;

	if (headers)
		err = str_dup(&again->headers, headers);
	if (err)
		mem_deref(again);
	else
		*reqp = again;

	return err;
}

/* mbuf_printf() would take longer than all the rest of a request. The last member of `parts` is NULL. */
static int write_strings(struct mbuf *mb, const char *const *parts)
{
	int err = 0;

	for (; *parts && !err; parts++)
		err = mbuf_write_str(mb, *parts);

	return err;
}

#define WRITE(mb, ...) write_strings(mb, (const char *const[]){__VA_ARGS__, NULL})

static const char *decimal(char buf[24], size_t value)
{
	char *p = buf + 23;

	*p = '\0';
	do {
		*--p = (char)('0' + value % 10);
		value /= 10;
	} while (value);

	return p;
}

/* Start line and Via, Max-Forwards, From: the same for requests, ACK and CANCEL. */
static int encode_head(struct mbuf *mb, const struct sip_request *req, const char *method, const char *via)
{
	char digits[24];

	return WRITE(mb, method, " ", req->uri, " ", sip_version, "\r\nVia: ", via,
	        "\r\nMax-Forwards: ", decimal(digits, SIP_MAX_FORWARDS), "\r\nFrom: ", req->from, "\r\nTo: ");
}

static int encode_ids(struct mbuf *mb, const struct sip_request *req, const char *method)
{
	char digits[24];

	return WRITE(mb, "\r\nCall-ID: ", req->call_id, "\r\nCSeq: ", decimal(digits, req->cseq), " ", method, "\r\n",
	        req->route ? req->route : "");
}

int sip_request_encode(struct mbuf *mb, const struct sip_request *req, const char *via)
{
	size_t len = req->body ? strlen(req->body) : 0;
	char digits[24];
	int err;

	err = encode_head(mb, req, req->method, via);
	err = err ? err : mbuf_write_str(mb, req->to);
	err = err ? err : encode_ids(mb, req, req->method);
	if (!err && req->headers)
		err = mbuf_write_str(mb, req->headers);
	if (!err && req->content_type && len)
		err = WRITE(mb, "Content-Type: ", req->content_type, "\r\n");

	err = err ? err : WRITE(mb, "Content-Length: ", decimal(digits, len), "\r\n\r\n");
	if (!err && len)
		err = mbuf_write_mem(mb, (const uint8_t *)req->body, len);

	return err;
}

/* The peer's own words go back to it: folded lines become one, so that they can't become lines of ours. */
static int write_foreign(struct mbuf *mb, const struct pl *pl)
{
	int err = 0;

	for (size_t i = 0; i < pl->l && !err; i++) {
		char c = pl->p[i];

		err = mbuf_write_u8(mb, (uint8_t)(c == '\r' || c == '\n' || c == '\0' ? ' ' : c));
	}

	return err;
}

int sip_request_encode_ack(struct mbuf *mb, const struct sip_request *invite, const char *via, const struct pl *to)
{
	int err = encode_head(mb, invite, "ACK", via);

	err = err ? err : write_foreign(mb, to);
	err = err ? err : encode_ids(mb, invite, "ACK");

	return err ? err : mbuf_write_str(mb, "Content-Length: 0\r\n\r\n");
}

int sip_request_encode_cancel(struct mbuf *mb, const struct sip_request *invite, const char *via)
{
	int err = encode_head(mb, invite, "CANCEL", via);

	err = err ? err : mbuf_write_str(mb, invite->to);
	err = err ? err : encode_ids(mb, invite, "CANCEL");

	return err ? err : mbuf_write_str(mb, "Content-Length: 0\r\n\r\n");
}

int sip_user_print(struct re_printf *pf, const char *user)
{
	static const char mark[] = "-_.!~*'()&=+$,;?/"; /* RFC 3261 25.1: mark, user-unreserved */
	static const char hex[] = "0123456789ABCDEF";
	int err = 0;

	for (; user && *user && !err; user++) {
		unsigned char c = (unsigned char)*user;
		const char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};

		if ((c < 128 && isalnum(c)) || strchr(mark, c))
			err = pf->vph(user, 1, pf->arg);
		else
			err = pf->vph(escaped, sizeof(escaped), pf->arg);
	}

	return err;
}

static bool is_lws(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(struct pl *pl)
{
	while (pl->l && is_lws(pl->p[pl->l - 1]))
		pl->l--;
	while (pl->l && is_lws(pl->p[0])) {
		pl->p++;
		pl->l--;
	}
}

static void skip_crlf(struct pl *rest)
{
	while (rest->l && (rest->p[0] == '\r' || rest->p[0] == '\n')) {
		rest->p++;
		rest->l--;
	}
}

/* Takes one line off `rest`; with its folded continuation lines if asked. false: there was no line end. */
static bool take_line(struct pl *rest, struct pl *line, bool is_folded)
{
	const char *end = rest->p + rest->l;
	const char *lf = memchr(rest->p, '\n', rest->l);

	while (is_folded && lf && lf + 1 < end && (lf[1] == ' ' || lf[1] == '\t'))
		lf = memchr(lf + 1, '\n', (size_t)(end - lf - 1));

	line->p = rest->p;
	line->l = (size_t)((lf ? lf : end) - rest->p);
	rest->p = lf ? lf + 1 : end;
	rest->l = (size_t)(end - rest->p);
	if (line->l && line->p[line->l - 1] == '\r')
		line->l--;

	return lf != NULL;
}

/* Splits "name : value"; name is empty when there is no colon. */
static void split_header(const struct pl *line, struct pl *name, struct pl *val)
{
	const char *colon = memchr(line->p, ':', line->l);

	*name = (struct pl){line->p, colon ? (size_t)(colon - line->p) : 0};
	*val = (struct pl){line->p + line->l, 0};
	if (colon) {
		val->p = colon + 1;
		val->l = (size_t)(line->p + line->l - val->p);
	}
	trim(name);
	trim(val);
}

static bool name_is(const struct pl *name, const char *full, char compact)
{
	if (name->l == 1)
		return compact && tolower((unsigned char)name->p[0]) == compact;

	return name->l == strlen(full) && !strncasecmp(name->p, full, name->l);
}

static enum sip_kind line_kind(const struct pl *line)
{
	const size_t vlen = sizeof(sip_version) - 1;
	const char *end = line->p + line->l;
	const char *first, *last;

	if (line->l > vlen && !strncasecmp(line->p, sip_version, vlen) && line->p[vlen] == ' ')
		return SIP_KIND_RESPONSE;

	if (line->l < vlen + 4 || strncasecmp(end - vlen, sip_version, vlen))
		return SIP_KIND_BROKEN;

	first = memchr(line->p, ' ', line->l);
	last = end - vlen - 1;
	if (!first || first == line->p || *last != ' ' || last <= first + 1)
		return SIP_KIND_BROKEN;

	return SIP_KIND_REQUEST;
}

/* Takes a token or a quoted string off `rest`, and the white space around it. */
static struct pl take_token(struct pl *rest)
{
	struct pl token;
	bool is_quoted = false;

	trim(rest);
	token = (struct pl){rest->p, 0};
	for (; rest->l; rest->p++, rest->l--, token.l++) {
		char c = rest->p[0];

		if (c == '"')
			is_quoted = !is_quoted;
		else if (!is_quoted && (c == ';' || c == ',' || c == '=' || is_lws(c)))
			break;
	}
	while (rest->l && is_lws(rest->p[0])) {
		rest->p++;
		rest->l--;
	}

	return token;
}

/* The branch of the first of the comma-separated values in a Via header; unset when there is none. */
static struct pl via_branch(struct pl via)
{
	bool is_param = false;

	while (via.l) {
		struct pl name = take_token(&via), value = {NULL, 0};

		if (via.l && via.p[0] == '=') {
			pl_advance(&via, 1);
			value = take_token(&via);
		}
		if (is_param && value.l && name_is(&name, "branch", 0))
			return value;
		if (!via.l || via.p[0] == ',')
			break;
		if (via.p[0] == ';' || via.p[0] == '=') {
			is_param = is_param || via.p[0] == ';';
			pl_advance(&via, 1);
		}
	}

	return (struct pl){NULL, 0};
}

void sip_glance(struct sip_glance *glance, const uint8_t *buf, size_t len)
{
	struct pl rest = {(const char *)buf, len}, line, name, val;

	*glance = (struct sip_glance){.kind = SIP_KIND_KEEPALIVE};
	skip_crlf(&rest);
	if (!rest.l)
		return;

	(void)take_line(&rest, &line, false);
	glance->kind = line_kind(&line);
	if (glance->kind == SIP_KIND_BROKEN)
		return;

	while (rest.l) {
		(void)take_line(&rest, &line, true);
		if (!line.l)
			return;
		split_header(&line, &name, &val);
		if (name_is(&name, "Via", 'v')) {
			glance->branch = via_branch(val);
			return;
		}
	}
}

/* The headers that must or may stand once only, and that libre takes apart. */
enum single {
	SINGLE_TO,
	SINGLE_FROM,
	SINGLE_CALL_ID,
	SINGLE_CSEQ,
	SINGLE_LENGTH,
	SINGLE_TYPE,
	SINGLE_COUNT,
};

static enum single single_find(const struct pl *name)
{
	static const struct {
		const char *full;
		char compact;
	} table[SINGLE_COUNT] = {
	        [SINGLE_TO] = {"To", 't'},
	        [SINGLE_FROM] = {"From", 'f'},
	        [SINGLE_CALL_ID] = {"Call-ID", 'i'},
	        [SINGLE_CSEQ] = {"CSeq", 0},
	        [SINGLE_LENGTH] = {"Content-Length", 'l'},
	        [SINGLE_TYPE] = {"Content-Type", 'c'},
	};
	unsigned i;

	for (i = 0; i < SINGLE_COUNT; i++) {
		if (name_is(name, table[i].full, table[i].compact))
			break;
	}

	return (enum single)i;
}

/* Counts the values of a header line; false when one is too long. */
static bool count_values(const struct pl *val, unsigned *nvaluesp)
{
	size_t len = 0;

	(*nvaluesp)++;
	for (size_t i = 0; i < val->l; i++) {
		if (val->p[i] == ',') {
			(*nvaluesp)++;
			len = 0;
		} else if (++len > SIP_VALUE_SIZE_MAX) {
			return false;
		}
	}

	return true;
}

static bool start_line_is_valid(const struct pl *line)
{
	size_t vlen = sizeof(sip_version) - 1;
	const char *code = line->p + vlen + 1;

	if (line->l > SIP_SINGLE_SIZE_MAX || memchr(line->p, '\0', line->l) || memchr(line->p, '\r', line->l))
		return false;
	if (line_kind(line) == SIP_KIND_REQUEST) /* with a tab libre would search all of the message for a start line */
		return !memchr(line->p, '\t', line->l);

	/* Status-Line = SIP-Version SP 3DIGIT SP Reason-Phrase */
	return line_kind(line) == SIP_KIND_RESPONSE && line->l >= vlen + 5 && code[0] >= '1' && code[0] <= '6' &&
	       isdigit((unsigned char)code[1]) && isdigit((unsigned char)code[2]) && code[3] == ' ';
}

/* Whether libre's parser may have it: bounds, and no header that stands once stands twice. */
static bool head_is_bounded(struct pl rest)
{
	unsigned nheaders = 0, nvalues = 0, seen = 0;
	struct pl line, name, val;

	if (!take_line(&rest, &line, false) || !start_line_is_valid(&line))
		return false;

	while (take_line(&rest, &line, true)) {
		enum single single;

		if (!line.l)
			return true;
		split_header(&line, &name, &val);
		if (!name.l || ++nheaders > SIP_HEADERS_MAX)
			return false;
		if (!count_values(&val, &nvalues) || nvalues > SIP_VALUES_MAX)
			return false;

		single = single_find(&name);
		if ((single < SINGLE_COUNT || name_is(&name, "Via", 'v')) && line.l > SIP_SINGLE_SIZE_MAX)
			return false;
		if (single == SINGLE_CSEQ && line.l > SIP_CSEQ_SIZE_MAX)
			return false;
		if (single < SINGLE_COUNT && (seen & 1U << single))
			return false;
		seen |= single < SINGLE_COUNT ? 1U << single : 0;
	}

	return false;
}

/* Content-Length against what is there; cuts off what is behind the body. */
static int apply_length(const struct sip_msg *msg, struct mbuf *mb)
{
	size_t left = mbuf_get_left(mb), len = 0;

	if (!pl_isset(&msg->clen))
		return 0;

	for (size_t i = 0; i < msg->clen.l; i++) {
		if (!isdigit((unsigned char)msg->clen.p[i]))
			return EBADMSG;
		len = 10 * len + (size_t)(msg->clen.p[i] - '0');
		if (len > left)
			return EBADMSG;
	}
	mb->end = mb->pos + len;

	return 0;
}

int sip_message_decode(struct sip_msg **msgp, struct mbuf *mb)
{
	struct pl rest = {(const char *)mbuf_buf(mb), mbuf_get_left(mb)};
	bool is_response;
	struct sip_msg *msg;
	int err;

	skip_crlf(&rest);
	if (!head_is_bounded(rest))
		return EBADMSG;

	is_response = !strncasecmp(rest.p, sip_version, sizeof(sip_version) - 1);
	mb->pos = mb->end - rest.l;
	err = sip_msg_decode(&msg, mb);
	if (err)
		return err == ENOMEM ? ENOMEM : EBADMSG;

	/* libre takes "SIP/2.0 200 SIP/2.0" for a request */
	if (msg->req == is_response || !pl_isset(&msg->via.sentby) || !pl_isset(&msg->to.val) ||
	        !pl_isset(&msg->from.val) || !pl_isset(&msg->callid) || !pl_isset(&msg->cseq.met))
		err = EBADMSG;

	err = err ? err : apply_length(msg, mb);
	if (err)
		mem_deref(msg);
	else
		*msgp = msg;

	return err;
}
