/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <stdlib.h>
#include <stint/slice.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * The loop itself: how it begins and ends, and the order of an iteration.
 *
 * A callback may free anything: a source, as object.c has it, or the loop. Freed in a callback, the loop is emptied at
 * once and its memory goes when the iteration has ended.
 *
 * Price without the meter: one clock read an iteration, and one more while timers are armed. With it: one more for each
 * dispatch.
 */

static int open_meter(struct stint_loop *loop, const struct stint_loop_options *options)
{
	struct stint_meter_options meter_options = {.size = sizeof(meter_options)};
	int error;

	if (options->meter_off) {
		loop->clock = &loop->own_clock;
		clock_init(loop->clock);
		return 0;
	}
	if (options->meter) {
		loop->meter = options->meter;
		return stint_meter_loop_new(&loop->account, options->meter, options->name);
	}
	error = stint_meter_new(&loop->meter, &meter_options);
	if (error < 0)
		return error;
	error = stint_meter_loop_new(&loop->account, loop->meter, options->name);
	stint_meter_free(loop->meter); /* the account holds a reference */
	return error;
}

static void release(struct stint_loop *loop)
{
	job_port_close(loop);
	job_free_memory(loop);
	fd_free_memory(loop);
	timer_free_memory(loop);
	timeout_free_memory(loop);
	if (loop->epoll >= 0)
		close(loop->epoll);
	stint_meter_loop_free(loop->account);
	free(loop->read_buffer);
	free(loop->file_buffer);
	free(loop->events);
	free(loop);
}

int stint_loop_new(struct stint_loop **ret, const struct stint_loop_options *given)
{
	struct stint_loop_options options;
	struct stint_loop *loop;
	int error;

	if (!ret)
		return -EINVAL;
	error = options_take(&options, sizeof(options), given);
	if (error < 0)
		return error;
	if (options.batch_limit > LOOP_BATCH_LIMIT || (options.meter && options.meter_off))
		return -EINVAL;
	loop = calloc(1, sizeof(*loop));
	if (!loop)
		return -ENOMEM;
	loop->generation = fork_generation();
	loop->fd_free = loop->fd_changed = NO_INDEX;
	wheel_init(&loop->wheel);
	loop->objects.next = loop->objects.previous = &loop->objects;
	loop->deferrals.next = loop->deferrals.previous = &loop->deferrals;
	loop->slices.next = loop->slices.previous = &loop->slices;
	loop->slice_share_ns = STINT_SLICE_SHARE_DEFAULT_NS;
	loop->idles.next = loop->idles.previous = &loop->idles;
	loop->batch_limit = options.batch_limit ? options.batch_limit : 512;
	loop->events =
		calloc(loop->batch_limit + 1, sizeof(*loop->events)); /* one more: dispatch looks ahead */
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	error = loop->epoll < 0 ? -errno : loop->events ? open_meter(loop, &options) : -ENOMEM;
	if (error < 0) {
		release(loop);
		return error;
	}
	if (loop->account)
		loop->clock = &loop->account->clock;
	*ret = loop;
	return 0;
}

struct stint_loop *stint_loop_free(struct stint_loop *loop)
{
	if (!loop || loop->dead)
		return NULL;
	loop->dead = loop->stopped = true;
	if (!loop_is_foreign(loop))
		job_abandon_all(loop);
	while (loop->objects.next != &loop->objects)
		loop->objects.next->destroy(loop->objects.next);
	fd_free_all(loop);
	loop->timers_armed = loop->timers_background = 0;
	wheel_clear(&loop->wheel);
	loop->due_left = 0;
	if (!loop->running)
		release(loop);
	return NULL;
}

static bool has_work(const struct stint_loop *loop)
{
	return loop->fd_live > loop->fd_background || loop->timers_armed > loop->timers_background ||
	       loop->urgent || loop->jobs_out || (loop->fd_background && post_is_there(loop));
}

/* How long to wait: 0, UINT64_MAX for without limit, or ns until the next deadline, at most `limit_ns`. */
static uint64_t poll_timeout(struct stint_loop *loop, uint64_t limit_ns)
{
	uint64_t due_ns, now_ns;

	if (loop->urgent)
		return 0;
	if (!loop->timers_armed)
		return limit_ns;
	due_ns = timer_next_due(loop);
	if (!loop->account) /* nobody has read it since the last poll returned */
		clock_read(loop->clock);
	now_ns = loop->clock->now_ns;
	if (due_ns <= now_ns)
		return 0;
	return due_ns - now_ns < limit_ns ? due_ns - now_ns : limit_ns;
}

/*
 * A finite timeout makes the kernel set up a timer (120 ns more than none), so the two common cases do
 * without. epoll_pwait2 is there from Linux 5.11 on; a sandbox may refuse it, and then milliseconds must do,
 * rounded up, as a timer must not be early.
 */
