/**
 * @file leg.c  An established dialog at work: its ACK, again for every retransmitted 2xx, and its BYE
 */
#include <errno.h>
#include "edge/sip/leg.h"

enum {
	MS = 1000,
	VIA_SIZE = 160,
	HEADERS_SIZE = 128,
	PORT_SIP = 5060,
	ACKS_DIRECT = 3, /* so many lost ACKs say that the next hop is out of reach */
};

enum state {
	STATE_LOOKING_UP, /* the ACK waits for the address of the next hop */
	STATE_CONFIRMED,
	STATE_CONNECTING, /* for a BYE: the connection was lost */
	STATE_ENDING,     /* BYE is under way */
	STATE_ENDED,
};

struct leg {
	struct sip_stack *stack;
	struct uac_target target; /* of the INVITE */
	struct account *account;
	struct dialog *dialog;
	enum state state;
	bool is_bye_wanted;
	bool is_direct; /* BYE goes where the INVITE went */
	struct sa dst;  /* next hop */
	struct mbuf *ack;
	unsigned nacks;
	struct resolve_query *query;
	struct wheel_timer timer; /* bounds query and connection */
	struct flow *flow;        /* new connection; NULL: the INVITE's */
	struct uac *bye;
	struct leg_end end;
	leg_h *h;
	void *arg;
};

static void destructor(void *arg)
{
	struct leg *leg = arg;

	wheel_stop(&leg->timer);
	mem_deref(leg->query);
	mem_deref(leg->bye);
	mem_deref(leg->flow);
	mem_deref(leg->ack);
	mem_deref(leg->dialog);
	mem_deref(leg->target.flow);
	mem_deref(leg->account);
}

static bool is_stream(const struct leg *leg)
{
	return flow_proto(leg->target.flow) != TRANSPORT_UDP;
}

static const char *via_transport(enum transport proto)
{
	switch (proto) {
	case TRANSPORT_UDP:
		return "UDP";
	case TRANSPORT_TCP:
		return "TCP";
	case TRANSPORT_TLS:
		return "TLS";
	}
	return "";
}

/* For requests outside of a transaction: a branch of their own that nothing is matched with. */
static int print_via(char via[VIA_SIZE], struct sip_stack *stack, struct flow *flow, const struct sa *dst)
{
	enum transport proto = flow_proto(flow);
	struct sa local;
	int err = flow_local(flow, dst, &local);

	if (err)
		return err;
	return re_snprintf(via, VIA_SIZE, "SIP/2.0/%s %J%s;branch=z9hG4bK%016llx", via_transport(proto), &local,
	               proto == TRANSPORT_UDP ? ";rport" : "", (unsigned long long)stack_random(stack)) < 0
	               ? ENOMEM
	               : 0;
}

static int encode(struct mbuf **mbp, struct sip_stack *stack, struct flow *flow, const struct sa *dst,
        const struct sip_request *req)
{
	char via[VIA_SIZE];
	struct mbuf *mb;
	int err = print_via(via, stack, flow, dst);

	if (err)
		return err;
	mb = mbuf_alloc(1024);
	if (!mb)
		return ENOMEM;
	err = sip_request_encode(mb, req, via);
	if (err)
		mem_deref(mb);
	else
		*mbp = mb;
	return err;
}

/* A lost one is asked for again by the retransmitted 2xx. */
static void send_ack(struct leg *leg)
{
	struct sip_request *req = NULL;

	if (!leg->ack && !dialog_ack(&req, leg->dialog))
		(void)encode(&leg->ack, leg->stack, leg->target.flow, &leg->dst, req);
	mem_deref(req);
	if (!leg->ack)
		return;
	(void)flow_send(leg->target.flow, &leg->dst, leg->ack->buf, leg->ack->end);
	if (++leg->nacks > ACKS_DIRECT && !sa_cmp(&leg->dst, &leg->target.dst, SA_ALL))
		(void)flow_send(leg->target.flow, &leg->target.dst, leg->ack->buf, leg->ack->end);
}

static void finish(struct leg *leg)
{
	if (leg->state == STATE_ENDED)
		return;
	leg->state = STATE_ENDED;
	wheel_stop(&leg->timer);
	leg->query = mem_deref(leg->query);
	leg->h(leg, &leg->end, leg->arg);
}

