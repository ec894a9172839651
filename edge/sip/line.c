/**
 * @file line.c  An account's way to its server
 */
#include <string.h>
#include "edge/sip/line.h"

enum { LOOK_AGAIN_US = 10000 };

struct line {
	struct sip_stack *stack;
	struct sa local;
	char *host;
	uint16_t port;
	enum transport transport;
	bool is_kept;
	struct sa literal;               /* set when the host is an IP address */
	struct flow *udp[2];             /* IPv4, IPv6: as they are needed */
	struct transport_port *reserved; /* a fixed TCP port */

	struct flow *stream; /* kept connection, being made or open */
	struct sa stream_dst;
	uint32_t nconnections;
	bool is_connecting;
	struct list waiting; /* openings, for that connection */
};

struct line_opening {
	struct le le;      /* line->waiting */
	struct line *line; /* referenced */
	line_h *h;
	void *arg;
	struct resolve_query *query;
	struct resolve_answer addresses;
	size_t next;              /* address to try next */
	struct flow *flow;        /* a connection of its own */
	struct wheel_timer again; /* somebody else's connection is under way */
	uint64_t step_us;         /* when the present phase began */
	struct line_answer answer;
};

static void line_destructor(void *arg)
{
	struct line *line = arg;

	mem_deref(line->stream);
	mem_deref(line->udp[0]);
	mem_deref(line->udp[1]);
	mem_deref(line->reserved);
	mem_deref(line->host);
}

static void opening_destructor(void *arg)
{
	struct line_opening *opening = arg;
	struct line *line = opening->line;

	list_unlink(&opening->le);
	wheel_stop(&opening->again);
	mem_deref(opening->query);
	mem_deref(opening->flow);
	if (line && line->is_connecting && list_isempty(&line->waiting)) {
		line->is_connecting = false; /* nobody waits for it any more */
		line->stream = mem_deref(line->stream);
	}
	mem_deref(line);
}

static bool has_address(const struct sa *sa)
{
	return sa_isset(sa, SA_ADDR) && !sa_is_any(sa);
}

/* What to bind: the configured address, or any of the family. */
static struct sa local_for(const struct line *line, int af)
{
	struct sa local;

	if (has_address(&line->local))
		return line->local;

	(void)sa_set_str(&local, af == AF_INET6 ? "::" : "0.0.0.0", sa_port(&line->local));

	return local;
}

static int udp_flow(struct flow **flowp, struct line *line, int af)
{
	struct flow **slot = &line->udp[af == AF_INET6];
	struct sa local = local_for(line, af);
	int err = *slot ? 0 : transport_udp(slot, line->stack->transport, &local);

	if (!err)
		*flowp = *slot;

	return err;
}

/* The family that is known before any lookup. */
static int family_of(const struct line *line)
{
	if (has_address(&line->local))
		return sa_af(&line->local);

	return sa_isset(&line->literal, SA_ADDR) ? sa_af(&line->literal) : AF_UNSPEC;
}

static int acquire(struct line *line)
{
	struct flow *flow;
	struct sa local;
	int af = family_of(line);

	switch (line->transport) {
	case TRANSPORT_UDP:
		return udp_flow(&flow, line, af);
	case TRANSPORT_TCP:
		if (sa_port(&line->local) == 0)
			return 0;
		local = local_for(line, af);
		return transport_reserve(&line->reserved, &local);
	case TRANSPORT_TLS:
		break;
	}

	return ENOTSUP;
}

int line_alloc(struct line **linep, struct sip_stack *stack, const struct line_config *config)
{
	struct line *line = mem_zalloc(sizeof(*line), line_destructor);
	int err;

	if (!line)
		return ENOMEM;

	line->stack = stack;
	line->local = config->local;
	line->port = config->port;
	line->transport = config->transport;
	line->is_kept = config->is_kept;
	list_init(&line->waiting);
	if (sa_set_str(&line->literal, config->host, config->port ? config->port : SIP_PORT))
		memset(&line->literal, 0, sizeof(line->literal));

	err = str_dup(&line->host, config->host);
	err = err ? err : acquire(line);
	if (err)
		mem_deref(line);
	else
		*linep = line;

	return err;
}

