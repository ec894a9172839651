/**
 * @file resolve.c  From a configured host to addresses (RFC 3263 4.1, 4.2), through c-ares
 *
 * Two layers. An *entry* is one cached lookup (the SRV records of a name, or the addresses of a name), shared by all who
 * ask meanwhile. A *query* is one caller's way through entries: SRV, then the addresses of every target. c-ares may call back
 * from inside a call to it; so finished queries are put on a list, and an eventfd takes the answer to the loop.
 */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "edge/clock.h"
#include "edge/sip/resolve.h"

enum {
	ENTRIES_MAX = 10000,
	ENTRY_BUCKETS = 4096,
	SRV_MAX = 16,
	TTL_MIN_S = 1,
	TTL_MAX_S = 300,
	TTL_SRV_S = 60, /* c-ares 1.18 does not tell the TTL of SRV records */
	TTL_NEGATIVE_S = 5,
	SERVER_TIMEOUT_MS = 1000,
	SERVER_TRIES = 2,
	PORT_SIP = 5060,
	PORT_SIPS = 5061,
	SECOND_US = 1000000,
};

struct srv {
	char *host;
	uint16_t priority, weight, port;
};

struct entry {
	struct le he; /* in the hash */
	struct le le; /* oldest first */
	struct resolver *r;
	char *name;
	int family; /* -1: SRV records */
	bool is_pending;
	uint64_t expires_us;
	int err;
	const char *text;
	size_t n;
	union {
		struct sa addr[RESOLVE_ADDRESSES_MAX];
		struct srv srv[SRV_MAX];
	} u;
	struct list waits; /* struct wait */
};

struct wait {
	struct le le;
	struct entry *entry; /* referenced */
	struct resolve_query *query;
	uint16_t port;
};

enum query_state {
	QUERY_SRV,
	QUERY_ADDRESSES,
	QUERY_READY,
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
	unsigned pending; /* waits whose entry has no answer yet */
	size_t nwaits;
	struct wait wait[SRV_MAX];
	struct resolve_answer answer;
};

/* A descriptor of c-ares on the loop. */
struct dns_socket {
	struct le le;
	struct resolver *r;
	ares_socket_t fd;
};

struct resolver {
	ares_channel channel; /* NULL: not there */
	struct wheel *wheel;
	struct wheel_timer timer; /* the next timeout of c-ares */
	struct hash *entries;
	struct list ages;
	unsigned count;
	struct list sockets;
	struct list queries;
	struct list ready;
	int eventfd; /* -1: none */
	bool is_closing;
};

static void run(struct resolve_query *q);

static void rearm(struct resolver *r);

static void timeout_h(uint64_t now_us, void *arg)
{
	struct resolver *r = arg;
	(void)now_us;

	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	rearm(r);
}

static void rearm(struct resolver *r)
{
	struct timeval tv;

	if (!ares_timeout(r->channel, NULL, &tv)) {
		wheel_stop(&r->timer);
		return;
	}
	wheel_start(r->wheel, &r->timer, clock_mono_us() + (uint64_t)tv.tv_sec * SECOND_US + (uint64_t)tv.tv_usec,
	        timeout_h, r);
}

static void socket_event_h(int flags, void *arg)
{
	struct dns_socket *sock = arg;
	struct resolver *r = sock->r;
	ares_socket_t fd = sock->fd; /* sock may be freed in there */

	ares_process_fd(r->channel, flags & (FD_READ | FD_EXCEPT) ? fd : ARES_SOCKET_BAD,
	        flags & FD_WRITE ? fd : ARES_SOCKET_BAD);
	rearm(r);
}

static void dns_socket_destructor(void *data)
{
	struct dns_socket *sock = data;

	list_unlink(&sock->le);
	fd_close(sock->fd);
}

static struct dns_socket *find_socket(struct resolver *r, ares_socket_t fd)
{
	struct le *le;

