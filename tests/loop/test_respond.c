/**
 * @file test_respond.c  The answering peer, seen from outside: a process and plain sockets
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>
#include "edge/clock.h"
#include "support/loop.h"
#include "support/respond.h"

#define ARGS(...) ((const char *const[]){"--listen", "udp:127.0.0.1:0", __VA_ARGS__, NULL})

static struct respond_process process;
static struct sa own;
static int fd;
static char text[8192], reply[8192];

static int setup(void **state)
{
	(void)state;
	fd = peer_udp(&own);

	return fd < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(fd);

	return 0;
}

static void start(const char *const args[])
{
	assert_int_equal(respond_start(&process, args), 0);
}

static void stop(void)
{
	assert_int_equal(respond_stop(&process), 0);
}

static void receive(void)
{
	ssize_t n = recv(fd, reply, sizeof(reply) - 1, 0);

	assert_true(n > 0);
	reply[n] = '\0';
}

static bool receives_within(unsigned ms)
{
	struct timeval limit = {ms / 1000, (ms % 1000) * 1000}, normal = {LOOP_DEADLINE_MS / 1000, 0};
	ssize_t n;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	n = recv(fd, reply, sizeof(reply) - 1, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &normal, sizeof(normal));
	if (n > 0)
		reply[n] = '\0';

	return n > 0;
}

/* branch, tag and Call-ID are the same in all: one caller */
static void write_request(const char *method, const char *to_tag, unsigned cseq, const char *cseq_method,
        const char *headers, const char *body)
{
	(void)snprintf(text, sizeof(text),
	        "%s sip:600@127.0.0.1 SIP/2.0\r\n"
	        "Via: SIP/2.0/UDP 127.0.0.1:%u;rport;branch=z9hG4bK%u%s\r\n"
	        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfirst\r\n"
	        "Max-Forwards: 70\r\n"
	        "From: \"You\" <sip:you@127.0.0.1>;tag=you\r\n"
	        "To: <sip:600@127.0.0.1>%s%s\r\n"
	        "Call-ID: one@test\r\n"
	        "CSeq: %u %s\r\n"
	        "%s%s"
	        "Content-Length: %zu\r\n\r\n%s",
	        method, sa_port(&own), cseq, cseq_method, *to_tag ? ";tag=" : "", to_tag, cseq, cseq_method, headers,
	        *body ? "Content-Type: application/sdp\r\n" : "", strlen(body), body);
}

static void send_text(void)
{
	assert_true(sendto(fd, text, strlen(text), 0, &process.udp.u.sa, process.udp.len) > 0);
}

static void assert_status(const char *code)
{
	assert_memory_equal(reply, "SIP/2.0 ", 8);
	assert_memory_equal(reply + 8, code, 3);
}

static void ask(const char *method, const char *headers, const char *code)
{
	write_request(method, "", 1, method, headers, "");
	send_text();
	receive();
	assert_status(code);
}

static void assert_has(const char *part)
{
	if (!strstr(reply, part))
		fail_msg("no %s in\n%s", part, reply);
}

static void test_respond_refuses_bad_usage(void **state)
{
	static const char *const bad[][4] = {{NULL}, {"--listen", NULL}, {"--listen", "sctp:127.0.0.1:0", NULL},
	        {"--listen", "udp:nonsense", NULL}, {"--listen=udp:127.0.0.1:0", "--code", "OPTIONS=99", NULL},
	        {"--listen=udp:127.0.0.1:0", "--drop-percent", "101", NULL},
	        {"--listen=udp:127.0.0.1:0", "--auth-user", "me", NULL}, {"--listen=udp:127.0.0.1:0", "--what", NULL},
	        {"--listen=udp:127.0.0.1:0", "extra", NULL}};
	static const char *const help[] = {"--help", NULL};
	(void)state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(respond_run(bad[i]), 2);
	assert_int_equal(respond_run(help), 0);
}

static void test_respond_says_when_it_cannot_listen(void **state)
{
	char taken[64];
	(void)state;

	(void)re_snprintf(taken, sizeof(taken), "udp:%J", &own);
	assert_int_equal(respond_run((const char *const[]){"--listen", taken, NULL}), 1);
}

