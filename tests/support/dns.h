/**
 * @file dns.h  A name server for tests: one table of records, on the loop
 */
#ifndef SIPEDGE_TESTS_SUPPORT_DNS_H
#define SIPEDGE_TESTS_SUPPORT_DNS_H

#include <stdint.h>

/* What is not in the table does not exist. Ended by a name of NULL. */
struct dns_record {
	const char *name;
	uint16_t type; /* DNS_TYPE_A, DNS_TYPE_AAAA or DNS_TYPE_SRV of libre */
	uint32_t ttl;
	uint16_t priority, weight, port; /* SRV */
	const char *data;                /* address or SRV target */
};

struct dns_server;

/* The table is borrowed. */
int dns_server_alloc(struct dns_server **sp, const struct dns_record *records);
void dns_server_set_silent(struct dns_server *s, int is_silent);
const char *dns_server_address(const struct dns_server *s); /* "127.0.0.1:12345" */
unsigned dns_server_queries(const struct dns_server *s);

#endif
