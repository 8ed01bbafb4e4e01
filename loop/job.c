/* SPDX-License-Identifier: MIT */
#include "jobs.h"

#include <errno.h>
#include <stdlib.h>

/* The loop's side of a job: out to the pool, back through the loop's port, and `done`. */

/* Memory of jobs stays with the loop, for the next ones: an allocation costs more than all else that the loop does for a job. */
static struct stint_job *take_memory(struct stint_loop *loop)
{
	struct stint_job *job = loop->jobs_free;

	if (!job)
		return malloc(sizeof(*job));
	loop->jobs_free = job->next;
	return job;
}

static void put_away(struct stint_loop *loop, struct stint_job *job)
{
	job->pool = NULL; /* to cancel it once more is an error, as long as it is not used again */
	job->next = loop->jobs_free;
	loop->jobs_free = job;
}

void job_free_memory(struct stint_loop *loop)
{
	while (loop->jobs_free)
		free(take_memory(loop));
}

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
	uint32_t left = job_port_collect(loop);

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
			put_away(loop, job);
	}
}

void job_abandon_all(struct stint_loop *loop)
{
	for (struct stint_job *job = loop->jobs_out; job; job = job->out_next)
		stint_job_cancel(job);
	while (loop->jobs_out) {
		job_port_collect(loop);
		while (loop->jobs_returned) {
			struct stint_job *job = take_returned(loop);

			if (job->allocated)
				put_away(loop, job);
		}
		if (loop->jobs_out)
			job_port_await(loop);
	}
}

int job_submit(struct stint_job *job, struct stint_loop *loop, struct stint_pool *pool, bool bounded)
{
	int error = job_port_open(loop);

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
	job = take_memory(loop);
	if (!job)
		return -ENOMEM;
	*job = (struct stint_job){
		.run = run, .done = done, .ctx = ctx, .handler = (uint16_t)handler, .allocated = true};
	error = job_submit(job, loop, pool, true);
	if (error < 0) {
		put_away(loop, job);
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
		job_port_return(job, STINT_JOB_CANCELLED);
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
