/**
 * @file test_transport.c  Sockets under SIP: sharing, receive times, ICMP errors, streams
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "edge/clock.h"
#include "edge/sip/transport.h"
#include "support/loop.h"

static const char message[] = "SIP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello";

static struct sip_transport *transport;
static struct {
	unsigned received, truncated, errors, connected;
	char last[65536];
	size_t last_len;
	uint64_t rx_us;
	struct sa src, err_dst;
	char payload[512];
	size_t payload_len;
	int err, conn_err;
	struct flow *last_flow, *drop;
} seen;

static void recv_h(const struct transport_rx *rx, void *arg)
{
	(void)arg;
	seen.received++;
	seen.truncated += rx->is_truncated;
	seen.last_len = mbuf_get_left(rx->mb);
	memcpy(seen.last, mbuf_buf(rx->mb), seen.last_len);
	seen.rx_us = rx->rx_us;
	seen.src = rx->src;
	seen.last_flow = rx->flow;
	seen.drop = mem_deref(seen.drop);
}

static void error_h(struct flow *flow, const struct sa *dst, const uint8_t *payload, size_t len, int err,
        uint64_t now_us, void *arg)
{
	(void)flow;
	(void)now_us;
	(void)arg;
	seen.errors++;
	seen.err_dst = *dst;
	seen.err = err;
	seen.payload_len = len < sizeof(seen.payload) ? len : sizeof(seen.payload);
	if (len)
		memcpy(seen.payload, payload, seen.payload_len);
}

static void conn_h(int err, struct flow *flow, uint64_t now_us, void *arg)
{
	(void)flow;
	(void)now_us;
	(void)arg;
	seen.connected++;
	seen.conn_err = err;
}

static int setup(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof(seen));

	return transport_alloc(&transport, recv_h, error_h, NULL);
}

static int teardown(void **state)
{
	(void)state;
	transport = mem_deref(transport);

	return 0;
}

static struct flow *udp_flow(const char *address, uint16_t port)
{
	struct flow *flow;
	struct sa local;

	assert_int_equal(sa_set_str(&local, address, port), 0);
	assert_int_equal(transport_udp(&flow, transport, &local), 0);

	return flow;
}

static void own_address(struct flow *flow, const struct sa *peer, struct sa *own)
{
	assert_int_equal(flow_local(flow, peer, own), 0);
	assert_true(sa_port(own) != 0);
}

static void send_str(struct flow *flow, const struct sa *dst, const char *text)
{
	assert_int_equal(flow_send(flow, dst, (const uint8_t *)text, strlen(text)), 0);
}

static void peer_send(int fd, const struct sa *to, const void *bytes, size_t len)
{
	assert_int_equal(sendto(fd, bytes, len, 0, &to->u.sa, to->len), len);
}

static void test_udp_same_key_same_flow(void **state)
{
	struct flow *a = udp_flow("127.0.0.1", 0), *b = udp_flow("127.0.0.1", 0), *c = udp_flow("0.0.0.0", 0);
	struct sa taken;
	struct flow *d;
	(void)state;

	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	own_address(a, &seen.src, &taken);
	mem_deref(b);
	assert_int_equal(transport_udp(&d, transport, &taken), EADDRINUSE);
	mem_deref(a);
	mem_deref(c);
	assert_int_equal(transport_udp(&d, transport, &taken), 0); /* the last reference closed it */
	mem_deref(d);
}

static void test_udp_any_address_asks_the_route(void **state)
{
	struct flow *flow = udp_flow("0.0.0.0", 0);
	struct sa peer, own, six;
	int fd = peer_udp(&peer);
	(void)state;

	own_address(flow, &peer, &own);
	assert_true(sa_is_loopback(&own));
	own_address(flow, &peer, &own); /* from the cache */
	assert_true(sa_is_loopback(&own));
	assert_int_equal(sa_set_str(&six, "::1", 5060), 0);
	assert_int_equal(flow_local(flow, &six, &own), EAFNOSUPPORT);
	mem_deref(flow);
	close(fd);
}

static void test_udp_receives_with_the_kernels_time(void **state)
{
	struct flow *flow = udp_flow("127.0.0.1", 0);
	struct sa peer, own;
	int fd = peer_udp(&peer);
	uint64_t before, after;
	(void)state;

	own_address(flow, &peer, &own);
	before = clock_mono_us();
	peer_send(fd, &own, message, strlen(message));
	after = clock_mono_us();
	while (clock_mono_us() < after + 30000)
		; /* we are busy: the datagram waits in the kernel */
	assert_true(loop_until_count(&seen.received, 1));
	assert_true(seen.rx_us + 1000 >= before && seen.rx_us <= after + 1000);
	assert_true(sa_cmp(&seen.src, &peer, SA_ALL));
	assert_int_equal(seen.last_len, strlen(message));
	assert_memory_equal(seen.last, message, seen.last_len);
	mem_deref(flow);
	close(fd);
}

