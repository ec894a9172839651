#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "edge/core/verdict.h"

static struct command command_of(enum method method)
{
	struct command command = {
	        .method = method, .fail_after = FAIL_AFTER_DEFAULT, .recover_after = RECOVER_AFTER_DEFAULT};

	command.expect = *method_expect_default(method);
	return command;
}

static struct verdict_output judge(const struct command *command, uint16_t code, bool had_credentials)
{
	struct verdict_input in = {.code = code, .had_credentials = had_credentials};
	struct verdict_output out;

	verdict_judge(&out, command, &in);
	return out;
}

static void test_verdict_options_takes_what_shows_a_living_server(void **state)
{
	static const uint16_t ok[] = {200, 202, 299, 401, 403, 404, 405, 407, 480, 483, 488, 501};
	static const uint16_t fail[] = {300, 302, 400, 402, 406, 408, 410, 479, 489, 500, 503, 600, 603};
	struct command command = command_of(METHOD_OPTIONS);

	(void)state;
	for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++)
		assert_int_equal(judge(&command, ok[i], false).verdict, VERDICT_OK);
	for (size_t i = 0; i < sizeof(fail) / sizeof(fail[0]); i++) {
		struct verdict_output out = judge(&command, fail[i], false);

		assert_int_equal(out.verdict, VERDICT_FAIL);
		assert_int_equal(out.error, VERDICT_ERROR_EXPECT);
		assert_true(strlen(out.text) > 0);
	}
}

static void test_verdict_other_methods_take_success_only(void **state)
{
	(void)state;
	for (enum method m = METHOD_MESSAGE; m < METHOD_COUNT; m++) {
		struct command command = command_of(m);

		assert_int_equal(judge(&command, 200, false).verdict, VERDICT_OK);
		assert_int_equal(judge(&command, 404, false).verdict, VERDICT_FAIL);
	}
}

static void test_verdict_challenge_despite_a_login_is_auth(void **state)
{
	struct command command = command_of(METHOD_OPTIONS);

	(void)state;
	assert_int_equal(codeset_parse(&command.expect, "200-299,401,407"), 0);
	assert_int_equal(judge(&command, 401, true).error, VERDICT_ERROR_AUTH);
	assert_int_equal(judge(&command, 407, true).verdict, VERDICT_FAIL);
	assert_int_equal(judge(&command, 401, false).error, VERDICT_ERROR_NONE);
	assert_string_equal(judge(&command, 401, false).text, "");
}

static void test_verdict_maintenance_codes(void **state)
{
	struct command command = command_of(METHOD_INVITE);

	(void)state;
	assert_int_equal(judge(&command, 503, false).verdict, VERDICT_FAIL);
	assert_int_equal(codeset_parse(&command.maintenance, "503"), 0);
	assert_int_equal(judge(&command, 503, false).verdict, VERDICT_MAINTENANCE);
	assert_int_equal(judge(&command, 503, false).error, VERDICT_ERROR_NONE);
}

static void test_verdict_response_time_limits(void **state)
{
	struct command command = command_of(METHOD_OPTIONS);
	struct verdict_input in = {.code = 200, .has_response_ms = true, .response_ms = 100.0};
	struct verdict_output out;

	(void)state;
	command.warn_ms = 100;
	command.fail_ms = 200;
	verdict_judge(&out, &command, &in);
	assert_int_equal(out.verdict, VERDICT_OK);
	in.response_ms = 100.1;
	verdict_judge(&out, &command, &in);
	assert_int_equal(out.verdict, VERDICT_WARN);
	assert_int_equal(out.error, VERDICT_ERROR_NONE);
	in.response_ms = 200.5;
	verdict_judge(&out, &command, &in);
	assert_int_equal(out.verdict, VERDICT_FAIL);
	assert_int_equal(out.error, VERDICT_ERROR_EXPECT);
	assert_non_null(strstr(out.text, "200.5 ms"));
	in.has_response_ms = false;
	verdict_judge(&out, &command, &in);
	assert_int_equal(out.verdict, VERDICT_OK);
}

