/* SPDX-License-Identifier: MIT */
#include "reactor.h"

/*
 * Dispatching what a poll has returned: the hottest place of the library.
 *
 * Metered, the events of one handler that follow each other are a run. Each has its two values counted in their
 * buckets at once, and what else there is to count follows from a few figures of the run, so it is counted at its end.
 * Let dispatch i of n begin at t[i], and the last end at t[n], where b events are ready behind it. Then
 *	service sums up to   t[n] - t[0], as the end of one is the start of the next;
 *	of the waits, which are t[i] less when the poll returned, the first is the least and the last is the greatest;
 *	blame sums up to     (t[1] - t[0]) + ... + (t[n-1] - t[0]) + b (t[n] - t[0]):
 *	                     each was delayed by those before it, and the others by all of them;
 *	victims sum up to    (b + n-1) + ... + (b + 1) + b.
 * A dispatch that is out of the ordinary is none of the run, and ends it: a service time outside of the window, a
 * scope opened by the callback, a timer stopped that waited behind it.
 */

#define RUN_LIMIT 512
/* With this, RUN_LIMIT - 1 dispatches within their windows later a wait is still within the histogram's range. */
#define RUN_FIRST_WAIT_NS (UINT64_C(1) << (STINT_HISTOGRAM_MAX_BITS - 1))
_Static_assert(RUN_FIRST_WAIT_NS + (RUN_LIMIT - 1) * METER_WINDOW_HIGH < UINT64_C(1)
										 << STINT_HISTOGRAM_MAX_BITS,
	       "waits of a run need no look at the range");

struct run {
	struct stint_meter_file_block *block;
	struct meter_hot *hot;
	uint64_t begin_ns;    /* t[0] */
	uint64_t wait_ns;     /* of the first */
	uint64_t wait_sum_ns; /* of all so far */
	uint64_t behind;      /* events ready behind the first */
};

__attribute__((cold, noinline)) static void drop_event(struct stint_loop *loop, const struct stint_fd *source)
{
	if (loop->account)
		loop->account->dispatches--;
	if (source->index != WAKE_INDEX && source->freed_iteration != loop->iteration)
		loop->rebuild = true;
}

/* With 10,000 descriptors, each source is a cache miss: it is asked for while the one before is dispatched. */
static inline void prefetch_source(const struct epoll_event *event)
{
	__builtin_prefetch(tag_source(event->data.u64));
}

static void dispatch_unmetered(struct stint_loop *loop, const struct epoll_event *event,
			       const struct epoll_event *end)
{
	while (event < end) {
		struct stint_fd *source = tag_source(event->data.u64);

		event++;
		if (__builtin_expect(source->tag != event[-1].data.u64, 0)) {
			drop_event(loop, source);
			continue;
		}
		prefetch_source(event);
		source->callback(source, event[-1].events, source->ctx);
	}
}

/* Counts what is left to count of `count` dispatches, the last of which ended at `end_ns`. */
static void run_end(const struct run *run, uint64_t count, uint64_t last_wait_ns, uint64_t end_ns)
{
	struct stint_histogram *service = &run->block->histogram[STINT_METER_HANDLER_SERVICE];
	struct stint_histogram *wait = &run->block->histogram[STINT_METER_HANDLER_WAIT];
	uint64_t ran_ns = end_ns - run->begin_ns;

	if (count == 0)
		return;
	counter_add(&service->count, count);
	counter_add(&service->sum, ran_ns);
	counter_add(&wait->count, count);
	counter_add(&wait->sum, run->wait_sum_ns);
	histogram_extend(wait, run->wait_ns, last_wait_ns);
	counter_add(&run->block->blame_ns,
		    run->wait_sum_ns - count * run->wait_ns + (run->behind - (count - 1)) * ran_ns);
	counter_add(&run->block->victims, count * run->behind - count * (count - 1) / 2);
}

/* Ends a dispatch that is none of a run. `now_ns` is a sample of the clock. */
__attribute__((cold, noinline)) static void dispatch_odd(struct stint_meter_loop *account,
							 struct meter_hot *hot,
							 const struct meter_scope *scope, uint64_t wait_ns,
							 uint64_t now_ns)
{
	meter_account_wait(hot, wait_ns);
	dispatch_end_at(account, hot, scope, clock_settle(&account->clock, now_ns));
}