static void test_respond_options(void **state)
{
	char via[128];
	(void)state;

	start(ARGS(NULL));
	(void)snprintf(via, sizeof(via),
	        "Via: SIP/2.0/UDP 127.0.0.1:%u;received=127.0.0.1;rport=%u;branch=z9hG4bK1OPTIONS\r\n", sa_port(&own),
	        sa_port(&own));
	/* the short way, and the long way for one that is folded */
	for (int i = 0; i < 2; i++) {
		ask("OPTIONS", i ? "Subject: a\r\n folded one\r\n" : "", "200");
		assert_has("\r\nAllow: INVITE");
		assert_has("\r\nAccept: application/sdp\r\n");
		assert_has("\r\nSupported: ");
		assert_has("\r\nServer: sipedge-respond\r\n");
		assert_has("\r\nFrom: \"You\" <sip:you@127.0.0.1>;tag=you\r\n");
		assert_has("\r\nTo: <sip:600@127.0.0.1>;tag=");
		assert_has("\r\nCall-ID: one@test\r\n");
		assert_has("\r\nCSeq: 1 OPTIONS\r\n");
		assert_has(";rport=");
		assert_has("\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKfirst\r\n");
		assert_has("\r\nContent-Length: 0\r\n\r\n");
	}
	ask("OPTIONS", "", "200");
	assert_has(via);
	stop();
}

static void test_respond_other_methods(void **state)
{
	(void)state;
	start(ARGS(NULL));
	ask("MESSAGE", "", "200");
	ask("SUBSCRIBE", "", "405");
	assert_has("\r\nAllow: ");
	ask("BYE", "", "481");
	ask("CANCEL", "", "481");
	write_request("INVITE", "no-such-call", 1, "INVITE", "", "");
	send_text();
	receive();
	assert_status("481");
	stop();
}

static void test_respond_survives_noise(void **state)
{
	static const char *const noise[] = {"", "\r\n\r\n", "OPTIONS ", "OPTIONS sip:a SIP/2.0\r\n\r\n",
	        "INVITE \xff\xfe",
	        "OPTIONS sip:a SIP/2.0\r\nVia: ;rport\r\nFrom:\r\nTo:\r\nCall-ID:\r\nCSeq: OPTIONS\r\n\r\n",
	        "SIP/2.0 200 OK\r\n\r\n", "REGISTER sip:a SIP/2.0\r\nContact: *\r\n\r\n"};
	(void)state;

	start(ARGS(NULL));
	for (size_t i = 0; i < sizeof(noise) / sizeof(*noise); i++) {
		(void)snprintf(text, sizeof(text), "%s", noise[i]);
		(void)sendto(fd, text, strlen(text), 0, &process.udp.u.sa, process.udp.len);
	}
	write_request("MESSAGE", "", 1, "MESSAGE", "", "");
	send_text();
	do
		receive();
	while (!strstr(reply, "CSeq: 1 MESSAGE"));
	assert_status("200");
	stop();
}

static void test_respond_tcp(void **state)
{
	int tcp;
	ssize_t n;
	(void)state;

	start(ARGS("--listen", "tcp:127.0.0.1:0"));
	tcp = peer_connect(&process.tcp);
	assert_true(tcp >= 0);
	write_request("OPTIONS", "", 1, "OPTIONS", "", "");
	assert_int_equal(write(tcp, text, strlen(text)), strlen(text));
	n = recv(tcp, reply, sizeof(reply) - 1, 0);
	assert_true(n > 0);
	reply[n] = '\0';
	assert_status("200");
	close(tcp);
	stop();
}

static void test_respond_register(void **state)
{
	(void)state;
	start(ARGS(NULL));
	ask("REGISTER", "Contact: <sip:a@127.0.0.1:1>;expires=60, <sip:b@127.0.0.1:2>\r\nExpires: 120\r\n", "200");
	assert_has("\r\nContact: <sip:a@127.0.0.1:1>;expires=60\r\n");
	assert_has("\r\nContact: <sip:b@127.0.0.1:2>;expires=120\r\n");
	ask("REGISTER", "Contact: <sip:a@127.0.0.1:1>\r\nExpires: 0\r\n", "200");
	assert_null(strstr(reply, "sip:a@"));
	assert_has("\r\nContact: <sip:b@127.0.0.1:2>");
	ask("REGISTER", "", "200");
	assert_has("sip:b@");
	ask("REGISTER", "Contact: *\r\nExpires: 60\r\n", "400");
	ask("REGISTER", "Contact: *\r\nExpires: 0\r\n", "200");
	assert_null(strstr(reply, "Contact:"));
	stop();
}

