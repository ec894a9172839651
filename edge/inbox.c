/**
 * @file inbox.c  Bounded queue between two threads, with a wake-up
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <re.h>
#include "edge/inbox.h"

struct inbox {
	pthread_mutex_t lock;
	inbox_free_h *freeh;
	void **ring;
	size_t limit; /* of inbox_push() */
	size_t capacity, head, count, refused;
	int fd;
};

static void destructor(void *arg)
{
	struct inbox *inbox = arg;

	while (inbox->count) {
		inbox->freeh(inbox->ring[inbox->head]);
		inbox->head = (inbox->head + 1) % inbox->capacity;
		inbox->count--;
	}
	if (inbox->fd >= 0)
		(void)close(inbox->fd);
	(void)pthread_mutex_destroy(&inbox->lock);
	mem_deref(inbox->ring);
}

int inbox_alloc(struct inbox **inboxp, size_t capacity, inbox_free_h *freeh)
{
	struct inbox *inbox = mem_zalloc(sizeof(*inbox), destructor);

	if (!inbox)
		return ENOMEM;

	(void)pthread_mutex_init(&inbox->lock, NULL);
	inbox->freeh = freeh;
	inbox->limit = capacity;
	inbox->capacity = capacity;
	inbox->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	inbox->ring = mem_zalloc(capacity * sizeof(*inbox->ring), NULL);
	if (inbox->fd < 0 || !inbox->ring) {
		mem_deref(inbox);
		return ENOMEM;
	}

	*inboxp = inbox;

	return 0;
}

int inbox_fd(const struct inbox *inbox)
{
	return inbox->fd;
}

static void append(struct inbox *inbox, void *item)
{
	uint64_t one = 1;
	bool was_empty = !inbox->count;

	inbox->ring[(inbox->head + inbox->count) % inbox->capacity] = item;
	inbox->count++;
	/* one system call per burst, inside the lock: the taker clears the descriptor under it too */
	if (was_empty && write(inbox->fd, &one, sizeof(one)) < 0)
		one = 0; /* EAGAIN: readable already */
}

int inbox_push(struct inbox *inbox, void *item)
{
	int err = 0;

	(void)pthread_mutex_lock(&inbox->lock);
	if (inbox->count >= inbox->limit) {
		inbox->refused++;
		err = ENOBUFS;
	} else {
		append(inbox, item);
	}
	(void)pthread_mutex_unlock(&inbox->lock);

	return err;
}

static int grow(struct inbox *inbox)
{
	size_t capacity = 2 * inbox->capacity + 1;
	void **ring = mem_reallocarray(inbox->ring, capacity, sizeof(*ring), NULL);

	if (!ring)
		return ENOMEM;

	/* what had gone round goes on behind the old end */
	memcpy(ring + inbox->capacity, ring, inbox->head * sizeof(*ring));
	inbox->ring = ring;
	inbox->capacity = capacity;

	return 0;
}

int inbox_push_anyway(struct inbox *inbox, void *item)
{
	int err = 0;

	(void)pthread_mutex_lock(&inbox->lock);
	if (inbox->count == inbox->capacity)
		err = grow(inbox);
	if (!err)
		append(inbox, item);
	(void)pthread_mutex_unlock(&inbox->lock);

	return err;
}

void *inbox_take(struct inbox *inbox)
{
	void *item = NULL;
	uint64_t drained;

	(void)pthread_mutex_lock(&inbox->lock);
	if (inbox->count) {
		item = inbox->ring[inbox->head];
		inbox->head = (inbox->head + 1) % inbox->capacity;
		inbox->count--;
	}
	if (!inbox->count && read(inbox->fd, &drained, sizeof(drained)) < 0)
		drained = 0; /* EAGAIN: was clear already */
	(void)pthread_mutex_unlock(&inbox->lock);

	return item;
}

size_t inbox_refused(struct inbox *inbox)
{
	size_t n;

	(void)pthread_mutex_lock(&inbox->lock);
	n = inbox->refused;
	(void)pthread_mutex_unlock(&inbox->lock);

	return n;
}
