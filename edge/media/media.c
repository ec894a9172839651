/**
 * @file media.c  The media session of a test call: offers SDP, sends G.711 audio, counts what comes back
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "edge/clock.h"
#include "edge/media/g711.h"
#include "edge/media/media.h"

enum {
	SAMPLES = MEDIA_CLOCK_RATE * MEDIA_PTIME_MS / 1000,
	PTIME_US = MEDIA_PTIME_MS * 1000,
	PACKET_SIZE_MAX = 2048, /* of one received */
	READS_MAX = 64,         /* packets taken per wake-up: a flood must not hold up the loop */
	PORT_TRIES = 8,
};

struct media {
	struct wheel *wheel; /* borrowed */
	int fd;
	struct sa local;
	struct sdp_session *session;
	struct sdp_media *audio;

	bool is_agreed;
	bool may_send;
	enum g711_law law;
	uint8_t payload_type; /* that we send */
	struct sa remote;     /* negotiated */

	struct wheel_timer timer;
	uint64_t next_us; /* when the next packet is due */
	uint32_t ssrc, ts;
	uint16_t seq;
	bool marker; /* the next packet follows a pause (RFC 3551 4.1) */
	unsigned phase;
	uint8_t tone[G711_TONE_PERIOD];
	uint64_t tx;

	struct sa source; /* that is counted */
	bool has_moved;   /* by an offer of the peer's: what came before was theirs too */
	struct rtpstat stat;
	bool heard; /* something else than silence */
};

static void close_socket(struct media *m)
{
	if (m->fd < 0)
		return;
	fd_close(m->fd);
	(void)close(m->fd);
	m->fd = -1;
}

static void destructor(void *arg)
{
	struct media *m = arg;

	wheel_stop(&m->timer);
	close_socket(m);
	mem_deref(m->audio);
	mem_deref(m->session);
}

static int open_bound(int *fdp, const struct sa *local)
{
	int on = 1, err = 0;
	int fd = socket(sa_af(local), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)); /* without: times of the read */
	if (bind(fd, &local->u.sa, local->len) < 0)
		err = errno;
	if (err)
		(void)close(fd);
	else
		*fdp = fd;
	return err;
}

static int bound_address(int fd, struct sa *sa)
{
	sa->len = sizeof(sa->u);
	return getsockname(fd, &sa->u.sa, &sa->len) < 0 ? errno : 0;
}

/* An odd port works as well with every peer that reads SDP, so after some tries it has to do. */
static int open_socket(struct media *m, const struct sa *local)
{
	for (int i = 0; i < PORT_TRIES; i++) {
		int err;

		close_socket(m);
		m->local = *local;
		sa_set_port(&m->local, 0);
		err = open_bound(&m->fd, &m->local);
		if (err)
			return err;
		err = bound_address(m->fd, &m->local);
		if (err)
			return err;
		if (sa_port(&m->local) % 2 == 0)
			break;
	}
	return 0;
}

static int describe(struct media *m)
{
	int err = sdp_session_alloc(&m->session, &m->local);

	if (err)
		return err;
	err = sdp_media_add(&m->audio, m->session, sdp_media_audio, sa_port(&m->local), sdp_proto_rtpavp);
	if (err)
		return err;
	mem_ref(m->audio); /* the session's own */
	err = sdp_format_add(NULL, m->audio, false, "0", "PCMU", MEDIA_CLOCK_RATE, 1, NULL, NULL, NULL, false, NULL);
	err = err ? err
	          : sdp_format_add(
	                    NULL, m->audio, false, "8", "PCMA", MEDIA_CLOCK_RATE, 1, NULL, NULL, NULL, false, NULL);
	return err ? err : sdp_media_set_lattr(m->audio, true, sdp_attr_ptime, "%d", MEDIA_PTIME_MS);
}

/* Other payload types share the sequence numbers (telephone-event, comfort noise), so they count for the loss. */
static bool is_audio(const struct media *m, uint8_t payload_type)
{
	if (m->is_agreed && payload_type == m->payload_type)
		return true;
	return payload_type == G711_ULAW || payload_type == G711_ALAW; /* as we offered */
}

