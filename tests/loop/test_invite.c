/**
 * @file test_invite.c  INVITE checks against a server that answers, rings, is busy, echoes, hangs up or vanishes
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "edge/clock.h"
#include "support/respond.h"
#include "support/rig.h"

enum { HOLD_MS = 200, INVITE_SIZE = 2048 };

static struct rig rig;
static unsigned ninvite, nack, nbye, ncancel, nrefused;
static int echo_fd;
static struct sa echo_addr;
static bool is_mute;             /* the echo swallows */
static char invite[INVITE_SIZE]; /* the last one, to answer later */
static fake_request_h *script;

static void echo_handler(int flags, void *arg)
{
	uint8_t buf[2048];
	struct sa src = {.len = sizeof(src.u)};
	ssize_t n;

	(void)flags;
	(void)arg;
	while ((n = recvfrom(echo_fd, buf, sizeof(buf), MSG_DONTWAIT, &src.u.sa, &src.len)) > 0) {
		if (!is_mute)
			(void)sendto(echo_fd, buf, (size_t)n, 0, &src.u.sa, src.len);
		src.len = sizeof(src.u);
	}
}

/* An answer with a To tag and an SDP body (may be NULL). */
static void reply(struct fake *fake, const struct sip_msg *msg, unsigned code, const char *tag, const char *sdp)
{
	const struct sa *self = fake->conn ? &fake->tcp : &fake->udp;
	char text[4096];
	int n = re_snprintf(text, sizeof(text),
	        "SIP/2.0 %u Reason\r\nVia: %r\r\nFrom: %r\r\nTo: %r;tag=%s\r\nCall-ID: %r\r\nCSeq: %u %r\r\n"
	        "Contact: <sip:echo@%J>\r\n%sContent-Length: %zu\r\n\r\n%s",
	        code, &msg->via.val, &msg->from.val, &msg->to.val, tag, &msg->callid, msg->cseq.num, &msg->cseq.met,
	        self, sdp ? "Content-Type: application/sdp\r\n" : "", sdp ? strlen(sdp) : 0, sdp ? sdp : "");

	assert_true(n > 0);
	fake_send(fake, text, (size_t)n);
}

static const char *sdp_answer(unsigned payload_type)
{
	static char sdp[256];

	(void)snprintf(sdp, sizeof(sdp),
	        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %u RTP/AVP %u\r\n",
	        (unsigned)sa_port(&echo_addr), payload_type);
	return sdp;
}

static bool is(const struct sip_msg *msg, const char *method)
{
	return !pl_strcmp(&msg->met, method);
}

static bool request(struct fake *fake, const struct sip_msg *msg)
{
	if (!msg->req) { /* an answer to our own request in the dialog */
		nrefused += msg->scode >= 300;
		return true;
	}
	ninvite += is(msg, "INVITE");
	nack += is(msg, "ACK");
	nbye += is(msg, "BYE");
	ncancel += is(msg, "CANCEL");
	if (is(msg, "INVITE"))
		str_ncpy(invite, fake->text, sizeof(invite));
	if (is(msg, "ACK") || (script && script(fake, msg)))
		return true;
	return false; /* 200, or a challenge */
}

/* The last INVITE as a message again. */
static struct sip_msg *last_invite(void)
{
	struct mbuf *mb = mbuf_alloc(sizeof(invite));
	struct sip_msg *msg = NULL;

	assert_int_equal(mbuf_write_str(mb, invite), 0);
	mb->pos = 0;
	assert_int_equal(sip_msg_decode(&msg, mb), 0);
	mem_deref(mb);
	return msg;
}

static void reply_to_last_invite(struct fake *fake, unsigned code, const char *tag, const char *sdp)
{
	struct sip_msg *msg = last_invite();

	reply(fake, msg, code, tag, sdp);
	mem_deref(msg);
}

