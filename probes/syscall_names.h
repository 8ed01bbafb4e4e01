/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_SYSCALL_NAMES_H
#define STINT_PROBES_SYSCALL_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "read"; "syscall_NNN" for a number that this build has no name for. */
void stint_syscall_name(uint32_t number, char *ret, size_t ret_bytes);

/* Whether the first argument of a system call is a descriptor. False where it is not known. */
bool stint_syscall_has_fd(uint32_t number);

#endif
