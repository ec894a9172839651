/**
 * @file registration.c  A binding kept fresh
 */
#include <stdio.h>
#include <string.h>
#include "edge/log.h"
#include "edge/sip/registration.h"

enum {
	SECOND_US = 1000000,
	RETRY_MIN_S = 5,
	RETRY_MAX_S = 300,
	REFRESH_MAX_S = 3600,
	REFRESH_MARGIN_S = 5,
	EXPIRES_MAX_S = 86400,    /* of a 423: a registrar that wants more is not obeyed */
	OPEN_MAX_S = 32,          /* a connection that takes longer is given up */
	WATCH_US = 2 * SECOND_US, /* how soon a lost connection is seen */
	KEEPALIVE_WATCHES = 15,   /* 30 s */
	RECONNECT_US = SECOND_US,
};

enum state {
	STATE_IDLE,     /* not started */
	STATE_OPENING,  /* name, connection */
	STATE_SENT,     /* REGISTER under way */
	STATE_BOUND,    /* waits for its refresh */
	STATE_WAITING,  /* failed, waits for the next try */
	STATE_REMOVING, /* name, connection, un-REGISTER */
	STATE_STOPPED,
};

struct registration {
	struct sip_stack *stack;
	struct registration_config config;
	enum state state;
	struct wheel_timer timer; /* the one pending time of each state */
	struct wheel_timer watch; /* bound over a stream: keep-alive */
	uint32_t watches;
	uint32_t connection; /* that the REGISTER went by */
	struct line_opening *opening;
	struct uac *uac;
	char *contact;      /* as sent last */
	char *stale;        /* the one before, when our address changed; NULL: none left */
	uint32_t expires_s; /* asked for */
	uint32_t retry_s;   /* 0: the last try was good */
	bool is_obeying;    /* the next try follows a 423 */
	bool is_bound;      /* the registrar said so, and was not asked to remove it */
	bool is_unsure;     /* a REGISTER without a final answer: it may have been bound */
	bool is_reported;   /* is_good was logged */
	bool is_good;
	registration_stopped_h *doneh;
	void *arg;
};

static void destructor(void *arg)
{
	struct registration *reg = arg;

	wheel_stop(&reg->timer);
	wheel_stop(&reg->watch);
	mem_deref(reg->opening);
	mem_deref(reg->uac);
	mem_deref(reg->contact);
	mem_deref(reg->stale);
}

/* Header lines up to and with the Expires. */
static int write_headers(char **headersp, const struct register_request *config)
{
	char expires[16];

	(void)snprintf(expires, sizeof(expires), "%u", (unsigned)config->expires_s);

	return text_join(headersp, "User-Agent: ", config->user_agent, "\r\nContact: <", config->contact, ">",
	        config->stale ? ", <" : "", config->stale ? config->stale : "", config->stale ? ">;expires=0" : "",
	        "\r\nExpires: ", expires, "\r\n", NULL);
}

int register_request_alloc(struct sip_request **reqp, const struct register_request *config)
{
	struct sip_request *req;
	char tag[17];
	int err = sip_request_alloc(&req);

	if (err)
		return err;

	token_print(tag, config->tag);
	err = str_dup(&req->method, "REGISTER");
	req->uri = mem_ref(config->identity->registrar);
	req->call_id = mem_ref(config->call_id);
	req->cseq = config->cseq;
	err = err ? err : text_join(&req->from, "<", config->aor, ">;tag=", tag, NULL);
	err = err ? err : text_join(&req->to, "<", config->aor, ">", NULL);
	err = err ? err : write_headers(&req->headers, config);
	if (err)
		mem_deref(req);
	else
		*reqp = req;

	return err;
}

struct contact_search {
	struct register_answer *answer;
	const char *token;
	struct pl only; /* the only one, if it is */
	struct pl params;
};

static bool contact_handler(const struct sip_hdr *hdr, const struct sip_msg *msg, void *arg)
{
	struct contact_search *search = arg;
	struct sip_addr addr;
	(void)msg;

	++search->answer->bindings;
	if (sip_addr_decode(&addr, &hdr->val))
		return false;

	if (search->answer->bindings == 1) {
		search->only = addr.auri;
		search->params = addr.params;
	}
	if (!pl_strcmp(&addr.uri.user, search->token)) {
		search->answer->contact = addr.auri;
		search->params = addr.params;
		search->token = ""; /* the first one counts */
	}

	return false;
}

