/**
 * @file test_desired.c  What becomes of an offered document: protocol.md, Provisioning 1 to 3
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/store/desired.h"
#include "support/document.h"

static struct {
	struct report_seen report; /* the newest */
	unsigned reports, plans;
	int first_status; /* of the reports since the last offer */
	size_t nput, nremoved;
	uint64_t revision;
} seen;

static void report_h(struct desired *desired, void *arg)
{
	struct mbuf *mb = mbuf_alloc(256);
	(void)arg;

	assert_int_equal(desired_encode_report(desired, mb), 0);
	report_decode(&seen.report, mb->buf, mb->end);
	if (!seen.reports++)
		seen.first_status = seen.report.status;
	mem_deref(mb);
}

static void plan_h(struct plan *plan, void *arg)
{
	(void)arg;
	seen.plans++;
	seen.revision = plan->revision;
	seen.nput = plan->nput;
	seen.nremoved = plan->nremoved;
	mem_deref(plan);
}

static struct desired *new_desired(void)
{
	static const struct config_policy policy = {.node = "node1"};
	static const struct desired_handlers handlers = {.report = report_h, .plan = plan_h};
	struct desired *desired = NULL;

	memset(&seen, 0, sizeof(seen));
	assert_int_equal(desired_alloc(&desired, &policy, &handlers), 0);

	return desired;
}

static void offer_bytes(struct desired *desired, const uint8_t *buf, size_t len)
{
	seen.reports = seen.plans = 0;
	desired_offer(desired, buf, len);
}

static void offer(struct desired *desired, uint64_t revision, const char *description)
{
	uint8_t buf[1024];
	size_t len = document_encode(buf, revision, description);

	offer_bytes(desired, buf, len);
}

static void expect(int status, uint64_t offered, uint64_t effective, const char *code)
{
	assert_int_equal(seen.report.status, status);
	assert_true(seen.report.offered == offered);
	assert_true(seen.report.effective == effective);
	assert_string_equal(seen.report.code, code);
	assert_int_equal(seen.report.issues, *code ? 1 : 0);
	assert_int_equal(seen.report.sha256_len, effective ? DIGEST_SIZE : 0);
}

/* Revision 5 runs. */
static struct desired *new_running(void)
{
	struct desired *desired = new_desired();

	offer(desired, 5, "x");
	desired_applied(desired, 5, 0, NULL, NULL, 1234);
	assert_true(desired_revision(desired) == 5);

	return desired;
}

static void test_desired_reports_applying_then_applied(void **state)
{
	struct desired *desired = new_desired();
	struct mbuf *mb = mbuf_alloc(16);
	(void)state;

	assert_int_equal(desired_encode_report(desired, mb), ENOENT);
	mem_deref(mb);
	offer(desired, 5, "x");
	assert_int_equal(seen.plans, 1);
	assert_int_equal(seen.nput, 1);
	assert_true(seen.revision == 5);
	assert_true(desired_is_busy(desired));
	expect(CONFIG_APPLYING, 5, 0, "");
	desired_applied(desired, 5, 0, NULL, NULL, 1234);
	assert_false(desired_is_busy(desired));
	expect(CONFIG_APPLIED, 5, 5, "");
	assert_int_equal(seen.report.accounts, 1);
	assert_int_equal(seen.report.commands, 1);
	assert_true(seen.report.changed_at_unix_us == 1234);
	mem_deref(desired);
}

static void test_desired_plans_only_the_difference(void **state)
{
	struct desired *desired = new_running();
	(void)state;

	offer(desired, 6, "x");
	assert_int_equal(seen.plans, 1);
	assert_int_equal(seen.nput, 0);
	desired_applied(desired, 6, 0, NULL, NULL, 1);
	offer(desired, 7, "other");
	assert_int_equal(seen.nput, 1);
	desired_applied(desired, 7, 0, NULL, NULL, 2);
	expect(CONFIG_APPLIED, 7, 7, "");
	mem_deref(desired);
}

static void test_desired_same_again_is_applied_already(void **state)
{
	struct desired *desired = new_running();
	(void)state;

	offer(desired, 5, "x");
	assert_int_equal(seen.plans, 0);
	assert_int_equal(seen.reports, 1);
	expect(CONFIG_APPLIED, 5, 5, "");
	assert_true(seen.report.changed_at_unix_us == 1234);
	mem_deref(desired);
}

