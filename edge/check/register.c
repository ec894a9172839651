/**
 * @file register.c  REGISTER: does the registrar take the login; the binding is removed again (RFC 3261 10.2)
 *
 * On an account that stays registered the check refreshes that binding and leaves it. Otherwise it makes one of its own, with a contact that
 * nothing else uses, and removes it: before the result where there was an answer (unregister_code), behind it where there was none,
 * since a late REGISTER may bind nevertheless.
 */
#include <string.h>
#include "edge/check/check.h"

enum { REMOVAL_WAIT_US = 2000 * 1000 }; /* how long the result waits for the removal */

/* Of one try. */
struct attempt {
	struct check *check;
	char *aor;
	char *call_id;
	char *token;    /* user part of the contact */
	char *contact;  /* URI */
	bool is_shared; /* the account's own binding: stays */
	struct removal *removal;
	struct check_end end; /* of the registration, while its binding is removed */
	struct wheel_timer timer;
};

/* An un-REGISTER under way; belongs to the checker and outlives its check. */
struct removal {
	struct le le;            /* checker->removals */
	struct account *account; /* referenced: the password */
	struct uac *uac;
	struct attempt *owner; /* waits for it; NULL: nobody does */
};

static void removal_destructor(void *arg)
{
	struct removal *removal = arg;

	list_unlink(&removal->le);
	mem_deref(removal->uac);
	mem_deref(removal->account);
}

static void attempt_destructor(void *arg)
{
	struct attempt *attempt = arg;

	wheel_stop(&attempt->timer);
	if (attempt->removal)
		attempt->removal->owner = NULL;
	mem_deref(attempt->aor);
	mem_deref(attempt->call_id);
	mem_deref(attempt->token);
	mem_deref(attempt->contact);
}

static void finish(struct attempt *attempt)
{
	struct check_end end = attempt->end;

	check_finish(attempt->check, &end);
}

static void removal_handler(int err, const struct ctrans_response *rsp, void *arg)
{
	struct removal *removal = arg;
	struct attempt *owner = removal->owner;
	struct uac_stats stats;

	if (!err && rsp->msg->scode < 200)
		return;

	if (owner && rsp) {
		uac_stats_get(removal->uac, &stats);
		result_set_int(owner->check->result, COL_UNREGISTER_CODE, rsp->msg->scode);
		if (rsp->rx_us >= stats.sent_us)
			result_set_double(
			        owner->check->result, COL_UNREGISTER_MS, (double)(rsp->rx_us - stats.sent_us) / 1000.0);
	}
	if (owner)
		owner->removal = NULL;
	mem_deref(removal);
	if (owner)
		finish(owner);
}

static struct register_request request_of(const struct attempt *attempt)
{
	struct sip_stack *stack = check_stack(attempt->check);

	return (struct register_request){
	        .identity = attempt->check->device->identity,
	        .user_agent = stack->user_agent,
	        .call_id = attempt->call_id,
	        .aor = attempt->aor,
	        .contact = attempt->contact,
	        .tag = stack_random(stack),
	};
}

/* contact: as the registrar has it. The removal is retransmitted until it is answered, or for 64*T1. */
static int removal_start(struct removal **removalp, struct attempt *attempt, const char *contact)
{
	struct check *check = attempt->check;
	struct register_request request = request_of(attempt);
	struct removal *removal = mem_zalloc(sizeof(*removal), removal_destructor);
	struct sip_request *req = NULL;
	int err;

	if (!removal)
		return ENOMEM;

	removal->account = mem_ref(check->account);
	request.contact = contact;
	request.cseq = uac_last_request(check->uac)->cseq + 1;
	err = register_request_alloc(&req, &request);
	err = err ? err
	          : uac_request(&removal->uac, check_stack(check), &check->target, req, check->account->login,
	                    check->account->password, NULL, removal_handler, removal);
	mem_deref(req);
	if (err) {
		mem_deref(removal);
		return err;
	}
	list_append(&check->device->checker->removals, &removal->le, removal);
	*removalp = removal;

	return 0;
}

static void wait_handler(uint64_t now_us, void *arg)
{
	(void)now_us;
	finish(arg); /* the removal goes on behind the result */
}

static void set_columns(struct check *check, const struct register_answer *answer)
{
	result_set_int(check->result, COL_BINDINGS, answer->bindings);
	if (answer->has_expires)
		result_set_int(check->result, COL_EXPIRES_GRANTED, answer->expires_s);
}

/* 0: the check ends once the binding is removed. */
static int remove_binding(struct attempt *attempt, const struct register_answer *answer)
{
	struct sip_stack *stack = check_stack(attempt->check);
	char *contact = NULL;
	int err;

	err = pl_isset(&answer->contact) ? pl_strdup(&contact, &answer->contact) : str_dup(&contact, attempt->contact);
	err = err ? err : removal_start(&attempt->removal, attempt, contact);
	mem_deref(contact);
	if (err)
		return err;

	attempt->removal->owner = attempt;
	check_method_done(attempt->check);
	wheel_start(stack->wheel, &attempt->timer, stack_now(stack) + REMOVAL_WAIT_US, wait_handler, attempt);

	return 0;
}

