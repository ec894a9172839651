/**
 * @file g711.c  G.711: a test tone in mu-law and A-law, and what digital silence looks like
 */
#include <math.h>
#include "edge/media/g711.h"

enum {
	TONE_WAVES = 11, /* in G711_TONE_PERIOD: 440 Hz */
	ULAW_BIAS = 132,
	ULAW_CLIP = 32635,
};

static unsigned exponent_of(unsigned magnitude) /* magnitude of 15 bits, at least 128 */
{
	unsigned exponent = 7;

	for (unsigned mask = 0x4000; exponent > 0 && !(magnitude & mask); mask >>= 1)
		exponent--;
	return exponent;
}

static uint8_t ulaw(int sample)
{
	unsigned sign = sample < 0 ? 0x80 : 0;
	unsigned magnitude = (unsigned)(sample < 0 ? -sample : sample);
	unsigned exponent;

	if (magnitude > ULAW_CLIP)
		magnitude = ULAW_CLIP;
	magnitude += ULAW_BIAS;
	exponent = exponent_of(magnitude);
	return (uint8_t) ~(sign | exponent << 4 | (magnitude >> (exponent + 3) & 0x0f));
}

static uint8_t alaw(int sample)
{
	unsigned sign = sample < 0 ? 0 : 0x80;
	unsigned magnitude = (unsigned)(sample < 0 ? -sample - 1 : sample); /* steps start at 0 and at -1 */
	unsigned exponent = magnitude < 256 ? 0 : exponent_of(magnitude);
	unsigned mantissa = magnitude >> (exponent ? exponent + 3 : 4) & 0x0f;

	return (uint8_t)((sign | exponent << 4 | mantissa) ^ 0x55);
}

uint8_t g711_encode(enum g711_law law, int16_t sample)
{
	return law == G711_ALAW ? alaw(sample) : ulaw(sample);
}

void g711_tone(enum g711_law law, uint8_t tone[static G711_TONE_PERIOD])
{
	double full_dbm0 = law == G711_ALAW ? 3.14 : 3.17;
	double peak = 32767 * pow(10, (-16 - full_dbm0) / 20);

	for (unsigned i = 0; i < G711_TONE_PERIOD; i++) {
		double angle = 2 * M_PI * TONE_WAVES * i / G711_TONE_PERIOD;

		tone[i] = g711_encode(law, (int16_t)lrint(peak * sin(angle)));
	}
}

bool g711_is_silence(enum g711_law law, const uint8_t *samples, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned steps = law == G711_ALAW ? (samples[i] ^ 0x55) & 0x7f : ~samples[i] & 0x7f;

		if (steps > 1)
			return false;
	}
	return true;
}
