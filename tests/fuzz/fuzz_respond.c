/**
 * @file fuzz_respond.c  Any request to the answering peer: the short way, the parsed way, credentials and offers
 */
#include <stdlib.h>
#include <string.h>
#include "edge/respond/responder.h"
#include "edge/sip/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reply(const struct sip_msg *msg, const struct sa *src)
{
	struct uas_reply answer = {.code = 200, .reason = "OK", .tag = "tag", .keeps_route = true};
	struct mbuf *mb = mbuf_alloc(1024);

	(void)uas_reply_encode(mb, msg, src, &answer);
	mem_deref(mb);
}

static void negotiate(const struct sip_msg *msg, const struct sa *media)
{
	struct mbuf *mb = mbuf_alloc(1024);
	struct pl offer;

	pl_set_mbuf(&offer, msg->mb);
	(void)sdp_answer(mb, &offer, media, 1);
	mem_deref(mb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct digest_guard *guard;
	struct sip_msg *msg = NULL;
	struct mbuf *mb;
	struct sa src;

	if (size > SIP_MESSAGE_SIZE_MAX)
		return 0;
	if (!guard && digest_guard_alloc(&guard, "me", "secret", 60))
		abort();
	(void)sa_set_str(&src, "127.0.0.1", 5060);
	mb = mbuf_alloc(size + 1);
	(void)reflex_options(mb, data, size, &src, "SIP/2.0 200 OK\r\n", "tag");
	mem_deref(mb);

	mb = mbuf_alloc(size + 1);
	(void)mbuf_write_mem(mb, data, size);
	mb->pos = 0;
	if (!sip_message_decode(&msg, mb) && msg->req) {
		reply(msg, &src);
		(void)digest_check(guard, msg, 1000000);
		negotiate(msg, &src);
	}
	mem_deref(msg);
	mem_deref(mb);

	return 0;
}
