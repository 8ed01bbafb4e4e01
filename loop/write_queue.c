/* SPDX-License-Identifier: MIT */
#include "write_queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES 16384u

struct write_piece {
	struct write_piece *next;
	const uint8_t *data;  /* NULL: a file range */
	uint64_t bytes, done; /* of it; of them, those that are sent */
	size_t capacity;      /* of `storage`; 0: not ours */
	void (*release)(void *data, void *ctx);
	void (*release_file)(int fd, void *ctx);
	void *release_ctx;
	uint64_t offset; /* in the file, of the piece's beginning */
	int fd;
	uint8_t storage[];
};

static void append(struct write_queue *queue, struct write_piece *piece)
{
	if (queue->tail)
		queue->tail->next = piece;
	else
		queue->head = piece;
	queue->tail = piece;
	queue->bytes += piece->bytes - piece->done;
}

/* Fills up the last piece with as much of `data` as there is room for. */
static size_t top_up(struct write_queue *queue, const uint8_t *data, size_t bytes)
{
	struct write_piece *tail = queue->tail;
	size_t room = tail && tail->capacity ? tail->capacity - (size_t)tail->bytes : 0;

	if (bytes > room)
		bytes = room;
	if (bytes == 0)
		return 0;
	memcpy(tail->storage + tail->bytes, data, bytes);
	tail->bytes += bytes;
	queue->bytes += bytes;
	return bytes;
}

int write_queue_copy(struct write_queue *queue, const void *data, size_t bytes)
{
	const uint8_t *from = data;
	size_t room =
		queue->tail && queue->tail->capacity ? queue->tail->capacity - (size_t)queue->tail->bytes : 0;
	struct write_piece *piece = NULL;
	size_t rest = bytes > room ? bytes - room : 0;

	/* The new piece first: on failure nothing of it is queued. */
	if (rest) {
		size_t capacity = rest > PIECE_BYTES ? rest : PIECE_BYTES;

		if (capacity > SIZE_MAX - sizeof(*piece))
			return -ENOMEM;
		piece = malloc(sizeof(*piece) + capacity);
		if (!piece)
			return -ENOMEM;
		*piece = (struct write_piece){.capacity = capacity};
		piece->data = piece->storage;
	}
	from += top_up(queue, from, bytes);
	if (piece) {
		memcpy(piece->storage, from, rest);
		piece->bytes = rest;
		append(queue, piece);
	}
	return 0;
}

int write_queue_refer(struct write_queue *queue, const void *data, size_t bytes, size_t done,
		      void (*release)(void *, void *), void *release_ctx)
{
	struct write_piece *piece = malloc(sizeof(*piece));

	if (!piece)
		return -ENOMEM;
	*piece = (struct write_piece){
		.data = data, .bytes = bytes, .done = done, .release = release, .release_ctx = release_ctx};
	append(queue, piece);
	return 0;
}

static void close_file(int fd, void *ctx)
{
	(void)ctx;
	close(fd);
}

int write_queue_file(struct write_queue *queue, int fd, uint64_t offset, uint64_t bytes,
		     void (*release)(int, void *), void *release_ctx)
{
	struct write_piece *piece = malloc(sizeof(*piece));

	if (!piece)
		return -ENOMEM;
	*piece = (struct write_piece){.fd = fd,
				      .offset = offset,
				      .bytes = bytes,
				      .release_file = release ? release : close_file,
				      .release_ctx = release_ctx};
	append(queue, piece);
	return 0;
}

int write_queue_peek(const struct write_queue *queue, struct iovec *parts, int limit, size_t *bytes)
{
	int count = 0;

	*bytes = 0;
	for (const struct write_piece *piece = queue->head; piece && piece->data && count < limit;
	     piece = piece->next) {
		/* iovec has no const; a send does not write through it. */
		parts[count].iov_base = (void *)(uintptr_t)(piece->data + piece->done);
		parts[count].iov_len = (size_t)(piece->bytes - piece->done);
		*bytes += parts[count++].iov_len;
	}
	return count;
}

bool write_queue_peek_file(const struct write_queue *queue, struct write_queue_range *ret)
{
	const struct write_piece *head = queue->head;

	if (!head || head->data)
		return false;
	*ret = (struct write_queue_range){.fd = head->fd,
					  .offset = head->offset + head->done,
					  .bytes = head->bytes - head->done};
	return true;
}

static void drop_head(struct write_queue *queue)
{
	struct write_piece *piece = queue->head;

	queue->head = piece->next;
	if (!queue->head)
		queue->tail = NULL;
	if (piece->release_file)
		piece->release_file(piece->fd, piece->release_ctx);
	else if (piece->release)
		piece->release((void *)(uintptr_t)piece->data, piece->release_ctx);
	free(piece);
}

/* A release function may append, or clear all. */
void write_queue_advance(struct write_queue *queue, uint64_t bytes)
{
	queue->bytes -= bytes;
	while (queue->head) {
		uint64_t rest = queue->head->bytes - queue->head->done;

		if (bytes < rest) {
			queue->head->done += bytes;
			return;
		}
		bytes -= rest;
		drop_head(queue);
	}
}

void write_queue_clear(struct write_queue *queue)
{
	queue->bytes = 0;
	while (queue->head)
		drop_head(queue);
}