static int setup(void **state)
{
	(void)state;
	ninvite = nack = nbye = ncancel = nrefused = 0;
	is_mute = false;
	script = NULL;
	echo_fd = peer_udp(&echo_addr);
	assert_int_equal(fd_listen(echo_fd, FD_READ, echo_handler, NULL), 0);
	if (rig_setup(&rig))
		return -1;
	rig.fake->requesth = request;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_teardown(&rig);
	fd_close(echo_fd);
	(void)close(echo_fd);
	return 0;
}

static struct command *account(enum transport transport, const char *login)
{
	struct command *command = rig_account(&rig, METHOD_INVITE, transport, login);

	command->hold_ms = HOLD_MS;
	command->timeout_ms = 200;
	return command;
}

/* Nothing is left on the server, and soon. */
static void assert_all_gone(void)
{
	uint64_t from_us = clock_mono_us();

	rig_close(&rig);
	assert_true(clock_mono_us() - from_us < 1000000);
}

static unsigned response_code(const struct result *r, size_t i)
{
	assert_true(i < result_responses_listed(r));
	return r->responses[i].code;
}

/* Scripts */

static bool answers_pcmu(struct fake *fake, const struct sip_msg *msg)
{
	if (is(msg, "INVITE"))
		reply(fake, msg, 200, "a", sdp_answer(0));
	return is(msg, "INVITE");
}

static bool rings_and_answers_pcma(struct fake *fake, const struct sip_msg *msg)
{
	if (!is(msg, "INVITE"))
		return false;
	fake_reply(fake, msg, 100, NULL);
	reply(fake, msg, 180, "a", NULL);
	reply(fake, msg, 183, "a", sdp_answer(8));
	reply(fake, msg, 200, "a", NULL); /* the SDP of the 183 stands */
	return true;
}

static bool answers_without_sdp(struct fake *fake, const struct sip_msg *msg)
{
	if (is(msg, "INVITE"))
		reply(fake, msg, 200, "a", NULL);
	return is(msg, "INVITE");
}

static bool answers_video(struct fake *fake, const struct sip_msg *msg)
{
	if (is(msg, "INVITE"))
		reply(fake, msg, 200, "a", "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n");
	return is(msg, "INVITE");
}

static bool is_silent(struct fake *fake, const struct sip_msg *msg)
{
	(void)fake;
	return is(msg, "INVITE");
}

static bool rings(struct fake *fake, const struct sip_msg *msg)
{
	if (is(msg, "INVITE"))
		reply(fake, msg, 180, "a", NULL);
	return is(msg, "INVITE");
}

static bool rings_until_cancelled(struct fake *fake, const struct sip_msg *msg)
{
	if (is(msg, "INVITE"))
		reply(fake, msg, 180, "a", NULL);
	if (!is(msg, "CANCEL"))
		return is(msg, "INVITE");
	fake_reply(fake, msg, 200, NULL);
	reply_to_last_invite(fake, 487, "a", NULL);
	return true;
}

static bool answers_when_cancelled(struct fake *fake, const struct sip_msg *msg)
{
	if (is(msg, "INVITE"))
		reply(fake, msg, 180, "a", NULL);
	if (!is(msg, "CANCEL"))
		return is(msg, "INVITE");
	fake_reply(fake, msg, 200, NULL);
	reply_to_last_invite(fake, 200, "a", sdp_answer(0));
	return true;
}

static bool answers_the_second_try(struct fake *fake, const struct sip_msg *msg)
{
	return ninvite == 1 ? rings_until_cancelled(fake, msg) : answers_pcmu(fake, msg);
}

static bool challenges_and_answers(struct fake *fake, const struct sip_msg *msg)
{
	if (is(msg, "INVITE") && sip_msg_hdr(msg, SIP_HDR_AUTHORIZATION))
		return answers_pcmu(fake, msg);
	return false;
}