bool line_is_open(const struct line *line)
{
	if (line->transport == TRANSPORT_UDP || !line->is_kept)
		return true;

	return line->stream && !line->is_connecting && flow_is_open(line->stream);
}

uint32_t line_connection(const struct line *line)
{
	return line->nconnections;
}

enum transport line_transport(const struct line *line)
{
	return line->transport;
}

bool line_get(const struct line *line, struct uac_target *target)
{
	if (line->transport == TRANSPORT_UDP) {
		target->flow = line->udp[sa_af(&line->literal) == AF_INET6];
		target->dst = line->literal;
		return sa_isset(&line->literal, SA_ADDR) && target->flow;
	}

	target->flow = line->stream;
	target->dst = line->stream_dst;

	return line->is_kept && line_is_open(line);
}

void line_keepalive(struct line *line)
{
	static const uint8_t ping[] = {'\r', '\n', '\r', '\n'};

	if (line->transport != TRANSPORT_UDP && line->is_kept && line_is_open(line))
		(void)flow_send(line->stream, &line->stream_dst, ping,
		        sizeof(ping)); /* a lost flow is seen by line_is_open() */
}

/* Calls the handler; the opening may be gone afterwards. */
static void finish(struct line_opening *opening, int err, struct flow *flow, uint64_t now_us)
{
	struct line_answer *answer = &opening->answer;

	answer->err = err;
	answer->target.flow = err ? NULL : flow;
	answer->target.dst = answer->dst;
	if (!err)
		answer->phase = LINE_OPEN;
	opening->h(answer, now_us, opening->arg);
}

static void next_address(struct line_opening *opening, int err, uint64_t now_us);

static void connected(struct line_opening *opening, int err, struct flow *flow, uint64_t now_us)
{
	opening->answer.was_connect = !err;
	opening->answer.connect_us = now_us - opening->step_us;
	if (err) {
		opening->flow = mem_deref(opening->flow);
		next_address(opening, err, now_us);
		return;
	}
	finish(opening, 0, flow, now_us);
}

static void own_connection_handler(int err, struct flow *flow, uint64_t now_us, void *arg)
{
	connected(arg, err, flow, now_us);
}

static void kept_connection_handler(int err, struct flow *flow, uint64_t now_us, void *arg)
{
	struct line *line = mem_ref(arg);
	struct list woken = LIST_INIT;
	struct le *le;

	line->is_connecting = false;
	if (err)
		line->stream = mem_deref(line->stream);
	else
		line->nconnections++;

	while ((le = list_head(&line->waiting))) { /* some of them will wait for the next address */
		list_unlink(le);
		list_append(&woken, le, le->data);
	}
	while ((le = list_head(&woken))) {
		struct line_opening *opening = le->data;

		list_unlink(le);
		connected(opening, err, err ? NULL : flow, now_us);
	}

	mem_deref(line);
}

static void again_handler(uint64_t now_us, void *arg)
{
	struct line_opening *opening = arg;

	opening->next--;
	next_address(opening, EHOSTUNREACH, now_us);
}

/* Between a fixed port and a server there is one connection: another account's, or that of an account before this one, which its last
   calls still hold. true: it is taken, or waited for. */
static bool share_connection(struct line_opening *opening, const struct sa *local, uint64_t now_us)
{
	struct line *line = opening->line;
	struct flow *flow = sa_port(local) ? transport_find(line->stack->transport, local, &opening->answer.dst) : NULL;

	if (!flow)
		return false;
	if (!flow_is_open(flow)) {
		wheel_start(line->stack->wheel, &opening->again, now_us + LOOK_AGAIN_US, again_handler, opening);
		return true;
	}
	mem_deref(line->stream);
	line->stream = mem_ref(flow);
	line->stream_dst = opening->answer.dst;
	line->nconnections++;
	finish(opening, 0, flow, now_us);

	return true;
}

