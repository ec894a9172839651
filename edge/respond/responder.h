/**
 * @file responder.h  The answering peer: what its parts share
 *
 * One thread: the loop. Everything received is hostile; every table is bounded.
 */
#ifndef SIPEDGE_RESPOND_RESPONDER_H
#define SIPEDGE_RESPOND_RESPONDER_H

#include "edge/core/wheel.h"
#include "edge/sip/transport.h"
#include "edge/sip/uas.h"

#define RESPOND_ALLOW "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, MESSAGE, REGISTER\r\n"
#define RESPOND_SERVER "Server: sipedge-respond\r\n"

enum {
	CODES_MAX = 8,
	METHOD_SIZE = 32,
	TAG_SIZE = 17,
};

struct respond_options {
	const char *auth_user; /* NULL: no authentication */
	char auth_password[256];
	unsigned nonce_expires_s;
	unsigned delay_ms;
	unsigned ring_ms;
	unsigned drop_percent;
	size_t ncodes;
	struct {
		char method[METHOD_SIZE];
		uint16_t code;
	} code[CODES_MAX];
};

struct ticker;
struct digest_guard;
struct registrar;
struct callee;

struct responder {
	struct respond_options options;
	struct wheel *wheel;
	struct ticker *ticker;
	struct sip_transport *transport;
	struct digest_guard *guard; /* NULL: no authentication */
	struct registrar *registrar;
	struct callee *callee;
	struct mbuf *mb;          /* scratch for one response */
	char options_line[64];    /* "SIP/2.0 200 OK\r\n": what OPTIONS gets */
	struct list delayed;      /* struct delayed */
	struct wheel_timer sweep; /* idle connections, expired bindings */
	unsigned delayed_count;
	char tag[TAG_SIZE];
	uint64_t requests, responses, dropped, calls;
};

int responder_alloc(struct responder **rp, const struct respond_options *options);

/* Opens a UDP socket or a TCP listener that lives as long as what it returns; local: with the port that it got. */
int responder_listen(void **holderp, struct responder *r, enum transport proto, struct sa *local);

uint64_t responder_random(void);
uint16_t responder_code(const struct responder *r, const struct pl *method, uint16_t normal);

/* Sends bytes as a response: now, or after the delay that was asked for. */
void responder_send(struct responder *r, struct flow *flow, const struct sa *dst, const uint8_t *buf, size_t len);

/* Answers msg statelessly. headers: whole lines, may be NULL. */
void responder_reply(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx, uint16_t code,
        const char *headers);

/* reflex.c: writes the answer to an OPTIONS by copying its headers, without parsing it. False: not such a simple one; mb is
   undefined then. code_line: "SIP/2.0 200 OK\r\n". */
bool reflex_options(
        struct mbuf *mb, const uint8_t *buf, size_t len, const struct sa *src, const char *code_line, const char *tag);

/* digest.c: RFC 3261 22.4, MD5 with qop=auth, written apart from the client's. */
enum digest_result {
	DIGEST_GOOD,
	DIGEST_MISSING, /* no credentials for us, or wrong ones: challenge */
	DIGEST_STALE,   /* right, but the nonce is too old */
	DIGEST_BROKEN,  /* can't be read */
};
int digest_guard_alloc(struct digest_guard **gp, const char *user, const char *password, unsigned expires_s);
enum digest_result digest_check(const struct digest_guard *g, const struct sip_msg *msg, uint64_t now_us);
int digest_challenge(struct mbuf *mb, const struct digest_guard *g, bool is_stale, uint64_t now_us); /* header line */

/* registrar.c: bindings in memory (RFC 3261 10.3) */
int registrar_alloc(struct registrar **rp);
void registrar_request(struct responder *r, const struct sip_msg *msg, const struct transport_rx *rx);
void registrar_sweep(struct registrar *registrar, uint64_t now_us);

/* callee.c: INVITE, ACK, CANCEL, BYE */
int callee_alloc(struct callee **cp, struct responder *r); /* r is borrowed: it outlives the callee */
void callee_invite(struct callee *c, const struct sip_msg *msg, const struct transport_rx *rx);
void callee_ack(struct callee *c, const struct sip_msg *msg);
void callee_cancel(struct callee *c, const struct sip_msg *msg, const struct transport_rx *rx);
void callee_bye(struct callee *c, const struct sip_msg *msg, const struct transport_rx *rx);

/* answer.c: an answer to an SDP offer (RFC 3264 6): the first audio format of the first usable m=audio, other streams refused.
   offer empty: an offer of our own with PCMU and PCMA. EPROTO: no audio in it; EBADMSG: no SDP. */
int sdp_answer(struct mbuf *mb, const struct pl *offer, const struct sa *media, uint32_t session);

/* echo.c: a socket that sends every datagram back to where it came from; mem_deref() closes. last_us: of the last datagram. */
struct echo;
int echo_alloc(struct echo **ep, struct sa *local);
uint64_t echo_last_us(const struct echo *e);

#endif
