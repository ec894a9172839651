/**
 * @file desired.c  The configuration that is offered and the one in force
 */
#include <errno.h>
#include <string.h>
#include <openssl/evp.h>
#include "edge/log.h"
#include "edge/store/desired.h"

enum {
	REFUSED_MAX = 16, /* documents remembered: one retained topic brings back one at a time */
};

/* What was said about a document: also what is said again when it comes again. */
struct answer {
	enum config_status status;
	uint64_t revision; /* offered; 0: unreadable */
	uint8_t sha256[DIGEST_SIZE];
	struct issues *issues; /* NULL: none */
};

struct effective {
	uint64_t revision; /* 0: none */
	uint8_t sha256[DIGEST_SIZE];
	int64_t changed_at_unix_us;
	uint32_t accounts, commands;
	struct config_index *index;
	struct mbuf *document; /* as received: its secret files may be read anew */
};

struct desired {
	struct config_policy policy;
	struct desired_handlers handlers;
	struct effective effective;
	struct effective pending; /* its plan is with the loop */
	bool is_busy;
	struct answer answer; /* the newest; status 0: none yet */
	struct answer refused[REFUSED_MAX];
	size_t next_refused;
	uint64_t unreadable;
};

static void forget(struct effective *effective)
{
	mem_deref(effective->index);
	if (effective->document && mem_nrefs(effective->document) == 1) /* plain secrets may stand in it */
		explicit_bzero(effective->document->buf, effective->document->size);
	mem_deref(effective->document);
	*effective = (struct effective){0};
}

static void destructor(void *arg)
{
	struct desired *desired = arg;

	for (size_t i = 0; i < REFUSED_MAX; i++)
		mem_deref(desired->refused[i].issues);
	mem_deref(desired->answer.issues);
	forget(&desired->effective);
	forget(&desired->pending);
}

int desired_alloc(
        struct desired **desiredp, const struct config_policy *policy, const struct desired_handlers *handlers)
{
	struct desired *desired = mem_zalloc(sizeof(*desired), destructor);

	if (!desired)
		return ENOMEM;
	desired->policy = *policy;
	desired->handlers = *handlers;
	*desiredp = desired;

	return 0;
}

/* issues: its owner is the answer now; may be NULL */
static void answer(struct desired *desired, enum config_status status, uint64_t revision,
        const uint8_t sha256[DIGEST_SIZE], struct issues *issues)
{
	struct answer *a = &desired->answer;

	mem_deref(a->issues);
	*a = (struct answer){.status = status, .revision = revision, .issues = issues};
	if (sha256)
		memcpy(a->sha256, sha256, DIGEST_SIZE);
	desired->handlers.report(desired, desired->handlers.arg);
}

static void answer_issue(struct desired *desired, enum config_status status, uint64_t revision, const uint8_t *sha256,
        const char *path, const char *code, const char *message)
{
	struct issues *issues = NULL;

	if (!issues_alloc(&issues)) /* without memory the status must do */
		issues_add(issues, path, code, "%s", message);
	answer(desired, status, revision, sha256, issues);
}

/* The newest answer is final for this very document. */
static void remember(struct desired *desired)
{
	struct answer *slot = &desired->refused[desired->next_refused++ % REFUSED_MAX];

	mem_deref(slot->issues);
	*slot = desired->answer;
	slot->issues = mem_ref(desired->answer.issues);
}

static const struct answer *remembered(const struct desired *desired, const uint8_t sha256[DIGEST_SIZE])
{
	for (size_t i = 0; i < REFUSED_MAX; i++) {
		const struct answer *a = &desired->refused[i];

		if (a->status && !memcmp(a->sha256, sha256, DIGEST_SIZE))
			return a;
	}

	return NULL;
}

static bool is_effective(const struct desired *desired, const uint8_t sha256[DIGEST_SIZE])
{
	return desired->effective.revision && !memcmp(desired->effective.sha256, sha256, DIGEST_SIZE);
}

/* Is it out of turn? Says so, and nothing else about it. */
static bool refuse_by_revision(struct desired *desired, uint64_t revision, const uint8_t sha256[DIGEST_SIZE])
{
	char message[128];
	bool is_stale = revision < desired->effective.revision;

	if (!revision || revision > desired->effective.revision)
		return false;
	(void)re_snprintf(message, sizeof(message),
	        is_stale ? "Revision %llu is older than revision %llu, which is in force."
	                 : "Revision %llu is in force with other content; revision %llu or less cannot change it.",
	        (unsigned long long)revision, (unsigned long long)desired->effective.revision);
	answer_issue(desired, CONFIG_REJECTED, revision, sha256, "revision", is_stale ? "stale" : "conflict", message);

	return true;
}

static bool is_malformed(const struct issues *issues)
{
	const struct issue *issue = issues_listed(issues) ? issues_get(issues, 0) : NULL;

	return issue && issue->code && !strcmp(issue->code, "malformed");
}

/* document: referenced */
static int plan_for(struct desired *desired, struct plan **planp, const struct config *config, struct mbuf *document)
{
	struct effective *pending = &desired->pending;
	int err = config_index_alloc(&pending->index, config);

	if (!err)
		err = plan_diff(planp, desired->effective.index, config);
	if (err) {
		forget(pending);
		return err;
	}
	pending->document = mem_ref(document);
	pending->revision = config->revision;
	memcpy(pending->sha256, config->sha256, DIGEST_SIZE);
	pending->accounts = (uint32_t)config->naccounts;
	pending->commands = (uint32_t)config->ncommands;

	return 0;
}

