/**
 * @file test_options.c  Flags, environment and file of `sipedge run`: edge/options.c
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <re.h>
#include "edge/options.h"

static int read_args(struct options **op, const char *a, const char *b, const char *c, const char *d)
{
	char *argv[] = {(char *)"run", (char *)a, (char *)b, (char *)c, (char *)d, NULL};
	int argc = 1;

	while (argv[argc])
		argc++;

	return options_read(op, argc, argv);
}

static int read_yaml(struct options **op, const char *text)
{
	char path[] = "/tmp/sipedge-options-XXXXXX";
	int err, fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	err = read_args(op, "--config", path, "--node", "n1");
	unlink(path);

	return err;
}

static void test_options_file_lists_several_brokers(void **state)
{
	struct options *o;
	(void)state;

	assert_int_equal(read_yaml(&o, "broker: [mqtt://a, mqtt://b]\nlog_level: warn\n"), 0);
	assert_string_equal(o->broker[1], "mqtt://b");
	assert_null(o->broker[2]);
	assert_int_equal(o->log_level, LOG_LEVEL_WARN);
	mem_deref(o);
}

static void test_options_file_refuses_a_list_in_a_list(void **state)
{
	struct options *o;
	(void)state;

	assert_int_equal(read_yaml(&o, "broker: [[mqtt://a]]\n"), EINVAL);
	assert_int_equal(read_yaml(&o, "broker: &a [*a]\n"), EINVAL);
	assert_int_equal(read_yaml(&o, "username: [a]\n"), EINVAL);
	assert_int_equal(read_yaml(&o, "{a: b}: c\n"), EINVAL);
	assert_int_equal(read_yaml(&o, "- a\n"), EINVAL);
	assert_int_equal(read_yaml(&o, "\x01"), EINVAL);
}

static void test_options_broker_empty_is_refused(void **state)
{
	struct options *o;
	(void)state;

	assert_int_equal(read_args(&o, "--broker", "", "--node", "n1"), EINVAL);
	assert_int_equal(read_args(&o, "--broker", " ,", "--node", "n1"), EINVAL);
	assert_int_equal(read_yaml(&o, "broker:\n"), EINVAL);
}

static void test_options_flag_goes_before_environment_before_file(void **state)
{
	struct options *o;
	(void)state;

	assert_int_equal(setenv("SIPEDGE_NODE", "environment", 1), 0);
	assert_int_equal(setenv("SIPEDGE_USERNAME", "environment", 1), 0);
	assert_int_equal(read_yaml(&o, "node: file\nusername: file\nca: file\n"), 0);
	assert_string_equal(o->node, "n1");
	assert_string_equal(o->username, "environment");
	assert_string_equal(o->ca, "file");
	mem_deref(o);
	unsetenv("SIPEDGE_NODE");
	unsetenv("SIPEDGE_USERNAME");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_options_file_lists_several_brokers),
	        cmocka_unit_test(test_options_file_refuses_a_list_in_a_list),
	        cmocka_unit_test(test_options_broker_empty_is_refused),
	        cmocka_unit_test(test_options_flag_goes_before_environment_before_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
