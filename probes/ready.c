/* SPDX-License-Identifier: MIT */
#include "probes/ready.h"

#include <poll.h>

#define WORD_BITS 64

static uint32_t add_events(struct stint_ready *ret, uint32_t len, int32_t fd, uint32_t events)
{
	for (uint32_t i = 0; i < len; i++) {
		if (ret[i].data != (uint64_t)fd)
			continue;
		ret[i].events |= events;
		return len;
	}
	if (len == RECORD_READY)
		return len;
	ret[len] = (struct stint_ready){.data = (uint64_t)fd, .events = events};
	return len + 1;
}

static uint64_t data_of(const struct record_ready *ready)
{
	return (uint64_t)ready->data_high << 32 | ready->data_low;
}

/* A descriptor may be in several of a select's sets. */
static uint32_t read_sets(struct stint_ready *ret, const struct record_ready *words, uint32_t words_len)
{
	static const uint32_t set_events[] = {POLLIN, POLLOUT, POLLPRI};
	uint32_t len = 0;

	for (uint32_t i = 0; i < words_len; i++) {
		uint32_t set = words[i].events / WORD_BITS, word = words[i].events % WORD_BITS;
		uint64_t bits = data_of(&words[i]);

		if (set >= sizeof(set_events) / sizeof(set_events[0]))
			continue;
		for (uint32_t bit = 0; bit < WORD_BITS; bit++)
			if (bits >> bit & 1)
				len = add_events(ret, len, (int32_t)(word * WORD_BITS + bit),
						 set_events[set]);
	}
	return len;
}

uint32_t stint_ready_read(struct stint_ready *ret, const struct record_overrun *record)
{
	uint32_t len = record->ready_len < RECORD_READY ? record->ready_len : RECORD_READY;

	if (record->wait == RECORD_WAIT_SELECT)
		return read_sets(ret, record->ready, len);
	for (uint32_t i = 0; i < len; i++)
		ret[i] = (struct stint_ready){.data = data_of(&record->ready[i]),
					      .events = record->ready[i].events};
	return len;
}