	LIST_FOREACH (&r->sockets, le) {
		struct dns_socket *sock = le->data;

		if (sock->fd == fd)
			return sock;
	}

	return NULL;
}

static void socket_state_h(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = arg;
	struct dns_socket *sock = find_socket(r, fd);

	if (!readable && !writable) {
		mem_deref(sock);
		return;
	}

	if (!sock) {
		sock = mem_zalloc(sizeof(*sock), dns_socket_destructor);
		if (!sock)
			return; /* the lookup times out */
		sock->r = r;
		sock->fd = fd;
		list_append(&r->sockets, &sock->le, sock);
	}
	(void)fd_listen(fd, (readable ? FD_READ : 0) | (writable ? FD_WRITE : 0), socket_event_h, sock);
}

static void entry_destructor(void *data)
{
	struct entry *e = data;

	hash_unlink(&e->he);
	list_unlink(&e->le);
	if (e->family == -1) {
		for (size_t i = 0; i < e->n; i++)
			mem_deref(e->u.srv[i].host);
	}
	mem_deref(e->name);
}

static int error_of(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
	case ARES_ENONAME:
	case ARES_EBADNAME:
		return ENOENT;
	case ARES_ETIMEOUT:
	case ARES_ECONNREFUSED:
		return ETIMEDOUT;
	case ARES_ENOMEM:
		return ENOMEM;
	default:
		return EPROTO;
	}
}

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

static void entry_done(struct entry *e, int status, int ttl_s)
{
	struct le *le;

	e->is_pending = false;
	e->err = error_of(status);
	e->text = ares_strerror(status);
	if (!e->err && !e->n)
		e->err = ENOENT;
	if (e->err)
		ttl_s = TTL_NEGATIVE_S;
	else if (ttl_s < TTL_MIN_S)
		ttl_s = TTL_MIN_S;
	else if (ttl_s > TTL_MAX_S)
		ttl_s = TTL_MAX_S;
	e->expires_us = clock_mono_us() + (uint64_t)ttl_s * SECOND_US;

	while ((le = list_head(&e->waits))) {
		struct wait *w = le->data;

		list_unlink(&w->le);
		if (!--w->query->pending)
			run(w->query);
	}
}

static void addresses_h(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct entry *e = arg;
	int ttl_s = TTL_MAX_S;
	(void)timeouts;

	if (e->r->is_closing)
		goto out;

	for (struct ares_addrinfo_node *node = info ? info->nodes : NULL; node && e->n < RESOLVE_ADDRESSES_MAX;
	        node = node->ai_next) {
		if (sa_set_sa(&e->u.addr[e->n], node->ai_addr))
			continue;
		e->n++;
		if (node->ai_ttl < ttl_s)
			ttl_s = node->ai_ttl;
	}
	entry_done(e, status, ttl_s);
out:
	if (info)
		ares_freeaddrinfo(info);
	mem_deref(e);
}

static int by_priority(const void *a, const void *b)
{
	const struct srv *x = a, *y = b;

	return x->priority != y->priority ? x->priority - y->priority : x->weight - y->weight;
}

static void srv_h(void *arg, int status, int timeouts, unsigned char *buf, int len)
{
	struct ares_srv_reply *reply = NULL;
	struct entry *e = arg;
	(void)timeouts;

	if (e->r->is_closing)
		goto out;

	if (status == ARES_SUCCESS)
		status = ares_parse_srv_reply(buf, len, &reply);
	for (struct ares_srv_reply *s = reply; s && e->n < SRV_MAX; s = s->next) {
		struct srv *srv = &e->u.srv[e->n];

		if (strlen(s->host) > HOST_LEN_MAX || str_dup(&srv->host, s->host))
			continue;
		srv->priority = s->priority;
		srv->weight = s->weight;
		srv->port = s->port;
		e->n++;
	}
	/* within a priority those of weight 0 come first (RFC 2782) */
	qsort(e->u.srv, e->n, sizeof(*e->u.srv), by_priority);
	if (reply)
		ares_free_data(reply);
	entry_done(e, status, TTL_SRV_S);
out:
	mem_deref(e);
}

