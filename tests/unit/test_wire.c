/**
 * @file test_wire.c  Documents: what is right becomes the model, what is wrong is told with its path
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include <re.h>
#include "edge/core/wire.h"
#include "sipedge/v1/sipedge.pb-c.h"

#define SET(message, field, value)                                                                                     \
	do {                                                                                                           \
		(message).field##_opt_case = (int)field_number(&(message).base, #field);                               \
		(message).field = (value);                                                                             \
	} while (0)

static Sipedge__V1__ConfigDocument document;
static Sipedge__V1__DeviceAccount accounts[4], *account_list[4];
static Sipedge__V1__Command commands[4], *command_list[4]; /* of accounts[0] */
static Sipedge__V1__Secret secret;
static uint8_t bytes[70000];
static size_t len;

static struct config_policy policy;
static struct issues *issues;
static struct config *config;
static uint64_t revision;

static unsigned field_number(const ProtobufCMessage *message, const char *name)
{
	return protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name)->id;
}

/* A document without fault: accounts[0] has a login and four commands, one of each method. */
static int setup(void **state)
{
	static const char *const names[] = {"alive", "greeting", "login", "echo-call"};
	static const char *const methods[] = {"OPTIONS", "MESSAGE", "REGISTER", "INVITE"};
	static const char *const ids[] = {"pbx1", "pbx2", "pbx3", "pbx4"};

	(void)state;
	sipedge__v1__config_document__init(&document);
	sipedge__v1__secret__init(&secret);
	document.revision = 5;
	document.accounts = account_list;
	document.n_accounts = 1;
	for (size_t i = 0; i < 4; i++) {
		sipedge__v1__device_account__init(&accounts[i]);
		sipedge__v1__command__init(&commands[i]);
		account_list[i] = &accounts[i];
		command_list[i] = &commands[i];
		accounts[i].id = (char *)ids[i];
		accounts[i].remote_address = (char *)"192.0.2.10";
		commands[i].name = (char *)names[i];
		commands[i].command = (char *)methods[i];
	}
	accounts[0].commands = command_list;
	accounts[0].n_commands = 4;
	accounts[0].login = (char *)"monitor";
	policy = (struct config_policy){.node = "edge-1", .allow_plain_secrets = true};
	config = NULL;
	return issues_alloc(&issues);
}

static int teardown(void **state)
{
	(void)state;
	config = mem_deref(config);
	issues = mem_deref(issues);
	return 0;
}

static void pack(void)
{
	len = sipedge__v1__config_document__get_packed_size(&document);
	assert_true(len <= sizeof(bytes));
	(void)sipedge__v1__config_document__pack(&document, bytes);
}

static int decode_bytes(void)
{
	config = mem_deref(config);
	issues = mem_deref(issues);
	assert_int_equal(issues_alloc(&issues), 0);
	return wire_decode_document(&config, &revision, bytes, len, &policy, issues);
}

static int decode(void)
{
	pack();
	return decode_bytes();
}

static const struct issue *find(const char *path, const char *code)
{
	for (size_t i = 0; i < issues_listed(issues); i++) {
		const struct issue *issue = issues_get(issues, i);

		if (0 == strcmp(issue->path, path) && 0 == strcmp(issue->code, code))
			return issue;
	}
	return NULL;
}

static void print_issues(void)
{
	for (size_t i = 0; i < issues_listed(issues); i++) {
		const struct issue *issue = issues_get(issues, i);

		print_message("%s: %s: %s\n", issue->path, issue->code, issue->message);
	}
}

/* Exactly this one issue */
static void refused(const char *path, const char *code)
{
	int err = decode();

	if (err != EBADMSG || issues_total(issues) != 1 || !find(path, code)) {
		print_issues();
		fail_msg("not refused with just %s: %s but %d", path, code, err);
	}
	assert_null(config);
	assert_true(strlen(issues_get(issues, 0)->message) > 10);
}

static void accepted(void)
{
	int err = decode();

	if (err) {
		print_issues();
		fail_msg("refused: %d", err);
	}
	assert_int_equal(issues_total(issues), 0);
}

