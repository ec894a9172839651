/**
 * @file stream.c  TCP connections under SIP: connecting, framing, accepting
 *
 * A connection ends once: with its last reference (silently), by the peer or by an error (the handler is told).
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/sockios.h>
#include "edge/clock.h"
#include "edge/sip/flow.h"
#include "edge/sip/framer.h"

enum {
	READS_MAX = 4,      /* per wake-up */
	CONTROL_SIZE = 128, /* one timestamp */
	ACCEPTS_MAX = 16,   /* per wake-up */
	LISTEN_QUEUE = 256,
};

enum stream_state {
	STREAM_CONNECTING,
	STREAM_OPEN,
	STREAM_CLOSED,
};

struct stream {
	struct flow flow; /* first: a stream is a flow */
	struct sa remote;
	enum stream_state state;
	struct framer *framer;
	struct mbuf *tx; /* unsent: pos to end; NULL: nothing */
	transport_conn_h *connh;
	void *conn_arg;
	uint64_t active_us;
	bool is_accepted; /* and held by the transport */
	bool has_fixed_port;
};

struct transport_listener {
	struct le le;
	struct sip_transport *transport;
	struct sa local;
	int fd;
	bool is_paused; /* no descriptors left: level-triggered readiness would spin */
};

struct transport_port {
	int fd;
};

static struct stream *to_stream(struct flow *flow)
{
	return (struct stream *)flow;
}