static void test_desired_refuses_stale_and_conflict(void **state)
{
	struct desired *desired = new_running();
	(void)state;

	offer(desired, 4, "x");
	expect(CONFIG_REJECTED, 4, 5, "stale");
	offer(desired, 5, "other");
	expect(CONFIG_REJECTED, 5, 5, "conflict");
	assert_int_equal(seen.plans, 0);
	mem_deref(desired);
}

static void test_desired_refuses_what_cannot_be_decoded(void **state)
{
	struct desired *desired = new_running();
	static const uint8_t rubbish[] = {0xff, 0xff, 0xff, 0xff};
	(void)state;

	offer_bytes(desired, rubbish, sizeof(rubbish));
	expect(CONFIG_REJECTED, 0, 5, "malformed");
	assert_true(desired_unreadable(desired) == 1);
	mem_deref(desired);
}

static void test_desired_refuses_too_large(void **state)
{
	struct desired *desired = new_running();
	(void)state;

	offer_bytes(desired, NULL, (size_t)DOCUMENT_SIZE_MAX + 1);
	expect(CONFIG_REJECTED, 0, 5, "too_large");
	mem_deref(desired);
}

static void test_desired_ignores_empty(void **state)
{
	struct desired *desired = new_running();
	(void)state;

	offer_bytes(desired, (const uint8_t *)"", 0);
	assert_int_equal(seen.reports, 0);
	mem_deref(desired);
}

static void test_desired_refused_one_is_not_read_again(void **state)
{
	struct desired *desired = new_running();
	(void)state;

	offer(desired, UINT64_MAX, "x");
	assert_int_equal(seen.report.status, CONFIG_REJECTED);
	assert_true(seen.report.offered == UINT64_MAX);
	assert_true(seen.report.issues > 0);
	memset(&seen.report, 0, sizeof(seen.report));
	offer(desired, UINT64_MAX, "x");
	assert_int_equal(seen.reports, 1);
	assert_int_equal(seen.report.status, CONFIG_REJECTED);
	assert_true(seen.report.offered == UINT64_MAX);
	assert_true(seen.report.effective == 5);
	mem_deref(desired);
}

static void test_desired_rolled_back_one_is_not_tried_again(void **state)
{
	struct desired *desired = new_running();
	(void)state;

	offer(desired, 6, "other");
	desired_applied(desired, 6, EADDRINUSE, "accounts[pbx].local_port", "It is taken.", 99);
	expect(CONFIG_ROLLED_BACK, 6, 5, "resource");
	assert_string_equal(seen.report.path, "accounts[pbx].local_port");
	assert_true(seen.report.changed_at_unix_us == 1234);

	offer(desired, 6, "other");
	assert_int_equal(seen.plans, 0);
	expect(CONFIG_ROLLED_BACK, 6, 5, "resource");

	offer(desired, 7, "other"); /* the same under a new revision is tried */
	assert_int_equal(seen.plans, 1);
	assert_int_equal(seen.nput, 1);
	desired_applied(desired, 7, 0, NULL, NULL, 100);
	offer(desired, 6, "other");
	expect(CONFIG_REJECTED, 6, 7, "stale");
	mem_deref(desired);
}

static void test_desired_applied_of_another_revision_is_ignored(void **state)
{
	struct desired *desired = new_desired();
	(void)state;

	desired_applied(desired, 3, 0, NULL, NULL, 1);
	offer(desired, 5, "x");
	desired_applied(desired, 4, 0, NULL, NULL, 1);
	assert_true(desired_is_busy(desired));
	offer(desired, 6, "x");
	assert_int_equal(seen.plans, 0);
	mem_deref(desired);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_desired_reports_applying_then_applied),
	        cmocka_unit_test(test_desired_plans_only_the_difference),
	        cmocka_unit_test(test_desired_same_again_is_applied_already),
	        cmocka_unit_test(test_desired_refuses_stale_and_conflict),
	        cmocka_unit_test(test_desired_refuses_what_cannot_be_decoded),
	        cmocka_unit_test(test_desired_refuses_too_large),
	        cmocka_unit_test(test_desired_ignores_empty),
	        cmocka_unit_test(test_desired_refused_one_is_not_read_again),
	        cmocka_unit_test(test_desired_rolled_back_one_is_not_tried_again),
	        cmocka_unit_test(test_desired_applied_of_another_revision_is_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