static bool is_source(struct media *m, const struct sa *src, bool audio)
{
	if (sa_isset(&m->source, SA_ALL) && sa_cmp(&m->source, src, SA_ALL))
		return true;
	if (!audio)
		return false;
	if (m->is_agreed && sa_cmp(&m->remote, src, SA_ALL)) {
		if (!m->has_moved)
			memset(&m->stat, 0, sizeof(m->stat)); /* what came before was somebody else's */
	} else if (sa_isset(&m->source, SA_ALL)) {
		return false;
	}
	m->source = *src;
	return true;
}

static void packet(struct media *m, const struct sa *src, struct mbuf *mb, uint64_t rx_us)
{
	struct rtp_header hdr;
	bool audio;

	if (rtp_hdr_decode(&hdr, mb) || hdr.ver != RTP_VERSION || (hdr.pt >= 64 && hdr.pt < 96)) /* RFC 5761: RTCP */
		return;
	audio = is_audio(m, hdr.pt);
	if (!is_source(m, src, audio) || rtpstat_add(&m->stat, hdr.ssrc, hdr.seq, rx_us) != RTPSTAT_COUNTED || !audio)
		return;
	rtpstat_arrive(&m->stat, hdr.ts, rx_us, MEDIA_CLOCK_RATE);
	if (!g711_is_silence(m->is_agreed && hdr.pt == m->payload_type ? m->law : (enum g711_law)hdr.pt, mbuf_buf(mb),
	            mbuf_get_left(mb)))
		m->heard = true;
}

/* The kernel's time of arrival is wall clock: its age, taken now, puts it on the monotonic one. */
static uint64_t arrival(struct msghdr *msg)
{
	uint64_t now_us;
	int64_t now_unix_us;
	int64_t age_us = 0;

	clock_both_us(&now_us, &now_unix_us);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		struct timespec ts;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&ts, CMSG_DATA(c), sizeof(ts));
		age_us = now_unix_us - ((int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
	}
	if (age_us < 0 || age_us > 1000000) /* the wall clock was set meanwhile */
		age_us = 0;
	return now_us - (uint64_t)age_us;
}