void register_answer_get(struct register_answer *answer, const struct sip_msg *msg, const char *token)
{
	struct contact_search search = {.answer = answer, .token = token};
	struct pl expires;

	memset(answer, 0, sizeof(*answer));
	(void)sip_msg_hdr_apply(msg, true, SIP_HDR_CONTACT, contact_handler, &search);
	if (!pl_isset(&answer->contact) && answer->bindings == 1)
		answer->contact = search.only; /* rewritten */

	if (pl_isset(&answer->contact) && !msg_param_decode(&search.params, "expires", &expires))
		answer->has_expires = text_u32(&answer->expires_s, &expires);
	if (!answer->has_expires)
		answer->has_expires = text_u32(&answer->expires_s, &msg->expires);
}

/* A change of state is told, the same again is for debugging. */
static void report(struct registration *reg, bool is_good, const char *text)
{
	bool is_news = !reg->is_reported || reg->is_good != is_good;

	reg->is_reported = true;
	reg->is_good = is_good;
	if (!is_news)
		log_debug("registration again account=%s state=%s reason=\"%s\"", reg->config.name,
		        is_good ? "bound" : "failed", text);
	else if (is_good)
		log_notice("registration account=%s state=bound", reg->config.name);
	else
		log_warn("registration account=%s state=failed reason=\"%s\"", reg->config.name, text);
}

static void begin(struct registration *reg);

static void timer_handler(uint64_t now_us, void *arg);

static void start_timer(struct registration *reg, uint64_t delay_us)
{
	wheel_start(reg->stack->wheel, &reg->timer, stack_now(reg->stack) + delay_us, timer_handler, reg);
}

/* Less by up to a tenth, so that what failed together does not come again together; refreshes likewise. */
static uint64_t jittered(struct registration *reg, uint32_t delay_s)
{
	uint64_t delay_us = (uint64_t)delay_s * SECOND_US;

	return delay_us - stack_random(reg->stack) % (delay_us / 10 + 1);
}

static void let_go(struct registration *reg)
{
	wheel_stop(&reg->timer);
	wheel_stop(&reg->watch);
	reg->opening = mem_deref(reg->opening);
	reg->uac = mem_deref(reg->uac);
}

/* Calls the handler: the registration may be gone afterwards. */
static void stopped(struct registration *reg)
{
	let_go(reg);
	reg->state = STATE_STOPPED;
	reg->doneh(reg->arg);
}

/* at_least_s: what the registrar asked for, or what keeps an account from being locked. */
static void failed(struct registration *reg, uint32_t at_least_s, const char *text)
{
	uint32_t delay_s;

	let_go(reg);
	reg->is_obeying = false;
	reg->retry_s = reg->retry_s ? reg->retry_s * 2 : RETRY_MIN_S;
	if (reg->retry_s > RETRY_MAX_S)
		reg->retry_s = RETRY_MAX_S;
	delay_s = at_least_s > reg->retry_s ? at_least_s : reg->retry_s;

	reg->state = STATE_WAITING;
	report(reg, false, text);
	start_timer(reg, jittered(reg, delay_s));
}

static void failed_errno(struct registration *reg, int err)
{
	char text[128];

	failed(reg, 0, str_error(err, text, sizeof(text)));
}

static void watch_handler(uint64_t now_us, void *arg)
{
	struct registration *reg = arg;

	/* a check may have made a new one: the contact is still that of the old one */
	if (!line_is_open(reg->config.line) || line_connection(reg->config.line) != reg->connection) {
		wheel_stop(&reg->timer);
		report(reg, false, "connection lost");
		reg->state = STATE_WAITING;
		start_timer(reg, RECONNECT_US);
		return;
	}
	if (++reg->watches % KEEPALIVE_WATCHES == 0)
		line_keepalive(reg->config.line);
	wheel_start(reg->stack->wheel, &reg->watch, now_us + WATCH_US, watch_handler, reg);
}

/* Half of what was granted, at least 5 s before its end, at most an hour, never more than once a second. */
static uint32_t refresh_s(uint32_t granted_s)
{
	uint32_t delay_s = granted_s / 2;

	if (granted_s > REFRESH_MARGIN_S && granted_s - delay_s < REFRESH_MARGIN_S)
		delay_s = granted_s - REFRESH_MARGIN_S;
	if (delay_s > REFRESH_MAX_S)
		delay_s = REFRESH_MAX_S;

	return delay_s ? delay_s : 1;
}