static void ask(struct entry *e)
{
	struct resolver *r = e->r;

	/* the answer's reference; callbacks drop it */
	mem_ref(e);
	if (e->family == -1) {
		ares_query(r->channel, e->name, ns_c_in, ns_t_srv, srv_h, e);
	} else {
		struct ares_addrinfo_hints hints = {.ai_family = e->family};

		ares_getaddrinfo(r->channel, e->name, NULL, &hints, addresses_h, e);
	}
	rearm(r);
}

static void forget(struct entry *e)
{
	e->r->count--;
	hash_unlink(&e->he);
	list_unlink(&e->le);
	mem_deref(e);
}

/* Room for one more; ENOBUFS when all are under way. */
static int make_room(struct resolver *r)
{
	struct le *le;

	if (r->count < ENTRIES_MAX)
		return 0;

	LIST_FOREACH (&r->ages, le) {
		struct entry *e = le->data;

		if (!e->is_pending) {
			forget(e);
			return 0;
		}
	}

	return ENOBUFS;
}

struct key {
	const char *name;
	int family;
};

static bool same_key_h(struct le *le, void *arg)
{
	const struct entry *e = le->data;
	const struct key *key = arg;

	return e->family == key->family && !strcasecmp(e->name, key->name);
}

static int entry_new(struct entry **ep, struct resolver *r, const struct key *key)
{
	struct entry *e;
	int err = make_room(r);

	if (err)
		return err;

	e = mem_zalloc(sizeof(*e), entry_destructor);
	if (!e)
		return ENOMEM;
	e->r = r;
	e->family = key->family;
	e->is_pending = true;
	if (str_dup(&e->name, key->name)) {
		mem_deref(e);
		return ENOMEM;
	}
	hash_append(r->entries, hash_joaat_str_ci(key->name), &e->he, e);
	list_append(&r->ages, &e->le, e);
	r->count++;
	*ep = e;

	return 0;
}

/* The query's next wait is for this name; it is asked for if nobody knows it. */
static int wait_for(struct resolve_query *q, const char *name, int family, uint16_t port)
{
	struct key key = {name, family};
	struct le *le = hash_lookup(q->r->entries, hash_joaat_str_ci(name), same_key_h, &key);
	struct entry *e = le ? le->data : NULL;
	struct wait *w = &q->wait[q->nwaits];
	bool is_new = false;

	if (e && !e->is_pending && clock_mono_us() >= e->expires_us) {
		forget(e);
		e = NULL;
	}
	if (!e) {
		int err = entry_new(&e, q->r, &key);

		if (err)
			return err;
		is_new = true;
	}

	*w = (struct wait){.entry = mem_ref(e), .query = q, .port = port};
	q->nwaits++;
	if (e->is_pending) {
		list_append(&e->waits, &w->le, w);
		q->pending++;
	}
	if (is_new)
		ask(e);

	return 0;
}

static void drop_waits(struct resolve_query *q)
{
	for (size_t i = 0; i < q->nwaits; i++) {
		list_unlink(&q->wait[i].le);
		mem_deref(q->wait[i].entry);
	}
	q->nwaits = 0;
	q->pending = 0;
}

