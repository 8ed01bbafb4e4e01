/* SPDX-License-Identifier: MIT */
#include "jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* The loop's side of a job: out to the pool, back through the loop's port, and `done`. */

/*
 * Memory of jobs stays with the loop, for the next ones, and comes in blocks of 4 KiB, then 8, and up to a huge page,
 * if there is one to be had: of a burst of jobs, the first use of each page cost more than all else that is done for
 * the jobs in it. Each is in cache lines of its own, as other threads write to it.
 */
union job_entry {
	struct stint_job job;
	union job_entry *block; /* of the first in a block: the block before */
} __attribute__((aligned(64)));

#define BLOCK_FIRST 32u
#define BLOCK_BYTES (2u << 20)

_Static_assert(BLOCK_BYTES % (BLOCK_FIRST * sizeof(union job_entry)) == 0,
	       "blocks grow to the size of a huge page");

static bool add_block(struct stint_loop *loop)
{
	size_t bytes = 2 * sizeof(union job_entry) * loop->job_block_entries;
	union job_entry *block;

	if (bytes == 0)
		bytes = BLOCK_FIRST * sizeof(union job_entry);
	if (bytes > BLOCK_BYTES)
		bytes = BLOCK_BYTES;
	block = aligned_alloc(bytes == BLOCK_BYTES ? bytes : 64, bytes);
	if (!block)
		return false;
	if (bytes == BLOCK_BYTES)
		(void)madvise(block, bytes, MADV_HUGEPAGE); /* small ones will do */
	block->block = loop->job_blocks;
	loop->job_blocks = block;
	loop->job_block_entries = (uint32_t)(bytes / sizeof(union job_entry));
	loop->job_block_used = 1;
	return true;
}

static struct stint_job *take_memory(struct stint_loop *loop)
{
	struct stint_job *job = loop->jobs_free;

	if (job) {
		loop->jobs_free = job->next;
		return job;
	}
	if (loop->job_block_used == loop->job_block_entries && !add_block(loop))
		return NULL;
	return &loop->job_blocks[loop->job_block_used++].job;
}

static void put_away(struct stint_loop *loop, struct stint_job *job)
{
	job->pool = NULL; /* to cancel it once more is an error, as long as it is not used again */
	job->next = loop->jobs_free;
	loop->jobs_free = job;
}

void job_free_memory(struct stint_loop *loop)
{
	while (loop->job_blocks) {
		union job_entry *block = loop->job_blocks;

		loop->job_blocks = block->block;
		free(block);
	}
}

/*
 * References of jobs that are back. An atomic operation costs as much as several: those of one pool are given back
 * together.
 */
struct released {
	struct stint_pool *pool;
	uint32_t count;
};

static void release_all(struct released *released)
{
	if (released->count > 0)
		pool_release(released->pool, released->count);
	released->count = 0;
}

static void release_one(struct released *released, struct stint_pool *pool)
{
	if (pool != released->pool)
		release_all(released);
	released->pool = pool;
	released->count++;
}

/* Takes the first of those that are back off the loop; the job is then nobody's but the caller's. */
static struct stint_job *take_returned(struct stint_loop *loop, struct released *released)
{
	struct stint_job *job = loop->jobs_returned;

	loop->jobs_returned = job->next;
	if (job->out_next)
		job->out_next->out_previous = job->out_previous;
	if (job->out_previous)
		job->out_previous->out_next = job->out_next;
	else
		loop->jobs_out = job->out_next;
	release_one(released, job->pool);
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
	struct released released = {0};

	while (loop->jobs_returned) {
		struct stint_job *job = take_returned(loop, &released);
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
	release_all(&released);
}

void job_abandon_all(struct stint_loop *loop)
{
	struct released released = {0};

	for (struct stint_job *job = loop->jobs_out; job; job = job->out_next)
		stint_job_cancel(job);
	while (loop->jobs_out) {
		job_port_collect(loop);
		while (loop->jobs_returned) {
			struct stint_job *job = take_returned(loop, &released);

			if (job->allocated)
				put_away(loop, job);
		}
		if (loop->jobs_out)
			job_port_await(loop);
	}
	release_all(&released);
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
		job->pool = NULL; /* it is not out */
		pool_release(pool, 1);
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
	const struct stint_pool *pool = job ? job->pool : NULL;

	return pool && (__atomic_load_n(&job->state, __ATOMIC_RELAXED) == JOB_ASKED || pool_stopping(pool));
}
