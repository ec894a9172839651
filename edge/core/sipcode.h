/**
 * @file sipcode.h  SIP response codes: name and meaning (IANA registry; RFC 3261 21)
 *
 * Pure, any thread. Unknown codes fall back to their class (RFC 3261 8.1.3.2); static strings, never NULL.
 */
#ifndef SIPEDGE_CORE_SIPCODE_H
#define SIPEDGE_CORE_SIPCODE_H

#include <stdint.h>

const char *sipcode_name(uint16_t code);    /* "Busy Here" */
const char *sipcode_meaning(uint16_t code); /* one sentence for a person */

#endif
