/**
 * @file watch.c  sipedgectl watch: results as they come
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "proto/json.h"
#include "provisioning/sipedgectl/broker.h"
#include "provisioning/sipedgectl/inbound.h"
#include "provisioning/sipedgectl/rows.h"
#include "provisioning/sipedgectl/safe.h"
#include "provisioning/sipedgectl/subcommands.h"

enum {
	ONCE_TIMEOUT_MS = 300000,
	REDRAW_MS = 200, /* at most so often */
	AGE_MS = 1000,   /* at least so often, for the column age */
	JUDGE_MS = 50,   /* at most so often: it looks at every command */
	NAME_WIDTH_MAX = 24,
	MISSING_SHOWN_MAX = 10,
};

enum once { /* how far --once has come */
	ONCE_WAITING,
	ONCE_ALL_OK,
	ONCE_NOT_OK,
	ONCE_NOTHING, /* there is no command to wait for */
};

struct watch {
	const struct options *options;
	struct broker *broker;
	char reported_topic[TOPIC_MAX], desired_topic[TOPIC_MAX], status_topic[TOPIC_MAX];
	Sipedge__V1__NodeStatus *status; /* these three for --once only */
	Sipedge__V1__ConfigReport *report;
	Sipedge__V1__ConfigDocument *desired;
	struct rows rows;
	bool draws;     /* a table that redraws, else a line per result */
	bool colours;   /* and cursor movements */
	unsigned drawn; /* lines on the screen */
	bool has_header;
	bool dirty;
	int64_t drawn_ms, judged_ms;
};

static const char *verdict_colour(const char *verdict)
{
	static const struct {
		const char *verdict, *colour;
	} table[] = {
	        {"ok", "\033[32m"},
	        {"warn", "\033[33m"},
	        {"fail", "\033[31m"},
	        {"maintenance", "\033[36m"},
	        {"error", "\033[35m"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (!strcmp(table[i].verdict, verdict))
			return table[i].colour;
	}

	return "";
}

static void print_verdict(const struct watch *w, const char *verdict)
{
	const char *colour = w->colours ? verdict_colour(verdict) : "";

	fputs(colour, stdout);
	safe_print_column(stdout, verdict, 11);
	fputs(*colour ? "\033[0m" : "", stdout);
}

static void format_code(char buf[16], const Sipedge__V1__CheckResult *r)
{
	buf[0] = '\0';
	if (r->code_opt_case == SIPEDGE__V1__CHECK_RESULT__CODE_OPT_CODE)
		snprintf(buf, 16, "%" PRIu32, r->code);
}

static void format_response(char buf[32], const Sipedge__V1__CheckResult *r, int decimals)
{
	buf[0] = '\0';
	if (r->response_ms_opt_case == SIPEDGE__V1__CHECK_RESULT__RESPONSE_MS_OPT_RESPONSE_MS)
		snprintf(buf, 32, "%.*f", decimals, r->response_ms);
}

/* What the server said, else why there is nothing from it. */
static const char *reason_of(const Sipedge__V1__CheckResult *r)
{
	if (*r->reason)
		return r->reason;

	return *r->error_text ? r->error_text : r->error_class;
}

/* Without a clock that can be trusted at the node, only what came while we watched has an age. */
static void format_age(char buf[32], const struct row *row, int64_t now_ms)
{
	const Sipedge__V1__CheckResult *r = row->result;
	int64_t s = (now_ms - row->arrived_ms) / 1000;

	buf[0] = '\0';
	if (r->clock_synchronized && r->finished_unix_us > 0)
		s = (int64_t)time(NULL) - r->finished_unix_us / 1000000;
	else if (!row->is_live)
		return;
	if (s < 0)
		s = 0;

	if (s < 120)
		snprintf(buf, 32, "%" PRId64 "s", s);
	else if (s < 7200)
		snprintf(buf, 32, "%" PRId64 "m", s / 60);
	else if (s < 172800)
		snprintf(buf, 32, "%" PRId64 "h", s / 3600);
	else
		snprintf(buf, 32, "%" PRId64 "d", s / 86400);
}

static void print_json_line(const Sipedge__V1__CheckResult *r)
{
	json_print_message(stdout, &r->base, JSON_COMPACT);
	putchar('\n');
}

static void print_csv_line(struct watch *w, const struct topic_result *at, const Sipedge__V1__CheckResult *r)
{
	char code[16], response[32], started[40];
	const char *const fields[] = {at->node, at->account, at->variable, r->command, r->verdict, r->state, code,
	        r->reason, r->error_class, response, started};

	if (!w->has_header)
		printf("node,account,variable,command,verdict,state,code,reason,error_class,response_ms,started,"
		       "seq\r\n");
	w->has_header = true;

	format_code(code, r);
	format_response(response, r, 3);
	safe_time(started, sizeof(started), r->started_unix_us);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		safe_print_csv(stdout, fields[i]);
		putchar(',');
	}
	printf("%" PRIu64 "\r\n", r->seq);
}

