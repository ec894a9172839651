/**
 * @file options.c  OPTIONS: is the server alive, and what can it do (RFC 3261 11)
 */
#include <string.h>
#include "edge/check/check.h"

enum { JOINED_SIZE = 1024 };

struct joined {
	char text[JOINED_SIZE];
	size_t len;
	bool is_set;
};

/* All instances of a header are one list (RFC 3261 7.3.1). What does not fit is left out whole. */
static bool join_handler(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
	struct joined *joined = arg;
	size_t comma = joined->len ? 2 : 0;
	(void)msg;

	joined->is_set = true;
	if (!hdr->val.l)
		return false;
	if (joined->len + comma + hdr->val.l > sizeof(joined->text))
		return true;

	memcpy(joined->text + joined->len, ", ", comma);
	memcpy(joined->text + joined->len + comma, hdr->val.p, hdr->val.l);
	joined->len += comma + hdr->val.l;

	return false;
}

static void set_joined(struct result *result, enum column col, const struct sip_msg *msg, enum sip_hdrid id)
{
	struct joined joined;
	struct pl pl;

	joined.len = 0;
	joined.is_set = false;
	(void)sip_msg_hdr_apply(msg, true, id, join_handler, &joined);
	if (!joined.is_set)
		return;

	pl.p = joined.text;
	pl.l = joined.len;
	result_set_pl(result, col, &pl);
}

static void response_handler(int err, const struct ctrans_response *rsp, void *arg)
{
	struct check *check = arg;
	struct check_end end;

	if (!err && rsp->msg->scode < 200)
		return;

	if (rsp) {
		set_joined(check->result, COL_ALLOW, rsp->msg, SIP_HDR_ALLOW);
		set_joined(check->result, COL_SUPPORTED, rsp->msg, SIP_HDR_SUPPORTED);
		set_joined(check->result, COL_ACCEPT, rsp->msg, SIP_HDR_ACCEPT);
	}
	end = check_end_of(check, err, rsp);
	check_finish(check, &end);
}

static int start(struct check *check)
{
	struct sip_request *req = NULL;
	char *uri = NULL;
	int err;

	err = check_uri(&uri, check);
	err = err ? err : check_request(&req, check, METHOD_OPTIONS, uri, uri);
	err = err ? err : check_uac_start(check, req, response_handler);
	mem_deref(uri);
	mem_deref(req);

	return err;
}

const struct check_method check_options = {
        .start = start,
        .abandon = check_uac_abandon,
        .stats = check_uac_stats,
};
