/**
 * @file flow.h  What datagram.c, stream.c and transport.c share: private to the transport
 */
#ifndef SIPEDGE_SIP_FLOW_H
#define SIPEDGE_SIP_FLOW_H

#include "edge/sip/transport.h"

enum {
	RX_BATCH = 32,           /* datagrams per recvmmsg */
	RX_BATCHES_MAX = 4,      /* per wake-up: timers and other sockets wait meanwhile */
	RX_SLOT_SIZE = 65536,    /* one byte more than a message may have: truncation shows */
	STREAM_TX_MAX = 262144,  /* unsent bytes of one connection */
	SOCKET_BUFFER = 4194304, /* bytes, asked for */
};

struct rx_batch;
struct routes;

struct sip_transport {
	transport_recv_h *recvh;
	transport_error_h *errorh;
	void *arg;
	struct hash *sockets;    /* UDP flows by local address and port as asked for */
	struct list streams;     /* all connections */
	struct list listeners;   /* struct transport_listener */
	struct rx_batch *batch;  /* receive buffers, shared by all flows */
	struct routes *routes;   /* which local address a destination has */
	struct mbuf *pool;       /* the last message handed up, used again if nobody kept it */
	unsigned accepted_count; /* connections that the transport itself holds */
};

/* The common part; a stream has more behind it. */
struct flow {
	struct le le;                    /* in sockets or streams */
	struct sip_transport *transport; /* NULL: the transport is gone */
	enum transport proto;
	int fd;            /* -1: closed */
	struct sa local;   /* bound */
	struct sa key;     /* UDP: as asked for, port 0 included */
	uint64_t empty_us; /* the socket's queue was seen empty at this time: what comes later was not there */
};

int transport_socket(int *fdp, int af, int type); /* non-blocking, close-on-exec, IPv6 only for IPv6 */
int socket_local(int fd, struct sa *sa);
void transport_deliver(
        struct flow *flow, const struct sa *src, const uint8_t *buf, size_t len, bool is_truncated, uint64_t rx_us);

/* datagram.c */
int rx_batch_alloc(struct rx_batch **batchp);
uint8_t *rx_batch_buffer(struct rx_batch *batch, size_t *sizep); /* scratch space, for streams too */
void datagram_close(struct flow *flow);
int64_t rx_stamp(struct msghdr *hdr); /* the kernel's, in microseconds since 1970; -1: none came with it */
uint64_t rx_time(
        int64_t stamp_us, uint64_t empty_us, uint64_t now_us, int64_t now_unix_us); /* on the monotonic clock */
int datagram_send(struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len);

/* stream.c */
void stream_close(struct flow *flow); /* silently: no handler is called */
int stream_send(struct flow *flow, const uint8_t *buf, size_t len);
void listener_close(struct transport_listener *l);

/* route.c: the source address that the kernel takes towards dst, with port 0; asked once per address and minute */
int routes_alloc(struct routes **routesp);
int routes_find(struct routes *routes, const struct sa *dst, uint64_t now_us, struct sa *local);

#endif
