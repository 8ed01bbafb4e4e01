/* SPDX-License-Identifier: MIT */
#ifndef REACTOR_H
#define REACTOR_H

/* The insides of the loop, shared by the files that implement its sources. */

#include "fork.h"
#include "meter_account.h"
#include "options.h"
#include "timer_wheel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stint/loop.h>
#include <sys/epoll.h>

#define LOOP_BATCH_LIMIT 65536u
#define NO_INDEX         UINT32_MAX
#define NO_HANDLER       UINT32_MAX
/* Of what is registered and yet no source: its events only wake the loop. */
#define WAKE_INDEX ((1u << 28) - 1)

/*
 * A watched descriptor, one cache line, from a table that lives as long as the loop. The kernel is given the
 * tag, which is the source's address and a generation in the bits that addresses leave free: an event for a
 * source that is gone finds another tag there, and is dropped.
 */
struct stint_fd {
	uint64_t tag;
	stint_fd_callback callback;
	void *ctx;
	uint32_t handler;
	int32_t fd;
	struct stint_loop *loop;
	uint32_t wanted;          /* EPOLL* mask that the owner wants */
	uint32_t armed;           /* the one that the kernel was told */
	uint32_t freed_iteration; /* when the last generation ended */
	uint32_t index : 28;
	bool live : 1, registered : 1, owned : 1, changed : 1;
	uint32_t next; /* free list, or list of changes */
	bool background;
	bool lost; /* its registration is gone, of which it is to be told */
};

/*
 * A tag: bits 6 to 47 are those of the address (user space has 47 of them unless it asks for more, and a source
 * is aligned to 64), the 16 above and the 6 below count generations.
 */
#define TAG_ADDRESS_BITS 48
#define TAG_ADDRESS_MASK UINT64_C(0x0000ffffffffffc0)

static inline struct stint_fd *tag_source(uint64_t tag)
{
	return (struct stint_fd *)(uintptr_t)(tag & TAG_ADDRESS_MASK);
}

#define FD_CHUNK 256u

/* Something on the loop with memory of its own: freed with the loop, but never during a dispatch. */
struct object {
	struct object *next, *previous;
	void (*destroy)(struct object *object); /* detaches it, and ends in loop_bury() */
	struct stint_loop *loop;
};

/* A callback to come in step 6; embedded by the objects that need one. */
struct deferral {
	struct deferral *next, *previous;
	void (*run)(struct deferral *deferral);
	uint16_t handler;
	bool queued;
	bool plain; /* no dispatch of its own: run() opens those that it makes */
};

struct idle_link {
	struct idle_link *next, *previous;
};

/* Place in the ring of started slices. */
struct slice_link {
	struct slice_link *next, *previous;
};

struct timer_chunk;
struct stint_job;
struct job_port;
union job_entry;

struct stint_loop {
	struct stint_meter_loop *account; /* NULL: not metered */
	struct clock *clock;              /* the account's, or own_clock */
	int epoll;
	bool running, dispatching, stopped, dead, rebuild;
	bool strays; /* registrations may have outlived their sources: see fd.c */
	bool careful; /* metered: events of this batch may have no source any more, or need more than the usual */
	bool coarse; /* there is no epoll_pwait2 */
	uint32_t iteration;
	uint32_t generation; /* see loop_is_foreign() */
	uint64_t batch_ns;   /* when the poll returned */

	struct epoll_event *events;
	uint32_t batch_limit;

	struct stint_fd **fd_chunks;
	uint32_t fd_chunk_count;
	uint32_t fd_free;    /* index of the first free entry */
	uint32_t fd_changed; /* index of the first whose mask is to be told */
	uint32_t fd_live;
	uint32_t fd_background; /* of these, those that do not keep the loop running */
	uint32_t *by_number;    /* descriptor -> index of the source that has it registered */
	uint32_t by_number_size;
	uint32_t fd_lost_count;  /* sources that are lost, and are still to be told so, */
	struct deferral fd_lost; /* by this */

