/* SPDX-License-Identifier: MIT */
#include "probes/ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FLAGS (BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)

struct stint_ring {
	int map;
	stint_ring_take take;
	void *ctx;
	unsigned long *consumer_pos; /* a page of its own, the only one that we may write */
	const unsigned char *pages;  /* one with the producer's position, then the data */
	size_t page_bytes;
	size_t data_bytes;    /* a power of two */
	unsigned char *whole; /* the record that lies across the end */
	size_t whole_bytes;
};

int stint_ring_new(struct stint_ring **ret, int map, size_t data_bytes, stint_ring_take take, void *ctx)
{
	struct stint_ring *ring = calloc(1, sizeof(*ring));
	void *memory;
	int err;

	if (!ring)
		return -ENOMEM;
	*ring = (struct stint_ring){.map = map, .take = take, .ctx = ctx, .data_bytes = data_bytes};
	ring->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	memory = mmap(NULL, ring->page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	if (memory == MAP_FAILED)
		goto fail;
	ring->consumer_pos = memory;
	memory = mmap(NULL, ring->page_bytes + data_bytes, PROT_READ, MAP_SHARED, map,
		      (off_t)ring->page_bytes);
	if (memory == MAP_FAILED)
		goto fail;
	ring->pages = memory;
	*ret = ring;
	return 0;

fail:
	err = -errno;
	stint_ring_free(ring);
	return err;
}

struct stint_ring *stint_ring_free(struct stint_ring *ring)
{
	if (!ring)
		return NULL;
	if (ring->consumer_pos)
		munmap(ring->consumer_pos, ring->page_bytes);
	if (ring->pages)
		munmap((void *)(uintptr_t)ring->pages, ring->page_bytes + ring->data_bytes);
	free(ring->whole);
	free(ring);
	return NULL;
}

/* The record at `at`, in one piece. NULL: out of memory. */
static const void *in_one_piece(struct stint_ring *ring, size_t at, size_t bytes)
{
	const unsigned char *data = ring->pages + ring->page_bytes;
	size_t first_bytes = ring->data_bytes - at;

	if (bytes <= first_bytes)
		return data + at;
	if (bytes > ring->whole_bytes) {
		void *larger = realloc(ring->whole, bytes);

		if (!larger)
			return NULL;
		ring->whole = larger;
		ring->whole_bytes = bytes;
	}
	memcpy(ring->whole, data + at, first_bytes);
	memcpy(ring->whole + first_bytes, data, bytes - first_bytes);
	return ring->whole;
}

static int take_one(struct stint_ring *ring, unsigned long at, uint32_t header)
{
	size_t bytes = header & ~FLAGS;
	const void *data;

	if (header & BPF_RINGBUF_DISCARD_BIT)
		return 0;
	data = in_one_piece(ring, (at + BPF_RINGBUF_HDR_SZ) & (ring->data_bytes - 1), bytes);
	return data ? ring->take(ring->ctx, data, bytes) : -ENOMEM;
}

/* A record is ready once its busy bit is gone; those behind it wait for it. */
static int take_all(struct stint_ring *ring)
{
	const unsigned long *producer_pos = (const void *)ring->pages;
	unsigned long at = *ring->consumer_pos;
	int taken = 0, err = 0;

	while (!err && at < __atomic_load_n(producer_pos, __ATOMIC_ACQUIRE)) {
		const uint32_t *place =
			(const void *)(ring->pages + ring->page_bytes + (at & (ring->data_bytes - 1)));
		uint32_t header = __atomic_load_n(place, __ATOMIC_ACQUIRE);

		if (header & BPF_RINGBUF_BUSY_BIT)
			break;
		err = take_one(ring, at, header);
		if (err >= 0) {
			taken += !(header & BPF_RINGBUF_DISCARD_BIT);
			err = 0;
		}
		at += ((header & ~FLAGS) + BPF_RINGBUF_HDR_SZ + 7) & ~7ul;
		__atomic_store_n(ring->consumer_pos, at, __ATOMIC_RELEASE);
	}
	return err ? err : taken;
}

int stint_ring_poll(struct stint_ring *ring, int timeout_ms)
{
	struct pollfd ready = {.fd = ring->map, .events = POLLIN};

	return poll(&ready, 1, timeout_ms) < 0 ? -errno : take_all(ring);
}