static void bound(struct registration *reg, const struct sip_msg *msg)
{
	struct register_answer answer;
	uint32_t granted_s = reg->expires_s;

	register_answer_get(&answer, msg, reg->config.id->contact);
	if (answer.has_expires)
		granted_s = answer.expires_s;
	if (!granted_s) {
		failed(reg, 0, "the registrar binds for 0 seconds");
		return;
	}

	let_go(reg);
	reg->stale = mem_deref(reg->stale);
	reg->is_bound = true;
	reg->is_unsure = false;
	reg->is_obeying = false;
	reg->retry_s = 0;
	reg->state = STATE_BOUND;
	report(reg, true, "");
	start_timer(reg, jittered(reg, refresh_s(granted_s)));
	if (line_transport(reg->config.line) != TRANSPORT_UDP)
		wheel_start(reg->stack->wheel, &reg->watch, stack_now(reg->stack) + WATCH_US, watch_handler, reg);
}

static uint32_t header_u32(const struct sip_msg *msg, enum sip_hdrid id)
{
	const struct sip_hdr *hdr = sip_msg_hdr(msg, id);
	uint32_t value = 0;

	if (hdr)
		(void)text_u32(&value, &hdr->val);

	return value;
}

/* 423: once, what the registrar wants is asked for at once. */
static bool obey_min_expires(struct registration *reg, const struct sip_msg *msg)
{
	uint32_t min_s = header_u32(msg, SIP_HDR_MIN_EXPIRES);

	if (msg->scode != 423 || reg->is_obeying || min_s <= reg->expires_s || min_s > EXPIRES_MAX_S)
		return false;

	reg->expires_s = min_s;
	reg->is_obeying = true;
	let_go(reg);
	begin(reg);

	return true;
}

static void refused(struct registration *reg, const struct sip_msg *msg)
{
	uint32_t at_least_s = header_u32(msg, SIP_HDR_RETRY_AFTER);
	char text[64];

	reg->is_unsure = false;
	if (obey_min_expires(reg, msg))
		return;

	if (msg->scode == 401 || msg->scode == 403 || msg->scode == 407)
		at_least_s = RETRY_MAX_S;
	if (at_least_s > REFRESH_MAX_S)
		at_least_s = REFRESH_MAX_S;
	(void)snprintf(text, sizeof(text), "refused with %u", (unsigned)msg->scode);
	failed(reg, at_least_s, text);
}

static void response_handler(int err, const struct ctrans_response *rsp, void *arg)
{
	struct registration *reg = arg;
	const struct sip_msg *msg = rsp ? rsp->msg : NULL;

	if (!err && (!msg || msg->scode < 200))
		return;

	if (reg->state == STATE_REMOVING) {
		if (err || msg->scode >= 300)
			log_warn("registration account=%s state=stopped reason=\"the binding could not be removed\" "
			         "code=%u",
			        reg->config.name, msg ? (unsigned)msg->scode : 0);
		stopped(reg);
	} else if (msg && msg->scode >= 300) {
		refused(reg, msg);
	} else if (err) {
		failed_errno(reg, err);
	} else {
		bound(reg, msg);
	}
}

/* Our address may be another one than at the last time: then the old contact goes with the new one. */
static int make_contact(struct registration *reg, const struct uac_target *target)
{
	struct sa local;
	char *contact;
	int err;

	err = flow_local(target->flow, &target->dst, &local);
	err = err ? err : identity_contact(&contact, reg->config.id->contact, &local, line_transport(reg->config.line));
	if (err)
		return err;

	if (reg->contact && strcmp(contact, reg->contact) != 0 && (reg->is_bound || reg->is_unsure)) {
		mem_deref(reg->stale);
		reg->stale = reg->contact;
		reg->contact = NULL;
	}
	mem_deref(reg->contact);
	reg->contact = contact;

	return 0;
}