/* A request of the server in the dialog of the last INVITE */
static void ask(struct fake *fake, const char *method, unsigned cseq, const char *sdp)
{
	struct sip_msg *msg = last_invite();
	char text[2048];
	int n = re_snprintf(text, sizeof(text),
	        "%s sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %J;rport;branch=z9hG4bKx%u\r\nFrom: %r;tag=a\r\n"
	        "To: %r\r\nCall-ID: %r\r\nCSeq: %u %s\r\n%sContent-Length: %zu\r\n\r\n%s",
	        method, &fake->udp, cseq, &msg->to.val, &msg->from.val, &msg->callid, cseq, method,
	        *sdp ? "Content-Type: application/sdp\r\n" : "", strlen(sdp), sdp);

	fake_send(fake, text, (size_t)n);
	mem_deref(msg);
}

static bool answers_and_hangs_up(struct fake *fake, const struct sip_msg *msg)
{
	if (!is(msg, "INVITE"))
		return false;
	reply(fake, msg, 200, "a", sdp_answer(0));
	ask(fake, "BYE", 7, "");
	return true;
}

/* Puts the call on hold, and offers what we don't have. */
static bool answers_and_offers(struct fake *fake, const struct sip_msg *msg)
{
	char hold[512];

	if (!is(msg, "INVITE"))
		return false;
	reply(fake, msg, 200, "a", sdp_answer(0));
	(void)snprintf(hold, sizeof(hold), "%sa=inactive\r\n", sdp_answer(0));
	ask(fake, "INVITE", 7, hold);
	ask(fake, "INVITE", 8, "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 9000 RTP/AVP 18\r\n");
	return true;
}

/* Tests */

static void test_invite_call_with_echo(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	script = answers_pcmu;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(r->error, VERDICT_ERROR_NONE);
	assert_int_equal(cell_int(r, COL_CODE), 200);
	assert_true(cell_ms(r, COL_ANSWER_MS) > 0);
	assert_true(cell_ms(r, COL_SRD_MS) == cell_ms(r, COL_ANSWER_MS));
	assert_true(cell_ms(r, COL_RESPONSE_MS) == cell_ms(r, COL_ANSWER_MS));
	assert_true(cell_ms(r, COL_TOTAL_MS) < HOLD_MS); /* holding is not in it */
	assert_false(cell_is_set(r, COL_TRYING_MS));
	assert_false(cell_is_set(r, COL_RING_MS));
	assert_false(cell_is_set(r, COL_SRD_FAILED));
	assert_true(cell_ms(r, COL_SDT_S) >= HOLD_MS / 1000.0 && cell_ms(r, COL_SDT_S) < HOLD_MS / 1000.0 + 1);
	assert_true(cell_ms(r, COL_SDD_MS) > 0);
	assert_int_equal(cell_int(r, COL_BYE_CODE), 200);
	assert_string_equal(cell_text(r, COL_ENDED_BY), "local");
	assert_false(result_get(r, COL_CANCEL_SENT).v.b);
	assert_true(result_get(r, COL_SER).v.b && result_get(r, COL_SEER).v.b && result_get(r, COL_SCR).v.b);
	assert_true(cell_is_set(r, COL_ISA) && !result_get(r, COL_ISA).v.b);
	assert_string_equal(cell_text(r, COL_CODEC), "PCMU");
	/* one every 20 ms for as long as the session lasted, which is longer when this machine is busy */
	assert_in_range(cell_int(r, COL_RTP_TX), HOLD_MS / 20 - 1, (uint64_t)(result_get(r, COL_SDT_S).v.d * 50) + 2);
	assert_in_range(cell_int(r, COL_RTP_RX), HOLD_MS / 20 - 2, cell_int(r, COL_RTP_TX));
	assert_true(cell_ms(r, COL_LOSS_PCT) == 0.0);
	assert_true(cell_is_set(r, COL_JITTER_MS) && cell_is_set(r, COL_FIRST_RTP_MS));
	assert_string_equal(cell_text(r, COL_AUDIO), "two_way");
	assert_int_equal(nack, 1);
	assert_int_equal(nbye, 1);
	assert_all_gone();
}