static void test_wire_document_defaults(void **state)
{
	const struct account *account;

	(void)state;
	accepted();
	assert_int_equal(revision, 5);
	assert_int_equal(config->revision, 5);
	assert_int_equal(config->naccounts, 1);
	assert_int_equal(config->ncommands, 4);
	account = config->accounts[0];
	assert_string_equal(account->id, "pbx1");
	assert_string_equal(account->description, "");
	assert_true(sa_is_any(&account->local));
	assert_int_equal(sa_port(&account->local), 0);
	assert_string_equal(account->remote_address, "192.0.2.10");
	assert_int_equal(account->remote_port, 0);
	assert_int_equal(account->transport, TRANSPORT_UDP);
	assert_string_equal(account->login, "monitor");
	assert_null(account->password);
	assert_true(account->registers);
	assert_false(account->disabled);
	assert_int_equal(account->timeout_ms, TIMEOUT_MS_DEFAULT);
	for (size_t i = 0; i < account->ncommands; i++) {
		const struct command *command = &account->commands[i];

		assert_int_equal(command->method, i);
		assert_string_equal(command->sip_data, "");
		assert_null(command->target);
		assert_int_equal(command->timeout_ms, TIMEOUT_MS_DEFAULT);
		assert_int_equal(command->interval_s, INTERVAL_S_DEFAULT);
		assert_int_equal(command->fail_after, FAIL_AFTER_DEFAULT);
		assert_int_equal(command->recover_after, RECOVER_AFTER_DEFAULT);
		assert_memory_equal(&command->expect, method_expect_default(command->method), sizeof(command->expect));
		assert_int_equal(command->maintenance.n, 0);
	}
	assert_int_equal(account->commands[3].hold_ms, HOLD_MS_DEFAULT);
}

static void test_wire_document_every_value_arrives(void **state)
{
	const struct account *account;
	const struct command *command;

	(void)state;
	document.node = (char *)"edge-1";
	accounts[0].description = (char *)"PBX in the basement";
	accounts[0].local_address = (char *)"127.0.0.1";
	SET(accounts[0], local_port, 5062);
	accounts[0].remote_address = (char *)"pbx.example.org";
	SET(accounts[0], remote_port, 5070);
	accounts[0].transport = (char *)"tcp";
	accounts[0].registration = (char *)"never";
	SET(accounts[0], timeout_ms, 2000);
	SET(accounts[0], sync_interval_s, 30);
	secret.source_case = SIPEDGE__V1__SECRET__SOURCE_PLAIN;
	secret.plain = (char *)"s3cret";
	accounts[0].password = &secret;
	commands[1].sip_data = (char *)"line 1\r\nline 2";
	commands[1].target = (char *)"600";
	SET(commands[1], timeout_s, 300);
	SET(commands[1], interval_s, 604800);
	commands[1].expect_codes = (char *)"202";
	commands[1].maintenance_codes = (char *)"503";
	SET(commands[1], warn_ms, 100);
	SET(commands[1], fail_ms, 200);
	SET(commands[1], retries, 5);
	SET(commands[1], fail_after, 100);
	SET(commands[1], recover_after, 3);
	commands[1].disabled = true;
	SET(commands[3], hold_ms, 0);
	accepted();
	account = config->accounts[0];
	assert_string_equal(account->description, "PBX in the basement");
	assert_false(sa_is_any(&account->local));
	assert_int_equal(sa_port(&account->local), 5062);
	assert_string_equal(account->remote_address, "pbx.example.org");
	assert_int_equal(account->remote_port, 5070);
	assert_int_equal(account->transport, TRANSPORT_TCP);
	assert_false(account->registers);
	assert_string_equal(account->password, "s3cret");
	command = &account->commands[1];
	assert_string_equal(command->sip_data, "line 1\r\nline 2");
	assert_string_equal(command->target, "600");
	assert_int_equal(command->timeout_ms, 300000);
	assert_int_equal(command->interval_s, 604800);
	assert_true(codeset_has(&command->expect, 202));
	assert_false(codeset_has(&command->expect, 200));
	assert_true(codeset_has(&command->maintenance, 503));
	assert_int_equal(command->warn_ms, 100);
	assert_int_equal(command->fail_ms, 200);
	assert_int_equal(command->retries, 5);
	assert_int_equal(command->fail_after, 100);
	assert_int_equal(command->recover_after, 3);
	assert_true(command->disabled);
	assert_int_equal(account->commands[0].timeout_ms, 2000);
	assert_int_equal(account->commands[0].interval_s, 30);
	assert_int_equal(account->commands[3].hold_ms, 0);
}

