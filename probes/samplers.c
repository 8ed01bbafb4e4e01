/* SPDX-License-Identifier: MIT */
#include "probes/samplers.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SAMPLERS_MAX 1024 /* a descriptor each */

struct sampler {
	uint32_t tid;
	int clock; /* a perf event */
	uint64_t end_ns;
};

struct stint_samplers {
	uint64_t period_ns;
	uint32_t len;
	struct sampler items[SAMPLERS_MAX];
};

int stint_samplers_new(struct stint_samplers **ret, uint64_t period_ns)
{
	struct stint_samplers *samplers = calloc(1, sizeof(*samplers));

	if (!samplers)
		return -ENOMEM;
	samplers->period_ns = period_ns;
	*ret = samplers;
	return 0;
}

struct stint_samplers *stint_samplers_free(struct stint_samplers *samplers)
{
	if (!samplers)
		return NULL;
	for (uint32_t i = 0; i < samplers->len; i++)
		close(samplers->items[i].clock);
	free(samplers);
	return NULL;
}

void stint_samplers_expire(struct stint_samplers *samplers, uint64_t now_ns)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < samplers->len; i++) {
		if (now_ns >= samplers->items[i].end_ns)
			close(samplers->items[i].clock);
		else
			samplers->items[kept++] = samplers->items[i];
	}
	samplers->len = kept;
}

static struct sampler *find(struct stint_samplers *samplers, uint32_t tid)
{
	for (uint32_t i = 0; i < samplers->len; i++)
		if (samplers->items[i].tid == tid)
			return &samplers->items[i];
	return NULL;
}

int stint_samplers_add(struct stint_samplers *samplers, uint32_t tid, uint64_t end_ns)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = samplers->period_ns,
	};
	struct sampler *sampler = find(samplers, tid);
	int clock;

	if (sampler) {
		if (sampler->end_ns < end_ns)
			sampler->end_ns = end_ns;
		return 0;
	}
	if (samplers->len == SAMPLERS_MAX)
		return -ENOSPC;
	clock = (int)syscall(SYS_perf_event_open, &attr, (pid_t)tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (clock < 0)
		return errno == ESRCH ? 0 : -errno;
	samplers->items[samplers->len++] = (struct sampler){tid, clock, end_ns};
	return 0;
}
