/**
 * @file spool.c  Results that the broker has not acknowledged, in memory
 */
#include <errno.h>
#include <string.h>
#include "edge/core/wire.h"
#include "edge/store/spool.h"

enum {
	BUCKETS = 8192,       /* topics with something waiting */
	ENTRY_OVERHEAD = 256, /* entry, topic and allocator, about */
	LIVE_INTERVALS = 3,   /* protocol.md: a live result expires after so many intervals */
};

static const int64_t YEAR_2020_US = 1577836800000000;

struct topic {
	struct le le; /* of spool->topics, while an entry names it */
	char *name;
	uint32_t entries;
	uint64_t newest; /* id of its newest entry */
};

struct entry {
	struct le le;       /* of spool->waiting or spool->handed, by id */
	struct le class_le; /* of spool->classes[ok] while it waits and may be dropped */
	uint64_t id;
	struct topic *topic;
	struct mbuf *mb; /* NULL while handed over */
	size_t size;     /* as counted */
	bool ok;
	bool clears;
	bool is_historical; /* says so in its bytes */
	uint32_t expiry_s;
};

struct spool {
	struct list waiting, handed;
	struct list classes[2]; /* waiting results, not ok and ok, by id */
	struct hash *topics;
	size_t bytes, bytes_max;
	uint32_t count; /* of both lists: list_count() walks */
	uint64_t next_seq;
	uint64_t last_id;
	uint64_t dropped;
};

uint64_t spool_first_seq(int64_t now_unix_us, uint64_t boot_id)
{
	return now_unix_us >= YEAR_2020_US ? (uint64_t)now_unix_us : 1 + boot_id % 1000000000000000;
}

static void topic_destructor(void *arg)
{
	struct topic *topic = arg;

	hash_unlink(&topic->le);
	mem_deref(topic->name);
}

static bool has_name(struct le *le, void *arg)
{
	const struct topic *topic = le->data;

	return !strcmp(topic->name, arg);
}

static struct topic *topic_get(struct spool *spool, const char *name)
{
	uint32_t key = hash_joaat_str(name);
	struct le *le = hash_lookup(spool->topics, key, has_name, (void *)name);
	struct topic *topic;

	if (le)
		return le->data;
	topic = mem_zalloc(sizeof(*topic), topic_destructor);
	if (!topic)
		return NULL;
	if (str_dup(&topic->name, name))
		return mem_deref(topic);
	hash_append(spool->topics, key, &topic->le, topic);

	return topic;
}

static void entry_destructor(void *arg)
{
	struct entry *entry = arg;

	list_unlink(&entry->le);
	list_unlink(&entry->class_le);
	mem_deref(entry->mb);
	if (entry->topic && !--entry->topic->entries)
		mem_deref(entry->topic);
}

static void entry_end(struct spool *spool, struct entry *entry)
{
	spool->bytes -= entry->size;
	spool->count--;
	mem_deref(entry);
}

static struct entry *entry_new(struct spool *spool, const char *topic, struct mbuf *mb)
{
	struct entry *entry = mem_zalloc(sizeof(*entry), entry_destructor);

	if (!entry) {
		mem_deref(mb);
		return NULL;
	}
	entry->mb = mb;
	entry->topic = topic_get(spool, topic);
	if (!entry->topic)
		return mem_deref(entry);
	entry->topic->entries++;

	return entry;
}

/* By id, from the head: what comes back is among the oldest. */
static void insert(struct list *list, struct le *le, struct entry *entry)
{
	struct le *next;

	for (next = list_head(list); next; next = next->next) {
		if (((struct entry *)next->data)->id > entry->id)
			break;
	}
	if (next)
		list_insert_before(list, next, le, entry);
	else
		list_append(list, le, entry);
}

static void destructor(void *arg)
{
	struct spool *spool = arg;

	list_flush(&spool->waiting);
	list_flush(&spool->handed);
	mem_deref(spool->topics);
}

int spool_alloc(struct spool **spoolp, size_t bytes_max, uint64_t first_seq)
{
	struct spool *spool = mem_zalloc(sizeof(*spool), destructor);
	int err;

	if (!spool)
		return ENOMEM;
	spool->bytes_max = bytes_max;
	spool->next_seq = first_seq;
	err = hash_alloc(&spool->topics, BUCKETS);
	if (err)
		mem_deref(spool);
	else
		*spoolp = spool;

	return err;
}