static int connect_kept(struct line_opening *opening, uint64_t now_us)
{
	struct line *line = opening->line;
	struct sa local = local_for(line, sa_af(&opening->answer.dst));
	int err = 0;

	if (!line->is_connecting && share_connection(opening, &local, now_us))
		return 0;
	if (!line->is_connecting) {
		line->stream = mem_deref(line->stream);
		err = transport_connect(&line->stream, line->stack->transport, &local, &opening->answer.dst,
		        kept_connection_handler, line);
		if (err)
			return err;
		line->is_connecting = true;
		line->stream_dst = opening->answer.dst;
	}
	opening->answer.dst = line->stream_dst;
	list_append(&line->waiting, &opening->le, opening);

	return 0;
}

/* 0: an answer was given, or will be. */
static int try_address(struct line_opening *opening, uint64_t now_us)
{
	struct line *line = opening->line;
	struct sa local;
	struct flow *flow;
	int err;

	if (line->transport == TRANSPORT_UDP) {
		err = udp_flow(&flow, line, sa_af(&opening->answer.dst));
		err = err ? err : flow_local(flow, &opening->answer.dst, &local); /* is there a route? */
		if (!err)
			finish(opening, 0, flow, now_us);
		return err;
	}
	if (line->is_kept && line_is_open(line)) {
		opening->answer.dst = line->stream_dst;
		finish(opening, 0, line->stream, now_us);
		return 0;
	}
	if (line->is_kept)
		return connect_kept(opening, now_us);

	local = local_for(line, sa_af(&opening->answer.dst));

	return transport_connect(
	        &opening->flow, line->stack->transport, &local, &opening->answer.dst, own_connection_handler, opening);
}

/* err: of the address before, for when there is no other one. */
static void next_address(struct line_opening *opening, int err, uint64_t now_us)
{
	while (opening->next < opening->addresses.n) {
		opening->answer.dst = opening->addresses.addr[opening->next++];
		opening->step_us = now_us;
		err = try_address(opening, now_us);
		if (!err)
			return;
	}

	finish(opening, err, NULL, now_us);
}

static void resolve_handler(const struct resolve_answer *answer, uint64_t now_us, void *arg)
{
	struct line_opening *opening = arg;

	opening->answer.was_lookup = answer->was_lookup && !answer->err;
	opening->answer.dns_us = now_us - opening->step_us;
	opening->answer.text = answer->text;
	if (answer->err) {
		finish(opening, answer->err, NULL, now_us);
		return;
	}

	opening->answer.phase = LINE_CONNECT;
	opening->answer.text = NULL;
	opening->addresses = *answer;
	next_address(opening, EHOSTUNREACH, now_us);
}

int line_open(struct line_opening **openingp, struct line *line, line_h *h, void *arg)
{
	struct line_opening *opening = mem_zalloc(sizeof(*opening), opening_destructor);
	int af = has_address(&line->local) ? sa_af(&line->local) : AF_UNSPEC;
	int err;

	if (!opening)
		return ENOMEM;

	opening->line = mem_ref(line);
	opening->h = h;
	opening->arg = arg;
	opening->step_us = stack_now(line->stack);
	err = resolve_start(&opening->query, line->stack->resolver, line->host, line->port, line->transport, af,
	        (uint32_t)stack_random(line->stack), resolve_handler, opening);
	if (err)
		mem_deref(opening);
	else
		*openingp = opening;

	return err;
}

enum line_phase line_opening_phase(const struct line_opening *opening)
{
	return opening->answer.phase;
}

const struct sa *line_opening_dst(const struct line_opening *opening)
{
	return sa_isset(&opening->answer.dst, SA_ADDR) ? &opening->answer.dst : NULL;
}
