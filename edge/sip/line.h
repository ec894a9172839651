/**
 * @file line.h  An account's way to its server: name resolution, then the account's UDP socket or a connection
 *
 * Loop thread. Holds the sockets that the account's local address and port need, from the moment it is made. A kept line (fixed local
 * port, or registered) has one connection that everybody shares, with a fixed port other lines to that server too; it is made again when
 * it was lost. Otherwise every opening connects for itself.
 * Addresses behind a name are tried in turn until one can be sent to or connected (RFC 3263 4.3).
 */
#ifndef SIPEDGE_SIP_LINE_H
#define SIPEDGE_SIP_LINE_H

#include "edge/sip/uac.h"

struct line;
struct line_opening;

struct line_config {
	struct sa local; /* any: the route decides */
	const char *host;
	uint16_t port; /* 0: by SRV */
	enum transport transport;
	bool is_kept;
};

/* EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE: a resource is missing. Strings are copied. */
int line_alloc(struct line **linep, struct sip_stack *stack, const struct line_config *config);

/* The target without waiting: an IP literal over UDP, or a kept connection that is open. The flow is borrowed from the line. */
bool line_get(const struct line *line, struct uac_target *target);

enum line_phase {
	LINE_DNS,
	LINE_CONNECT,
	LINE_OPEN,
};

struct line_answer {
	int err;                  /* 0, or that of `phase` */
	enum line_phase phase;    /* how far it came: LINE_OPEN with err 0 */
	const char *text;         /* of a DNS error; static; may be NULL */
	struct uac_target target; /* borrowed; with err 0 */
	struct sa dst;            /* last address tried; unset: none */
	bool was_lookup;          /* dns_us is valid */
	bool was_connect;         /* connect_us is valid: a connection was made */
	uint64_t dns_us;
	uint64_t connect_us;
};

/* Called once, from the loop, never from inside line_open(), not after the opening was freed. The handler may free the opening. */
typedef void(line_h)(const struct line_answer *answer, uint64_t now_us, void *arg);

/* An errno: the handler will not be called. mem_deref(opening) abandons it. */
int line_open(struct line_opening **openingp, struct line *line, line_h *h, void *arg);

/* What an opening waits for now, for the one whose patience ends. */
enum line_phase line_opening_phase(const struct line_opening *opening);
const struct sa *line_opening_dst(const struct line_opening *opening); /* NULL: not known yet */

void line_keepalive(struct line *line);            /* kept and open: CRLF CRLF (RFC 5626 3.5.1) */
bool line_is_open(const struct line *line);        /* kept connections: open now; else true */
uint32_t line_connection(const struct line *line); /* number of the kept connection made last; 0: none yet */
enum transport line_transport(const struct line *line);

#endif
