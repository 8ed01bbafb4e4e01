/* SPDX-License-Identifier: MIT */
#include "report/model/stalls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const stall_cause_keys[] = {"receive_window", "congestion_window", "retransmission",
					"silent",         "network",           "host",
					"peer_reads",     "runnable",          "own_loop",
					"unknown"};

const char *const stall_no_event_keys[] = {"above",    "unsent",    "not_armed",    "edge",
					   "replaced", "loop_busy", "already_told", "other"};

const char *const stall_ending_keys[] = {"sent", "closed", "open"};

const char *const stall_stage_names[STALL_COLUMNS] = {"ACK", "kernel", "scheduler", "loop", "queue", "whole"};

const char *const stall_stage_meanings[STALL_STAGES] = {
	"waiting for the ACK (of a unix socket: the peer's read) that opens the buffer",
	"from that to the write event", "waiting for a CPU after the write event",
	"from running to epoll_wait returning the event",
	"from epoll_wait returning the event to the next send"};

const char *const stall_stage_ends[STALL_COLUMNS] = {
	"to the ACK that opened it", "to the write event", "to a CPU",
	"to epoll_wait's return",    "to the next send",   "from send to send"};

static uint64_t stage_ns(const struct model_stall *stall, int stage)
{
	const uint64_t values[STALL_COLUMNS] = {stall->ack_ns,  stall->kernel_ns, stall->scheduler_ns,
						stall->loop_ns, stall->queue_ns,  stall->duration_ns};

	return values[stage];
}

static int order(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

static int compare_sockets(const struct model_stall *a, const struct model_stall *b)
{
	int by_process = order((uintptr_t)a->process, (uintptr_t)b->process);

	if (by_process)
		return by_process;
	return a->socket != b->socket ? order(a->socket, b->socket) : order((uint32_t)a->fd, (uint32_t)b->fd);
}

static int compare_stalls(const void *a, const void *b)
{
	return compare_sockets(*(const struct model_stall *const *)a, *(const struct model_stall *const *)b);
}

static int compare_values(const void *a, const void *b)
{
	return order(*(const uint64_t *)a, *(const uint64_t *)b);
}

static void add_limits(struct stall_group *group, const struct model_stall *stall)
{
	group->retransmits += stall->retransmits;
	group->by_lowat += stall->by_lowat;
	group->by_queue += stall->by_queue;
	for (int limit = 0; limit < MODEL_LIMITS; limit++)
		group->limit_ns[limit] += stall->limit_ns[limit];
}

static void keep_longest(const struct model_stall **longest, const struct model_stall *stall)
{
	if (!*longest || stall->duration_ns > (*longest)->duration_ns)
		*longest = stall;
}

static void count(struct stall_group *group, const struct model_stall *stall)
{
	group->all_ns += stall->duration_ns;
	if (stall->ending == MODEL_STALL_SENT) {
		group->count++;
		add_limits(group, stall);
	} else if (stall->ending == MODEL_STALL_CLOSED) {
		group->closed++;
		keep_longest(&group->longest_closed, stall);
	} else {
		group->open++;
		keep_longest(&group->longest_open, stall);
	}
}

static void sum_up_stage(struct stall_group *group, int stage, const struct model_stall *const *stalls,
			 size_t len, uint64_t *values)
{
	size_t values_len = 0;

	group->p50_ns[stage] = group->p99_ns[stage] = group->max_ns[stage] = MODEL_UNKNOWN;
	for (size_t i = 0; i < len; i++) {
		if (stalls[i]->ending != MODEL_STALL_SENT)
			continue;
		values[values_len] = stage_ns(stalls[i], stage);
		group->sum_ns[stage] += values[values_len++];
	}
	if (!values_len)
		return;
	qsort(values, values_len, sizeof(*values), compare_values);
	group->p50_ns[stage] = values[(values_len + 1) / 2 - 1];
	group->p99_ns[stage] = values[(values_len * 99 + 99) / 100 - 1];
	group->max_ns[stage] = values[values_len - 1];
	if (stage < STALL_STAGES && group->sum_ns[stage] > group->sum_ns[group->worst])
		group->worst = (enum stall_stage)stage;
}

/* `stalls` are in the order of their sockets; `values` has room for `len`. */
static void sum_up(struct stall_group *group, const struct model_stall *const *stalls, size_t len,
		   uint64_t *values)
{
	group->process = stalls[0]->process;
	for (int stage = 0; stage < STALL_COLUMNS; stage++)
		sum_up_stage(group, stage, stalls, len, values);
	for (size_t i = 0; i < len; i++) {
		group->sockets += i == 0 || stalls[i]->socket != stalls[i - 1]->socket;
		count(group, stalls[i]);
	}
}

static int compare_groups(const void *a, const void *b)
{
	const struct stall_group *x = a, *y = b;
	int by_process = order((uintptr_t)x->process, (uintptr_t)y->process);

	if (by_process)
		return by_process;
	if (!x->first != !y->first)
		return x->first ? 1 : -1;
	return order(y->all_ns, x->all_ns);
}

static void fill(struct stall_groups *groups, const struct model_stall **stalls, size_t len, uint64_t *values)
{
	size_t process = 0, socket = 0;

	qsort(stalls, len, sizeof(*stalls), compare_stalls);
	for (size_t i = 1; i <= len; i++) {
		bool last = i == len;

		if (last || compare_sockets(stalls[socket], stalls[i]) != 0) {
			struct stall_group *group = &groups->items[groups->len++];

			group->first = stalls[socket];
			sum_up(group, stalls + socket, i - socket, values);
			socket = i;
		}
		if (last || stalls[process]->process != stalls[i]->process) {
			sum_up(&groups->items[groups->len++], stalls + process, i - process, values);
			process = i;
		}
	}
	qsort(groups->items, groups->len, sizeof(*groups->items), compare_groups);
}

int stall_groups_new(struct stall_groups **ret, const struct model *model)
{
	size_t len = model->stalls_len;
	struct stall_groups *groups = calloc(1, sizeof(*groups));
	const struct model_stall **stalls = calloc(len + 1, sizeof(*stalls));
	uint64_t *values = calloc(len + 1, sizeof(*values));
	int err = -ENOMEM;

	if (!groups || !stalls || !values)
		goto out;
	groups->items = calloc(2 * len + 1, sizeof(*groups->items)); /* no more groups than that */
	if (!groups->items)
		goto out;
	for (size_t i = 0; i < len; i++)
		stalls[i] = &model->stalls[i];
	if (len > 0)
		fill(groups, stalls, len, values);
	*ret = groups;
	groups = NULL;
	err = 0;
out:
	free(values);
	free(stalls);
	stall_groups_free(groups);
	return err;
}

struct stall_groups *stall_groups_free(struct stall_groups *groups)
{
	if (!groups)
		return NULL;
	free(groups->items);
	free(groups);
	return NULL;
}
