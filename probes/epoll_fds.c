/* SPDX-License-Identifier: MIT */
#include "probes/epoll_fds.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "probes/live_thread.h"
#include "probes/open_files.h"

int stint_epoll_fds_parse(const char *line, int32_t *fd, uint32_t *events, uint64_t *data)
{
	int32_t parsed_fd;
	uint32_t parsed_events;
	uint64_t parsed_data;

	if (sscanf(line, "tfd: %" SCNd32 " events: %" SCNx32 " data: %" SCNx64, &parsed_fd, &parsed_events,
		   &parsed_data) != 3 ||
	    parsed_fd < 0)
		return -EINVAL;
	*fd = parsed_fd;
	*events = parsed_events;
	*data = parsed_data;
	return 0;
}

int stint_epoll_fds_read(uint32_t pid, int32_t epfd, stint_epoll_fds_visit visit, void *ctx)
{
	char path[64], line[256];
	FILE *file;
	int err = 0;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fdinfo/%" PRId32, stint_live_thread(pid), epfd);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (!err && fgets(line, sizeof(line), file)) {
		int32_t fd;
		uint32_t events;
		uint64_t data;

		if (stint_epoll_fds_parse(line, &fd, &events, &data) == 0)
			err = visit(ctx, fd, events, data);
	}
	if (!err && ferror(file))
		err = -EIO;
	fclose(file);
	return err;
}

struct list {
	int (*visit)(void *ctx, int32_t epfd);
	void *ctx;
};

static int visit_epoll(void *ctx, int32_t fd, const char *target)
{
	const struct list *list = ctx;

	return strcmp(target, "anon_inode:[eventpoll]") == 0 ? list->visit(list->ctx, fd) : 0;
}

int stint_epoll_fds_list(uint32_t pid, int (*visit)(void *ctx, int32_t epfd), void *ctx)
{
	struct list list = {.visit = visit, .ctx = ctx};

	return stint_fds_read(pid, visit_epoll, &list);
}

static int count_one(void *ctx, int32_t epfd)
{
	(void)epfd;
	++*(int *)ctx;
	return 0;
}

int stint_epoll_fds_count(uint32_t pid)
{
	int count = 0, err = stint_epoll_fds_list(pid, count_one, &count);

	return err ? err : count;
}
