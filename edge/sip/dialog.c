/**
 * @file dialog.c  One dialog that a 2xx to our INVITE made
 */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include "edge/sip/dialog.h"

struct dialog {
	struct sip_request *invite; /* referenced: From, Call-ID, credentials */
	char *to;                   /* their To, with its tag */
	char *local_tag;
	char *remote_tag; /* "": an old peer without one (12.1.2) */
	char *target;     /* remote target */
	char *uri;        /* Request-URI */
	char *route;      /* header lines; NULL: none */
	char *hop;        /* URI of the next hop */
	size_t nroutes;
	char *routes[DIALOG_ROUTES_MAX]; /* route set, in the order of use */
	bool is_strict;                  /* the first one is a strict router (12.2.1.1) */
	uint32_t cseq;
	bool has_remote_cseq;
	uint32_t remote_cseq;
};

static void destructor(void *arg)
{
	struct dialog *d = arg;

	mem_deref(d->invite);
	mem_deref(d->to);
	mem_deref(d->local_tag);
	mem_deref(d->remote_tag);
	mem_deref(d->target);
	mem_deref(d->uri);
	mem_deref(d->route);
	mem_deref(d->hop);
	for (size_t i = 0; i < d->nroutes; i++)
		mem_deref(d->routes[i]);
}

/* The peer's own words go back to it: on one line. */
static int copy_foreign(char **textp, const struct pl *pl)
{
	char *text;
	int err;

	if (pl->l > DIALOG_TEXT_SIZE_MAX)
		return EOVERFLOW;
	err = pl_strdup(&text, pl);
	if (err)
		return err;
	for (size_t i = 0; i < pl->l; i++) {
		if ((unsigned char)text[i] < ' ')
			text[i] = ' ';
	}
	*textp = text;
	return 0;
}

static bool has_lr(const struct sip_addr *addr)
{
	struct pl end;

	return !msg_param_exists(&addr->uri.params, "lr", &end) || !msg_param_exists(&addr->params, "lr", &end);
}

static void drop_routes(struct dialog *d)
{
	while (d->nroutes > 0)
		mem_deref(d->routes[--d->nroutes]);
	d->is_strict = false;
}

/* Takes the last of the comma-separated values off `rest`; a comma inside of quotes or brackets separates nothing. */
static struct pl take_last(struct pl *rest)
{
	struct pl last = *rest;
	bool is_quoted = false, is_bracketed = false;

	for (const char *p = rest->p, *end = rest->p + rest->l; p < end; p++) {
		if (*p == '"' && !is_bracketed)
			is_quoted = !is_quoted;
		else if (*p == '\\' && is_quoted && p + 1 < end)
			p++;
		else if (*p == '<' && !is_quoted)
			is_bracketed = true;
		else if (*p == '>' && !is_quoted)
			is_bracketed = false;
		else if (*p == ',' && !is_quoted && !is_bracketed)
			last = (struct pl){p + 1, (size_t)(end - p - 1)};
	}
	rest->l -= last.l;
	if (rest->l > 0)
		rest->l--; /* the comma */
	return last;
}

static int take_route(struct dialog *d, const struct pl *val)
{
	struct sip_addr addr;
	int err;

	if (d->nroutes == DIALOG_ROUTES_MAX || sip_addr_decode(&addr, val))
		return EBADMSG;
	err = copy_foreign(&d->routes[d->nroutes], &addr.auri);
	if (!err && d->nroutes++ == 0)
		d->is_strict = !has_lr(&addr);
	return err;
}

/* Record-Route in reverse order (12.1.2). A set that can't be used whole is not used at all. */
static int take_routes(struct dialog *d, const struct sip_msg *msg)
{
	int err = 0;

	for (struct le *le = list_tail(&msg->hdrl); le && !err; le = le->prev) {
		const struct sip_hdr *hdr = le->data;
		struct pl rest = hdr->val;

		while (hdr->id == SIP_HDR_RECORD_ROUTE && rest.l && !err) {
			struct pl last = take_last(&rest);

			err = take_route(d, &last);
		}
	}
	if (err)
		drop_routes(d);
	return err == ENOMEM ? err : 0;
}

static int take_target(struct dialog *d, const struct sip_msg *msg)
{
	const struct sip_hdr *contact = sip_msg_hdr(msg, SIP_HDR_CONTACT);
	struct sip_addr addr;
	char *target;

	if (!contact || sip_addr_decode(&addr, &contact->val) || !pl_isset(&addr.uri.host) ||
	        copy_foreign(&target, &addr.auri))
		return 0;
	mem_deref(d->target);
	d->target = target;
	return 0;
}

static int print_routes(struct mbuf *mb, const struct dialog *d)
{
	int err = 0;

	for (size_t i = d->is_strict ? 1 : 0; i < d->nroutes && !err; i++)
		err = mbuf_printf(mb, "Route: <%s>\r\n", d->routes[i]);
	if (!err && d->is_strict)
		err = mbuf_printf(mb, "Route: <%s>\r\n", d->target);
	return err ? err : mbuf_write_u8(mb, 0);
}

