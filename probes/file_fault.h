/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_FILE_FAULT_H
#define STINT_PROBES_FILE_FAULT_H

/*
 * Files of programs under watch are mapped by libelf. Their owner may cut them short meanwhile, and to read what is gone
 * is SIGBUS, which would end the recorder.
 */

#include <stdbool.h>

/*
 * Calls `run`. False if it was ended by such a fault: what it was working on is then in no certain state, and only
 * fit to be forgotten. From one thread at a time; SIGBUS has its own handler again afterwards.
 */
bool stint_file_fault_guard(void (*run)(void *ctx), void *ctx);

#endif
