/**
 * @file test_auth.c  Digest: the vectors of the RFCs, which challenge is answered, and when to give up
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "edge/sip/auth.h"
#include "edge/sip/message.h"

static const struct auth_request request = {"REGISTER", "sip:example.com", 0x0123456789abcdef};

static struct auth *new_auth(const char *user, const char *password)
{
	struct auth *auth;

	assert_int_equal(auth_alloc(&auth, user, password), 0);

	return auth;
}

/* headers: whole lines */
static int challenge(struct auth *auth, const char *headers)
{
	struct mbuf *mb = mbuf_alloc(1024);
	struct sip_msg *msg;
	int err;

	mbuf_printf(mb,
	        "SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n"
	        "To: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n%sContent-Length: 0\r\n\r\n",
	        headers);
	mb->pos = 0;
	assert_int_equal(sip_message_decode(&msg, mb), 0);
	err = auth_challenge(auth, msg);
	mem_deref(msg);
	mem_deref(mb);

	return err;
}

static const char *print(struct auth *auth)
{
	static char text[4096];
	struct mbuf *mb = mbuf_alloc(1024);

	assert_int_equal(auth_print(mb, auth, &request), 0);
	assert_true(mb->end < sizeof(text));
	memcpy(text, mb->buf, mb->end);
	text[mb->end] = '\0';
	mem_deref(mb);

	return text;
}

static void test_auth_vector_rfc2617(void **state)
{
	char hex[AUTH_DIGEST_SIZE];
	struct auth_digest in = {
	        .user = "Mufasa",
	        .realm = "testrealm@host.com",
	        .password = "Circle Of Life",
	        .nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093",
	        .method = "GET",
	        .uri = "/dir/index.html",
	        .qop = "auth",
	        .nc = "00000001",
	        .cnonce = "0a4f113b",
	};
	(void)state;

	assert_int_equal(auth_digest(hex, &in), 0);
	assert_string_equal(hex, "6629fae49393a05397450978507c4ef1");
	in.qop = NULL; /* the same without qop, as in RFC 2069 with its erratum */
	assert_int_equal(auth_digest(hex, &in), 0);
	assert_string_equal(hex, "670fd8c2df070c60b045671b8b24ff02");
}

static void test_auth_vector_rfc7616(void **state)
{
	char hex[AUTH_DIGEST_SIZE];
	const struct auth_digest in = {
	        .user = "Mufasa",
	        .realm = "http-auth@example.org",
	        .password = "Circle of Life",
	        .nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
	        .method = "GET",
	        .uri = "/dir/index.html",
	        .qop = "auth",
	        .nc = "00000001",
	        .cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
	};
	(void)state;

	assert_int_equal(auth_digest(hex, &in), 0);
	assert_string_equal(hex, "8ca523f5e9506fed4657c9700eebdbec");
}

static void test_auth_header_and_nonce_count(void **state)
{
	struct auth *auth = new_auth("bob", "zanzibar");
	(void)state;

	assert_null(auth_algorithm(auth));
	assert_int_equal(auth_rounds(auth), 0);
	assert_string_equal(print(auth), "");
	assert_int_equal(
	        challenge(auth,
	                "WWW-Authenticate: Digest realm=\"biloxi.com\", nonce=\"dcd98b\", qop=\"auth,auth-int\","
	                " opaque=\"5ccc\", algorithm=MD5\r\n"),
	        0);
	assert_string_equal(print(auth),
	        "Authorization: Digest username=\"bob\", realm=\"biloxi.com\", nonce=\"dcd98b\", "
	        "uri=\"sip:example.com\", "
	        "response=\"679436a4591b552428b620b19e0a7b29\", algorithm=MD5, cnonce=\"0123456789abcdef\", qop=auth, "
	        "nc=00000001, opaque=\"5ccc\"\r\n");
	assert_non_null(strstr(print(auth), "nc=00000002"));
	assert_string_equal(auth_algorithm(auth), "MD5");
	assert_int_equal(auth_rounds(auth), 1);
	mem_deref(auth);
}

static void test_auth_without_qop(void **state)
{
	struct auth *auth = new_auth("bob", "zanzibar");
	(void)state;

	assert_int_equal(challenge(auth, "Proxy-Authenticate: digest nonce = \"n\" , REALM=\r\n \"r\"\r\n"), 0);
	assert_string_equal(print(auth), "Proxy-Authorization: Digest username=\"bob\", realm=\"r\", nonce=\"n\", "
	                                 "uri=\"sip:example.com\", response=\"1495eb7eecd104d5b8ad511b005cffd8\", "
	                                 "algorithm=MD5\r\n");
	mem_deref(auth);
}

static void test_auth_quotes_are_escaped(void **state)
{
	struct auth *auth = new_auth("b\"o\\b", "x");
	(void)state;

	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"a \\\"b\\\" c\", nonce=\"n,=\"\r\n"), 0);
	assert_non_null(strstr(print(auth), "username=\"b\\\"o\\\\b\", realm=\"a \\\"b\\\" c\", nonce=\"n,=\", "));
	mem_deref(auth);
}