/* RST instead of TIME_WAIT, which would hold the port, when nothing is under way any more. */
static void avoid_time_wait(const struct stream *s)
{
	struct linger abort = {.l_onoff = 1, .l_linger = 0};
	int unsent = 0;

	if (s->has_fixed_port && !s->tx && !ioctl(s->flow.fd, SIOCOUTQ, &unsent) && !unsent)
		(void)setsockopt(s->flow.fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
}

void stream_close(struct flow *flow)
{
	struct stream *s = to_stream(flow);
	struct sip_transport *t = flow->transport;

	if (s->state == STREAM_CLOSED)
		return;

	s->state = STREAM_CLOSED;
	if (flow->fd >= 0) {
		avoid_time_wait(s);
		fd_close(flow->fd);
		(void)close(flow->fd);
		flow->fd = -1;
	}
	list_unlink(&flow->le);
	flow->transport = NULL;
	s->tx = mem_deref(s->tx);
	if (s->is_accepted) {
		s->is_accepted = false;
		t->accepted_count--;
		mem_deref(flow); /* the transport's own reference */
	}
}

static void stream_destructor(void *data)
{
	struct stream *s = data;

	stream_close(&s->flow); /* the last reference is gone: never the transport's */
	mem_deref(s->framer);
}

/* The peer or the network ended it: tells whoever waits, once. */
static void stream_fail(struct stream *s, int err)
{
	struct sip_transport *t = s->flow.transport;
	enum stream_state state = s->state;
	transport_conn_h *connh = s->connh;
	uint64_t now_us = clock_mono_us();

	if (state == STREAM_CLOSED)
		return;

	mem_ref(s);
	stream_close(&s->flow);
	s->connh = NULL;
	if (state == STREAM_CONNECTING) {
		if (connh)
			connh(err, &s->flow, now_us, s->conn_arg);
	} else if (t->errorh) {
		t->errorh(&s->flow, &s->remote, NULL, 0, err, now_us, t->arg);
	}
	mem_deref(s);
}

/* Sends what waits; the rest waits on. */
static int stream_flush(struct stream *s)
{
	while (s->tx && mbuf_get_left(s->tx)) {
		ssize_t n = send(s->flow.fd, mbuf_buf(s->tx), mbuf_get_left(s->tx), MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : errno;
		mbuf_advance(s->tx, n);
	}
	s->tx = mem_deref(s->tx);

	return 0;
}

static void event_h(int flags, void *arg);

static int listen_events(struct stream *s)
{
	int flags = FD_READ | FD_EXCEPT;

	if (s->tx || s->state == STREAM_CONNECTING)
		flags |= FD_WRITE;

	return fd_listen(s->flow.fd, flags, event_h, s);
}

int stream_send(struct flow *flow, const uint8_t *buf, size_t len)
{
	struct stream *s = to_stream(flow);
	size_t held = s->tx ? mbuf_get_left(s->tx) : 0, end;
	bool was_waiting = s->tx != NULL;
	int err;

	if (held + len > STREAM_TX_MAX)
		return ENOBUFS;
	if (!s->tx) {
		s->tx = mbuf_alloc(len);
		if (!s->tx)
			return ENOMEM;
	} else if (s->tx->pos > STREAM_TX_MAX / 2) {
		memmove(s->tx->buf, mbuf_buf(s->tx), held);
		s->tx->pos = 0;
		s->tx->end = held;
	}

	end = s->tx->pos;
	mbuf_skip_to_end(s->tx);
	err = mbuf_write_mem(s->tx, buf, len);
	s->tx->pos = end;
	if (err || s->state == STREAM_CONNECTING || was_waiting)
		return err;

	err = stream_flush(s);
	if (!err && s->tx)
		err = listen_events(s);

	return err;
}

static bool is_alive(const struct stream *s)
{
	return s->state == STREAM_OPEN && mem_nrefs(s) > 1;
}

/* An answer that is there but not whole is shown as such before the connection's end is. */
static void show_partial(struct stream *s, uint64_t rx_us)
{
	const uint8_t *buf;
	size_t len;

	if (framer_partial(s->framer, &buf, &len))
		transport_deliver(&s->flow, &s->remote, buf, len, true, rx_us);
}

static void end_stream(struct stream *s, int err, uint64_t rx_us)
{
	const uint8_t *buf;
	size_t len;

	if (framer_partial(s->framer, &buf, &len))
		err = EBADMSG;
	show_partial(s, rx_us);
	stream_fail(s, err);
}

/* RFC 5626 4.4.1: the server side answers a double CRLF with a single one. */
static void answer_pings(struct stream *s)
{
	static const uint8_t pong[] = {'\r', '\n'};

	for (unsigned n = framer_take_pings(s->framer); n && s->is_accepted; n--) {
		if (stream_send(&s->flow, pong, sizeof(pong)))
			return; /* the next event shows why */
	}
}

static int take_messages(struct stream *s, uint64_t rx_us)
{
	const uint8_t *buf;
	size_t len;
	int err = 0;

	while (is_alive(s) && !(err = framer_next(s->framer, &buf, &len)))
		transport_deliver(&s->flow, &s->remote, buf, len, false, rx_us);
	if (is_alive(s))
		answer_pings(s);

	return err == EAGAIN ? 0 : err;
}

/* rx_us: when the kernel had the last of these bytes, so that an answer does not seem late because we are. */
static ssize_t read_stamped(struct stream *s, uint8_t *buf, size_t size, uint64_t *rx_usp)
{
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_SIZE];
	struct iovec iov = {buf, size};
	struct msghdr hdr = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	uint64_t before_us = clock_mono_us(), empty_us = s->flow.empty_us;
	ssize_t n = recvmsg(s->flow.fd, &hdr, MSG_DONTWAIT);
	int64_t now_unix_us;

	clock_both_us(rx_usp, &now_unix_us);
	if (n > 0)
		*rx_usp = rx_time(rx_stamp(&hdr), empty_us, *rx_usp, now_unix_us);
	if (n < (ssize_t)size)
		s->flow.empty_us = before_us;

	return n;
}

static void receive(struct stream *s)
{
	size_t size;
	uint8_t *buf = rx_batch_buffer(s->flow.transport->batch, &size);

	for (int i = 0; i < READS_MAX && is_alive(s); i++) {
		uint64_t rx_us;
		ssize_t n = read_stamped(s, buf, size, &rx_us);
		int err;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			end_stream(s, n ? errno : ECONNRESET, rx_us);
			return;
		}
		s->active_us = rx_us;
		err = framer_feed(s->framer, buf, (size_t)n);
		if (!err)
			err = take_messages(s, rx_us);
		if (err && is_alive(s)) {
			end_stream(s, err, rx_us);
			return;
		}
		if ((size_t)n < size)
			return;
	}
}

