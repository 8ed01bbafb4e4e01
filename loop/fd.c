/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Watched descriptors.
 *
 * The kernel's registration belongs to the open file, not to the number: closed behind our back, it goes
 * away silently, or lives on if the file was duplicated; and the number may come back as another file. So:
 *  - `by_number` says which source has a number registered. One that is replaced there has lost its
 *    registration, and must not delete its successor's.
 *  - An event carries address and generation of its source. One from a former generation is dropped; if it
 *    comes in a later iteration than that in which the generation ended, the registration has outlived its
 *    descriptor and cannot be removed any more, and the epoll set is built anew. What the old one does not have
 *    under a source's number is not its file, and does not get into the new one.
 *
 * A source that is found to have lost its registration is called with STINT_ERROR, once; its generation ends.
 *
 * Adding and removing go to the kernel at once, for their errors and because the caller may close the
 * descriptor next. Changes of mask wait for the next poll: one that is taken back costs nothing.
 *
 * Price: 64 bytes a source, 4 for each descriptor number.
 */

_Static_assert(sizeof(struct stint_fd) == 64, "a source is one cache line");
_Static_assert(STINT_READ == EPOLLIN && STINT_WRITE == EPOLLOUT && STINT_ERROR == EPOLLERR &&
		       STINT_HANGUP == EPOLLHUP && STINT_EDGE == (uint32_t)EPOLLET,
	       "events pass through as they are");

#define KNOWN_EVENTS (STINT_READ | STINT_WRITE)

static uint64_t tag_next_generation(uint64_t tag)
{
	uint64_t generation = (tag >> TAG_ADDRESS_BITS << 6 | (tag & 0x3f)) + 1;

	return (generation >> 6) << TAG_ADDRESS_BITS | (tag & TAG_ADDRESS_MASK) | (generation & 0x3f);
}

static int add_chunk(struct stint_loop *loop)
{
	struct stint_fd **chunks, *chunk;
	uint32_t first = loop->fd_chunk_count * FD_CHUNK;

	chunks = reallocarray(loop->fd_chunks, loop->fd_chunk_count + 1, sizeof(*chunks));
	if (!chunks)
		return -ENOMEM;
	loop->fd_chunks = chunks;
	chunk = aligned_alloc(64, FD_CHUNK * sizeof(*chunk));
	if (!chunk)
		return -ENOMEM;
	memset(chunk, 0, FD_CHUNK * sizeof(*chunk));
	loop->fd_chunks[loop->fd_chunk_count++] = chunk;
	for (uint32_t i = FD_CHUNK; i-- > 0;) {
		chunk[i].index = first + i;
		chunk[i].tag = (uintptr_t)&chunk[i];
		chunk[i].next = loop->fd_free;
		loop->fd_free = first + i;
	}
	return 0;
}