static void test_invite_provisionals_have_their_times(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	script = rings_and_answers_pcma;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_true(cell_ms(r, COL_TRYING_MS) > 0);
	assert_true(cell_ms(r, COL_RING_MS) >= cell_ms(r, COL_TRYING_MS));
	assert_true(cell_ms(r, COL_SRD_MS) == cell_ms(r, COL_RING_MS));
	assert_true(cell_ms(r, COL_ANSWER_MS) >= cell_ms(r, COL_RING_MS));
	assert_true(cell_ms(r, COL_FIRST_MS) == cell_ms(r, COL_TRYING_MS));
	assert_true(result_get(r, COL_EARLY_MEDIA).v.b);
	assert_string_equal(cell_text(r, COL_CODEC), "PCMA");
	assert_string_equal(cell_text(r, COL_AUDIO), "two_way");
	assert_int_equal(r->nresponses, 4);
}

static void test_invite_no_audio_back_is_told_not_failed(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	script = answers_pcmu;
	is_mute = true;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_string_equal(cell_text(r, COL_AUDIO), "tx_only");
	assert_int_equal(cell_int(r, COL_RTP_RX), 0);
	assert_false(cell_is_set(r, COL_LOSS_PCT));
	assert_false(cell_is_set(r, COL_JITTER_MS));
	assert_false(cell_is_set(r, COL_FIRST_RTP_MS));
}

static void test_invite_hold_of_zero_hangs_up_at_once(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL)->hold_ms = 0;
	script = answers_pcmu;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(cell_int(r, COL_RTP_TX), 0);
	assert_false(cell_is_set(r, COL_AUDIO));
	assert_int_equal(nbye, 1);
}

static void test_invite_answer_without_usable_media_fails(void **state)
{
	static fake_request_h *const scripts[] = {answers_without_sdp, answers_video};

	(void)state;
	account(TRANSPORT_UDP, NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct result *r;

		script = scripts[i];
		r = rig_run(&rig);
		assert_int_equal(r->verdict, VERDICT_FAIL);
		assert_int_equal(r->error, VERDICT_ERROR_MEDIA);
		assert_int_equal(cell_int(r, COL_CODE), 200);
		assert_true(cell_is_set(r, COL_ERROR_TEXT));
		assert_false(cell_is_set(r, COL_CODEC));
		assert_int_equal(nbye, i + 1);
	}
	assert_all_gone();
}

static void test_invite_busy(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	rig.fake->code = 486;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_int_equal(r->error, VERDICT_ERROR_EXPECT);
	assert_int_equal(cell_int(r, COL_CODE), 486);
	assert_string_equal(cell_text(r, COL_ENDED_BY), "reject");
	assert_true(cell_ms(r, COL_SRD_FAILED) > 0);
	assert_false(cell_is_set(r, COL_SRD_MS) || cell_is_set(r, COL_ANSWER_MS) || cell_is_set(r, COL_RTP_TX));
	assert_true(cell_is_set(r, COL_SER) && !result_get(r, COL_SER).v.b && result_get(r, COL_SEER).v.b);
	assert_true(cell_is_set(r, COL_SCR) && !result_get(r, COL_SCR).v.b && !result_get(r, COL_ISA).v.b);
	assert_true(loop_until_count(&nack, 1));
	assert_all_gone();
}

static void test_invite_redirection_is_in_no_ratio(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	rig.fake->code = 302;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_false(cell_is_set(r, COL_SER) || cell_is_set(r, COL_SEER) || cell_is_set(r, COL_ISA) ||
	             cell_is_set(r, COL_SCR) || cell_is_set(r, COL_SRD_FAILED));
}

