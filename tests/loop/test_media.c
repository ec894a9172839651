/**
 * @file test_media.c  The media session of a call over real sockets: what is sent, what is counted
 */
#include <poll.h>
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
#include <re.h>
#include "edge/clock.h"
#include "edge/core/wheel.h"
#include "edge/media/g711.h"
#include "edge/media/media.h"

enum { PACKET_SIZE = RTP_HEADER_SIZE + 160, SECOND = 1000000 };

/* The other end: a socket, and time that the test decides. */
struct fixture {
	struct wheel *wheel;
	struct media *media;
	int peer;
	struct sa peer_addr;
	struct sa media_addr; /* from the offer */
	uint64_t now_us;
};

static int peer_open(struct sa *addr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(sa_set_str(addr, "127.0.0.1", 0), 0);
	assert_int_equal(bind(fd, &addr->u.sa, addr->len), 0);
	assert_int_equal(getsockname(fd, &addr->u.sa, &addr->len), 0);
	return fd;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct sa local;
	char *sdp = NULL;
	unsigned port = 0;

	f->now_us = 5 * SECOND;
	f->peer = peer_open(&f->peer_addr);
	assert_int_equal(wheel_alloc(&f->wheel, f->now_us), 0);
	assert_int_equal(sa_set_str(&local, "127.0.0.1", 5060), 0);
	assert_int_equal(media_alloc(&f->media, f->wheel, &local, 0x1122334455667788), 0);
	assert_int_equal(media_offer(&sdp, f->media), 0);
	assert_int_equal(sscanf(strstr(sdp, "m=audio "), "m=audio %u RTP/AVP 0 8", &port), 1);
	assert_non_null(strstr(sdp, "c=IN IP4 127.0.0.1\r\n"));
	assert_int_not_equal(port, 5060);
	assert_int_equal(sa_set_str(&f->media_addr, "127.0.0.1", (uint16_t)port), 0);
	mem_deref(sdp);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mem_deref(f->media);
	mem_deref(f->wheel);
	(void)close(f->peer);
	free(f);
	return 0;
}

static int answer(struct fixture *f, const char *fmt, ...)
{
	struct mbuf *mb = mbuf_alloc(512);
	va_list ap;
	int err;

	va_start(ap, fmt);
	(void)mbuf_vprintf(mb, fmt, ap);
	va_end(ap);
	mb->pos = 0;
	err = media_answer(f->media, mb);
	mem_deref(mb);
	return err;
}

static int answer_from_peer(struct fixture *f, unsigned payload_type, const char *more)
{
	return answer(f,
	        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %u RTP/AVP %u\r\n%s",
	        sa_port(&f->peer_addr), payload_type, more);
}

static void advance(struct fixture *f, uint64_t us)
{
	f->now_us += us;
	wheel_advance(f->wheel, f->now_us);
}

static size_t peer_read(struct fixture *f, struct rtp_header *hdr, uint8_t *payload) /* 0: nothing came */
{
	uint8_t buf[2048];
	ssize_t n = recv(f->peer, buf, sizeof(buf), MSG_DONTWAIT);
	struct mbuf mb = {.buf = buf, .size = sizeof(buf), .end = n > 0 ? (size_t)n : 0};

	if (n < 0)
		return 0;
	assert_int_equal(rtp_hdr_decode(hdr, &mb), 0);
	memcpy(payload, mbuf_buf(&mb), mbuf_get_left(&mb));
	return mbuf_get_left(&mb);
}

static unsigned peer_count(struct fixture *f)
{
	struct rtp_header hdr;
	uint8_t payload[2048];
	unsigned n = 0;

	while (peer_read(f, &hdr, payload))
		n++;
	return n;
}

static void stop_h(void *arg)
{
	(void)arg;
	re_cancel();
}

/* On loopback a packet lies in its socket once sendto() is back; the loop looks at descriptors before timers. */
static void settle(void)
{
	struct tmr tmr;

	tmr_init(&tmr);
	tmr_start(&tmr, 1, stop_h, NULL);
	(void)re_main(NULL);
	tmr_cancel(&tmr);
}

static void send_from(int fd, struct fixture *f, uint8_t pt, uint16_t seq, uint32_t ssrc, int16_t sample)
{
	uint8_t buf[PACKET_SIZE];
	struct mbuf mb = {.buf = buf, .size = sizeof(buf)};
	struct rtp_header hdr = {.ver = RTP_VERSION, .pt = pt, .seq = seq, .ts = seq * 160u, .ssrc = ssrc};

	assert_int_equal(rtp_hdr_encode(&mb, &hdr), 0);
	memset(buf + RTP_HEADER_SIZE, g711_encode(pt == 8 ? G711_ALAW : G711_ULAW, sample), 160);
	assert_int_equal(sendto(fd, buf, sizeof(buf), 0, &f->media_addr.u.sa, f->media_addr.len), sizeof(buf));
}

