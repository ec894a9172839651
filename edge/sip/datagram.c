/**
 * @file datagram.c  UDP sockets under SIP: batches, kernel receive times, ICMP errors
 */
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/errqueue.h>
#include "edge/clock.h"
#include "edge/sip/flow.h"
#include "edge/sip/message.h"

enum {
	CONTROL_SIZE = 512,
	ERRORS_MAX = 64,       /* ICMP errors per wake-up: a flood of them must not starve the answers */
	ERROR_PAYLOAD = 2048,  /* what the kernel returns of a datagram is no more than that */
	SEND_TRIES = 4,        /* each ICMP error that waits fails one send, whatever its destination */
	STAMP_SLACK_US = 1000, /* two clocks, read one after the other */
};

struct rx_batch {
	struct mmsghdr msg[RX_BATCH];
	struct iovec iov[RX_BATCH];
	struct sa src[RX_BATCH];
	_Alignas(struct cmsghdr) uint8_t control[RX_BATCH][CONTROL_SIZE];
	uint8_t *buf;
};

static void rx_batch_destructor(void *data)
{
	struct rx_batch *batch = data;

	mem_deref(batch->buf);
}

int rx_batch_alloc(struct rx_batch **batchp)
{
	struct rx_batch *batch = mem_zalloc(sizeof(*batch), rx_batch_destructor);

	if (!batch)
		return ENOMEM;
	batch->buf = mem_alloc((size_t)RX_BATCH * RX_SLOT_SIZE, NULL);
	if (!batch->buf) {
		mem_deref(batch);
		return ENOMEM;
	}
	*batchp = batch;

	return 0;
}

uint8_t *rx_batch_buffer(struct rx_batch *batch, size_t *sizep)
{
	*sizep = RX_SLOT_SIZE;

	return batch->buf;
}

static void rx_batch_prepare(struct rx_batch *batch)
{
	for (size_t i = 0; i < RX_BATCH; i++) {
		struct msghdr *hdr = &batch->msg[i].msg_hdr;

		batch->iov[i] = (struct iovec){batch->buf + i * RX_SLOT_SIZE, RX_SLOT_SIZE};
		*hdr = (struct msghdr){.msg_name = &batch->src[i].u,
		        .msg_namelen = sizeof(batch->src[i].u),
		        .msg_iov = &batch->iov[i],
		        .msg_iovlen = 1,
		        .msg_control = batch->control[i],
		        .msg_controllen = CONTROL_SIZE};
	}
}

int64_t rx_stamp(struct msghdr *hdr)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		struct timespec ts;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_TIMESTAMPNS)
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
	}

	return -1;
}

/* The wall clock's stamp on the monotonic clock. One that says the datagram came before the queue was last seen empty,
   or that it has not come yet, was made while the wall clock was being set: then it is now. */
uint64_t rx_time(int64_t stamp_us, uint64_t empty_us, uint64_t now_us, int64_t now_unix_us)
{
	int64_t age = now_unix_us - stamp_us, age_max = (int64_t)(now_us - empty_us);

	if (stamp_us < 0 || age < 0 || age > age_max + STAMP_SLACK_US)
		return now_us;

	return age > age_max ? empty_us : now_us - (uint64_t)age;
}

/* False: the handler closed or freed the flow. */
static bool is_alive(const struct flow *flow)
{
	return flow->transport && flow->fd >= 0 && mem_nrefs(flow) > 1;
}

static void deliver_batch(struct flow *flow, struct rx_batch *batch, int n)
{
	uint64_t now_us, empty_us = flow->empty_us;
	int64_t now_unix_us;

	clock_both_us(&now_us, &now_unix_us);
	for (int i = 0; i < n && is_alive(flow); i++) {
		struct msghdr *hdr = &batch->msg[i].msg_hdr;
		size_t len = batch->msg[i].msg_len;
		bool is_truncated = (hdr->msg_flags & MSG_TRUNC) || len > SIP_MESSAGE_SIZE_MAX;

		if (hdr->msg_flags & MSG_ERRQUEUE)
			continue;
		if (len > SIP_MESSAGE_SIZE_MAX)
			len = SIP_MESSAGE_SIZE_MAX;
		batch->src[i].len = hdr->msg_namelen;
		transport_deliver(flow, &batch->src[i], batch->buf + (size_t)i * RX_SLOT_SIZE, len, is_truncated,
		        rx_time(rx_stamp(hdr), empty_us, now_us, now_unix_us));
	}
}

static void receive(struct flow *flow)
{
	struct rx_batch *batch = flow->transport->batch;

	for (int round = 0; round < RX_BATCHES_MAX && is_alive(flow); round++) {
		uint64_t before_us = clock_mono_us();
		int n;

		rx_batch_prepare(batch);
		n = recvmmsg(flow->fd, batch->msg, RX_BATCH, MSG_DONTWAIT, NULL);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			continue; /* an ICMP error stood before the datagrams: it is read from its own queue */
		if (n > 0)
			deliver_batch(flow, batch, n);
		if (n < RX_BATCH) {
			flow->empty_us = before_us;
			return;
		}
	}
}

/* RFC 3261 18.4: unreachable or a parameter problem is an error, TTL exceeded is none; nor is "fragmentation needed":
   the next copy goes out in fragments. */
static bool is_fatal(const struct sock_extended_err *ee)
{
	switch (ee->ee_origin) {
	case SO_EE_ORIGIN_LOCAL:
		return ee->ee_errno != EMSGSIZE;
	case SO_EE_ORIGIN_ICMP:
		return ee->ee_type == ICMP_PARAMETERPROB ||
		       (ee->ee_type == ICMP_DEST_UNREACH && ee->ee_code != ICMP_FRAG_NEEDED);
	case SO_EE_ORIGIN_ICMP6:
		return ee->ee_type == ICMP6_DST_UNREACH || ee->ee_type == ICMP6_PARAM_PROB;
	default:
		return false;
	}
}