static void send_bye(struct leg *leg);

/* An answer of any kind ends the dialog (15.1.1). Silence and refused packets may be the fault of the way to the next hop. */
static void bye_h(int err, const struct ctrans_response *rsp, void *arg)
{
	struct leg *leg = arg;

	if (rsp && rsp->msg->scode < 200)
		return;
	if (rsp) {
		leg->end.code = rsp->msg->scode;
		leg->end.rx_us = rsp->rx_us;
	} else if (err && !leg->is_direct && !sa_cmp(&leg->dst, &leg->target.dst, SA_ALL)) {
		leg->is_direct = true;
		leg->bye = mem_deref(leg->bye);
		send_bye(leg);
		return;
	}
	finish(leg);
}

static int request_bye(struct leg *leg)
{
	struct uac_target target = {
	        .flow = leg->flow ? leg->flow : leg->target.flow, .dst = leg->is_direct ? leg->target.dst : leg->dst};
	char headers[HEADERS_SIZE];
	struct sip_request *req = NULL;
	struct uac_stats stats;
	int err;

	if (re_snprintf(headers, sizeof(headers), "User-Agent: %s\r\n", leg->stack->user_agent) < 0)
		headers[0] = '\0';
	err = dialog_request(&req, leg->dialog, "BYE", headers);
	if (err)
		return err;
	err = uac_request(
	        &leg->bye, leg->stack, &target, req, leg->account->login, leg->account->password, NULL, bye_h, leg);
	mem_deref(req);
	if (err)
		return err;
	uac_stats_get(leg->bye, &stats);
	if (!leg->end.sent_us)
		leg->end.sent_us = stats.sent_us;
	return 0;
}

static void send_bye(struct leg *leg)
{
	int err;

	leg->state = STATE_ENDING;
	err = request_bye(leg);
	if (err && !leg->is_direct && !sa_cmp(&leg->dst, &leg->target.dst, SA_ALL)) {
		leg->is_direct = true;
		err = request_bye(leg);
	}
	if (err)
		finish(leg);
}

static void connected_h(int err, struct flow *flow, uint64_t now_us, void *arg)
{
	struct leg *leg = arg;
	(void)flow;
	(void)now_us;

	wheel_stop(&leg->timer);
	if (err)
		finish(leg);
	else
		send_bye(leg);
}

static void connect_late_h(uint64_t now_us, void *arg)
{
	(void)now_us;
	finish(arg);
}

/* The INVITE's connection was lost: the BYE gets one of its own. */
static void connect_again(struct leg *leg)
{
	struct sa local;
	int err;

	sa_init(&local, sa_af(&leg->target.dst));
	err = transport_connect(&leg->flow, leg->stack->transport, &local, &leg->target.dst, connected_h, leg);
	if (err) {
		finish(leg);
		return;
	}
	leg->state = STATE_CONNECTING;
	wheel_start(leg->stack->wheel, &leg->timer, stack_now(leg->stack) + LEG_CONNECT_MS * MS, connect_late_h, leg);
}

static void confirm(struct leg *leg)
{
	leg->state = STATE_CONFIRMED;
	send_ack(leg);
	if (leg->is_bye_wanted)
		leg_hang_up(leg);
}

static void resolved_h(const struct resolve_answer *answer, uint64_t now_us, void *arg)
{
	struct leg *leg = arg;
	(void)now_us;

	wheel_stop(&leg->timer);
	for (size_t i = 0; !answer->err && i < answer->n; i++) {
		if (sa_af(&answer->addr[i]) != sa_af(&leg->target.dst))
			continue;
		leg->dst = answer->addr[i];
		break;
	}
	leg->query = mem_deref(leg->query);
	confirm(leg);
}

static void lookup_late_h(uint64_t now_us, void *arg)
{
	struct leg *leg = arg;
	(void)now_us;

	leg->query = mem_deref(leg->query);
	confirm(leg);
}

/* An address that can be sent to from here. */
static bool literal_hop(struct sa *dst, const struct leg *leg, const struct dialog_hop *hop)
{
	struct sa sa;

	if (sa_set(&sa, &hop->host, hop->port ? hop->port : PORT_SIP))
		return false;
	*dst = sa_is_any(&sa) || sa_af(&sa) != sa_af(&leg->target.dst) ? leg->target.dst : sa;
	return true;
}