static void test_wire_document_without_accounts_is_one(void **state)
{
	(void)state;
	document.n_accounts = 0;
	accepted();
	assert_int_equal(config->naccounts, 0);
}

static void test_wire_document_all_issues_are_told_at_once(void **state)
{
	(void)state;
	document.revision = 0;
	document.n_accounts = 3;
	accounts[0].remote_address = (char *)"";
	SET(accounts[0], timeout_ms, 0);
	commands[0].name = (char *)"a/b";
	commands[1].command = (char *)"SUBSCRIBE";
	SET(commands[2], timeout_s, 0);
	accounts[1].id = (char *)"x#";
	accounts[2].transport = (char *)"sctp";
	assert_int_equal(decode(), EBADMSG);
	assert_null(config);
	assert_non_null(find("revision", "required"));
	assert_non_null(find("accounts[pbx1].remote_address", "required"));
	assert_non_null(find("accounts[pbx1].timeout_ms", "out_of_range"));
	assert_non_null(find("accounts[pbx1].commands[0].name", "invalid"));
	assert_non_null(find("accounts[pbx1].commands[greeting].command", "invalid"));
	assert_non_null(find("accounts[pbx1].commands[login].timeout_s", "out_of_range"));
	assert_non_null(find("accounts[1].id", "invalid"));
	assert_non_null(find("accounts[pbx3].transport", "invalid"));
	assert_int_equal(issues_total(issues), 8);
	assert_non_null(strstr(find("accounts[pbx1].commands[greeting].command", "invalid")->message,
	        "OPTIONS, MESSAGE, REGISTER or INVITE"));
}

static void test_wire_document_revision_bounds(void **state)
{
	(void)state;
	document.revision = (uint64_t)1 << 53;
	accepted();
	document.revision += 1;
	refused("revision", "out_of_range");
	assert_true(revision == ((uint64_t)1 << 53) + 1);
	document.revision = 0;
	refused("revision", "required");
}

static void test_wire_document_for_another_node(void **state)
{
	(void)state;
	document.node = (char *)"edge-2";
	refused("node", "invalid");
	policy.node = NULL; /* an operator's tool */
	accepted();
}

static void test_wire_document_signed_is_not_supported_yet(void **state)
{
	Sipedge__V1__SignedBytes signed_bytes = SIPEDGE__V1__SIGNED_BYTES__INIT;

	(void)state;
	document.revision = 0;
	document.n_accounts = 0;
	document.signed_ = &signed_bytes;
	refused("signed", "unsupported");
}

static void test_wire_document_names(void **state)
{
	static const char *const bad[] = {"a b", "a.b", "_a", "a/b", "+", "#", "\xc3\xa4",
	        "12345678901234567890123456789012345678901234567890123456789012345"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		accounts[0].id = (char *)bad[i];
		refused("accounts[0].id", "invalid");
		accounts[0].id = (char *)"pbx1";
		commands[2].name = (char *)bad[i];
		refused("accounts[pbx1].commands[2].name", "invalid");
		commands[2].name = (char *)"login";
	}
	accounts[0].id = (char *)"";
	refused("accounts[0].id", "required");
	accounts[0].id = (char *)"1234567890123456789012345678901234567890123456789012345678901234";
	accepted();
}

static void test_wire_document_duplicates_regardless_of_case(void **state)
{
	(void)state;
	document.n_accounts = 3;
	accounts[2].id = (char *)"PBX1";
	refused("accounts[2].id", "duplicate");
	accounts[2].id = (char *)"pbx3";
	commands[3].name = (char *)"Alive";
	refused("accounts[pbx1].commands[3].name", "duplicate");
}

