/**
 * @file test_registration.c  Bindings that are kept, and removed at the end
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/clock.h"
#include "edge/log.h"
#include "support/rig.h"

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);

	return rig_setup(&rig);
}

static int teardown(void **state)
{
	(void)state;
	rig_teardown(&rig);

	return 0;
}

static void start(enum method method, enum transport transport)
{
	rig_account(&rig, method, transport, "monitor");
	rig.account->registers = true;
	rig.fake->password = "secret";
	rig_device(&rig);
	assert_int_equal(rig.fake->requests, 0);
}

static void test_registration_binds_and_is_removed_at_close(void **state)
{
	(void)state;
	start(METHOD_OPTIONS, TRANSPORT_UDP);
	assert_true(loop_until_count(&rig.fake->registered, 1));
	assert_int_equal(rig.fake->nbindings, 1);
	assert_int_equal(rig.fake->challenges, 1);
	rig_close(&rig);
	assert_int_equal(rig.fake->nbindings, 0);
	assert_int_equal(rig.fake->max_cseq_repeats, 0);
}

static void test_registration_is_removed_when_its_device_closes(void **state)
{
	(void)state;
	start(METHOD_OPTIONS, TRANSPORT_UDP);
	assert_true(loop_until_count(&rig.fake->registered, 1));
	loop_run(5);
	device_close(rig.device);
	rig.device = NULL;
	assert_true(loop_until_count(&rig.fake->unregistered, 1));
	assert_int_equal(rig.fake->nbindings, 0);
}

static void test_registration_that_is_not_answered_yet_is_removed(void **state)
{
	(void)state;
	start(METHOD_OPTIONS, TRANSPORT_UDP);
	rig.fake->password = NULL;
	rig_close(&rig); /* the REGISTER is still in the server's socket */
	loop_run(20);
	assert_int_equal(rig.fake->registered, 1);
	assert_int_equal(rig.fake->nbindings, 0);
}

static void test_registration_refreshes_at_half(void **state)
{
	uint64_t start_us = clock_mono_us();
	(void)state;

	rig.fake->expires = 2;
	start(METHOD_OPTIONS, TRANSPORT_UDP);
	assert_true(loop_until_count(&rig.fake->registered, 3));
	assert_true(clock_mono_us() - start_us >= 1700000); /* two refreshes of a second, less a tenth */
	assert_int_equal(rig.fake->nbindings, 1);
	assert_int_equal(rig.fake->max_cseq_repeats, 0);
}

static void test_registration_obeys_min_expires(void **state)
{
	(void)state;
	rig.fake->min_expires = 900;
	start(METHOD_OPTIONS, TRANSPORT_UDP);
	assert_true(loop_until_count(&rig.fake->registered, 1));
	assert_non_null(strstr(rig.fake->text, "Expires: 900\r\n"));
}

static void test_registration_backs_off(void **state)
{
	(void)state;
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, "monitor");
	rig.account->registers = true;
	rig.fake->code = 503;
	rig_device(&rig);
	loop_run(1500);
	assert_int_equal(rig.fake->requests, 1);
}

static void test_registration_refused_login_is_not_repeated(void **state)
{
	(void)state;
	rig_account(&rig, METHOD_OPTIONS, TRANSPORT_UDP, "monitor");
	rig.account->registers = true;
	rig.fake->password = "another";
	rig_device(&rig);
	loop_run(1500);
	assert_int_equal(rig.fake->requests, 2); /* without and with credentials, once */
	rig_close(&rig);
	assert_int_equal(rig.fake->requests, 2); /* nothing to remove */
}

static void test_registration_check_refreshes_the_same_binding(void **state)
{
	struct result *r;
	(void)state;

	start(METHOD_REGISTER, TRANSPORT_UDP);
	r = rig_run(&rig); /* both at the same time */
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_true(loop_until_count(&rig.fake->registered, 2));
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_false(cell_is_set(r, COL_UNREGISTER_CODE));
	assert_int_equal(cell_int(r, COL_BINDINGS), 1);
	assert_int_equal(rig.fake->nbindings, 1);
	assert_int_equal(rig.fake->max_cseq_repeats, 0);
	rig_close(&rig);
	assert_int_equal(rig.fake->nbindings, 0);
	assert_int_equal(rig.fake->max_cseq_repeats, 0);
}

static void test_registration_tcp_shares_its_connection(void **state)
{
	struct result *r;
	(void)state;

	start(METHOD_OPTIONS, TRANSPORT_TCP);
	assert_true(loop_until_count(&rig.fake->registered, 1));
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_false(cell_is_set(r, COL_CONNECT_MS));
	assert_int_equal(rig.fake->accepted, 1);
	rig_close(&rig);
	assert_int_equal(rig.fake->nbindings, 0);
	assert_int_equal(rig.fake->accepted, 1);
}

static void test_registration_tcp_comes_back_after_a_lost_connection(void **state)
{
	(void)state;
	start(METHOD_OPTIONS, TRANSPORT_TCP);
	assert_true(loop_until_count(&rig.fake->registered, 1));
	loop_run(5);
	fake_close_connections(rig.fake);
	assert_true(loop_until_count(&rig.fake->accepted, 2));
	assert_true(loop_until_count(&rig.fake->registered, 2));
	assert_int_equal(rig.fake->nbindings, 1); /* the contact of the lost connection went with it */
	rig_close(&rig);
	assert_int_equal(rig.fake->nbindings, 0);
}

/* Whoever asks first makes the new connection; the registrar still has the contact of the old one. */
static void test_registration_tcp_comes_back_when_a_check_reconnected_first(void **state)
{
	struct result *r;
	(void)state;

	start(METHOD_OPTIONS, TRANSPORT_TCP);
	assert_true(loop_until_count(&rig.fake->registered, 1));
	loop_run(5);
	fake_close_connections(rig.fake);
	loop_run(5);
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(rig.fake->accepted, 2);
	assert_true(loop_until_count(&rig.fake->registered, 2));
	assert_int_equal(rig.fake->nbindings, 1);
	assert_int_equal(rig.fake->accepted, 2);
	rig_close(&rig);
	assert_int_equal(rig.fake->nbindings, 0);
}

static void test_registration_close_is_bounded_when_the_registrar_is_gone(void **state)
{
	uint64_t start_us;
	(void)state;

	start(METHOD_OPTIONS, TRANSPORT_UDP);
	assert_true(loop_until_count(&rig.fake->registered, 1));
	loop_run(5);
	rig.fake->drop = UINT32_MAX;
	start_us = clock_mono_us();
	rig_close(&rig);
	assert_true(clock_mono_us() - start_us >= 1900000);
	assert_true(clock_mono_us() - start_us < 3000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	        TEST(test_registration_binds_and_is_removed_at_close),
	        TEST(test_registration_is_removed_when_its_device_closes),
	        TEST(test_registration_that_is_not_answered_yet_is_removed),
	        TEST(test_registration_refreshes_at_half),
	        TEST(test_registration_obeys_min_expires),
	        TEST(test_registration_backs_off),
	        TEST(test_registration_refused_login_is_not_repeated),
	        TEST(test_registration_check_refreshes_the_same_binding),
	        TEST(test_registration_tcp_shares_its_connection),
	        TEST(test_registration_tcp_comes_back_after_a_lost_connection),
	        TEST(test_registration_tcp_comes_back_when_a_check_reconnected_first),
	        TEST(test_registration_close_is_bounded_when_the_registrar_is_gone),
	};

	return cmocka_run_group_tests(tests, loop_setup, loop_teardown);
}