	uint64_t timers_armed;
	uint64_t timers_background; /* of these, those that do not keep the loop running */
	uint64_t due_left;          /* expired timers of this iteration, not yet dispatched */
	struct stint_timer *timer_free;
	struct timer_chunk *timer_blocks; /* the newest, of timer_block_chunks chunks */
	uint32_t timer_block_chunks;
	uint32_t timer_chunks_left; /* of these, those that have no timers yet */
	struct stint_timeouts **timeout_kinds;
	uint32_t timeout_kinds_size;

	struct deferral deferrals; /* head of a ring */
	uint32_t deferred_count;
	uint32_t urgent; /* deferred_count + slice_count + idle_count: unless 0, the poll does not wait */
	uint32_t timer_iteration; /* the last in which a timer was due */
	uint32_t idle_count;
	struct idle_link idles; /* head of a ring of those that are started */

	struct stint_mailbox *signal_mailbox; /* there while signals are watched */
	uint32_t signal_count;
	uint32_t signals_background; /* of these, those that do not keep the loop running */

	uint8_t *file_buffer; /* shared by readers of files */
	size_t file_buffer_bytes;

	struct slice_link slices; /* head of a ring: the one that has used the least comes first */
	uint32_t slice_count;     /* those that are started */
	uint64_t slice_share_ns;
	uint64_t slice_rank_ns; /* the most that a slice had used when it was the first */

	struct job_port *port;                      /* where jobs come back; NULL until the first */
	struct stint_job *jobs_out;                 /* those that `done` has not been called for */
	struct stint_job *jobs_returned;            /* of these, those that this iteration dispatches */
	struct stint_job *jobs_free;                /* memory for the next, */
	union job_entry *job_blocks;                /* and the newest block of such, */
	uint32_t job_block_entries, job_block_used; /* of which so many are, or were, in use */

	struct object objects; /* head of a ring */
	struct object *graves;
	uint8_t *read_buffer;            /* shared by streams */
	struct stint_resolver *resolver; /* made when a name is first looked up without one */
	struct stint_meter *meter;
	struct clock own_clock;
	struct timer_wheel wheel;
};

static inline struct stint_fd *loop_fd(struct stint_loop *loop, uint32_t index)
{
	return &loop->fd_chunks[index / FD_CHUNK][index % FD_CHUNK];
}

/* Whether this is a child by fork() of the process that the loop is of, with which it shares the epoll set. */
static inline bool loop_is_foreign(const struct stint_loop *loop)
{
	return loop->generation != fork_generation_now;
}

/*
 * A dispatch by the reactor, between two readings of the clock, the first of which ended the dispatch before. What
 * runs is known by its mark in the meter's file; it becomes a scope only if the callback opens one inside of it.
 */
static inline struct meter_hot *dispatch_begin(struct stint_meter_loop *account, uint32_t handler, int32_t fd,
					       uint64_t start_ns)
{
	struct meter_hot *hot =
		&account->hot[handler]; /* sources carry only handlers that are in the table */

	meter_account_mark(account, handler, fd, start_ns);
	usdt_dispatch_begin(handler, fd, start_ns);
	return __builtin_expect(hot->block != NULL, 1) ? hot : meter_account_adopt(account, handler);
}

/* Ends it at `now_ns`, and with it what the callback left open. */
static inline void dispatch_end_at(struct stint_meter_loop *account, struct meter_hot *hot,
				   const struct meter_scope *scope, uint64_t now_ns)
{
	uint64_t service_ns = now_ns - scope->start_ns;

	if (__builtin_expect(account->depth != 0, 0))
		service_ns = meter_account_unwind(account, now_ns);
	usdt_dispatch_end(scope->handler, scope->fd, service_ns);
	if (__builtin_expect(!meter_account_charge(account, hot, service_ns), 0))
		meter_account_odd_service(account, hot, scope, service_ns);
}

/* From so many on, what sorting them took is worth a reading of the clock. */
#define LOOP_OWN_WORK 64u

/* Ends work of the loop's own, so that it is not taken for the next dispatch's. */
static inline void loop_end_own_work(struct stint_loop *loop, uint64_t things)
{
	if (things >= LOOP_OWN_WORK && loop->account)
		clock_read(loop->clock);
}