static void test_media_sends_a_packet_every_20_ms(void **state)
{
	struct fixture *f = *state;
	struct rtp_header first, hdr;
	uint8_t payload[2048];

	assert_int_equal(answer_from_peer(f, 8, ""), 0);
	media_send_start(f->media, f->now_us);
	assert_int_equal(peer_read(f, &first, payload), 160);
	assert_int_equal(first.pt, 8);
	assert_true(first.m);
	assert_false(g711_is_silence(G711_ALAW, payload, 160));
	for (unsigned i = 1; i <= 50; i++) {
		advance(f, 19000);
		assert_int_equal(peer_count(f), 0);
		advance(f, 1000);
		assert_int_equal(peer_read(f, &hdr, payload), 160);
		assert_int_equal(hdr.seq, (uint16_t)(first.seq + i));
		assert_int_equal(hdr.ts, first.ts + i * 160);
		assert_false(hdr.m);
	}
	media_send_stop(f->media);
	advance(f, SECOND);
	assert_int_equal(peer_count(f), 0);
}

static void test_media_late_tick_catches_up_but_never_bursts(void **state)
{
	struct fixture *f = *state;
	struct rtp_header hdr;
	uint8_t payload[2048];
	struct media_stats stats;
	uint32_t ts;
	uint16_t seq;

	assert_int_equal(answer_from_peer(f, 0, ""), 0);
	media_send_start(f->media, f->now_us);
	assert_int_equal(peer_read(f, &hdr, payload), 160);
	seq = hdr.seq;
	ts = hdr.ts;
	advance(f, 45000); /* 20 and 40 are due */
	assert_int_equal(peer_count(f), 2);
	advance(f, 15000); /* 60: on the grid again */
	assert_int_equal(peer_count(f), 1);
	advance(f, 200000); /* ten are due: three go, the rest is a pause */
	assert_int_equal(peer_read(f, &hdr, payload), 160);
	assert_int_equal(hdr.seq, (uint16_t)(seq + 4));
	assert_int_equal(hdr.ts, ts + (4 + 7) * 160);
	assert_true(hdr.m);
	assert_int_equal(peer_count(f), 2);
	media_stats_get(f->media, &stats);
	assert_int_equal(stats.tx, 7);
}

static void test_media_counts_an_echo(void **state)
{
	struct fixture *f = *state;
	struct media_stats stats;
	uint64_t before_us = clock_mono_us();

	assert_int_equal(answer_from_peer(f, 0, ""), 0);
	media_stats_get(f->media, &stats);
	assert_false(stats.has_rx);
	for (uint16_t seq = 0; seq < 10; seq++)
		if (seq != 4)
			send_from(f->peer, f, 0, seq, 7, 1000);
	settle();
	media_stats_get(f->media, &stats);
	assert_string_equal(stats.codec, "PCMU");
	assert_int_equal(stats.rx, 9);
	assert_true(stats.loss_pct == 10.0);
	assert_true(stats.has_jitter);
	assert_false(stats.rx_is_silent);
	assert_in_range(stats.first_rx_us, before_us - 1000, clock_mono_us());
}

static void test_media_tells_silence(void **state)
{
	struct fixture *f = *state;
	struct media_stats stats;

	assert_int_equal(answer_from_peer(f, 8, ""), 0);
	for (uint16_t seq = 0; seq < 3; seq++)
		send_from(f->peer, f, 8, seq, 7, 0);
	settle();
	media_stats_get(f->media, &stats);
	assert_string_equal(stats.codec, "PCMA");
	assert_int_equal(stats.rx, 3);
	assert_true(stats.rx_is_silent);
}

static void test_media_stray_sender_spoils_nothing(void **state)
{
	struct fixture *f = *state;
	struct media_stats stats;
	struct sa addr;
	int stray = peer_open(&addr);

	send_from(stray, f, 0, 100, 1, 1000); /* even when it comes first */
	assert_int_equal(answer_from_peer(f, 0, ""), 0);
	for (uint16_t seq = 0; seq < 10; seq++) {
		send_from(f->peer, f, 0, seq, 7, 1000);
		send_from(stray, f, 0, (uint16_t)(seq * 50), 7, 1000);
	}
	settle();
	media_stats_get(f->media, &stats);
	assert_int_equal(stats.rx, 10);
	assert_true(stats.loss_pct == 0.0);
	(void)close(stray);
}

