/**
 * @file push.c  sipedgectl push: publishes a document and waits for what becomes of it
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <openssl/sha.h>
#include "provisioning/sipedgectl/broker.h"
#include "provisioning/sipedgectl/document.h"
#include "provisioning/sipedgectl/inbound.h"
#include "provisioning/sipedgectl/subcommands.h"
#include "provisioning/sipedgectl/safe.h"

enum {
	/* Nothing tells that there is no retained message: the broker sends those it has right after SUBACK. */
	RETAINED_WAIT_MS = 1000,
};

/* One push under way. */
struct push {
	const struct options *options;
	struct document doc;
	struct broker *broker;
	char desired[TOPIC_MAX], reported[TOPIC_MAX], status[TOPIC_MAX];
	uint64_t highest; /* revision seen */
	bool node_seen, node_online;
	uint8_t sha256[SHA256_DIGEST_LENGTH];
	Sipedge__V1__ConfigReport *before; /* the report that was retained; NULL: none */
	bool applying;                     /* said so already */
};

static void raise_highest(struct push *p, uint64_t revision)
{
	/* one above the limit was refused and must not lock the node */
	if (revision < DOCUMENT_REVISION_MAX && revision > p->highest)
		p->highest = revision;
}

/* What was there before. Returns true once all of it has been seen. */
static bool take_retained(struct push *p, const struct broker_message *m, unsigned *seenp)
{
	Sipedge__V1__ConfigDocument *doc;
	Sipedge__V1__ConfigReport *report;
	Sipedge__V1__NodeStatus *status;

	if (!strcmp(m->topic, p->desired) && (doc = inbound_decode(m, &sipedge__v1__config_document__descriptor))) {
		raise_highest(p, doc->revision);
		*seenp |= 1;
		inbound_free(doc);
	} else if (!strcmp(m->topic, p->reported) &&
	           (report = inbound_decode(m, &sipedge__v1__config_report__descriptor))) {
		raise_highest(p, report->offered_revision);
		raise_highest(p, report->effective_revision);
		*seenp |= 2;
		inbound_free(p->before);
		p->before = report;
	} else if (!strcmp(m->topic, p->status) &&
	           (status = inbound_decode(m, &sipedge__v1__node_status__descriptor))) {
		p->node_seen = true;
		p->node_online = status->state == SIPEDGE__V1__NODE_STATE__NODE_STATE_ONLINE;
		*seenp |= 4;
		inbound_free(status);
	}

	return *seenp == 7;
}

static int collect_retained(struct push *p)
{
	const int64_t deadline_ms = broker_now_ms() + RETAINED_WAIT_MS;
	struct broker_message *m;
	enum broker_event event;
	unsigned seen = 0;
	bool all = false;

	while (!all && (event = broker_wait(p->broker, deadline_ms, &m)) != BROKER_TIMEOUT) {
		if (event != BROKER_MESSAGE)
			return EXIT_NO_ANSWER;
		all = take_retained(p, m, &seen);
		broker_message_free(m);
	}

	return 0;
}

static int subscribe(struct push *p)
{
	topic_format(p->desired, p->options->prefix, p->options->node, "config/desired");
	topic_format(p->reported, p->options->prefix, p->options->node, "config/reported");
	topic_format(p->status, p->options->prefix, p->options->node, "status");

	if (broker_subscribe(p->broker, p->reported) || broker_subscribe(p->broker, p->desired) ||
	        broker_subscribe(p->broker, p->status))
		return EXIT_NO_ANSWER;

	return 0;
}

static int publish(struct push *p, int64_t deadline_ms)
{
	int code;

	if (!p->doc.msg->revision)
		p->doc.msg->revision = p->highest + 1;
	code = document_encode(&p->doc);
	if (code)
		return code;
	SHA256(p->doc.bytes, p->doc.len, p->sha256);

	if (broker_publish_retained(
	            p->broker, p->desired, p->doc.bytes, p->doc.len, (int)(deadline_ms - broker_now_ms())))
		return EXIT_NO_ANSWER;
	printf("revision %" PRIu64 " sent to %s: accounts %zu, commands %zu, bytes %zu\n", p->doc.msg->revision,
	        p->options->node, p->doc.msg->n_accounts, p->doc.commands, p->doc.len);
	fflush(stdout);

	return 0;
}

static void print_issues(const struct push *p, const Sipedge__V1__ConfigReport *report)
{
	for (size_t i = 0; i < report->n_issues; i++)
		document_print_issue(
		        &p->doc, report->issues[i]->path, report->issues[i]->code, report->issues[i]->message);
}

static void print_refusal(const char *status, const Sipedge__V1__ConfigReport *report)
{
	if (report->effective_revision)
		printf("%s: revision %" PRIu64 " runs on\n", status, report->effective_revision);
	else
		printf("%s: the node runs no configuration\n", status);
}

/* Whether what runs on the node is, byte for byte, what was sent. */
static bool is_ours(const struct push *p, const Sipedge__V1__ConfigReport *report)
{
	return report->effective_revision == p->doc.msg->revision &&
	       report->effective_sha256.len == sizeof(p->sha256) &&
	       !memcmp(report->effective_sha256.data, p->sha256, sizeof(p->sha256));
}

