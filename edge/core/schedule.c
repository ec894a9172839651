/**
 * @file schedule.c  Which command runs next: a heap by due time, and a bucket of starts
 */
#include <assert.h>
#include <errno.h>
#include <re.h>
#include "edge/core/schedule.h"

enum {
	SECOND_US = 1000000,
	BURST_US = SECOND_US / 10, /* the bucket holds the starts of so long, at least one */
	CAPACITY_FIRST = 64,
};

struct schedule {
	struct schedule_entry **heap; /* the earliest due first; room for every added entry, also for those that run */
	size_t n;
	size_t capacity;
	size_t nadded;
	uint64_t skipped;

	/* Starts in hand, in millionths: one second brings starts_per_s of them. */
	uint64_t rate;
	uint64_t tokens;
	uint64_t tokens_max;
	uint64_t refilled_us;
};

static void destructor(void *arg)
{
	struct schedule *s = arg;

	for (size_t i = 0; i < s->n; i++) {
		s->heap[i]->heap_index = SIZE_MAX;
		s->heap[i]->added = false;
	}
	mem_deref(s->heap);
}

int schedule_alloc(struct schedule **schedulep, const struct schedule_limits *limits)
{
	struct schedule *s;

	if (!schedulep)
		return EINVAL;
	s = mem_zalloc(sizeof(*s), destructor);
	if (!s)
		return ENOMEM;
	s->rate = limits ? limits->starts_per_s : 0;
	s->tokens_max = s->rate * BURST_US > SECOND_US ? s->rate * BURST_US : SECOND_US;
	s->tokens = s->tokens_max;
	*schedulep = s;
	return 0;
}

/* FNV-1a, 64 bits, then mixed: FNV's low bits alone spread short keys that differ at the end too evenly along the alphabet */
static uint64_t hash(const char *key)
{
	uint64_t h = 0xcbf29ce484222325;

	for (; *key; key++)
		h = (h ^ (uint8_t)*key) * 0x100000001b3;
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccd; /* MurmurHash3's finalizer */
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53;
	h ^= h >> 33;
	return h;
}

static void place(struct schedule *s, size_t i, struct schedule_entry *entry)
{
	s->heap[i] = entry;
	entry->heap_index = i;
}

static void sift_up(struct schedule *s, size_t i, struct schedule_entry *entry)
{
	while (i > 0 && s->heap[(i - 1) / 2]->due_us > entry->due_us) {
		place(s, i, s->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(s, i, entry);
}

static void sift_down(struct schedule *s, size_t i, struct schedule_entry *entry)
{
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= s->n)
			break;
		if (child + 1 < s->n && s->heap[child + 1]->due_us < s->heap[child]->due_us)
			++child;
		if (s->heap[child]->due_us >= entry->due_us)
			break;
		place(s, i, s->heap[child]);
		i = child;
	}
	place(s, i, entry);
}

static void heap_insert(struct schedule *s, struct schedule_entry *entry)
{
	assert(s->n < s->capacity);
	++s->n;
	sift_up(s, s->n - 1, entry);
}

static void heap_remove(struct schedule *s, struct schedule_entry *entry)
{
	size_t i = entry->heap_index;
	struct schedule_entry *last = s->heap[--s->n];

	entry->heap_index = SIZE_MAX;
	if (last == entry)
		return;
	if (i > 0 && s->heap[(i - 1) / 2]->due_us > last->due_us)
		sift_up(s, i, last);
	else
		sift_down(s, i, last);
}

/* Room for one more, so that schedule_done() never needs any. */
static int grow(struct schedule *s)
{
	size_t capacity = s->capacity ? 2 * s->capacity : CAPACITY_FIRST;
	struct schedule_entry **heap;

	if (s->nadded < s->capacity)
		return 0;
	heap = mem_reallocarray(s->heap, capacity, sizeof(*heap), NULL);
	if (!heap)
		return ENOMEM;
	s->heap = heap;
	s->capacity = capacity;
	return 0;
}

int schedule_add(struct schedule *s, struct schedule_entry *entry, const char *key, uint64_t interval_us, void *owner,
        uint64_t now_us)
{
	uint64_t h, spread = interval_us < SPREAD_STARTUP_US ? interval_us : SPREAD_STARTUP_US;

	if (!s || !entry || !key || interval_us == 0 || entry->added || entry->running)
		return EINVAL;
	if (grow(s))
		return ENOMEM;
	h = hash(key);
	entry->interval_us = interval_us;
	entry->phase_us = h % interval_us;
	entry->due_us = now_us + h % spread;
	entry->startup = true;
	entry->added = true;
	entry->owner = owner;
	++s->nadded;
	heap_insert(s, entry);
	return 0;
}

void schedule_remove(struct schedule *s, struct schedule_entry *entry)
{
	if (!entry->added)
		return;
	if (!entry->running)
		heap_remove(s, entry);
	entry->added = false;
	--s->nadded;
}

static void refill(struct schedule *s, uint64_t now_us)
{
	uint64_t elapsed = now_us > s->refilled_us ? now_us - s->refilled_us : 0;

	if (elapsed > SECOND_US)
		elapsed = SECOND_US; /* fills any bucket */
	s->tokens += elapsed * s->rate;
	if (s->tokens > s->tokens_max)
		s->tokens = s->tokens_max;
	if (now_us > s->refilled_us)
		s->refilled_us = now_us;
}

struct schedule_entry *schedule_take(struct schedule *s, uint64_t now_us)
{
	struct schedule_entry *entry;

	if (s->n == 0 || s->heap[0]->due_us > now_us)
		return NULL;
	if (s->rate) {
		refill(s, now_us);
		if (s->tokens < SECOND_US)
			return NULL;
		s->tokens -= SECOND_US;
	}
	entry = s->heap[0];
	heap_remove(s, entry);
	entry->running = true;
	return entry;
}

/* The first slot of the entry's grid at or after a time */
static uint64_t slot(const struct schedule_entry *entry, uint64_t at_us)
{
	uint64_t offset = at_us % entry->interval_us;
	uint64_t wait =
	        entry->phase_us >= offset ? entry->phase_us - offset : entry->phase_us + entry->interval_us - offset;

	return at_us + wait;
}

void schedule_done(struct schedule *s, struct schedule_entry *entry, uint64_t now_us)
{
	uint64_t next;

	assert(entry->running);
	entry->running = false;
	if (!entry->added) {
		entry->heap_index = SIZE_MAX;
		return;
	}
	/* The grid's first slot may be close behind the first run: half an interval lies between them at least. */
	next = entry->startup ? slot(entry, entry->due_us + entry->interval_us / 2)
	                      : entry->due_us + entry->interval_us;
	if (next < now_us) {
		uint64_t missed = (now_us - next + entry->interval_us - 1) / entry->interval_us;

		s->skipped += missed;
		next += missed * entry->interval_us;
	}
	entry->startup = false;
	entry->due_us = next;
	heap_insert(s, entry);
}

uint64_t schedule_next(const struct schedule *s, uint64_t now_us)
{
	uint64_t due, ready;

	(void)now_us; /* all times are absolute */
	if (s->n == 0)
		return UINT64_MAX;
	due = s->heap[0]->due_us;
	if (s->rate == 0 || s->tokens >= SECOND_US)
		return due;
	ready = s->refilled_us + (SECOND_US - s->tokens + s->rate - 1) / s->rate;
	return due > ready ? due : ready;
}

uint64_t schedule_skipped(const struct schedule *s)
{
	return s->skipped;
}
