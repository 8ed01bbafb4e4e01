/* SPDX-License-Identifier: MIT */
#include "reactor.h"

/*
 * Dispatching what a poll has returned: the hottest place of the library.
 *
 * Metered, the events of one handler that follow each other are a run. Each has its two values counted in their
 * buckets, and what else there is to count follows from a few figures of the run, so it is counted at its end.
 * Let dispatch i of n begin at t[i], and the last end at t[n], where b events are ready behind it. Then
 *	service sums up to   t[n] - t[0], as the end of one is the start of the next;
 *	of the waits, which are t[i] less when the poll returned, the first is the least and the last is the greatest;
 *	blame sums up to     (t[1] - t[0]) + ... + (t[n-1] - t[0]) + b (t[n] - t[0]):
 *	                     each was delayed by those before it, and the others by all of them;
 *	victims sum up to    (b + n-1) + ... + (b + 1) + b.
 * A dispatch that is out of the ordinary is none of the run, and ends it: a service time outside of the window, a
 * scope opened by the callback, a timer stopped that waited behind it, a source freed. Its wait counts with the others'.
 *
 * The loop over the events is short of registers, so t[i] is nowhere but in the meter's file, where it marks the dispatch
 * that runs: a scope that the callback opens and ends puts it back.
 *
 * A bucket is known only some 40 cycles after the clock was read, and the next reading waits for what came before it. So
 * the value is noted, and its bucket found behind that next reading, while that is under way: 11 ns a dispatch, not 20.
 *
 * An event whose handler is not that of the next is no run, and is counted at once.
 *
 * Price, with the meter, in instructions on x86-64 beside the callback's: 38 an event of a run, some 85 of any other.
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
	uint64_t wait_sum_ns; /* of all that have begun */
	uint64_t behind;      /* events ready behind the first */
};

/*
 * How much the dispatches of a run must look at, each.
 *	CAREFUL  everything: a source may be gone, somebody may listen to the probes, the clock may not be the TSC
 *	QUICK    none of these
 *	WIDE     nor is any service time, nor so any wait but the first, below the values that have a bucket each
 */
enum pace { CAREFUL, QUICK, WIDE };

/* What comes after a batch, so that its end is found by the look that each event needs: its tag is no source's. */
static const struct stint_fd batch_end __attribute__((aligned(64))) = {.handler = NO_HANDLER};

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

