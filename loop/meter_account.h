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
#include "usdt.h"

#include <stdbool.h>

#define NO_FD (-1)

/* A dispatch that is open: one of the caller's own, or the reactor's with one of the caller's inside of it. */
struct meter_scope {
	uint32_t handler;
	int32_t fd;
	uint64_t start_ns;   /* when it began */
	uint64_t resumed_ns; /* when it began, or when an inner one last ended */
	uint64_t service_ns; /* what it had run before that */
};

/*
 * The most that a window of service times has: so far within the range of a histogram (2^42 ns) that as many such values
 * as a batch has events are too, together.
 */
#define METER_WINDOW_HIGH (UINT64_C(1) << 24)

/*
 * Values that need nothing but counting: at least `low`, and at most `low + span`. It lies within the histogram's
 * min and max, and for service below the budget, so that one comparison is enough for all of them.
 */
struct meter_window {
	uint64_t low;
	uint64_t span;
};

/* Has no value that a clock could give, a step back included. */
#define METER_WINDOW_EMPTY ((struct meter_window){.low = UINT64_C(1) << 63})

/* What a dispatch needs of a handler, in one cache line. */
struct meter_hot {
	struct stint_meter_file_block *block; /* NULL until first dispatched on this loop */
	uint64_t budget_ns;
	struct meter_window service;
	struct meter_window wait;
	bool works;         /* the histograms of offloaded work are backed */
	bool works_refused; /* there was no room for them */
	uint64_t reserved;
};

struct stint_meter_loop {
	struct clock clock;
	struct stint_meter_file_loop *figures;
	struct stint_histogram *metric; /* STINT_METER_LOOP_METRICS of them */
	struct meter_hot *hot;          /* handler_limit of them */
	uint32_t hot_count;             /* handlers known here; more may have been registered */
	uint32_t depth;                 /* scopes open, the reactor's only if there is another within it */
	bool reactor;                   /* the reactor runs: dispatches are its own */
	uint64_t behind;                /* events known ready whose handlers have not begun */
	/* For service in the run of dispatches that is under way; empty from when the run was disturbed. */
	struct meter_window window;
	/* Yet to be counted in their buckets: the wait of that run's dispatch, and how long the one before it ran. */
	uint64_t wait_ns, last_ns;
	uint64_t poll_end_ns; /* 0: not polled yet */
	uint64_t dispatches;
	struct meter_scope scope[STINT_METER_DEPTH];

	uint64_t cpu_at_ns; /* when reading the thread's CPU clock began */
	uint64_t cpu_ns;    /* and what it said */

	uint8_t *base;         /* what offsets in `figures` count from */
	struct meter_map *map; /* the meter's */
	struct stint_meter *meter;
	void *private_memory; /* of an account beyond the loop limit */
	size_t private_bytes;
	bool sockets_backed;
};

/* Cold: a handler's first dispatch on this loop. Returns the block to use, never NULL. */
struct meter_hot *meter_account_adopt(struct stint_meter_loop *account, uint32_t handler);
/* Cold: counts a service time that is outside of its window: an extreme, or an overrun. */
void meter_account_odd_service(struct stint_meter_loop *account, struct meter_hot *hot,
			       const struct meter_scope *scope, uint64_t service_ns);
/* Cold: counts a wait that is outside of its window. */
void meter_account_odd_wait(struct meter_hot *hot, uint64_t wait_ns);
/* Cold: ends what the callback left open within the reactor's dispatch, and returns how long that one ran. */
uint64_t meter_account_unwind(struct stint_meter_loop *account, uint64_t end_ns);
/* Cold: meter_account_poll_returned() where the clocks may have to be tied anew. `sample_ns`: not a reading yet. */
void meter_account_poll_returned_late(struct stint_meter_loop *account, uint32_t behind, uint64_t sample_ns);
/* The handler's histograms, those of offloaded work included; NULL if there is no room for them. */
struct stint_histogram *meter_account_work(struct stint_meter_loop *account, uint32_t handler);
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

/* A scope was opened in a dispatch, or what waits behind it has changed: it is to be counted by itself. */
static inline void meter_account_disturb(struct stint_meter_loop *account)
{
	account->window = METER_WINDOW_EMPTY;
}

