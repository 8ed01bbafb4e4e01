/* SPDX-License-Identifier: MIT */
#ifndef STINT_POOL_H
#define STINT_POOL_H

/*
 * Long work off the loop: a pool of threads, and jobs that a loop gives to it and gets back.
 *
 * A job has two functions. `run` is called in a thread of the pool, and must touch nothing of the loop;
 * `done` is called by the loop once the job is back, in step 5 of an iteration, exactly once for each job.
 * What `run` has written, `done` sees, without locks.
 *
 * Timed under the job's handler, each as a histogram: `work_queue` (from the submission to the start of
 * `run`), `work_run` (how long `run` took) and `work_return` (from the end of `run` to the start of
 * `done`). The service time and the overruns of the handler are those of `done` alone: `run` delays
 * nobody. Of a job that was under way while the machine slept (suspend), the one in which it did may have that sleep in it.
 *
 * A pool may serve several loops. Jobs run in the order in which they were submitted, whichever loop they
 * are from. Its threads block all signals, and are started as they are needed, one for each submission that
 * leaves more jobs waiting than threads idle. A child that comes by fork has no pool threads: it must not use the parent's
 * pools.
 *
 * Price: 128 bytes a job, in blocks of 4 KiB and up to 2 MiB, which the loop keeps for its next ones.
 *
 * Rules for callbacks and errors as in loop.h.
 */

#include <stint/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_pool;
struct stint_job;

struct stint_pool_options {
	size_t size;          /* sizeof(struct stint_pool_options) */
	uint32_t threads;     /* most threads; 0: 4, at most 1024 */
	uint32_t queue_limit; /* most jobs waiting for a thread; 0: 1024 */
	const char *name;     /* of the threads, cut to 15 bytes; NULL: "stint-pool". Copied. */
};

/* `options` NULL: all defaults. Starts no thread yet. -EINVAL, -ENOMEM. Any thread. */
STINT_API int stint_pool_new(struct stint_pool **ret, const struct stint_pool_options *options);

/*
 * Ends the threads and waits for them: jobs that wait do not run any more, those that run are asked to
 * stop. All go back to their loops, whose `done` says how it ended. Not from a thread of the pool; from
 * any other, if no other thread submits to the pool from then on.
 */
STINT_API struct stint_pool *stint_pool_free(struct stint_pool *pool);

struct stint_pool_figures {
	uint32_t threads; /* started */
	uint32_t idle;    /* of these, those that wait for work */
	uint32_t queued;  /* jobs that wait for a thread */
	uint64_t refused; /* submissions that found the queue full */
};

#if defined(__cplusplus)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow" /* the function has the name of the struct */
#endif
/* The state at this moment. -EINVAL for NULL. Any thread. */
STINT_API int stint_pool_figures(struct stint_pool *pool, struct stint_pool_figures *ret);
#if defined(__cplusplus)
#pragma GCC diagnostic pop
#endif

enum stint_job_outcome {
	STINT_JOB_DONE = 0,   /* it ran */
	STINT_JOB_CANCELLED,  /* it was cancelled before it ran, and never will */
	STINT_JOB_INTERRUPTED /* it ran, and was asked to stop meanwhile, whether it did or not */
};

/* In a thread of the pool. */
typedef void (*stint_job_run)(struct stint_job *job, void *ctx);
/* In the loop. The job is dead after this call. */
typedef void (*stint_job_done)(struct stint_job *job, enum stint_job_outcome outcome, void *ctx);

/*
 * Submits a job. `ret` may be NULL if nobody is going to cancel it. `ctx` stays the caller's, and must
 * stay until `done`, or until stint_loop_free() has returned. While a job is out, stint_loop_run() goes on.
 *
 * -EAGAIN: the queue is full. Nothing was queued: try again when a job has come back, or do without. (It
 * is counted under the handler.) -ENOMEM: no memory, or not even one thread could be started. -EMFILE,
 * -ENFILE: the loop's first job needs a descriptor to wake it by. -EINVAL.
 * The loop's thread.
 */
STINT_API int stint_job_new(struct stint_job **ret, struct stint_loop *loop, struct stint_pool *pool,
			    uint32_t handler, stint_job_run run, stint_job_done done, void *ctx);

/*
 * Cancels it; `done` is called all the same, from the loop. 0: it will never run (STINT_JOB_CANCELLED).
 * -EINPROGRESS: it runs, and is told by stint_job_cancelled() (STINT_JOB_INTERRUPTED). -EALREADY: it has
 * run. -EINVAL. The loop's thread.
 *
 * stint_loop_free() cancels all jobs of the loop, waits for those that run, and calls no `done`: once it has
 * returned, no thread uses their `ctx`. So a `run` that never asks holds it up.
 */
STINT_API int stint_job_cancel(struct stint_job *job);

/* For `run`: whether it should stop; in `done` it is false. A load or two; ask often. Any thread, until `done`. */
STINT_API bool stint_job_cancelled(const struct stint_job *job);

#ifdef __cplusplus
}
#endif

#endif
