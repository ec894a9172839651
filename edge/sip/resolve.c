/**
 * @file resolve.c  From a configured host to addresses (RFC 3263 4.1, 4.2)
 *
 * A query is one caller's way through lookups: SRV, then the addresses of every target. A lookup may end from inside the
 * call that starts it (hosts file, cache); so finished queries are put on a list, and an eventfd takes the answer to the loop.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "edge/clock.h"
#include "edge/sip/dns.h"
#include "edge/sip/resolve.h"

enum {
	PORT_SIP = 5060,
	PORT_SIPS = 5061,
};

enum query_state {
	QUERY_SRV,
	QUERY_ADDRESSES,
	QUERY_READY,
};

struct target {
	struct dns_wait wait;
	uint16_t port;
};

struct resolve_query {
	struct le le; /* all queries */
	struct le ready_le;
	struct resolver *r; /* NULL: gone */
	enum query_state state;
	char *host;
	uint16_t port;
	enum transport transport;
	int family;
	uint32_t seed;
	resolve_h *h;
	void *arg;
	unsigned pending; /* lookups that have not ended yet */
	size_t ntargets;
	struct target target[DNS_RECORDS_MAX];
	struct resolve_answer answer;
};

struct resolver {
	struct dns *dns;
	struct list queries;
	struct list ready;
	int eventfd; /* -1: none */
};

static void run(struct resolve_query *q);

/* Has the loop look at the list of ready queries. A full counter is readable already. */
static void wake(struct resolver *r)
{
	uint64_t one = 1;
	ssize_t n = write(r->eventfd, &one, sizeof(one));

	(void)n;
}

static void make_ready(struct resolve_query *q)
{
	q->state = QUERY_READY;
	if (list_isempty(&q->r->ready))
		wake(q->r);
	list_append(&q->r->ready, &q->ready_le, q);
}

static void looked_up_h(void *arg)
{
	struct resolve_query *q = arg;

	if (!--q->pending)
		run(q);
}

/* The query's next lookup. The caller holds `pending` up until it has started all of them. */
static int look_up(struct resolve_query *q, const char *name, int family, uint16_t port)
{
	struct target *t = &q->target[q->ntargets];
	int err;

	t->port = port;
	q->ntargets++;
	q->pending++;
	err = dns_ask(q->r->dns, &t->wait, name, family, looked_up_h, q);
	if (err) {
		q->ntargets--;
		q->pending--;
	}

	return err;
}

static void drop_targets(struct resolve_query *q)
{
	for (size_t i = 0; i < q->ntargets; i++)
		dns_wait_end(&q->target[i].wait);
	q->ntargets = 0;
	q->pending = 0;
}

static void query_destructor(void *data)
{
	struct resolve_query *q = data;

	drop_targets(q);
	list_unlink(&q->ready_le);
	list_unlink(&q->le);
	mem_deref(q->host);
}

static void fail(struct resolve_query *q, int err, const char *text)
{
	q->answer.err = err;
	q->answer.text = text;
	make_ready(q);
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;

	return *state >> 8;
}

/* Moves srv[0..n-1], which has one priority, into the order to try (RFC 2782, "weight"). */
static void order_by_weight(const struct dns_srv **srv, size_t n, uint32_t *random)
{
	for (size_t first = 0; first + 1 < n; first++) {
		uint32_t sum = 0, pick;
		size_t i = first;

		for (size_t j = first; j < n; j++)
			sum += srv[j]->weight;
		pick = next_random(random) % (sum + 1);
		for (uint32_t running = srv[i]->weight; running < pick; running += srv[i]->weight)
			i++;

		const struct dns_srv *chosen = srv[i];
		memmove(&srv[first + 1], &srv[first], (i - first) * sizeof(*srv));
		srv[first] = chosen;
	}
}

static void order(const struct dns_srv **srv, size_t n, uint32_t seed)
{
	size_t start = 0;

	for (size_t i = 1; i <= n; i++) {
		if (i < n && srv[i]->priority == srv[start]->priority)
			continue;
		order_by_weight(srv + start, i - start, &seed);
		start = i;
	}
}

static uint16_t default_port(const struct resolve_query *q)
{
	return q->transport == TRANSPORT_TLS ? PORT_SIPS : PORT_SIP;
}

static int ask_targets(struct resolve_query *q, const struct dns_entry *records)
{
	const struct dns_srv *srv[DNS_RECORDS_MAX];
	int err = 0;

	for (size_t i = 0; i < records->n; i++)
		srv[i] = &records->u.srv[i];
	order(srv, records->n, q->seed);
	for (size_t i = 0; i < records->n && !err; i++)
		err = look_up(q, srv[i]->host, q->family, srv[i]->port);

	return err;
}

/* The SRV records are known or known not to be there: then the host itself (RFC 3263 4.2). Also when they could not be
   asked for: the hosts file may still know the host. */
static void take_records(struct resolve_query *q)
{
	struct dns_entry *records = mem_ref(q->target[0].wait.entry);
	int err;

	drop_targets(q);
	q->state = QUERY_ADDRESSES;
	q->pending = 1; /* none that answers at once runs the query before all are asked */
	if (!records->err && records->n == 1 && (!*records->u.srv[0].host || !strcmp(records->u.srv[0].host, "."))) {
		q->pending = 0;
		fail(q, ENOENT, "the domain offers no such service (SRV target \".\")");
		goto out;
	}

	if (records->err)
		err = look_up(q, q->host, q->family, default_port(q));
	else
		err = ask_targets(q, records);
	q->pending--;
	if (err && !q->ntargets)
		fail(q, err, "too many names at a time");
	else if (!q->pending)
		run(q);
out:
	mem_deref(records);
}

