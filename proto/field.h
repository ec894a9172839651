/**
 * @file field.h  What protobuf-c's descriptors leave to be worked out
 *
 * Pure, any thread.
 */
#ifndef SIPEDGE_PROTO_FIELD_H
#define SIPEDGE_PROTO_FIELD_H

#include <stddef.h>
#include <protobuf-c/protobuf-c.h>

/* Bytes of one value of this type in a message's struct, or of one element of a repeated field. */
size_t field_size(ProtobufCType type);

#endif
