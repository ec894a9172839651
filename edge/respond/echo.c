/**
 * @file echo.c  A socket that sends every datagram back to where it came from
 */
#include <errno.h>
#include <unistd.h>
#include "edge/clock.h"
#include "edge/respond/responder.h"

enum {
	PACKETS_MAX = 32, /* per wake-up */
	PACKET_SIZE = 2048,
};

struct echo {
	int fd; /* -1: none */
	uint64_t last_us;
};

static void echo_destructor(void *data)
{
	struct echo *e = data;

	if (e->fd < 0)
		return;
	fd_close(e->fd);
	(void)close(e->fd);
}

static void packet_h(int flags, void *arg)
{
	struct echo *e = arg;
	uint8_t packet[PACKET_SIZE];
	(void)flags;

	for (int i = 0; i < PACKETS_MAX; i++) {
		struct sa src = {.len = sizeof(src.u)};
		ssize_t n = recvfrom(e->fd, packet, sizeof(packet), MSG_DONTWAIT, &src.u.sa, &src.len);

		if (n < 0)
			return;
		e->last_us = clock_mono_us();
		(void)sendto(e->fd, packet, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL, &src.u.sa, src.len);
	}
}

int echo_alloc(struct echo **ep, struct sa *local)
{
	struct echo *e = mem_zalloc(sizeof(*e), echo_destructor);
	int err = 0;

	if (!e)
		return ENOMEM;

	e->last_us = clock_mono_us();
	e->fd = socket(sa_af(local), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (e->fd < 0 || bind(e->fd, &local->u.sa, local->len) < 0)
		err = errno;
	local->len = sizeof(local->u);
	if (!err && getsockname(e->fd, &local->u.sa, &local->len) < 0)
		err = errno;
	if (!err)
		err = fd_listen(e->fd, FD_READ, packet_h, e);
	if (err)
		mem_deref(e);
	else
		*ep = e;

	return err;
}

uint64_t echo_last_us(const struct echo *e)
{
	return e->last_us;
}