static void test_invite_timeout_is_cancelled_and_has_no_code(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	script = rings_until_cancelled;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_FAIL);
	assert_int_equal(r->error, VERDICT_ERROR_TIMEOUT);
	assert_false(cell_is_set(r, COL_CODE) || cell_is_set(r, COL_RESPONSE_MS) || cell_is_set(r, COL_REASON));
	assert_true(result_get(r, COL_CANCEL_SENT).v.b);
	assert_string_equal(cell_text(r, COL_ENDED_BY), "cancel");
	assert_int_equal(r->nresponses, 2);
	assert_int_equal(response_code(r, 1), 487);
	assert_true(result_get(r, COL_ISA).v.b);
	assert_int_equal(ncancel, 1);
	assert_true(loop_until_count(&nack, 1));
	assert_all_gone();
}

static void test_invite_unanswered_cancel_is_awaited_in_bounds(void **state)
{
	struct result *r;
	uint64_t from_us = clock_mono_us();

	(void)state;
	account(TRANSPORT_UDP, NULL);
	script = rings;
	r = rig_run(&rig);
	assert_in_range(clock_mono_us() - from_us, 2200000, 3500000);
	assert_int_equal(r->error, VERDICT_ERROR_TIMEOUT);
	assert_true(cell_ms(r, COL_TOTAL_MS) >= 200 && cell_ms(r, COL_TOTAL_MS) < 1000); /* the verdict was known */
	assert_true(result_get(r, COL_CANCEL_SENT).v.b);
	reply_to_last_invite(rig.fake, 487, "a", NULL);
	assert_true(loop_until_count(&nack, 1));
	assert_all_gone();
}

static void test_invite_silence_is_cancelled_when_it_ends(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	script = is_silent;
	r = rig_run(&rig);
	assert_int_equal(r->error, VERDICT_ERROR_TIMEOUT);
	assert_int_equal(r->nresponses, 0);
	assert_false(result_get(r, COL_CANCEL_SENT).v.b);
	assert_false(cell_is_set(r, COL_EARLY_MEDIA));
	assert_string_equal(cell_text(r, COL_ENDED_BY), "timeout");
	assert_int_equal(result_quality(r), 12);
	assert_int_equal(ncancel, 0);
	script = rings_until_cancelled;
	reply_to_last_invite(rig.fake, 180, "a", NULL);
	assert_true(loop_until_count(&ncancel, 1));
	assert_true(loop_until_count(&nack, 1));
	assert_all_gone();
}

static void test_invite_answer_that_crosses_the_cancel(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	script = answers_when_cancelled;
	r = rig_run(&rig);
	assert_int_equal(r->error, VERDICT_ERROR_TIMEOUT);
	assert_false(cell_is_set(r, COL_CODE) || cell_is_set(r, COL_ANSWER_MS));
	assert_int_equal(response_code(r, 1), 200);
	assert_true(loop_until_count(&nbye, 1));
	assert_int_equal(nack, 1);
	assert_all_gone();
}

static void test_invite_server_hangs_up(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL)->hold_ms = 4000;
	script = answers_and_hangs_up;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_string_equal(cell_text(r, COL_ENDED_BY), "remote");
	assert_true(cell_is_set(r, COL_SDT_S));
	assert_false(cell_is_set(r, COL_BYE_CODE) || cell_is_set(r, COL_SDD_MS));
	assert_true(result_get(r, COL_SCR).v.b);
	assert_all_gone();
	assert_int_equal(nbye, 0);
}

static void test_invite_offers_during_the_call(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL);
	script = answers_and_offers;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(nrefused, 1);                  /* the second one */
	assert_in_range(cell_int(r, COL_RTP_TX), 0, 2); /* on hold from the start */
}

static void test_invite_with_digest(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, "me");
	rig.fake->password = "secret";
	script = challenges_and_answers;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(cell_int(r, COL_AUTH_ROUNDS), 1);
	assert_int_equal(cell_int(r, COL_BYE_CODE), 200);
	assert_int_equal(ninvite, 2);
	assert_int_equal(nack, 2);
	assert_int_equal(nbye, 2); /* challenged as well */
}

