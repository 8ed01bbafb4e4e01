/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_PROCESS_H
#define STINT_PROBES_PROCESS_H

/*
 * What user space keeps of one watched process: how to unwind its stacks, the loops' own stacks, the
 * stacks sampled in iterations that are still going on, and which epoll data stands for which descriptor.
 */

#include <linux/types.h>

#include "probes/kernel_symbols.h"
#include "probes/probes.h"
#include "probes/records.h"

struct stint_process;

/* What the processes of a recording have in common: symbols, the images of programs, and what is told of an overrun. */
struct stint_process_shared;

/* `kernel` must outlive it. -ENOMEM. */
int stint_process_shared_new(struct stint_process_shared **ret, struct stint_kernel_symbols *kernel);

/* Once there is no process of it any more. NULL is allowed. Returns NULL. */
struct stint_process_shared *stint_process_shared_free(struct stint_process_shared *shared);

/* -ESRCH if there is no such process, -EACCES or -EPERM if it may not be inspected, -ENOMEM. */
int stint_process_new(struct stint_process **ret, uint32_t pid, struct stint_process_shared *shared);
struct stint_process *stint_process_free(struct stint_process *process);
uint32_t stint_process_pid(const struct stint_process *process);

/* Whether it still runs: false once all its threads have exited, also before its parent took note of that. */
bool stint_process_runs(const struct stint_process *process);

/* Keeps a copy of a stack until its iteration is reported. -ENOMEM; of a thread that sleeps on, as stint_asleep_read(). */
int stint_process_add_stack(struct stint_process *process, const struct record_stack *record);

/*
 * Completes an overrun: stack, handler, descriptor, victims. The strings are valid until the next call for any process that
 * shares what this one does. True if a stack was there but could not be unwound to its beginning.
 */
bool stint_process_complete(struct stint_process *process, struct stint_probes_overrun *overrun,
			    const struct record_overrun *record);

/* How a thread of a runtime's slept, amid an overrun, as it had nothing to do: in all calls with that argument. */
struct stint_idle {
	struct idle_place place;
	uint64_t argument; /* the call's first */
	uint64_t either;   /* a bit of that which is of no matter: the place has a twin */
	bool is_in_stack; /* but it sleeps with that whatever for, so: in the call that began at `start_ns`, from `sp` */
	uint64_t start_ns;
	uint64_t sp;
	bool is_idle;
	bool is_most; /* it was blocked for most of the overrun, and its longest calls were mostly these */
};

/* Of the overrun that was completed last. False: it had none, or none that the stack shows. */
bool stint_process_idle(const struct stint_process *process, struct stint_idle *ret);

/*
 * The same of a thread's stack as it goes to sleep. False: it is none of an idle one, nor is it in the stack whether it is.
 */
bool stint_process_judge_sleep(struct stint_process *process, const struct record_stack *record,
			       struct stint_idle *ret);

/* Whether a call of that overrun is such a sleep. */
bool stint_process_is_idle_call(const struct stint_idle *idle, const struct stint_probes_syscall *call);

/*
 * Makes an overrun that was completed the part of it that lies between: as stint_cut(), with that part's stack and handler.
 */
void stint_process_complete_part(struct stint_process *process, struct stint_probes_overrun *overrun,
				 const struct record_overrun *record, uint64_t start_ns, uint64_t end_ns);

/* Gives back the stacks of a thread's iterations up to that one, which has been told. */
void stint_process_forget_stacks(struct stint_process *process, uint32_t tid, uint64_t iteration);

/* Completes an iteration that goes on: what it is blocked on, or its handler. As above of the strings. */
void stint_process_complete_hang(struct stint_process *process, struct stint_probes_hang *hang,
				 const struct record_hang *record);

#endif
