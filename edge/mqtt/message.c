/**
 * @file message.c  A message on its way to the broker: memory only
 */
#include <errno.h>
#include "edge/mqtt/link.h"

static void destructor(void *arg)
{
	struct link_message *msg = arg;

	mem_deref(msg->topic);
	mem_deref(msg->payload);
}

int link_message_alloc(struct link_message **msgp, const char *topic, struct mbuf *payload, const char *type)
{
	struct link_message *msg = mem_zalloc(sizeof(*msg), destructor);

	if (!msg)
		return ENOMEM;
	if (str_dup(&msg->topic, topic)) {
		mem_deref(msg);
		return ENOMEM;
	}
	msg->payload = mem_ref(payload);
	msg->type = type;
	*msgp = msg;

	return 0;
}