static int send_register(struct registration *reg, const struct uac_target *target)
{
	struct register_request request = {
	        .identity = reg->config.identity,
	        .user_agent = reg->stack->user_agent,
	        .call_id = reg->config.id->call_id,
	        .aor = reg->config.identity->aor,
	        .expires_s = reg->state == STATE_REMOVING ? 0 : reg->expires_s,
	        .tag = stack_random(reg->stack),
	};
	struct sip_request *req;
	int err = 0;

	if (reg->state != STATE_REMOVING || !reg->contact)
		err = make_contact(reg, target);
	if (err)
		return err;

	request.contact = reg->contact;
	request.stale = reg->stale;
	request.cseq = ++reg->config.id->cseq;
	err = register_request_alloc(&req, &request);
	if (err)
		return err;

	err = uac_request(&reg->uac, reg->stack, target, req, reg->config.login, reg->config.password, NULL,
	        response_handler, reg);
	mem_deref(req);
	if (err)
		return err;

	uac_share_cseq(reg->uac, &reg->config.id->cseq);
	reg->connection = line_connection(reg->config.line);
	if (reg->state != STATE_REMOVING) {
		wheel_stop(&reg->timer);
		reg->state = STATE_SENT;
		reg->is_unsure = true;
	}

	return 0;
}

static void send_or_fail(struct registration *reg, const struct uac_target *target)
{
	int err = send_register(reg, target);

	if (!err)
		return;
	if (reg->state == STATE_REMOVING)
		start_timer(reg, 0); /* stopped, but not from inside registration_stop() */
	else
		failed_errno(reg, err);
}

static void open_handler(const struct line_answer *answer, uint64_t now_us, void *arg)
{
	struct registration *reg = arg;
	struct uac_target target = answer->target;
	(void)now_us;

	if (answer->err && reg->state == STATE_REMOVING) {
		stopped(reg);
		return;
	}
	if (answer->err && answer->text) {
		failed(reg, 0, answer->text);
		return;
	}
	if (answer->err) {
		failed_errno(reg, answer->err);
		return;
	}

	send_or_fail(reg, &target);
	reg->opening = mem_deref(reg->opening);
}

/* Finds the registrar and sends; reg->state tells what. */
static void reach(struct registration *reg)
{
	struct uac_target target;
	int err;

	if (line_get(reg->config.line, &target)) {
		send_or_fail(reg, &target);
		return;
	}

	err = line_open(&reg->opening, reg->config.line, open_handler, reg);
	if (!err)
		return;
	if (reg->state == STATE_REMOVING)
		start_timer(reg, 0);
	else
		failed_errno(reg, err);
}

static void begin(struct registration *reg)
{
	reg->state = STATE_OPENING;
	start_timer(reg, (uint64_t)OPEN_MAX_S * SECOND_US);
	reach(reg);
}

static void timer_handler(uint64_t now_us, void *arg)
{
	struct registration *reg = arg;
	(void)now_us;

	switch (reg->state) {
	case STATE_OPENING:
		failed_errno(reg, ETIMEDOUT);
		break;
	case STATE_BOUND:
	case STATE_WAITING:
		let_go(reg);
		begin(reg);
		break;
	case STATE_REMOVING:
		stopped(reg);
		break;
	case STATE_IDLE:
	case STATE_SENT:
	case STATE_STOPPED:
		break;
	}
}

int registration_alloc(struct registration **regp, struct sip_stack *stack, const struct registration_config *config)
{
	struct registration *reg;

	if (!regp || !stack || !config || !config->identity->aor)
		return EINVAL;

	reg = mem_zalloc(sizeof(*reg), destructor);
	if (!reg)
		return ENOMEM;

	reg->stack = stack;
	reg->config = *config;
	reg->expires_s = REGISTRATION_EXPIRES_S;
	*regp = reg;

	return 0;
}

void registration_start(struct registration *reg)
{
	if (reg->state == STATE_IDLE)
		begin(reg);
}

void registration_stop(struct registration *reg, registration_stopped_h *doneh, void *arg)
{
	bool is_needed = reg->is_bound || reg->is_unsure;

	let_go(reg);
	reg->doneh = doneh;
	reg->arg = arg;
	reg->state = STATE_REMOVING;
	start_timer(reg, is_needed ? (uint64_t)REGISTRATION_STOP_MS * 1000 : 0);
	if (is_needed)
		reach(reg);
}

bool registration_is_bound(const struct registration *reg)
{
	return reg->is_bound && reg->state != STATE_REMOVING && reg->state != STATE_STOPPED;
}
