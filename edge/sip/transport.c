/**
 * @file transport.c  Sockets under SIP: what UDP and TCP have in common
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "edge/clock.h"
#include "edge/sip/flow.h"

enum {
	SOCKET_BUCKETS = 1024,
	POOLED_SIZE_MAX = 4096, /* a larger buffer is not kept for messages that are small as a rule */
};

static void orphan_streams(struct sip_transport *t)
{
	struct le *le;

	while ((le = list_head(&t->streams))) {
		struct flow *flow = le->data;

		stream_close(flow); /* may free it: an accepted one was held by the transport only */
	}
}

static bool orphan_socket_h(struct le *le, void *arg)
{
	struct flow *flow = le->data;
	(void)arg;

	datagram_close(flow);
	flow->transport = NULL;

	return false;
}

static void transport_destructor(void *data)
{
	struct sip_transport *t = data;
	struct le *le;

	orphan_streams(t);
	while ((le = list_head(&t->listeners)))
		listener_close(le->data);
	if (t->sockets) {
		(void)hash_apply(t->sockets, orphan_socket_h, NULL);
		hash_clear(t->sockets);
	}
	mem_deref(t->sockets);
	mem_deref(t->batch);
	mem_deref(t->routes);
	mem_deref(t->pool);
}

int transport_alloc(struct sip_transport **tp, transport_recv_h *recvh, transport_error_h *errorh, void *arg)
{
	struct sip_transport *t = mem_zalloc(sizeof(*t), transport_destructor);
	int err;

	if (!t)
		return ENOMEM;

	t->recvh = recvh;
	t->errorh = errorh;
	t->arg = arg;
	err = hash_alloc(&t->sockets, SOCKET_BUCKETS);
	if (!err)
		err = rx_batch_alloc(&t->batch);
	if (!err)
		err = routes_alloc(&t->routes);
	if (err)
		mem_deref(t);
	else
		*tp = t;

	return err;
}

int transport_socket(int *fdp, int af, int type)
{
	int fd = socket(af, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		return errno;

	if (af == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	*fdp = fd;

	return 0;
}

int socket_local(int fd, struct sa *sa)
{
	sa->len = sizeof(sa->u);

	return getsockname(fd, &sa->u.sa, &sa->len) < 0 ? errno : 0;
}

static struct mbuf *pool_take(struct sip_transport *t, size_t len)
{
	if (t->pool && (mem_nrefs(t->pool) > 1 || t->pool->size > POOLED_SIZE_MAX))
		t->pool = mem_deref(t->pool);
	if (!t->pool)
		t->pool = mbuf_alloc(len > 1024 ? len : 1024);

	return t->pool;
}

void transport_deliver(
        struct flow *flow, const struct sa *src, const uint8_t *buf, size_t len, bool is_truncated, uint64_t rx_us)
{
	struct sip_transport *t = flow->transport;
	struct mbuf *mb = pool_take(t, len);
	struct transport_rx rx;

	if (!mb)
		return; /* out of memory: as if it had been lost */
	mbuf_rewind(mb);
	if (mbuf_write_mem(mb, buf, len))
		return;
	mb->pos = 0;

	rx = (struct transport_rx){.flow = flow,
	        .src = *src,
	        .dst = flow->local,
	        .mb = mem_ref(mb),
	        .rx_us = rx_us,
	        .is_truncated = is_truncated};
	t->recvh(&rx, t->arg);
	mem_deref(mb);
}

int flow_send(struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len)
{
	if (!flow || !buf || !len || len > UINT16_MAX)
		return EINVAL;
	if (!flow->transport || flow->fd < 0)
		return ENOTCONN;

	return flow->proto == TRANSPORT_UDP ? datagram_send(flow, dst, buf, len) : stream_send(flow, buf, len);
}

enum transport flow_proto(const struct flow *flow)
{
	return flow->proto;
}

int flow_local(struct flow *flow, const struct sa *dst, struct sa *local)
{
	struct sa found;
	int err;

	if (!flow->transport)
		return ENOTCONN;
	if (!sa_is_any(&flow->local)) {
		*local = flow->local;
		return 0;
	}
	if (sa_af(dst) != sa_af(&flow->local))
		return EAFNOSUPPORT;

	err = routes_find(flow->transport->routes, dst, clock_mono_us(), &found);
	if (err)
		return err;
	sa_set_port(&found, sa_port(&flow->local));
	*local = found;

	return 0;
}
