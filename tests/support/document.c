/**
 * @file document.c  Configuration documents and reports as bytes, for tests
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sipedge/v1/sipedge.pb-c.h"
#include "support/document.h"

size_t document_encode(uint8_t buf[1024], uint64_t revision, const char *description)
{
	Sipedge__V1__ConfigDocument document = SIPEDGE__V1__CONFIG_DOCUMENT__INIT;
	Sipedge__V1__DeviceAccount account = SIPEDGE__V1__DEVICE_ACCOUNT__INIT, *accounts[] = {&account};
	Sipedge__V1__Command command = SIPEDGE__V1__COMMAND__INIT, *commands[] = {&command};

	command.name = (char *)"alive";
	command.command = (char *)"OPTIONS";
	account.id = (char *)"pbx";
	account.description = (char *)description;
	account.remote_address = (char *)"127.0.0.1";
	account.n_commands = 1;
	account.commands = commands;
	document.revision = revision;
	document.n_accounts = 1;
	document.accounts = accounts;
	if (sipedge__v1__config_document__get_packed_size(&document) > 1024)
		abort();

	return sipedge__v1__config_document__pack(&document, buf);
}

void report_decode(struct report_seen *seen, const uint8_t *buf, size_t len)
{
	Sipedge__V1__ConfigReport *report = sipedge__v1__config_report__unpack(NULL, len, buf);

	if (!report)
		abort();
	memset(seen, 0, sizeof(*seen));
	seen->status = (int)report->status;
	seen->offered = report->offered_revision;
	seen->effective = report->effective_revision;
	seen->accounts = report->accounts;
	seen->commands = report->commands;
	seen->issues = report->n_issues;
	seen->changed_at_unix_us = report->changed_at_unix_us;
	seen->sha256_len = report->effective_sha256.len;
	if (report->n_issues) {
		(void)snprintf(seen->code, sizeof(seen->code), "%s", report->issues[0]->code);
		(void)snprintf(seen->path, sizeof(seen->path), "%s", report->issues[0]->path);
	}
	sipedge__v1__config_report__free_unpacked(report, NULL);
}
