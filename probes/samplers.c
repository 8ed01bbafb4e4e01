/* SPDX-License-Identifier: MIT */
#include "probes/samplers.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SAMPLERS_MAX 1024
#define EVENTS_MAX   3 /* a descriptor each */

struct sampler {
	enum stint_sampler_kind kind;
	uint32_t tid;
	uint32_t events_len;
	int events[EVENTS_MAX]; /* perf events */
	uint64_t end_ns;
};

struct stint_samplers {
	uint64_t period_ns;
	int begin; /* these two: programs */
	int end;
	uint32_t len;
	struct sampler items[SAMPLERS_MAX];
};

int stint_samplers_new(struct stint_samplers **ret, uint64_t period_ns, int begin, int end)
{
	struct stint_samplers *samplers = calloc(1, sizeof(*samplers));

	if (!samplers)
		return -ENOMEM;
	samplers->period_ns = period_ns;
	samplers->begin = begin;
	samplers->end = end;
	*ret = samplers;
	return 0;
}

static void close_events(struct sampler *sampler)
{
	while (sampler->events_len > 0)
		close(sampler->events[--sampler->events_len]);
}

struct stint_samplers *stint_samplers_free(struct stint_samplers *samplers)
{
	if (!samplers)
		return NULL;
	for (uint32_t i = 0; i < samplers->len; i++)
		close_events(&samplers->items[i]);
	free(samplers);
	return NULL;
}

void stint_samplers_expire(struct stint_samplers *samplers, uint64_t now_ns)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < samplers->len; i++) {
		if (now_ns >= samplers->items[i].end_ns)
			close_events(&samplers->items[i]);
		else
			samplers->items[kept++] = samplers->items[i];
	}
	samplers->len = kept;
}

static struct sampler *find(struct stint_samplers *samplers, enum stint_sampler_kind kind, uint32_t tid)
{
	for (uint32_t i = 0; i < samplers->len; i++)
		if (samplers->items[i].kind == kind && samplers->items[i].tid == tid)
			return &samplers->items[i];
	return NULL;
}

/* `program` negative: none is run. */
static int open_event(struct sampler *sampler, uint64_t config, uint64_t period, int program)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = config,
		.sample_period = period,
	};
	int event =
		(int)syscall(SYS_perf_event_open, &attr, (pid_t)sampler->tid, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (event < 0)
		return -errno;
	sampler->events[sampler->events_len++] = event;
	return program >= 0 && ioctl(event, PERF_EVENT_IOC_SET_BPF, program) != 0 ? -errno : 0;
}

static int open_events(const struct stint_samplers *samplers, struct sampler *sampler)
{
	int err;

	if (sampler->kind == STINT_SAMPLER_CLOCK)
		return open_event(sampler, PERF_COUNT_SW_CPU_CLOCK, samplers->period_ns, -1);
	/* What ends them first: an end without a beginning says nothing. */
	err = open_event(sampler, PERF_COUNT_SW_PAGE_FAULTS_MIN, 1, samplers->end);
	if (!err)
		err = open_event(sampler, PERF_COUNT_SW_PAGE_FAULTS_MAJ, 1, samplers->end);
	return err ? err : open_event(sampler, PERF_COUNT_SW_PAGE_FAULTS, 1, samplers->begin);
}

int stint_samplers_add(struct stint_samplers *samplers, enum stint_sampler_kind kind, uint32_t tid,
		       uint64_t end_ns)
{
	struct sampler *sampler = find(samplers, kind, tid);
	int err;

	if (sampler) {
		if (sampler->end_ns < end_ns)
			sampler->end_ns = end_ns;
		return 0;
	}
	if (samplers->len == SAMPLERS_MAX)
		return -ENOSPC;
	sampler = &samplers->items[samplers->len];
	*sampler = (struct sampler){.kind = kind, .tid = tid, .end_ns = end_ns};
	err = open_events(samplers, sampler);
	if (!err)
		samplers->len++;
	else
		close_events(sampler);
	return err == -ESRCH ? 0 : err;
}
