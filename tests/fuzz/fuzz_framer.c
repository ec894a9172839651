/**
 * @file fuzz_framer.c  Any stream, cut anywhere: bounded, no crash, and the same messages however it was cut
 *
 * The first byte is the size of the pieces; 0: all at once.
 */
#include <stdlib.h>
#include <string.h>
#include <re.h>
#include "edge/sip/framer.h"
#include "edge/sip/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(claim)                                                                                                 \
	do {                                                                                                           \
		if (!(claim))                                                                                          \
			abort();                                                                                       \
	} while (0)

struct digest {
	size_t messages;
	uint32_t sum;
	int err;
};

static void take(struct framer *f, struct digest *d)
{
	const uint8_t *buf;
	size_t len;

	while (!(d->err = framer_next(f, &buf, &len))) {
		REQUIRE(len && len <= SIP_MESSAGE_SIZE_MAX);
		d->sum = d->sum * 31 + hash_joaat(buf, len);
		d->messages++;
	}
	if (d->err == EBADMSG)
		REQUIRE(len && len <= SIP_MESSAGE_SIZE_MAX);
}

static struct digest frame(const uint8_t *data, size_t size, size_t piece)
{
	struct digest d = {0};
	struct framer *f;
	const uint8_t *buf;
	size_t len;

	REQUIRE(!framer_alloc(&f));
	for (size_t at = 0; at < size && d.err != EBADMSG; at += piece) {
		REQUIRE(!framer_feed(f, data + at, size - at < piece ? size - at : piece));
		take(f, &d);
	}
	(void)framer_take_pings(f);
	(void)framer_partial(f, &buf, &len);
	mem_deref(f);

	return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct digest whole, pieces;

	if (size < 2 || size > 60000)
		return 0;
	whole = frame(data + 1, size - 1, size);
	pieces = frame(data + 1, size - 1, data[0] ? data[0] : 1);
	REQUIRE(whole.messages == pieces.messages && whole.sum == pieces.sum);

	return 0;
}
