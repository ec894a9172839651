/**
 * @file plan.h  The difference between the running configuration and a new one, by stable id
 *
 * Pure. Computed on the store thread from digests, so that the loop thread only touches what changed.
 */
#ifndef SIPEDGE_CORE_PLAN_H
#define SIPEDGE_CORE_PLAN_H

#include "edge/core/config.h"

/* The digests of a configuration, without its content: what the store thread keeps of the running one. */
struct config_index;
int config_index_alloc(struct config_index **indexp, const struct config *config); /* copies ids and digests */

struct plan {
	uint64_t revision;
	uint8_t sha256[DIGEST_SIZE];
	uint32_t naccounts; /* of the whole new configuration */
	uint32_t ncommands;
	size_t nput;
	struct account **put; /* new or changed accounts; referenced */
	size_t nremoved;
	char **removed; /* ids of accounts that are gone */
};

/* old NULL: everything is new. The plan takes references to the accounts that it puts and none to the others. */
int plan_diff(struct plan **planp, const struct config_index *old, const struct config *config);

#endif
