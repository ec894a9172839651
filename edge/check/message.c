/**
 * @file message.c  MESSAGE: does the server take a text (RFC 3428)
 */
#include "edge/check/check.h"

static void response_handler(int err, const struct ctrans_response *rsp, void *arg)
{
	struct check *check = arg;
	struct check_end end;

	if (!err && rsp->msg->scode < 200)
		return;

	end = check_end_of(check, err, rsp);
	if (end.code >= 200 && end.code < 300)
		result_set_bool(check->result, COL_ACCEPTED_ONLY, end.code == 202);
	check_finish(check, &end);
}

static int start(struct check *check)
{
	struct sip_request *req = NULL;
	char *uri = NULL;
	int err;

	err = check_uri(&uri, check);
	err = err ? err : check_request(&req, check, METHOD_MESSAGE, uri, uri);
	err = err ? err : str_dup(&req->content_type, "text/plain");
	err = err ? err : str_dup(&req->body, check->command->sip_data ? check->command->sip_data : "");
	err = err ? err : check_uac_start(check, req, response_handler);
	mem_deref(uri);
	mem_deref(req);

	return err;
}

const struct check_method check_message = {
        .start = start,
        .abandon = check_uac_abandon,
        .stats = check_uac_stats,
};
