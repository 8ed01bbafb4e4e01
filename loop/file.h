/* SPDX-License-Identifier: MIT */
#ifndef FILE_H
#define FILE_H

/*
 * What readers and writers of files have in common: a descriptor that they own, a turn in step 6 of the iteration,
 * and at most one job in the pool, in whose memory (theirs) a thread may be at work when they are freed.
 */

#include "jobs.h"

#include <stint/file.h>

struct file {
	struct object object; /* first: it is what is freed */
	struct deferral turn;
	struct stint_job job;
	struct stint_pool *pool;            /* a reference */
	void (*release)(struct file *file); /* frees what the thread may have been using */
	void *ctx;
	int fd;
	bool finished, freed;
};

static inline struct file *file_of_turn(struct deferral *turn)
{
	return (struct file *)((char *)turn - offsetof(struct file, turn));
}

/* Whether a thread has, or is going to have, the job. */
static inline bool file_job_out(const struct file *file)
{
	return file->job.pool != NULL;
}

/*
 * Whether it is a file, and not open for `unwanted` alone (O_RDONLY or O_WRONLY), nor to be named alone: 0 or a negative
 * errno. `ret_bytes`: its size; of a block device UINT64_MAX, as nothing comes behind its end.
 */
int file_check(int fd, int unwanted, uint64_t *ret_bytes);

/* Memory that O_DIRECT takes, on whatever is there of blocks and devices; NULL: there is none. To be freed by free(). */
void *file_buffer(size_t bytes);

/* Makes a file of zeroed memory, and puts it on the loop. */
void file_init(struct file *file, struct stint_loop *loop, struct stint_pool *pool, int fd, uint32_t handler,
	       void *ctx);

/* Ends it for its owner: frees it now, or when the job is back. */
void file_free(struct file *file);

/* For a job's `done`: whether the owner is still there. If not, it frees the file. */
bool file_job_back(struct file *file);

/* Submits the job. */
int file_offload(struct file *file);

#endif