static void test_wire_document_numbers(void **state)
{
	(void)state;
	SET(accounts[0], remote_port, 0);
	refused("accounts[pbx1].remote_port", "out_of_range");
	SET(accounts[0], remote_port, 65536);
	refused("accounts[pbx1].remote_port", "out_of_range");
	SET(accounts[0], remote_port, 65535);
	SET(accounts[0], local_port, 65536);
	refused("accounts[pbx1].local_port", "out_of_range");
	SET(accounts[0], local_port, 0);
	SET(accounts[0], sync_interval_s, 0);
	refused("accounts[pbx1].sync_interval_s", "out_of_range");
	SET(accounts[0], sync_interval_s, 604801);
	refused("accounts[pbx1].sync_interval_s", "out_of_range");
	SET(accounts[0], sync_interval_s, 1);
	SET(accounts[0], timeout_ms, 300001);
	refused("accounts[pbx1].timeout_ms", "out_of_range");
	SET(accounts[0], timeout_ms, 300000);
	SET(commands[0], timeout_s, 301);
	refused("accounts[pbx1].commands[alive].timeout_s", "out_of_range");
	SET(commands[0], timeout_s, 300);
	SET(commands[0], retries, 6);
	refused("accounts[pbx1].commands[alive].retries", "out_of_range");
	SET(commands[0], retries, 0);
	SET(commands[0], fail_after, 0);
	refused("accounts[pbx1].commands[alive].fail_after", "out_of_range");
	SET(commands[0], fail_after, 101);
	refused("accounts[pbx1].commands[alive].fail_after", "out_of_range");
	SET(commands[0], fail_after, 1);
	SET(commands[0], warn_ms, 0);
	refused("accounts[pbx1].commands[alive].warn_ms", "out_of_range");
	SET(commands[0], warn_ms, 1);
	SET(commands[3], hold_ms, 60001);
	refused("accounts[pbx1].commands[echo-call].hold_ms", "out_of_range");
	SET(commands[3], hold_ms, 60000);
	accepted();
}

static void test_wire_document_lengths(void **state)
{
	static char text[SIP_DATA_LEN_MAX + 2];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	commands[1].sip_data = text;
	refused("accounts[pbx1].commands[greeting].sip_data", "out_of_range");
	commands[1].sip_data = text + 1;
	accepted();
	commands[1].sip_data = (char *)"";
	commands[1].description = text + SIP_DATA_LEN_MAX - DESCRIPTION_LEN_MAX;
	refused("accounts[pbx1].commands[greeting].description", "out_of_range");
	commands[1].description = (char *)"";
	accounts[0].description = text;
	refused("accounts[pbx1].description", "out_of_range");
}

static void test_wire_document_remote_addresses(void **state)
{
	static const char *const good[] = {
	        "127.0.0.1", "::1", "[2001:db8::1]", "pbx", "pbx.example.org.", "a-b.c_d.example", "3com.com"};
	static const char *const bad[] = {"0.0.0.0", "::", "224.0.0.1", "ff02::1", "1.2.3.4:5060", "[::1]:5060", "[::1",
	        "[pbx]", "a b", "a@b", "a;b", "a..b", ".a", "-a", "a-", "1.2.3.400", "sip:pbx", "pbx\r\nX: y",
	        "\xc3\xa4.de", "a/b", "<a>", "[1.2.3.4]"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		accounts[0].remote_address = (char *)good[i];
		accepted();
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		accounts[0].remote_address = (char *)bad[i];
		refused("accounts[pbx1].remote_address", "invalid");
	}
	accounts[0].remote_address = (char *)"[2001:db8::1]";
	accepted();
	assert_string_equal(config->accounts[0]->remote_address, "2001:db8::1");
	assert_int_equal(sa_af(&config->accounts[0]->local), AF_INET6);
}

static void test_wire_document_local_addresses(void **state)
{
	static const char *const any[] = {"", "0.0.0.0", "::", "[::]"};
	static const char *const bad[] = {
	        "localhost", "127.0.0.1:5060", "eth0", "224.0.0.1", "1.2.3", "a\r\nb", "2001:db8::1"};

	(void)state;
	for (size_t i = 0; i < sizeof(any) / sizeof(any[0]); i++) {
		accounts[0].local_address = (char *)any[i];
		accepted();
		assert_true(sa_is_any(&config->accounts[0]->local));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		accounts[0].local_address = (char *)bad[i];
		refused("accounts[pbx1].local_address", "invalid");
	}
}