static bool read_one(struct media *m)
{
	uint8_t buf[PACKET_SIZE_MAX];
	char control[CMSG_SPACE(sizeof(struct timespec))];
	struct sa src;
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr msg = {.msg_name = &src.u,
	        .msg_namelen = sizeof(src.u),
	        .msg_iov = &iov,
	        .msg_iovlen = 1,
	        .msg_control = control,
	        .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(m->fd, &msg, 0);
	struct mbuf mb = {.buf = buf, .size = sizeof(buf), .end = n > 0 ? (size_t)n : 0};

	if (n < 0)
		return errno == EINTR;
	src.len = msg.msg_namelen;
	if (!(msg.msg_flags & MSG_TRUNC))
		packet(m, &src, &mb, arrival(&msg));
	return true;
}

static void readable(int flags, void *arg)
{
	struct media *m = arg;

	(void)flags;
	for (int i = 0; i < READS_MAX && read_one(m); i++)
		;
}

int media_alloc(struct media **mp, struct wheel *wheel, const struct sa *local, uint64_t seed)
{
	struct media *m;
	int err;

	if (!mp || !wheel || !local)
		return EINVAL;
	m = mem_zalloc(sizeof(*m), destructor);
	if (!m)
		return ENOMEM;
	m->wheel = wheel;
	m->fd = -1;
	err = open_socket(m, local);
	if (err)
		goto out;
	err = describe(m);
	if (err)
		goto out;
	m->ssrc = (uint32_t)seed; /* RFC 3550 5.1: SSRC, sequence and timestamp start anywhere */
	m->seq = (uint16_t)(seed >> 32);
	m->ts = (uint32_t)(seed >> 16);
	err = fd_listen(m->fd, FD_READ, readable, m);
out:
	if (err)
		mem_deref(m);
	else
		*mp = m;
	return err;
}

static int print_sdp(char **sdpp, struct media *m, bool is_offer)
{
	struct mbuf *mb = NULL;
	int err = sdp_encode(&mb, m->session, is_offer);

	if (err)
		return err;
	mb->pos = 0;
	err = mbuf_strdup(mb, sdpp, mb->end);
	mem_deref(mb);
	return err;
}

int media_offer(char **sdpp, struct media *m)
{
	return print_sdp(sdpp, m, true);
}

static int law_of(enum g711_law *lawp, const struct sdp_format *format)
{
	if (!format)
		return ENOTSUP;
	if (!str_casecmp(format->name, "PCMU") || format->pt == G711_ULAW)
		*lawp = G711_ULAW;
	else if (!str_casecmp(format->name, "PCMA") || format->pt == G711_ALAW)
		*lawp = G711_ALAW;
	else
		return ENOTSUP;
	return 0;
}

static int take_sdp(struct media *m, const struct mbuf *sdp, bool is_offer)
{
	struct mbuf copy = *sdp; /* the parser moves the position */
	const struct sdp_format *format;
	enum g711_law law;
	int err = sdp_decode(m->session, &copy, is_offer);

	if (err)
		return err == ENOMEM ? err : EBADMSG;
	format = sdp_media_rformat(m->audio, NULL);
	err = law_of(&law, format);
	if (err || sdp_media_rport(m->audio) == 0 || !sa_isset(sdp_media_raddr(m->audio), SA_ADDR))
		return ENOTSUP;
	m->has_moved = m->is_agreed && is_offer;
	m->is_agreed = true;
	m->law = law;
	m->payload_type = (uint8_t)(format->pt & 0x7f);
	m->remote = *sdp_media_raddr(m->audio);
	/* on hold we are silent (RFC 3264 8.4); libre has the direction as seen from us */
	m->may_send = (sdp_media_dir(m->audio) & SDP_SENDONLY) && sa_af(&m->remote) == sa_af(&m->local);
	g711_tone(m->law, m->tone);
	return 0;
}

int media_answer(struct media *m, const struct mbuf *sdp)
{
	return take_sdp(m, sdp, false);
}

int media_take_offer(char **sdpp, struct media *m, const struct mbuf *sdp)
{
	int err = sdp ? take_sdp(m, sdp, true) : 0;

	return err ? err : print_sdp(sdpp, m, !sdp);
}

static void send_one(struct media *m)
{
	uint8_t buf[RTP_HEADER_SIZE + SAMPLES];
	struct mbuf mb = {.buf = buf, .size = sizeof(buf)};
	struct rtp_header hdr = {
	        .ver = RTP_VERSION, .m = m->marker, .pt = m->payload_type, .seq = m->seq, .ts = m->ts, .ssrc = m->ssrc};

	(void)rtp_hdr_encode(&mb, &hdr); /* it fits */
	for (unsigned i = 0; i < SAMPLES; i++)
		buf[RTP_HEADER_SIZE + i] = m->tone[(m->phase + i) % G711_TONE_PERIOD];
	m->phase = (m->phase + SAMPLES) % G711_TONE_PERIOD;
	m->ts += SAMPLES;
	m->marker = false;
	if (sendto(m->fd, buf, sizeof(buf), MSG_NOSIGNAL, &m->remote.u.sa, m->remote.len) < 0)
		return; /* a packet that did not leave is not one that got lost: its number goes to the next one */
	m->seq++;
	m->tx++;
}

static void send_due(uint64_t now_us, void *arg)
{
	struct media *m = arg;
	uint64_t due = now_us < m->next_us ? 0 : (now_us - m->next_us) / PTIME_US + 1;

	if (due > MEDIA_BURST_MAX) {
		m->ts += (uint32_t)(due - MEDIA_BURST_MAX) * SAMPLES;
		m->marker = true;
	}
	m->next_us += due * PTIME_US;
	for (uint64_t i = 0; m->may_send && i < due && i < MEDIA_BURST_MAX; i++)
		send_one(m);
	wheel_start(m->wheel, &m->timer, m->next_us, send_due, m);
}

void media_send_start(struct media *m, uint64_t now_us)
{
	if (!m->is_agreed)
		return;
	m->next_us = now_us;
	m->marker = true;
	send_due(now_us, m);
}

void media_send_stop(struct media *m)
{
	wheel_stop(&m->timer);
}

void media_stats_get(const struct media *m, struct media_stats *stats)
{
	*stats = (struct media_stats){
	        .codec = !m->is_agreed         ? NULL
	                 : m->law == G711_ALAW ? "PCMA"
	                                       : "PCMU",
	        .tx = m->tx,
	        .rx = m->stat.received,
	        .has_rx = m->stat.received > 0,
	        .has_jitter = m->stat.arrivals > 1,
	        .first_rx_us = m->stat.first_rx_us,
	        .loss_pct = rtpstat_loss_pct(&m->stat),
	        .jitter_ms = m->stat.jitter_us / 1000,
	        .reordered = m->stat.reordered,
	        .duplicated = m->stat.duplicated,
	        .rx_is_silent = !m->heard,
	};
}