static void test_udp_takes_the_largest_datagram(void **state)
{
	static uint8_t large[65507];
	struct flow *flow = udp_flow("127.0.0.1", 0);
	struct sa peer, own;
	int fd = peer_udp(&peer);
	(void)state;

	memset(large, 'x', sizeof(large));
	own_address(flow, &peer, &own);
	peer_send(fd, &own, large, sizeof(large));
	assert_true(loop_until_count(&seen.received, 1));
	assert_int_equal(seen.last_len, sizeof(large));
	assert_int_equal(seen.truncated, 0);
	peer_send(fd, &own, "", 0);
	assert_true(loop_until_count(&seen.received, 2));
	assert_int_equal(seen.last_len, 0);
	assert_int_equal(flow_send(flow, &peer, large, sizeof(large)), 0);
	assert_int_equal(recv(fd, large, sizeof(large), 0), sizeof(large));
	mem_deref(flow);
	close(fd);
}

static void test_udp_refused_comes_back_with_its_payload(void **state)
{
	struct flow *flow = udp_flow("127.0.0.1", 0);
	struct sa dead, alive;
	int fd = peer_udp(&dead);
	char buf[64];
	(void)state;

	close(fd);
	fd = peer_udp(&alive);
	send_str(flow, &dead, "to the dead");
	/* the error that waits is not the living one's */
	for (int i = 0; i < 10; i++) {
		send_str(flow, &dead, "to the dead");
		send_str(flow, &alive, "to the living");
		assert_int_equal(recv(fd, buf, sizeof(buf), 0), strlen("to the living"));
	}
	assert_true(loop_until_count(&seen.errors, 11));
	assert_int_equal(seen.err, ECONNREFUSED);
	assert_true(sa_cmp(&seen.err_dst, &dead, SA_ALL));
	assert_int_equal(seen.payload_len, strlen("to the dead"));
	assert_memory_equal(seen.payload, "to the dead", seen.payload_len);
	mem_deref(flow);
	close(fd);
}

static void test_udp_flow_may_be_dropped_by_its_handler(void **state)
{
	struct flow *flow = udp_flow("127.0.0.1", 0);
	struct sa peer, own;
	int fd = peer_udp(&peer);
	(void)state;

	own_address(flow, &peer, &own);
	for (int i = 0; i < 5; i++)
		peer_send(fd, &own, message, strlen(message));
	seen.drop = flow;
	assert_true(loop_until_count(&seen.received, 1));
	loop_run(20);
	assert_int_equal(seen.received, 1);
	close(fd);
}

static void test_udp_flow_outlives_its_transport(void **state)
{
	struct flow *flow = udp_flow("127.0.0.1", 0);
	struct sa peer;
	(void)state;

	assert_int_equal(sa_set_str(&peer, "127.0.0.1", 9), 0);
	transport = mem_deref(transport);
	assert_int_equal(flow_send(flow, &peer, (const uint8_t *)"x", 1), ENOTCONN);
	assert_int_equal(flow_local(flow, &peer, &peer), ENOTCONN);
	assert_false(flow_is_open(flow));
	mem_deref(flow);
}

static int open_pair(struct flow **flowp, int *listener)
{
	struct sa any, remote;
	int fd;

	loopback(&any);
	*listener = peer_listen(&remote);
	assert_int_equal(transport_connect(flowp, transport, &any, &remote, conn_h, NULL), 0);
	assert_false(flow_is_open(*flowp));
	send_str(*flowp, &remote, "early "); /* waits for the connection */
	assert_true(loop_until_count(&seen.connected, 1));
	assert_int_equal(seen.conn_err, 0);
	assert_true(flow_is_open(*flowp));
	fd = accept(*listener, NULL, NULL);
	assert_true(fd >= 0);

	return fd;
}

static void test_tcp_sends_and_receives(void **state)
{
	struct flow *flow;
	char buf[64] = "";
	int listener, fd = open_pair(&flow, &listener);
	(void)state;

	send_str(flow, NULL, "late");
	loop_run(10);
	assert_int_equal(recv(fd, buf, 10, MSG_WAITALL), 10);
	assert_string_equal(buf, "early late");

	assert_int_equal(write(fd, message, 20), 20);
	loop_run(10);
	assert_int_equal(seen.received, 0);
	assert_true(flow_has_partial(flow));
	assert_int_equal(write(fd, message + 20, strlen(message) - 20), strlen(message) - 20);
	assert_int_equal(write(fd, message, strlen(message)), strlen(message));
	assert_true(loop_until_count(&seen.received, 2));
	assert_false(flow_has_partial(flow));
	assert_memory_equal(seen.last, message, strlen(message));

	close(fd);
	assert_true(loop_until_count(&seen.errors, 1));
	assert_int_equal(seen.err, ECONNRESET);
	assert_false(flow_is_open(flow));
	assert_int_equal(flow_send(flow, NULL, (const uint8_t *)"x", 1), ENOTCONN);
	mem_deref(flow);
	close(listener);
}