/* The exchange ended without a final answer that could be read: it may have bound. */
static void remove_unsure(struct attempt *attempt)
{
	struct removal *removal;

	if (!attempt->is_shared && attempt->check->uac && !attempt->removal)
		(void)removal_start(&removal, attempt, attempt->contact); /* else it ends with its expiry */
}

static void response_handler(int err, const struct ctrans_response *rsp, void *arg)
{
	struct check *check = arg;
	struct attempt *attempt = check->method_data;
	struct register_answer answer;

	if (!err && rsp->msg->scode < 200)
		return;

	attempt->end = check_end_of(check, err, rsp);
	if (err == EBADMSG || err == ETIMEDOUT)
		remove_unsure(attempt);
	if (!err && rsp->msg->scode < 300) {
		register_answer_get(&answer, rsp->msg, attempt->token);
		set_columns(check, &answer);
		if (!attempt->is_shared && remove_binding(attempt, &answer) == 0)
			return;
	}
	finish(attempt);
}

/* user | user@host | URI of another address of record, or the account's own, or the variable's name. */
static int make_aor(char **aorp, const struct check *check)
{
	const struct identity *identity = check->device->identity;
	const char *target = check->command->target;

	if (target && strchr(target, '@'))
		return identity_target(aorp, identity, target);
	if (target && strchr(target, ':'))
		return str_dup(aorp, target);
	if (target)
		return identity_uri(aorp, identity, target);
	if (!identity->aor)
		return identity_uri(aorp, identity, check->command->name);
	*aorp = mem_ref(identity->aor);

	return 0;
}

static int make_own_binding(struct attempt *attempt)
{
	struct check *check = attempt->check;
	struct sip_stack *stack = check_stack(check);
	char text[17];
	int err;

	token_print(text, stack_random(stack));
	err = str_dup(&attempt->token, text);
	token_print(text, stack_random(stack));
	err = err ? err : str_dup(&attempt->call_id, text);

	return err ? err
	           : identity_contact(
	                     &attempt->contact, attempt->token, &check->local, line_transport(check->device->line));
}

static int attempt_alloc(struct attempt **attemptp, struct check *check)
{
	struct attempt *attempt = mem_zalloc(sizeof(*attempt), attempt_destructor);
	int err;

	if (!attempt)
		return ENOMEM;

	attempt->check = check;
	attempt->is_shared = device_is_registered(check->device) && !check->command->target;
	err = make_aor(&attempt->aor, check);
	if (!err && attempt->is_shared) {
		attempt->token = mem_ref(check->device->id.contact);
		attempt->call_id = mem_ref(check->device->id.call_id);
		attempt->contact = mem_ref(check->device->contact);
	} else if (!err) {
		err = make_own_binding(attempt);
	}
	if (err)
		mem_deref(attempt);
	else
		*attemptp = attempt;

	return err;
}

static int start(struct check *check)
{
	struct attempt *attempt = NULL;
	struct register_request request;
	struct sip_request *req = NULL;
	int err = attempt_alloc(&attempt, check);

	if (err)
		return err;

	check->method_data = attempt;
	request = request_of(attempt);
	request.expires_s = REGISTRATION_EXPIRES_S;
	request.cseq = attempt->is_shared ? ++check->device->id.cseq : 1;
	err = register_request_alloc(&req, &request);
	err = err ? err : check_uac_start(check, req, response_handler);
	mem_deref(req);
	if (err)
		return err;

	if (attempt->is_shared)
		uac_share_cseq(check->uac, &check->device->id.cseq);
	result_set_str(check->result, COL_TARGET, check->device->identity->registrar);
	result_set_str(check->result, COL_CALL_ID, attempt->call_id);
	result_set_int(check->result, COL_EXPIRES_REQUESTED, REGISTRATION_EXPIRES_S);

	return 0;
}

static void abandon(struct check *check)
{
	if (!check->is_done)
		remove_unsure(check->method_data);
	check_uac_abandon(check);
}

/* An ineffective attempt: any final failure response but a challenge, or none in time (RFC 6076 4.2). Null on 3xx, and where the
   attempt could not be made. */
static void report(struct check *check, const struct check_end *end)
{
	bool is_challenge = end->code == 401 || end->code == 402 || end->code == 407;
	bool is_silence = end->error == VERDICT_ERROR_TIMEOUT && check->sent_us;

	if (end->code >= 200 && end->code < 300 && check->sent_us && end->rx_us >= check->sent_us)
		result_set_double(check->result, COL_RRD_MS, (double)(end->rx_us - check->sent_us) / 1000.0);
	if ((end->code >= 200 && end->code < 300) || is_silence || (end->code >= 400 && !is_challenge))
		result_set_bool(check->result, COL_IRA, end->code < 200 || end->code >= 300);
}

const struct check_method check_register = {
        .start = start,
        .abandon = abandon,
        .stats = check_uac_stats,
        .report = report,
};