static void connected(struct stream *s)
{
	transport_conn_h *connh = s->connh;
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(s->flow.fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (!err)
		err = socket_local(s->flow.fd, &s->flow.local);
	if (err) {
		stream_fail(s, err);
		return;
	}

	s->state = STREAM_OPEN;
	s->connh = NULL;
	if (connh)
		connh(0, &s->flow, clock_mono_us(), s->conn_arg);
}

static void event_h(int flags, void *arg)
{
	struct stream *s = mem_ref(arg);
	bool was_waiting = s->tx != NULL || s->state == STREAM_CONNECTING;

	if (s->state == STREAM_CONNECTING && (flags & (FD_WRITE | FD_EXCEPT)))
		connected(s);
	if (is_alive(s) && s->tx) {
		int err = stream_flush(s);

		if (err)
			stream_fail(s, err);
	}
	if (is_alive(s) && was_waiting && !s->tx)
		(void)listen_events(s); /* only takes an interest away */
	if (is_alive(s) && (flags & (FD_READ | FD_EXCEPT)))
		receive(s);
	mem_deref(s);
}

static int stream_alloc(struct stream **sp, struct sip_transport *t, int fd, const struct sa *remote)
{
	struct stream *s = mem_zalloc(sizeof(*s), stream_destructor);
	int on = 1;

	if (!s)
		return ENOMEM;

	s->flow.transport = t;
	s->flow.proto = TRANSPORT_TCP;
	s->flow.fd = -1;
	s->remote = *remote;
	s->active_us = clock_mono_us();
	s->flow.empty_us = s->active_us;
	if (framer_alloc(&s->framer)) {
		mem_deref(s);
		return ENOMEM;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)); /* without: times of the read */
	list_append(&t->streams, &s->flow.le, &s->flow);
	*sp = s;

	return 0;
}

/* Bound to the address, and to the port if there is one. Any address and port 0: the kernel's choice at connect. */
static int bind_local(int fd, const struct sa *local)
{
	int on = 1;

	if (sa_port(local))
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	else if (sa_is_any(local))
		return 0;
	else
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));

	return bind(fd, &local->u.sa, local->len) < 0 ? errno : 0;
}

static int start_connect(struct stream *s, int fd, const struct sa *local)
{
	int err = bind_local(fd, local);

	if (err)
		return err;
	if (connect(fd, &s->remote.u.sa, s->remote.len) < 0 && errno != EINPROGRESS)
		return errno;
	err = socket_local(fd, &s->flow.local);
	if (err)
		return err;

	s->flow.fd = fd;
	err = listen_events(s);
	if (err)
		s->flow.fd = -1;

	return err;
}

int transport_connect(struct flow **flowp, struct sip_transport *t, const struct sa *local, const struct sa *remote,
        transport_conn_h *connh, void *arg)
{
	struct stream *s;
	int fd, err;

	if (!flowp || !t || !local || !remote || sa_af(local) != sa_af(remote))
		return EINVAL;

	err = transport_socket(&fd, sa_af(remote), SOCK_STREAM);
	if (err)
		return err;
	err = stream_alloc(&s, t, fd, remote);
	if (err) {
		(void)close(fd);
		return err;
	}

	s->connh = connh;
	s->conn_arg = arg;
	s->has_fixed_port = sa_port(local) != 0;
	err = start_connect(s, fd, local);
	if (err) {
		(void)close(fd);
		mem_deref(s);
		return err;
	}
	*flowp = &s->flow;

	return 0;
}

struct flow *transport_find(const struct sip_transport *t, const struct sa *local, const struct sa *remote)
{
	for (struct le *le = list_head(&t->streams); le; le = le->next) {
		struct stream *s = to_stream(le->data);

		if (s->has_fixed_port && sa_cmp(&s->remote, remote, SA_ALL) &&
		        sa_cmp(&s->flow.local, local, sa_is_any(local) ? SA_PORT : SA_ALL))
			return &s->flow;
	}

	return NULL;
}

