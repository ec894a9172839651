/**
 * @file transport.h  Sockets under SIP: UDP sockets shared by address and port, TCP connections, receive times
 *
 * Loop thread. Own sockets on libre's event loop (fd_listen), since libre's SIP transport picks the source address by
 * itself, hides ICMP errors and stops at 8192 bytes. Receive times come from the kernel (SO_TIMESTAMPNS) and are
 * returned on the monotonic clock; ICMP errors are returned at once (IP_RECVERR). Everything received is hostile.
 */
#ifndef SIPEDGE_SIP_TRANSPORT_H
#define SIPEDGE_SIP_TRANSPORT_H

#include "edge/core/config.h"
#include "edge/sip/compat.h"

struct sip_transport;
struct flow; /* a UDP socket, or one TCP connection; reference-counted, closed with the last reference */

/* One datagram, or one framed message of a stream (RFC 3261 18.3). All borrowed for the call. */
struct transport_rx {
	struct flow *flow;
	struct sa src;
	struct sa dst;     /* our address */
	struct mbuf *mb;   /* pos 0 to end; the handler may take a reference */
	uint64_t rx_us;    /* monotonic: when the kernel had the last bit */
	bool is_truncated; /* datagram larger than SIP_MESSAGE_SIZE_MAX, or a stream that can't be framed */
};

typedef void(transport_recv_h)(const struct transport_rx *rx, void *arg);

/* A datagram that was sent came back as an ICMP error, or a connection failed or was closed. dst: where to.
   payload: the start of what was sent, when the kernel returned it; len 0: unknown (then: everything under way to dst on this flow failed). */
typedef void(transport_error_h)(struct flow *flow, const struct sa *dst, const uint8_t *payload, size_t len, int err,
        uint64_t now_us, void *arg);

/* Handlers serve all flows. ENOMEM. mem_deref() frees, never from inside a handler; flows still referenced are closed and
   refuse with ENOTCONN. */
int transport_alloc(struct sip_transport **tp, transport_recv_h *recvh, transport_error_h *errorh, void *arg);

/* The UDP socket bound to `local` (address may be any, port may be 0: then one ephemeral socket is shared per address).
   The same local address and port give the same flow. EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE ... */
int transport_udp(struct flow **flowp, struct sip_transport *t, const struct sa *local);

/* A TCP connection. Returns at once, with an errno when it can't even be tried; connh is called once, from the loop, with 0 or the errno, never from inside this call, never
   after the flow's last reference is gone. local: as for UDP; a fixed port is bound with SO_REUSEADDR. After an
   established connection is lost transport_error_h is called with len 0: ECONNRESET; EBADMSG when what came is no stream
   of SIP messages or ended within one (transport_recv_h saw it before, with is_truncated). With a fixed local port the
   connection is reset at its end, since TIME_WAIT would keep the port from the next check. */
typedef void(transport_conn_h)(int err, struct flow *flow, uint64_t now_us, void *arg);
int transport_connect(struct flow **flowp, struct sip_transport *t, const struct sa *local, const struct sa *remote,
        transport_conn_h *connh, void *arg);

/* A connection made by transport_connect() from this fixed local port (any address: whichever) to remote, open or under way: there can't
   be a second one. Borrowed; NULL: none. */
struct flow *transport_find(const struct sip_transport *t, const struct sa *local, const struct sa *remote);

/* Accepts TCP connections (an answering peer). Accepted flows are owned by the transport until closed by the peer or idle. */
struct transport_listener;
int transport_listen(struct transport_listener **lp, struct sip_transport *t, const struct sa *local);
const struct sa *transport_listener_local(const struct transport_listener *l);

/* Closes accepted connections on which nothing came for TRANSPORT_IDLE_US, and accepts again after descriptors had run
   out. The stack calls it now and then. */
enum { TRANSPORT_IDLE_US = 180 * 1000000, TRANSPORT_ACCEPTED_MAX = 1024 };
void transport_sweep(struct sip_transport *t, uint64_t now_us);

/* Holds a fixed local TCP port for an account, so that a taken port is seen when a document is applied, not at a check. EADDRINUSE ... */
struct transport_port;
int transport_reserve(struct transport_port **portp, const struct sa *local);

/* Sends one message. Datagrams go out at once. Streams are buffered up to 256 KiB (ENOBUFS beyond). */
int flow_send(struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len);

enum transport flow_proto(const struct flow *flow);

/* The address that a message to dst carries in Via and Contact: the bound one, or for "any" the one that the route to
   dst has (asked from the kernel once per dst and kept for a while). */
int flow_local(struct flow *flow, const struct sa *dst, struct sa *local);

/* Tells whether this flow is a stream that was established and is not closed yet. UDP: true while its transport lives. */
bool flow_is_open(const struct flow *flow);

/* The peer of a stream has begun a message and owes the rest: at a timeout, an answer that is there but broken. UDP: false. */
bool flow_has_partial(const struct flow *flow);

#endif
