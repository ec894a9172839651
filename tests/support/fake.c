/**
 * @file fake.c  A SIP server of a test
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "support/fake.h"
#include "support/loop.h"

struct conn {
	struct le le;
	struct fake *fake;
	struct tcp_conn *tc;
};

static void conn_destructor(void *arg)
{
	struct conn *conn = arg;

	list_unlink(&conn->le);
	mem_deref(conn->tc);
}

static void destructor(void *arg)
{
	struct fake *fake = arg;

	list_flush(&fake->conns);
	mem_deref(fake->listener);
	if (fake->fd >= 0) {
		fd_close(fake->fd);
		(void)close(fake->fd);
	}
}

void fake_send(struct fake *fake, const char *text, size_t len)
{
	struct mbuf *mb;

	if (!fake->conn) {
		(void)sendto(fake->fd, text, len, 0, &fake->src.u.sa, fake->src.len);
		return;
	}

	mb = mbuf_alloc(len);
	if (!mb)
		return;
	(void)mbuf_write_mem(mb, (const uint8_t *)text, len);
	mb->pos = 0;
	(void)tcp_send(fake->conn, mb);
	mem_deref(mb);
}

static bool copy_header_handler(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
	struct mbuf *mb = arg;
	(void)msg;
	(void)mbuf_printf(mb, "Via: %r\r\n", &hdr->val);

	return false;
}

void fake_reply(struct fake *fake, const struct sip_msg *msg, uint16_t code, const char *headers)
{
	struct mbuf *mb = mbuf_alloc(1024);

	if (!mb)
		return;
	(void)mbuf_printf(mb, "SIP/2.0 %u Reason Of %u\r\n", code, code);
	(void)sip_msg_hdr_apply(msg, true, SIP_HDR_VIA, copy_header_handler, mb);
	(void)mbuf_printf(mb, "From: %r\r\nTo: %r%s\r\nCall-ID: %r\r\nCSeq: %u %r\r\n", &msg->from.val, &msg->to.val,
	        pl_isset(&msg->to.tag) || code == 100 ? "" : ";tag=fake", &msg->callid, msg->cseq.num, &msg->cseq.met);
	(void)mbuf_printf(
	        mb, "%s%sContent-Length: 0\r\n\r\n", headers ? headers : "", fake->headers ? fake->headers : "");
	fake_send(fake, (const char *)mb->buf, mb->end);
	mem_deref(mb);
}

static bool is_authorized(const struct fake *fake, const struct sip_msg *msg)
{
	const struct sip_hdr *hdr = sip_msg_hdr(msg, SIP_HDR_AUTHORIZATION);
	struct httpauth_digest_resp resp;
	uint8_t ha1[MD5_SIZE];

	if (!hdr || httpauth_digest_response_decode(&resp, &hdr->val))
		return false;
	if (md5_printf(ha1, "%r:%r:%s", &resp.username, &resp.realm, fake->password))
		return false;

	return !pl_strcmp(&resp.nonce, "fakenonce") && !httpauth_digest_response_auth(&resp, &msg->met, ha1);
}

static void unbind(struct fake *fake, const char *uri)
{
	for (unsigned i = 0; i < fake->nbindings; i++) {
		if (strcmp(fake->bindings[i], uri) != 0)
			continue;
		memmove(fake->bindings[i], fake->bindings[--fake->nbindings], sizeof(fake->bindings[0]));
		++fake->unregistered;
		return;
	}
}

static bool contact_handler(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
	struct fake *fake = arg;
	struct sip_addr addr;
	struct pl expires;
	char uri[256];

	if (sip_addr_decode(&addr, &hdr->val))
		return false;
	if (fake->rewrite)
		(void)re_snprintf(uri, sizeof(uri), "sip:%r@%s", &addr.uri.user, fake->rewrite);
	else
		(void)pl_strcpy(&addr.auri, uri, sizeof(uri));

	if (msg_param_decode(&addr.params, "expires", &expires))
		expires = msg->expires;
	if (pl_u32(&expires) == 0) {
		if (fake->rewrite)
			(void)pl_strcpy(&addr.auri, uri, sizeof(uri)); /* only by the name that it gave */
		unbind(fake, uri);
		return false;
	}
	++fake->registered;
	for (unsigned i = 0; i < fake->nbindings; i++) {
		if (!strcmp(fake->bindings[i], uri))
			return false;
	}
	if (fake->nbindings < FAKE_BINDINGS_MAX)
		(void)snprintf(fake->bindings[fake->nbindings++], sizeof(uri), "%s", uri);

	return false;
}