static void accepted(struct transport_listener *l, int fd, const struct sa *remote)
{
	struct sip_transport *t = l->transport;
	struct stream *s;

	if (t->accepted_count >= TRANSPORT_ACCEPTED_MAX || stream_alloc(&s, t, fd, remote)) {
		(void)close(fd);
		return;
	}

	s->flow.fd = fd;
	s->state = STREAM_OPEN;
	if (socket_local(fd, &s->flow.local) || listen_events(s)) {
		s->flow.fd = -1;
		(void)close(fd);
		mem_deref(s);
		return;
	}
	s->is_accepted = true;
	t->accepted_count++;
}

static void accept_h(int flags, void *arg)
{
	struct transport_listener *l = arg;
	(void)flags;

	for (int i = 0; i < ACCEPTS_MAX; i++) {
		struct sa remote = {.len = sizeof(remote.u)};
		int fd = accept4(l->fd, &remote.u.sa, &remote.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			accepted(l, fd, &remote);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			fd_close(l->fd);
			l->is_paused = true;
			return;
		} else if (errno == EAGAIN) {
			return;
		}
	}
}

void listener_close(struct transport_listener *l)
{
	list_unlink(&l->le);
	l->transport = NULL;
	if (l->fd < 0)
		return;
	if (!l->is_paused)
		fd_close(l->fd);
	(void)close(l->fd);
	l->fd = -1;
}

static void listener_destructor(void *data)
{
	listener_close(data);
}

static int bind_listener(int fd, const struct sa *local)
{
	int on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &local->u.sa, local->len) < 0 || listen(fd, LISTEN_QUEUE) < 0)
		return errno;

	return 0;
}

int transport_listen(struct transport_listener **lp, struct sip_transport *t, const struct sa *local)
{
	struct transport_listener *l;
	int fd, err;

	if (!lp || !t || !local)
		return EINVAL;

	l = mem_zalloc(sizeof(*l), listener_destructor);
	if (!l)
		return ENOMEM;
	l->fd = -1;
	err = transport_socket(&fd, sa_af(local), SOCK_STREAM);
	if (err) {
		mem_deref(l);
		return err;
	}
	err = bind_listener(fd, local);
	if (!err)
		err = socket_local(fd, &l->local);
	if (!err)
		err = fd_listen(fd, FD_READ, accept_h, l);
	if (err) {
		(void)close(fd);
		mem_deref(l);
		return err;
	}

	l->fd = fd;
	l->transport = t;
	list_append(&t->listeners, &l->le, l);
	*lp = l;

	return 0;
}

const struct sa *transport_listener_local(const struct transport_listener *l)
{
	return &l->local;
}

void transport_sweep(struct sip_transport *t, uint64_t now_us)
{
	struct le *le = list_head(&t->streams);

	while (le) {
		struct stream *s = to_stream(le->data);

		le = le->next;
		if (s->is_accepted && now_us > s->active_us && now_us - s->active_us > TRANSPORT_IDLE_US)
			stream_close(&s->flow);
	}
	LIST_FOREACH (&t->listeners, le) {
		struct transport_listener *l = le->data;

		if (l->is_paused)
			l->is_paused = fd_listen(l->fd, FD_READ, accept_h, l) != 0;
	}
}

static void port_destructor(void *data)
{
	struct transport_port *port = data;

	if (port->fd >= 0)
		(void)close(port->fd);
}

int transport_reserve(struct transport_port **portp, const struct sa *local)
{
	struct transport_port *port;
	int err;

	if (!portp || !local || !sa_port(local))
		return EINVAL;

	port = mem_zalloc(sizeof(*port), port_destructor);
	if (!port)
		return ENOMEM;
	port->fd = -1;
	err = transport_socket(&port->fd, sa_af(local), SOCK_STREAM);
	if (err) {
		port->fd = -1;
		mem_deref(port);
		return err;
	}
	err = bind_local(port->fd, local);
	if (err)
		mem_deref(port);
	else
		*portp = port;

	return err;
}

bool flow_is_open(const struct flow *flow)
{
	if (flow->proto == TRANSPORT_UDP)
		return flow->fd >= 0;

	return ((const struct stream *)flow)->state == STREAM_OPEN;
}

bool flow_has_partial(const struct flow *flow)
{
	const uint8_t *buf;
	size_t len;

	return flow->proto != TRANSPORT_UDP && framer_partial(((const struct stream *)flow)->framer, &buf, &len);
}
