/**
 * @file cycle.c  The synchronization cycle: every command of every account once per interval
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <re.h>
#include "edge/clock.h"
#include "edge/cycle.h"
#include "edge/log.h"

enum {
	BUCKETS = 16384,
	STARTS_PER_TURN = 64, /* then the sockets are looked at: a burst must not delay what is under way */
};

/* One account at work. */
struct site {
	struct le he; /* cycle->sites */
	struct cycle *cycle;
	struct account *account; /* referenced */
	struct device *device;   /* NULL: disabled */
	struct list variables;
};

/* One command at work. */
struct variable {
	struct le le; /* site->variables */
	struct le he; /* cycle->variables */
	struct site *site;
	struct account *account;       /* referenced: holds command */
	const struct command *command; /* inside account */
	struct schedule_entry entry;
	struct verdict_track track;
	struct check *check;        /* running; NULL: none */
	uint64_t revision;          /* in force when it started */
	const struct command *next; /* while a plan is applied: what it becomes; NULL: it goes */
};

struct cycle {
	struct sip_stack *stack;
	struct checker *checker;
	struct schedule *schedule;
	struct cycle_handlers handlers;
	struct hash *sites;     /* by account id */
	struct hash *variables; /* by account id and name */
	struct wheel_timer timer;
	size_t running;
	uint64_t revision; /* of the configuration in force */
	bool is_stopped;
};

/* What a put account becomes: made before anything is changed. */
struct change {
	struct account *account; /* borrowed from the plan */
	struct site *site;       /* the running one; NULL: new */
	struct device *device;   /* the new one; NULL: none needed */
	bool keeps_device;
};

static void arm(struct cycle *cycle, uint64_t now_us);

static uint32_t variable_key(const char *account, const char *name)
{
	return hash_joaat_str(account) * 31 + hash_joaat_str(name);
}

static void variable_destructor(void *arg)
{
	struct variable *v = arg;

	hash_unlink(&v->he);
	list_unlink(&v->le);
	schedule_remove(v->site->cycle->schedule, &v->entry);
	mem_deref(v->account);
}

static void site_destructor(void *arg)
{
	struct site *site = arg;

	hash_unlink(&site->he);
	list_flush(&site->variables);
	mem_deref(site->device);
	mem_deref(site->account);
}

static void cycle_destructor(void *arg)
{
	struct cycle *cycle = arg;

	wheel_stop(&cycle->timer);
	hash_flush(cycle->sites);
	mem_deref(cycle->sites);
	mem_deref(cycle->variables);
	mem_deref(cycle->schedule);
}

int cycle_alloc(struct cycle **cyclep, struct sip_stack *stack, struct checker *checker,
        const struct schedule_limits *limits, const struct cycle_handlers *handlers)
{
	struct cycle *cycle = mem_zalloc(sizeof(*cycle), cycle_destructor);
	int err;

	if (!cycle)
		return ENOMEM;

	cycle->stack = stack;
	cycle->checker = checker;
	cycle->handlers = *handlers;
	err = schedule_alloc(&cycle->schedule, limits);
	if (!err)
		err = hash_alloc(&cycle->sites, BUCKETS);
	if (!err)
		err = hash_alloc(&cycle->variables, BUCKETS);
	if (err) {
		mem_deref(cycle);
		return err;
	}

	*cyclep = cycle;

	return 0;
}

static void check_done(struct result *result, void *arg)
{
	struct variable *v = arg;
	struct cycle *cycle = v->site->cycle;
	uint64_t now_us = stack_now(cycle->stack);

	v->check = NULL;
	cycle->running--;
	(void)verdict_track_update(&v->track, v->command, result->verdict, result->error, result->finished_unix_us);
	result->config_revision = v->revision;
	result->state = v->track.state;
	result->state_since_unix_us = v->track.since_unix_us;
	schedule_done(cycle->schedule, &v->entry, now_us);
	arm(cycle, now_us);

	cycle->handlers.result(result, cycle->handlers.arg);
}

static void start(struct cycle *cycle, struct schedule_entry *entry, uint64_t now_us)
{
	struct variable *v = entry->owner;
	int err;

	err = check_start(&v->check, v->site->device, v->command, entry->startup ? "startup" : "schedule",
	        entry->due_us, check_done, v);
	if (err) {
		log_warn("check not started account=%s variable=%s error=\"%s\"", v->account->id, v->command->name,
		        strerror(err));
		schedule_done(cycle->schedule, entry, now_us);
		return;
	}
	v->revision = cycle->revision;
	cycle->running++;
}

