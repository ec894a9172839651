/**
 * @file field.c  What protobuf-c's descriptors leave to be worked out
 */
#include "proto/field.h"

size_t field_size(ProtobufCType type)
{
	switch (type) {

	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_ENUM:
		return 4;

	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;

	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);

	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);

	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		break;
	}

	return sizeof(void *);
}
