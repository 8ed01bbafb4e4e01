/* SPDX-License-Identifier: MIT */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int file_check(int fd, int unwanted, uint64_t *ret_bytes)
{
	struct stat status;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return -EINVAL;
	if ((flags & O_PATH) || (flags & O_ACCMODE) == unwanted)
		return -EBADF;
	*ret_bytes = S_ISBLK(status.st_mode) ? UINT64_MAX : (uint64_t)status.st_size;
	return 0;
}

void *file_buffer(size_t bytes)
{
	const size_t page = 4096;

	return aligned_alloc(page, (bytes + page - 1) / page * page);
}

static void bury(struct file *file)
{
	close(file->fd);
	file->release(file);
	pool_release(file->pool, 1);
	loop_bury(&file->object);
}

/* By the loop's end: all jobs are back by then, without their `done`. */
static void destroy(struct object *object)
{
	struct file *file = (struct file *)object;

	deferral_cancel(object->loop, &file->turn);
	file->freed = true;
	bury(file);
}

void file_init(struct file *file, struct stint_loop *loop, struct stint_pool *pool, int fd, uint32_t handler,
	       void *ctx)
{
	file->pool = pool;
	pool_reference(pool);
	file->fd = fd;
	file->ctx = ctx;
	file->job.ctx = file;
	file->job.handler = (uint16_t)handler;
	loop_add_object(loop, &file->object, destroy);
}

void file_free(struct file *file)
{
	if (file->freed)
		return;
	file->freed = true;
	deferral_cancel(file->object.loop, &file->turn);
	if (file_job_out(file))
		stint_job_cancel(&file->job);
	else
		bury(file);
}

bool file_job_back(struct file *file)
{
	if (!file->freed)
		return true;
	bury(file);
	return false;
}

int file_offload(struct file *file)
{
	return job_submit(&file->job, file->object.loop, file->pool, false);
}