static int wait_for_events(struct stint_loop *loop, uint64_t timeout_ns)
{
	struct timespec timeout;
	int count;

	if (timeout_ns == 0 || timeout_ns == UINT64_MAX)
		return epoll_wait(loop->epoll, loop->events, (int)loop->batch_limit, timeout_ns ? -1 : 0);
	if (!loop->coarse) {
		timeout.tv_sec = (time_t)(timeout_ns / 1000000000u);
		timeout.tv_nsec = (long)(timeout_ns % 1000000000u);
		count = epoll_pwait2(loop->epoll, loop->events, (int)loop->batch_limit, &timeout, NULL);
		if (count >= 0 || (errno != ENOSYS && errno != EPERM))
			return count;
		loop->coarse = true;
	}
	timeout_ns = timeout_ns / 1000000u + 1;
	return epoll_wait(loop->epoll, loop->events, (int)loop->batch_limit,
			  timeout_ns > INT32_MAX ? INT32_MAX : (int)timeout_ns);
}

static int poll(struct stint_loop *loop, uint64_t limit_ns)
{
	uint64_t timeout_ns = poll_timeout(loop, limit_ns);
	int count;

	if (loop->account)
		meter_account_poll_begin(loop->account);
	count = wait_for_events(loop, timeout_ns);
	if (count < 0)
		count = errno == EINTR ? 0 : -errno;
	if (loop->account)
		meter_account_poll_end(loop->account, count > 0 ? (uint32_t)count : 0);
	else
		clock_settle_waited(loop->clock, clock_sample(loop->clock));
	loop->batch_ns = loop->clock->now_ns;
	return count;
}

/* What comes after descriptors, timers and jobs; idle callbacks only if there was nothing at all. */
static void dispatch_urgent(struct stint_loop *loop, int events)
{
	bool idle = events == 0 && loop->timer_iteration != loop->iteration && !loop->deferred_count &&
		    !loop->slice_count;

	if (loop->deferred_count)
		deferral_dispatch(loop);
	if (loop->slice_count)
		slice_dispatch(loop);
	if (idle && loop->idle_count)
		idle_dispatch(loop);
}

static int iterate(struct stint_loop *loop, uint64_t limit_ns)
{
	int count;

	if (loop->rebuild)
		fd_rebuild(loop);
	if (loop->fd_changed != NO_INDEX) {
		fd_flush_changes(loop);
		clock_read(loop->clock); /* what that took is ours and no part of the poll */
	}
	count = poll(loop, limit_ns);
	if (count < 0)
		return count;
	loop->iteration++;
	loop->dispatching = true;
	timer_count_due(loop);
	fd_dispatch(loop, (uint32_t)count);
	if (loop->due_left)
		timer_dispatch_due(loop);
	if (loop->jobs_out)
		job_dispatch(loop);
	if (loop->urgent)
		dispatch_urgent(loop, count);
	loop->dispatching = false;
	if (loop->graves)
		loop_empty_graves(loop);
	return 0;
}

/* The account's own calls must not be mixed with the caller's, nor the caller's scopes left open. */
static void enter(struct stint_loop *loop)
{
	loop->running = true;
	clock_settle_waited(loop->clock, clock_sample(loop->clock));
	if (!loop->account)
		return;
	while (loop->account->depth > 0)
		stint_meter_end(loop->account);
	loop->account->reactor = true;
	meter_account_set_thread(loop->account);
}

static int leave(struct stint_loop *loop, int error)
{
	loop->running = false;
	if (loop->account) {
		/* What happens between two runs is neither the loop's work nor its wait. */
		meter_account_iteration_end(loop->account);
		loop->account->reactor = false;
		loop->account->behind = 0;
	}
	if (loop->dead)
		release(loop);
	return error;
}

int stint_loop_run(struct stint_loop *loop)
{
	int error = 0;

	if (!loop)
		return -EINVAL;
	if (loop->running || loop_is_foreign(loop))
		return loop->running ? -EBUSY : -ECHILD;
	enter(loop);
	while (error == 0 && !loop->stopped && has_work(loop))
		error = iterate(loop, UINT64_MAX);
	loop->stopped = loop->dead;
	return leave(loop, error);
}

int stint_loop_iterate(struct stint_loop *loop, uint64_t timeout_ns)
{
	bool stopped;
	int error;

	if (!loop)
		return -EINVAL;
	if (loop->running || loop_is_foreign(loop))
		return loop->running ? -EBUSY : -ECHILD;
	if (timeout_ns == UINT64_MAX && !has_work(loop))
		return 0;
	stopped = loop->stopped;
	enter(loop);
	error = iterate(loop, timeout_ns);
	loop->stopped = stopped || loop->dead;
	return leave(loop, error);
}

int stint_loop_stop(struct stint_loop *loop)
{
	if (!loop)
		return -EINVAL;
	loop->stopped = true;
	return 0;
}
