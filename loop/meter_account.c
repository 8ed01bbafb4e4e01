/* SPDX-License-Identifier: MIT */
#include "meter_account.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Takes a microsecond, which is nobody's: the clock is read again behind it. */
static void read_cpu(struct stint_meter_loop *account)
{
	account->cpu_at_ns = clock_read(&account->clock);
	account->cpu_ns = clock_gettime_ns(CLOCK_THREAD_CPUTIME_ID);
	clock_read(&account->clock);
}

/*
 * How much of an overrun was spent on a CPU is bounded, not measured: reading the thread's CPU clock is a
 * system call, and at every dispatch it would cost many times the dispatch. It is read when a poll returns
 * and the last reading is a millisecond old (so for less than 0.1 % of the time), and at the end of an
 * overrun. Let the earlier reading be C0, begun at T0, the overrun [S, E], and the reading at its end C1, done at T1,
 * with T0 <= S and E <= T1. In [T0, T1] the thread used at least C1 - C0 of CPU, and of that at most (S - T0) + (T1 - E)
 * outside of the overrun. So of the overrun
 *	at most  min(C1 - C0, E - S)                    and
 *	at least max(0, (C1 - C0) - (S - T0) - (T1 - E))
 * was on a CPU. As T0 is in general less than a millisecond before the batch, a handler that computes for
 * 5 ms is known to have computed for at least 4 of them, less what its batch did before it.
 */
static void bound_cpu(struct stint_meter_loop *account, uint64_t service_ns,
		      struct stint_meter_file_overrun *overrun)
{
	uint64_t earlier_at_ns = account->cpu_at_ns, earlier_ns = account->cpu_ns;
	uint64_t used_ns, wall_ns, outside_ns;

	read_cpu(account);
	used_ns = account->cpu_ns - earlier_ns;
	wall_ns = account->clock.now_ns - earlier_at_ns;
	outside_ns = wall_ns > service_ns ? wall_ns - service_ns : 0;
	overrun->cpu_max_ns = used_ns < service_ns ? used_ns : service_ns;
	overrun->cpu_min_ns = used_ns > outside_ns ? used_ns - outside_ns : 0;
	if (overrun->cpu_min_ns > overrun->cpu_max_ns)
		overrun->cpu_min_ns = overrun->cpu_max_ns;
}

static void note_overrun(struct stint_meter_loop *account, const struct meter_hot *hot,
			 const struct meter_scope *scope, uint64_t service_ns)
{
	struct stint_meter_file_loop *figures = account->figures;
	uint64_t written = figures->overruns_written;
	struct stint_meter_file_overrun *slot =
		(struct stint_meter_file_overrun *)(account->base + figures->overruns_offset) +
		written % figures->overrun_slots;
	struct stint_meter_file_overrun overrun = {
		.start_ns = scope->start_ns,
		.duration_ns = service_ns,
		.budget_ns = hot->budget_ns,
		.handler = scope->handler,
		.fd = scope->fd,
		.victims = account->behind,
		.iteration = figures->iterations,
	};

	bound_cpu(account, service_ns, &overrun);
	counter_add(&hot->block->overruns, 1);
	counter_add(&hot->block->over_ns, service_ns - hot->budget_ns);
	*slot = overrun;
	__atomic_store_n(&figures->overruns_written, written + 1, __ATOMIC_RELEASE);
	usdt_overrun(meter_map_handler(account->map, scope->handler)->name, scope->fd, service_ns,
		     hot->budget_ns, account->behind);
}

/* The values that are no extremes, and at most `limit`. */
static struct meter_window window_of(const struct stint_histogram *histogram, uint64_t limit)
{
	uint64_t high = histogram->max < limit ? histogram->max : limit;

	if (high < histogram->min)
		return METER_WINDOW_EMPTY;
	return (struct meter_window){.low = histogram->min, .span = high - histogram->min};
}

static void set_windows(struct meter_hot *hot)
{
	const struct stint_histogram *histograms = hot->block->histogram;

	hot->service = window_of(&histograms[STINT_METER_HANDLER_SERVICE],
				 hot->budget_ns < METER_WINDOW_HIGH ? hot->budget_ns : METER_WINDOW_HIGH);
	hot->wait = window_of(&histograms[STINT_METER_HANDLER_WAIT],
			      (UINT64_C(1) << STINT_HISTOGRAM_MAX_BITS) - 1);
}

