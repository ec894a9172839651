/**
 * @file dns.c  A name server for tests
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "support/dns.h"
#include "support/loop.h"

enum {
	HEADER_SIZE = 12,
	RCODE_NXDOMAIN = 3,
	CLASS_IN = 1,
	POINTER_TO_QUESTION = 0xc00c,
};

struct dns_server {
	int fd;
	struct sa local;
	char address[32];
	const struct dns_record *records;
	unsigned queries;
	int is_silent;
};

/* Reads the question's name as text; returns the offset behind its class, 0: broken. */
static size_t read_question(const uint8_t *buf, size_t len, char *name, size_t size, uint16_t *type)
{
	size_t pos = HEADER_SIZE, n = 0;

	while (pos < len && buf[pos]) {
		size_t label = buf[pos];

		if (label > 63 || pos + 1 + label >= len || n + label + 2 > size)
			return 0;
		if (n)
			name[n++] = '.';
		memcpy(name + n, buf + pos + 1, label);
		n += label;
		pos += 1 + label;
	}
	if (pos + 5 > len)
		return 0;
	name[n] = '\0';
	*type = (uint16_t)(buf[pos + 1] << 8 | buf[pos + 2]);

	return pos + 5;
}

static void write_name(struct mbuf *mb, const char *name)
{
	while (*name && strcmp(name, ".") != 0) {
		size_t label = strcspn(name, ".");

		mbuf_write_u8(mb, (uint8_t)label);
		mbuf_write_mem(mb, (const uint8_t *)name, label);
		name += label + (name[label] == '.');
	}
	mbuf_write_u8(mb, 0);
}

static void write_data(struct mbuf *mb, const struct dns_record *record)
{
	struct mbuf *data = mbuf_alloc(256);
	uint8_t address[16];

	if (record->type == DNS_TYPE_SRV) {
		mbuf_write_u16(data, htons(record->priority));
		mbuf_write_u16(data, htons(record->weight));
		mbuf_write_u16(data, htons(record->port));
		write_name(data, record->data);
	} else {
		inet_pton(record->type == DNS_TYPE_A ? AF_INET : AF_INET6, record->data, address);
		mbuf_write_mem(data, address, record->type == DNS_TYPE_A ? 4 : 16);
	}
	mbuf_write_u16(mb, htons((uint16_t)data->end));
	mbuf_write_mem(mb, data->buf, data->end);
	mem_deref(data);
}

static uint16_t write_answers(struct mbuf *mb, const struct dns_server *s, const char *name, uint16_t type, int *known)
{
	uint16_t n = 0;

	*known = 0;
	for (const struct dns_record *r = s->records; r->name; r++) {
		if (strcasecmp(r->name, name) != 0)
			continue;
		*known = 1;
		if (r->type != type)
			continue;
		mbuf_write_u16(mb, htons(POINTER_TO_QUESTION));
		mbuf_write_u16(mb, htons(type));
		mbuf_write_u16(mb, htons(CLASS_IN));
		mbuf_write_u32(mb, htonl(r->ttl));
		write_data(mb, r);
		n++;
	}

	return n;
}

static void query_h(int flags, void *arg)
{
	struct dns_server *s = arg;
	uint8_t buf[512];
	char name[256];
	struct sa src = {.len = sizeof(src.u)};
	ssize_t len = recvfrom(s->fd, buf, sizeof(buf), MSG_DONTWAIT, &src.u.sa, &src.len);
	uint16_t type, n;
	struct mbuf *mb;
	size_t question;
	int known;
	(void)flags;

	if (len < HEADER_SIZE)
		return;
	s->queries++;
	question = read_question(buf, (size_t)len, name, sizeof(name), &type);
	if (s->is_silent || !question)
		return;

	mb = mbuf_alloc(512);
	mbuf_write_mem(mb, buf, question);
	n = write_answers(mb, s, name, type, &known);
	mb->buf[2] = 0x85; /* a response, authoritative, recursion desired */
	mb->buf[3] = known ? 0x80 : 0x80 | RCODE_NXDOMAIN;
	mb->buf[4] = 0;
	mb->buf[5] = 1;
	mb->buf[6] = (uint8_t)(n >> 8);
	mb->buf[7] = (uint8_t)n;
	memset(mb->buf + 8, 0, 4);
	(void)sendto(s->fd, mb->buf, mb->end, 0, &src.u.sa, src.len);
	mem_deref(mb);
}

static void dns_server_destructor(void *data)
{
	struct dns_server *s = data;

	if (s->fd >= 0) {
		fd_close(s->fd);
		(void)close(s->fd);
	}
}

int dns_server_alloc(struct dns_server **sp, const struct dns_record *records)
{
	struct dns_server *s = mem_zalloc(sizeof(*s), dns_server_destructor);

	if (!s)
		return ENOMEM;
	s->records = records;
	s->fd = peer_udp(&s->local);
	if (s->fd < 0 || fd_listen(s->fd, FD_READ, query_h, s)) {
		mem_deref(s);
		return EIO;
	}
	(void)re_snprintf(s->address, sizeof(s->address), "%J", &s->local);
	*sp = s;

	return 0;
}

void dns_server_set_silent(struct dns_server *s, int is_silent)
{
	s->is_silent = is_silent;
}

const char *dns_server_address(const struct dns_server *s)
{
	return s->address;
}

unsigned dns_server_queries(const struct dns_server *s)
{
	return s->queries;
}