static void print_text_line(struct watch *w, const struct topic_result *at, const Sipedge__V1__CheckResult *r)
{
	char code[16], response[32], finished[40];

	if (!w->has_header)
		printf("%-24s %-12s %-14s %-14s %-11s %-4s %11s  %s\n", "FINISHED", "NODE", "ACCOUNT", "VARIABLE",
		        "VERDICT", "CODE", "RESPONSE_MS", "REASON");
	w->has_header = true;

	format_code(code, r);
	format_response(response, r, 1);
	safe_time(finished, sizeof(finished), r->finished_unix_us);
	printf("%-24s %-12s %-14s %-14s ", finished, at->node, at->account, at->variable);
	print_verdict(w, r->verdict);
	printf(" %-4s %11s  ", code, response);
	safe_print(stdout, reason_of(r));
	putchar('\n');
}

static void print_line(struct watch *w, const struct topic_result *at, const Sipedge__V1__CheckResult *r)
{
	switch (w->options->format) {

	case FORMAT_TABLE:
		print_text_line(w, at, r);
		break;
	case FORMAT_JSON:
		print_json_line(r);
		break;
	case FORMAT_CSV:
		print_csv_line(w, at, r);
		break;
	}
	fflush(stdout);
}

struct widths {
	unsigned node, account, variable, reason, lines;
};

static unsigned fit(unsigned width, const char *name)
{
	const unsigned n = (unsigned)strlen(name);

	return n > NAME_WIDTH_MAX ? NAME_WIDTH_MAX : n > width ? n : width;
}

static struct widths measure(const struct watch *w)
{
	struct widths t = {.node = 4, .account = 7, .variable = 8};
	struct winsize size = {0};
	unsigned used;

	for (size_t i = 0; i < w->rows.n; i++) {
		t.node = fit(t.node, w->rows.row[i]->at.node);
		t.account = fit(t.account, w->rows.row[i]->at.account);
		t.variable = fit(t.variable, w->rows.row[i]->at.variable);
	}

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row) {
		size.ws_col = 80;
		size.ws_row = 24;
	}
	used = t.node + t.account + t.variable + 4 + 11 + 4 + 11 + 5 + 7;
	t.reason = size.ws_col > used + 1 ? size.ws_col - used - 1 : 0;
	t.lines = size.ws_row > 4 ? size.ws_row - 3u : 1;

	return t;
}

static void draw_row(const struct watch *w, const struct row *row, const struct widths *t, int64_t now_ms)
{
	char code[16], response[32], age[32];

	format_code(code, row->result);
	format_response(response, row->result, 1);
	format_age(age, row, now_ms);
	safe_print_column(stdout, row->at.node, t->node);
	putchar(' ');
	safe_print_column(stdout, row->at.account, t->account);
	putchar(' ');
	safe_print_column(stdout, row->at.variable, t->variable);
	putchar(' ');
	print_verdict(w, row->result->verdict);
	printf(" %-4.4s %11.11s %5.5s ", code, response, age);
	safe_print_column(stdout, reason_of(row->result), t->reason);
	putchar('\n');
}

static void erase(struct watch *w)
{
	if (w->drawn)
		printf("\033[%uA\r\033[J", w->drawn);
	w->drawn = 0;
}

