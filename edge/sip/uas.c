/**
 * @file uas.c  Stateless answers to requests that no dialog of ours expects
 */
#include <errno.h>
#include <string.h>
#include "edge/sip/uas.h"
#include "edge/sip/message.h"

enum {
	VIAS_MAX = 32, /* more is a loop or an attack: not answered */
	PORT_SIP = 5060,
};

#define ALLOW "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, NOTIFY\r\n"

struct answer {
	const char *method;
	uint16_t code;
	const char *reason;
	const char *headers;
};

/* The last one is for all others. */
static const struct answer answers[] = {
        {"OPTIONS", 200, "OK", ALLOW "Accept: application/sdp\r\n"},
        {"INVITE", 486, "Busy Here", ""},
        {"NOTIFY", 481, "Call/Transaction Does Not Exist", ""},
        {"BYE", 481, "Call/Transaction Does Not Exist", ""},
        {"CANCEL", 481, "Call/Transaction Does Not Exist", ""},
        {NULL, 405, "Method Not Allowed", ALLOW},
};

static bool has_param(const struct sip_via *via, const char *name)
{
	struct pl value;

	return !msg_param_exists(&via->params, name, &value);
}

/* What the sender wrote there does not count: rport is filled in, received is ours (RFC 3581 4). */
static bool is_replaced(const struct pl *param)
{
	static const char *const names[] = {"rport", "received"};
	struct pl name = {param->p + 1, param->l - 1}; /* behind the semicolon */
	const char *equals = pl_strchr(&name, '=');

	if (equals)
		name.l = (size_t)(equals - name.p);
	while (name.l && strchr(" \t\r\n", *name.p))
		pl_advance(&name, 1);
	while (name.l && strchr(" \t\r\n", name.p[name.l - 1]))
		name.l--;

	return !pl_strcasecmp(&name, names[0]) || !pl_strcasecmp(&name, names[1]);
}

/* The topmost Via says where the request really came from. */
static int print_top_via(struct mbuf *mb, const struct sip_hdr *hdr, const struct sip_via *via, const struct sa *src)
{
	const char *semicolon = pl_strchr(&hdr->val, ';');
	struct pl sent_by = hdr->val, rest = {NULL, 0};
	int err;

	if (semicolon) {
		sent_by.l = (size_t)(semicolon - hdr->val.p);
		rest = (struct pl){semicolon, hdr->val.l - sent_by.l};
	}
	err = mbuf_printf(mb, "Via: %r", &sent_by);
	if (has_param(via, "rport"))
		err |= mbuf_printf(mb, ";rport=%u", sa_port(src));
	err |= mbuf_printf(mb, ";received=%j", src);

	while (rest.l) {
		struct pl param = {rest.p, 1};

		while (param.l < rest.l && rest.p[param.l] != ';')
			param.l++;
		if (!is_replaced(&param))
			err |= mbuf_write_pl(mb, &param);
		pl_advance(&rest, (ssize_t)param.l);
	}

	return err | mbuf_write_str(mb, "\r\n");
}

static int print_vias(struct mbuf *mb, const struct sip_msg *msg, const struct sa *src)
{
	unsigned n = 0;
	struct le *le;
	int err = 0;

	LIST_FOREACH (&msg->hdrl, le) {
		const struct sip_hdr *hdr = le->data;

		if (hdr->id != SIP_HDR_VIA)
			continue;
		if (n++ >= VIAS_MAX)
			return EOVERFLOW;
		if (n == 1)
			err |= print_top_via(mb, hdr, &msg->via, src);
		else
			err |= mbuf_printf(mb, "Via: %r\r\n", &hdr->val);
	}

	return err ? ENOMEM : 0;
}

static int print_routes(struct mbuf *mb, const struct sip_msg *msg)
{
	struct le *le;
	int err = 0;

	LIST_FOREACH (&msg->hdrl, le) {
		const struct sip_hdr *hdr = le->data;

		if (hdr->id == SIP_HDR_RECORD_ROUTE)
			err |= mbuf_printf(mb, "Record-Route: %r\r\n", &hdr->val);
	}

	return err;
}

int uas_reply_encode(struct mbuf *mb, const struct sip_msg *msg, const struct sa *src, const struct uas_reply *reply)
{
	bool adds_tag = reply->tag && !pl_isset(&msg->to.tag);
	int err;

	err = mbuf_printf(mb, "SIP/2.0 %u %s\r\n", reply->code, reply->reason);
	if (!err)
		err = print_vias(mb, msg, src);
	if (err)
		return err;

	if (reply->keeps_route)
		err |= print_routes(mb, msg);
	err |= mbuf_printf(mb,
	        "From: %r\r\n"
	        "To: %r%s%s\r\n"
	        "Call-ID: %r\r\n"
	        "CSeq: %u %r\r\n"
	        "%s"
	        "Content-Length: %zu\r\n"
	        "\r\n"
	        "%s",
	        &msg->from.val, &msg->to.val, adds_tag ? ";tag=" : "", adds_tag ? reply->tag : "", &msg->callid,
	        msg->cseq.num, &msg->cseq.met, reply->headers ? reply->headers : "",
	        reply->body ? strlen(reply->body) : 0, reply->body ? reply->body : "");

	return err ? ENOMEM : 0;
}

void uas_reply_dst(struct sa *dst, const struct sip_msg *msg, const struct transport_rx *rx)
{
	*dst = rx->src;
	if (flow_proto(rx->flow) != TRANSPORT_UDP || has_param(&msg->via, "rport"))
		return;

	sa_set_port(dst, sa_port(&msg->via.addr) ? sa_port(&msg->via.addr) : PORT_SIP);
}

static const struct answer *find_answer(const struct pl *method)
{
	const struct answer *answer = answers;

	while (answer->method && pl_strcmp(method, answer->method))
		answer++;

	return answer;
}

void uas_answer(const struct sip_msg *msg, const struct transport_rx *rx, const char *user_agent, uint64_t secret)
{
	const struct answer *answer = find_answer(&msg->met);
	char tag[17], headers[256];
	struct uas_reply reply = {.tag = tag, .headers = headers};
	struct mbuf *mb;
	struct sa dst;

	if (!pl_strcmp(&msg->met, "ACK"))
		return;

	mb = mbuf_alloc(1024);
	if (!mb)
		return;

	reply.code = answer->code;
	reply.reason = answer->reason;
	(void)re_snprintf(tag, sizeof(tag), "%08x%08x", hash_joaat_pl(&msg->callid) ^ (uint32_t)secret,
	        hash_joaat_pl(&msg->from.tag) ^ (uint32_t)(secret >> 32));
	(void)re_snprintf(headers, sizeof(headers), "%sServer: %s\r\n", answer->headers, user_agent);
	uas_reply_dst(&dst, msg, rx);
	if (!uas_reply_encode(mb, msg, &rx->src, &reply))
		(void)flow_send(rx->flow, &dst, mb->buf, mb->end);
	mem_deref(mb);
}
