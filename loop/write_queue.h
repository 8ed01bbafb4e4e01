/* SPDX-License-Identifier: MIT */
#ifndef WRITE_QUEUE_H
#define WRITE_QUEUE_H

/* What a stream has still to send: pieces in order, each a copy of ours, a reference to the user's, or a file range. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct write_piece;

struct write_queue {
	struct write_piece *head, *tail;
	uint64_t bytes; /* still to send */
};

int write_queue_copy(struct write_queue *queue, const void *data, size_t bytes);

/* `done` of the bytes are sent already, so all that comes before them is. `release` gets `data` as it is here. */
int write_queue_refer(struct write_queue *queue, const void *data, size_t bytes, size_t done,
		      void (*release)(void *, void *), void *release_ctx);

/* Without `release`, the descriptor is closed. */
int write_queue_file(struct write_queue *queue, int fd, uint64_t offset, uint64_t bytes,
		     void (*release)(int, void *), void *release_ctx);

/*
 * Fills `parts` with what comes next, at most `limit` parts; returns how many. `bytes` is their sum. A file
 * range ends it, so there are none if one is next.
 */
int write_queue_peek(const struct write_queue *queue, struct iovec *parts, int limit, size_t *bytes);

struct write_queue_range {
	int fd;
	uint64_t offset, bytes; /* still to send */
};

/* Whether a file range is next, and which. */
bool write_queue_peek_file(const struct write_queue *queue, struct write_queue_range *ret);

/* `bytes` were sent. */
void write_queue_advance(struct write_queue *queue, uint64_t bytes);
void write_queue_clear(struct write_queue *queue);

#endif