static void query_destructor(void *data)
{
	struct resolve_query *q = data;

	drop_waits(q);
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
static void order_by_weight(const struct srv **srv, size_t n, uint32_t *random)
{
	for (size_t first = 0; first + 1 < n; first++) {
		uint32_t sum = 0, pick;
		size_t i = first;

		for (size_t j = first; j < n; j++)
			sum += srv[j]->weight;
		pick = next_random(random) % (sum + 1);
		for (uint32_t running = srv[i]->weight; running < pick; running += srv[i]->weight)
			i++;

		const struct srv *chosen = srv[i];
		memmove(&srv[first + 1], &srv[first], (i - first) * sizeof(*srv));
		srv[first] = chosen;
	}
}

static void order(const struct srv **srv, size_t n, uint32_t seed)
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

static int ask_targets(struct resolve_query *q, const struct entry *records)
{
	const struct srv *srv[SRV_MAX];
	int err = 0;

	for (size_t i = 0; i < records->n; i++)
		srv[i] = &records->u.srv[i];
	order(srv, records->n, q->seed);
	for (size_t i = 0; i < records->n && !err; i++)
		err = wait_for(q, srv[i]->host, q->family, srv[i]->port);

	return err;
}

/* The SRV records are known or known not to be there: then the host itself (RFC 3263 4.2). Also when they could not be
   asked for: the hosts file may still know the host. */
static void take_records(struct resolve_query *q)
{
	struct entry *records = mem_ref(q->wait[0].entry);
	int err;

	drop_waits(q);
	q->state = QUERY_ADDRESSES;
	q->pending = 1; /* none that answers at once runs the query before all are asked */
	if (!records->err && records->n == 1 && (!*records->u.srv[0].host || !strcmp(records->u.srv[0].host, "."))) {
		q->pending = 0;
		fail(q, ENOENT, "the domain offers no such service (SRV target \".\")");
		goto out;
	}

	if (records->err)
		err = wait_for(q, q->host, q->family, default_port(q));
	else
		err = ask_targets(q, records);
	q->pending--;
	if (err && !q->nwaits)
		fail(q, err, "too many names at a time");
	else if (!q->pending)
		run(q);
out:
	mem_deref(records);
}

static void take_addresses(struct resolve_query *q)
{
	struct resolve_answer *a = &q->answer;

	for (size_t i = 0; i < q->nwaits; i++) {
		const struct entry *e = q->wait[i].entry;

		for (size_t j = 0; !e->err && j < e->n && a->n < RESOLVE_ADDRESSES_MAX; j++) {
			a->addr[a->n] = e->u.addr[j];
			sa_set_port(&a->addr[a->n], q->wait[i].port);
			a->n++;
		}
	}
	if (!a->n) {
		a->err = q->wait[0].entry->err;
		a->text = q->wait[0].entry->text;
	}
	drop_waits(q);
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
		err = wait_for(q, q->host, q->family, q->port);
	} else {
		q->state = QUERY_SRV;
		(void)re_snprintf(name, sizeof(name), "%s%s", srv_prefix(q->transport), q->host);
		err = wait_for(q, name, -1, 0);
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

	r->is_closing = true;
	wheel_stop(&r->timer);
	while ((le = list_head(&r->queries))) {
		struct resolve_query *q = le->data;

		drop_waits(q);
		list_unlink(&q->ready_le);
		list_unlink(&q->le);
		q->r = NULL;
	}
	if (r->channel)
		ares_destroy(r->channel);
	list_flush(&r->sockets);
	while ((le = list_head(&r->ages)))
		forget(le->data);
	mem_deref(r->entries);
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
	struct ares_options options = {.timeout = SERVER_TIMEOUT_MS, .tries = SERVER_TRIES};
	struct resolver *r = mem_zalloc(sizeof(*r), resolver_destructor);
	int err;

	if (!r)
		return ENOMEM;

	r->wheel = wheel;
	r->eventfd = -1;
	options.sock_state_cb = socket_state_h;
	options.sock_state_cb_data = r;
	err = hash_alloc(&r->entries, ENTRY_BUCKETS);
	if (!err)
		err = open_eventfd(r);
	if (!err && ares_init_options(&r->channel, &options,
	                    ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) {
		r->channel = NULL;
		err = ENOMEM;
	}
	if (err)
		mem_deref(r);
	else
		*rp = r;

	return err;
}

int resolver_set_servers(struct resolver *r, const char *csv)
{
	return ares_set_servers_ports_csv(r->channel, csv) == ARES_SUCCESS ? 0 : EINVAL;
}
