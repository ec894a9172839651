/**
 * @file agent.c  The agent: the composition root, the only file that knows all parts
 *
 * In:  link (Paho's thread) -> store thread: decode, validate, difference -> plan -> inbox -> loop: cycle_apply -> store: report.
 * Out: wheel -> cycle -> check -> result -> encode -> store thread: number, keep -> link -> acknowledged -> forgotten.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <re.h>
#include "edge/agent.h"
#include "edge/clock.h"
#include "edge/cycle.h"
#include "edge/health.h"
#include "edge/inbox.h"
#include "edge/options.h"
#include "edge/runtime.h"
#include "edge/secrets.h"
#include "edge/store/store.h"
#include "edge/version.h"

enum {
	STARTS_PER_S_MAX = 20000,
	CLOSE_US = 4500000,   /* to end what runs; all of the shutdown stays under 10 s */
	STORE_STOP_MS = 2000, /* for the last acknowledgements */
	STATUS_US = 60 * 1000000,
	RESULT_SIZE = 2048, /* where an encoded result starts to grow from */
	PLANS_MAX = 4,      /* the store hands over one at a time */
};

struct agent {
	struct options *options;
	int argc;
	char **argv;
	uint64_t boot_id;
	uint64_t started_us;
	struct utsname uname;

	struct sip_stack *stack;
	struct checker *checker;
	struct cycle *cycle;
	struct store *store;
	struct link *link;
	struct health *health;
	struct inbox *plans; /* store thread -> loop */
	struct wheel_timer status;
	bool is_stopping;
};

static void destructor(void *arg)
{
	struct agent *agent = arg;

	if (agent->plans)
		fd_close(inbox_fd(agent->plans));
	wheel_stop(&agent->status);
	mem_deref(agent->health);
	mem_deref(agent->cycle);
	mem_deref(agent->checker);
	mem_deref(agent->stack);
	mem_deref(agent->link);
	mem_deref(agent->store);
	mem_deref(agent->plans);
	mem_deref(agent->options);
}

/* ---- out: a finished check ---- */

static void on_result(struct result *result, void *arg)
{
	struct agent *agent = arg;
	const struct wire_origin origin = {agent->options->node, agent->boot_id};
	struct mbuf *mb = mbuf_alloc(RESULT_SIZE);
	int err = mb ? wire_encode_result(mb, &origin, result) : ENOMEM;

	if (err) {
		log_error("result lost account=%s variable=%s error=\"%s\"", result->account->id, result->command->name,
		        strerror(err));
		mem_deref(mb);
	} else {
		mb->pos = 0;
		store_put_result(agent->store, result->account->id, result->command->name, mb,
		        result->verdict == VERDICT_OK, result->command->interval_s);
	}
	mem_deref(result);
}

static void on_gone(const char *account, const char *variable, void *arg)
{
	struct agent *agent = arg;

	store_clear_variable(agent->store, account, variable);
}

/* ---- in: a plan ---- */

static void free_plan(void *item)
{
	mem_deref(item);
}

static void on_plan(struct plan *plan, void *arg) /* store thread */
{
	struct agent *agent = arg;

	if (inbox_push(agent->plans, plan)) {
		store_applied(agent->store, plan->revision, EBUSY, "", "The node is busy.");
		mem_deref(plan);
	}
}

static void apply_plans(int flags, void *arg)
{
	struct agent *agent = arg;
	struct cycle_failure failure = {.path = ""};
	struct plan *plan;
	(void)flags;

	while ((plan = inbox_take(agent->plans))) {
		int err = agent->is_stopping ? ECANCELED : cycle_apply(agent->cycle, plan, &failure);

		if (agent->is_stopping)
			failure = (struct cycle_failure){.message = "The node is shutting down."};
		store_applied(agent->store, plan->revision, err, err ? failure.path : "", err ? failure.message : "");
		if (err)
			log_warn("configuration rolled back revision=%llu path=%s reason=\"%s\"",
			        (unsigned long long)plan->revision, failure.path, failure.message);
		else
			log_notice("configuration applied revision=%llu accounts=%u commands=%u",
			        (unsigned long long)plan->revision, plan->naccounts, plan->ncommands);
		mem_deref(plan);
	}
}

/* ---- the broker ---- */

