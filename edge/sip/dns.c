/**
 * @file dns.c  Lookups through c-ares: cached, shared by all who ask meanwhile, never blocking
 */
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "edge/clock.h"
#include "edge/core/config.h"
#include "edge/sip/dns.h"

enum {
	ENTRIES_MAX = 10000,
	ENTRY_BUCKETS = 4096,
	TTL_MIN_S = 1,
	TTL_MAX_S = 300,
	TTL_SRV_S = 60, /* c-ares 1.18 does not tell the TTL of SRV records */
	TTL_NEGATIVE_S = 5,
	SERVER_TIMEOUT_MS = 1000,
	SERVER_TRIES = 2,
	SECOND_US = 1000000,
};

/* A descriptor of c-ares on the loop. */
struct dns_socket {
	struct le le;
	struct dns *dns;
	ares_socket_t fd;
};

struct dns {
	ares_channel channel; /* NULL: not there */
	struct wheel *wheel;
	struct wheel_timer timer; /* the next timeout of c-ares */
	struct hash *entries;
	struct list ages;
	unsigned count;
	struct list sockets;
	bool is_closing;
};

static void rearm(struct dns *dns);

static void timeout_h(uint64_t now_us, void *arg)
{
	struct dns *dns = arg;
	(void)now_us;

	ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	rearm(dns);
}

static void rearm(struct dns *dns)
{
	struct timeval tv;

	if (!ares_timeout(dns->channel, NULL, &tv)) {
		wheel_stop(&dns->timer);
		return;
	}
	wheel_start(dns->wheel, &dns->timer, clock_mono_us() + (uint64_t)tv.tv_sec * SECOND_US + (uint64_t)tv.tv_usec,
	        timeout_h, dns);
}

static void socket_event_h(int flags, void *arg)
{
	struct dns_socket *sock = arg;
	struct dns *dns = sock->dns;
	ares_socket_t fd = sock->fd; /* sock may be freed in there */

	ares_process_fd(dns->channel, flags & (FD_READ | FD_EXCEPT) ? fd : ARES_SOCKET_BAD,
	        flags & FD_WRITE ? fd : ARES_SOCKET_BAD);
	rearm(dns);
}

static void dns_socket_destructor(void *data)
{
	struct dns_socket *sock = data;

	list_unlink(&sock->le);
	fd_close(sock->fd);
}

static struct dns_socket *find_socket(struct dns *dns, ares_socket_t fd)
{
	struct le *le;

	LIST_FOREACH (&dns->sockets, le) {
		struct dns_socket *sock = le->data;

		if (sock->fd == fd)
			return sock;
	}

	return NULL;
}

static void socket_state_h(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns *dns = arg;
	struct dns_socket *sock = find_socket(dns, fd);

	if (!readable && !writable) {
		mem_deref(sock);
		return;
	}

	if (!sock) {
		sock = mem_zalloc(sizeof(*sock), dns_socket_destructor);
		if (!sock)
			return; /* the lookup times out */
		sock->dns = dns;
		sock->fd = fd;
		list_append(&dns->sockets, &sock->le, sock);
	}
	(void)fd_listen(fd, (readable ? FD_READ : 0) | (writable ? FD_WRITE : 0), socket_event_h, sock);
}

static void entry_destructor(void *data)
{
	struct dns_entry *e = data;

	hash_unlink(&e->he);
	list_unlink(&e->le);
	if (e->family == DNS_FAMILY_SRV) {
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

static void entry_done(struct dns_entry *e, int status, int ttl_s)
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
		struct dns_wait *wait = le->data;

		list_unlink(&wait->le);
		wait->h(wait->arg);
	}
}

