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
 * The queue is in two: jobs are submitted to its back, and threads take them from its front. When that is empty, all that
 * is at the back comes forward at once, so that who submits and who takes meet once for many jobs, and not at each: what
 * two processors write in turn costs either more than all else that is done for a job. Whoever needs both locks takes the
 * front's first.
 *
 * One thread is being woken at a time, at most, and takes its job before it wakes another if there is more: a burst makes
 * no system call for each job, and where one thread is enough, the others sleep on. A submission starts a thread only if
 * fewer sleep than jobs wait. They sleep on a semaphore, and not on a condition, as the latter's mutex is taken by whoever
 * wakes up in a way that costs a system call more.
 *
 * A thread that has had several jobs and runs out of them lingers for about as long as it takes to wake one, and
 * looks once more before it sleeps. Else short jobs, submitted one after the other, were done by one that another
 * processor has to wake for every few of them, which costs the submitter some us each time.
 *
 * A pool lives until its last job is back: each holds a reference, so that a loop may still cancel what another thread's
 * stint_pool_free() is returning.
 */

#define THREADS_DEFAULT 4u
#define THREADS_MAX     1024u
#define QUEUE_DEFAULT   1024u
#define NAME_BYTES      16
#define LINGER_TICKS    4096u /* 1 to 2 us */

/* One end of the queue, in cache lines of its own: the first has all that is used. */
struct queue_end {
	pthread_mutex_t lock;
	/* Of jobs that ever came to the back; of those that ever left the queue, at the front or not: atomic. */
	uint32_t count;
	struct stint_job head; /* of a ring */
} __attribute__((aligned(64)));

struct stint_pool {
	struct queue_end front;
	struct queue_end back; /* its lock is of all below, too, that is not said to be atomic */
	sem_t wake;            /* where idle threads sleep */
	uint32_t queue_limit;
	uint32_t left_before; /* what front.count was when that was looked at last */
	pthread_t *threads;
	uint32_t thread_count, thread_limit;
	uint32_t idle;   /* threads that sleep */
	uint32_t waking; /* of these, those that have been woken */
	uint64_t refused;
	/* Ticks: until then a thread without work is about to look again. 0: none is. */
	uint64_t linger_until;
	char name[NAME_BYTES];
	bool stopping; /* atomic: jobs that run ask for it; set with both locks */
	/* Atomic, and on a line of its own: the loop counts there what the threads need not see. */
	uint32_t references __attribute__((aligned(64)));
};

void pool_reference(struct stint_pool *pool)
{
	__atomic_fetch_add(&pool->references, 1, __ATOMIC_RELAXED);
}

void pool_release(struct stint_pool *pool, uint32_t count)
{
	if (__atomic_sub_fetch(&pool->references, count, __ATOMIC_ACQ_REL) > 0)
		return;
	sem_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->back.lock);
	pthread_mutex_destroy(&pool->front.lock);
	free(pool->threads);
	free(pool);
}

bool pool_stopping(const struct stint_pool *pool)
{
	return __atomic_load_n(&pool->stopping, __ATOMIC_RELAXED);
}

/* ---- the queue ---- */

static void lock_both(struct stint_pool *pool)
{
	pthread_mutex_lock(&pool->front.lock);
	pthread_mutex_lock(&pool->back.lock);
}

static void unlock_both(struct stint_pool *pool)
{
	pthread_mutex_unlock(&pool->back.lock);
	pthread_mutex_unlock(&pool->front.lock);
}

/* Its lock is held for a few instructions: who finds it taken does better to look again than to sleep at once. */
static void init_end(struct queue_end *end)
{
	end->head.next = end->head.previous = &end->head;
#if defined(PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP)
	end->lock = (pthread_mutex_t)PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP;
#else
	pthread_mutex_init(&end->lock, NULL);
#endif
}

static bool is_empty(const struct queue_end *end)
{
	return end->head.next == &end->head;
}

/* With the back's lock. */
static void append(struct stint_pool *pool, struct stint_job *job)
{
	struct stint_job *head = &pool->back.head;

	job->next = head;
	job->previous = head->previous;
	job->previous->next = job;
	head->previous = job;
	pool->back.count++;
	__atomic_store_n(&job->state, JOB_QUEUED, __ATOMIC_RELAXED);
}