/* 12.2.1.1: Request-URI, Route and next hop from route set and remote target. */
static int aim(struct dialog *d)
{
	struct mbuf *mb;
	int err;

	d->uri = mem_deref(d->uri);
	d->hop = mem_deref(d->hop);
	d->route = mem_deref(d->route);
	d->uri = mem_ref(d->is_strict ? d->routes[0] : d->target);
	d->hop = mem_ref(d->nroutes ? d->routes[0] : d->target);
	if (!d->nroutes)
		return 0;
	mb = mbuf_alloc(512);
	if (!mb)
		return ENOMEM;
	err = print_routes(mb, d);
	err = err ? err : str_dup(&d->route, (const char *)mb->buf);
	mem_deref(mb);
	return err;
}

int dialog_alloc(struct dialog **dp, struct sip_request *invite, const struct sip_msg *msg)
{
	struct dialog *d;
	int err;

	if (!dp || !invite || !msg)
		return EINVAL;
	d = mem_zalloc(sizeof(*d), destructor);
	if (!d)
		return ENOMEM;
	d->invite = mem_ref(invite);
	d->cseq = invite->cseq;
	d->target = mem_ref(invite->uri);
	err = copy_foreign(&d->to, &msg->to.val);
	err = err ? err : pl_strdup(&d->local_tag, &msg->from.tag);
	if (!err)
		err = pl_isset(&msg->to.tag) ? pl_strdup(&d->remote_tag, &msg->to.tag) : str_dup(&d->remote_tag, "");
	err = err ? err : take_routes(d, msg);
	err = err ? err : take_target(d, msg);
	err = err ? err : aim(d);
	if (err)
		mem_deref(d);
	else
		*dp = d;
	return err;
}

static bool tag_is(const struct pl *tag, const char *text)
{
	return pl_isset(tag) ? !pl_strcmp(tag, text) : !*text;
}

bool dialog_has_response(const struct dialog *d, const struct sip_msg *msg)
{
	return tag_is(&msg->to.tag, d->remote_tag);
}

bool dialog_has_request(const struct dialog *d, const struct sip_msg *msg)
{
	return !pl_strcmp(&msg->callid, d->invite->call_id) && tag_is(&msg->to.tag, d->local_tag) &&
	       tag_is(&msg->from.tag, d->remote_tag);
}

bool dialog_take_cseq(struct dialog *d, const struct sip_msg *msg)
{
	if (d->has_remote_cseq && msg->cseq.num < d->remote_cseq)
		return false;
	d->has_remote_cseq = true;
	d->remote_cseq = msg->cseq.num;
	return true;
}

int dialog_refresh(struct dialog *d, const struct sip_msg *msg)
{
	int err = take_target(d, msg);

	return err ? err : aim(d);
}

/* An empty header has a line of its own name only. */
int header_lines_copy(struct mbuf *mb, const char *headers, const char *name)
{
	size_t len = strlen(name);
	int err = 0;

	while (headers && *headers && !err) {
		const char *end = strchr(headers, '\n');
		size_t line = end ? (size_t)(end - headers) + 1 : strlen(headers);

		if (line > len && headers[len] == ':' && !strncasecmp(headers, name, len))
			err = mbuf_write_mem(mb, (const uint8_t *)headers, line);
		headers += line;
	}
	return err;
}

static int request(
        struct sip_request **reqp, const struct dialog *d, const char *method, uint32_t cseq, const char *headers)
{
	struct sip_request *req = NULL;
	int err = sip_request_alloc(&req);

	if (err)
		return err;
	req->uri = mem_ref(d->uri);
	req->from = mem_ref(d->invite->from);
	req->to = mem_ref(d->to);
	req->call_id = mem_ref(d->invite->call_id);
	req->route = mem_ref(d->route);
	req->cseq = cseq;
	err = str_dup(&req->method, method);
	if (!err && headers && *headers)
		err = str_dup(&req->headers, headers);
	if (err)
		mem_deref(req);
	else
		*reqp = req;
	return err;
}

int dialog_ack(struct sip_request **reqp, const struct dialog *d)
{
	struct mbuf *mb = mbuf_alloc(512);
	int err;

	if (!mb)
		return ENOMEM;
	err = header_lines_copy(mb, d->invite->headers, "Authorization");
	err = err ? err : header_lines_copy(mb, d->invite->headers, "Proxy-Authorization");
	err = err ? err : mbuf_write_u8(mb, 0);
	err = err ? err : request(reqp, d, "ACK", d->invite->cseq, (const char *)mb->buf);
	mem_deref(mb);
	return err;
}

int dialog_request(struct sip_request **reqp, struct dialog *d, const char *method, const char *headers)
{
	return request(reqp, d, method, ++d->cseq, headers);
}

struct dialog_hop dialog_next_hop(const struct dialog *d)
{
	struct dialog_hop hop = {.port = 0};
	struct uri uri;
	struct pl pl;

	pl_set_str(&pl, d->hop);
	if (uri_decode(&uri, &pl))
		return hop;
	hop.host = uri.host;
	hop.port = uri.port;
	return hop;
}
