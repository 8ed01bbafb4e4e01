/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_FOLLOW_BPF_H
#define STINT_PROBES_FOLLOW_BPF_H

/*
 * Processes that come to be watched while stint runs: children of those that are, and those that a name or a cgroup
 * selects. They are watched here, from the moment that they fork, exec, or are moved, so that nothing of them is
 * missed; user space hears of one when it first comes to a loop, as most children never do.
 *
 * Once watched, a process stays so until its end, whatever it is called or where it is moved.
 */

#define CGROUP_DEPTH_MAX 32

const volatile bool follow_children = false;
const volatile __u64 follow_cgroup = 0; /* the number of a cgroup of the unified hierarchy; 0: none */
const volatile bool follow_name = false;
const volatile char followed_name[16];

/* How many were added here. User space takes no single process for the only one if there are any. */
__u64 followed;

static __always_inline bool is_in_cgroup(struct cgroup *cgroup)
{
	struct cgroup_subsys_state *state;

	for (u32 i = 0; i < CGROUP_DEPTH_MAX && cgroup; i++) {
		if (BPF_CORE_READ(cgroup, kn, id) == follow_cgroup)
			return true;
		state = BPF_CORE_READ(cgroup, self.parent);
		if (!state)
			return false;
		cgroup = (struct cgroup *)((u64)state - bpf_core_field_offset(struct cgroup, self));
	}
	return false;
}

static __always_inline bool has_followed_name(const struct task_struct *task)
{
	for (u32 i = 0; i < sizeof(task->comm); i++) {
		if (task->comm[i] != followed_name[i])
			return false;
		if (!task->comm[i])
			break;
	}
	return true;
}

static __always_inline bool is_selected(struct task_struct *task)
{
	if (follow_name && has_followed_name(task))
		return true;
	return follow_cgroup && is_in_cgroup(BPF_CORE_READ(task, cgroups, dfl_cgrp));
}

static __always_inline void follow(struct task_struct *task)
{
	u32 pid = task->tgid, later = WATCHED_LATER;
	long err;

	if (ended_ns)
		return;
	err = bpf_map_update_elem(&watched, &pid, &later, BPF_NOEXIST);
	if (err && err != -EEXIST)
		lost_entry();
	if (err)
		return;
	__sync_fetch_and_add(&followed, 1);
	only_pid = 0;
	mark_thread(task);
}

/* A thread or a process more; the current task is the one that made it. */
static __always_inline void follow_new(struct task_struct *task)
{
	bool of_watched = is_watched(bpf_get_current_pid_tgid() >> 32);

	if (task->pid != task->tgid) {
		if (of_watched)
			mark_thread(task);
		return;
	}
	if ((of_watched && follow_children) || is_selected(task))
		follow(task);
}

#endif