static void run_due(uint64_t now_us, void *arg)
{
	struct cycle *cycle = arg;
	struct schedule_entry *entry;

	for (unsigned i = 0; i < STARTS_PER_TURN; i++) {
		entry = schedule_take(cycle->schedule, now_us);
		if (!entry)
			break;
		start(cycle, entry, now_us);
	}
	arm(cycle, now_us);
}

static void arm(struct cycle *cycle, uint64_t now_us)
{
	uint64_t next_us = schedule_next(cycle->schedule, now_us);

	if (cycle->is_stopped || next_us == UINT64_MAX) {
		wheel_stop(&cycle->timer);
		return;
	}
	if (next_us < now_us)
		next_us = now_us;
	if (wheel_timer_is_pending(&cycle->timer) && cycle->timer.at_us <= next_us)
		return;
	wheel_start(cycle->stack->wheel, &cycle->timer, next_us, run_due, cycle);
}

static bool site_is(struct le *le, void *arg)
{
	const struct site *site = le->data;

	return !strcmp(site->account->id, arg);
}

static struct site *find_site(const struct cycle *cycle, const char *id)
{
	return list_ledata(hash_lookup(cycle->sites, hash_joaat_str(id), site_is, (void *)(uintptr_t)id));
}

struct variable_name {
	const struct site *site;
	const char *name;
};

static bool variable_is(struct le *le, void *arg)
{
	const struct variable *v = le->data;
	const struct variable_name *wanted = arg;

	return v->site == wanted->site && !strcmp(v->command->name, wanted->name);
}

static struct variable *find_variable(const struct site *site, const char *name)
{
	struct variable_name wanted = {site, name};

	return list_ledata(
	        hash_lookup(site->cycle->variables, variable_key(site->account->id, name), variable_is, &wanted));
}

static void remove_variable(struct variable *v, bool is_gone)
{
	struct cycle *cycle = v->site->cycle;

	if (v->check)
		check_cancel(v->check); /* reports `cancelled` from inside */
	if (is_gone)
		cycle->handlers.gone(v->account->id, v->command->name, cycle->handlers.arg);
	mem_deref(v);
}

static int add_variable(struct site *site, const struct command *command, uint64_t now_us)
{
	struct cycle *cycle = site->cycle;
	struct variable *v = mem_zalloc(sizeof(*v), variable_destructor);
	char key[2 * NAME_LEN_MAX + 2];
	int err;

	if (!v)
		return ENOMEM;

	v->site = site;
	v->account = mem_ref(site->account);
	v->command = command;
	(void)snprintf(key, sizeof(key), "%s/%s", site->account->id, command->name);
	err = schedule_add(cycle->schedule, &v->entry, key, (uint64_t)command->interval_s * 1000000, v, now_us);
	if (err) {
		mem_deref(v);
		return err;
	}

	list_append(&site->variables, &v->le, v);
	hash_append(cycle->variables, variable_key(site->account->id, command->name), &v->he, v);

	return 0;
}

static void stop_device(struct site *site)
{
	struct device *device = site->device;

	site->device = NULL;
	if (device)
		device_close(device); /* its checks report `cancelled` from inside */
}

/* Those that changed or went, whose checks must not go on. */
static void drop_variables(struct site *site, const struct account *account, bool keeps_device)
{
	struct le *le;

	LIST_FOREACH (&site->variables, le)
		((struct variable *)le->data)->next = NULL;
	for (size_t i = 0; i < account->ncommands && !account->disabled; i++) {
		const struct command *command = &account->commands[i];
		struct variable *v = command->disabled ? NULL : find_variable(site, command->name);

		if (v)
			v->next = command;
	}

	for (le = list_head(&site->variables); le;) {
		struct variable *v = le->data;

		le = le->next;
		if (!v->next || !keeps_device || memcmp(v->next->digest, v->command->digest, DIGEST_SIZE))
			remove_variable(v, !v->next);
	}
}

