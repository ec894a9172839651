/**
 * @file bench_engine.c  What the engine sustains: from the due time of a check to its finished, encoded result
 *
 * Configures accounts through the decoder as the agent does, lets the synchronization cycle run them and counts. A
 * dead server is an address of 127.0.0.0/8 where a socket swallows everything. Prints one line of key=value figures; times are the
 * engine's own thread only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <re.h>
#include "edge/clock.h"
#include "edge/core/wire.h"
#include "edge/cycle.h"
#include "edge/runtime.h"
#include "sipedge/v1/sipedge.pb-c.h"

enum {
	SECOND = 1000000,
	SAMPLES_MAX = 4000000,
};

struct bench {
	unsigned live, dead, interval_s, seconds, warm_up_s;
	const char *transport;
	uint16_t port, dead_port;
	int sink;

	struct sip_stack *stack;
	struct checker *checker;
	struct cycle *cycle;
	struct wheel_timer timer;
	struct mbuf *mb;
	bool is_counting;
	uint64_t from_us;
	double cpu_from_s;

	uint64_t results, ok, dead_results, dead_timeouts, bytes;
	size_t samples;
	float *response_ms, *lag_ms;
};

static double cpu_s(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);

	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void on_result(struct result *result, void *arg)
{
	static const struct wire_origin origin = {.node = "bench", .boot_id = 1};
	struct bench *b = arg;

	mbuf_rewind(b->mb);
	if (wire_encode_result(b->mb, &origin, result))
		abort();

	if (b->is_counting && result->account->id[0] == 'd') {
		b->dead_results++;
		b->dead_timeouts += result->error == VERDICT_ERROR_TIMEOUT;
	} else if (b->is_counting) {
		b->results++;
		b->ok += result->verdict == VERDICT_OK;
		b->bytes += b->mb->end;
		if (b->samples < SAMPLES_MAX && result->cells[COL_RESPONSE_MS].is_set) {
			b->response_ms[b->samples] = (float)result->cells[COL_RESPONSE_MS].v.d;
			b->lag_ms[b->samples] = (float)result->cells[COL_SCHED_LAG_MS].v.d;
			b->samples++;
		}
	}
	mem_deref(result);
}

static void on_gone(const char *account, const char *variable, void *arg)
{
	(void)account;
	(void)variable;
	(void)arg;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double quantile(float *values, size_t n, double q)
{
	if (!n)
		return -1;
	qsort(values, n, sizeof(*values), compare);

	return (double)values[(size_t)((double)(n - 1) * q)];
}

static void report(struct bench *b)
{
	double wall_s = (double)(clock_mono_us() - b->from_us) / 1e6, cpu = cpu_s() - b->cpu_from_s;
	uint64_t all = b->results + b->dead_results;

	(void)printf("live=%u dead=%u interval_s=%u wall_s=%.2f results_per_s=%.0f ok_pct=%.3f expected_pct=%.2f "
	             "cpu_us_per_check=%.1f cpu_pct=%.1f response_p50_ms=%.3f response_p99_ms=%.3f lag_p50_ms=%.3f "
	             "lag_p99_ms=%.3f bytes=%.0f dead_results=%llu dead_timeouts=%llu skipped=%llu\n",
	        b->live, b->dead, b->interval_s, wall_s, (double)b->results / wall_s,
	        b->results ? 100.0 * (double)b->ok / (double)b->results : 0,
	        100.0 * (double)b->results / (b->live * wall_s / b->interval_s), all ? cpu * 1e6 / (double)all : 0,
	        100 * cpu / wall_s, quantile(b->response_ms, b->samples, .5), quantile(b->response_ms, b->samples, .99),
	        quantile(b->lag_ms, b->samples, .5), quantile(b->lag_ms, b->samples, .99),
	        b->results ? (double)b->bytes / (double)b->results : 0, (unsigned long long)b->dead_results,
	        (unsigned long long)b->dead_timeouts, (unsigned long long)cycle_skipped(b->cycle));
}

static void on_closed(void *arg)
{
	(void)arg;
	re_cancel();
}

static void on_end(uint64_t now_us, void *arg)
{
	struct bench *b = arg;

	report(b);
	cycle_stop(b->cycle);
	checker_close(b->checker, now_us + SECOND, on_closed, b);
}

static void on_warm(uint64_t now_us, void *arg)
{
	struct bench *b = arg;

	b->is_counting = true;
	b->from_us = clock_mono_us();
	b->cpu_from_s = cpu_s();
	wheel_start(b->stack->wheel, &b->timer, now_us + (uint64_t)b->seconds * SECOND, on_end, b);
}

/* what swallows everything and never answers, on every address of this host */
static int open_sink(struct bench *b)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
	socklen_t len = sizeof(addr);

	b->sink = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (b->sink < 0 || bind(b->sink, (struct sockaddr *)&addr, len) ||
	        getsockname(b->sink, (struct sockaddr *)&addr, &len))
		return errno;
	b->dead_port = ntohs(addr.sin_port);

	return 0;
}