/* dst stays where the INVITE went unless the next hop says otherwise. true: known at once. */
static bool find_hop(struct leg *leg)
{
	struct dialog_hop hop = dialog_next_hop(leg->dialog);
	char *host = NULL;
	int err;

	if (is_stream(leg) || !pl_isset(&hop.host) || literal_hop(&leg->dst, leg, &hop))
		return true;
	if (pl_strdup(&host, &hop.host))
		return true;
	err = resolve_start(&leg->query, leg->stack->resolver, host, hop.port, flow_proto(leg->target.flow),
	        sa_af(&leg->target.dst), (uint32_t)stack_random(leg->stack), resolved_h, leg);
	mem_deref(host);
	if (err)
		return true;
	wheel_start(leg->stack->wheel, &leg->timer, stack_now(leg->stack) + LEG_LOOKUP_MS * MS, lookup_late_h, leg);
	return false;
}

int leg_alloc(struct leg **legp, const struct leg_config *config, struct sip_request *invite, const struct sip_msg *msg)
{
	struct leg *leg = mem_zalloc(sizeof(*leg), destructor);
	int err;

	if (!leg)
		return ENOMEM;
	leg->stack = config->stack;
	leg->target.flow = mem_ref(config->target->flow);
	leg->target.dst = leg->dst = config->target->dst;
	leg->account = mem_ref(config->account);
	leg->h = config->h;
	leg->arg = config->arg;
	err = dialog_alloc(&leg->dialog, invite, msg);
	if (err) {
		mem_deref(leg);
		return err;
	}
	if (find_hop(leg))
		confirm(leg);
	*legp = leg;
	return 0;
}

void leg_refuse(const struct leg_config *config, struct sip_request *invite, const struct sip_msg *msg)
{
	struct flow *flow = config->target->flow;
	const struct sa *dst = &config->target->dst;
	struct sip_request *req[2] = {NULL, NULL};
	struct dialog *dialog;

	if (dialog_alloc(&dialog, invite, msg))
		return;
	(void)dialog_ack(&req[0], dialog);
	(void)dialog_request(&req[1], dialog, "BYE", NULL);
	for (int i = 0; i < 2; i++) {
		struct mbuf *mb = NULL;

		if (req[i] && !encode(&mb, config->stack, flow, dst, req[i]))
			(void)flow_send(flow, dst, mb->buf, mb->end);
		mem_deref(mb);
		mem_deref(req[i]);
	}
	mem_deref(dialog);
}

struct dialog *leg_dialog(struct leg *leg)
{
	return leg->dialog;
}

void leg_acknowledge(struct leg *leg)
{
	if (leg->state != STATE_LOOKING_UP)
		send_ack(leg);
}

void leg_hang_up(struct leg *leg)
{
	switch (leg->state) {
	case STATE_LOOKING_UP:
		leg->is_bye_wanted = true; /* a UAS may refuse a BYE before the ACK (15) */
		break;
	case STATE_CONFIRMED:
		if (is_stream(leg) && !flow_is_open(leg->target.flow))
			connect_again(leg);
		else
			send_bye(leg);
		break;
	case STATE_CONNECTING:
	case STATE_ENDING:
	case STATE_ENDED:
		break;
	}
}

void leg_take_bye(struct leg *leg, uint64_t rx_us)
{
	switch (leg->state) {
	case STATE_LOOKING_UP:
	case STATE_CONFIRMED:
	case STATE_CONNECTING:
		leg->end.is_remote = true;
		leg->end.rx_us = rx_us;
		finish(leg);
		break;
	case STATE_ENDING: /* both at once: ours is answered too */
	case STATE_ENDED:
		break;
	}
}

void leg_refresh(struct leg *leg, const struct sip_msg *msg)
{
	struct dialog_hop hop;

	if (dialog_refresh(leg->dialog, msg))
		return;
	hop = dialog_next_hop(leg->dialog);
	if (!is_stream(leg) && pl_isset(&hop.host))
		(void)literal_hop(&leg->dst, leg, &hop);
}

bool leg_is_ended(const struct leg *leg)
{
	return leg->state == STATE_ENDED;
}

bool leg_is_ending(const struct leg *leg)
{
	return leg->state == STATE_CONNECTING || leg->state == STATE_ENDING || leg->state == STATE_ENDED;
}
