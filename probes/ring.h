/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_RING_H
#define STINT_PROBES_RING_H

/*
 * The consumer's side of a BPF ring buffer. libbpf's own maps the data twice, one after the other, so that no record is
 * seen in two pieces; that doubles what the buffer counts for in this process's memory. Here one record a round is
 * copied instead.
 */

#include <stddef.h>

struct stint_ring;

/* What it returns ends the taking if that is negative; the record counts as taken. `data` is aligned to 8 bytes. */
typedef int (*stint_ring_take)(void *ctx, const void *data, size_t bytes);

/* `map` stays the caller's; `data_bytes`: as the map was made. -ENOMEM, or what mmap() says. */
int stint_ring_new(struct stint_ring **ret, int map, size_t data_bytes, stint_ring_take take, void *ctx);
struct stint_ring *stint_ring_free(struct stint_ring *ring);

/* Waits for records, and takes all that there are. How many, what `take` returned, or what poll() says (-EINTR too). */
int stint_ring_poll(struct stint_ring *ring, int timeout_ms);

#endif