static void test_tcp_receives_with_the_kernels_time(void **state)
{
	struct flow *flow;
	int listener, fd = open_pair(&flow, &listener);
	uint64_t before, after;
	(void)state;

	before = clock_mono_us();
	assert_int_equal(send(fd, message, strlen(message), 0), strlen(message));
	after = clock_mono_us();
	while (clock_mono_us() < after + 50000)
		; /* we are busy: the bytes wait in the kernel */
	assert_true(loop_until_count(&seen.received, 1));
	assert_true(seen.rx_us + 1000 >= before && seen.rx_us <= after + 25000);
	mem_deref(flow);
	close(fd);
	close(listener);
}

static void test_tcp_refused_is_told_once(void **state)
{
	struct flow *flow = NULL;
	struct sa any, remote;
	int err, fd = peer_listen(&remote);
	(void)state;

	close(fd);
	loopback(&any);
	err = transport_connect(&flow, transport, &any, &remote, conn_h, NULL);
	if (!err) {
		assert_true(loop_until_count(&seen.connected, 1));
		err = seen.conn_err;
		loop_run(10);
		assert_int_equal(seen.connected, 1);
		mem_deref(flow);
	}
	assert_int_equal(err, ECONNREFUSED);
	assert_int_equal(seen.errors, 0);
}

static void test_tcp_connection_is_not_told_after_its_last_reference(void **state)
{
	struct flow *flow;
	struct sa any, remote;
	int fd = peer_listen(&remote);
	(void)state;

	loopback(&any);
	assert_int_equal(transport_connect(&flow, transport, &any, &remote, conn_h, NULL), 0);
	mem_deref(flow);
	loop_run(20);
	assert_int_equal(seen.connected, 0);
	close(fd);
}

static void broken_stream(const char *bytes, size_t len, bool closes)
{
	struct flow *flow;
	char early[8];
	int listener, fd = open_pair(&flow, &listener);

	assert_int_equal(recv(fd, early, 6, MSG_WAITALL), 6); /* unread bytes would make the close a reset */
	assert_int_equal(write(fd, bytes, len), len);
	if (closes)
		close(fd);
	assert_true(loop_until_count(&seen.errors, 1));
	assert_int_equal(seen.err, EBADMSG);
	assert_int_equal(seen.truncated, 1);
	assert_int_equal(seen.last_len, len);
	assert_false(flow_is_open(flow));
	mem_deref(flow);
	close(listener);
	if (!closes)
		close(fd);
}

static void test_tcp_noise_is_shown_then_closed(void **state)
{
	(void)state;
	broken_stream("\x00\x01\x02", 3, false);
}

static void test_tcp_answer_cut_short_is_shown(void **state)
{
	(void)state;
	broken_stream(message, strlen(message) - 1, true);
}

static void test_tcp_send_is_bounded(void **state)
{
	static uint8_t block[60000];
	struct flow *flow;
	int listener, fd = open_pair(&flow, &listener), err = 0;
	(void)state;

	for (int i = 0; i < 1000 && !err; i++)
		err = flow_send(flow, NULL, block, sizeof(block));
	assert_int_equal(err, ENOBUFS);
	mem_deref(flow);
	close(fd);
	close(listener);
}

static void test_tcp_fixed_port_is_free_at_once(void **state)
{
	struct transport_port *port;
	struct sa local, remote;
	int listener = peer_listen(&remote), fd;
	(void)state;

	fd = peer_listen(&local); /* a port that is free */
	close(fd);
	assert_int_equal(transport_reserve(&port, &local), 0);
	for (unsigned i = 1; i <= 3; i++) {
		struct flow *flow;

		assert_int_equal(transport_connect(&flow, transport, &local, &remote, conn_h, NULL), 0);
		assert_true(loop_until_count(&seen.connected, i));
		assert_int_equal(seen.conn_err, 0);
		mem_deref(flow);
		fd = accept(listener, NULL, NULL);
		/* a reset: loopback alone lets a port in TIME_WAIT be used again */
		assert_int_equal(recv(fd, seen.payload, 1, 0), -1);
		assert_int_equal(errno, ECONNRESET);
		close(fd);
	}
	mem_deref(port);
	close(listener);
}

