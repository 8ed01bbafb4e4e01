/* SPDX-License-Identifier: MIT */
#include "probes/known.h"

#include <errno.h>
#include <stdlib.h>

#include "probes/now.h"

#define LOOK_FOR_EXITS_NS 100000000u

struct stint_known {
	struct stint_bpf *bpf;
	struct stint_process_shared *shared;
	struct stint_functions *functions; /* NULL: none are asked for */
	const struct stint_probes_callbacks *callbacks;
	void *ctx;
	struct stint_process *processes[STINT_KNOWN_MAX];
	uint32_t len;
	uint64_t exits_looked_ns;
};

int stint_known_new(struct stint_known **ret, struct stint_bpf *bpf, struct stint_kernel_symbols *kernel,
		    struct stint_functions *functions, const struct stint_probes_callbacks *callbacks,
		    void *ctx)
{
	struct stint_known *known = calloc(1, sizeof(*known));

	if (!known || stint_process_shared_new(&known->shared, kernel) != 0) {
		free(known);
		return -ENOMEM;
	}
	known->bpf = bpf;
	known->functions = functions;
	known->callbacks = callbacks;
	known->ctx = ctx;
	*ret = known;
	return 0;
}

struct stint_known *stint_known_free(struct stint_known *known)
{
	if (!known)
		return NULL;
	for (uint32_t i = 0; i < known->len; i++)
		stint_process_free(known->processes[i]);
	stint_process_shared_free(known->shared);
	free(known);
	return NULL;
}

struct stint_process *stint_known_find(const struct stint_known *known, uint32_t pid)
{
	for (uint32_t i = 0; i < known->len; i++)
		if (stint_process_pid(known->processes[i]) == pid)
			return known->processes[i];
	return NULL;
}

int stint_known_add(struct stint_known *known, uint32_t pid, struct stint_process **ret)
{
	int err = known->len == STINT_KNOWN_MAX ? -ENOSPC : stint_probes_may_inspect(pid);

	if (!err)
		err = stint_process_new(ret, pid, known->shared);
	if (!err)
		known->processes[known->len++] = *ret;
	return err;
}

static void forget(struct stint_known *known, const struct stint_process *process)
{
	for (uint32_t i = 0; i < known->len; i++) {
		if (known->processes[i] != process)
			continue;
		stint_process_free(known->processes[i]);
		known->processes[i] = known->processes[--known->len];
		return;
	}
}

void stint_known_drop(struct stint_known *known, uint32_t pid)
{
	forget(known, stint_known_find(known, pid));
	stint_functions_drop(known->functions, pid);
}

static void refuse(struct stint_known *known, uint32_t pid, int err)
{
	stint_bpf_unwatch(known->bpf, pid);
	if (err != -ESRCH && known->callbacks->refused)
		known->callbacks->refused(known->ctx, pid, err);
}

struct stint_process *stint_known_meet(struct stint_known *known, uint32_t pid, uint64_t time_ns)
{
	struct stint_process *process = stint_known_find(known, pid);
	int err;

	if (process)
		return process;
	err = stint_known_add(known, pid, &process);
	if (err) {
		refuse(known, pid, err);
		return NULL;
	}
	stint_functions_add(known->functions, pid);
	if (known->callbacks->appeared)
		known->callbacks->appeared(known->ctx, pid, time_ns);
	return process;
}

void stint_known_exited(struct stint_known *known, uint32_t pid)
{
	if (!stint_known_find(known, pid))
		return;
	stint_known_drop(known, pid);
	stint_bpf_unwatch(known->bpf, pid);
	if (known->callbacks->exited)
		known->callbacks->exited(known->ctx, pid);
}

void stint_known_changed(struct stint_known *known, uint32_t pid)
{
	struct stint_process *process = stint_known_find(known, pid), *fresh;
	int err = process ? stint_probes_may_inspect(pid) : 0;

	if (!process)
		return;
	if (err == -EACCES || err == -EPERM) { /* that program has more rights than this user */
		refuse(known, pid, err);
		stint_known_exited(known, pid);
		return;
	}
	if (err || stint_process_new(&fresh, pid, known->shared) != 0)
		return;
	forget(known, process);
	known->processes[known->len++] = fresh;
	stint_functions_drop(known->functions, pid);
	stint_functions_add(known->functions, pid);
}

/*
 * Once the ring has been full, it is looked now and then who still runs: not only when more is lost, as a process is seen
 * to be gone a little later.
 */
void stint_known_find_lost_exits(struct stint_known *known)
{
	struct loss_counters counters;
	uint64_t at_ns = stint_now_ns();

	if (at_ns - known->exits_looked_ns < LOOK_FOR_EXITS_NS)
		return;
	known->exits_looked_ns = at_ns;
	stint_bpf_losses(known->bpf, &counters);
	if (!counters.ring_full)
		return;
	for (uint32_t i = known->len; i-- > 0;)
		if (!stint_process_runs(known->processes[i]))
			stint_known_exited(known, stint_process_pid(known->processes[i]));
}