/* With both locks: what is at the back follows what is at the front. */
static void bring_forward(struct stint_pool *pool)
{
	struct stint_job *front = &pool->front.head, *back = &pool->back.head;

	if (is_empty(&pool->back))
		return;
	back->next->previous = front->previous;
	front->previous->next = back->next;
	back->previous->next = front;
	front->previous = back->previous;
	back->next = back->previous = back;
}

/* With the front's lock, and the back's if it may be there. */
static void leave(struct stint_pool *pool, struct stint_job *job, enum job_state state)
{
	job->next->previous = job->previous;
	job->previous->next = job->next;
	__atomic_store_n(&pool->front.count, pool->front.count + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&job->state, state, __ATOMIC_RELAXED);
}

/* With the back's lock. How many have left changes all the time, so it is looked at only if it matters. */
static bool is_full(struct stint_pool *pool)
{
	if (pool->back.count - pool->left_before >= pool->queue_limit)
		pool->left_before = __atomic_load_n(&pool->front.count, __ATOMIC_RELAXED);
	return pool->back.count - pool->left_before >= pool->queue_limit;
}

/* A thread that looks for work. */
struct seeker {
	enum {
		SEEKS,
		LINGERS,
		SLEEPS
	} rest;        /* how it rested before it looked; how it is to rest if it finds none */
	uint32_t jobs; /* how many it has had since it slept */
};

/* With the back's lock. Not if it should have been back by now: then it has lost its processor. */
static bool somebody_lingers(const struct stint_pool *pool)
{
	return pool->linger_until != 0 && clock_ticks() < pool->linger_until;
}

/* With the back's lock. One lingers at a time, once and if jobs have been coming; without ticks none does. */
static void choose_rest(struct stint_pool *pool, struct seeker *seeker)
{
	uint64_t now = clock_ticks();

	if (seeker->rest == SEEKS && seeker->jobs > 1 && now != 0 && now >= pool->linger_until) {
		pool->linger_until = now + LINGER_TICKS;
		seeker->rest = LINGERS;
		return;
	}
	pool->idle++;
	seeker->rest = SLEEPS;
}

/*
 * With the front's lock, by a thread that has found nothing there, or has rested. False: there is nothing at the back
 * either, and it is to rest. `ret_wake`: another is to be woken, by sem_post().
 */
static bool find_work(struct stint_pool *pool, struct seeker *seeker, bool *ret_wake)
{
	bool found;

	pthread_mutex_lock(&pool->back.lock);
	if (seeker->rest == SLEEPS) {
		pool->idle--;
		pool->waking--;
	} else if (seeker->rest == LINGERS) {
		pool->linger_until = 0;
	}
	bring_forward(pool);
	found = !is_empty(&pool->front) || pool->stopping;
	if (!found)
		choose_rest(pool, seeker);
	/* One job is this thread's. What comes later wakes somebody as it comes. */
	*ret_wake = found && pool->front.head.next != pool->front.head.previous && pool->idle > 0 &&
		    pool->waking == 0;
	pool->waking += *ret_wake;
	pthread_mutex_unlock(&pool->back.lock);
	return found;
}

static void take_rest(struct stint_pool *pool, struct seeker *seeker)
{
	if (seeker->rest == LINGERS) {
		clock_pass(LINGER_TICKS);
		return;
	}
	seeker->jobs = 0;
	while (sem_wait(&pool->wake) < 0)
		; /* EINTR */
}

/* Waits for work. NULL: the pool is ending. */
static struct stint_job *take(struct stint_pool *pool, struct seeker *seeker)
{
	struct stint_job *job = NULL;
	bool wake = false;

	pthread_mutex_lock(&pool->front.lock);
	while ((seeker->rest != SEEKS || is_empty(&pool->front)) && !find_work(pool, seeker, &wake)) {
		pthread_mutex_unlock(&pool->front.lock);
		take_rest(pool, seeker);
		pthread_mutex_lock(&pool->front.lock);
	}
	if (!pool->stopping) {
		job = pool->front.head.next;
		leave(pool, job, JOB_RUNNING);
	}
	pthread_mutex_unlock(&pool->front.lock);
	if (wake)
		sem_post(&pool->wake);
	seeker->rest = SEEKS;
	seeker->jobs++;
	return job;
}

