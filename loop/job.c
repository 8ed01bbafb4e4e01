/* SPDX-License-Identifier: MIT */
#include "jobs.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * The loop's side of a job: out to the pool, back through the loop's port, and `done`.
 *
 * The port is a stack without a lock: threads push, the loop takes all of it at once (so there is no ABA). Who
 * pushes onto an empty one wakes the loop; a burst wakes it once. The eventfd that it is woken by is watched
 * edge-triggered and never read, and its event has a tag that no source has, so it is no dispatch and
 * costs the dispatch of others nothing.
 *
 * A thread that has pushed the last job of a loop may still be about to write to the eventfd when the loop is
 * freed: whoever may have to write holds a reference to the port.
 */

struct job_port {
	struct stint_fd mark;       /* first, for its alignment: where the tag of the wake-up points */
	struct stint_job *returned; /* atomic */
	uint32_t references;        /* atomic */
	int wake;                   /* an eventfd */
};

static void port_release(struct job_port *port)
{
	if (__atomic_sub_fetch(&port->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	close(port->wake);
	free(port);
}

static void wake(struct job_port *port)
{
	const uint64_t one = 1;
	/* Cannot fail: the counter would have to reach 2^64, and it is no pipe. */
	ssize_t written = write(port->wake, &one, sizeof(one));

	(void)written;
}

/* Once the job is pushed, its loop may be done with it and free the port. */
void job_return(struct stint_job *job, enum stint_job_outcome outcome)
{
	struct job_port *port = job->port;
	struct stint_job *top = __atomic_load_n(&port->returned, __ATOMIC_RELAXED);
	bool held = false;

	job->outcome = outcome;
	do {
		if (!top && !held) {
			__atomic_fetch_add(&port->references, 1, __ATOMIC_RELAXED);
			held = true;
		}
		job->next = top;
	} while (!__atomic_compare_exchange_n(&port->returned, &top, job, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	if (!top)
		wake(port);
	if (held)
		port_release(port);
}

enum stint_job_outcome job_end(struct stint_job *job)
{
	uint32_t before = __atomic_exchange_n(&job->state, JOB_ENDED, __ATOMIC_RELAXED);

	return before == JOB_ASKED || pool_stopping(job->pool) ? STINT_JOB_INTERRUPTED : STINT_JOB_DONE;
}

/* ---- the port, by the loop's thread ---- */

int job_port_watch(struct stint_loop *loop, int epoll)
{
	struct epoll_event event = {.events = EPOLLIN | (uint32_t)EPOLLET,
				    .data.u64 = (uintptr_t)&loop->port->mark};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, loop->port->wake, &event) < 0 ? -errno : 0;
}

static int open_port(struct stint_loop *loop)
{
	struct job_port *port;
	int error;

	if (loop->port)
		return 0;
	port = aligned_alloc(64, (sizeof(*port) + 63) / 64 * 64);
	if (!port)
		return -ENOMEM;
	*port = (struct job_port){.mark.index = WAKE_INDEX, .mark.handler = NO_HANDLER, .references = 1};
	port->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (port->wake < 0) {
		error = -errno;
		free(port);
		return error;
	}
	loop->port = port;
	error = job_port_watch(loop, loop->epoll);
	if (error < 0)
		job_port_close(loop);
	return error;
}

void job_port_close(struct stint_loop *loop)
{
	if (loop->port)
		port_release(loop->port);
	loop->port = NULL;
}

/* Appends what has come back to the loop's own list, in the order in which it came. */
static uint32_t collect(struct stint_loop *loop)
{
	struct stint_job *job, *ordered = NULL, **end = &loop->jobs_returned;
	uint32_t count = 0;

	/* Looked at in every iteration, and mostly empty: a plain load is cheaper than an exchange. */
	if (!__atomic_load_n(&loop->port->returned, __ATOMIC_RELAXED))
		return 0;
	job = __atomic_exchange_n(&loop->port->returned, NULL, __ATOMIC_ACQUIRE);
	while (job) {
		struct stint_job *next = job->next;

		job->next = ordered;
		ordered = job;
		job = next;
		count++;
	}
	while (*end)
		end = &(*end)->next;
	*end = ordered;
	return count;
}

/* ---- jobs ---- */

/* Takes the first of those that are back off the loop; the job is then nobody's but the caller's. */
static struct stint_job *take_returned(struct stint_loop *loop)
{
	struct stint_job *job = loop->jobs_returned;

	loop->jobs_returned = job->next;
	if (job->out_next)
		job->out_next->out_previous = job->out_previous;
	if (job->out_previous)
		job->out_previous->out_next = job->out_next;
	else
		loop->jobs_out = job->out_next;
	pool_release(job->pool);
	job->pool = NULL;
	__atomic_store_n(&job->state, JOB_IDLE, __ATOMIC_RELAXED);
	return job;
}

/* Moments of other threads: they may be some ns off. */
static uint64_t between(uint64_t begin_ns, uint64_t end_ns)
{
	return end_ns > begin_ns ? end_ns - begin_ns : 0;
}

/* Returns when the job ended, 0 if that is not known. */
static uint64_t record_times(struct stint_loop *loop, const struct stint_job *job)
{
	struct stint_histogram *work;
	uint64_t begin_ns, end_ns;

	if (!loop->account || !job->end_at)
		return 0;
	begin_ns = clock_stamp_ns(loop->clock, job->stamp, job->begin_at);
	end_ns = clock_stamp_ns(loop->clock, job->stamp, job->end_at);
	work = meter_account_work(loop->account, job->handler);
	if (!work)
		return end_ns;
	histogram_record(&work[STINT_METER_HANDLER_WORK_QUEUE],
			 between(clock_stamp_ns(loop->clock, job->stamp, job->submitted_at), begin_ns));
	histogram_record(&work[STINT_METER_HANDLER_WORK_RUN], between(begin_ns, end_ns));
	histogram_record(&work[STINT_METER_HANDLER_WORK_RETURN], between(end_ns, loop->clock->now_ns));
	return end_ns;
}

void job_dispatch(struct stint_loop *loop)
{
	uint32_t left = collect(loop);

	while (loop->jobs_returned) {
		struct stint_job *job = take_returned(loop);
		bool allocated = job->allocated;
		struct dispatch dispatch;

		left--;
		if (loop->account)
			loop->account->behind = left;
		dispatch = dispatch_open(loop, job->handler, record_times(loop, job));
		job->done(job, job->outcome, job->ctx);
		dispatch_close(loop, &dispatch);
		if (allocated)
			free(job);
	}
}

void job_abandon_all(struct stint_loop *loop)
{
	struct pollfd woken = {.events = POLLIN};
	uint64_t count;

	for (struct stint_job *job = loop->jobs_out; job; job = job->out_next)
		stint_job_cancel(job);
	while (loop->jobs_out) {
		collect(loop);
		while (loop->jobs_returned) {
			struct stint_job *job = take_returned(loop);

			if (job->allocated)
				free(job);
		}
		if (!loop->jobs_out)
			return;
		/* Whoever pushes from now on finds the stack empty, and so writes. */
		woken.fd = loop->port->wake;
		if (poll(&woken, 1, -1) > 0 && read(loop->port->wake, &count, sizeof(count)) < 0)
			continue;
	}
}

int job_submit(struct stint_job *job, struct stint_loop *loop, struct stint_pool *pool, bool bounded)
{
	int error = open_port(loop);

	if (error < 0)
		return error;
	job->pool = pool;
	job->port = loop->port;
	job->loop = loop;
	job->outcome = STINT_JOB_DONE;
	job->stamp = loop->account ? (uint8_t)clock_stamp_of(loop->clock) : CLOCK_STAMP_NONE;
	job->submitted_at = clock_stamp_now(job->stamp);
	job->begin_at = job->end_at = 0;
	pool_reference(pool);
	error = pool_submit(pool, job, bounded);
	if (error < 0) {
		pool_release(pool);
		if (error == -EAGAIN && loop->account)
			counter_add(&meter_account_hot(loop->account, job->handler)->block->jobs_refused, 1);
		return error;
	}
	job->out_previous = NULL;
	job->out_next = loop->jobs_out;
	if (loop->jobs_out)
		loop->jobs_out->out_previous = job;
	loop->jobs_out = job;
	return 0;
}

int stint_job_new(struct stint_job **ret, struct stint_loop *loop, struct stint_pool *pool, uint32_t handler,
		  stint_job_run run, stint_job_done done, void *ctx)
{
	struct stint_job *job;
	int error;

	if (!loop || loop->dead || !pool || !run || !done || !loop_handler_valid(loop, handler))
		return -EINVAL;
	job = calloc(1, sizeof(*job));
	if (!job)
		return -ENOMEM;
	job->run = run;
	job->done = done;
	job->ctx = ctx;
	job->handler = (uint16_t)handler;
	job->allocated = true;
	error = job_submit(job, loop, pool, true);
	if (error < 0) {
		free(job);
		return error;
	}
	if (ret)
		*ret = job;
	return 0;
}

int stint_job_cancel(struct stint_job *job)
{
	uint32_t running = JOB_RUNNING;

	if (!job || !job->pool)
		return -EINVAL;
	if (pool_withdraw(job->pool, job)) {
		job_return(job, STINT_JOB_CANCELLED);
		return 0;
	}
	if (__atomic_compare_exchange_n(&job->state, &running, JOB_ASKED, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED) ||
	    running == JOB_ASKED)
		return -EINPROGRESS;
	return running == JOB_WITHDRAWN ? 0 : -EALREADY;
}

bool stint_job_cancelled(const struct stint_job *job)
{
	return job &&
	       (__atomic_load_n(&job->state, __ATOMIC_RELAXED) == JOB_ASKED || pool_stopping(job->pool));
}