static void draw(struct watch *w, const char *note)
{
	const int64_t now_ms = broker_now_ms();
	const struct widths t = measure(w);
	const size_t shown = w->rows.n > t.lines ? t.lines : w->rows.n;

	erase(w);
	printf("\033[1m%-*s %-*s %-*s %-11s %-4s %11s %5s %.*s\033[0m\n", (int)t.node, "NODE", (int)t.account,
	        "ACCOUNT", (int)t.variable, "VARIABLE", "VERDICT", "CODE", "RESPONSE_MS", "AGE", (int)t.reason,
	        "REASON");
	for (size_t i = 0; i < shown; i++)
		draw_row(w, w->rows.row[i], &t, now_ms);
	if (shown < w->rows.n)
		printf("… and %zu more; ", w->rows.n - shown);
	printf("%s\n", note);
	fflush(stdout);

	w->drawn = (unsigned)shown + 2;
	w->drawn_ms = now_ms;
	w->dirty = false;
}

static void take_result(struct watch *w, const struct broker_message *m)
{
	struct topic_result at;
	Sipedge__V1__CheckResult *r;
	int err;

	if (!topic_parse_result(&at, w->options->prefix, m->topic))
		return;
	if (!m->len) { /* the variable was removed */
		rows_remove(&w->rows, &at);
		w->dirty = true;
		return;
	}
	r = inbound_decode(m, &sipedge__v1__check_result__descriptor);
	if (!r)
		return;

	if (!w->draws)
		print_line(w, &at, r);
	err = rows_put(&w->rows, &at, r, !m->retained, broker_now_ms());
	if (err)
		inbound_free(r);
	w->dirty = w->dirty || !err;
}

static void take(struct watch *w, const struct broker_message *m)
{
	if (!strcmp(m->topic, w->status_topic)) {
		inbound_free(w->status);
		w->status = inbound_decode(m, &sipedge__v1__node_status__descriptor);
	} else if (!strcmp(m->topic, w->reported_topic)) {
		inbound_free(w->report);
		w->report = inbound_decode(m, &sipedge__v1__config_report__descriptor);
	} else if (!strcmp(m->topic, w->desired_topic)) {
		inbound_free(w->desired);
		w->desired = inbound_decode(m, &sipedge__v1__config_document__descriptor);
	} else {
		take_result(w, m);
	}
}

/* Whether a result belongs to this cycle: made under the effective configuration, and live; or retained, when the process
   that made it is still there. So nothing that a dead node left behind counts. */
static bool counts(const struct watch *w, const struct row *row)
{
	const Sipedge__V1__CheckResult *r = row->result;

	if (r->historical || (r->config_revision != w->report->effective_revision &&
	                             r->started_unix_us < w->report->changed_at_unix_us))
		return false;

	return row->is_live || (w->status && w->status->state == SIPEDGE__V1__NODE_STATE__NODE_STATE_ONLINE &&
	                               w->status->session == r->boot_id);
}

static bool is_ok(const struct row *row)
{
	return row->result->ok_opt_case == SIPEDGE__V1__CHECK_RESULT__OK_OPT_OK && row->result->ok;
}

/* For every command of the effective document: calls `missingh` when there is no result of it yet. */
static enum once judge_commands(const struct watch *w, void (*missingh)(const struct topic_result *at, size_t n))
{
	struct topic_result at;
	size_t commands = 0, missing = 0, bad = 0;

	snprintf(at.node, sizeof(at.node), "%s", w->options->node);
	for (size_t i = 0; i < w->desired->n_accounts; i++) {
		const Sipedge__V1__DeviceAccount *a = w->desired->accounts[i];

		if (a->disabled || (w->options->account && strcmp(w->options->account, a->id)))
			continue;
		snprintf(at.account, sizeof(at.account), "%s", a->id);
		for (size_t j = 0; j < a->n_commands; j++) {
			const struct row *row;

			if (a->commands[j]->disabled)
				continue;
			snprintf(at.variable, sizeof(at.variable), "%s", a->commands[j]->name);
			row = rows_find(&w->rows, &at);
			commands++;
			if (row && counts(w, row))
				bad += !is_ok(row);
			else if (missing++, missingh)
				missingh(&at, missing);
		}
	}
	if (missing)
		return ONCE_WAITING;