bool pool_withdraw(struct stint_pool *pool, struct stint_job *job)
{
	bool queued;

	lock_both(pool);
	queued = __atomic_load_n(&job->state, __ATOMIC_RELAXED) == JOB_QUEUED;
	if (queued)
		leave(pool, job, JOB_WITHDRAWN);
	unlock_both(pool);
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
	struct seeker seeker = {.rest = SEEKS};
	struct stint_job *job;

	pthread_setname_np(pthread_self(), pool->name);
	while ((job = take(pool, &seeker))) {
		job->begin_at = clock_stamp_now(job->stamp);
		job->run(job, job->ctx);
		job->end_at = clock_stamp_now(job->stamp);
		job_port_return(job, end_job(job));
	}
	return NULL;
}

/* With the back's lock. A signal to the process is for the threads that the program knows of. */
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

/* With the back's lock. Whether there are as many that sleep or linger as jobs will wait, this one included. */
static bool has_thread_for_it(const struct stint_pool *pool, bool lingers)
{
	uint32_t left = __atomic_load_n(&pool->front.count, __ATOMIC_RELAXED);

	return pool->idle + lingers > pool->back.count - left;
}

/*
 * With the back's lock. `ret_wake`: a thread is to be woken, by sem_post(), when it has been let go of. None is if one is
 * about to look anyway: it wakes another if there is more than it can take.
 */
static int see_to_thread(struct stint_pool *pool, bool *ret_wake)
{
	bool lingers = somebody_lingers(pool);
	int error = 0;

	if (pool->thread_count < pool->thread_limit && !has_thread_for_it(pool, lingers))
		error = start_thread(pool);
	*ret_wake = !lingers && pool->idle > 0 && pool->waking == 0;
	pool->waking += *ret_wake;
	return pool->thread_count > 0 ? 0 : error;
}

int pool_submit(struct stint_pool *pool, struct stint_job *job, bool bounded)
{
	bool wake = false;
	int error = 0;

	pthread_mutex_lock(&pool->back.lock);
	if (pool->stopping) {
		error = -ECANCELED;
	} else if (bounded && is_full(pool)) {
		pool->refused++;
		error = -EAGAIN;
	} else {
		error = see_to_thread(pool, &wake);
	}
	if (error == 0)
		append(pool, job);
	pthread_mutex_unlock(&pool->back.lock);
	if (wake)
		sem_post(&pool->wake);
	return error;
}

/* ---- the public face ---- */

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
	init_end(&pool->front);
	init_end(&pool->back);
	pool->references = 1;
	sem_init(&pool->wake, 0, 0);
	*ret = pool;
	return 0;
}

/* What had not begun goes back in order; its loop may be cancelling it at the same time. */
static void return_queued(struct stint_pool *pool)
{
	struct stint_job *job;

	do {
		lock_both(pool);
		bring_forward(pool);
		job = is_empty(&pool->front) ? NULL : pool->front.head.next;
		if (job)
			leave(pool, job, JOB_WITHDRAWN);
		unlock_both(pool);
		if (job)
			job_port_return(job, STINT_JOB_CANCELLED);
	} while (job);
}

struct stint_pool *stint_pool_free(struct stint_pool *pool)
{
	if (!pool)
		return NULL;
	lock_both(pool);
	__atomic_store_n(&pool->stopping, true, __ATOMIC_RELAXED);
	for (; pool->waking < pool->idle; pool->waking++)
		sem_post(&pool->wake);
	unlock_both(pool);
	for (uint32_t i = 0; i < pool->thread_count; i++)
		pthread_join(pool->threads[i], NULL);
	return_queued(pool);
	pool_release(pool, 1);
	return NULL;
}

int stint_pool_figures(struct stint_pool *pool, struct stint_pool_figures *ret)
{
	if (!pool || !ret)
		return -EINVAL;
	lock_both(pool);
	*ret = (struct stint_pool_figures){.threads = pool->thread_count,
					   .idle = pool->idle,
					   .queued = pool->back.count - pool->front.count,
					   .refused = pool->refused};
	unlock_both(pool);
	return 0;
}
