/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_MAPPED_FILES_H
#define STINT_PROBES_MAPPED_FILES_H

#include <stdint.h>

/*
 * The lines of /proc/PID/maps of files that have code there, and of the vDSO: two processes of which these are the same
 * have the same functions at the same addresses. Without the " (deleted)" that such a line may end in. Of memory that is no
 * file's, or of files that hold data only, nothing is in it, as that changes while a program runs. To be freed. NULL: the
 * process is gone or does not tell, there is no memory, or they are more than 1 MB.
 */
char *stint_mapped_files(uint32_t pid);

#endif