static int make_document(const struct bench *b, uint8_t **bufp, size_t *lenp)
{
	unsigned n = b->live + b->dead;
	Sipedge__V1__ConfigDocument document = SIPEDGE__V1__CONFIG_DOCUMENT__INIT;
	Sipedge__V1__DeviceAccount *accounts = calloc(n, sizeof(*accounts)), **list = calloc(n, sizeof(*list));
	Sipedge__V1__Command command = SIPEDGE__V1__COMMAND__INIT, *commands[1] = {&command};
	char(*text)[2][24] = calloc(n, sizeof(*text));

	if (!accounts || !list || !text)
		return ENOMEM;

	command.name = (char *)(uintptr_t) "alive";
	command.command = (char *)(uintptr_t) "OPTIONS";
	for (unsigned i = 0; i < n; i++) {
		bool is_dead = i >= b->live;

		sipedge__v1__device_account__init(&accounts[i]);
		(void)snprintf(text[i][0], sizeof(text[i][0]), "%c%u", is_dead ? 'd' : 'l', i);
		(void)snprintf(text[i][1], sizeof(text[i][1]), "127.%u.%u.1", is_dead ? 1 + i / 250 : 0,
		        is_dead ? i % 250 : 0);
		accounts[i].id = text[i][0];
		accounts[i].remote_address = text[i][1];
		accounts[i].transport = (char *)(uintptr_t)b->transport;
		accounts[i].remote_port_opt_case = SIPEDGE__V1__DEVICE_ACCOUNT__REMOTE_PORT_OPT_REMOTE_PORT;
		accounts[i].remote_port = is_dead ? b->dead_port : b->port;
		accounts[i].sync_interval_s_opt_case = SIPEDGE__V1__DEVICE_ACCOUNT__SYNC_INTERVAL_S_OPT_SYNC_INTERVAL_S;
		accounts[i].sync_interval_s = b->interval_s;
		accounts[i].n_commands = 1;
		accounts[i].commands = commands;
		list[i] = &accounts[i];
	}
	document.revision = 1;
	document.n_accounts = n;
	document.accounts = list;

	*lenp = sipedge__v1__config_document__get_packed_size(&document);
	*bufp = malloc(*lenp);
	if (*bufp)
		(void)sipedge__v1__config_document__pack(&document, *bufp);
	free(text);
	free(list);
	free(accounts);

	return *bufp ? 0 : ENOMEM;
}

static int configure(struct bench *b)
{
	const struct config_policy policy = {.node = "bench"};
	struct cycle_failure failure;
	struct issues *issues = NULL;
	struct config *config = NULL;
	struct plan *plan = NULL;
	uint64_t revision;
	uint8_t *buf;
	size_t len;
	int err = make_document(b, &buf, &len);

	if (err)
		return err;
	err = issues_alloc(&issues);
	if (!err)
		err = wire_decode_document(&config, &revision, buf, len, &policy, issues);
	for (size_t i = 0; err && i < issues_listed(issues) && i < 3; i++)
		(void)fprintf(stderr, "%s: %s\n", issues_get(issues, i)->path, issues_get(issues, i)->message);
	if (!err)
		err = plan_diff(&plan, NULL, config);
	if (!err)
		err = cycle_apply(b->cycle, plan, &failure);
	mem_deref(plan);
	mem_deref(config);
	mem_deref(issues);
	free(buf);

	return err;
}

static int run(struct bench *b)
{
	const struct schedule_limits limits = {.starts_per_s = 50000};
	const struct cycle_handlers handlers = {on_result, on_gone, b};
	int err;

	err = open_sink(b);
	if (!err)
		err = stack_alloc(&b->stack, "sipedge-bench");
	if (!err)
		err = checker_alloc(&b->checker, b->stack);
	if (!err)
		err = cycle_alloc(&b->cycle, b->stack, b->checker, &limits, &handlers);
	if (!err)
		err = configure(b);
	if (err)
		return err;

	wheel_start(b->stack->wheel, &b->timer, stack_now(b->stack) + (uint64_t)b->warm_up_s * SECOND, on_warm, b);

	return re_main(NULL);
}

int main(int argc, char *argv[])
{
	struct bench b = {.live = 1000, .interval_s = 1, .seconds = 5, .warm_up_s = 3, .transport = "udp"};
	int c, err;

	while ((c = getopt(argc, argv, "l:d:i:s:w:p:t:")) != -1) {
		switch (c) {
		case 'l':
			b.live = (unsigned)atoi(optarg);
			break;
		case 'd':
			b.dead = (unsigned)atoi(optarg);
			break;
		case 'i':
			b.interval_s = (unsigned)atoi(optarg);
			break;
		case 's':
			b.seconds = (unsigned)atoi(optarg);
			break;
		case 'w':
			b.warm_up_s = (unsigned)atoi(optarg);
			break;
		case 'p':
			b.port = (uint16_t)atoi(optarg);
			break;
		case 't':
			b.transport = optarg;
			break;
		default:
			return 2;
		}
	}
	if (!b.port) {
		(void)fputs(
		        "usage: bench_engine -p PORT_OF_A_RESPONDER_ON_127.0.0.1 [-l LIVE] [-d DEAD] [-i INTERVAL_S] "
		        "[-s SECONDS] [-w WARM_UP_S] [-t udp|tcp]\n",
		        stderr);
		return 2;
	}

	b.response_ms = calloc(SAMPLES_MAX, sizeof(*b.response_ms));
	b.lag_ms = calloc(SAMPLES_MAX, sizeof(*b.lag_ms));
	b.mb = NULL;
	err = runtime_init();
	if (!err)
		b.mb = mbuf_alloc(4096);
	if (!err)
		err = b.mb ? run(&b) : ENOMEM;
	if (err)
		(void)fprintf(stderr, "bench_engine: %s\n", strerror(err));
	mem_deref(b.cycle);
	mem_deref(b.checker);
	mem_deref(b.stack);
	mem_deref(b.mb);
	free(b.response_ms);
	free(b.lag_ms);
	runtime_close();

	return err ? 1 : 0;
}
