/* SPDX-License-Identifier: MIT */
#ifndef METER_ACCOUNT_H
#define METER_ACCOUNT_H

/*
 * The insides of a loop's account, for the parts of the library that dispatch: the reactor calls the
 * inline functions here, which read the clock once a dispatch (the end of one is the start of the next).
 */

#include "clock.h"
#include "histogram_record.h"
#include "meter_map.h"

#include <stdbool.h>

#define NO_FD (-1)

struct meter_scope {
	uint32_t handler;
	int32_t fd;
	uint64_t start_ns;   /* when it began */
	uint64_t resumed_ns; /* when it began, or when an inner one last ended */
	uint64_t service_ns; /* what it had run before that */
};

/* What a dispatch needs of a handler, in one quarter of a cache line. */
struct meter_hot {
	struct stint_meter_file_block *block; /* NULL until first dispatched on this loop */
	uint64_t budget_ns;
};

struct stint_meter_loop {
	struct clock clock;
	struct stint_meter_file_loop *figures;
	struct stint_histogram *metric; /* STINT_METER_LOOP_METRICS of them */
	struct meter_hot *hot;          /* handler_limit of them */
	uint32_t hot_count;             /* handlers known here; more may have been registered */
	uint32_t depth;                 /* scopes open */
	uint32_t floor;                 /* of those, the reactor's own */
	uint64_t behind;                /* events known ready whose handlers have not begun */
	uint64_t poll_begin_ns;
	uint64_t poll_end_ns; /* 0: not polled yet */
	uint64_t dispatches;
	struct meter_scope scope[STINT_METER_DEPTH];

	uint64_t cpu_at_ns; /* when the thread's CPU clock was read */
	uint64_t cpu_ns;    /* and what it said */

	uint8_t *base; /* what offsets in `figures` count from */
	struct stint_meter *meter;
	void *private_memory; /* of an account beyond the loop limit */
	size_t private_bytes;
	bool sockets_backed;
};

struct meter_map *meter_get_map(struct stint_meter *meter);

/* Cold: a handler's first dispatch on this loop. Returns the block to use, never NULL. */
struct meter_hot *meter_account_adopt(struct stint_meter_loop *account, uint32_t handler);
/* Cold: the dispatch that just ended was over its budget. */
void meter_account_overrun(struct stint_meter_loop *account, const struct meter_scope *scope,
			   uint64_t service_ns, const struct meter_hot *hot);
/* Cold: ties the clocks anew. */
void meter_account_anchor(struct stint_meter_loop *account);
/* Appends to the socket ring. */
int meter_account_socket(struct stint_meter_loop *account, const struct stint_meter_file_socket *moment);
/* The thread that runs the loop may not be the one that made it. */
void meter_account_set_thread(struct stint_meter_loop *account);

static inline struct meter_hot *meter_account_hot(struct stint_meter_loop *account, uint32_t handler)
{
	if (__builtin_expect(handler < account->hot_count && account->hot[handler].block != NULL, 1))
		return &account->hot[handler];
	return meter_account_adopt(account, handler);
}

static inline void meter_account_mark(struct stint_meter_loop *account, const struct meter_scope *scope)
{
	relaxed_store(&account->figures->dispatch_handler, scope->handler);
	relaxed_store(&account->figures->dispatch_fd, scope->fd);
	relaxed_store(&account->figures->dispatch_begin_ns, scope->start_ns);
}

/* Opens scope `depth`, which is the caller's to count. `start_ns` is the last clock reading. */
static inline void meter_account_open(struct stint_meter_loop *account, uint32_t depth, uint32_t handler,
				      int fd, uint64_t start_ns)
{
	struct meter_scope *scope = &account->scope[depth];

	scope->handler = handler;
	scope->fd = fd;
	scope->start_ns = start_ns;
	scope->resumed_ns = start_ns;
	scope->service_ns = 0;
	relaxed_store(&account->figures->dispatch_handler, handler);
	relaxed_store(&account->figures->dispatch_fd, fd);
	relaxed_store(&account->figures->dispatch_begin_ns, start_ns);
}

static inline void meter_account_wait(const struct meter_hot *hot, uint64_t start_ns, uint64_t ready_ns)
{
	histogram_record(&hot->block->histogram[STINT_METER_HANDLER_WAIT],
			 start_ns > ready_ns ? start_ns - ready_ns : 0);
}

/* `ready_ns` 0: not known. */
static inline void meter_account_begin(struct stint_meter_loop *account, uint32_t handler, int fd,
				       uint64_t start_ns, uint64_t ready_ns)
{
	meter_account_open(account, account->depth++, handler, fd, start_ns);
	if (ready_ns)
		meter_account_wait(meter_account_hot(account, handler), start_ns, ready_ns);
}

/* Charges a handler with the scope that ends at `end_ns`, the clock's last reading. */
static inline void meter_account_charge(struct stint_meter_loop *account, const struct meter_scope *scope,
					const struct meter_hot *hot, uint64_t end_ns)
{
	uint64_t service_ns = scope->service_ns + (end_ns - scope->resumed_ns);
	struct stint_meter_file_block *block = hot->block;

	histogram_record(&block->histogram[STINT_METER_HANDLER_SERVICE], service_ns);
	counter_add(&block->blame_ns, service_ns * account->behind);
	counter_add(&block->victims, account->behind);
	if (__builtin_expect(service_ns > hot->budget_ns, 0))
		meter_account_overrun(account, scope, service_ns, hot);
}

/* Ends the innermost scope. */
static inline void meter_account_end(struct stint_meter_loop *account, uint64_t end_ns)
{
	const struct meter_scope *scope = &account->scope[--account->depth];

	meter_account_charge(account, scope, meter_account_hot(account, scope->handler), end_ns);
}

/* Closes the account of an iteration, if one is open; the last clock reading is when its work ended. */
static inline void meter_account_iteration_end(struct stint_meter_loop *account)
{
	struct stint_meter_file_loop *figures = account->figures;
	uint64_t busy_ns = account->clock.now_ns - account->poll_end_ns;

	relaxed_store(&figures->dispatch_begin_ns, 0);
	if (!account->poll_end_ns)
		return;
	histogram_record(&account->metric[STINT_METER_LOOP_BUSY], busy_ns);
	counter_add(&figures->iterations, 1);
	counter_add(&figures->busy_ns, busy_ns);
	counter_add(&figures->events, account->dispatches);
	account->dispatches = 0;
	account->poll_end_ns = 0;
}

static inline void meter_account_poll_begin(struct stint_meter_loop *account)
{
	meter_account_iteration_end(account);
	account->poll_begin_ns = account->clock.now_ns;
}

static inline void meter_account_poll_end(struct stint_meter_loop *account, uint32_t events)
{
	uint64_t poll_ns = clock_read(&account->clock) - account->poll_begin_ns;

	account->poll_end_ns = account->clock.now_ns;
	account->behind = events;
	if (account->poll_begin_ns) {
		histogram_record(&account->metric[STINT_METER_LOOP_POLL], poll_ns);
		counter_add(&account->figures->poll_ns, poll_ns);
	}
	histogram_record(&account->metric[STINT_METER_LOOP_BATCH], events);
	if (account->clock.now_ns - account->cpu_at_ns >= CLOCK_ANCHOR_MIN_NS)
		meter_account_anchor(account);
}

#endif