static const char *const capabilities[] = {
        "OPTIONS", "MESSAGE", "REGISTER", "INVITE", "udp", "tcp", "registration", "digest-md5", "g711", NULL};

static int encode_status(struct mbuf *mb, int state, int64_t since_unix_us, void *arg) /* publisher thread */
{
	struct agent *agent = arg;
	struct store_figures figures;
	char os[160];

	store_figures_get(agent->store, &figures);
	(void)re_snprintf(os, sizeof(os), "%s %s", agent->uname.sysname, agent->uname.release);

	return wire_encode_status(mb, &(struct wire_status){
	                                      .state = (enum node_state)state,
	                                      .node = agent->options->node,
	                                      .session = agent->boot_id,
	                                      .since_unix_us = since_unix_us,
	                                      .version = version_number(),
	                                      .build = version_build(),
	                                      .os = os,
	                                      .arch = agent->uname.machine,
	                                      .capabilities = capabilities,
	                                      .config_revision = figures.revision,
	                                      .spooled_results = figures.spooled,
	                                      .dropped_results = figures.dropped,
	                                      .unreadable_messages = figures.unreadable,
	                                      .uptime_s = (clock_mono_us() - agent->started_us) / 1000000,
	                                      .clock_synchronized = clock_is_synchronized(),
	                              });
}

static void on_received(const char *topic, const uint8_t *payload, size_t len, void *arg) /* Paho's thread */
{
	struct agent *agent = arg;
	(void)topic; /* config/desired is all that is subscribed to */

	store_put_document(agent->store, payload, len);
}

static void on_outcome(struct link_message *msg, enum link_outcome outcome, int reason, void *arg)
{
	struct agent *agent = arg;

	store_outcome(agent->store, msg, outcome, reason);
}

static void on_link_state(enum link_state state, void *arg)
{
	struct agent *agent = arg;

	store_link_state(agent->store, state);
}

static void publish_status(uint64_t now_us, void *arg)
{
	struct agent *agent = arg;

	link_publish_status(agent->link);
	wheel_start(agent->stack->wheel, &agent->status, now_us + STATUS_US, publish_status, agent);
}

static const char *what_is_dead(void *arg)
{
	struct agent *agent = arg;

	if (!store_is_alive(agent->store))
		return "store";

	return link_is_alive(agent->link) ? NULL : "publisher";
}

/* ---- life ---- */

static int make_link(struct agent *agent)
{
	const struct options *o = agent->options;
	char status[512], desired[512];
	const char *const topics[] = {desired, NULL};
	const struct link_config config = {
	        .urls = (const char *const *)o->broker,
	        .client_id = o->node,
	        .username = o->username,
	        .password = o->password,
	        .ca = o->ca,
	        .cert = o->cert,
	        .key = o->key,
	        .status_topic = status,
	        .topics = topics,
	        .payload_max = DOCUMENT_SIZE_MAX,
	};
	const struct link_handlers handlers = {on_received, on_outcome, on_link_state, encode_status, agent};

	if (re_snprintf(status, sizeof(status), "%s/%s/status", o->topic_prefix, o->node) < 0 ||
	        re_snprintf(desired, sizeof(desired), "%s/%s/config/desired", o->topic_prefix, o->node) < 0)
		return ENAMETOOLONG;

	return link_alloc(&agent->link, &config, &handlers);
}

static int make_store(struct agent *agent)
{
	const struct options *o = agent->options;
	const struct store_config config = {
	        .prefix = o->topic_prefix,
	        .node = o->node,
	        .boot_id = agent->boot_id,
	        .policy =
	                {
	                        .node = o->node,
	                        .allow_plain_secrets = o->allow_plain_secrets,
	                        .secret_read = secrets_read,
	                        .arg = o->secrets_dir,
	                },
	};
	const struct store_handlers handlers = {on_plan, agent};

	return store_alloc(&agent->store, &config, &handlers);
}