static void take_addresses(struct resolve_query *q)
{
	struct resolve_answer *a = &q->answer;

	for (size_t i = 0; i < q->ntargets; i++) {
		const struct dns_entry *e = q->target[i].wait.entry;

		for (size_t j = 0; !e->err && j < e->n && a->n < RESOLVE_ADDRESSES_MAX; j++) {
			a->addr[a->n] = e->u.addr[j];
			sa_set_port(&a->addr[a->n], q->target[i].port);
			a->n++;
		}
	}
	if (!a->n) {
		a->err = q->target[0].wait.entry->err;
		a->text = q->target[0].wait.entry->text;
	}
	drop_targets(q);
	make_ready(q);
}

/* Everything that the query waited for is there. */
static void run(struct resolve_query *q)
{
	switch (q->state) {
	case QUERY_SRV:
		take_records(q);
		break;
	case QUERY_ADDRESSES:
		take_addresses(q);
		break;
	case QUERY_READY:
		break;
	}
}

static void ready_h(int flags, void *arg)
{
	struct resolver *r = arg;
	uint64_t events;
	struct le *le;
	(void)flags;

	if (read(r->eventfd, &events, sizeof(events)) < 0)
		return;

	/* As many as there are now: handlers may start more, and free any query, which then leaves the list. */
	mem_ref(r);
	for (uint32_t n = list_count(&r->ready); n && (le = list_head(&r->ready)); n--) {
		struct resolve_query *q = mem_ref(le->data);

		list_unlink(&q->ready_le);
		q->h(&q->answer, clock_mono_us(), q->arg);
		mem_deref(q);
	}
	if (!list_isempty(&r->ready))
		wake(r);
	mem_deref(r);
}

static const char *srv_prefix(enum transport transport)
{
	switch (transport) {
	case TRANSPORT_UDP:
		return "_sip._udp.";
	case TRANSPORT_TCP:
		return "_sip._tcp.";
	case TRANSPORT_TLS:
		return "_sips._tcp.";
	}

	return "";
}

static int start_lookup(struct resolve_query *q)
{
	char name[HOST_LEN_MAX + sizeof("_sips._tcp.")];
	int err;

	q->answer.was_lookup = true;
	q->pending = 1;
	if (q->port) {
		q->state = QUERY_ADDRESSES;
		err = look_up(q, q->host, q->family, q->port);
	} else {
		q->state = QUERY_SRV;
		(void)re_snprintf(name, sizeof(name), "%s%s", srv_prefix(q->transport), q->host);
		err = look_up(q, name, DNS_FAMILY_SRV, 0);
	}
	q->pending--;
	if (!err && !q->pending)
		run(q);

	return err;
}

/* "192.0.2.1", "2001:db8::1" or "[2001:db8::1]" */
static bool is_literal(struct sa *sa, const char *host)
{
	struct pl pl;

	pl_set_str(&pl, host);
	if (pl.l > 2 && pl.p[0] == '[' && pl.p[pl.l - 1] == ']') {
		pl.p++;
		pl.l -= 2;
	}

	return !sa_set(sa, &pl, 0);
}

int resolve_start(struct resolve_query **qp, struct resolver *r, const char *host, uint16_t port,
        enum transport transport, int family, uint32_t seed, resolve_h *h, void *arg)
{
	struct resolve_query *q;
	int err;

	if (!qp || !r || !host || !*host || strlen(host) > HOST_LEN_MAX || !h)
		return EINVAL;

	q = mem_zalloc(sizeof(*q), query_destructor);
	if (!q)
		return ENOMEM;
	q->r = r;
	q->port = port;
	q->transport = transport;
	q->family = family;
	q->seed = seed;
	q->h = h;
	q->arg = arg;
	q->answer.text = "";
	list_append(&r->queries, &q->le, q);
	err = str_dup(&q->host, host);
	if (err)
		goto out;

	if (is_literal(&q->answer.addr[0], host)) {
		sa_set_port(&q->answer.addr[0], port ? port : default_port(q));
		q->answer.n = 1;
		if (family != AF_UNSPEC && family != sa_af(&q->answer.addr[0])) {
			q->answer.n = 0;
			fail(q, EAFNOSUPPORT, "local and remote address are of different families");
		} else {
			make_ready(q);
		}
	} else {
		err = start_lookup(q);
	}
out:
	if (err)
		mem_deref(q);
	else
		*qp = q;

	return err;
}

static void resolver_destructor(void *data)
{
	struct resolver *r = data;
	struct le *le;

	while ((le = list_head(&r->queries))) {
		struct resolve_query *q = le->data;

		drop_targets(q);
		list_unlink(&q->ready_le);
		list_unlink(&q->le);
		q->r = NULL;
	}
	mem_deref(r->dns);
	if (r->eventfd >= 0) {
		fd_close(r->eventfd);
		(void)close(r->eventfd);
	}
}

static int open_eventfd(struct resolver *r)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), err;

	if (fd < 0)
		return errno;
	err = fd_listen(fd, FD_READ, ready_h, r);
	if (err) {
		(void)close(fd);
		return err;
	}
	r->eventfd = fd;

	return 0;
}

int resolver_alloc(struct resolver **rp, struct wheel *wheel)
{
	struct resolver *r = mem_zalloc(sizeof(*r), resolver_destructor);
	int err;

	if (!r)
		return ENOMEM;

	r->eventfd = -1;
	err = open_eventfd(r);
	if (!err)
		err = dns_alloc(&r->dns, wheel);
	if (err)
		mem_deref(r);
	else
		*rp = r;

	return err;
}

int resolver_set_servers(struct resolver *r, const char *csv)
{
	return dns_set_servers(r->dns, csv);
}