static void test_respond_register_is_bounded(void **state)
{
	char contact[128];
	(void)state;

	start(ARGS(NULL));
	for (int i = 0; i < 10; i++) {
		(void)snprintf(contact, sizeof(contact), "Contact: <sip:a@127.0.0.1:%d>\r\n", i + 1);
		ask("REGISTER", contact, "200");
	}
	ask("REGISTER", "Contact: <sip:a@127.0.0.1:99>\r\n", "503");
	stop();
}

static void test_respond_codes(void **state)
{
	(void)state;
	start(ARGS("--code", "OPTIONS=503", "--code", "INVITE=486", "--code", "REGISTER=403"));
	ask("OPTIONS", "", "503");
	assert_has("SIP/2.0 503 Service Unavailable\r\n");
	ask("INVITE", "", "486");
	ask("REGISTER", "", "403");
	ask("MESSAGE", "", "200");
	stop();
}

static void test_respond_drops(void **state)
{
	(void)state;
	start(ARGS("--drop-percent", "100"));
	write_request("OPTIONS", "", 1, "OPTIONS", "", "");
	send_text();
	assert_false(receives_within(100));
	stop();
}

static void test_respond_delays(void **state)
{
	uint64_t before;
	(void)state;

	start(ARGS("--delay-ms", "120"));
	before = clock_mono_us();
	ask("OPTIONS", "", "200");
	assert_true(clock_mono_us() - before >= 120000);
	stop();
}

static void authorization(char *line, size_t size, const char *password, const char *method)
{
	char nonce[128], ha1[33], ha2[33], response[33];
	uint8_t digest[MD5_SIZE];
	const char *p = strstr(reply, "nonce=\"");

	assert_non_null(p);
	assert_int_equal(sscanf(p, "nonce=\"%120[^\"]\"", nonce), 1);
	(void)md5_printf(digest, "me:sipedge:%s", password);
	(void)re_snprintf(ha1, sizeof(ha1), "%w", digest, sizeof(digest));
	(void)md5_printf(digest, "%s:sip:600@127.0.0.1", method);
	(void)re_snprintf(ha2, sizeof(ha2), "%w", digest, sizeof(digest));
	(void)md5_printf(digest, "%s:%s:00000001:abcd:auth:%s", ha1, nonce, ha2);
	(void)re_snprintf(response, sizeof(response), "%w", digest, sizeof(digest));
	(void)re_snprintf(line, size,
	        "Authorization: Digest username=\"me\", realm=\"sipedge\", nonce=\"%s\", uri=\"sip:600@127.0.0.1\", "
	        "response=\"%s\", algorithm=MD5, cnonce=\"abcd\", qop=auth, nc=00000001\r\n",
	        nonce, response);
}

static void test_respond_digest(void **state)
{
	static const char *const methods[] = {"OPTIONS", "MESSAGE", "REGISTER"};
	char path[] = "/tmp/test_respond.XXXXXX", line[1024];
	int file = mkstemp(path);
	(void)state;

	assert_int_equal(write(file, "secret\n", 7), 7);
	close(file);
	start(ARGS("--auth-user", "me", "--auth-password-file", path, "--nonce-expires-s", "1"));
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++) {
		ask(methods[i], "", "401");
		assert_has("\r\nWWW-Authenticate: Digest realm=\"sipedge\", nonce=\"");
		assert_has("qop=\"auth\"");
		assert_null(strstr(reply, "stale"));
		authorization(line, sizeof(line), "secret", methods[i]);
		ask(methods[i], line, "200");
		ask("SUBSCRIBE", "", "405");
		ask("OPTIONS", "", "401");
		authorization(line, sizeof(line), "wrong", methods[i]);
		ask(methods[i], line, "401");
		assert_null(strstr(reply, "stale"));
	}
	ask("OPTIONS", "Authorization: Digest username=\"me\r\n", "400");

	ask("OPTIONS", "", "401");
	authorization(line, sizeof(line), "secret", "OPTIONS");
	ask("OPTIONS", line, "200");
	loop_run(1100);
	ask("OPTIONS", line, "401");
	assert_has("stale=true");
	stop();
	unlink(path);
}

static const char offer[] =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=video 4000 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        "m=audio 4002 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\n";

static char tag[64];

static void call_until_answer(void)
{
	write_request("INVITE", "", 1, "INVITE", "", offer);
	send_text();
	receive();
	assert_status("100");
	assert_null(strstr(reply, "To: <sip:600@127.0.0.1>;tag="));
	receive();
	assert_status("180");
	assert_int_equal(sscanf(strstr(reply, "To: "), "To: <sip:600@127.0.0.1>;tag=%60s", tag), 1);
	assert_has("\r\nContact: <sip:127.0.0.1:");
}

