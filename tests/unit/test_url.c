/**
 * @file test_url.c  Broker URLs: what Paho is told, and what is refused
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <re.h>
#include "edge/mqtt/link.h"
#include "edge/mqtt/url.h"

static void expect(const char *url, const char *uri, enum broker_scheme scheme)
{
	enum broker_scheme got;
	char *text = NULL;

	assert_int_equal(broker_url_parse(&text, &got, url, NULL), 0);
	assert_string_equal(text, uri);
	assert_int_equal(got, scheme);
	assert_int_equal(link_url_check(url, NULL), 0);
	mem_deref(text);
}

static void test_url_schemes_and_default_ports(void **state)
{
	(void)state;
	expect("mqtt://broker", "tcp://broker:1883", BROKER_TCP);
	expect("mqtt://broker/", "tcp://broker:1883", BROKER_TCP);
	expect("mqtts://broker", "ssl://broker:8883", BROKER_TLS);
	expect("ws://broker", "ws://broker:80", BROKER_WS);
	expect("wss://broker/mqtt", "wss://broker:443/mqtt", BROKER_WSS);
	expect("mqtt://127.0.0.1:18830", "tcp://127.0.0.1:18830", BROKER_TCP);
	expect("mqtt://[::1]", "tcp://[::1]:1883", BROKER_TCP);
	expect("mqtts://[2001:db8::1]:65535", "ssl://[2001:db8::1]:65535", BROKER_TLS);
	assert_false(broker_scheme_is_tls(BROKER_TCP));
	assert_true(broker_scheme_is_tls(BROKER_WSS));
}

static void test_url_refuses_with_a_sentence(void **state)
{
	static const char *const bad[] = {"", "broker", "tcp://broker", "http://broker", "MQTT", "mqtt:/broker",
	        "mqtt://", "mqtt://:1883", "mqtt://user:secret@broker", "mqtt://broker:", "mqtt://broker:0",
	        "mqtt://broker:65536", "mqtt://broker:100000", "mqtt://broker:18x", "mqtt://broker:-1", "mqtt://a b",
	        "mqtt://broker/path", "mqtt://[::1", "mqtt://[]", "mqtt://[::1]x", "ws://broker/mqtt?token=1",
	        "ws://broker/#f", "mqtt://bro\nker"};
	(void)state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *why = NULL;

		assert_int_equal(link_url_check(bad[i], &why), EINVAL);
		assert_non_null(why);
		assert_true(strlen(why) > 10);
	}
}

static void test_url_refuses_too_long(void **state)
{
	char url[BROKER_URL_MAX + 2] = "mqtt://";
	(void)state;

	memset(url + 7, 'a', sizeof(url) - 8);
	assert_int_equal(link_url_check(url, NULL), EINVAL);
	url[BROKER_URL_MAX] = '\0';
	assert_int_equal(link_url_check(url, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_url_schemes_and_default_ports),
	        cmocka_unit_test(test_url_refuses_with_a_sentence),
	        cmocka_unit_test(test_url_refuses_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
