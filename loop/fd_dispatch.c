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
 *
 * The loop over the events is short of registers, so t[i] is nowhere but in the meter's file, where it marks the dispatch
 * that runs: a scope that the callback opens and ends puts it back.
 */

/* With this, as many dispatches within their windows later a wait is still within the histogram's range. */
#define RUN_FIRST_WAIT_NS (UINT64_C(1) << (STINT_HISTOGRAM_MAX_BITS - 1))
_Static_assert(RUN_FIRST_WAIT_NS + LOOP_BATCH_LIMIT * METER_WINDOW_HIGH < UINT64_C(1)
										  << STINT_HISTOGRAM_MAX_BITS,
	       "waits of a run need no look at the range");

struct run {
	struct stint_meter_file_block *block;
	struct meter_hot *hot;
	uint64_t ready_ns;    /* when the poll returned */
	uint64_t begin_ns;    /* t[0] */
	uint64_t wait_sum_ns; /* of all so far */
	uint64_t behind;      /* events ready behind the first */
};

/* What comes after a batch, so that its end is found by the look that each event needs: its tag is no source's. */
static const struct stint_fd batch_end __attribute__((aligned(64)));

__attribute__((cold, noinline)) static void drop_event(struct stint_loop *loop, const struct stint_fd *source)
{
	if (loop->account) {
		loop->account->dispatches--;
		loop->account->behind--;
	}
	if (source->index != WAKE_INDEX && source->freed_iteration != loop->iteration)
		loop->rebuild = true;
}

/* With 10,000 descriptors, each source is a cache miss: it is asked for while the one before is dispatched. */
static inline struct stint_fd *prefetch_source(const struct epoll_event *event)
{
	struct stint_fd *source = tag_source(event->data.u64);

	__builtin_prefetch(source);
	return source;
}

static void dispatch_unmetered(struct stint_loop *loop, const struct epoll_event *event,
			       const struct epoll_event *end)
{
	struct stint_fd *source = tag_source(event->data.u64), *next;

	for (;; source = next, event++) {
		if (__builtin_expect(source->tag != event->data.u64, 0)) {
			if (event == end)
				return;
			drop_event(loop, source);
			next = tag_source(event[1].data.u64);
			continue;
		}
		next = prefetch_source(event + 1);
		source->callback(source, event->events, source->ctx);
	}
}

/* Counts what is left to count of `count` dispatches, the last of which ended at `end_ns`. */
static inline void run_end(const struct run *run, uint64_t count, uint64_t last_wait_ns, uint64_t end_ns)
{
	struct stint_histogram *service = &run->block->histogram[STINT_METER_HANDLER_SERVICE];
	struct stint_histogram *wait = &run->block->histogram[STINT_METER_HANDLER_WAIT];
	uint64_t ran_ns = end_ns - run->begin_ns, first_wait_ns = run->begin_ns - run->ready_ns;

	counter_add(&service->count, count);
	counter_add(&service->sum, ran_ns);
	counter_add(&wait->count, count);
	counter_add(&wait->sum, run->wait_sum_ns);
	histogram_extend(wait, first_wait_ns, last_wait_ns);
	if (count == 1) {
		counter_add(&run->block->blame_ns, run->behind * ran_ns);
		counter_add(&run->block->victims, run->behind);
		return;
	}
	counter_add(&run->block->blame_ns,
		    run->wait_sum_ns - count * first_wait_ns + (run->behind - (count - 1)) * ran_ns);
	counter_add(&run->block->victims, count * run->behind - count * (count - 1) / 2);
}

/* The dispatch of the reactor's that ends now, which the callback may have left with scopes in it. */
static struct meter_scope running(const struct stint_meter_loop *account)
{
	const struct stint_meter_file_loop *figures = account->figures;

	if (account->depth > 0)
		return account->scope[0];
	return (struct meter_scope){.handler = figures->dispatch_handler,
				    .fd = figures->dispatch_fd,
				    .start_ns = figures->dispatch_begin_ns};
}

