/**
 * @file framer.h  SIP messages out of a byte stream (RFC 3261 18.3)
 *
 * Pure. Bytes are hostile: what is kept is bounded by one message. One framer per connection.
 */
#ifndef SIPEDGE_SIP_FRAMER_H
#define SIPEDGE_SIP_FRAMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct framer;

int framer_alloc(struct framer **fp); /* ENOMEM; mem_deref() frees */

/* Appends bytes that were received. ENOMEM; EOVERFLOW: more than two messages' worth waits, take them first. */
int framer_feed(struct framer *f, const uint8_t *buf, size_t len);

/* 0: *bufp and *lenp are the next whole message, borrowed until the next call; EAGAIN: more bytes are needed; EBADMSG: this
   is no stream of SIP messages, or one is larger than SIP_MESSAGE_SIZE_MAX, or has no readable Content-Length (20.14); then
   *bufp and *lenp are what there is, and it stays so. */
int framer_next(struct framer *f, const uint8_t **bufp, size_t *lenp);

/* Keep-alive pings (RFC 5626 4.4.1: CRLF CRLF between messages) seen since the last call. */
unsigned framer_take_pings(struct framer *f);

/* Part of a message waits for its rest: borrowed. False: nothing but line ends. */
bool framer_partial(const struct framer *f, const uint8_t **bufp, size_t *lenp);

#endif