static void addresses_h(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct dns_entry *e = arg;
	int ttl_s = TTL_MAX_S;
	(void)timeouts;

	if (e->dns->is_closing)
		goto out;

	for (struct ares_addrinfo_node *node = info ? info->nodes : NULL; node && e->n < DNS_RECORDS_MAX;
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
	const struct dns_srv *x = a, *y = b;

	return x->priority != y->priority ? x->priority - y->priority : x->weight - y->weight;
}

static void srv_h(void *arg, int status, int timeouts, unsigned char *buf, int len)
{
	struct ares_srv_reply *reply = NULL;
	struct dns_entry *e = arg;
	(void)timeouts;

	if (e->dns->is_closing)
		goto out;

	if (status == ARES_SUCCESS)
		status = ares_parse_srv_reply(buf, len, &reply);
	for (struct ares_srv_reply *s = reply; s && e->n < DNS_RECORDS_MAX; s = s->next) {
		struct dns_srv *srv = &e->u.srv[e->n];

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

static void ask(struct dns_entry *e)
{
	struct dns *dns = e->dns;

	/* the answer's reference; callbacks drop it */
	mem_ref(e);
	if (e->family == DNS_FAMILY_SRV) {
		ares_query(dns->channel, e->name, ns_c_in, ns_t_srv, srv_h, e);
	} else {
		struct ares_addrinfo_hints hints = {.ai_family = e->family};

		ares_getaddrinfo(dns->channel, e->name, NULL, &hints, addresses_h, e);
	}
	rearm(dns);
}

static void forget(struct dns_entry *e)
{
	e->dns->count--;
	hash_unlink(&e->he);
	list_unlink(&e->le);
	mem_deref(e);
}

/* Room for one more; ENOBUFS when all are under way. */
static int make_room(struct dns *dns)
{
	struct le *le;

	if (dns->count < ENTRIES_MAX)
		return 0;

	LIST_FOREACH (&dns->ages, le) {
		struct dns_entry *e = le->data;

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
	const struct dns_entry *e = le->data;
	const struct key *key = arg;

	return e->family == key->family && !strcasecmp(e->name, key->name);
}

static int entry_new(struct dns_entry **ep, struct dns *dns, const struct key *key)
{
	struct dns_entry *e;
	int err = make_room(dns);

	if (err)
		return err;

	e = mem_zalloc(sizeof(*e), entry_destructor);
	if (!e)
		return ENOMEM;
	e->dns = dns;
	e->family = key->family;
	e->is_pending = true;
	if (str_dup(&e->name, key->name)) {
		mem_deref(e);
		return ENOMEM;
	}
	hash_append(dns->entries, hash_joaat_str_ci(key->name), &e->he, e);
	list_append(&dns->ages, &e->le, e);
	dns->count++;
	*ep = e;

	return 0;
}

int dns_ask(struct dns *dns, struct dns_wait *wait, const char *name, int family, dns_h *h, void *arg)
{
	struct key key = {name, family};
	struct le *le = hash_lookup(dns->entries, hash_joaat_str_ci(name), same_key_h, &key);
	struct dns_entry *e = le ? le->data : NULL;
	bool is_new = false;

	if (e && !e->is_pending && clock_mono_us() >= e->expires_us) {
		forget(e);
		e = NULL;
	}
	if (!e) {
		int err = entry_new(&e, dns, &key);

		if (err)
			return err;
		is_new = true;
	}

	*wait = (struct dns_wait){.entry = mem_ref(e), .h = h, .arg = arg};
	if (!e->is_pending) {
		h(arg);
		return 0;
	}
	list_append(&e->waits, &wait->le, wait);
	if (is_new)
		ask(e);

	return 0;
}

void dns_wait_end(struct dns_wait *wait)
{
	list_unlink(&wait->le);
	wait->entry = mem_deref(wait->entry);
}

static void dns_destructor(void *data)
{
	struct dns *dns = data;
	struct le *le;

	dns->is_closing = true;
	wheel_stop(&dns->timer);
	if (dns->channel)
		ares_destroy(dns->channel);
	list_flush(&dns->sockets);
	while ((le = list_head(&dns->ages)))
		forget(le->data);
	mem_deref(dns->entries);
}

int dns_alloc(struct dns **dnsp, struct wheel *wheel)
{
	struct ares_options options = {.timeout = SERVER_TIMEOUT_MS, .tries = SERVER_TRIES};
	struct dns *dns = mem_zalloc(sizeof(*dns), dns_destructor);
	int err;

	if (!dns)
		return ENOMEM;

	dns->wheel = wheel;
	options.sock_state_cb = socket_state_h;
	options.sock_state_cb_data = dns;
	err = hash_alloc(&dns->entries, ENTRY_BUCKETS);
	if (!err && ares_init_options(&dns->channel, &options,
	                    ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS) {
		dns->channel = NULL;
		err = ENOMEM;
	}
	if (err)
		mem_deref(dns);
	else
		*dnsp = dns;

	return err;
}

int dns_set_servers(struct dns *dns, const char *csv)
{
	return ares_set_servers_ports_csv(dns->channel, csv) == ARES_SUCCESS ? 0 : EINVAL;
}
