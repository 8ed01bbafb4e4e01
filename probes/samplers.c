/* SPDX-License-Identifier: MIT */
#include "probes/samplers.h"

#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SAMPLERS_MAX 4096 /* a descriptor or two each: what is more is limited by RLIMIT_NOFILE */

struct sampler {
	uint32_t tid;
	struct bpf_link *link;
};

struct stint_samplers {
	struct bpf_program *program;
	uint64_t period_ns;
	struct sampler *items;
	uint32_t len;
	uint32_t capacity;
};

int stint_samplers_new(struct stint_samplers **ret, struct bpf_program *program, uint64_t period_ns)
{
	struct stint_samplers *samplers = calloc(1, sizeof(*samplers));

	if (!samplers)
		return -ENOMEM;
	samplers->program = program;
	samplers->period_ns = period_ns;
	*ret = samplers;
	return 0;
}

struct stint_samplers *stint_samplers_free(struct stint_samplers *samplers)
{
	if (!samplers)
		return NULL;
	for (uint32_t i = 0; i < samplers->len; i++)
		bpf_link__destroy(samplers->items[i].link);
	free(samplers->items);
	free(samplers);
	return NULL;
}

static bool is_sampled(const struct stint_samplers *samplers, uint32_t tid)
{
	for (uint32_t i = 0; i < samplers->len; i++)
		if (samplers->items[i].tid == tid)
			return true;
	return false;
}

/* A number may belong to another thread since; then it is not one that waits in epoll, or it is told again. */
static void forget_gone(struct stint_samplers *samplers)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < samplers->len; i++) {
		if (syscall(SYS_tkill, samplers->items[i].tid, 0) != 0 && errno == ESRCH)
			bpf_link__destroy(samplers->items[i].link);
		else
			samplers->items[kept++] = samplers->items[i];
	}
	samplers->len = kept;
}

static int make_room(struct stint_samplers *samplers)
{
	uint32_t capacity = samplers->capacity ? 2 * samplers->capacity : 16;
	struct sampler *larger;

	if (samplers->len < samplers->capacity)
		return 0;
	forget_gone(samplers);
	if (samplers->len < samplers->capacity)
		return 0;
	if (samplers->len >= SAMPLERS_MAX)
		return -ENOSPC;
	larger = realloc(samplers->items, capacity * sizeof(*larger));
	if (!larger)
		return -ENOMEM;
	samplers->items = larger;
	samplers->capacity = capacity;
	return 0;
}

int stint_samplers_add(struct stint_samplers *samplers, uint32_t tid)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = samplers->period_ns,
	};
	struct bpf_link *link;
	int fd, err;

	if (is_sampled(samplers, tid))
		return 0;
	err = make_room(samplers);
	if (err)
		return err;
	fd = (int)syscall(SYS_perf_event_open, &attr, (pid_t)tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return errno == ESRCH ? 0 : -errno;
	link = bpf_program__attach_perf_event(samplers->program, fd);
	if (!link) {
		err = -errno;
		close(fd);
		return err;
	}
	samplers->items[samplers->len++] = (struct sampler){tid, link};
	return 0;
}

/* The call that a thread sleeps in, by the first field of /proc/PID/task/TID/syscall: "running", or its number. */
static bool may_be_a_loop(uint32_t pid, const char *tid)
{
	static const char *const states[] = {"running", "232 ", "281 ",
					     "441 "}; /* epoll_wait, _pwait, _pwait2 */
	char path[64], text[32] = "";
	FILE *file;

	if (snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task/%s/syscall", pid, tid) >= (int)sizeof(path))
		return false;
	file = fopen(path, "re");
	if (!file)
		return false;
	if (!fgets(text, sizeof(text), file))
		*text = '\0';
	fclose(file);
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strncmp(text, states[i], strlen(states[i])) == 0)
			return true;
	return false;
}

int stint_samplers_add_process(struct stint_samplers *samplers, uint32_t pid)
{
	struct dirent *entry;
	char path[64];
	int err = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return 0; /* it is gone, and that is told elsewhere */
	while (!err && (entry = readdir(tasks))) {
		uint32_t tid = (uint32_t)strtoul(entry->d_name, NULL, 10);

		if (tid && may_be_a_loop(pid, entry->d_name))
			err = stint_samplers_add(samplers, tid);
	}
	closedir(tasks);
	return err;
}