static void test_wire_document_clash_of_local_and_remote(void **state)
{
	static const struct {
		const char *local, *remote;
		uint32_t local_port, remote_port;
		bool clashes;
	} cases[] = {
	        {"192.0.2.10", "192.0.2.10", 5060, 5060, true},
	        {"192.0.2.10", "192.0.2.10", 5060, 0, true}, /* 0: absent, 5060 */
	        {"192.0.2.10", "192.0.2.10", 5062, 0, false},
	        {"192.0.2.10", "192.0.2.11", 5060, 5060, false},
	        {"", "127.0.0.1", 5070, 5070, true},
	        {"0.0.0.0", "127.0.0.1", 5060, 0, true},
	        {"::", "::1", 5060, 5060, true},
	        {"", "localhost", 5060, 5060, true},
	        {"127.0.0.1", "LocalHost", 5060, 5060, true},
	        {"127.0.0.2", "127.0.0.1", 5060, 5060, false},
	        {"", "192.0.2.10", 5060, 5060, false},
	        {"", "127.0.0.1", 0, 5060, false},
	        {"::1", "::1", 5060, 5060, true},
	        {"", "pbx.example.org", 5060, 5060, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		accounts[0].local_address = (char *)cases[i].local;
		accounts[0].remote_address = (char *)cases[i].remote;
		SET(accounts[0], local_port, cases[i].local_port);
		accounts[0].remote_port_opt_case = 0;
		if (cases[i].remote_port)
			SET(accounts[0], remote_port, cases[i].remote_port);
		if (cases[i].clashes) {
			refused("accounts[pbx1].local_port", "clash");
			assert_non_null(strstr(issues_get(issues, 0)->message, "same host as the SIP device"));
		} else {
			accepted();
		}
	}
}

static void test_wire_document_two_accounts_may_share_a_socket(void **state)
{
	(void)state;
	document.n_accounts = 2;
	for (size_t i = 0; i < 2; i++) {
		accounts[i].local_address = (char *)"192.0.2.1";
		SET(accounts[i], local_port, 5060);
	}
	accepted();
}

static void test_wire_document_words(void **state)
{
	(void)state;
	accounts[0].transport = (char *)"tls";
	refused("accounts[pbx1].transport", "unsupported");
	accounts[0].transport = (char *)"UDP";
	refused("accounts[pbx1].transport", "invalid");
	accounts[0].transport = (char *)"";
	accounts[0].registration = (char *)"sometimes";
	refused("accounts[pbx1].registration", "invalid");
	accounts[0].registration = (char *)"always";
	accepted();
	commands[0].command = (char *)"options";
	refused("accounts[pbx1].commands[alive].command", "invalid");
	commands[0].command = (char *)"";
	refused("accounts[pbx1].commands[alive].command", "required");
}

static void test_wire_document_logins(void **state)
{
	static const char *const bad[] = {"a b", "a\"b", "<a>", "a\r\nb", "a\\b", "a\x7f"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		accounts[0].login = (char *)bad[i];
		refused("accounts[pbx1].login", "invalid");
	}
	accounts[0].login = (char *)"j\xc3\xb6rg+1@home";
	accepted();
	accounts[0].login = (char *)"";
	accounts[0].n_commands = 1;
	accounts[0].registration = (char *)"always";
	refused("accounts[pbx1].registration", "invalid");
	accounts[0].registration = (char *)"";
	accepted();
	assert_null(config->accounts[0]->login);
	assert_false(config->accounts[0]->registers);
	secret.source_case = SIPEDGE__V1__SECRET__SOURCE_PLAIN;
	secret.plain = (char *)"s3cret";
	accounts[0].password = &secret;
	refused("accounts[pbx1].password", "invalid");
}

static void test_wire_document_targets(void **state)
{
	static const char *const good[] = {"600", "*97", "+4930123", "echo@example.org", "echo@192.0.2.1:5070",
	        "a@[2001:db8::1]:5070", "sip:600@pbx", "SIP:pbx.example.org:5070;transport=udp", "sips:a@b",
	        "sip:[::1]", "600;phone-context=a", "sip:a%20b@pbx"};
	static const char *const bad[] = {"a b", "a@", "@b", "a@b@c", "a@b:0", "a@b:70000", "pbx:5060",
	        "sip:", "sip:a@", "tel:123", "http://x", "a\r\nX: y", "<sip:a@b>", "sip:a@b?Subject=x", "a\"b",
	        "sip:a\r\n@b", "sip:a:secret@b"};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		commands[3].target = (char *)good[i];
		accepted();
		assert_string_equal(config->accounts[0]->commands[3].target, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		commands[3].target = (char *)bad[i];
		refused("accounts[pbx1].commands[echo-call].target", "invalid");
	}
	accounts[0].login = (char *)"";
	commands[1].target = (char *)"600";
	commands[3].target = (char *)"";
	refused("accounts[pbx1].commands[echo-call].target", "required");
}

static void test_wire_document_fields_of_other_methods(void **state)
{
	(void)state;
	commands[0].sip_data = (char *)"hello";
	refused("accounts[pbx1].commands[alive].sip_data", "invalid");
	commands[0].sip_data = (char *)"";
	SET(commands[1], hold_ms, 5);
	refused("accounts[pbx1].commands[greeting].hold_ms", "invalid");
	commands[1].hold_ms_opt_case = 0;
	commands[2].expect_codes = (char *)"2xx";
	refused("accounts[pbx1].commands[login].expect_codes", "invalid");
	commands[2].expect_codes = (char *)"";
	commands[2].maintenance_codes = (char *)"100";
	refused("accounts[pbx1].commands[login].maintenance_codes", "invalid");
}

static int secret_read(char **secretp, const char *name, void *arg)
{
	(void)arg;
	if (0 == strcmp(name, "hq/pbx.pw"))
		return str_dup(secretp, "from-file");
	if (0 == strcmp(name, "empty"))
		return str_dup(secretp, "");
	return ENOENT;
}

static void test_wire_document_secrets(void **state)
{
	static const char *const bad[] = {"/etc/shadow", "../x", "a/../../x", "..", "a/..", "", "a\nb", "a\\b"};

	(void)state;
	accounts[0].password = &secret;
	refused("accounts[pbx1].password", "required");
	secret.source_case = SIPEDGE__V1__SECRET__SOURCE_FILE;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		secret.file = (char *)bad[i];
		refused("accounts[pbx1].password.file", "invalid");
	}
	secret.file = (char *)"hq/pbx.pw";
	accepted(); /* no reader: an operator's tool */
	assert_null(config->accounts[0]->password);
	policy.secret_read = secret_read;
	accepted();
	assert_string_equal(config->accounts[0]->password, "from-file");
	secret.file = (char *)"..missing";
	refused("accounts[pbx1].password.file", "secret");
	assert_non_null(strstr(issues_get(issues, 0)->message, "..missing"));
	secret.file = (char *)"empty";
	refused("accounts[pbx1].password.file", "secret");
	secret.source_case = SIPEDGE__V1__SECRET__SOURCE_PLAIN;
	secret.plain = (char *)"hunter2";
	policy.allow_plain_secrets = false;
	refused("accounts[pbx1].password.plain", "secret");
	assert_null(strstr(issues_get(issues, 0)->message, "hunter2"));
	secret.source_case = SIPEDGE__V1__SECRET__SOURCE_SEALED;
	secret.sealed = (ProtobufCBinaryData){4, (uint8_t *)"seal"};
	refused("accounts[pbx1].password.sealed", "unsupported");
}

