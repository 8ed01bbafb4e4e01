/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_RING_H
#define SUBJECT_RING_H

/* A ring of io_uring for subjects, by the system calls alone. */

#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SUBJECT_RING_ENTRIES 16
#define SUBJECT_RING_REFUSED 77 /* exit status: this kernel lets no program have one */

struct ring {
	int fd;
	unsigned submitted; /* of those prepared */
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static inline void ring_open(struct ring *ring)
{
	struct io_uring_params params = {0};
	char *memory;

	ring->fd = (int)syscall(SYS_io_uring_setup, SUBJECT_RING_ENTRIES, &params);
	if (ring->fd < 0)
		exit(SUBJECT_RING_REFUSED);
	memory = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe) + 4096,
		      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	ring->sqes = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQES);
	if (memory == MAP_FAILED || ring->sqes == MAP_FAILED || !(params.features & IORING_FEAT_SINGLE_MMAP))
		exit(SUBJECT_RING_REFUSED);
	ring->sq_tail = (unsigned *)(void *)(memory + params.sq_off.tail);
	ring->sq_mask = (unsigned *)(void *)(memory + params.sq_off.ring_mask);
	ring->sq_array = (unsigned *)(void *)(memory + params.sq_off.array);
	ring->cq_head = (unsigned *)(void *)(memory + params.cq_off.head);
	ring->cq_tail = (unsigned *)(void *)(memory + params.cq_off.tail);
	ring->cq_mask = (unsigned *)(void *)(memory + params.cq_off.ring_mask);
	ring->cqes = (struct io_uring_cqe *)(void *)(memory + params.cq_off.cqes);
	ring->submitted = 0;
}

struct ring_answer {
	uint64_t user_data;
	int res;
	unsigned flags;
};

/* Submitted with the next wait. */
static inline void ring_prepare(struct ring *ring, const struct io_uring_sqe *sqe)
{
	unsigned tail = *ring->sq_tail, slot = tail & *ring->sq_mask;

	ring->sqes[slot] = *sqe;
	ring->sq_array[slot] = slot;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_RELEASE);
	ring->submitted++;
}

/* Until there are completions. */
static inline void ring_wait(struct ring *ring)
{
	if (syscall(SYS_io_uring_enter, ring->fd, ring->submitted, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0 &&
	    errno != EINTR) {
		perror("io_uring_enter");
		exit(1);
	}
	ring->submitted = 0;
}

/* Takes the next completion; 0 if there is none. */
static inline int ring_take(struct ring *ring, struct ring_answer *ret)
{
	unsigned head = *ring->cq_head;

	if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
		return 0;
	ret->user_data = ring->cqes[head & *ring->cq_mask].user_data;
	ret->res = ring->cqes[head & *ring->cq_mask].res;
	ret->flags = ring->cqes[head & *ring->cq_mask].flags;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	return 1;
}

#endif
