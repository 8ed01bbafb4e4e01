/* SPDX-License-Identifier: MIT */
#include "probes/loops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probes/hygiene.h"

struct stint_loops {
	struct stint_bpf *bpf;
	const struct stint_bpf_role_maps *maps;
	uint32_t limit;
	struct loop_counters *counters;
	size_t counters_bytes;
	struct loop_habits *habits;
	size_t habits_bytes;
	bool *over;                           /* its last figures were read */
	struct stint_probes_attribution past; /* of those that were released */
};

/* An array of `entry_bytes` for each loop; NULL on failure. */
static void *map_table(int map, uint32_t limit, size_t entry_bytes, size_t *bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *memory;

	*bytes = (limit * entry_bytes + page - 1) / page * page;
	memory = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static int map_tables(struct stint_loops *loops)
{
	loops->counters = map_table(stint_bpf_loop_table(loops->bpf), loops->limit,
				    sizeof(struct loop_counters), &loops->counters_bytes);
	if (!loops->counters)
		return -errno;
	loops->habits = map_table(loops->maps->habits_table, loops->limit, sizeof(struct loop_habits),
				  &loops->habits_bytes);
	if (!loops->habits)
		return -errno;
	loops->over = calloc(loops->limit, sizeof(*loops->over));
	return loops->over ? 0 : -ENOMEM;
}

int stint_loops_new(struct stint_loops **ret, struct stint_bpf *bpf, const struct stint_bpf_role_maps *maps,
		    uint32_t limit)
{
	struct stint_loops *loops = calloc(1, sizeof(*loops));
	int err;

	if (!loops)
		return -ENOMEM;
	loops->bpf = bpf;
	loops->maps = maps;
	loops->limit = limit;
	err = map_tables(loops);
	if (err)
		loops = stint_loops_free(loops);
	*ret = loops;
	return err;
}

struct stint_loops *stint_loops_free(struct stint_loops *loops)
{
	if (!loops)
		return NULL;
	if (loops->counters)
		munmap(loops->counters, loops->counters_bytes);
	if (loops->habits)
		munmap(loops->habits, loops->habits_bytes);
	free(loops->over);
	free(loops);
	return NULL;
}

const struct loop_counters *stint_loops_counters(const struct stint_loops *loops)
{
	return loops->counters;
}

const struct loop_habits *stint_loops_habits(const struct stint_loops *loops)
{
	return loops->habits;
}

/* Also of loops that no thread is in now. */
void stint_loops_forget_under_way(struct stint_loops *loops)
{
	for (uint32_t i = 0; i < loops->limit; i++) {
		loops->counters[i].waiting_ns = 0;
		loops->counters[i].running_ns = 0;
	}
}

static void fill_loop(struct stint_probes_loop *ret, const struct loop_counters *loop)
{
	*ret = (struct stint_probes_loop){
		.number = loop->number,
		.pid = loop->pid,
		.tid = loop->tid,
		.epfd = loop->epfd,
		.wait = (enum stint_probes_wait)loop->wait,
		.iterations = loop->iterations,
		.events = loop->events,
		.overruns = loop->overruns,
		.busy_sum_ns = loop->busy_sum_ns,
		.busy_min_ns = loop->busy_min_ns,
		.busy_max_ns = loop->busy_max_ns,
		.poll_sum_ns = loop->poll_sum_ns,
		.poll_min_ns = loop->poll_min_ns,
		.poll_max_ns = loop->poll_max_ns,
		.first_return_ns = loop->first_return_ns,
		.batch_max = loop->batch_max,
		.overflow = loop->overflow,
		.busy = (const uint64_t *)loop->busy,
		.poll = (const uint64_t *)loop->poll,
		.batch = (const uint64_t *)loop->batch,
	};
	if (loop->ended || ret->busy_sum_ns + ret->poll_sum_ns != loop->surveyed_sum_ns)
		return;
	ret->waiting_ns = loop->waiting_ns;
	ret->running_ns = loop->running_ns;
}

int stint_loops_read(struct stint_loops *loops, stint_probes_loop_visit visit, void *ctx)
{
	for (uint32_t i = 0; i < loops->limit; i++) {
		uint32_t ended = __atomic_load_n(&loops->counters[i].ended, __ATOMIC_ACQUIRE);
		struct stint_probes_loop loop;
		int err;

		if (!loops->counters[i].wait)
			continue;
		fill_loop(&loop, &loops->counters[i]);
		loop.is_over = ended != 0; /* as it was before its figures were read */
		loop.thread_is_over = ended == LOOP_THREAD_OVER;
		err = visit(ctx, &loop);
		if (err)
			return err;
		loops->over[i] = loop.is_over;
	}
	return 0;
}

static void tell_waited(struct stint_before *before, const struct loop_counters *loop)
{
	stint_before_waited(before, loop->pid, loop->wait == RECORD_WAIT_EPOLL ? loop->epfd : -1);
}

void stint_loops_tell_waited(const struct stint_loops *loops, uint32_t pid, struct stint_before *before)
{
	for (uint32_t i = 0; i < loops->limit; i++)
		if (loops->counters[i].wait && loops->counters[i].pid == pid)
			tell_waited(before, &loops->counters[i]);
}

bool stint_loops_has_set_beside(const struct stint_loops *loops, uint32_t pid, uint32_t tid, int32_t epfd)
{
	for (uint32_t i = 0; i < loops->limit; i++) {
		const struct loop_counters *loop = &loops->counters[i];

		if (loop->wait == RECORD_WAIT_EPOLL && loop->pid == pid && loop->tid != tid && !loop->ended &&
		    (epfd < 0 || loop->epfd == epfd))
			return true;
	}
	return false;
}

static void count_attribution(struct stint_probes_attribution *ret, const struct loop_habits *habits)
{
	ret->events += habits->events + habits->not_looked_at;
	ret->not_attributed += habits->events - habits->attributed + habits->not_looked_at;
}

static int release_loop(struct stint_loops *loops, uint32_t slot, struct stint_before *before)
{
	struct loop_counters *loop = &loops->counters[slot];

	count_attribution(&loops->past, &loops->habits[slot]);
	tell_waited(before, loop);
	if (loop->ended == LOOP_THREAD_OVER)
		stint_hygiene_forget(loops->maps, loop);
	memset(loop, 0, sizeof(*loop));
	memset(&loops->habits[slot], 0, sizeof(loops->habits[slot]));
	loops->over[slot] = false;
	return stint_bpf_free_loop(loops->bpf, slot);
}

int stint_loops_release(struct stint_loops *loops, struct stint_before *before)
{
	for (uint32_t i = 0; i < loops->limit; i++) {
		int err = loops->over[i] ? release_loop(loops, i, before) : 0;

		if (err)
			return err;
	}
	return 0;
}

void stint_loops_attribution(const struct stint_loops *loops, struct stint_probes_attribution *ret)
{
	*ret = loops->past;
	for (uint32_t i = 0; i < loops->limit; i++)
		count_attribution(ret, &loops->habits[i]);
}
