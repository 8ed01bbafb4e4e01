/* SPDX-License-Identifier: MIT */
#include "watching.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "subject.h"

static void *grow(void *array, size_t len, size_t bytes)
{
	void *larger = array;

	if ((len & (len - 1)) == 0)
		larger = realloc(array, (len ? 2 * len : 1) * bytes);
	if (!larger)
		abort();
	return larger;
}

static void keep_overrun(void *ctx, const struct stint_probes_overrun *overrun)
{
	struct watching *watching = ctx;
	struct watched_overrun *kept;

	watching->overruns = grow(watching->overruns, watching->overruns_len, sizeof(*kept));
	kept = &watching->overruns[watching->overruns_len++];
	memset(kept, 0, sizeof(*kept));
	kept->is = *overrun;
	snprintf(kept->handler, sizeof(kept->handler), "%s", overrun->handler);
	for (uint32_t i = 0; i < overrun->stack_len && i < WATCHING_FRAMES; i++)
		snprintf(kept->stack[i], sizeof(kept->stack[i]), "%s", overrun->stack[i]);
	kept->is.stack = NULL;
	kept->is.frames = NULL;
	kept->is.handler = NULL;
}

static void keep_hang(void *ctx, const struct stint_probes_hang *hang)
{
	struct watching *watching = ctx;
	struct watched_hang *kept;

	watching->hangs = grow(watching->hangs, watching->hangs_len, sizeof(*kept));
	kept = &watching->hangs[watching->hangs_len++];
	kept->is = *hang;
	snprintf(kept->handler, sizeof(kept->handler), "%s", hang->handler);
	kept->is.handler = NULL;
}

static void keep_stall(void *ctx, const struct stint_probes_stall *stall)
{
	struct watching *watching = ctx;

	watching->stalls = grow(watching->stalls, watching->stalls_len, sizeof(*stall));
	watching->stalls[watching->stalls_len++] = *stall;
}

static void keep_event(void *ctx, const struct stint_probes_socket_event *event)
{
	struct watching *watching = ctx;

	watching->events = grow(watching->events, watching->events_len, sizeof(*event));
	watching->events[watching->events_len++] = *event;
}

static void keep_alarm(void *ctx, const struct stint_probes_alarm *alarm)
{
	struct watching *watching = ctx;

	watching->alarms = grow(watching->alarms, watching->alarms_len, sizeof(*alarm));
	watching->alarms[watching->alarms_len++] = *alarm;
}

static void keep_acks(void *ctx, const struct stint_probes_acks *acks)
{
	struct watching *watching = ctx;

	watching->acks = grow(watching->acks, watching->acks_len, sizeof(*acks));
	watching->acks[watching->acks_len++] = *acks;
}

static void keep_exit(void *ctx, uint32_t pid)
{
	struct watching *watching = ctx;

	if (watching->exited_len < sizeof(watching->exited) / sizeof(watching->exited[0]))
		watching->exited[watching->exited_len++] = pid;
}

static void keep_appeared(void *ctx, uint32_t pid, uint64_t time_ns)
{
	struct watching *watching = ctx;

	assert_true(time_ns > 0);
	if (watching->appeared_len < sizeof(watching->appeared) / sizeof(watching->appeared[0]))
		watching->appeared[watching->appeared_len++] = pid;
}

static void keep_refused(void *ctx, uint32_t pid, int err)
{
	struct watching *watching = ctx;

	assert_true(err < 0);
	if (watching->refused_len < sizeof(watching->refused) / sizeof(watching->refused[0]))
		watching->refused[watching->refused_len++] = pid;
}

void watching_or_skip(void)
{
	struct stint_probes_support support;

	if (stint_probes_supported(&support) == 0)
		return;
	printf("skipped: %s\n", support.why);
	skip();
}

void watching_open(struct watching *watching, const struct stint_probes_options *options)
{
	static const struct stint_probes_callbacks callbacks = {
		.overrun = keep_overrun,
		.stall = keep_stall,
		.socket = keep_event,
		.exited = keep_exit,
		.appeared = keep_appeared,
		.refused = keep_refused,
		.acks = keep_acks,
		.alarm = keep_alarm,
		.hang = keep_hang,
	};
	struct stint_probes_options with_samples = {.size = sizeof(with_samples)};

	if (options)
		with_samples = *options;
	if (!with_samples.sample_ns)
		with_samples.sample_ns = 1000000;
	memset(watching, 0, sizeof(*watching));
	if (stint_probes_new(&watching->probes, &with_samples, &callbacks, watching) != 0)
		fail_msg("no probes: %s", stint_probes_error(watching->probes));
}

void watching_add(struct watching *watching, int pid)
{
	if (stint_probes_watch(watching->probes, (uint32_t)pid) != 0)
		fail_msg("not watched: %s", stint_probes_error(watching->probes));
}

void watching_close(struct watching *watching)
{
	watching->probes = stint_probes_free(watching->probes);
	free(watching->overruns);
	free(watching->stalls);
	free(watching->events);
	free(watching->alarms);
	free(watching->acks);
	free(watching->hangs);
	memset(watching, 0, sizeof(*watching));
}

void watching_take(struct watching *watching)
{
	size_t before;
	int more;

	do {
		before = watching->overruns_len + watching->stalls_len + watching->events_len;
		more = stint_probes_poll(watching->probes, 0);
		assert_true(more >= 0);
	} while (more || watching->overruns_len + watching->stalls_len + watching->events_len > before);
}

