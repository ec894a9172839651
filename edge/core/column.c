/**
 * @file column.c  The columns of result tables
 */
#include <assert.h>
#include <stddef.h>
#include "edge/core/column.h"
#include "edge/core/config.h"

enum {
	OPT = 1 << METHOD_OPTIONS,
	MSG = 1 << METHOD_MESSAGE,
	REG = 1 << METHOD_REGISTER,
	INV = 1 << METHOD_INVITE,
	ALL = OPT | MSG | REG | INV,
};

#define S COLUMN_STRING
#define B COLUMN_BOOL
#define I COLUMN_INT
#define D COLUMN_DOUBLE
#define T COLUMN_TIME
#define MS COLUMN_DURATION

/* name, type, unit, description, nullable, methods */
static const struct column_def columns[COLUMN_COUNT] = {
        [COL_NAME] = {"name", S, "", "The command's name, which is the variable's", false, ALL},
        [COL_DESCRIPTION] = {"description", S, "", "The command's description", false, ALL},
        [COL_COMMAND] = {"command", S, "", "SIP method: OPTIONS, MESSAGE, REGISTER or INVITE", false, ALL},
        [COL_TARGET] = {"target", S, "", "Request-URI of the check", true, ALL},
        [COL_STARTED] = {"started", T, "", "Wall clock when the check started", false, ALL},
        [COL_VERDICT] = {"verdict", S, "", "ok, warn, fail, maintenance or error", false, ALL},
        [COL_STATE] = {"state", S, "", "The verdict after hysteresis; unknown before there is one", false, ALL},
        [COL_CODE] = {"code", I, "", "Final SIP status code as received; a timeout has none", true, ALL},
        [COL_REASON] = {"reason", S, "", "Reason phrase as received", true, ALL},
        [COL_MEANING] = {"meaning", S, "", "What the code means (IANA registry, RFC 3261 21)", true, ALL},
        [COL_ERROR_CLASS] = {"error_class", S, "", "What kind of thing went wrong; none when nothing did", false, ALL},
        [COL_ERROR_TEXT] = {"error_text", S, "", "One sentence on what went wrong", true, ALL},
        [COL_LOCAL] = {"local", S, "", "Address and port that the request left from", true, ALL},
        [COL_REMOTE] = {"remote", S, "", "Address and port that the request was sent to", true, ALL},
        [COL_TRANSPORT] = {"transport", S, "", "udp, tcp or tls", true, ALL},
        [COL_DNS_MS] = {"dns_ms", MS, "ms", "Name resolution (RFC 3263)", true, ALL},
        [COL_CONNECT_MS] = {"connect_ms", MS, "ms", "TCP connection set-up", true, ALL},
        [COL_FIRST_MS] = {"first_ms", MS, "ms", "Request sent to first response of any kind", true, ALL},
        [COL_AUTH_MS] = {"auth_ms", MS, "ms",
                "First challenge received to the first response to the authenticated request", true, ALL},
        [COL_RESPONSE_MS] = {"response_ms", MS, "ms",
                "First bit of the request sent to last bit of the final response, authentication inside (RFC 6076 4)",
                true, ALL},
        [COL_TOTAL_MS] = {"total_ms", MS, "ms", "Start of the check to verdict, without holding and clean-up", true,
                ALL},
        [COL_RETRANSMITS] = {"retransmits", I, "", "Requests sent again (RFC 3261 17.1)", true, ALL},
        [COL_ATTEMPTS] = {"attempts", I, "", "Tries of this check: 1 + retries used; 0: nothing was sent", true, ALL},
        [COL_AUTH_ALG] = {"auth_alg", S, "", "Digest algorithm used", true, ALL},
        [COL_AUTH_ROUNDS] = {"auth_rounds", I, "", "Challenges answered", true, ALL},
        [COL_RETRY_AFTER_S] = {"retry_after_s", I, "s", "Retry-After of the final response", true, ALL},
        [COL_SERVER] = {"server", S, "", "Server or User-Agent header of the final response", true, ALL},
        [COL_NAT_ADDR] = {"nat_addr", S, "", "Our address as the server saw it (received and rport, RFC 3581)", true,
                ALL},
        [COL_CALL_ID] = {"call_id", S, "", "Call-ID, to find the check in the server's log", true, ALL},
        [COL_RESPONSES] = {"responses", COLUMN_TABLE, "", "Every response received, provisional ones included", true,
                ALL},

        [COL_ALLOW] = {"allow", S, "", "Methods that the server allows (Allow header)", true, OPT},
        [COL_SUPPORTED] = {"supported", S, "", "Extensions that the server supports (Supported header)", true, OPT},
        [COL_ACCEPT] = {"accept", S, "", "Bodies that the server accepts (Accept header)", true, OPT},

        [COL_ACCEPTED_ONLY] = {"accepted_only", B, "", "202: taken for later delivery, not delivered", true, MSG},

        [COL_RRD_MS] = {"rrd_ms", MS, "ms", "Registration request delay, successful ones only (RFC 6076 4.1)", true,
                REG},
        [COL_IRA] = {"ira", B, "", "Ineffective registration attempt (RFC 6076 4.2)", true, REG},
        [COL_EXPIRES_REQUESTED] = {"expires_requested", I, "s", "Expiry asked for", true, REG},
        [COL_EXPIRES_GRANTED] = {"expires_granted", I, "s", "Expiry that the registrar granted to our contact", true,
                REG},
        [COL_BINDINGS] = {"bindings", I, "", "Contacts bound to the address of record after the registration", true,
                REG},
        [COL_UNREGISTER_CODE] = {"unregister_code", I, "", "Answer to the removal of the binding", true, REG},
        [COL_UNREGISTER_MS] = {"unregister_ms", MS, "ms", "Removal request sent to its final response", true, REG},

        [COL_TRYING_MS] = {"trying_ms", MS, "ms", "INVITE sent to 100 Trying", true, INV},
        [COL_SRD_MS] = {"srd_ms", MS, "ms",
                "Session request delay: INVITE sent to the first of 180-183 and 2xx (RFC 6076 4.3.1)", true, INV},
        [COL_SRD_FAILED] = {"srd_failed", MS, "ms",
                "Session request delay of a failure: INVITE sent to 4xx-6xx, where no srd_ms is (RFC 6076 4.3.2)", true,
                INV},
        [COL_RING_MS] = {"ring_ms", MS, "ms", "INVITE sent to 180 Ringing", true, INV},
        [COL_ANSWER_MS] = {"answer_ms", MS, "ms", "INVITE sent to 2xx", true, INV},
        [COL_SDT_S] = {"sdt_s", D, "s", "Session duration time: 2xx received to BYE sent or received (RFC 6076 4.5)",
                true, INV},
        [COL_SDD_MS] = {"sdd_ms", MS, "ms", "Session disconnect delay: BYE sent to its 2xx (RFC 6076 4.4)", true, INV},
        [COL_SER] = {"ser", B, "", "Counts as established: 2xx (RFC 6076 4.6); null on 3xx", true, INV},
        [COL_SEER] = {"seer", B, "", "Counts as effective: 2xx, 480, 486, 600, 603 (RFC 6076 4.7); null on 3xx", true,
                INV},
        [COL_ISA] = {"isa", B, "", "Counts as ineffective: 408, 500, 503, 504 or no answer (RFC 6076 4.8); null on 3xx",
                true, INV},
        [COL_SCR] = {"scr", B, "", "Counts as completed: 2xx, and a BYE that was answered (RFC 6076 4.9); null on 3xx",
                true, INV},
        [COL_ENDED_BY] = {"ended_by", S, "",
                "Who ended the call: local or remote BYE, cancel, reject (a final answer from 300 on) or timeout", true,
                INV},
        [COL_CANCEL_SENT] = {"cancel_sent", B, "", "A CANCEL was sent", true, INV},
        [COL_BYE_CODE] = {"bye_code", I, "", "Answer to our BYE", true, INV},
        [COL_EARLY_MEDIA] = {"early_media", B, "", "A provisional response carried SDP", true, INV},
        [COL_CODEC] = {"codec", S, "", "Codec agreed on", true, INV},
        [COL_RTP_TX] = {"rtp_tx", I, "", "RTP packets sent", true, INV},
        [COL_RTP_RX] = {"rtp_rx", I, "", "RTP packets received", true, INV},
        [COL_FIRST_RTP_MS] = {"first_rtp_ms", MS, "ms",
                "2xx received to first RTP packet received; null when that came before", true, INV},
        [COL_LOSS_PCT] = {"loss_pct", D, "%", "RTP packets that did not arrive (RFC 3550 A.3)", true, INV},
        [COL_JITTER_MS] = {"jitter_ms", MS, "ms", "Interarrival jitter (RFC 3550 A.8)", true, INV},
        [COL_REORDERED] = {"reordered", I, "", "RTP packets received out of order", true, INV},
        [COL_DUPLICATED] = {"duplicated", I, "", "RTP packets received more than once", true, INV},
        [COL_AUDIO] = {"audio", S, "", "two_way, rx_only, tx_only, silent or none", true, INV},

        [COL_SCHED_LAG_MS] = {"sched_lag_ms", MS, "ms", "How much later than planned the check started", true, 0},
};

const struct column_def *column_def(enum column col)
{
	assert((size_t)col < COLUMN_COUNT);
	return &columns[col];
}