	return !commands ? ONCE_NOTHING : bad ? ONCE_NOT_OK : ONCE_ALL_OK;
}

/* Without the effective document (it is signed, or another one was offered since): as many variables as it has commands. */
static enum once judge_number(const struct watch *w)
{
	size_t n = 0, bad = 0;

	for (size_t i = 0; i < w->rows.n; i++) {
		if (!counts(w, w->rows.row[i]))
			continue;
		n++;
		bad += !is_ok(w->rows.row[i]);
	}
	if (!w->report->commands)
		return ONCE_NOTHING;
	if (n < w->report->commands || w->options->account)
		return ONCE_WAITING;

	return bad ? ONCE_NOT_OK : ONCE_ALL_OK;
}

static bool has_effective_document(const struct watch *w)
{
	return w->desired && !w->desired->signed_ && w->desired->revision == w->report->effective_revision;
}

static enum once judge(const struct watch *w)
{
	if (!w->report || !w->report->effective_revision || !w->desired)
		return ONCE_WAITING;

	return has_effective_document(w) ? judge_commands(w, NULL) : judge_number(w);
}

static void print_missing(const struct topic_result *at, size_t n)
{
	if (n <= MISSING_SHOWN_MAX)
		fprintf(stderr, "sipedgectl: no result of %s/%s\n", at->account, at->variable);
	else if (n == MISSING_SHOWN_MAX + 1)
		fprintf(stderr, "sipedgectl: and of others\n");
}

static void say_timed_out(const struct watch *w)
{
	if (!w->report)
		fprintf(stderr, "sipedgectl: %s has never reported a configuration\n", w->options->node);
	else if (!w->report->effective_revision)
		fprintf(stderr, "sipedgectl: %s runs no configuration\n", w->options->node);
	else if (w->desired && has_effective_document(w))
		judge_commands(w, print_missing);
	else
		fprintf(stderr, "sipedgectl: not every command of %s has shown a result\n", w->options->node);
}

static void say_once(const struct watch *w)
{
	size_t ok = 0, n = 0;

	for (size_t i = 0; i < w->rows.n; i++) {
		if (!counts(w, w->rows.row[i]))
			continue;
		n++;
		ok += is_ok(w->rows.row[i]);
	}
	if (w->options->format == FORMAT_TABLE)
		printf("%zu of %zu results ok\n", ok, n);
}

static int subscribe(struct watch *w)
{
	const struct options *o = w->options;
	char topic[TOPIC_MAX], rest[TOPIC_LEVEL_MAX + 16];

	if (o->once) {
		topic_format(w->status_topic, o->prefix, o->node, "status");
		topic_format(w->reported_topic, o->prefix, o->node, "config/reported");
		topic_format(w->desired_topic, o->prefix, o->node, "config/desired");
		if (broker_subscribe(w->broker, w->status_topic) || broker_subscribe(w->broker, w->reported_topic) ||
		        broker_subscribe(w->broker, w->desired_topic))
			return EXIT_NO_ANSWER;
	}
	snprintf(rest, sizeof(rest), "result/%s/+", o->account ? o->account : "+");
	topic_format(topic, o->prefix, o->node ? o->node : "+", rest);

	return broker_subscribe(w->broker, topic) ? EXIT_NO_ANSWER : EXIT_OK;
}

