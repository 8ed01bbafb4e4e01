/* SPDX-License-Identifier: MIT */
#ifndef STINT_WATCHDOG_H
#define STINT_WATCHDOG_H

/*
 * The watchdog: sees handlers that are still running past their budget, takes their stacks while they run, and
 * raises an alarm for one that does not return. A thread of its own looks at the meter's accounts; the loops
 * pay nothing for it.
 *
 * A stack is taken when the budget is used up and each time the overrun has doubled, so a handler that runs for a
 * second costs ten copies, and at most 32 are taken of a loop in a second: those beyond are counted. It is a copy of
 * the registers and of the top 16 KiB of the stack, put into the meter's file, and nothing more: `stint` unwinds it,
 * elsewhere. A thread that computes is sent a signal, whose handler makes the copy; one that is blocked in the kernel
 * is left alone (a signal would end its system call early), and copied from outside, with only its stack pointer and
 * program counter known.
 *
 * What it needs of the program: the signal must not be blocked by loops' threads, nor used by others, and a handler's
 * stack needs room for a signal frame (some 4 KiB, 11 KiB with AMX) beyond what it uses itself, unless the
 * thread has a sigaltstack(2).
 *
 * Price: while loops run, a look every `interval_ns`, some 5 us each (0.5 % of one CPU at 1 ms); while they all
 * wait, 1/32 of that. Registers are known on x86-64 only; elsewhere late handlers are seen, without stacks.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stint/api.h>
#include <stint/meter.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_watchdog;

/* A dispatch that has not ended. The strings are valid during the call. */
struct stint_watchdog_late {
	const char *loop;
	const char *handler;
	int fd;       /* -1: none */
	int tid;      /* of the loop's thread */
	bool blocked; /* in the kernel, when its stack was last taken */
	uint64_t running_ns;
	uint64_t budget_ns;
};

struct stint_watchdog_options {
	size_t size;          /* sizeof(struct stint_watchdog_options) */
	uint64_t interval_ns; /* between two looks; 0: 1 ms, at least 100 us; over 1000 s is 1000 s */
	int signal;           /* for the copies; 0: SIGRTMIN + 8 */
	uint64_t alarm_ns;    /* a dispatch that runs so long is told to `alarm`; 0: 1 s */
	/*
	 * Called by the watchdog's thread: after alarm_ns, and each time that has doubled. The loop it is about does not
	 * move, so this must not wait for it. NULL: nobody is told, but whoever reads the recording.
	 */
	void (*alarm)(void *ctx, const struct stint_watchdog_late *late);
	void *ctx;
};

/*
 * Starts it for all loops of `meter`, those that come later included; but not those beyond the meter's loop limit.
 * It keeps a reference to the meter. `options` NULL: all defaults. There is one in a process: -EALREADY.
 * -EBUSY: the signal has a handler already. -EINVAL, also for a signal that stint_signal_new() would not have; -ENOMEM,
 * -EAGAIN (no thread to be had).
 * Any thread may call it. After a fork the child has none.
 */
STINT_API int stint_watchdog_start(struct stint_watchdog **ret, struct stint_meter *meter,
				   const struct stint_watchdog_options *options);

/* Ends it, once an `alarm` under way has returned; not to be called by `alarm`. NULL is allowed. Returns NULL. */
STINT_API struct stint_watchdog *stint_watchdog_stop(struct stint_watchdog *watchdog);

#ifdef __cplusplus
}
#endif

#endif
