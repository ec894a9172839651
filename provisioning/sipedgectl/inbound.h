/**
 * @file inbound.h  Messages from the broker, decoded
 */
#ifndef SIPEDGE_SIPEDGECTL_INBOUND_H
#define SIPEDGE_SIPEDGECTL_INBOUND_H

#include <protobuf-c/protobuf-c.h>
#include "provisioning/sipedgectl/broker.h"
#include "provisioning/sipedgectl/topic.h"

/* A new message of that type: inbound_free() it. NULL: empty or no such message, which is said on stderr. What a newer
   node adds is ignored. */
void *inbound_decode(const struct broker_message *m, const ProtobufCMessageDescriptor *type);
void inbound_free(void *msg); /* NULL is fine */

#endif
