/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_PROBES_RIVALS_BPF_H
#define STINT_PROBES_RIVALS_BPF_H

/*
 * Behind whom a thread waits for a CPU. One that is preempted waits for the CPU that it was on: who gets it from then
 * on is seen at its switches, until the thread is back, here or elsewhere. Where a thread was woken, it is not known on
 * which CPU it waits until it gets one; the time is then charged to who had that one last.
 *
 * One thread a CPU is followed so, the first; others that wait for the same CPU are treated like those woken. As long as
 * nobody waits, a switch of other tasks costs one load.
 */

#define CPUS_MAX 1024

struct waited_cpu {
	u32 tid; /* of who waits; 0: nobody */
	u32 occupant_pid;
	u64 since_ns;
	char occupant_comm[RECORD_COMM_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CPUS_MAX);
	__type(key, u32);
	__type(value, struct waited_cpu);
} waited_cpus SEC(".maps");

/* How many of them have somebody who waits. */
__s32 cpus_waited_for;

static __always_inline struct waited_cpu *waited_cpu(u32 cpu)
{
	return bpf_map_lookup_elem(&waited_cpus, &cpu);
}

static __always_inline void occupy(struct waited_cpu *at, const struct task_struct *next, u64 now_ns)
{
	at->occupant_pid = next->tgid;
	at->since_ns = now_ns;
	bpf_probe_read_kernel(at->occupant_comm, sizeof(at->occupant_comm), next->comm);
}

static __always_inline void charge_occupant(struct thread *thread, const struct waited_cpu *at, u64 now_ns)
{
	char comm[RECORD_COMM_BYTES];

	__builtin_memcpy(comm, at->occupant_comm, sizeof(comm));
	if (now_ns > at->since_ns)
		verdict_charge(&thread->verdict, at->occupant_pid, comm, now_ns - at->since_ns);
}

/* At each switch of a CPU that somebody waits for. */
static __noinline int rivals_switch(struct task_struct *next, u64 now_ns)
{
	struct waited_cpu *at = waited_cpu(bpf_get_smp_processor_id());
	struct thread *thread = at && at->tid ? find_thread(at->tid) : NULL;

	if (!at || !at->tid)
		return 0;
	if (!thread) { /* it is gone */
		at->tid = 0;
		__sync_fetch_and_add(&cpus_waited_for, -1);
		return 0;
	}
	if ((u32)next->pid == at->tid)
		return 0; /* rivals_back() is next */
	charge_occupant(thread, at, now_ns);
	occupy(at, next, now_ns);
	return 0;
}

/* `thread` leaves this CPU to `next` although it wants it. */
static __always_inline void rivals_wait(struct thread *thread, const struct task_struct *next, u64 now_ns)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct waited_cpu *at = waited_cpu(cpu);

	if (!at || at->tid)
		return;
	at->tid = thread->tid;
	occupy(at, next, now_ns);
	thread->waits_for_cpu = cpu + 1;
	__sync_fetch_and_add(&cpus_waited_for, 1);
}

/* `thread` has a CPU again, which was `prev`'s. `waited_ns`: since it was woken, if it was not followed. */
static __noinline int rivals_back(struct thread *thread, struct task_struct *prev, u64 now_ns, u64 waited_ns)
{
	struct waited_cpu *at =
		thread && thread->waits_for_cpu ? waited_cpu(thread->waits_for_cpu - 1) : NULL;
	char comm[RECORD_COMM_BYTES];

	if (!thread)
		return 0;
	thread->waits_for_cpu = 0;
	if (at && at->tid == thread->tid) {
		charge_occupant(thread, at, now_ns);
		at->tid = 0;
		__sync_fetch_and_add(&cpus_waited_for, -1);
		return 0;
	}
	if (!prev || bpf_probe_read_kernel(comm, sizeof(comm), prev->comm) != 0)
		return 0;
	verdict_charge(&thread->verdict, prev->tgid, comm, waited_ns);
	return 0;
}

#endif