static void test_auth_second_challenge_is_a_refusal(void **state)
{
	struct auth *auth = new_auth("bob", "wrong");
	(void)state;

	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\"\r\n"), 0);
	print(auth);
	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n2\"\r\n"), EACCES);
	assert_int_equal(auth_rounds(auth), 1);
	mem_deref(auth);

	auth = new_auth("bob", "wrong");
	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"\", nonce=\"n1\"\r\n"), 0);
	print(auth);
	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"\", nonce=\"n2\", stale=false\r\n"), EACCES);
	mem_deref(auth);
}

static void test_auth_stale_is_tried_again_twice(void **state)
{
	struct auth *auth = new_auth("bob", "zanzibar");
	(void)state;

	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n1\", qop=\"auth\"\r\n"), 0);
	print(auth);
	assert_int_equal(
	        challenge(auth, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n2\", qop=\"auth\", stale=TRUE\r\n"), 0);
	assert_non_null(strstr(print(auth), "nonce=\"n2\""));
	assert_non_null(strstr(print(auth), "nc=00000002"));
	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n3\", stale=\"true\"\r\n"), 0);
	print(auth);
	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n4\", stale=true\r\n"), EACCES);
	assert_int_equal(auth_rounds(auth), 3);
	mem_deref(auth);
}

static void test_auth_proxy_and_server_are_both_answered(void **state)
{
	struct auth *auth = new_auth("bob", "zanzibar");
	const char *text;
	(void)state;

	assert_int_equal(challenge(auth, "Proxy-Authenticate: Digest realm=\"r\", nonce=\"p\", qop=\"auth\"\r\n"), 0);
	print(auth);
	assert_int_equal(challenge(auth, "WWW-Authenticate: Digest realm=\"r\", nonce=\"s\", qop=\"auth\"\r\n"), 0);
	text = print(auth);
	assert_non_null(strstr(text, "Proxy-Authorization: Digest username=\"bob\", realm=\"r\", nonce=\"p\""));
	assert_non_null(strstr(text, "\r\nAuthorization: Digest username=\"bob\", realm=\"r\", nonce=\"s\""));
	assert_non_null(strstr(text, "nc=00000002"));
	assert_non_null(strstr(text, "nc=00000001"));
	mem_deref(auth);
}

static void test_auth_first_md5_of_a_realm_is_taken(void **state)
{
	struct auth *auth = new_auth("bob", "zanzibar");
	const char *text;
	(void)state;

	assert_int_equal(
	        challenge(auth,
	                "WWW-Authenticate: Negotiate\r\n"
	                "WWW-Authenticate: Digest realm=\"r\", nonce=\"a\", algorithm=SHA-256, qop=\"auth\"\r\n"
	                "WWW-Authenticate: Digest realm=\"r\", nonce=\"b\", algorithm=md5, qop=\"auth-int, auth\"\r\n"
	                "WWW-Authenticate: Digest realm=\"r\", nonce=\"c\", algorithm=MD5, qop=\"auth\"\r\n"),
	        0);
	text = print(auth);
	assert_non_null(strstr(text, "nonce=\"b\""));
	assert_null(strstr(text, "nonce=\"c\""));
	mem_deref(auth);
}

static void test_auth_refuses(void **state)
{
	static const struct {
		int err;
		const char *headers;
	} table[] = {
	        {ENOTSUP, "WWW-Authenticate: Basic realm=\"r\"\r\n"},
	        {ENOTSUP, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256\r\n"},
	        {ENOTSUP, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=MD5-sess\r\n"},
	        {ENOTSUP, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"\r\n"},
	        {EBADMSG, ""},
	        {EBADMSG, "WWW-Authenticate: Digest\r\n"},
	        {EBADMSG, "WWW-Authenticate:\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest realm=\"r\"\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest nonce=\"n\"\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest realm=\"r\", nonce=\"\"\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest realm=\"r\\\", nonce=\"n\"\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest realm=\"r\r\n evil\", nonce=\"n\"\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest realm\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest =\"r\"\r\n"},
	        {EBADMSG, "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", \"x\r\n"},
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct auth *auth = new_auth("bob", "zanzibar");

		assert_int_equal(challenge(auth, table[i].headers), table[i].err);
		assert_string_equal(print(auth), "");
		mem_deref(auth);
	}
}

static void test_auth_realms_are_bounded(void **state)
{
	struct auth *auth = new_auth("bob", "zanzibar");
	char header[128];
	(void)state;

	for (unsigned i = 0; i < 20; i++) {
		re_snprintf(header, sizeof(header), "WWW-Authenticate: Digest realm=\"r%u\", nonce=\"n\"\r\n", i);
		assert_int_equal(challenge(auth, header), i < 8 ? 0 : ENOTSUP);
		print(auth);
	}
	mem_deref(auth);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_auth_vector_rfc2617),
	        cmocka_unit_test(test_auth_vector_rfc7616),
	        cmocka_unit_test(test_auth_header_and_nonce_count),
	        cmocka_unit_test(test_auth_without_qop),
	        cmocka_unit_test(test_auth_quotes_are_escaped),
	        cmocka_unit_test(test_auth_second_challenge_is_a_refusal),
	        cmocka_unit_test(test_auth_stale_is_tried_again_twice),
	        cmocka_unit_test(test_auth_proxy_and_server_are_both_answered),
	        cmocka_unit_test(test_auth_first_md5_of_a_realm_is_taken),
	        cmocka_unit_test(test_auth_refuses),
	        cmocka_unit_test(test_auth_realms_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