/* config: taken */
static void apply(struct desired *desired, struct config *config, struct mbuf *document)
{
	struct plan *plan = NULL;
	int err = plan_for(desired, &plan, config, document);
	uint64_t revision = config->revision;

	/* before the plan goes: references are not atomic, and the accounts in it are the loop's then */
	mem_deref(config);
	if (err) {
		answer_issue(desired, CONFIG_REJECTED, revision, NULL, "", "resource",
		        "The node has not enough memory to compare this document.");
		return;
	}
	desired->is_busy = true;
	answer(desired, CONFIG_APPLYING, revision, desired->pending.sha256, NULL);
	desired->handlers.plan(plan, desired->handlers.arg);
}

static void offer_new(struct desired *desired, const uint8_t *buf, size_t len, const uint8_t sha256[DIGEST_SIZE])
{
	struct config *config = NULL;
	struct issues *issues = NULL;
	struct mbuf *document = mbuf_alloc(len);
	uint64_t revision = 0;
	int err = document ? mbuf_write_mem(document, buf, len) : ENOMEM;

	if (!err)
		err = issues_alloc(&issues);
	if (!err)
		err = wire_decode_document(&config, &revision, buf, len, &desired->policy, issues);
	if (err && err != EBADMSG) {
		answer_issue(desired, CONFIG_REJECTED, revision, NULL, "", "resource",
		        "The node has not enough memory to read this document.");
	} else if (!refuse_by_revision(desired, revision, sha256)) {
		if (err) {
			desired->unreadable += is_malformed(issues);
			answer(desired, CONFIG_REJECTED, revision, sha256, mem_ref(issues));
			remember(desired);
		} else {
			apply(desired, config, document);
			config = NULL;
		}
	}
	mem_deref(issues);
	mem_deref(config);
	mem_deref(document);
}

void desired_reread(struct desired *desired)
{
	struct mbuf *document = desired->effective.document;
	struct config *config = NULL;
	struct issues *issues = NULL;
	struct plan *plan = NULL;
	uint64_t revision;
	int err;

	if (!document || desired->is_busy)
		return;
	err = issues_alloc(&issues);
	if (!err)
		err = wire_decode_document(&config, &revision, document->buf, document->end, &desired->policy, issues);
	if (!err)
		err = plan_for(desired, &plan, config, document);
	if (err)
		log_warn("secrets can't be read anew, the former ones stay path=%s reason=\"%s\"",
		        issues && issues_listed(issues) ? issues_get(issues, 0)->path : "",
		        issues && issues_listed(issues) ? issues_get(issues, 0)->message : strerror(err));
	mem_deref(issues);
	mem_deref(config); /* before the plan goes */
	if (err)
		return;
	desired->is_busy = true;
	desired->handlers.plan(plan, desired->handlers.arg);
}

void desired_offer(struct desired *desired, const uint8_t *buf, size_t len)
{
	uint8_t sha256[DIGEST_SIZE];
	const struct answer *before;
	char message[96];

	if (!len || desired->is_busy)
		return;
	if (!buf || len > DOCUMENT_SIZE_MAX) {
		(void)re_snprintf(message, sizeof(message), "The document has %zu bytes; at most %d are read.", len,
		        (int)DOCUMENT_SIZE_MAX);
		answer_issue(desired, CONFIG_REJECTED, 0, NULL, "", "too_large", message);
		return;
	}
	if (EVP_Digest(buf, len, sha256, NULL, EVP_sha256(), NULL) != 1)
		return; /* no memory: the next reconnect brings the retained one again */

	before = remembered(desired, sha256);
	if (is_effective(desired, sha256)) {
		answer(desired, CONFIG_APPLIED, desired->effective.revision, sha256, NULL);
	} else if (!before) {
		offer_new(desired, buf, len, sha256);
	} else if (!refuse_by_revision(desired, before->revision, sha256)) {
		answer(desired, before->status, before->revision, sha256, mem_ref(before->issues));
	}
}

bool desired_is_busy(const struct desired *desired)
{
	return desired->is_busy;
}

void desired_applied(
        struct desired *desired, uint64_t revision, int err, const char *path, const char *message, int64_t now_unix_us)
{
	struct effective *pending = &desired->pending;

	if (!desired->is_busy || revision != pending->revision)
		return;
	desired->is_busy = false;
	if (err) {
		answer_issue(desired, CONFIG_ROLLED_BACK, revision, pending->sha256, path, "resource", message);
		remember(desired);
		forget(pending);
	} else {
		/* the same document with secrets read anew took effect when it came */
		pending->changed_at_unix_us =
		        is_effective(desired, pending->sha256) ? desired->effective.changed_at_unix_us : now_unix_us;
		forget(&desired->effective);
		desired->effective = *pending;
		answer(desired, CONFIG_APPLIED, revision, pending->sha256, NULL);
	}
	*pending = (struct effective){0};
}

int desired_encode_report(const struct desired *desired, struct mbuf *mb)
{
	const struct answer *a = &desired->answer;
	const struct effective *e = &desired->effective;
	struct wire_report report = {.status = a->status,
	        .offered_revision = a->revision,
	        .effective_revision = e->revision,
	        .effective_sha256 = e->revision ? e->sha256 : NULL,
	        .changed_at_unix_us = e->changed_at_unix_us,
	        .issues = a->issues,
	        .accounts = e->accounts,
	        .commands = e->commands};

	return a->status ? wire_encode_report(mb, &report) : ENOENT;
}

uint64_t desired_revision(const struct desired *desired)
{
	return desired->effective.revision;
}

uint64_t desired_unreadable(const struct desired *desired)
{
	return desired->unreadable;
}