static void test_invite_retry_cancels_the_first_try(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_UDP, NULL)->retries = 1;
	script = answers_the_second_try;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(cell_int(r, COL_ATTEMPTS), 2);
	assert_false(cell_is_set(r, COL_RING_MS)); /* of the first try */
	assert_int_equal(ncancel, 1);
	assert_int_equal(nbye, 1);
	assert_all_gone();
}

static void test_invite_cancelled_while_held_is_hung_up(void **state)
{
	struct check *check;

	(void)state;
	account(TRANSPORT_UDP, NULL)->hold_ms = 10000;
	script = answers_pcmu;
	check = rig_start(&rig);
	assert_true(loop_until_count(&nack, 1));
	check_cancel(check);
	assert_int_equal(rig.nresults, 1);
	assert_int_equal(rig.results[0]->error, VERDICT_ERROR_CANCELLED);
	assert_false(cell_is_set(rig.results[0], COL_CODE) || cell_is_set(rig.results[0], COL_REASON));
	assert_true(loop_until_count(&nbye, 1));
	assert_all_gone();
}

static void test_invite_shutdown_while_ringing_is_cancelled(void **state)
{
	(void)state;
	account(TRANSPORT_UDP, NULL)->timeout_ms = 10000;
	script = rings_until_cancelled;
	(void)rig_start(&rig);
	assert_true(loop_until_count(&ninvite, 1));
	loop_run(20);
	assert_all_gone();
	assert_int_equal(rig.nresults, 1);
	assert_true(result_get(rig.results[0], COL_CANCEL_SENT).v.b);
	assert_int_equal(ncancel, 1);
	assert_int_equal(nack, 1);
}

static void test_invite_over_tcp(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_TCP, NULL);
	script = answers_pcmu;
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_string_equal(cell_text(r, COL_AUDIO), "two_way");
	assert_int_equal(cell_int(r, COL_BYE_CODE), 200);
	assert_int_equal(rig.fake->accepted, 1);
	assert_all_gone();
}

/* The call's transaction holds the connection for 32 s more; the account that takes the place of this one goes on with it. */
static void test_invite_fixed_tcp_port_goes_to_the_next_device(void **state)
{
	int fd;
	(void)state;

	account(TRANSPORT_TCP, NULL);
	fd = peer_listen(&rig.account->local);
	(void)close(fd);
	script = answers_pcmu;
	assert_int_equal(rig_run(&rig)->verdict, VERDICT_OK);
	device_close(rig.device);
	rig.device = NULL;
	assert_int_equal(rig_run(&rig)->verdict, VERDICT_OK);
	assert_int_equal(rig.fake->accepted, 1);
	assert_all_gone();
}

static void test_invite_lost_connection_gets_its_bye_by_another(void **state)
{
	struct result *r;

	(void)state;
	account(TRANSPORT_TCP, NULL);
	script = answers_pcmu;
	(void)rig_start(&rig);
	assert_true(loop_until_count(&nack, 1));
	fake_close_connections(rig.fake);
	assert_true(loop_until_count(&rig.nresults, 1));
	r = rig.results[0];
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(cell_int(r, COL_BYE_CODE), 200);
	assert_int_equal(nbye, 1);
	assert_int_equal(rig.fake->accepted, 2);
	assert_all_gone();
}

/* Against `sipedge respond`, which shares neither dialogs nor media with us */

static struct respond_process quick, guarded, slow;

