/**
 * @file g711.h  G.711: a test tone in mu-law and A-law, and what digital silence looks like
 *
 * Pure.
 */
#ifndef SIPEDGE_MEDIA_G711_H
#define SIPEDGE_MEDIA_G711_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum g711_law {
	G711_ULAW = 0, /* the static RTP payload types (RFC 3551 6) */
	G711_ALAW = 8,
};

enum { G711_TONE_PERIOD = 200 }; /* samples: 11 waves of 440 Hz at 8000 Hz */

uint8_t g711_encode(enum g711_law law, int16_t sample); /* linear, 16 bits of full scale */

/* One period of 440 Hz at -16 dBm0 (G.711: a sine of full scale is +3.17 dBm0 in mu-law, +3.14 in A-law). */
void g711_tone(enum g711_law law, uint8_t tone[static G711_TONE_PERIOD]);

/* Every sample is within one step of zero. */
bool g711_is_silence(enum g711_law law, const uint8_t *samples, size_t n);

#endif
