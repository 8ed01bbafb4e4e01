/* SPDX-License-Identifier: MIT */
#ifndef STACK_COPY_H
#define STACK_COPY_H

/*
 * Copies registers and the top of the stack of another thread of this process, while that goes on.
 *
 * stack_copy_open() once, then stack_copy_take() by one thread, then stack_copy_close(). Functions return 0 or a
 * negative errno.
 */

#include <stint/meter_file.h>

/* Installs the signal's handler. -EBUSY: it has one; -EINVAL: not a signal that can have one. */
int stack_copy_open(int signal);

/*
 * Fills time, machine, blocked, registers and stack of `ret`; the rest is left as it is. -ESRCH: no such thread;
 * -ETIMEDOUT: it did not take the signal (blocked, or the machine is that busy); -ENOTSUP: not on this architecture.
 */
int stack_copy_take(struct stint_meter_file_stack *ret, uint32_t tid);

/* Puts the signal back to how it was. */
void stack_copy_close(void);

#endif
