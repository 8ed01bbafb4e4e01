/* SPDX-License-Identifier: MIT */
#ifndef REPORT_PRIVILEGES_H
#define REPORT_PRIVILEGES_H

#include <stdbool.h>

/*
 * Gives up, for good, what recording does not need once it goes on: see stint_probes_drop_privileges(). Root keeps what
 * it takes to write into the directory of `recording`, where that belongs to somebody else; with `has_command`, to end
 * a command that has become another user; and, with `has_functions`, to time functions of processes that come later:
 * there are kernels that leave uprobes to CAP_SYS_ADMIN. 0 or a negative errno.
 */
int privileges_drop(const char *recording, bool has_command, bool has_functions);

#endif
