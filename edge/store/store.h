/**
 * @file store.h  What waits for the broker, and the configuration in force: the thread between the loop and the publisher
 *
 * The store thread numbers results and keeps them until the broker acknowledged them (spool.h); decodes, validates and compares
 * documents and makes the reports (desired.h). The loop never waits for it: pushes are bounded, what does not fit is counted as
 * dropped. Reports go before results; the current one is published again whenever the broker is back, since a broker without
 * persistence has forgotten it. In this version the spool is memory (SPOOL_BYTES_MAX); nothing outside this folder knows.
 */
#ifndef SIPEDGE_STORE_STORE_H
#define SIPEDGE_STORE_STORE_H

#include "edge/core/plan.h"
#include "edge/core/wire.h"
#include "edge/mqtt/link.h"

enum {
	SPOOL_BYTES_MAX = 64 * 1024 * 1024, /* oldest ok results go first, then the oldest others; counted */
};

struct store;

struct store_config {       /* borrowed until store_alloc() returns, but policy.arg */
	const char *prefix; /* "sipedge/v1" */
	const char *node;
	uint64_t boot_id;
	struct config_policy policy;
};

struct store_handlers {
	/* On the store thread: hand the plan (the loop's from now on) to the loop, which answers with store_applied(). */
	void (*plan)(struct plan *plan, void *arg);
	void *arg;
};

int store_alloc(struct store **storep, const struct store_config *config, const struct store_handlers *handlers);
int store_start(struct store *store, struct link *link);

/* Loop thread. A finished check: bytes of wire_encode_result(). Takes mb. ok: may be dropped first. interval_s: for the expiry. */
void store_put_result(
        struct store *store, const char *account, const char *variable, struct mbuf *mb, bool ok, uint32_t interval_s);

/* Loop thread. The variable is gone: its retained result is cleared, after what waits. */
void store_clear_variable(struct store *store, const char *account, const char *variable);

/* Any thread. A payload from config/desired; copied, unless it is larger than DOCUMENT_SIZE_MAX. While one is being worked on the
   newest one waits and replaces an older one that waits. */
void store_put_document(struct store *store, const uint8_t *buf, size_t len);

/* Any thread. The secret files that the document in force names are read again, soon. */
void store_reread_secrets(struct store *store);

/* Loop thread, exactly once per plan. err 0: it runs: reported APPLIED. Else the former one runs on: ROLLED_BACK with this path and sentence. */
void store_applied(struct store *store, uint64_t revision, int err, const char *path, const char *message);

/* For struct link_handlers: */
void store_outcome(struct store *store, struct link_message *msg, enum link_outcome outcome, int reason);
void store_link_state(struct store *store, enum link_state state);

struct store_figures {
	uint32_t spooled;
	uint64_t dropped;    /* results: a bound was reached, or the broker refused them for good */
	uint64_t unreadable; /* messages that could not be decoded */
	uint64_t revision;   /* effective */
};
void store_figures_get(struct store *store, struct store_figures *figures); /* any thread */
bool store_is_alive(struct store *store);

/* Waits until what was put before has been numbered and, if the link is up, acknowledged, or timeout_ms. Then ends the thread; a
   plan that nobody answered does not hold it up. Before link_stop(); afterwards link's handlers may still call. mem_deref() after both. */
void store_stop(struct store *store, unsigned timeout_ms);

#endif
