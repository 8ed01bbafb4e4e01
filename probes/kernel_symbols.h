/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_KERNEL_SYMBOLS_H
#define STINT_PROBES_KERNEL_SYMBOLS_H

/*
 * Names for addresses in the kernel, from /proc/kallsyms: read when the first is asked for (some 50 ms and 5 MB), not
 * read again. Where the kernel hides its addresses from us, there are no names.
 */

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

struct stint_kernel_symbols;

/* `path`: NULL for the kernel's own list. -ENOMEM. */
int stint_kernel_symbols_new(struct stint_kernel_symbols **ret, const char *path);
struct stint_kernel_symbols *stint_kernel_symbols_free(struct stint_kernel_symbols *symbols);

/* Whether there are any names. */
bool stint_kernel_symbols_known(struct stint_kernel_symbols *symbols);

/* The function that an address is in, NULL if that is not known. Valid as long as `symbols` is. */
const char *stint_kernel_symbol(struct stint_kernel_symbols *symbols, uint64_t address);

/* Where a function begins, and the next one. False if it is not known. */
bool stint_kernel_range(struct stint_kernel_symbols *symbols, const char *name, uint64_t *start,
			uint64_t *end);

/* Whether an interrupt of a timer enters the kernel by that function. */
bool stint_kernel_is_timer_entry(const char *name);

/* The names of such functions, ended by NULL. */
extern const char *const stint_kernel_timer_entries[];

/*
 * How a wake-up came about, by the stack of the task that made it, innermost first. True if that was an interrupt, which
 * has nothing to do with the task that it interrupted. *what is set to the function that asked for the wake-up
 * ("hrtimer_wakeup", "sock_def_readable"), or NULL.
 */
bool stint_kernel_waker(struct stint_kernel_symbols *symbols, const __u64 *stack, uint32_t len,
			const char **what);

/*
 * What kept a task from running that wanted nothing, by its stack, innermost first: "a stop by a signal", "a stop by
 * a tracer", "a frozen cgroup". NULL if it was none of those, or that is not known.
 */
const char *stint_kernel_stop(struct stint_kernel_symbols *symbols, const __u64 *stack, uint32_t len);

#endif