static void test_verdict_errors_of_ours_say_nothing_of_the_server(void **state)
{
	struct command command = command_of(METHOD_OPTIONS);
	struct verdict_input in = {0};
	struct verdict_output out;

	(void)state;
	for (enum verdict_error e = VERDICT_ERROR_DNS; e <= VERDICT_ERROR_SKIPPED; e++) {
		bool ours = e == VERDICT_ERROR_DNS || e == VERDICT_ERROR_LOCAL || e == VERDICT_ERROR_CANCELLED ||
		            e == VERDICT_ERROR_SKIPPED;

		in.error = e;
		in.error_text = NULL;
		verdict_judge(&out, &command, &in);
		assert_int_equal(out.verdict, ours ? VERDICT_ERROR : VERDICT_FAIL);
		assert_int_equal(out.error, e);
		assert_true(strlen(out.text) > 0);
		in.error_text = "port unreachable";
		verdict_judge(&out, &command, &in);
		assert_string_equal(out.text, "port unreachable");
	}
}

static void test_verdict_no_answer_and_no_reason_is_not_ok(void **state)
{
	struct command command = command_of(METHOD_OPTIONS);

	(void)state;
	assert_int_equal(judge(&command, 0, false).verdict, VERDICT_ERROR);
}

/* One letter per result: o w f m e c(ancelled). Returns the state after each, likewise; u: unknown. */
static void run(const char *results, const char *expected, uint32_t fail_after, uint32_t recover_after)
{
	static const char letters[] = {'u', 'o', 'w', 'f', 'm', 'e'};
	struct command command = command_of(METHOD_OPTIONS);
	struct verdict_track track = {0};

	command.fail_after = fail_after;
	command.recover_after = recover_after;
	for (size_t i = 0; results[i]; i++) {
		enum check_state before = track.state;
		int64_t since = track.since_unix_us;
		enum verdict verdict = results[i] == 'o'   ? VERDICT_OK
		                       : results[i] == 'w' ? VERDICT_WARN
		                       : results[i] == 'f' ? VERDICT_FAIL
		                       : results[i] == 'm' ? VERDICT_MAINTENANCE
		                                           : VERDICT_ERROR;
		bool changed = verdict_track_update(&track, &command, verdict,
		        results[i] == 'c' ? VERDICT_ERROR_CANCELLED : VERDICT_ERROR_NONE, (int64_t)i + 1);

		if (letters[track.state] != expected[i])
			fail_msg("%s: after %zu results %c, not %c", results, i + 1, letters[track.state], expected[i]);
		assert_int_equal(changed, before != track.state);
		assert_int_equal(track.since_unix_us, changed ? (int64_t)i + 1 : since);
	}
}

static void test_verdict_track_one_lost_packet_raises_no_alarm(void **state)
{
	(void)state;
	run("ofofo", "ooooo", 2, 1);
	run("offo", "oofo", 2, 1);
}

static void test_verdict_track_first_result(void **state)
{
	(void)state;
	run("o", "o", 2, 3);
	run("fof", "uoo", 2, 1);
	run("ff", "uf", 2, 1);
	run("f", "f", 1, 1);
	run("wwo", "uwo", 2, 1);
}

static void test_verdict_track_recovers_after_its_streak(void **state)
{
	(void)state;
	run("ofoofooo", "offffffo", 1, 3);
	run("fofoo", "fffff", 1, 3);
}

static void test_verdict_track_errors_leave_a_known_state_alone(void **state)
{
	(void)state;
	run("oeecc", "ooooo", 1, 1);
	run("ofef", "ooof", 2, 1);
	run("cefeff", "ueeeff", 2, 1);
	run("eo", "eo", 2, 1);
}

static void test_verdict_track_mixed_trouble_settles_on_the_mildest(void **state)
{
	(void)state;
	run("owfwfo", "oowwwo", 2, 1);
	run("offww", "oofww", 2, 1);
	run("ommoff", "oomoof", 2, 1);
	run("ffwof", "uffff", 2, 3);
	run("ffwowo", "ufffww", 2, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_verdict_options_takes_what_shows_a_living_server),
	        cmocka_unit_test(test_verdict_other_methods_take_success_only),
	        cmocka_unit_test(test_verdict_challenge_despite_a_login_is_auth),
	        cmocka_unit_test(test_verdict_maintenance_codes),
	        cmocka_unit_test(test_verdict_response_time_limits),
	        cmocka_unit_test(test_verdict_errors_of_ours_say_nothing_of_the_server),
	        cmocka_unit_test(test_verdict_no_answer_and_no_reason_is_not_ok),
	        cmocka_unit_test(test_verdict_track_one_lost_packet_raises_no_alarm),
	        cmocka_unit_test(test_verdict_track_first_result),
	        cmocka_unit_test(test_verdict_track_recovers_after_its_streak),
	        cmocka_unit_test(test_verdict_track_errors_leave_a_known_state_alone),
	        cmocka_unit_test(test_verdict_track_mixed_trouble_settles_on_the_mildest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