/* Counts what is left to count of `count` dispatches, the last of which ended at `end_ns`; of their waits, the sum. */
static inline void run_end(const struct run *run, uint64_t count, uint64_t last_wait_ns, uint64_t end_ns)
{
	struct stint_histogram *wait = &run->block->histogram[STINT_METER_HANDLER_WAIT];
	uint64_t first_wait_ns = run->begin_ns - run->ready_ns;

	counter_add(&wait->count, count);
	counter_add(&wait->sum, run->wait_sum_ns);
	histogram_extend(wait, first_wait_ns, last_wait_ns);
	meter_account_charge_run(run->block, count, end_ns - run->begin_ns,
				 run->wait_sum_ns - count * first_wait_ns, run->behind);
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

/* Ends a dispatch that is none of a run. `now_ns` is a sample of the clock, `left` the events of the batch behind it. */
__attribute__((cold, noinline)) static void end_oddly(struct stint_loop *loop, struct meter_hot *hot,
						      const struct meter_scope *scope, uint64_t now_ns,
						      uint64_t left)
{
	struct stint_meter_loop *account = loop->account;

	dispatch_end_at(account, hot, scope, clock_settle(&account->clock, now_ns));
	account->behind = left + loop->due_left; /* the callback may have stopped timers */
	relaxed_store(&account->figures->dispatch_begin_ns, account->clock.now_ns);
}

/* Ends a run of `count`, and the dispatch after it, which is none of it but for its wait. */
__attribute__((cold, noinline)) static void run_end_oddly(struct stint_loop *loop, struct run *run,
							  uint64_t count, uint64_t now_ns, uint64_t left)
{
	const struct meter_scope scope = running(loop->account);
	struct stint_histogram *wait = &run->block->histogram[STINT_METER_HANDLER_WAIT];
	uint64_t wait_ns = scope.start_ns - run->ready_ns;

	run->wait_sum_ns -= wait_ns;
	if (count > 0)
		run_end(run, count, wait_ns, scope.start_ns);
	counter_add(&wait->count, 1);
	counter_add(&wait->sum, wait_ns);
	histogram_extend(wait, wait_ns, wait_ns);
	end_oddly(loop, run->hot, &scope, now_ns, left);
}

/* The next dispatch is the handler's, which is in the table: sources carry no other. */
static inline struct meter_hot *take_handler(struct stint_meter_loop *account, uint32_t handler)
{
	struct meter_hot *hot = &account->hot[handler];

	if (__builtin_expect(!hot->block, 0))
		hot = meter_account_adopt(account, handler);
	account->window = hot->service;
	relaxed_store(&account->figures->dispatch_handler, handler);
	return hot;
}

/* The run begins at the last reading of the clock. */
static inline void run_begin(struct run *run, struct stint_loop *loop, uint32_t handler)
{
	struct stint_meter_loop *account = loop->account;
	struct stint_histogram *wait;

	run->hot = take_handler(account, handler);
	run->block = run->hot->block;
	run->ready_ns = loop->batch_ns;
	run->begin_ns = account->clock.now_ns;
	run->wait_sum_ns = run->begin_ns - run->ready_ns;
	run->behind = account->behind - 1;
	wait = &run->block->histogram[STINT_METER_HANDLER_WAIT];
	if (__builtin_expect(run->wait_sum_ns >= RUN_FIRST_WAIT_NS, 0)) {
		meter_account_disturb(account);
		histogram_place(wait, run->wait_sum_ns);
	} else {
		histogram_bucket_add(wait, run->wait_sum_ns);
	}
}

static inline __attribute__((always_inline)) bool run_goes_on(const struct stint_fd *source,
							      const struct epoll_event *event,
							      uint32_t handler, enum pace pace)
{
	return __builtin_expect(source->handler == handler, 1) &&
	       (pace != CAREFUL || source->tag == event->data.u64);
}

static inline __attribute__((always_inline)) uint64_t run_sample(const struct stint_meter_loop *account,
								 enum pace pace)
{
	return pace == CAREFUL ? clock_sample(&account->clock) : clock_sample_tsc(&account->clock);
}

/* Counts a value in its bucket, and nowhere else. */
static inline __attribute__((always_inline)) void run_count(struct stint_histogram *histogram, uint64_t value,
							    enum pace pace)
{
	if (pace == WIDE)
		counter_add(histogram_bucket_of_double(histogram, histogram_double(value)), 1);
	else
		histogram_bucket_add(histogram, value);
}

/* Dispatches one event of a run, and returns the source of the next. */
static inline __attribute__((always_inline)) struct stint_fd *run_one(struct stint_meter_loop *account,
								      struct stint_meter_file_loop *figures,
								      struct stint_fd *source,
								      const struct epoll_event *event,
								      enum pace pace)
{
	struct stint_fd *next = prefetch_source(event + 1);

	account->behind--;
	relaxed_store(&figures->dispatch_fd, source->fd);
	if (pace == CAREFUL)
		usdt_dispatch_begin(source->handler, source->fd, figures->dispatch_begin_ns);
	source->callback(source, event->events, source->ctx);
	return next;
}

/* Dispatches a run that begins with `event`, and returns the first event after it. */
static inline __attribute__((always_inline)) const struct epoll_event *dispatch_run(
	struct stint_loop *loop, const struct epoll_event *event, const struct epoll_event *end,
	enum pace pace)
{
	struct stint_meter_loop *account = loop->account;
	struct stint_meter_file_loop *figures = account->figures;
	struct stint_fd *source = tag_source(event->data.u64);
	const uint32_t handler = source->handler;
	struct stint_histogram *histogram;
	uint64_t now_ns;
	struct run run;

	run_begin(&run, loop, handler);
	histogram = run.block->histogram;
	run_one(account, figures, source, event++, pace);
	now_ns = run_sample(account, pace);
	source = tag_source(
		event->data.u64); /* over the first callback it would be in the way of the others */
	for (;;) {
		account->last_ns = now_ns - figures->dispatch_begin_ns;
		if (!meter_window_has(account->window, account->last_ns)) {
			run_end_oddly(loop, &run, run.behind - account->behind, now_ns,
				      (uint64_t)(end - event));
			return event;
		}
		if (pace == CAREFUL)
			usdt_dispatch_end(handler, figures->dispatch_fd, account->last_ns);
		relaxed_store(&figures->dispatch_begin_ns, now_ns);
		account->clock.now_ns = now_ns;
		if (!run_goes_on(source, event, handler, pace))
			break;
		account->wait_ns = now_ns - run.ready_ns;
		run.wait_sum_ns += account->wait_ns;
		source = run_one(account, figures, source, event++, pace);
		now_ns = run_sample(account, pace);
		run_count(&histogram[STINT_METER_HANDLER_SERVICE], account->last_ns, pace);
		run_count(&histogram[STINT_METER_HANDLER_WAIT], account->wait_ns, pace);
	}
	run_count(&histogram[STINT_METER_HANDLER_SERVICE], account->last_ns, pace);
	run_end(&run, run.behind + 1 - account->behind, now_ns - account->last_ns - run.ready_ns, now_ns);
	return event;
}

/* One of its own for each, as it is short of registers. */
__attribute__((noinline)) static const struct epoll_event *run_carefully(struct stint_loop *loop,
									 const struct epoll_event *event,
									 const struct epoll_event *end)
{
	return dispatch_run(loop, event, end, CAREFUL);
}

__attribute__((noinline)) static const struct epoll_event *run_quickly(struct stint_loop *loop,
								       const struct epoll_event *event,
								       const struct epoll_event *end)
{
	return dispatch_run(loop, event, end, QUICK);
}

__attribute__((noinline)) static const struct epoll_event *run_widely(struct stint_loop *loop,
								      const struct epoll_event *event,
								      const struct epoll_event *end)
{
	return dispatch_run(loop, event, end, WIDE);
}

/* Dispatches a single event, of another handler than the next: as a run of one, but with less ado. Not CAREFUL. */
static inline void dispatch_alone(struct stint_loop *loop, const struct epoll_event *event,
				  const struct epoll_event *end)
{
	struct stint_meter_loop *account = loop->account;
	struct stint_meter_file_loop *figures = account->figures;
	struct stint_fd *source = tag_source(event->data.u64);
	struct meter_hot *hot = take_handler(account, source->handler);
	struct stint_histogram *service = &hot->block->histogram[STINT_METER_HANDLER_SERVICE];
	uint64_t now_ns, service_ns;

	meter_account_wait(hot, account->clock.now_ns - loop->batch_ns);
	account->behind--;
	relaxed_store(&figures->dispatch_fd, source->fd);
	source->callback(source, event->events, source->ctx);

	now_ns = clock_sample_tsc(&account->clock);
	service_ns = now_ns - figures->dispatch_begin_ns;
	if (!meter_window_has(account->window, service_ns)) {
		const struct meter_scope scope = running(account);

		end_oddly(loop, hot, &scope, now_ns, (uint64_t)(end - event) - 1);
		return;
	}
	relaxed_store(&figures->dispatch_begin_ns, now_ns);
	account->clock.now_ns = now_ns;
	counter_add(&hot->block->blame_ns, service_ns * account->behind);
	counter_add(&hot->block->victims, account->behind);
	counter_add(&service->count, 1);
	counter_add(&service->sum, service_ns);
	histogram_bucket_add(service, service_ns);
}

static void dispatch_metered(struct stint_loop *loop, const struct epoll_event *event, uint32_t count)
{
	struct stint_meter_loop *account = loop->account;
	const struct epoll_event *end = event + count;

	loop->careful = loop->strays || !account->clock.tsc || usdt_dispatches_are_watched();
	account->dispatches += count;
	account->behind = count + loop->due_left;
	relaxed_store(&account->figures->dispatch_begin_ns, account->clock.now_ns);
	while (event < end) {
		struct stint_fd *source = tag_source(event->data.u64), *next;

		if (__builtin_expect(source->tag != event->data.u64, 0)) {
			drop_event(loop, source);
			event++;
			continue;
		}
		next = prefetch_source(event + 1);
		if (__builtin_expect(loop->careful, 0))
			event = run_carefully(loop, event, end);
		else if (next->handler != source->handler)
			dispatch_alone(loop, event++, end);
		else if (account->hot[source->handler].service.low < STINT_HISTOGRAM_SUB_BUCKETS)
			event = run_quickly(loop, event, end);
		else
			event = run_widely(loop, event, end);
	}
}

void fd_dispatch(struct stint_loop *loop, uint32_t count)
{
	if (count == 0)
		return;
	loop->events[count].data.u64 = (uintptr_t)&batch_end;
	if (loop->account)
		dispatch_metered(loop, loop->events, count);
	else
		dispatch_unmetered(loop, loop->events, loop->events + count);
}
