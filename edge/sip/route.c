/**
 * @file route.c  Which local address the kernel takes towards a destination
 *
 * A connected datagram socket that sends nothing tells it. The answers are kept: bounded in number and in age.
 */
#include <errno.h>
#include <unistd.h>
#include "edge/sip/flow.h"

enum {
	ROUTES_MAX = 4096,
	ROUTE_AGE_US = 60 * 1000000,
	PORT_DISCARD = 9, /* a port is needed to connect */
};

struct route {
	struct le he; /* by destination */
	struct le le; /* oldest first */
	struct sa dst, local;
	uint64_t at_us;
};

struct routes {
	struct hash *ht;
	struct list list;
	unsigned count;
};

static void route_destructor(void *data)
{
	struct route *route = data;

	hash_unlink(&route->he);
	list_unlink(&route->le);
}

static void routes_destructor(void *data)
{
	struct routes *routes = data;

	list_flush(&routes->list);
	mem_deref(routes->ht);
}

int routes_alloc(struct routes **routesp)
{
	struct routes *routes = mem_zalloc(sizeof(*routes), routes_destructor);

	if (!routes)
		return ENOMEM;
	if (hash_alloc(&routes->ht, ROUTES_MAX)) {
		mem_deref(routes);
		return ENOMEM;
	}

	*routesp = routes;

	return 0;
}

static int ask_kernel(const struct sa *dst, struct sa *local)
{
	struct sa to = *dst;
	int fd, err;

	err = transport_socket(&fd, sa_af(dst), SOCK_DGRAM);
	if (err)
		return err;

	if (!sa_port(&to))
		sa_set_port(&to, PORT_DISCARD);
	if (connect(fd, &to.u.sa, to.len) < 0)
		err = errno;
	else
		err = socket_local(fd, local);
	(void)close(fd);
	sa_set_port(local, 0);

	return err;
}

static bool same_dst_h(struct le *le, void *arg)
{
	const struct route *route = le->data;

	return sa_cmp(&route->dst, arg, SA_ADDR);
}

static void drop(struct routes *routes, struct route *route)
{
	routes->count--;
	mem_deref(route);
}

int routes_find(struct routes *routes, const struct sa *dst, uint64_t now_us, struct sa *local)
{
	uint32_t key = sa_hash(dst, SA_ADDR);
	struct le *le = hash_lookup(routes->ht, key, same_dst_h, (void *)dst);
	struct route *route = le ? le->data : NULL;
	int err;

	if (route && now_us - route->at_us < ROUTE_AGE_US) {
		*local = route->local;
		return 0;
	}
	if (route)
		drop(routes, route);

	err = ask_kernel(dst, local);
	if (err)
		return err;

	route = mem_zalloc(sizeof(*route), route_destructor);
	if (!route)
		return 0; /* asked again next time */
	if (routes->count >= ROUTES_MAX)
		drop(routes, list_head(&routes->list)->data);
	route->dst = *dst;
	route->local = *local;
	route->at_us = now_us;
	hash_append(routes->ht, key, &route->he, route);
	list_append(&routes->list, &route->le, route);
	routes->count++;

	return 0;
}