static int make_engine(struct agent *agent)
{
	static const struct schedule_limits limits = {.starts_per_s = STARTS_PER_S_MAX};
	const struct cycle_handlers handlers = {on_result, on_gone, agent};
	char user_agent[64];
	int err;

	(void)re_snprintf(user_agent, sizeof(user_agent), "sipedge/%s", version_number());
	err = stack_alloc(&agent->stack, user_agent);
	if (!err)
		err = checker_alloc(&agent->checker, agent->stack);
	if (!err)
		err = cycle_alloc(&agent->cycle, agent->stack, agent->checker, &limits, &handlers);
	if (!err)
		err = inbox_alloc(&agent->plans, PLANS_MAX, free_plan);
	if (!err)
		err = fd_listen(inbox_fd(agent->plans), FD_READ, apply_plans, agent);

	return err;
}

/* The state directory is a convenience in this version: without it the agent runs, but `sipedge health` can't ask it. */
static int make_health(struct agent *agent)
{
	const char *dir = agent->options->state_dir;
	int err;

	if (mkdir(dir, 0700) && errno != EEXIST) {
		log_warn(
		        "state directory can't be made, going on without it dir=%s error=\"%s\"", dir, strerror(errno));
		return 0;
	}
	err = health_alloc(&agent->health, dir, what_is_dead, agent);
	if (err == EADDRINUSE) {
		log_error("another agent runs with this state directory: stop it, or give another --state-dir dir=%s",
		        dir);
		return err;
	}
	if (err)
		log_warn("state directory can't be used, going on without it dir=%s error=\"%s\"", dir, strerror(err));

	return 0;
}

static void on_closed(void *arg)
{
	(void)arg;
	re_cancel();
}

static void reload(struct agent *agent)
{
	struct options *fresh = NULL;

	if (options_read(&fresh, agent->argc, agent->argv)) {
		log_warn("options can't be read anew, nothing is changed");
		return;
	}
	log_set_level(fresh->log_level);
	log_set_json(fresh->log_json);
	link_set_password(agent->link, fresh->password); /* certificates are read at each connect */
	store_reread_secrets(agent->store);
	mem_deref(fresh);
	log_notice("files read anew");
}

static void on_signal(int signum, void *arg)
{
	struct agent *agent = arg;

	if (signum == SIGHUP) {
		reload(agent);
		return;
	}
	if (agent->is_stopping) { /* told twice */
		re_cancel();
		return;
	}

	log_notice("ending signal=%d running=%zu", signum, cycle_running(agent->cycle));
	agent->is_stopping = true;
	cycle_stop(agent->cycle);
	checker_close(agent->checker, stack_now(agent->stack) + CLOSE_US, on_closed, agent);
}

static int run(struct agent *agent)
{
	int err;

	err = runtime_catch_signals(on_signal, agent); /* before any thread */
	if (!err)
		err = make_engine(agent);
	if (!err)
		err = make_store(agent);
	if (!err)
		err = make_link(agent);
	if (!err)
		err = make_health(agent);
	if (!err)
		err = store_start(agent->store, agent->link);
	if (!err)
		err = link_start(agent->link);
	if (err)
		return err;

	log_notice("started version=%s node=%s broker=%s", version_number(), agent->options->node,
	        agent->options->broker[0]);
	wheel_start(agent->stack->wheel, &agent->status, stack_now(agent->stack) + STATUS_US, publish_status, agent);

	err = re_main(NULL);

	store_stop(agent->store, STORE_STOP_MS);
	link_stop(agent->link);
	log_notice("ended");

	return err;
}

int agent_main(int argc, char *argv[])
{
	struct agent *agent = mem_zalloc(sizeof(*agent), destructor);
	int err;

	if (!agent)
		return 1;

	agent->argc = argc;
	agent->argv = argv;
	agent->started_us = clock_mono_us();
	(void)uname(&agent->uname);
	err = options_read(&agent->options, argc, argv);
	if (err) {
		mem_deref(agent);
		return err == ECANCELED ? 0 : 2;
	}
	log_set_level(agent->options->log_level);
	log_set_json(agent->options->log_json);

	err = runtime_init();
	if (!err && getrandom(&agent->boot_id, sizeof(agent->boot_id), 0) != sizeof(agent->boot_id))
		err = EIO;
	agent->boot_id >>= 11; /* stays exact in readers whose numbers are doubles */
	if (!err)
		err = run(agent);
	if (err)
		log_error("can't run error=\"%s\"", strerror(err));
	mem_deref(agent);
	runtime_close();

	return err ? 1 : 0;
}