/* The same for timers and deferred callbacks, where a few instructions do not matter. */
struct dispatch {
	struct meter_hot *hot; /* NULL: not metered */
	uint32_t handler;
	uint64_t start_ns;
};

/* `ready_ns` 0: not known. */
static inline struct dispatch dispatch_open(struct stint_loop *loop, uint32_t handler, uint64_t ready_ns)
{
	struct stint_meter_loop *account = loop->account;
	struct dispatch dispatch = {.handler = handler, .start_ns = loop->clock->now_ns};

	if (!account)
		return dispatch;
	account->dispatches++;
	dispatch.hot = dispatch_begin(account, handler, NO_FD, dispatch.start_ns);
	if (ready_ns)
		meter_account_wait(dispatch.hot,
				   dispatch.start_ns > ready_ns ? dispatch.start_ns - ready_ns : 0);
	return dispatch;
}

static inline void dispatch_close(struct stint_loop *loop, const struct dispatch *dispatch)
{
	const struct meter_scope scope = {.handler = dispatch->handler,
					  .fd = NO_FD,
					  .start_ns = dispatch->start_ns};

	if (dispatch->hot)
		dispatch_end_at(loop->account, dispatch->hot, &scope, clock_read(loop->clock));
}

/* object.c */
/* A handler index that a source may carry. */
bool loop_handler_valid(const struct stint_loop *loop, uint32_t handler);
void loop_add_object(struct stint_loop *loop, struct object *object, void (*destroy)(struct object *));
/* Takes it off the loop and frees its memory, at once or after the iteration. */
void loop_bury(struct object *object);
/* Only takes it off the loop; loop_bury() may follow. */
void loop_forget(struct object *object);
/* Frees what was buried during the iteration. */
void loop_empty_graves(struct stint_loop *loop);

/* fd.c */
void fd_flush_changes(struct stint_loop *loop);
/* Whether to report changes or states. A state that nobody can end, as EPOLLHUP is, would be reported for ever. */
void fd_set_edge(struct stint_fd *source, bool edge);
/* Tried again in the next iteration if it cannot be done now. */
void fd_rebuild(struct stint_loop *loop);
void fd_free_all(struct stint_loop *loop);
void fd_free_memory(struct stint_loop *loop);

/* fd_dispatch.c */
/* Dispatches what the poll has returned. */
void fd_dispatch(struct stint_loop *loop, uint32_t count);

/* timer_dispatch.c */
uint64_t timer_next_due(struct stint_loop *loop);
void timer_count_due(struct stint_loop *loop);
void timer_dispatch_due(struct stint_loop *loop);

/* timeout.c */
void timeout_dispatch(struct stint_loop *loop, struct stint_timer *timer); /* that was taken off the wheel */
void timeout_free_memory(struct stint_loop *loop);

/* timer_memory.c */
void timer_free_memory(struct stint_loop *loop);

/* deferred.c */
void deferral_init(struct deferral *deferral, uint32_t handler, void (*run)(struct deferral *));
void deferral_schedule(struct stint_loop *loop, struct deferral *deferral);
void deferral_cancel(struct stint_loop *loop, struct deferral *deferral);
void deferral_dispatch(struct stint_loop *loop);

/* post.c */
/* Whether one is in a mailbox that the loop has not been woken for yet; it is about to be. */
bool post_is_there(const struct stint_loop *loop);

/* slice.c */
void slice_dispatch(struct stint_loop *loop);

/* job.c */
/* Calls `done` for the jobs that have come back. */
void job_dispatch(struct stint_loop *loop);
/* Cancels all jobs, waits until no thread has one of them, and calls nobody. In a forked child there are no threads. */
void job_abandon_all(struct stint_loop *loop);
void job_free_memory(struct stint_loop *loop);

/* job_port.c */
/* Has an epoll set wake the loop for jobs that come back. */
int job_port_watch(struct stint_loop *loop, int epoll);
void job_port_close(struct stint_loop *loop);

/* idle.c */
void idle_dispatch(struct stint_loop *loop);

#endif
