/* SPDX-License-Identifier: MIT */
#ifndef WRITE_QUEUE_H
#define WRITE_QUEUE_H

/* What a stream has still to send: pieces in order, each a copy of ours or a reference to the user's. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct write_piece;

struct write_queue {
	struct write_piece *head, *tail;
	size_t head_done; /* bytes of the head that are sent */
	uint64_t bytes;   /* still to send */
};

int write_queue_copy(struct write_queue *queue, const void *data, size_t bytes);
int write_queue_refer(struct write_queue *queue, const void *data, size_t bytes,
		      void (*release)(void *, void *), void *release_ctx);

/* Fills `parts` with what comes next, at most `limit` parts; returns how many. `bytes` is their sum. */
int write_queue_peek(const struct write_queue *queue, struct iovec *parts, int limit, size_t *bytes);

/* `bytes` were sent. */
void write_queue_advance(struct write_queue *queue, size_t bytes);
void write_queue_clear(struct write_queue *queue);

#endif
