/**
 * @file wire.c  Reports and the node's status as messages
 */
#include <errno.h>
#include <re.h>
#include "edge/core/wire.h"
#include "sipedge/v1/sipedge.pb-c.h"

static int put_message(struct mbuf *mb, const ProtobufCMessage *message)
{
	size_t size = protobuf_c_message_get_packed_size(message);

	if (mbuf_get_space(mb) < size && mbuf_resize(mb, mb->pos + size))
		return ENOMEM;
	mb->pos += protobuf_c_message_pack(message, mb->buf + mb->pos);
	mb->end = mb->pos;
	return 0;
}

/* protobuf-c's strings are not const, though packing only reads them */
static char *str(const char *s)
{
	return (char *)(s ? s : "");
}

int wire_encode_report(struct mbuf *mb, const struct wire_report *report)
{
	Sipedge__V1__ConfigReport message = SIPEDGE__V1__CONFIG_REPORT__INIT;
	Sipedge__V1__ConfigIssue issues[ISSUES_MAX], *list[ISSUES_MAX];

	if (!mb || !report)
		return EINVAL;
	message.status = (Sipedge__V1__ConfigStatus)report->status;
	message.offered_revision = report->offered_revision;
	message.effective_revision = report->effective_revision;
	message.changed_at_unix_us = report->changed_at_unix_us;
	message.accounts = report->accounts;
	message.commands = report->commands;
	if (report->effective_sha256) {
		message.effective_sha256.data = (uint8_t *)report->effective_sha256;
		message.effective_sha256.len = DIGEST_SIZE;
	}
	message.issues = list;
	message.n_issues = report->issues ? issues_listed(report->issues) : 0;
	for (size_t i = 0; i < message.n_issues; i++) {
		const struct issue *issue = issues_get(report->issues, i);

		sipedge__v1__config_issue__init(&issues[i]);
		issues[i].path = issue->path;
		issues[i].code = str(issue->code);
		issues[i].message = issue->message;
		list[i] = &issues[i];
	}
	return put_message(mb, &message.base);
}

int wire_encode_status(struct mbuf *mb, const struct wire_status *status)
{
	Sipedge__V1__NodeStatus message = SIPEDGE__V1__NODE_STATUS__INIT;

	if (!mb || !status)
		return EINVAL;
	message.state = (Sipedge__V1__NodeState)status->state;
	message.node = str(status->node);
	message.session = status->session;
	message.since_unix_us = status->since_unix_us;
	message.version = str(status->version);
	message.build = str(status->build);
	message.os = str(status->os);
	message.arch = str(status->arch);
	message.capabilities = (char **)status->capabilities;
	while (status->capabilities && status->capabilities[message.n_capabilities])
		++message.n_capabilities;
	message.config_revision = status->config_revision;
	message.spooled_results = status->spooled_results;
	message.dropped_results = status->dropped_results;
	message.unreadable_messages = status->unreadable_messages;
	message.uptime_s = status->uptime_s;
	message.clock_synchronized = status->clock_synchronized;
	return put_message(mb, &message.base);
}