static int grow_by_number(struct stint_loop *loop, uint32_t number)
{
	uint32_t size = loop->by_number_size ? loop->by_number_size : 64;
	uint32_t *table;

	if (number < loop->by_number_size)
		return 0;
	while (size <= number)
		size *= 2;
	table = reallocarray(loop->by_number, size, sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (uint32_t i = loop->by_number_size; i < size; i++)
		table[i] = NO_INDEX;
	loop->by_number = table;
	loop->by_number_size = size;
	return 0;
}

/* A child by fork() has its parent's epoll set, and must change nothing of it. */
static int control(const struct stint_loop *loop, int operation, const struct stint_fd *source)
{
	struct epoll_event event = {.events = source->wanted, .data.u64 = source->tag};

	if (loop_is_foreign(loop))
		return -ECHILD;
	return epoll_ctl(loop->epoll, operation, source->fd, &event) < 0 ? -errno : 0;
}

/* Of the events that the poll has returned, some may be of a source that is gone. */
static void look_at_each_event(struct stint_loop *loop)
{
	if (loop->careful)
		return;
	loop->careful = true;
	if (loop->account)
		meter_account_disturb(loop->account);
}

/* Events of the source, also those that come yet, are dropped from now on. */
static void end_generation(struct stint_loop *loop, struct stint_fd *source)
{
	source->registered = false;
	source->tag = tag_next_generation(source->tag);
	source->freed_iteration = loop->iteration;
	look_at_each_event(loop);
}

/* ---- sources that are lost ---- */

static void tell_lost(struct deferral *deferral)
{
	struct stint_loop *loop =
		(struct stint_loop *)((char *)deferral - offsetof(struct stint_loop, fd_lost));

	if (loop->account)
		loop->account->behind = 0;
	for (uint32_t i = 0; loop->fd_lost_count && i < loop->fd_chunk_count * FD_CHUNK; i++) {
		struct stint_fd *source = loop_fd(loop, i);
		struct dispatch dispatch;

		if (!source->lost)
			continue;
		source->lost = false;
		loop->fd_lost_count--;
		dispatch = dispatch_open(loop, source->handler, 0);
		source->callback(source, STINT_ERROR, source->ctx);
		dispatch_close(loop, &dispatch);
	}
}

/*
 * The kernel has dropped the registration, or has it under a number that is not its any more: nothing is to come, so
 * nothing is to be waited for. If the file is open elsewhere, events of it do come: with the first, the set is built anew.
 */
static void lose(struct stint_loop *loop, struct stint_fd *source)
{
	loop->by_number[source->fd] = NO_INDEX;
	stint_fd_set_background(source, true);
	end_generation(loop, source);
	loop->strays = true;
	source->lost = true;
	loop->fd_lost_count++;
	if (loop->fd_lost.queued)
		return;
	deferral_init(&loop->fd_lost, 0, tell_lost);
	loop->fd_lost.plain = true;
	deferral_schedule(loop, &loop->fd_lost);
}

/* ---- making and freeing ---- */

/* Whoever had the number before has lost its registration when the kernel accepted ours. */
static void take_number(struct stint_loop *loop, struct stint_fd *source)
{
	uint32_t before = loop->by_number[source->fd];

	if (before != NO_INDEX)
		lose(loop, loop_fd(loop, before));
	loop->by_number[source->fd] = source->index;
	source->registered = true;
	source->armed = source->wanted;
}

static int check_descriptor(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return flags & O_NONBLOCK ? 0 : -EINVAL;
}

int stint_fd_new(struct stint_fd **ret, struct stint_loop *loop, int fd, uint32_t events, uint32_t handler,
		 stint_fd_callback callback, void *ctx)
{
	struct stint_fd *source;
	int error;

	if (!ret || !loop || loop->dead || !callback || (events & ~(KNOWN_EVENTS | STINT_EDGE)) ||
	    !loop_handler_valid(loop, handler))
		return -EINVAL;
	error = check_descriptor(fd);
	if (error == 0 && loop->fd_free == NO_INDEX)
		error = add_chunk(loop);
	if (error == 0)
		error = grow_by_number(loop, (uint32_t)fd);
	if (error < 0)
		return error;
	source = loop_fd(loop, loop->fd_free);
	source->fd = fd;
	source->wanted = events;
	error = control(loop, EPOLL_CTL_ADD, source);
	if (error < 0)
		return error;
	loop->fd_free = source->next;
	loop->fd_live++;
	take_number(loop, source);
	source->loop = loop;
	source->callback = callback;
	source->ctx = ctx;
	source->handler = handler;
	source->live = true;
	source->owned = source->background = source->lost = false;
	*ret = source;
	return 0;
}

/* A source on the list of changes stays on it; the flush passes it by and puts it on the free list. */
static void recycle(struct stint_loop *loop, struct stint_fd *source)
{
	if (source->changed)
		return;
	source->next = loop->fd_free;
	loop->fd_free = source->index;
}

struct stint_fd *stint_fd_free(struct stint_fd *source)
{
	struct stint_loop *loop;

	if (!source || !source->live)
		return NULL;
	loop = source->loop;
	if (source->registered) {
		/* Fails if the descriptor was closed behind our back, and then there is nothing that could be removed. */
		if (control(loop, EPOLL_CTL_DEL, source) < 0)
			loop->strays = true;
		loop->by_number[source->fd] = NO_INDEX;
		if (source->owned)
			close(source->fd);
	}
	loop->fd_live--;
	loop->fd_background -= source->background;
	loop->fd_lost_count -= source->lost;
	source->live = source->lost = false;
	end_generation(loop, source);
	recycle(loop, source);
	return NULL;
}

static void note_change(struct stint_fd *source)
{
	if (source->changed)
		return;
	source->changed = true;
	source->next = source->loop->fd_changed;
	source->loop->fd_changed = source->index;
}

int stint_fd_set_events(struct stint_fd *source, uint32_t events)
{
	if (!source || !source->live || (events & ~KNOWN_EVENTS))
		return -EINVAL;
	source->wanted = events | (source->wanted & STINT_EDGE);
	if (source->wanted != source->armed)
		note_change(source);
	return 0;
}

void fd_set_edge(struct stint_fd *source, bool edge)
{
	source->wanted = edge ? source->wanted | STINT_EDGE : source->wanted & ~STINT_EDGE;
	if (source->wanted != source->armed)
		note_change(source);
}

uint32_t stint_fd_events(const struct stint_fd *source)
{
	return source && source->live ? source->wanted & KNOWN_EVENTS : 0;
}

int stint_fd_own(struct stint_fd *source, bool own)
{
	if (!source || !source->live)
		return -EINVAL;
	source->owned = own;
	return 0;
}

int stint_fd_set_background(struct stint_fd *source, bool background)
{
	if (!source || !source->live)
		return -EINVAL;
	if (!source->registered) /* it is lost, and nobody could end a wait for it */
		return 0;
	source->loop->fd_background += (uint32_t)background - source->background;
	source->background = background;
	return 0;
}

int stint_fd_set_handler(struct stint_fd *source, uint32_t handler)
{
	if (!source || !source->live || !loop_handler_valid(source->loop, handler))
		return -EINVAL;
	source->handler = handler;
	return 0;
}

int stint_fd_descriptor(const struct stint_fd *source)
{
	return source && source->live ? source->fd : -EINVAL;
}

struct stint_loop *stint_fd_loop(const struct stint_fd *source)
{
	return source && source->live ? source->loop : NULL;
}

void *stint_fd_ctx(const struct stint_fd *source)
{
	return source && source->live ? source->ctx : NULL;
}

void fd_flush_changes(struct stint_loop *loop)
{
	while (loop->fd_changed != NO_INDEX) {
		struct stint_fd *source = loop_fd(loop, loop->fd_changed);

		loop->fd_changed = source->next;
		source->changed = false;
		if (!source->live) {
			recycle(loop, source);
			continue;
		}
		/* One that reports changes reports what there is anew upon MOD, which is what a pause taken back is for. */
		if (!source->registered ||
		    (source->wanted == source->armed && !(source->wanted & STINT_EDGE)))
			continue;
		if (control(loop, EPOLL_CTL_MOD, source) == 0)
			source->armed = source->wanted;
		else
			lose(loop, source);
	}
}

/* Adds the sources that are alive to `epoll`, of which those whose registration the kernel has dropped are none. */
static int add_all(struct stint_loop *loop, int epoll)
{
	for (uint32_t i = 0; i < loop->fd_chunk_count * FD_CHUNK; i++) {
		struct stint_fd *source = loop_fd(loop, i);
		struct epoll_event event = {.events = source->armed, .data.u64 = source->tag};

		if (!source->live || !source->registered)
			continue;
		/* The old set knows by the number and the file, so this fails if the number is another file by now. */
		if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, source->fd, &event) == 0 &&
		    epoll_ctl(epoll, EPOLL_CTL_ADD, source->fd, &event) == 0)
			continue;
		if (errno == ENOMEM || errno == ENOSPC)
			return -errno;
		lose(loop, source);
	}
	return loop->port ? job_port_watch(loop, epoll) : 0;
}

/*
 * A fresh epoll set: the way to be rid of a registration without a number. Out of descriptors or memory, the old set
 * goes on: its stray events cost time, and nothing else.
 */
void fd_rebuild(struct stint_loop *loop)
{
	int fresh = epoll_create1(EPOLL_CLOEXEC);

	if (fresh < 0)
		return;
	if (add_all(loop, fresh) < 0) {
		close(fresh);
		return;
	}
	close(loop->epoll);
	loop->epoll = fresh;
	loop->rebuild = loop->strays = false;
}

void fd_free_all(struct stint_loop *loop)
{
	for (uint32_t i = 0; i < loop->fd_chunk_count * FD_CHUNK; i++)
		stint_fd_free(loop_fd(loop, i));
}

void fd_free_memory(struct stint_loop *loop)
{
	for (uint32_t i = 0; i < loop->fd_chunk_count; i++)
		free(loop->fd_chunks[i]);
	free(loop->fd_chunks);
	free(loop->by_number);
}