static void append(const char *hex)
{
	for (; hex[0]; hex += hex[2] == ' ' ? 3 : 2) {
		unsigned byte;

		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		bytes[len++] = (uint8_t)byte;
		if (!hex[2])
			break;
	}
}

static void test_wire_document_unknown_fields_are_told_beside_the_rest(void **state)
{
	(void)state;
	document.revision = 0;
	pack();
	append("98 06 01");                         /* field 99 of the document */
	append("22 09 0a 04 70 62 78 39 f8 01 01"); /* account pbx9 with field 31 and no remote address */
	assert_int_equal(decode_bytes(), EBADMSG);
	assert_non_null(find("", "unknown_field"));
	assert_non_null(find("accounts[pbx9]", "unknown_field"));
	assert_non_null(find("accounts[pbx9].remote_address", "required"));
	assert_non_null(find("revision", "required"));
}

static void test_wire_document_hidden_and_broken_text(void **state)
{
	(void)state;
	pack();
	append("22 0a 0a 04 70 62 78 39 2a 02 61 00"); /* remote_address "a\0" */
	assert_int_equal(decode_bytes(), EBADMSG);
	assert_non_null(find("accounts[pbx9].remote_address", "invalid"));
	pack();
	append("12 01 ff"); /* issuer */
	assert_int_equal(decode_bytes(), EBADMSG);
	assert_non_null(find("issuer", "invalid"));
}