static bool has_exited(const struct watching *watching, int pid)
{
	for (size_t i = 0; i < watching->exited_len; i++)
		if (watching->exited[i] == (uint32_t)pid)
			return true;
	return false;
}

void watching_until_exit(struct watching *watching, int pid)
{
	time_t limit = time(NULL) + 60;

	while (!has_exited(watching, pid)) {
		assert_true(stint_probes_poll(watching->probes, 100) >= 0);
		if (time(NULL) > limit)
			fail_msg("the exit of process %d was not told", pid);
	}
}

const struct watched_overrun *watching_overrun(const struct watching *watching, uint64_t least_ns, size_t i)
{
	for (size_t at = 0; at < watching->overruns_len; at++) {
		const struct watched_overrun *overrun = &watching->overruns[at];
		uint64_t own_ns = overrun->is.duration_ns - overrun->is.runnable_ns;

		if (own_ns < least_ns ||
		    subject_did_nothing_for((int32_t)overrun->is.tid, overrun->is.start_ns, own_ns))
			continue;
		if (i-- == 0)
			return overrun;
	}
	return NULL;
}

size_t watching_count(const struct watching *watching, uint64_t least_ns)
{
	size_t count = 0;

	while (watching_overrun(watching, least_ns, count))
		count++;
	return count;
}

struct search {
	int32_t tid;
	int32_t epfd;
	struct watched_loop *found;
	size_t seen;
};

static int look_at_loop(void *ctx, const struct stint_probes_loop *loop)
{
	struct search *search = ctx;

	search->seen++;
	if (!search->found || loop->tid != (uint32_t)search->tid || loop->epfd != search->epfd)
		return 0;
	search->found->is = *loop;
	memcpy(search->found->busy, loop->busy, sizeof(search->found->busy));
	memcpy(search->found->poll, loop->poll, sizeof(search->found->poll));
	memcpy(search->found->batch, loop->batch, sizeof(search->found->batch));
	search->found->is.busy = search->found->busy;
	search->found->is.poll = search->found->poll;
	search->found->is.batch = search->found->batch;
	return 1;
}

bool watching_loop(const struct watching *watching, int32_t tid, int32_t epfd, struct watched_loop *ret)
{
	struct search search = {.tid = tid, .epfd = epfd, .found = ret};

	return stint_probes_read_loops(watching->probes, look_at_loop, &search) == 1;
}

size_t watching_loops(const struct watching *watching)
{
	struct search search = {0};

	assert_int_equal(stint_probes_read_loops(watching->probes, look_at_loop, &search), 0);
	return search.seen;
}

bool watched_stack_has(const struct watched_overrun *overrun, const char *function)
{
	for (uint32_t i = 0; i < overrun->is.stack_len && i < WATCHING_FRAMES; i++)
		if (strcmp(overrun->stack[i], function) == 0)
			return true;
	return false;
}

static void assert_lists_in_order(const struct stint_probes_overrun *overrun)
{
	uint64_t end_ns = overrun->start_ns + overrun->duration_ns, at_ns = overrun->start_ns;

	for (uint32_t i = 0; i < overrun->syscalls_len; i++) {
		const struct stint_probes_syscall *call = &overrun->syscalls[i];

		assert_true(call->start_ns >= overrun->start_ns);
		assert_true(call->start_ns + call->duration_ns <= end_ns);
		assert_true(i == 0 || call->duration_ns <= overrun->syscalls[i - 1].duration_ns);
	}
	for (uint32_t i = 0; i < overrun->segments_len; i++) {
		const struct stint_probes_segment *segment = &overrun->segments[i];

		assert_true(segment->off_ns >= at_ns);
		assert_true(segment->runnable_ns >= segment->off_ns);
		assert_true(segment->on_ns >= segment->runnable_ns);
		at_ns = segment->on_ns;
	}
	assert_true(at_ns <= end_ns);
}

void assert_overruns_consistent(const struct watching *watching)
{
	for (size_t i = 0; i < watching->overruns_len; i++) {
		const struct stint_probes_overrun *overrun = &watching->overruns[i].is;
		uint64_t blocked_ns = 0, runnable_ns = 0;

		assert_int_equal(overrun->on_cpu_ns + overrun->runnable_ns + overrun->blocked_ns,
				 overrun->duration_ns);
		assert_int_equal(overrun->parts.user_ns + overrun->parts.kernel_ns +
					 overrun->parts.runnable_ns + overrun->parts.throttled_ns +
					 overrun->parts.blocked_ns + overrun->parts.stolen_ns,
				 overrun->duration_ns);
		assert_true(overrun->fault_blocked_ns + overrun->stopped_ns <= overrun->blocked_ns);
		assert_true(overrun->calls_unknown || overrun->syscalls_len <= overrun->syscall_count);
		assert_lists_in_order(overrun);
		for (uint32_t at = 0; at < overrun->segments_len; at++) {
			blocked_ns += overrun->segments[at].runnable_ns - overrun->segments[at].off_ns;
			runnable_ns += overrun->segments[at].on_ns - overrun->segments[at].runnable_ns;
		}
		if (overrun->segments_lost)
			continue;
		assert_int_equal(blocked_ns, overrun->blocked_ns);
		assert_int_equal(runnable_ns, overrun->runnable_ns);
	}
}