__attribute__((cold, noinline)) void meter_account_odd_service(struct stint_meter_loop *account,
							       struct meter_hot *hot,
							       const struct meter_scope *scope,
							       uint64_t service_ns)
{
	histogram_record(&hot->block->histogram[STINT_METER_HANDLER_SERVICE], service_ns);
	set_windows(hot);
	if (service_ns > hot->budget_ns)
		note_overrun(account, hot, scope, service_ns);
}

__attribute__((cold, noinline)) void meter_account_odd_wait(struct meter_hot *hot, uint64_t wait_ns)
{
	histogram_record(&hot->block->histogram[STINT_METER_HANDLER_WAIT], wait_ns);
	set_windows(hot);
}

/* Takes over handlers and budgets that were registered since this loop last looked. */
static void learn_handlers(struct stint_meter_loop *account, const struct meter_map *map)
{
	uint32_t count = __atomic_load_n(&meter_map_header(map)->handler_count, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < count; i++) {
		struct meter_hot *hot = &account->hot[i];

		hot->budget_ns = relaxed_load(&meter_map_handler(map, i)->budget_ns);
		if (hot->block)
			set_windows(hot);
	}
	account->hot_count = count;
}

__attribute__((cold, noinline)) void meter_account_poll_returned_late(struct stint_meter_loop *account,
								      uint32_t behind, uint64_t sample_ns)
{
	bool anchors = clock_anchor_due(&account->clock, sample_ns);

	meter_account_poll_returned_at(account, behind, clock_settle_waited(&account->clock, sample_ns));
	if (anchors)
		learn_handlers(account, account->map);
	read_cpu(account);
}

__attribute__((cold, noinline)) struct meter_hot *meter_account_adopt(struct stint_meter_loop *account,
								      uint32_t handler)
{
	struct meter_map *map = account->map;
	struct stint_meter_file_loop *figures = account->figures;
	struct stint_meter_file_block *block;

	learn_handlers(account, map);
	if (handler >= account->hot_count)
		return &account->hot[0];
	block = (struct stint_meter_file_block *)(account->base + figures->blocks_offset +
						  handler * figures->block_stride);
	if (account->hot[handler].block)
		return &account->hot[handler];
	/* No room for its own: it goes to "other", whose block the account was made with. */
	if (meter_map_back(map, block, METER_MAP_BLOCK_BASE_BYTES) < 0) {
		__atomic_fetch_add(&meter_map_header(map)->handlers_refused, 1, __ATOMIC_RELAXED);
		account->hot[handler].block = account->hot[0].block;
		set_windows(&account->hot[handler]);
		return &account->hot[handler];
	}
	for (int i = 0; i < STINT_METER_HANDLER_WORK_QUEUE; i++)
		stint_histogram_init(&block->histogram[i]);
	__atomic_store_n(&block->used, 1, __ATOMIC_RELEASE);
	account->hot[handler].block = block;
	set_windows(&account->hot[handler]);
	return &account->hot[handler];
}

struct stint_histogram *meter_account_work(struct stint_meter_loop *account, uint32_t handler)
{
	struct meter_hot *hot = meter_account_hot(account, handler);
	struct meter_map *map = account->map;
	struct stint_histogram *histograms = hot->block->histogram;

	if (hot->works)
		return histograms;
	if (hot->works_refused)
		return NULL;
	if (meter_map_back(map, &histograms[STINT_METER_HANDLER_WORK_QUEUE],
			   (STINT_METER_HANDLER_METRICS - STINT_METER_HANDLER_WORK_QUEUE) *
				   sizeof(*histograms)) < 0) {
		__atomic_fetch_add(&meter_map_header(map)->handlers_refused, 1, __ATOMIC_RELAXED);
		hot->works_refused = true;
		return NULL;
	}
	for (int i = STINT_METER_HANDLER_WORK_QUEUE; i < STINT_METER_HANDLER_METRICS; i++)
		if (histograms[i].count == 0) /* two handlers may share the block of "other" */
			stint_histogram_init(&histograms[i]);
	hot->works = true;
	return histograms;
}

int meter_account_socket(struct stint_meter_loop *account, const struct stint_meter_file_socket *moment)
{
	struct stint_meter_file_loop *figures = account->figures;
	struct stint_meter_file_socket *ring =
		(struct stint_meter_file_socket *)(account->base + figures->sockets_offset);
	uint64_t written = figures->sockets_written;

	if (!account->sockets_backed) {
		int error = meter_map_back(account->map, ring, (size_t)figures->socket_slots * sizeof(*ring));
		if (error < 0)
			return error;
		account->sockets_backed = true;
	}
	ring[written % figures->socket_slots] = *moment;
	__atomic_store_n(&figures->sockets_written, written + 1, __ATOMIC_RELEASE);
	return 0;
}

