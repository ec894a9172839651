/**
 * @file plan.c  The difference between the running configuration and a new one, by stable id
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <re.h>
#include "edge/core/plan.h"

struct index_entry {
	char *id;
	uint8_t digest[DIGEST_SIZE];
};

struct config_index {
	size_t n;
	struct index_entry entry[]; /* by id */
};

static void index_destructor(void *arg)
{
	struct config_index *index = arg;

	for (size_t i = 0; i < index->n; i++)
		mem_deref(index->entry[i].id);
}

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct index_entry *)a)->id, ((const struct index_entry *)b)->id);
}

int config_index_alloc(struct config_index **indexp, const struct config *config)
{
	struct config_index *index;

	if (!indexp || !config)
		return EINVAL;
	index = mem_zalloc(sizeof(*index) + config->naccounts * sizeof(index->entry[0]), index_destructor);
	if (!index)
		return ENOMEM;
	for (; index->n < config->naccounts; index->n++) {
		const struct account *account = config->accounts[index->n];
		struct index_entry *entry = &index->entry[index->n];

		if (str_dup(&entry->id, account->id)) {
			mem_deref(index);
			return ENOMEM;
		}
		memcpy(entry->digest, account->digest, DIGEST_SIZE);
	}
	qsort(index->entry, index->n, sizeof(index->entry[0]), entry_cmp);
	*indexp = index;
	return 0;
}

static void plan_destructor(void *arg)
{
	struct plan *plan = arg;

	for (size_t i = 0; i < plan->nput; i++)
		mem_deref(plan->put[i]);
	for (size_t i = 0; i < plan->nremoved; i++)
		mem_deref(plan->removed[i]);
	mem_deref(plan->put);
	mem_deref(plan->removed);
}

static int account_cmp(const void *a, const void *b)
{
	return strcmp((*(struct account *const *)a)->id, (*(struct account *const *)b)->id);
}

/* Both lists in the order of their ids: one pass over the two. */
static int compare(struct plan *plan, const struct config_index *old, struct account *const *accounts, size_t n)
{
	size_t i = 0, k = 0, nold = old ? old->n : 0;

	while (i < n || k < nold) {
		int order = i == n ? 1 : k == nold ? -1 : strcmp(accounts[i]->id, old->entry[k].id);

		if (order > 0) {
			if (str_dup(&plan->removed[plan->nremoved], old->entry[k].id))
				return ENOMEM;
			++plan->nremoved;
		} else if (order < 0 || memcmp(accounts[i]->digest, old->entry[k].digest, DIGEST_SIZE)) {
			plan->put[plan->nput++] = mem_ref(accounts[i]);
		}
		i += order <= 0;
		k += order >= 0;
	}
	return 0;
}

int plan_diff(struct plan **planp, const struct config_index *old, const struct config *config)
{
	struct account **accounts = NULL;
	struct plan *plan;
	int err = ENOMEM;

	if (!planp || !config)
		return EINVAL;
	plan = mem_zalloc(sizeof(*plan), plan_destructor);
	if (!plan)
		return ENOMEM;
	plan->revision = config->revision;
	memcpy(plan->sha256, config->sha256, DIGEST_SIZE);
	plan->naccounts = (uint32_t)config->naccounts;
	plan->ncommands = (uint32_t)config->ncommands;

	accounts = mem_alloc((config->naccounts + 1) * sizeof(*accounts), NULL);
	plan->put = mem_zalloc((config->naccounts + 1) * sizeof(*plan->put), NULL);
	plan->removed = mem_zalloc(((old ? old->n : 0) + 1) * sizeof(*plan->removed), NULL);
	if (!accounts || !plan->put || !plan->removed)
		goto out;
	if (config->naccounts)
		memcpy(accounts, config->accounts, config->naccounts * sizeof(*accounts));
	qsort(accounts, config->naccounts, sizeof(*accounts), account_cmp);
	err = compare(plan, old, accounts, config->naccounts);
out:
	mem_deref(accounts);
	if (err)
		mem_deref(plan);
	else
		*planp = plan;
	return err;
}
