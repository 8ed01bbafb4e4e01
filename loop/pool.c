/* SPDX-License-Identifier: MIT */
#include "jobs.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/*
 * The pool: threads that take jobs from one queue, first in, first out.
 *
 * One thread is being woken at a time, at most, and takes its job before it wakes another if there is more: a burst makes
 * no system call for each job, and where one thread is enough, the others sleep on. A submission starts a thread only if
 * none sleeps. They sleep on a semaphore, and not on a condition, as the latter's mutex is taken by whoever wakes up in a
 * way that costs a system call more. A pool lives until its last job is back:
 * each holds a reference, so that a loop may still cancel what another thread's stint_pool_free() is returning.
 */

#define THREADS_DEFAULT 4u
#define THREADS_MAX     1024u
#define QUEUE_DEFAULT   1024u
#define NAME_BYTES      16

struct stint_pool {
	pthread_mutex_t lock;   /* of all that is not said to be atomic */
	sem_t wake;             /* where idle threads sleep */
	struct stint_job queue; /* head of a ring */
	uint32_t queued, queue_limit;
	pthread_t *threads;
	uint32_t thread_count, thread_limit;
	uint32_t idle;   /* threads that sleep */
	uint32_t waking; /* of these, those that have been woken */
	uint64_t refused;
	char name[NAME_BYTES];
	bool stopping; /* atomic: jobs that run ask for it */
	/* Atomic, and on a line of its own: the loop counts there what the threads need not see. */
	uint32_t references __attribute__((aligned(64)));
};

void pool_reference(struct stint_pool *pool)
{
	__atomic_fetch_add(&pool->references, 1, __ATOMIC_RELAXED);
}

