/* SPDX-License-Identifier: MIT */
#ifndef METER_SWEEP_H
#define METER_SWEEP_H

/*
 * Removes the files of meters whose processes are gone without having done so themselves (killed, or by _exit()).
 *
 * A process holds a lock on its file for as long as it, or a child that has it from a fork, has it open; that counts in
 * every pid namespace. A file goes only if its lock can be had, and if no process of its pid runs here that began when the
 * file says: a program that closes descriptors which are not its own loses the lock, and lives on.
 */

#include <stdbool.h>
#include <stdint.h>

/* Looks at so many files at most, in a directory that is ours. */
#define METER_SWEEP_LIMIT 256

/* Takes the lock of a file that was just made. False: there are none here, and the file is never to be swept. */
bool meter_sweep_lock(int fd);

/* `directory` is an open one of runtime_dir_open(), `self` our own file's name. What fails is left as it is. */
void meter_sweep(int directory, const char *self);

/* When a process began, in clock ticks since boot (/proc/PID/stat, field 22); 0: not known. `pid` 0: this one. */
uint64_t meter_sweep_start_ticks(uint32_t pid);

#endif