/* A re-INVITE that moves the audio (a PBX that lets go of the media path) is the same call. */
static void test_media_offer_that_moves_the_peer_keeps_the_figures(void **state)
{
	struct fixture *f = *state;
	struct media_stats before, after;
	struct sa addr;
	int moved = peer_open(&addr);
	struct mbuf *mb = mbuf_alloc(512);
	char *sdp = NULL;

	assert_int_equal(answer_from_peer(f, 0, ""), 0);
	for (uint16_t seq = 0; seq < 10; seq++)
		send_from(f->peer, f, 0, seq, 7, 1000);
	settle();
	media_stats_get(f->media, &before);
	assert_int_equal(before.rx, 10);
	(void)mbuf_printf(mb,
	        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %u RTP/AVP 0\r\n",
	        sa_port(&addr));
	mb->pos = 0;
	assert_int_equal(media_take_offer(&sdp, f->media, mb), 0);
	for (uint16_t seq = 500; seq < 510; seq++)
		send_from(moved, f, 0, seq, 8, 1000);
	settle();
	media_stats_get(f->media, &after);
	assert_int_equal(after.rx, 20);
	assert_true(after.first_rx_us == before.first_rx_us);
	assert_true(after.loss_pct == 0.0);
	mem_deref(sdp);
	mem_deref(mb);
	(void)close(moved);
}

static void test_media_other_payload_types_share_the_sequence(void **state)
{
	struct fixture *f = *state;
	struct media_stats stats;

	assert_int_equal(answer_from_peer(f, 0, ""), 0);
	send_from(f->peer, f, 101, 0, 7, 1000); /* does not make a source */
	settle();
	media_stats_get(f->media, &stats);
	assert_false(stats.has_rx);
	for (uint16_t seq = 1; seq < 10; seq++)
		send_from(f->peer, f, seq == 5 ? 13 : 0, seq, 7, 1000);
	settle();
	media_stats_get(f->media, &stats);
	assert_int_equal(stats.rx, 9);
	assert_true(stats.loss_pct == 0.0);
}

static void test_media_survives_what_is_no_rtp(void **state)
{
	static const uint8_t extension[] = {0x90, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0xff, 0xff};
	static const uint8_t csrcs[] = {0x8f, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7};
	static const uint8_t rtcp[28] = {0x80, 200, 0, 6};
	static const uint8_t version1[PACKET_SIZE] = {0x40, 0, 0, 1};
	static const uint8_t large[4000] = {0x80, 0, 0, 1};
	const struct {
		const uint8_t *p;
		size_t len;
	} junk[] = {{extension, sizeof(extension)}, {csrcs, sizeof(csrcs)}, {rtcp, sizeof(rtcp)},
	        {version1, sizeof(version1)}, {large, sizeof(large)}, {rtcp, 1}, {rtcp, 0}};
	struct fixture *f = *state;
	struct media_stats stats;

	assert_int_equal(answer_from_peer(f, 0, ""), 0);
	for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++)
		assert_int_equal(sendto(f->peer, junk[i].p, junk[i].len, 0, &f->media_addr.u.sa, f->media_addr.len),
		        junk[i].len);
	settle();
	media_stats_get(f->media, &stats);
	assert_false(stats.has_rx);
}

static void test_media_refuses_answers_without_our_audio(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(answer(f, "hello"), EBADMSG);
	assert_int_equal(answer(f, ""), ENOTSUP);
	assert_int_equal(answer(f, "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 0 RTP/AVP 0\r\n"), ENOTSUP);
	assert_int_equal(answer(f, "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 9000 RTP/AVP 18\r\n"), ENOTSUP);
	assert_int_equal(answer(f, "v=0\r\nm=audio 9000 RTP/AVP 0\r\n"), ENOTSUP);
}

static void test_media_sends_nothing_when_held(void **state)
{
	struct fixture *f = *state;
	struct media_stats stats;

	assert_int_equal(answer_from_peer(f, 0, "a=sendonly\r\n"), 0);
	media_send_start(f->media, f->now_us);
	advance(f, SECOND);
	assert_int_equal(peer_count(f), 0);
	media_stats_get(f->media, &stats);
	assert_int_equal(stats.tx, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_media_sends_a_packet_every_20_ms),
	        TEST(test_media_late_tick_catches_up_but_never_bursts),
	        TEST(test_media_counts_an_echo),
	        TEST(test_media_tells_silence),
	        TEST(test_media_stray_sender_spoils_nothing),
	        TEST(test_media_offer_that_moves_the_peer_keeps_the_figures),
	        TEST(test_media_other_payload_types_share_the_sequence),
	        TEST(test_media_survives_what_is_no_rtp),
	        TEST(test_media_refuses_answers_without_our_audio),
	        TEST(test_media_sends_nothing_when_held),
	};
	int err;

	(void)libre_init();
	err = cmocka_run_group_tests(tests, NULL, NULL);
	libre_close();
	return err;
}
