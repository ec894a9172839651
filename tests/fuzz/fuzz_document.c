/**
 * @file fuzz_document.c  Any bytes as a ConfigDocument: no crash, no leak, and what is accepted keeps every promise of config.h
 *
 * Run with tests/fuzz/seeds/document.
 */
#include <stdlib.h>
#include <string.h>
#include <re.h>
#include "edge/core/plan.h"
#include "edge/core/wire.h"
#include "sipedge/v1/sipedge.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(claim)                                                                                                 \
	do {                                                                                                           \
		if (!(claim))                                                                                          \
			abort();                                                                                       \
	} while (0)

static int secret_read(char **secretp, const char *name, void *arg)
{
	(void)arg;
	REQUIRE(config_file_name_is_valid(name));
	REQUIRE(name[0] != '/');
	return name[0] == 'x' ? ENOENT : str_dup(secretp, "from-file");
}

static bool is_line(const char *text)
{
	for (; *text; text++) {
		if ((uint8_t)*text <= ' ' || *text == 0x7f)
			return false;
	}
	return true;
}

static void check_command(const struct command *command, const struct account *account)
{
	REQUIRE(config_name_is_valid(command->name));
	REQUIRE(command->description && strlen(command->description) <= DESCRIPTION_LEN_MAX);
	REQUIRE(command->sip_data && strlen(command->sip_data) <= SIP_DATA_LEN_MAX);
	REQUIRE(command->sip_data[0] == '\0' || command->method == METHOD_MESSAGE);
	REQUIRE(!command->target || is_line(command->target));
	REQUIRE(command->method < METHOD_COUNT);
	REQUIRE(command->target || account->login ||
	        (command->method != METHOD_MESSAGE && command->method != METHOD_INVITE));
	REQUIRE(command->timeout_ms >= 1 && command->timeout_ms <= TIMEOUT_MS_MAX);
	REQUIRE(command->interval_s >= 1 && command->interval_s <= INTERVAL_S_MAX);
	REQUIRE(command->hold_ms <= HOLD_MS_MAX);
	REQUIRE(command->retries <= RETRIES_MAX);
	REQUIRE(command->fail_after >= 1 && command->fail_after <= STREAK_MAX);
	REQUIRE(command->recover_after >= 1 && command->recover_after <= STREAK_MAX);
	REQUIRE(command->expect.n >= 1 && command->expect.n <= CODESET_RANGES_MAX);
	REQUIRE(command->maintenance.n <= CODESET_RANGES_MAX);
}

static void check_account(const struct account *account)
{
	REQUIRE(config_name_is_valid(account->id));
	REQUIRE(config_host_is_valid(account->remote_address));
	REQUIRE(account->transport == TRANSPORT_UDP || account->transport == TRANSPORT_TCP);
	REQUIRE(!account->login || is_line(account->login));
	REQUIRE(account->login || (!account->registers && !account->password));
	REQUIRE(!config_account_clashes(account));
	REQUIRE(account->timeout_ms >= 1 && account->timeout_ms <= TIMEOUT_MS_MAX);
	for (size_t i = 0; i < account->ncommands; i++)
		check_command(&account->commands[i], account);
}

static void check_config(const struct config *config)
{
	struct config_index *index;
	struct plan *plan;

	REQUIRE(config->revision >= 1 && config->revision <= (uint64_t)1 << 53);
	for (size_t i = 0; i < config->naccounts; i++)
		check_account(config->accounts[i]);

	REQUIRE(config_index_alloc(&index, config) == 0);
	REQUIRE(plan_diff(&plan, index, config) == 0);
	REQUIRE(plan->nput == 0 && plan->nremoved == 0);
	mem_deref(plan);
	mem_deref(index);
}

/* The refusal goes out as a message that every reader takes. */
static void check_issues(const struct issues *issues)
{
	const struct wire_report report = {.status = CONFIG_REJECTED, .issues = issues};
	struct mbuf *mb = mbuf_alloc(256);
	Sipedge__V1__ConfigReport *message;

	REQUIRE(issues_total(issues) > 0);
	REQUIRE(wire_encode_report(mb, &report) == 0);
	message = sipedge__v1__config_report__unpack(NULL, mb->end, mb->buf);
	REQUIRE(message && message->n_issues == issues_listed(issues));
	sipedge__v1__config_report__free_unpacked(message, NULL);
	mem_deref(mb);
}

/* The same again: decoding depends on nothing but the bytes. */
static void check_again(
        const struct config *config, const uint8_t *data, size_t size, const struct config_policy *policy)
{
	struct config *again = NULL;
	struct issues *issues;

	REQUIRE(issues_alloc(&issues) == 0);
	REQUIRE(wire_decode_document(&again, NULL, data, size, policy, issues) == 0);
	REQUIRE(again->naccounts == config->naccounts);
	for (size_t i = 0; i < config->naccounts; i++)
		REQUIRE(0 == memcmp(again->accounts[i]->digest, config->accounts[i]->digest, DIGEST_SIZE));
	mem_deref(again);
	mem_deref(issues);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct config_policy policy = {.node = "edge-1", .allow_plain_secrets = true, .secret_read = secret_read};
	struct config *config = NULL;
	struct issues *issues;
	uint64_t revision;
	int err;

	REQUIRE(issues_alloc(&issues) == 0);
	err = wire_decode_document(&config, &revision, data, size, &policy, issues);
	REQUIRE(err == 0 || err == EBADMSG);
	if (err) {
		REQUIRE(!config);
		check_issues(issues);
	} else {
		REQUIRE(issues_total(issues) == 0 && config->revision == revision);
		check_config(config);
		check_again(config, data, size, &policy);
	}
	mem_deref(config);
	mem_deref(issues);
	return 0;
}