static void register_request(struct fake *fake, const struct sip_msg *msg)
{
	uint32_t expires = pl_u32(&msg->expires);
	unsigned granted = fake->expires && expires ? fake->expires : expires;
	char headers[2048] = "";

	if (expires && expires < fake->min_expires) {
		(void)re_snprintf(headers, sizeof(headers), "Min-Expires: %u\r\n", fake->min_expires);
		fake_reply(fake, msg, 423, headers);
		return;
	}
	(void)sip_msg_hdr_apply(msg, true, SIP_HDR_CONTACT, contact_handler, fake);
	for (unsigned i = 0; i < fake->nbindings; i++) {
		size_t len = strlen(headers);

		(void)re_snprintf(headers + len, sizeof(headers) - len, "Contact: <%s>;expires=%u\r\n",
		        fake->bindings[i], granted);
	}
	fake_reply(fake, msg, fake->code, headers);
}

static void count_cseq(struct fake *fake, const struct sip_msg *msg)
{
	if (!pl_strcmp(&msg->callid, fake->last_call_id) && msg->cseq.num <= fake->last_cseq)
		++fake->max_cseq_repeats;
	(void)pl_strcpy(&msg->callid, fake->last_call_id, sizeof(fake->last_call_id));
	fake->last_cseq = msg->cseq.num;
}

static void request(struct fake *fake, const struct sip_msg *msg)
{
	++fake->requests;
	if (fake->drop) {
		--fake->drop;
		return;
	}
	count_cseq(fake, msg);
	if (fake->requesth && fake->requesth(fake, msg))
		return;

	if (fake->password && !is_authorized(fake, msg)) {
		++fake->challenges;
		fake_reply(fake, msg, 401,
		        "WWW-Authenticate: Digest realm=\"fake\", nonce=\"fakenonce\", algorithm=MD5, "
		        "qop=\"auth\"\r\n");
		return;
	}
	if (!pl_strcmp(&msg->met, "REGISTER") && fake->code < 300)
		register_request(fake, msg);
	else
		fake_reply(fake, msg, fake->code, NULL);
}

/* All messages in mb: on loopback they arrive whole. */
static void receive(struct fake *fake, struct mbuf *mb)
{
	while (mbuf_get_left(mb) >= 4) {
		struct sip_msg *msg = NULL;
		size_t start = mb->pos;

		if (!memcmp(mbuf_buf(mb), "\r\n\r\n", 4)) {
			++fake->pings;
			mb->pos += 4;
			continue;
		}
		if (sip_msg_decode(&msg, mb))
			return;
		(void)snprintf(
		        fake->text, sizeof(fake->text), "%.*s", (int)(mb->end - start), (const char *)mb->buf + start);
		start = mb->pos + pl_u32(&msg->clen);
		request(fake, msg);
		mem_deref(msg);
		mb->pos = start < mb->end ? start : mb->end;
	}
}

static void udp_handler(int flags, void *arg)
{
	struct fake *fake = arg;
	struct mbuf *mb = mbuf_alloc(65536);
	ssize_t n;
	(void)flags;

	if (!mb)
		return;
	fake->src.len = sizeof(fake->src.u);
	n = recvfrom(fake->fd, mb->buf, mb->size, MSG_DONTWAIT, &fake->src.u.sa, &fake->src.len);
	if (n > 0) {
		mb->end = (size_t)n;
		fake->conn = NULL;
		receive(fake, mb);
	}
	mem_deref(mb);
}

static void tcp_recv_handler(struct mbuf *mb, void *arg)
{
	struct conn *conn = arg;

	conn->fake->conn = conn->tc;
	receive(conn->fake, mb);
	conn->fake->conn = NULL;
}

static void tcp_close_handler(int err, void *arg)
{
	(void)err;
	mem_deref(arg);
}

static void accept_handler(const struct sa *peer, void *arg)
{
	struct fake *fake = arg;
	struct conn *conn = mem_zalloc(sizeof(*conn), conn_destructor);
	(void)peer;

	if (!conn)
		return;
	conn->fake = fake;
	list_append(&fake->conns, &conn->le, conn);
	++fake->accepted;
	if (tcp_accept(&conn->tc, fake->listener, NULL, tcp_recv_handler, tcp_close_handler, conn))
		mem_deref(conn);
}

void fake_close_connections(struct fake *fake)
{
	list_flush(&fake->conns);
}

int fake_alloc(struct fake **fakep)
{
	struct fake *fake = mem_zalloc(sizeof(*fake), destructor);
	int err;

	if (!fake)
		return ENOMEM;

	fake->code = 200;
	fake->fd = peer_udp(&fake->udp);
	loopback(&fake->tcp);
	err = fake->fd < 0 ? EMFILE : fd_listen(fake->fd, FD_READ, udp_handler, fake);
	err = err ? err : tcp_listen(&fake->listener, &fake->tcp, accept_handler, fake);
	err = err ? err : tcp_local_get(fake->listener, &fake->tcp);
	if (err)
		mem_deref(fake);
	else
		*fakep = fake;

	return err;
}