static int append(struct mbuf *mb, const uint8_t *bytes, size_t len)
{
	mb->pos = mb->end;

	return mbuf_write_mem(mb, bytes, len);
}

static void commit(struct spool *spool, struct entry *entry)
{
	entry->id = ++spool->last_id;
	entry->topic->newest = entry->id;
	entry->size = entry->mb->size + ENTRY_OVERHEAD;
	spool->bytes += entry->size;
	spool->count++;
	list_append(&spool->waiting, &entry->le, entry);
}

static void drop_beyond_bound(struct spool *spool)
{
	while (spool->bytes > spool->bytes_max) {
		struct le *le = list_head(&spool->classes[true]);

		if (!le)
			le = list_head(&spool->classes[false]);
		if (!le)
			return; /* all handed over */
		entry_end(spool, le->data);
		spool->dropped++;
	}
}

int spool_put(struct spool *spool, const char *topic, struct mbuf *mb, bool ok, uint32_t interval_s)
{
	struct entry *entry = entry_new(spool, topic, mb);
	uint8_t seq[16];

	if (!entry || append(entry->mb, seq, wire_seq(seq, spool->next_seq))) {
		mem_deref(entry);
		spool->dropped++;
		return ENOMEM;
	}
	spool->next_seq++;
	entry->ok = ok;
	entry->expiry_s = interval_s > UINT32_MAX / LIVE_INTERVALS ? UINT32_MAX : LIVE_INTERVALS * interval_s;
	commit(spool, entry);
	list_append(&spool->classes[ok], &entry->class_le, entry);
	drop_beyond_bound(spool);

	return 0;
}

int spool_clear(struct spool *spool, const char *topic)
{
	struct mbuf *mb = mbuf_alloc(1);
	struct entry *entry;

	if (!mb)
		return ENOMEM;
	entry = entry_new(spool, topic, mb);
	if (!entry)
		return ENOMEM;
	entry->clears = true;
	commit(spool, entry);

	return 0;
}

int spool_take(struct spool *spool, struct link_message **msgp)
{
	struct le *le = list_head(&spool->waiting);
	struct entry *entry = le ? le->data : NULL;
	bool is_live;
	int err;

	if (!entry)
		return ENOENT;

	is_live = entry->id == entry->topic->newest;
	if (!is_live && !entry->clears && !entry->is_historical) {
		uint8_t historical[16];

		err = append(entry->mb, historical, wire_historical(historical));
		if (err)
			return err;
		entry->is_historical = true;
	}
	err = link_message_alloc(msgp, entry->topic->name, entry->mb, "CheckResult");
	if (err)
		return err;
	entry->mb = mem_deref(entry->mb); /* the message's alone: it goes to another thread */
	(*msgp)->id = entry->id;
	(*msgp)->retain = is_live || entry->clears;
	(*msgp)->expiry_s = is_live ? entry->expiry_s : 0;
	list_unlink(&entry->class_le);
	list_unlink(&entry->le);
	list_append(&spool->handed, &entry->le, entry);

	return 0;
}

static struct entry *find_handed(const struct spool *spool, uint64_t id)
{
	for (struct le *le = list_head(&spool->handed); le; le = le->next) {
		struct entry *entry = le->data;

		if (entry->id == id)
			return entry;
	}

	return NULL;
}

void spool_give_back(struct spool *spool, struct link_message *msg)
{
	struct entry *entry = find_handed(spool, msg->id);

	if (entry) {
		entry->mb = mem_ref(msg->payload);
		list_unlink(&entry->le);
		insert(&spool->waiting, &entry->le, entry);
		if (!entry->clears)
			insert(&spool->classes[entry->ok], &entry->class_le, entry);
	}
	mem_deref(msg);
}

void spool_remove(struct spool *spool, struct link_message *msg)
{
	struct entry *entry = find_handed(spool, msg->id);

	mem_deref(msg);
	if (entry)
		entry_end(spool, entry);
}

uint32_t spool_count(const struct spool *spool)
{
	return spool->count;
}

uint64_t spool_dropped(const struct spool *spool)
{
	return spool->dropped;
}