static void send_in_call(const char *method, unsigned cseq)
{
	write_request(method, tag, cseq, method, "", "");
	send_text();
}

static void test_respond_call_with_echo(void **state)
{
	struct sa media;
	unsigned port;
	char packet[32];
	(void)state;

	start(ARGS("--ring-ms", "50"));
	call_until_answer();
	receive();
	assert_status("200");
	assert_has(tag);
	assert_has("\r\nContent-Type: application/sdp\r\n");
	assert_has("m=video 0 RTP/AVP 96\r\nm=audio ");
	assert_has("RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=recvonly\r\n");
	assert_int_equal(sscanf(strstr(reply, "m=audio "), "m=audio %u", &port), 1);

	receive(); /* no ACK: again */
	assert_status("200");
	send_in_call("ACK", 1);
	assert_false(receives_within(1200));

	assert_int_equal(sa_set_str(&media, "127.0.0.1", (uint16_t)port), 0);
	assert_int_equal(sendto(fd, "\x80ping", 5, 0, &media.u.sa, media.len), 5);
	assert_int_equal(recv(fd, packet, sizeof(packet), 0), 5);
	assert_memory_equal(packet, "\x80ping", 5);

	send_in_call("BYE", 2);
	receive();
	assert_status("200");
	send_in_call("BYE", 2); /* its answer was lost */
	receive();
	assert_status("200");
	(void)sendto(fd, "\x80ping", 5, 0, &media.u.sa, media.len);
	assert_false(receives_within(50));
	stop();
}

static void test_respond_call_again_in_the_dialog(void **state)
{
	(void)state;
	start(ARGS("--ring-ms", "0"));
	call_until_answer();
	receive();
	assert_status("200");
	send_in_call("ACK", 1);
	write_request("INVITE", tag, 2, "INVITE", "", offer);
	send_text();
	receive();
	assert_status("200");
	assert_has("CSeq: 2 INVITE");
	send_in_call("ACK", 2);
	send_in_call("BYE", 3);
	receive();
	assert_status("200");
	stop();
}

static void test_respond_cancel(void **state)
{
	(void)state;
	start(ARGS("--ring-ms", "60000"));
	call_until_answer();
	write_request("INVITE", "", 1, "INVITE", "", offer); /* repeated: it rings */
	send_text();
	receive();
	assert_status("180");
	write_request("CANCEL", "", 1, "INVITE", "", "");
	memcpy(strstr(text, "CSeq: 1 INVITE"), "CSeq: 1 CANCEL", 14);
	send_text();
	receive();
	assert_status("200");
	assert_has("CSeq: 1 CANCEL");
	receive();
	assert_status("487");
	assert_has("CSeq: 1 INVITE");
	receive(); /* no ACK: again */
	assert_status("487");
	write_request("ACK", tag, 1, "INVITE", "", "");
	memcpy(strstr(text, "CSeq: 1 INVITE"), "CSeq: 1 ACK   ", 14);
	send_text();
	assert_false(receives_within(1200));
	stop();
}

static void test_respond_offer_it_cannot_take(void **state)
{
	(void)state;
	start(ARGS(NULL));
	write_request("INVITE", "", 1, "INVITE", "", "v=0\r\ns=-\r\nm=video 4000 RTP/AVP 96\r\n");
	send_text();
	receive();
	assert_status("488");
	write_request("INVITE", "", 2, "INVITE", "", "nonsense");
	send_text();
	receive();
	assert_status("488");
	write_request("INVITE", "", 3, "INVITE", "", "text");
	memcpy(strstr(text, "application/sdp"), "text/plainxxxxx", 15);
	send_text();
	receive();
	assert_status("415");
	stop();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_respond_refuses_bad_usage),
	        TEST(test_respond_says_when_it_cannot_listen),
	        TEST(test_respond_options),
	        TEST(test_respond_other_methods),
	        TEST(test_respond_survives_noise),
	        TEST(test_respond_tcp),
	        TEST(test_respond_register),
	        TEST(test_respond_register_is_bounded),
	        TEST(test_respond_codes),
	        TEST(test_respond_drops),
	        TEST(test_respond_delays),
	        TEST(test_respond_digest),
	        TEST(test_respond_call_with_echo),
	        TEST(test_respond_call_again_in_the_dialog),
	        TEST(test_respond_cancel),
	        TEST(test_respond_offer_it_cannot_take),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
