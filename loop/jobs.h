/* SPDX-License-Identifier: MIT */
#ifndef JOBS_H
#define JOBS_H

/*
 * Jobs between loop and pool: job.c (the loop's side) uses pool.c (threads and queue), and both job_port.c (the way
 * back).
 */

#include "reactor.h"

#include <stint/pool.h>

/* RUNNING may become ASKED (to stop) at any moment; who ends the job finds out by an exchange. */
enum job_state { JOB_IDLE, JOB_QUEUED, JOB_WITHDRAWN, JOB_RUNNING, JOB_ASKED, JOB_ENDED };

struct job_port;

struct stint_job {
	struct stint_job *next, *previous; /* in the pool's queue, under its lock; then `next` in the port */
	struct stint_job *out_next, *out_previous; /* those of the loop that are out: the loop's thread */
	struct stint_pool *pool;                   /* a reference */
	struct job_port *port;
	struct stint_loop *loop;
	stint_job_run run;
	stint_job_done done;
	void *ctx;
	uint64_t submitted_at, begin_at, end_at; /* moments, as `stamp` says; 0: not timed, or did not run */
	uint32_t state;                          /* enum job_state, atomic */
	uint32_t outcome;                        /* enum stint_job_outcome, once it has ended */
	uint16_t handler;
	uint8_t stamp;  /* enum clock_stamp */
	bool allocated; /* by stint_job_new(): freed after `done` */
};

/* job_port.c; see reactor.h, too */

/* Hands an ended job to its loop, which owns it from then on. Any thread. */
void job_port_return(struct stint_job *job, enum stint_job_outcome outcome);

/* Makes the loop's port, unless it has one. -ENOMEM, -EMFILE, -ENFILE, -ENOSPC. */
int job_port_open(struct stint_loop *loop);
/* Appends what has come back to loop->jobs_returned, in the order in which it came; returns how many. */
uint32_t job_port_collect(struct stint_loop *loop);
/* Waits until something has come back. */
void job_port_await(struct stint_loop *loop);

/* pool.c */

/*
 * Queues the job, and sees to a thread. `bounded`: -EAGAIN if the queue is full. -ENOMEM: no
 * thread. -ECANCELED: the pool is ending.
 */
int pool_submit(struct stint_pool *pool, struct stint_job *job, bool bounded);

/* Takes it off the queue, if it is still there. */
bool pool_withdraw(struct stint_pool *pool, struct stint_job *job);

bool pool_stopping(const struct stint_pool *pool);
void pool_reference(struct stint_pool *pool);
/* Gives back so many references. */
void pool_release(struct stint_pool *pool, uint32_t count);

/* job.c */

/*
 * Submits a job whose memory is the caller's, until `done`; run, done, ctx and handler are set. Those of files
 * are not bounded: a file has one job out at most, so their number is bounded by that of the files.
 */
int job_submit(struct stint_job *job, struct stint_loop *loop, struct stint_pool *pool, bool bounded);

#endif