static int fill_variables(struct site *site, uint64_t now_us)
{
	struct account *account = site->account;
	int err = 0;

	for (size_t i = 0; i < account->ncommands && !account->disabled; i++) {
		const struct command *command = &account->commands[i];
		struct variable *v;

		if (command->disabled)
			continue;
		v = find_variable(site, command->name);
		if (v) { /* unchanged: schedule, state and running check stay */
			mem_deref(v->account);
			v->account = mem_ref(account);
			v->command = command;
			continue;
		}
		if (add_variable(site, command, now_us))
			err = ENOMEM;
	}

	return err;
}

static struct site *new_site(struct cycle *cycle, struct account *account)
{
	struct site *site = mem_zalloc(sizeof(*site), site_destructor);

	if (!site)
		return NULL;

	site->cycle = cycle;
	site->account = mem_ref(account);
	hash_append(cycle->sites, hash_joaat_str(account->id), &site->he, site);

	return site;
}

static int commit(struct cycle *cycle, struct change *change, uint64_t now_us)
{
	struct site *site = change->site ? change->site : new_site(cycle, change->account);

	if (!site)
		return ENOMEM;

	drop_variables(site, change->account, change->keeps_device);
	if (!change->keeps_device) {
		stop_device(site);
		site->device = change->device;
		change->device = NULL;
		if (site->device)
			device_start(site->device);
	} else if (site->device) {
		device_set_account(site->device, change->account);
	}
	mem_deref(site->account);
	site->account = mem_ref(change->account);

	return fill_variables(site, now_us);
}

static void remove_site(struct site *site)
{
	struct le *le;

	while ((le = list_head(&site->variables)))
		remove_variable(le->data, true);
	stop_device(site);
	mem_deref(site);
}

static const char *remedy(int err)
{
	switch (err) {
	case EADDRINUSE:
		return "another program has this port: choose another local_port, or 0 for any";
	case EADDRNOTAVAIL:
		return "this host has no such address: choose one of its own for local_address, or leave it out";
	case EACCES:
		return "ports below 1024 need a privilege that the agent does not have: choose a higher local_port";
	case EMFILE:
	case ENFILE:
		return "no more files may be opened: raise the limit (ulimit -n, LimitNOFILE=)";
	default:
		return "the node lacks a resource";
	}
}

static int prepare(struct cycle *cycle, struct change *change, struct account *account, struct cycle_failure *failure)
{
	int err;

	change->account = account;
	change->site = find_site(cycle, account->id);
	if (account->disabled)
		return 0;
	if (change->site && change->site->device &&
	        !memcmp(change->site->account->connection, account->connection, DIGEST_SIZE)) {
		change->keeps_device = true;
		return 0;
	}

	err = device_alloc(&change->device, cycle->checker, account);
	if (err) {
		(void)snprintf(failure->path, sizeof(failure->path), "accounts[%s].%s", account->id,
		        err == EADDRNOTAVAIL ? "local_address" : "local_port");
		(void)snprintf(failure->message, sizeof(failure->message), "%s: %s.", strerror(err), remedy(err));
	}

	return err;
}

int cycle_apply(struct cycle *cycle, const struct plan *plan, struct cycle_failure *failure)
{
	struct change *changes = mem_zalloc((plan->nput + 1) * sizeof(*changes), NULL);
	uint64_t now_us = stack_now(cycle->stack);
	int err = changes ? 0 : ENOMEM;

	memset(failure, 0, sizeof(*failure));
	for (size_t i = 0; i < plan->nput && !err; i++)
		err = prepare(cycle, &changes[i], plan->put[i], failure);

	for (size_t i = 0; i < plan->nremoved && !err; i++) {
		struct site *site = find_site(cycle, plan->removed[i]);

		if (site)
			remove_site(site);
	}
	for (size_t i = 0; i < plan->nput && !err; i++)
		if (commit(cycle, &changes[i], now_us))
			log_error("out of memory: commands are left out account=%s", plan->put[i]->id);

	if (!err)
		cycle->revision = plan->revision;

	for (size_t i = 0; changes && i < plan->nput; i++)
		mem_deref(changes[i].device); /* not taken over: nothing was sent */
	mem_deref(changes);
	arm(cycle, now_us);

	return err;
}

void cycle_stop(struct cycle *cycle)
{
	cycle->is_stopped = true;
	wheel_stop(&cycle->timer);
}

size_t cycle_running(const struct cycle *cycle)
{
	return cycle->running;
}

uint64_t cycle_skipped(const struct cycle *cycle)
{
	return schedule_skipped(cycle->schedule);
}