void meter_account_set_thread(struct stint_meter_loop *account)
{
	relaxed_store(&account->figures->tid, (uint32_t)gettid());
	read_cpu(account);
}

/* ---- scopes ---- */

static void push(struct stint_meter_loop *account, uint32_t handler, int32_t fd, uint64_t start_ns)
{
	account->scope[account->depth++] = (struct meter_scope){.handler = handler,
								.fd = fd,
								.start_ns = start_ns,
								.resumed_ns = start_ns};
}

static void charge_scope(struct stint_meter_loop *account, const struct meter_scope *scope,
			 uint64_t service_ns)
{
	struct meter_hot *hot = meter_account_hot(account, scope->handler);

	if (!meter_account_charge(account, hot, service_ns))
		meter_account_odd_service(account, hot, scope, service_ns);
}

/* Ends the innermost scope, whoever has it. */
static void pop(struct stint_meter_loop *account, uint64_t end_ns)
{
	struct meter_scope *scope = &account->scope[--account->depth];
	uint64_t service_ns = scope->service_ns + (end_ns - scope->resumed_ns);

	usdt_dispatch_end(scope->handler, scope->fd, service_ns);
	charge_scope(account, scope, service_ns);
}

uint64_t meter_account_unwind(struct stint_meter_loop *account, uint64_t end_ns)
{
	const struct meter_scope *outermost = &account->scope[0];

	while (account->depth > 1) {
		pop(account, end_ns);
		account->scope[account->depth - 1].resumed_ns = end_ns;
	}
	account->depth = 0;
	return outermost->service_ns + (end_ns - outermost->resumed_ns);
}

int stint_meter_begin(struct stint_meter_loop *account, uint32_t handler, int fd)
{
	struct stint_meter_file_loop *figures;
	uint64_t now_ns;

	if (!account)
		return -EINVAL;
	figures = account->figures;
	if (account->depth == STINT_METER_DEPTH)
		return -EOVERFLOW;
	if (handler >= account->hot_count) {
		learn_handlers(account, account->map);
		if (handler >= account->hot_count)
			return -EINVAL;
	}
	/* The reactor's own dispatch is no scope until it has one inside: it is known by its mark. */
	if (account->depth == 0 && account->reactor) {
		push(account, figures->dispatch_handler, figures->dispatch_fd, figures->dispatch_begin_ns);
		meter_account_disturb(account);
	}
	now_ns = clock_read(&account->clock);
	if (account->depth > 0) {
		struct meter_scope *outer = &account->scope[account->depth - 1];

		outer->service_ns += now_ns - outer->resumed_ns;
	} else {
		if (account->behind)
			account->behind--;
		account->dispatches++;
		if (account->poll_end_ns)
			meter_account_wait(meter_account_hot(account, handler),
					   now_ns > account->poll_end_ns ? now_ns - account->poll_end_ns : 0);
	}
	push(account, handler, fd, now_ns);
	meter_account_mark(account, handler, fd, now_ns);
	usdt_dispatch_begin(handler, fd, now_ns);
	return 0;
}

int stint_meter_end(struct stint_meter_loop *account)
{
	uint64_t now_ns;

	if (!account || account->depth <= account->reactor)
		return -EINVAL;
	now_ns = clock_read(&account->clock);
	pop(account, now_ns);
	if (account->depth > 0) {
		struct meter_scope *outer = &account->scope[account->depth - 1];

		/* An overrun has read the clock again. */
		outer->resumed_ns = account->clock.now_ns;
		meter_account_mark(account, outer->handler, outer->fd, outer->start_ns);
	} else {
		relaxed_store(&account->figures->dispatch_begin_ns, 0);
	}
	return 0;
}

int stint_meter_poll_begin(struct stint_meter_loop *account)
{
	if (!account || account->reactor)
		return -EINVAL;
	clock_read(&account->clock);
	meter_account_poll_begin(account);
	return 0;
}

int stint_meter_poll_end(struct stint_meter_loop *account, uint32_t events)
{
	if (!account || account->reactor)
		return -EINVAL;
	if (events == STINT_METER_EVENTS_UNKNOWN)
		meter_account_poll_returned(account, 0);
	else
		meter_account_poll_end(account, events);
	return 0;
}

uint64_t stint_meter_now_ns(struct stint_meter_loop *account)
{
	return account ? clock_read(&account->clock) : 0;
}
