/**
 * @file fake.h  A SIP server of a test, on the test's own loop: UDP and TCP on 127.0.0.1, one port each, chosen by the kernel
 *
 * It answers as its fields say; a test may take a request first. A small registrar: bindings are contacts as sent. With a
 * password it asks for a digest and checks it by libre's code, not ours.
 */
#ifndef SIPEDGE_TESTS_SUPPORT_FAKE_H
#define SIPEDGE_TESTS_SUPPORT_FAKE_H

#include <re.h>

enum { FAKE_BINDINGS_MAX = 16, FAKE_TEXT_SIZE = 4096 };

struct fake;

/* Returns true when the request was dealt with. */
typedef bool(fake_request_h)(struct fake *fake, const struct sip_msg *msg);

struct fake {
	int fd;
	struct sa udp, tcp;
	struct tcp_sock *listener;
	struct list conns;

	/* where the request under way came from, for fake_reply() and fake_send() */
	struct sa src;
	struct tcp_conn *conn;

	uint16_t code;        /* default 200 */
	const char *headers;  /* more header lines of answers; NULL: none */
	const char *password; /* of any user; NULL: no digest */
	const char *rewrite;  /* "host:port" that the registrar puts into contacts; NULL: as sent */
	unsigned expires;     /* granted; 0: what was asked for */
	unsigned min_expires; /* 423 below that */
	unsigned drop;        /* so many requests are lost from now on */
	fake_request_h *requesth;

	unsigned requests; /* received, dropped ones included */
	unsigned accepted; /* TCP connections */
	unsigned pings;    /* CRLF CRLF */
	unsigned challenges;
	unsigned registered, unregistered;
	unsigned max_cseq_repeats; /* a CSeq that did not grow within a Call-ID */
	char text[FAKE_TEXT_SIZE]; /* last request */
	char bindings[FAKE_BINDINGS_MAX][256];
	unsigned nbindings;
	char last_call_id[64];
	uint32_t last_cseq;
};

int fake_alloc(struct fake **fakep);
void fake_reply(struct fake *fake, const struct sip_msg *msg, uint16_t code, const char *headers);
void fake_send(struct fake *fake, const char *text, size_t len);
void fake_close_connections(struct fake *fake);

#endif