/* Begins a run with `event`; `end` is that of its batch. */
static inline struct run run_begin(struct stint_loop *loop, const struct epoll_event *event,
				   const struct epoll_event *end, uint32_t handler)
{
	struct stint_meter_loop *account = loop->account;
	struct run run = {
		.hot = meter_account_hot(account, handler),
		.begin_ns = account->clock.now_ns,
		.wait_ns = account->clock.now_ns - loop->batch_ns,
		.behind = (uint64_t)(end - event) - 1 + loop->due_left,
	};

	run.block = run.hot->block;
	account->behind = run.behind + 1;
	account->disturbed = run.wait_ns >= RUN_FIRST_WAIT_NS;
	relaxed_store(&account->figures->dispatch_handler, handler);
	return run;
}

/* Dispatches a run that begins with `event`, and returns the first event after it. `tsc`: what the clock is. */
static inline __attribute__((always_inline)) const struct epoll_event *dispatch_run(
	struct stint_loop *loop, const struct epoll_event *event, const struct epoll_event *end, bool tsc)
{
	struct stint_meter_loop *account = loop->account;
	struct stint_meter_file_loop *figures = account->figures;
	struct stint_fd *source = tag_source(event->data.u64);
	const uint32_t handler = source->handler;
	const struct epoll_event *first = event;
	struct run run = run_begin(loop, event, end, handler);
	uint64_t ready_ns = loop->batch_ns, now_ns = run.begin_ns, start_ns;

	if (end - event > RUN_LIMIT)
		end = event + RUN_LIMIT;
	do {
		struct stint_fd *next = tag_source(event[1].data.u64);
		int32_t fd = source->fd;
		uint64_t service_ns;

		start_ns = now_ns;
		account->behind--;
		relaxed_store(&figures->dispatch_fd, fd);
		relaxed_store(&figures->dispatch_begin_ns, start_ns);
		usdt_dispatch_begin(handler, fd, start_ns);
		__builtin_prefetch(next);
		source->callback(source, event->events, source->ctx);

		event++;
		source = next;
		now_ns = tsc ? clock_sample_tsc(&account->clock) : clock_sample(&account->clock);
		service_ns = now_ns - start_ns;
		if (__builtin_expect(account->disturbed || !meter_window_has(run.hot->service, service_ns),
				     0)) {
			run_end(&run, (uint64_t)(event - first) - 1, start_ns - ready_ns, start_ns);
			dispatch_odd(account, run.hot,
				     &(struct meter_scope){.handler = handler,
							   .fd = fd,
							   .start_ns = start_ns},
				     start_ns - ready_ns, now_ns);
			return event;
		}
		account->clock.now_ns = now_ns;
		usdt_dispatch_end(handler, fd, service_ns);
		run.wait_sum_ns += start_ns - ready_ns;
		histogram_bucket_add(&run.block->histogram[STINT_METER_HANDLER_WAIT], start_ns - ready_ns);
		histogram_bucket_add(&run.block->histogram[STINT_METER_HANDLER_SERVICE], service_ns);
	} while (event < end && source->tag == event->data.u64 && source->handler == handler);
	run_end(&run, (uint64_t)(event - first), start_ns - ready_ns, now_ns);
	return event;
}

static inline __attribute__((always_inline)) void dispatch_metered(struct stint_loop *loop,
								   const struct epoll_event *event,
								   const struct epoll_event *end, bool tsc)
{
	loop->account->dispatches += (uint64_t)(end - event);
	while (event < end) {
		struct stint_fd *source = tag_source(event->data.u64);

		if (__builtin_expect(source->tag == event->data.u64, 1)) {
			event = dispatch_run(loop, event, end, tsc);
			continue;
		}
		drop_event(loop, source);
		event++;
	}
}

void fd_dispatch(struct stint_loop *loop, uint32_t count)
{
	const struct epoll_event *event = loop->events, *end = event + count;

	if (!loop->account)
		dispatch_unmetered(loop, event, end);
	else if (loop->account->clock.tsc)
		dispatch_metered(loop, event, end, true);
	else
		dispatch_metered(loop, event, end, false);
}