static void test_wire_document_every_cut_is_refused_or_whole_fields(void **state)
{
	size_t whole;

	(void)state;
	pack();
	whole = len;
	for (len = 0; len < whole; len++) {
		int err = decode_bytes();

		assert_true(err == EBADMSG || len == 2); /* the revision alone is a document */
		if (len >= 2)
			assert_int_equal(revision, 5);
	}
}

static void test_wire_document_that_is_none(void **state)
{
	(void)state;
	memset(bytes, 0xff, 100);
	len = 100;
	assert_int_equal(decode_bytes(), EBADMSG);
	assert_non_null(find("", "malformed"));
	assert_int_equal(revision, 0);
	len = 0;
	assert_int_equal(decode_bytes(), EBADMSG);
	assert_non_null(find("revision", "required"));
}

static void test_wire_document_last_value_of_a_repeated_field_counts(void **state)
{
	(void)state;
	pack();
	append("08 09"); /* revision 9 */
	assert_int_equal(decode_bytes(), 0);
	assert_int_equal(config->revision, 9);
}

static double decode_big(const struct mbuf *mb)
{
	struct timespec start, end;

	config = mem_deref(config);
	issues = mem_deref(issues);
	assert_int_equal(issues_alloc(&issues), 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	(void)wire_decode_document(&config, &revision, mb->buf, mb->end, &policy, issues);
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	return (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
}

static void add_entry(struct mbuf *mb, int field, const char *id)
{
	uint8_t n = (uint8_t)strlen(id);

	(void)mbuf_write_u8(mb, (uint8_t)(field << 3 | 2));
	(void)mbuf_write_u8(mb, (uint8_t)(n + 2 + 11));
	(void)mbuf_write_u8(mb, 0x0a);
	(void)mbuf_write_u8(mb, n);
	(void)mbuf_write_str(mb, id);
	(void)mbuf_write_str(mb, "\x2a\x09"
	                         "192.0.2.1");
}

static void test_wire_document_of_100000_accounts(void **state)
{
	struct mbuf *mb = mbuf_alloc(1 << 20);
	char id[32];

	(void)state;
	(void)mbuf_write_str(mb, "\x08\x05");
	for (int i = 0; i < 100000; i++) {
		(void)snprintf(id, sizeof(id), "account-%06d", i);
		add_entry(mb, 4, id);
	}
	print_message("%zu bytes in %.3f s\n", mb->end, decode_big(mb));
	assert_int_equal(issues_total(issues), 0);
	assert_int_equal(config->naccounts, 100000);

	for (int i = 0; i < 50000; i++) /* all of them a second time */
		add_entry(mb, 4, id);
	print_message("duplicates: %.3f s\n", decode_big(mb));
	assert_int_equal(issues_total(issues), 50000);
	assert_int_equal(issues_listed(issues), ISSUES_MAX);
	assert_non_null(find("accounts[100000].id", "duplicate"));
	mem_deref(mb);
}

static void test_wire_document_too_large(void **state)
{
	struct mbuf *mb = mbuf_alloc(DOCUMENT_SIZE_MAX + 100);

	(void)state;
	(void)mbuf_write_str(mb, "\x08\x05");
	while (mb->end <= DOCUMENT_SIZE_MAX)
		(void)mbuf_write_str(mb, "\x12\x04test"); /* issuer, again and again */
	(void)decode_big(mb);
	assert_int_equal(issues_total(issues), 1);
	assert_non_null(find("", "too_large"));
	assert_int_equal(revision, 5);
	mem_deref(mb);
}

static void test_wire_document_of_empty_accounts_takes_no_memory(void **state)
{
	struct mbuf *mb = mbuf_alloc(DOCUMENT_SIZE_MAX);

	(void)state;
	(void)mbuf_write_str(mb, "\x08\x05");
	while (mb->end < 2 * (ACCOUNTS_MAX - 1))
		(void)mbuf_write_mem(mb, (const uint8_t *)"\x22\x00", 2);
	print_message("empty accounts: %.3f s\n", decode_big(mb));
	assert_null(config);
	assert_non_null(find("accounts[0].id", "required"));
	while (mb->end < DOCUMENT_SIZE_MAX - 2)
		(void)mbuf_write_mem(mb, (const uint8_t *)"\x22\x00", 2);
	print_message("too many: %.3f s\n", decode_big(mb));
	assert_non_null(find("accounts", "too_large"));
	mem_deref(mb);
}

static void write_length(struct mbuf *mb, uint8_t tag, size_t n)
{
	(void)mbuf_write_u8(mb, tag);
	for (; n >= 0x80; n >>= 7)
		(void)mbuf_write_u8(mb, (uint8_t)(n | 0x80));
	(void)mbuf_write_u8(mb, (uint8_t)n);
}

static void test_wire_document_one_account_of_too_much(void **state)
{
	struct mbuf *mb = mbuf_alloc(DOCUMENT_SIZE_MAX);
	size_t n = DOCUMENT_SIZE_MAX - 16;

	(void)state;
	(void)mbuf_write_str(mb, "\x08\x05");
	write_length(mb, 0x22, n);
	(void)mbuf_fill(mb, 0, n);
	for (size_t i = 0; i < n; i += 2) /* empty commands */
		mb->buf[mb->end - n + i] = 0x6a;
	print_message("empty commands: %.3f s\n", decode_big(mb));
	assert_non_null(find("accounts[0].commands", "too_large"));
	for (size_t i = 0; i < n; i += 2) /* logins of no length */
		mb->buf[mb->end - n + i] = 0x42;
	print_message("repeated logins: %.3f s\n", decode_big(mb));
	assert_non_null(find("accounts[0]", "too_large"));
	mem_deref(mb);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_wire_document_defaults),
	        TEST(test_wire_document_every_value_arrives),
	        TEST(test_wire_document_without_accounts_is_one),
	        TEST(test_wire_document_all_issues_are_told_at_once),
	        TEST(test_wire_document_revision_bounds),
	        TEST(test_wire_document_for_another_node),
	        TEST(test_wire_document_signed_is_not_supported_yet),
	        TEST(test_wire_document_names),
	        TEST(test_wire_document_duplicates_regardless_of_case),
	        TEST(test_wire_document_numbers),
	        TEST(test_wire_document_lengths),
	        TEST(test_wire_document_remote_addresses),
	        TEST(test_wire_document_local_addresses),
	        TEST(test_wire_document_clash_of_local_and_remote),
	        TEST(test_wire_document_two_accounts_may_share_a_socket),
	        TEST(test_wire_document_words),
	        TEST(test_wire_document_logins),
	        TEST(test_wire_document_targets),
	        TEST(test_wire_document_fields_of_other_methods),
	        TEST(test_wire_document_secrets),
	        TEST(test_wire_document_unknown_fields_are_told_beside_the_rest),
	        TEST(test_wire_document_hidden_and_broken_text),
	        TEST(test_wire_document_every_cut_is_refused_or_whole_fields),
	        TEST(test_wire_document_that_is_none),
	        TEST(test_wire_document_last_value_of_a_repeated_field_counts),
	        TEST(test_wire_document_of_100000_accounts),
	        TEST(test_wire_document_too_large),
	        TEST(test_wire_document_of_empty_accounts_takes_no_memory),
	        TEST(test_wire_document_one_account_of_too_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
