/**
 * @file exchange.c  What the methods share: the request from the account's and the command's properties, the responses into the result
 */
#include <string.h>
#include "edge/check/check.h"

int check_uri(char **urip, const struct check *check)
{
	const struct identity *identity = check->device->identity;
	const struct command *command = check->command;

	if (command->target)
		return identity_target(urip, identity, command->target);

	switch (command->method) {
	case METHOD_OPTIONS:
		*urip = mem_ref(identity->server);
		return 0;
	case METHOD_REGISTER:
		*urip = mem_ref(identity->registrar);
		return 0;
	case METHOD_MESSAGE:
	case METHOD_INVITE:
	case METHOD_COUNT:
		break;
	}

	if (!identity->user)
		return identity_target(urip, identity, command->name);
	*urip = mem_ref(identity->user);

	return 0;
}

/* From: the login, or the variable's name at the server. */
static int make_from(char **fromp, const struct check *check, const char *tag)
{
	const struct identity *identity = check->device->identity;

	if (identity->aor)
		return text_join(fromp, "<", identity->aor, ">;tag=", tag, NULL);

	return text_join(fromp, "<sip:", check->command->name, "@", identity->host, ">;tag=", tag, NULL);
}

int check_request(struct sip_request **reqp, struct check *check, enum method method, char *uri, char *to_uri)
{
	struct sip_stack *stack = check_stack(check);
	struct sip_request *req;
	char tag[17], call_id[17];
	int err = sip_request_alloc(&req);

	if (err)
		return err;

	token_print(tag, stack_random(stack));
	token_print(call_id, stack_random(stack));
	req->method = mem_ref(check->device->checker->methods[method]);
	req->uri = mem_ref(uri);
	req->cseq = 1;
	req->headers = mem_ref(check->device->headers[method]);
	err = make_from(&req->from, check, tag);
	err = err ? err : text_join(&req->to, "<", to_uri, ">", NULL);
	err = err ? err : text_join(&req->call_id, call_id, NULL);
	if (err) {
		mem_deref(req);
		return err;
	}

	result_set_str(check->result, COL_TARGET, uri);
	result_set_str(check->result, COL_CALL_ID, call_id);
	*reqp = req;

	return 0;
}

int check_uac_start(struct check *check, struct sip_request *req, uac_h *h)
{
	const struct account *account = check->account;
	struct uac_stats stats;
	int err;

	err = uac_request(&check->uac, check_stack(check), &check->target, req, account->login, account->password,
	        check_observe, h, check);
	if (err)
		return err;

	uac_stats_get(check->uac, &stats);
	check->sent_us = stats.sent_us;

	return 0;
}

void check_uac_abandon(struct check *check)
{
	check->uac = mem_deref(check->uac);
}

void check_uac_stats(const struct check *check, struct uac_stats *stats)
{
	if (check->uac)
		uac_stats_get(check->uac, stats);
}

enum verdict_error check_error_of(int err)
{
	switch (err) {
	case 0:
		return VERDICT_ERROR_NONE;
	case ETIMEDOUT:
		return VERDICT_ERROR_TIMEOUT;
	case EBADMSG:
	case EPROTO:
		return VERDICT_ERROR_PROTOCOL;
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case ENOTCONN:
	case EPIPE:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case ENETUNREACH:
	case ENETDOWN:
	case ENONET:
	case ENOPROTOOPT: /* ICMP: protocol unreachable */
		return VERDICT_ERROR_TRANSPORT;
	default:
		return VERDICT_ERROR_LOCAL; /* no descriptor, no memory, no such address, not permitted, ... */
	}
}

static void set_server(struct result *result, const struct sip_msg *msg)
{
	const struct sip_hdr *hdr = sip_msg_hdr(msg, SIP_HDR_SERVER);

	if (!hdr)
		hdr = sip_msg_hdr(msg, SIP_HDR_USER_AGENT);
	if (hdr)
		result_set_pl(result, COL_SERVER, &hdr->val);
}

/* Where our request came from, as the server says in our Via. One half alone completes the other, which then did not change. */
static void set_nat_addr(struct check *check, const struct sip_msg *msg)
{
	struct pl received = PL_INIT, rport = PL_INIT, host;
	char text[ADDRESS_TEXT_SIZE];
	struct sa sa = check->local;

	(void)msg_param_decode(&msg->via.params, "received", &received);
	(void)msg_param_decode(&msg->via.params, "rport", &rport);
	if (!pl_isset(&received) && !pl_isset(&rport))
		return;

	host = received;
	if (host.l > 2 && host.p[0] == '[')
		host = (struct pl){host.p + 1, host.l - 2};
	if (pl_isset(&host) && sa_set(&sa, &host, sa_port(&check->local)))
		return;
	if (pl_isset(&rport)) {
		uint32_t port;

		if (!text_u32(&port, &rport) || port == 0 || port > UINT16_MAX)
			return;
		sa_set_port(&sa, (uint16_t)port);
	}

	address_print(text, &sa);
	result_set_str(check->result, COL_NAT_ADDR, text);
}

void check_observe(const struct ctrans_response *rsp, void *arg)
{
	struct check *check = arg;
	const struct sip_msg *msg = rsp->msg;
	bool is_challenge = msg->scode == 401 || msg->scode == 407;

	if (!check->first_us)
		check->first_us = rsp->rx_us;
	if (check->challenged_us && !check->authenticated_us)
		check->authenticated_us = rsp->rx_us;
	if (is_challenge && !check->challenged_us)
		check->challenged_us = rsp->rx_us;

	result_add_response(
	        check->result, ((double)rsp->rx_us - (double)check->first_sent_us) / 1000.0, msg->scode, &msg->reason);
	set_server(check->result, msg);
	set_nat_addr(check, msg);
}

struct check_end check_end_of(struct check *check, int err, const struct ctrans_response *rsp)
{
	struct check_end end = {.error = check_error_of(err)};
	const struct sip_hdr *retry_after;
	uint32_t retry_after_s;

	if (!rsp) {
		if (err)
			end.text = str_error(err, check->text, sizeof(check->text));
		if (err == EBADMSG)
			end.text = "the answer to our request is malformed";
		return end;
	}

	end.code = rsp->msg->scode;
	end.rx_us = rsp->rx_us;
	if (err == EACCES || err == ENOTSUP || err == EBADMSG) /* with a response: a challenge that ended it */
		end.error = VERDICT_ERROR_AUTH;
	if (err == EACCES)
		end.text = check->account->password ? "the server refused the login or its password"
		                                    : "the server asks for a password, and none is configured";
	else if (err == ENOTSUP)
		end.text = "the server asks for an authentication that is not supported";
	else if (err == EBADMSG)
		end.text = "the server's challenge is malformed";

	result_set_pl(check->result, COL_REASON, &rsp->msg->reason);
	retry_after = sip_msg_hdr(rsp->msg, SIP_HDR_RETRY_AFTER);
	if (retry_after && text_u32(&retry_after_s, &retry_after->val))
		result_set_int(check->result, COL_RETRY_AFTER_S, retry_after_s);

	return end;
}