/* -1: not the answer yet, else an exit_code. */
static int judge(struct push *p, const Sipedge__V1__ConfigReport *report)
{
	if (report->offered_revision != p->doc.msg->revision)
		return -1;

	switch (report->status) {

	case SIPEDGE__V1__CONFIG_STATUS__CONFIG_STATUS_APPLYING:
		if (!p->applying)
			printf("APPLYING\n");
		fflush(stdout);
		p->applying = true;
		return -1;

	case SIPEDGE__V1__CONFIG_STATUS__CONFIG_STATUS_APPLIED:
		if (!is_ours(p, report))
			return -1;
		printf("APPLIED: revision %" PRIu64 ", accounts %" PRIu32 ", commands %" PRIu32 "\n",
		        report->effective_revision, report->accounts, report->commands);
		return EXIT_OK;

	case SIPEDGE__V1__CONFIG_STATUS__CONFIG_STATUS_REJECTED:
		print_issues(p, report);
		print_refusal("REJECTED", report);
		return EXIT_NOT_OK;

	case SIPEDGE__V1__CONFIG_STATUS__CONFIG_STATUS_ROLLED_BACK:
		print_issues(p, report);
		print_refusal("ROLLED_BACK", report);
		return EXIT_ROLLED_BACK;

	default: /* of a newer node */
		return -1;
	}
}

/* A report that was there before we published can't be about it, unless it says that the very same bytes run already. */
static bool ran_before(const struct push *p)
{
	return p->before && p->before->status == SIPEDGE__V1__CONFIG_STATUS__CONFIG_STATUS_APPLIED &&
	       p->before->offered_revision == p->doc.msg->revision && is_ours(p, p->before);
}

static int take_answer(struct push *p, const struct broker_message *m)
{
	Sipedge__V1__ConfigReport *report;
	unsigned seen = 0;
	int code;

	if (strcmp(m->topic, p->reported)) {
		take_retained(p, m, &seen); /* the node may come or go */
		return -1;
	}
	report = m->retained ? NULL : inbound_decode(m, &sipedge__v1__config_report__descriptor);
	if (!report)
		return -1;
	code = judge(p, report);
	inbound_free(report);

	return code;
}

static void say_no_answer(const struct push *p, enum broker_event event)
{
	if (event == BROKER_LOST)
		fprintf(stderr, "sipedgectl: the broker closed the connection%s\n",
		        p->doc.len > 65536 ? " (is the document larger than it takes?)" : "");
	else if (event == BROKER_INTERRUPTED)
		fprintf(stderr, "sipedgectl: interrupted; the document stays at the broker\n");
	else
		fprintf(stderr, "sipedgectl: no answer from %s within %g s: %s; the document stays at the broker\n",
		        p->options->node, p->options->wait_s,
		        !p->node_seen    ? "the broker has no status of it"
		        : p->node_online ? "its status says online"
		                         : "its status says offline");
}

static int wait_answer(struct push *p, int64_t deadline_ms)
{
	struct broker_message *m;
	enum broker_event event;
	int code = ran_before(p) ? judge(p, p->before) : -1;

	while (code < 0) {
		event = broker_wait(p->broker, deadline_ms, &m);
		if (event != BROKER_MESSAGE) {
			say_no_answer(p, event);
			return EXIT_NO_ANSWER;
		}
		code = take_answer(p, m);
		broker_message_free(m);
	}

	return code;
}

static int exchange(struct push *p)
{
	int64_t deadline_ms;
	int code;

	code = subscribe(p);
	if (!code)
		code = collect_retained(p);
	deadline_ms = broker_now_ms() + (int64_t)(p->options->wait_s * 1000);
	if (!code)
		code = publish(p, deadline_ms);
	if (!code)
		code = wait_answer(p, deadline_ms);

	return code;
}

static int push(const struct options *options)
{
	struct push p = {.options = options};
	int code, err;

	if (!options->node) {
		fprintf(stderr, "sipedgectl: no node: give --node ID or set SIPEDGE_NODE\n");
		return EXIT_USAGE;
	}

	code = document_load(&p.doc, options->args[0]);
	if (!code)
		code = document_validate(&p.doc, options->node);
	if (!code) {
		err = broker_open(&p.broker, options);
		code = err == EINVAL ? EXIT_USAGE : err ? EXIT_NO_ANSWER : exchange(&p);
	}
	broker_close(p.broker);
	inbound_free(p.before);
	document_close(&p.doc);

	return code;
}

const struct subcommand subcommand_push = {
        .name = "push",
        .run = push,
        .takes = TAKES_BROKER | TAKES_NODE | TAKES_WAIT,
        .args_min = 1,
        .args_max = 1,
        .args = "FILE.yaml",
        .summary = "Send a document to a node, wait for what becomes of it, print why",
        .details = "Without a revision in the file, the document gets the highest of the retained, offered and "
                   "effective ones\n"
                   "plus one. It is checked as the node will check it before anything is sent.\n"
                   "Exit status: 0 APPLIED, 1 REJECTED or not valid, 2 bad usage, 3 ROLLED_BACK, 4 no answer.",
};
