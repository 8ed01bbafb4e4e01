/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_BPF_OBJECT_H
#define STINT_PROBES_BPF_OBJECT_H

/* The eBPF object: opened, set up, loaded, attached; and what user space reads and writes of its maps. */

#include <linux/types.h>

#include "probes/function_records.h"
#include "probes/kernel_symbols.h"
#include "probes/probes.h"
#include "probes/records.h"
#include "probes/role_records.h"

struct btf;
struct stint_bpf;

/* `options` complete, with no field left 0. -EPERM, -ENOMEM, or what libbpf says. */
int stint_bpf_new(struct stint_bpf **ret, const struct stint_probes_options *options,
		  struct stint_kernel_symbols *kernel);
struct stint_bpf *stint_bpf_free(struct stint_bpf *bpf);

/*
 * The name of the program that was refused by the kernel as this thread's last stint_bpf_new() failed; empty if that failed
 * otherwise, or libbpf's messages go to stderr (STINT_LIBBPF_DEBUG). Never NULL.
 */
const char *stint_bpf_refused_program(void);

/*
 * From now on the programs note nothing, but for the iterations that are under way beyond their budget, as of that moment.
 * What they have noted can be read still; nothing can be watched any more. Takes up to 0.1 s, of which the first few us are
 * the last in which anything is noted: *ret_ns is when (CLOCK_MONOTONIC) they were over. 0, or what the iterator over
 * tasks says: then those iterations are not told.
 */
int stint_bpf_stop(struct stint_bpf *bpf, uint64_t *ret_ns);

/*
 * From now on the programs note what `pid` does. `before_tid`: that thread of it is amid an iteration, 0: none is known to
 * be. -ENOSPC if the table is full, or what the iterator over tasks says.
 */
int stint_bpf_watch(struct stint_bpf *bpf, uint32_t pid, uint32_t before_tid);

/* What `pid` does is noted no more; the programs have done that themselves if they told of its exit. */
void stint_bpf_unwatch(struct stint_bpf *bpf, uint32_t pid);

/* From now on a thread that sleeps there is not in an iteration, or may not be. What cannot be told is as if not known. */
void stint_bpf_tell_idle_place(struct stint_bpf *bpf, const struct idle_place *place, enum idle_known known);

/* Whether any process is watched. */
bool stint_bpf_is_watching(const struct stint_bpf *bpf);

/* The programs have begun to watch one by themselves: gives its threads their marks. */
int stint_bpf_mark(const struct stint_bpf *bpf);

/* Descriptors of maps, owned by the object. */
int stint_bpf_ring(const struct stint_bpf *bpf);
int stint_bpf_loop_table(const struct stint_bpf *bpf);

/* A slot of that table, which has been cleared, may be another loop's from now on. 0, or a negative errno. */
int stint_bpf_free_loop(struct stint_bpf *bpf, uint32_t slot);

/*
 * Has the programs look at every known socket: what has changed in the account of its ACKs, and whether its owner should
 * have been told of space. What they find comes through the ring. Nothing is done while no socket is known. 0, or
 * a negative errno.
 */
int stint_bpf_survey_sockets(struct stint_bpf *bpf);

/* The same, and the stalls that go on are told. */
int stint_bpf_tell_open(struct stint_bpf *bpf);

/*
 * Has the programs look at every thread: how long its wait or iteration has gone on (struct loop_counters), and whether it
 * is to be told as one that hangs, where options.hang_ns is not 0. Nothing is done after stint_bpf_stop(). 0, or a negative
 * errno.
 */
int stint_bpf_survey_threads(struct stint_bpf *bpf);

/*
 * The programs for io_uring are attached while a watched thread has waited in a ring, and no longer: called as often as the
 * ring of records is read. Where the kernel has no such tracepoints, nothing is done.
 */
void stint_bpf_follow_rings(struct stint_bpf *bpf);

/* Whether a kernel of these types has them, as the programs know them. NULL: no. */
bool stint_bpf_can_follow_rings(const struct btf *btf);

/* Of role_records.h. */
struct stint_bpf_role_maps {
	int role_table;          /* array of struct role_counters */
	uint32_t roles;          /* its length */
	int free_roles;          /* queue of the slots of that table that nobody has */
	__u32 *roles_used;       /* how many somebody has: for who gives one back to take off */
	int habits_table;        /* array of struct loop_habits, as long as the loop table, mappable */
	int findings;            /* struct finding_key to struct finding_counters */
	int descriptors;         /* array of DESCRIPTOR_SETS times struct descriptor_set, mappable */
	__u64 *descriptor_marks; /* DESCRIPTOR_MARKS bits: without its own, a descriptor is not looked for */
	int descriptors_by_data; /* struct data_key to the descriptor */
	int listened;            /* struct port_key of where processes that are watched listen */
};
void stint_bpf_role_maps(const struct stint_bpf *bpf, struct stint_bpf_role_maps *ret);

/* Where functions are asked for: an array of FUNCTION_SLOTS times struct function_counters, mappable. */
int stint_bpf_function_table(const struct stint_bpf *bpf);

/* A place in a file where a function begins. */
struct stint_bpf_function {
	const char *path;
	uint64_t offset; /* in the file */
	uint32_t slot;   /* its counters, of which pid, function and number are set by user space */
	uint32_t number;
};

/*
 * Attaches both programs, in that process only. What they see is counted while the counters have its number. Both links are
 * the caller's, to be destroyed. -ESRCH, -EACCES, -EMFILE, or what the kernel says of the place.
 */
struct bpf_link;
int stint_bpf_attach_function(struct stint_bpf *bpf, uint32_t pid, const struct stint_bpf_function *function,
			      struct bpf_link *links[2]);

/* Descriptors of the programs for the beginning and the end of a page fault, owned by the object. */
void stint_bpf_fault_programs(const struct stint_bpf *bpf, int *begin, int *end);

/* Sums over the CPUs. */
void stint_bpf_losses(const struct stint_bpf *bpf, struct loss_counters *ret);

/* Run time of all programs; 0 unless the kernel counts it (sysctl kernel.bpf_stats_enabled=1). */
uint64_t stint_bpf_cost_ns(const struct stint_bpf *bpf);

#endif
