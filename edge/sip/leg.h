/**
 * @file leg.h  An established dialog at work: its ACK, again for every retransmitted 2xx, and its BYE (RFC 3261 13.2.2.4, 15.1.1)
 *
 * Loop thread. Over UDP requests go to the dialog's next hop; over a stream they stay on the INVITE's connection, and a BYE
 * makes a new one when that was lost. A name as next hop is looked up, for at most LEG_LOOKUP_MS; failing that, and where the next hop can't
 * be reached (a Contact behind a NAT), requests go where the INVITE went.
 */
#ifndef SIPEDGE_SIP_LEG_H
#define SIPEDGE_SIP_LEG_H

#include "edge/sip/dialog.h"
#include "edge/sip/uac.h"

enum { LEG_LOOKUP_MS = 1000, LEG_CONNECT_MS = 5000 };

struct leg;

struct leg_end {
	bool is_remote;   /* they sent BYE */
	uint16_t code;    /* final answer to our BYE; 0: none */
	uint64_t sent_us; /* monotonic: our BYE; 0: none was sent */
	uint64_t rx_us;   /* of the answer to ours, or of their BYE; 0: none came */
};

/* Called once, when nothing of the dialog is left on the server as far as we can tell. Never from inside leg_alloc(). */
typedef void(leg_h)(struct leg *leg, const struct leg_end *end, void *arg);

struct leg_config {
	struct sip_stack *stack;         /* borrowed, must outlive it */
	const struct uac_target *target; /* of the INVITE; copied, flow referenced */
	struct account *account;         /* credentials; referenced */
	leg_h *h;
	void *arg;
};

/* Sends the ACK, now or as soon as the next hop is known. ENOMEM: nothing was sent. */
int leg_alloc(
        struct leg **legp, const struct leg_config *config, struct sip_request *invite, const struct sip_msg *msg);

/* ACK and BYE, once each, without any state: for forks beyond every measure. */
void leg_refuse(const struct leg_config *config, struct sip_request *invite, const struct sip_msg *msg);

struct dialog *leg_dialog(struct leg *leg); /* borrowed */
void leg_acknowledge(struct leg *leg);      /* the 2xx came again: the same ACK again */
void leg_hang_up(struct leg *leg); /* BYE; idempotent. The handler may be called from inside when it can't be sent */
void leg_take_bye(struct leg *leg, uint64_t rx_us);           /* they sent BYE; its answer is the caller's */
void leg_refresh(struct leg *leg, const struct sip_msg *msg); /* their re-INVITE was accepted */
bool leg_is_ended(const struct leg *leg);
bool leg_is_ending(const struct leg *leg); /* a BYE is under way or over */

#endif