void pool_release(struct stint_pool *pool)
{
	if (__atomic_sub_fetch(&pool->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	sem_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
	free(pool->threads);
	free(pool);
}

bool pool_stopping(const struct stint_pool *pool)
{
	return __atomic_load_n(&pool->stopping, __ATOMIC_RELAXED);
}

/* ---- the queue, under the lock ---- */

static void append(struct stint_pool *pool, struct stint_job *job)
{
	job->next = &pool->queue;
	job->previous = pool->queue.previous;
	job->previous->next = job;
	pool->queue.previous = job;
	pool->queued++;
	__atomic_store_n(&job->state, JOB_QUEUED, __ATOMIC_RELAXED);
}

static void unlink_job(struct stint_pool *pool, struct stint_job *job)
{
	job->next->previous = job->previous;
	job->previous->next = job->next;
	pool->queued--;
}

/* The first in the queue, which must not be empty. */
static struct stint_job *pop(struct stint_pool *pool, enum job_state state)
{
	struct stint_job *job = pool->queue.next;

	unlink_job(pool, job);
	__atomic_store_n(&job->state, state, __ATOMIC_RELAXED);
	return job;
}

/* Waits for work. NULL: the pool is ending. */
static struct stint_job *take(struct stint_pool *pool)
{
	struct stint_job *job = NULL;
	bool wake;

	pthread_mutex_lock(&pool->lock);
	while (pool->queued == 0 && !pool->stopping) {
		pool->idle++;
		pthread_mutex_unlock(&pool->lock);
		while (sem_wait(&pool->wake) < 0)
			; /* EINTR */
		pthread_mutex_lock(&pool->lock);
		pool->idle--;
		pool->waking--;
	}
	if (!pool->stopping)
		job = pop(pool, JOB_RUNNING);
	wake = pool->queued > 0 && pool->idle > 0 && pool->waking == 0;
	pool->waking += wake;
	pthread_mutex_unlock(&pool->lock);
	if (wake)
		sem_post(&pool->wake);
	return job;
}

bool pool_withdraw(struct stint_pool *pool, struct stint_job *job)
{
	bool queued;

	pthread_mutex_lock(&pool->lock);
	queued = __atomic_load_n(&job->state, __ATOMIC_RELAXED) == JOB_QUEUED;
	if (queued) {
		unlink_job(pool, job);
		__atomic_store_n(&job->state, JOB_WITHDRAWN, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&pool->lock);
	return queued;
}

/* ---- the threads ---- */

/* The end of `run`: says how it ended. */
static enum stint_job_outcome end_job(struct stint_job *job)
{
	uint32_t before = __atomic_exchange_n(&job->state, JOB_ENDED, __ATOMIC_RELAXED);

	return before == JOB_ASKED || pool_stopping(job->pool) ? STINT_JOB_INTERRUPTED : STINT_JOB_DONE;
}

static void *work(void *ctx)
{
	struct stint_pool *pool = ctx;
	struct stint_job *job;

	pthread_setname_np(pthread_self(), pool->name);
	while ((job = take(pool))) {
		job->begin_at = clock_stamp_now(job->stamp);
		job->run(job, job->ctx);
		job->end_at = clock_stamp_now(job->stamp);
		job_port_return(job, end_job(job));
	}
	return NULL;
}

/* Under the lock. A signal to the process is for the threads that the program knows of. */
static int start_thread(struct stint_pool *pool)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&pool->threads[pool->thread_count], NULL, work, pool);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return -ENOMEM;
	pool->thread_count++;
	return 0;
}

/* Under the lock. `ret_wake`: a thread is to be woken, by sem_post(), when it has been let go of. */
static int see_to_thread(struct stint_pool *pool, bool *ret_wake)
{
	int error;

	if (pool->idle > pool->waking) {
		*ret_wake = pool->waking == 0;
		pool->waking += *ret_wake;
		return 0;
	}
	if (pool->thread_count == pool->thread_limit)
		return 0;
	error = start_thread(pool);
	return pool->thread_count > 0 ? 0 : error;
}

int pool_submit(struct stint_pool *pool, struct stint_job *job, bool bounded)
{
	bool wake = false;
	int error = 0;

	pthread_mutex_lock(&pool->lock);
	if (pool->stopping) {
		error = -ECANCELED;
	} else if (bounded && pool->queued >= pool->queue_limit) {
		pool->refused++;
		error = -EAGAIN;
	} else {
		error = see_to_thread(pool, &wake);
	}
	if (error == 0)
		append(pool, job);
	pthread_mutex_unlock(&pool->lock);
	if (wake)
		sem_post(&pool->wake);
	return error;
}

/* ---- the public face ---- */

/* Held for a few instructions: who finds it taken does better to look again than to sleep at once. */
static void init_lock(pthread_mutex_t *lock)
{
#if defined(PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP)
	*lock = (pthread_mutex_t)PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
#else
	pthread_mutex_init(lock, NULL);
#endif
}

int stint_pool_new(struct stint_pool **ret, const struct stint_pool_options *given)
{
	struct stint_pool_options options;
	struct stint_pool *pool;
	int error;

	if (!ret)
		return -EINVAL;
	error = options_take(&options, sizeof(options), given);
	if (error < 0)
		return error;
	if (options.threads > THREADS_MAX)
		return -EINVAL;
	pool = aligned_alloc(64, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	memset(pool, 0, sizeof(*pool));
	pool->thread_limit = options.threads ? options.threads : THREADS_DEFAULT;
	pool->queue_limit = options.queue_limit ? options.queue_limit : QUEUE_DEFAULT;
	pool->threads = calloc(pool->thread_limit, sizeof(*pool->threads));
	if (!pool->threads) {
		free(pool);
		return -ENOMEM;
	}
	meter_map_copy_name(pool->name, sizeof(pool->name), options.name ? options.name : "stint-pool");
	pool->queue.next = pool->queue.previous = &pool->queue;
	pool->references = 1;
	init_lock(&pool->lock);
	sem_init(&pool->wake, 0, 0);
	*ret = pool;
	return 0;
}

/* What had not begun goes back in order; its loop may be cancelling it at the same time. */
static void return_queued(struct stint_pool *pool)
{
	struct stint_job *job;

	do {
		pthread_mutex_lock(&pool->lock);
		job = pool->queued ? pop(pool, JOB_WITHDRAWN) : NULL;
		pthread_mutex_unlock(&pool->lock);
		if (job)
			job_port_return(job, STINT_JOB_CANCELLED);
	} while (job);
}

struct stint_pool *stint_pool_free(struct stint_pool *pool)
{
	if (!pool)
		return NULL;
	pthread_mutex_lock(&pool->lock);
	__atomic_store_n(&pool->stopping, true, __ATOMIC_RELAXED);
	for (; pool->waking < pool->idle; pool->waking++)
		sem_post(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (uint32_t i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	return_queued(pool);
	pool_release(pool);
	return NULL;
}

int stint_pool_figures(struct stint_pool *pool, struct stint_pool_figures *ret)
{
	if (!pool || !ret)
		return -EINVAL;
	pthread_mutex_lock(&pool->lock);
	*ret = (struct stint_pool_figures){.threads = pool->thread_count,
					   .idle = pool->idle,
					   .queued = pool->queued,
					   .refused = pool->refused};
	pthread_mutex_unlock(&pool->lock);
	return 0;
}