static int reopen(struct watch *w, int64_t deadline_ms)
{
	if (w->draws)
		draw(w, "connection to the broker lost, trying again …");
	else
		fprintf(stderr, "sipedgectl: connection to the broker lost, trying again\n");

	return broker_reopen(w->broker, deadline_ms);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When to look up from waiting though nothing came. */
static int64_t next_wake(const struct watch *w, int64_t deadline_ms, bool judge_due)
{
	int64_t t = deadline_ms;

	if (w->draws)
		t = least(t, w->drawn_ms + (w->dirty ? REDRAW_MS : AGE_MS));
	if (judge_due)
		t = least(t, w->judged_ms + JUDGE_MS);

	return t;
}

static int once_ended(struct watch *w, enum once once)
{
	if (w->draws)
		draw(w, "");
	if (once == ONCE_NOTHING) {
		fprintf(stderr, "sipedgectl: %s has no command to watch\n", w->options->node);
		return EXIT_NO_ANSWER;
	}
	say_once(w);

	return once == ONCE_ALL_OK ? EXIT_OK : EXIT_NOT_OK;
}

static int deadline_passed(struct watch *w)
{
	if (w->draws)
		draw(w, "");
	if (!w->options->once)
		return EXIT_OK;
	say_timed_out(w);

	return EXIT_NO_ANSWER;
}

static int loop(struct watch *w, int64_t deadline_ms)
{
	static const char hint[] = "Ctrl-C ends";
	bool judge_due = false;

	for (;;) {
		struct broker_message *m;
		const enum broker_event event = broker_wait(w->broker, next_wake(w, deadline_ms, judge_due), &m);
		int64_t now_ms = broker_now_ms();
		int err = 0;

		if (event == BROKER_MESSAGE) {
			take(w, m);
			broker_message_free(m);
			judge_due = w->options->once;
		} else if (event == BROKER_LOST) {
			err = reopen(w, deadline_ms);
			now_ms = broker_now_ms();
		}
		if (event == BROKER_INTERRUPTED || err == ECANCELED) {
			if (w->draws)
				draw(w, "");
			return w->options->once ? EXIT_NO_ANSWER : EXIT_OK;
		}
		if (ferror(stdout)) /* who read it has gone */
			return w->options->once ? EXIT_NO_ANSWER : EXIT_OK;

		if (judge_due && now_ms >= w->judged_ms + JUDGE_MS) {
			const enum once once = judge(w);

			if (once != ONCE_WAITING)
				return once_ended(w, once);
			judge_due = false;
			w->judged_ms = now_ms;
		}
		if (now_ms >= deadline_ms)
			return deadline_passed(w);
		if (w->draws && now_ms >= w->drawn_ms + (w->dirty ? REDRAW_MS : AGE_MS))
			draw(w, hint);
	}
}

static int64_t deadline(const struct options *o)
{
	if (o->timeout_s > 0)
		return broker_now_ms() + (int64_t)(o->timeout_s * 1000);

	return o->once ? broker_now_ms() + ONCE_TIMEOUT_MS : INT64_MAX;
}

static bool is_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static int watch(const struct options *options)
{
	struct watch w = {.options = options};
	int code, err;

	if (options->once && !options->node) {
		fprintf(stderr, "sipedgectl: --once needs --node ID or SIPEDGE_NODE\n");
		return EXIT_USAGE;
	}
	w.draws = options->format == FORMAT_TABLE && is_terminal();
	w.colours = w.draws && !getenv("NO_COLOR");

	err = broker_open(&w.broker, options);
	if (err)
		return err == EINVAL ? EXIT_USAGE : EXIT_NO_ANSWER;

	code = subscribe(&w);
	if (!code) {
		fputs(w.draws ? "\033[?25l" : "", stdout);
		code = loop(&w, deadline(options));
		fputs(w.draws ? "\033[?25h" : "", stdout);
	}
	broker_close(w.broker);
	rows_clear(&w.rows);
	inbound_free(w.status);
	inbound_free(w.report);
	inbound_free(w.desired);

	return code;
}

const struct subcommand subcommand_watch = {
        .name = "watch",
        .run = watch,
        .takes = TAKES_BROKER | TAKES_NODE | TAKES_ACCOUNT | TAKES_ONCE | TAKES_FORMAT | TAKES_TIMEOUT,
        .args_max = 0,
        .args = "",
        .summary = "Print results as they come; a table that redraws on a terminal",
        .details =
                "Without --node: of all nodes. json is one CheckResult per line, csv has a header.\n"
                "--once ends when every enabled command of the node's effective configuration has shown a result of "
                "it:\n"
                "a live one, or the retained one when the node is online and the same process made it. It waits for\n"
                "300 s unless --timeout says otherwise.\n"
                "Exit status: 0 ended by Ctrl-C or --timeout, or --once and every result is ok; 1 --once and one is "
                "not;\n"
                "2 bad usage; 4 no broker, or --once has not come to its end.",
};