/* Says what runs now, for those who look on from outside. */
static inline void meter_account_mark(struct stint_meter_loop *account, uint32_t handler, int32_t fd,
				      uint64_t start_ns)
{
	struct stint_meter_file_loop *figures = account->figures;

	relaxed_store(&figures->dispatch_handler, handler);
	relaxed_store(&figures->dispatch_fd, fd);
	relaxed_store(&figures->dispatch_begin_ns, start_ns);
}

static inline bool meter_window_has(struct meter_window window, uint64_t value)
{
	return __builtin_expect(value - window.low <= window.span, 1);
}

/* Whether a value was inside of the window, and so counted. */
static inline bool meter_window_count(struct meter_window window, struct stint_histogram *histogram,
				      uint64_t value)
{
	if (!meter_window_has(window, value))
		return false;
	counter_add(&histogram->count, 1);
	counter_add(&histogram->sum, value);
	histogram_bucket_add(histogram, value);
	return true;
}

static inline void meter_account_wait(struct meter_hot *hot, uint64_t wait_ns)
{
	if (!meter_window_count(hot->wait, &hot->block->histogram[STINT_METER_HANDLER_WAIT], wait_ns))
		meter_account_odd_wait(hot, wait_ns);
}

/* Charges a handler with a dispatch that ran for `service_ns`; true if there was nothing odd about it. */
static inline bool meter_account_charge(struct stint_meter_loop *account, const struct meter_hot *hot,
					uint64_t service_ns)
{
	struct stint_meter_file_block *block = hot->block;

	counter_add(&block->blame_ns, service_ns * account->behind);
	counter_add(&block->victims, account->behind);
	return meter_window_count(hot->service, &block->histogram[STINT_METER_HANDLER_SERVICE], service_ns);
}

/*
 * Charges a handler with a run of `count` dispatches, which ran for `ran_ns` from the first's begin to the last's end: all
 * but the bucket of each. `later_ns`: the begins of all but the first, less that of the first, summed. `behind`: how many
 * events were ready behind the first, and so one less behind each that followed.
 */
static inline void meter_account_charge_run(struct stint_meter_file_block *block, uint64_t count,
					    uint64_t ran_ns, uint64_t later_ns, uint64_t behind)
{
	struct stint_histogram *service = &block->histogram[STINT_METER_HANDLER_SERVICE];

	counter_add(&service->count, count);
	counter_add(&service->sum, ran_ns);
	if (count == 1) {
		counter_add(&block->blame_ns, behind * ran_ns);
		counter_add(&block->victims, behind);
		return;
	}
	counter_add(&block->blame_ns, later_ns + (behind - (count - 1)) * ran_ns);
	counter_add(&block->victims, count * behind - count * (count - 1) / 2);
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
	relaxed_store(&account->figures->poll_begin_ns, account->clock.now_ns);
}

static inline void meter_account_poll_returned_at(struct stint_meter_loop *account, uint32_t behind,
						  uint64_t now_ns)
{
	struct stint_meter_file_loop *figures = account->figures;
	uint64_t begin_ns = figures->poll_begin_ns;
	uint64_t poll_ns = now_ns - begin_ns;

	account->poll_end_ns = now_ns;
	account->behind = behind;
	if (begin_ns) {
		histogram_record(&account->metric[STINT_METER_LOOP_POLL], poll_ns);
		counter_add(&figures->poll_ns, poll_ns);
		relaxed_store(&figures->poll_begin_ns, 0);
	}
}

/* `behind`: the events that it returned, 0 if that is not known. */
static inline void meter_account_poll_returned(struct stint_meter_loop *account, uint32_t behind)
{
	uint64_t now_ns = clock_sample(&account->clock);

	/* Also if the TSC was set back. */
	if (__builtin_expect(now_ns - account->cpu_at_ns >= CLOCK_ANCHOR_MIN_NS, 0))
		meter_account_poll_returned_late(account, behind, now_ns);
	else
		meter_account_poll_returned_at(account, behind, clock_settle(&account->clock, now_ns));
}

static inline void meter_account_poll_end(struct stint_meter_loop *account, uint32_t events)
{
	histogram_record(&account->metric[STINT_METER_LOOP_BATCH], events);
	meter_account_poll_returned(account, events);
}

#endif