/* Ends a run of `count` and the dispatch after it, which is none of it. `now_ns` is a sample of the clock. */
__attribute__((cold, noinline)) static void run_end_oddly(struct stint_meter_loop *account,
							  const struct run *run, uint64_t count,
							  uint64_t now_ns)
{
	const struct meter_scope scope = running(account);
	uint64_t wait_ns = scope.start_ns - run->ready_ns;

	if (count > 0)
		run_end(run, count, wait_ns, scope.start_ns);
	meter_account_wait(run->hot, wait_ns);
	dispatch_end_at(account, run->hot, &scope, clock_settle(&account->clock, now_ns));
}

/* The run begins at the last reading of the clock. */
static inline void run_begin(struct run *run, struct stint_loop *loop, uint32_t handler)
{
	struct stint_meter_loop *account = loop->account;
	struct meter_hot *hot =
		&account->hot[handler]; /* sources carry only handlers that are in the table */

	if (__builtin_expect(!hot->block, 0))
		hot = meter_account_adopt(account, handler);
	run->hot = hot;
	run->block = hot->block;
	run->ready_ns = loop->batch_ns;
	run->begin_ns = account->clock.now_ns;
	run->wait_sum_ns = 0;
	run->behind = account->behind - 1;
	account->window = hot->service;
	if (__builtin_expect(run->begin_ns - run->ready_ns >= RUN_FIRST_WAIT_NS, 0))
		meter_account_disturb(account);
	relaxed_store(&account->figures->dispatch_handler, handler);
	relaxed_store(&account->figures->dispatch_begin_ns, run->begin_ns);
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
	uint64_t start_ns, now_ns, wait_ns;
	struct run run;

	run_begin(&run, loop, handler);
	do {
		struct stint_fd *next = prefetch_source(event + 1);
		uint64_t service_ns;

		account->behind--;
		relaxed_store(&figures->dispatch_fd, source->fd);
		usdt_dispatch_begin(handler, figures->dispatch_fd, figures->dispatch_begin_ns);
		source->callback(source, event->events, source->ctx);

		now_ns = tsc ? clock_sample_tsc(&account->clock) : clock_sample(&account->clock);
		start_ns = figures->dispatch_begin_ns;
		service_ns = now_ns - start_ns;
		event++;
		if (__builtin_expect(!meter_window_has(account->window, service_ns), 0)) {
			run_end_oddly(account, &run, (uint64_t)(event - first) - 1, now_ns);
			account->behind = (uint64_t)(end - event) + loop->due_left;
			return event;
		}
		usdt_dispatch_end(handler, figures->dispatch_fd, service_ns);
		relaxed_store(&figures->dispatch_begin_ns, now_ns);
		account->clock.now_ns = now_ns;
		wait_ns = start_ns - run.ready_ns;
		run.wait_sum_ns += wait_ns;
		histogram_bucket_add(&run.block->histogram[STINT_METER_HANDLER_WAIT], wait_ns);
		histogram_bucket_add(&run.block->histogram[STINT_METER_HANDLER_SERVICE], service_ns);
		source = next;
	} while (source->tag == event->data.u64 && source->handler == handler);
	run_end(&run, (uint64_t)(event - first), wait_ns, now_ns);
	return event;
}

static inline __attribute__((always_inline)) void dispatch_metered(struct stint_loop *loop,
								   const struct epoll_event *event,
								   const struct epoll_event *end, bool tsc)
{
	struct stint_meter_loop *account = loop->account;

	account->dispatches += (uint64_t)(end - event);
	account->behind = (uint64_t)(end - event) + loop->due_left;
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
	struct epoll_event *event = loop->events, *end = event + count;

	end->data.u64 = (uintptr_t)&batch_end;
	if (!loop->account)
		dispatch_unmetered(loop, event, end);
	else if (loop->account->clock.tsc)
		dispatch_metered(loop, event, end, true);
	else
		dispatch_metered(loop, event, end, false);
}
