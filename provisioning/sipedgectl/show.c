/**
 * @file show.c  sipedgectl show: what a node is, what it runs and what it shall run
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "proto/json.h"
#include "provisioning/sipedgectl/broker.h"
#include "provisioning/sipedgectl/inbound.h"
#include "provisioning/sipedgectl/subcommands.h"
#include "provisioning/sipedgectl/safe.h"
#include "sipedge/v1/sipedge.pb-c.h"

enum { WAIT_MS_DEFAULT = 1500 };

/* Retained messages of one node; NULL: there is none. */
struct view {
	const struct options *options;
	char desired_topic[TOPIC_MAX], reported_topic[TOPIC_MAX], status_topic[TOPIC_MAX];
	Sipedge__V1__NodeStatus *status;
	Sipedge__V1__ConfigReport *report;
	Sipedge__V1__ConfigDocument *desired;
};

static void view_take(struct view *v, const struct broker_message *m)
{
	if (!strcmp(m->topic, v->status_topic)) {
		inbound_free(v->status);
		v->status = inbound_decode(m, &sipedge__v1__node_status__descriptor);
	} else if (!strcmp(m->topic, v->reported_topic)) {
		inbound_free(v->report);
		v->report = inbound_decode(m, &sipedge__v1__config_report__descriptor);
	} else if (!strcmp(m->topic, v->desired_topic)) {
		inbound_free(v->desired);
		v->desired = inbound_decode(m, &sipedge__v1__config_document__descriptor);
	}
}

/* An operator's screen is no place for a password. */
static void hide_plain_secrets(Sipedge__V1__ConfigDocument *doc)
{
	for (size_t i = 0; i < doc->n_accounts; i++) {
		Sipedge__V1__Secret *secret = doc->accounts[i]->password;

		if (secret && secret->source_case == SIPEDGE__V1__SECRET__SOURCE_PLAIN)
			memset(secret->plain, '*', strlen(secret->plain));
	}
}

static int collect(struct view *v, struct broker *b)
{
	const int64_t deadline_ms =
	        broker_now_ms() +
	        (v->options->timeout_s > 0 ? (int64_t)(v->options->timeout_s * 1000) : WAIT_MS_DEFAULT);
	struct broker_message *m;
	enum broker_event event;

	topic_format(v->status_topic, v->options->prefix, v->options->node, "status");
	topic_format(v->reported_topic, v->options->prefix, v->options->node, "config/reported");
	topic_format(v->desired_topic, v->options->prefix, v->options->node, "config/desired");
	if (broker_subscribe(b, v->status_topic) || broker_subscribe(b, v->reported_topic) ||
	        broker_subscribe(b, v->desired_topic))
		return EXIT_NO_ANSWER;

	while (!v->status || !v->report || !v->desired) {
		event = broker_wait(b, deadline_ms, &m);
		if (event == BROKER_TIMEOUT)
			break;
		if (event != BROKER_MESSAGE) {
			fprintf(stderr, "sipedgectl: %s\n",
			        event == BROKER_LOST ? "the broker closed the connection" : "interrupted");
			return EXIT_NO_ANSWER;
		}
		view_take(v, m);
		broker_message_free(m);
	}

	return v->status || v->report ? EXIT_OK : EXIT_NO_ANSWER;
}

static void print_pair(const char *name, const char *value)
{
	if (!value || !*value)
		return;
	printf("  %-14s ", name);
	safe_print(stdout, value);
	putchar('\n');
}

static void print_number(const char *name, uint64_t value)
{
	printf("  %-14s %" PRIu64 "\n", name, value);
}

/* ONLINE out of NODE_STATE_ONLINE */
static const char *enum_word(const ProtobufCEnumDescriptor *desc, int v, size_t prefix)
{
	const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(desc, v);

	return value && strlen(value->name) > prefix ? value->name + prefix : "unknown to this version";
}

static void print_status(const Sipedge__V1__NodeStatus *s)
{
	char since[40];

	printf("status\n");
	if (!s) {
		printf("  none: the broker has no status of this node\n");
		return;
	}
	safe_time(since, sizeof(since), s->since_unix_us);
	print_pair("state", enum_word(&sipedge__v1__node_state__descriptor, (int)s->state, strlen("NODE_STATE_")));
	print_pair("since", since);
	print_pair("version", s->version);
	print_pair("build", s->build);
	print_pair("os", s->os);
	print_pair("arch", s->arch);
	print_number("revision", s->config_revision);
	print_number("waiting", s->spooled_results);
	print_number("dropped", s->dropped_results);
	print_number("unreadable", s->unreadable_messages);
	print_pair("clock", s->clock_synchronized ? "synchronized" : "not synchronized");
}