/* Before libre is there: a fork would share its epoll. */
static int start_processes(void)
{
	char path[] = "/tmp/sipedge-test-XXXXXX";
	const char *quick_args[] = {"--listen", "tcp:127.0.0.1:0", "--ring-ms", "0", NULL};
	const char *guarded_args[] = {"--listen", "udp:127.0.0.1:0", "--ring-ms", "50", "--auth-user", "me",
	        "--auth-password-file", path, NULL};
	const char *slow_args[] = {"--listen", "udp:127.0.0.1:0", "--ring-ms", "5000", NULL};
	int fd = mkstemp(path), err;

	if (fd < 0 || write(fd, "secret\n", 7) != 7)
		return -1;
	(void)close(fd);
	err = respond_start(&quick, quick_args) || respond_start(&guarded, guarded_args) ||
	      respond_start(&slow, slow_args);
	(void)unlink(path);
	return err;
}

static int stop_processes(void)
{
	return respond_stop(&quick) | respond_stop(&guarded) | respond_stop(&slow);
}

static void use_respond(const struct respond_process *process, enum transport transport, const char *login)
{
	account(transport, login);
	rig.account->remote_port = sa_port(transport == TRANSPORT_UDP ? &process->udp : &process->tcp);
}

static void test_invite_respond_with_digest(void **state)
{
	struct result *r;

	(void)state;
	use_respond(&guarded, TRANSPORT_UDP, "me");
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_true(cell_ms(r, COL_ANSWER_MS) >= 50);
	assert_int_equal(cell_int(r, COL_AUTH_ROUNDS), 1);
	assert_int_equal(cell_int(r, COL_BYE_CODE), 200);
	assert_string_equal(cell_text(r, COL_AUDIO), "two_way");
	assert_all_gone();
}

static void test_invite_respond_over_tcp(void **state)
{
	struct result *r;

	(void)state;
	use_respond(&quick, TRANSPORT_TCP, NULL);
	r = rig_run(&rig);
	assert_int_equal(r->verdict, VERDICT_OK);
	assert_int_equal(cell_int(r, COL_BYE_CODE), 200);
	assert_string_equal(cell_text(r, COL_AUDIO), "two_way");
	assert_all_gone();
}

static void test_invite_respond_is_cancelled(void **state)
{
	struct result *r;

	(void)state;
	use_respond(&slow, TRANSPORT_UDP, NULL);
	r = rig_run(&rig);
	assert_int_equal(r->error, VERDICT_ERROR_TIMEOUT);
	assert_int_equal(response_code(r, r->nresponses - 1), 487);
	assert_all_gone();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_invite_call_with_echo),
	        TEST(test_invite_provisionals_have_their_times),
	        TEST(test_invite_no_audio_back_is_told_not_failed),
	        TEST(test_invite_hold_of_zero_hangs_up_at_once),
	        TEST(test_invite_answer_without_usable_media_fails),
	        TEST(test_invite_busy),
	        TEST(test_invite_redirection_is_in_no_ratio),
	        TEST(test_invite_timeout_is_cancelled_and_has_no_code),
	        TEST(test_invite_unanswered_cancel_is_awaited_in_bounds),
	        TEST(test_invite_silence_is_cancelled_when_it_ends),
	        TEST(test_invite_answer_that_crosses_the_cancel),
	        TEST(test_invite_server_hangs_up),
	        TEST(test_invite_offers_during_the_call),
	        TEST(test_invite_with_digest),
	        TEST(test_invite_retry_cancels_the_first_try),
	        TEST(test_invite_cancelled_while_held_is_hung_up),
	        TEST(test_invite_shutdown_while_ringing_is_cancelled),
	        TEST(test_invite_over_tcp),
	        TEST(test_invite_fixed_tcp_port_goes_to_the_next_device),
	        TEST(test_invite_lost_connection_gets_its_bye_by_another),
	        TEST(test_invite_respond_with_digest),
	        TEST(test_invite_respond_over_tcp),
	        TEST(test_invite_respond_is_cancelled),
	};

	int err;

	if (start_processes())
		return 1;
	err = cmocka_run_group_tests(tests, loop_setup, loop_teardown);
	return stop_processes() ? 1 : err;
}