/* The errno of a message from the error queue; 0: nothing that ends a request. */
static int queued_error(struct msghdr *hdr)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		struct sock_extended_err ee;

		if (!(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) &&
		        !(c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR))
			continue;
		memcpy(&ee, CMSG_DATA(c), sizeof(ee));
		return is_fatal(&ee) ? (int)ee.ee_errno : 0;
	}

	return 0;
}

static void receive_errors(struct flow *flow)
{
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_SIZE];
	uint8_t payload[ERROR_PAYLOAD];
	socklen_t len = sizeof(int);
	int err;

	for (int i = 0; i < ERRORS_MAX && is_alive(flow); i++) {
		struct sip_transport *t = flow->transport;
		struct iovec iov = {payload, sizeof(payload)};
		struct sa dst;
		struct msghdr hdr = {.msg_name = &dst.u,
		        .msg_namelen = sizeof(dst.u),
		        .msg_iov = &iov,
		        .msg_iovlen = 1,
		        .msg_control = control,
		        .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(flow->fd, &hdr, MSG_ERRQUEUE | MSG_DONTWAIT);

		if (n < 0) {
			/* an error whose message found no room would wake us for ever */
			(void)getsockopt(flow->fd, SOL_SOCKET, SO_ERROR, &err, &len);
			return;
		}
		dst.len = hdr.msg_namelen;
		err = queued_error(&hdr);
		if (err && hdr.msg_namelen && t->errorh)
			t->errorh(flow, &dst, payload, (size_t)n, err, clock_mono_us(), t->arg);
	}
}

static void event_h(int flags, void *arg)
{
	struct flow *flow = mem_ref(arg);

	if (flags & FD_EXCEPT)
		receive_errors(flow);
	if (is_alive(flow))
		receive(flow);
	mem_deref(flow);
}

void datagram_close(struct flow *flow)
{
	if (flow->fd < 0)
		return;

	fd_close(flow->fd);
	(void)close(flow->fd);
	flow->fd = -1;
}

static void datagram_destructor(void *data)
{
	struct flow *flow = data;

	datagram_close(flow);
	hash_unlink(&flow->le);
}

static void set_buffer(int fd, int forced, int plain)
{
	int size = SOCKET_BUFFER;

	/* beyond the system's limit for those who may */
	if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, plain, &size, sizeof(size));
}

/* None of these is needed for it to work at all: an old kernel loses precision, not function. */
static void set_options(int fd, int af)
{
	int on = 1, dont = IP_PMTUDISC_DONT;

	set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	(void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
	if (af == AF_INET6) {
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof(on));
	} else {
		(void)setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof(on));
		/* routers fragment a large request, instead of dropping it */
		(void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &dont, sizeof(dont));
	}
}

static int open_socket(struct flow *flow, const struct sa *local)
{
	int fd, err = transport_socket(&fd, sa_af(local), SOCK_DGRAM);

	if (err)
		return err;

	set_options(fd, sa_af(local));
	flow->empty_us = clock_mono_us();
	if (bind(fd, &local->u.sa, local->len) < 0)
		err = errno;
	if (!err)
		err = socket_local(fd, &flow->local);
	if (!err)
		err = fd_listen(fd, FD_READ | FD_EXCEPT, event_h, flow);
	if (err)
		(void)close(fd);
	else
		flow->fd = fd;

	return err;
}

static bool same_key_h(struct le *le, void *arg)
{
	const struct flow *flow = le->data;
	const struct sa *key = arg;

	/* sa_cmp() finds no two addresses of different families equal */
	return sa_cmp(&flow->key, key, SA_ALL);
}

int transport_udp(struct flow **flowp, struct sip_transport *t, const struct sa *local)
{
	uint32_t key;
	struct flow *flow;
	struct le *le;
	int err;

	if (!flowp || !t || !local || (sa_af(local) != AF_INET && sa_af(local) != AF_INET6))
		return EINVAL;

	key = sa_hash(local, SA_ALL);
	le = hash_lookup(t->sockets, key, same_key_h, (void *)local);
	if (le) {
		*flowp = mem_ref(le->data);
		return 0;
	}

	flow = mem_zalloc(sizeof(*flow), datagram_destructor);
	if (!flow)
		return ENOMEM;
	flow->transport = t;
	flow->proto = TRANSPORT_UDP;
	flow->fd = -1;
	flow->key = *local;
	err = open_socket(flow, local);
	if (err) {
		mem_deref(flow);
		return err;
	}
	hash_append(t->sockets, key, &flow->le, flow);
	*flowp = flow;

	return 0;
}

/* What an ICMP error of some other destination may have left on the socket. */
static bool may_be_anothers(int err)
{
	return err == ECONNREFUSED || err == EHOSTUNREACH || err == ENETUNREACH || err == EHOSTDOWN || err == EPROTO ||
	       err == ENOPROTOOPT || err == EOPNOTSUPP || err == EACCES || err == ENONET || err == EMSGSIZE;
}

int datagram_send(struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len)
{
	int err = 0;

	if (!dst)
		return EINVAL;

	/* A pending ICMP error fails the next send and is cleared by that; it stays in the error queue, with its own
	   destination. An error of this destination comes back every time. */
	for (int i = 0; i < SEND_TRIES; i++) {
		if (sendto(flow->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL, &dst->u.sa, dst->len) >= 0)
			return 0;
		err = errno;
		if (err != EINTR && !may_be_anothers(err))
			break;
	}

	return err;
}