static void test_tcp_reserved_port_that_is_taken(void **state)
{
	struct transport_port *port;
	struct sa local;
	int fd = peer_listen(&local);
	(void)state;

	assert_int_equal(transport_reserve(&port, &local), EADDRINUSE);
	close(fd);
}

static void test_tcp_accepts_answers_pings_and_lets_go(void **state)
{
	struct transport_listener *l;
	struct sa any;
	char buf[64];
	int fd;
	(void)state;

	loopback(&any);
	assert_int_equal(transport_listen(&l, transport, &any), 0);
	fd = peer_connect(transport_listener_local(l));
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "\r\n\r\n", 4), 4);
	loop_run(20);
	assert_int_equal(write(fd, message, strlen(message)), strlen(message));
	assert_true(loop_until_count(&seen.received, 1));
	send_str(seen.last_flow, &seen.src, "answer");
	loop_run(10);
	assert_int_equal(recv(fd, buf, 8, MSG_WAITALL), 8);
	assert_memory_equal(buf, "\r\nanswer", 8);

	transport_sweep(transport, clock_mono_us());
	loop_run(10);
	assert_int_equal(recv(fd, buf, 1, MSG_DONTWAIT), -1); /* still there */
	transport_sweep(transport, clock_mono_us() + TRANSPORT_IDLE_US + 1000000);
	assert_int_equal(recv(fd, buf, 1, 0), 0);
	mem_deref(l);
	close(fd);
}

static void test_tcp_accepted_connection_dies_with_the_transport(void **state)
{
	struct transport_listener *l;
	struct sa any;
	char buf[8];
	int fd;
	(void)state;

	loopback(&any);
	assert_int_equal(transport_listen(&l, transport, &any), 0);
	fd = peer_connect(transport_listener_local(l));
	assert_int_equal(write(fd, message, strlen(message)), strlen(message));
	assert_true(loop_until_count(&seen.received, 1));
	transport = mem_deref(transport);
	assert_int_equal(recv(fd, buf, 1, 0), 0);
	mem_deref(l);
	close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static int stamper = -1; /* stays open: while one socket asks for stamps, all get them */

/* The kernel begins to stamp a moment after the first socket of the machine has asked for it (a work queue turns it on). Until
   then a packet has the time of its reading, and the tests of receive times would measure that. */
static bool kernel_stamps(const struct sa *self)
{
	_Alignas(struct cmsghdr) uint8_t control[64];
	uint8_t byte;
	struct iovec iov = {&byte, 1};
	struct msghdr hdr = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int64_t sent_us;
	struct cmsghdr *c;
	struct timespec ts;

	assert_int_equal(sendto(stamper, "x", 1, 0, &self->u.sa, self->len), 1);
	sent_us = clock_unix_us();
	while (clock_unix_us() < sent_us + 5000)
		; /* it waits */
	assert_int_equal(recvmsg(stamper, &hdr, 0), 1);
	c = CMSG_FIRSTHDR(&hdr);
	assert_non_null(c);
	memcpy(&ts, CMSG_DATA(c), sizeof(ts));

	return ts.tv_sec * 1000000 + ts.tv_nsec / 1000 < sent_us + 1000;
}

static int group_setup(void **state)
{
	int on = 1, err = loop_setup(state);
	struct sa self;
	unsigned i;

	stamper = peer_udp(&self);
	assert_int_equal(setsockopt(stamper, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)), 0);
	for (i = 0; i < 1000 && !kernel_stamps(&self); i++)
		;
	assert_in_range(i, 0, 999);

	return err;
}

static int group_teardown(void **state)
{
	(void)close(stamper);

	return loop_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_udp_same_key_same_flow),
	        TEST(test_udp_any_address_asks_the_route),
	        TEST(test_udp_receives_with_the_kernels_time),
	        TEST(test_udp_takes_the_largest_datagram),
	        TEST(test_udp_refused_comes_back_with_its_payload),
	        TEST(test_udp_flow_may_be_dropped_by_its_handler),
	        TEST(test_udp_flow_outlives_its_transport),
	        TEST(test_tcp_sends_and_receives),
	        TEST(test_tcp_receives_with_the_kernels_time),
	        TEST(test_tcp_refused_is_told_once),
	        TEST(test_tcp_connection_is_not_told_after_its_last_reference),
	        TEST(test_tcp_noise_is_shown_then_closed),
	        TEST(test_tcp_answer_cut_short_is_shown),
	        TEST(test_tcp_send_is_bounded),
	        TEST(test_tcp_fixed_port_is_free_at_once),
	        TEST(test_tcp_reserved_port_that_is_taken),
	        TEST(test_tcp_accepts_answers_pings_and_lets_go),
	        TEST(test_tcp_accepted_connection_dies_with_the_transport),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