static void print_report(const Sipedge__V1__ConfigReport *r)
{
	char changed[40];

	printf("configuration\n");
	if (!r) {
		printf("  none reported\n");
		return;
	}
	safe_time(changed, sizeof(changed), r->changed_at_unix_us);
	print_pair("last offer",
	        enum_word(&sipedge__v1__config_status__descriptor, (int)r->status, strlen("CONFIG_STATUS_")));
	print_number("offered", r->offered_revision);
	print_number("effective", r->effective_revision);
	print_pair("since", changed);
	print_number("accounts", r->accounts);
	print_number("commands", r->commands);
	for (size_t i = 0; i < r->n_issues; i++) {
		printf("  issue          ");
		safe_print(stdout, r->issues[i]->path);
		printf("%s", *r->issues[i]->path ? ": " : "");
		safe_print(stdout, r->issues[i]->message);
		putchar('\n');
	}
}

static void print_account(const Sipedge__V1__DeviceAccount *a)
{
	char remote[SAFE_MAX], port[16] = "";

	if (a->remote_port_opt_case == SIPEDGE__V1__DEVICE_ACCOUNT__REMOTE_PORT_OPT_REMOTE_PORT)
		snprintf(port, sizeof(port), ":%" PRIu32, a->remote_port);
	snprintf(remote, sizeof(remote), strchr(a->remote_address, ':') ? "[%s]%s" : "%s%s", a->remote_address, port);

	printf("  ");
	safe_print_column(stdout, a->id, 20);
	putchar(' ');
	safe_print_column(stdout, *a->transport ? a->transport : "udp", 4);
	putchar(' ');
	safe_print_column(stdout, remote, 28);
	putchar(' ');
	safe_print_column(stdout, a->login, 16);
	printf(" commands %zu%s\n", a->n_commands, a->disabled ? ", disabled" : "");
	for (size_t i = 0; i < a->n_commands; i++) {
		const Sipedge__V1__Command *c = a->commands[i];

		printf("    ");
		safe_print_column(stdout, c->name, 20);
		putchar(' ');
		safe_print_column(stdout, c->command, 9);
		safe_print(stdout, c->description);
		printf("%s\n", c->disabled ? " (disabled)" : "");
	}
}

static void print_desired(const Sipedge__V1__ConfigDocument *d)
{
	printf("desired\n");
	if (!d) {
		printf("  none: the broker has no document for this node\n");
		return;
	}
	print_number("revision", d->revision);
	print_pair("issuer", d->issuer);
	if (d->signed_)
		print_pair("signed", "yes: its accounts are not shown");
	for (size_t i = 0; i < d->n_accounts; i++)
		print_account(d->accounts[i]);
}

static void print_json(const char *name, const void *msg, const char *after)
{
	printf("\"%s\":", name);
	if (msg)
		json_print_message(stdout, msg, JSON_COMPACT);
	else
		printf("null");
	printf("%s", after);
}

static int show(const struct options *options)
{
	struct view v = {.options = options};
	struct broker *b = NULL;
	int code, err;

	if (!options->node) {
		fprintf(stderr, "sipedgectl: no node: give --node ID or set SIPEDGE_NODE\n");
		return EXIT_USAGE;
	}
	if (options->format == FORMAT_CSV) {
		fprintf(stderr, "sipedgectl: --format: show has table and json\n");
		return EXIT_USAGE;
	}

	err = broker_open(&b, options);
	if (err)
		return err == EINVAL ? EXIT_USAGE : EXIT_NO_ANSWER;
	code = collect(&v, b);
	broker_close(b);

	if (v.desired)
		hide_plain_secrets(v.desired);
	if (options->format == FORMAT_JSON) {
		putchar('{');
		print_json("status", v.status, ",");
		print_json("reported", v.report, ",");
		print_json("desired", v.desired, "}\n");
	} else {
		print_status(v.status);
		print_report(v.report);
		print_desired(v.desired);
	}
	inbound_free(v.status);
	inbound_free(v.report);
	inbound_free(v.desired);

	return code;
}

const struct subcommand subcommand_show = {
        .name = "show",
        .run = show,
        .takes = TAKES_BROKER | TAKES_NODE | TAKES_TIMEOUT | TAKES_FORMAT,
        .args_max = 0,
        .args = "",
        .summary = "Print a node's status, its effective revision and its accounts",
        .details = "What is shown is what the broker keeps, whether the node is there or not. Passwords are hidden.\n"
                   "Exit status: 0, 2 bad usage, 4 no broker, or neither a status nor a report of that node.",
};
