/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_CAPABILITIES_H
#define STINT_PROBES_CAPABILITIES_H

/* The capabilities of this process, by the system calls themselves. */

#include <stdbool.h>
#include <stdint.h>

#define STINT_CAP_DAC_OVERRIDE    1
#define STINT_CAP_DAC_READ_SEARCH 2
#define STINT_CAP_SYS_PTRACE      19
#define STINT_CAP_SYS_ADMIN       21
#define STINT_CAP_SYSLOG          34
#define STINT_CAP_PERFMON         38
#define STINT_CAP_BPF             39

#define STINT_CAP_BIT(capability) (UINT64_C(1) << (capability))

/* In force now. */
bool stint_has_capability(int capability);

/*
 * Whether it is the user's own: of root, or given to the user's processes (ambient, inheritable), and not lent by the
 * capabilities of the program's file to whoever may run it.
 */
bool stint_owns_capability(int capability);

/*
 * Whether all of them are those of a user namespace that is not the machine's first one, as of a container without root:
 * eBPF and tracepoints are about the whole machine, and ask for the capabilities of that one.
 */
bool stint_is_in_user_namespace(void);

/* Those in force become those of `keep` that were; returns what they were before, for stint_restore_capabilities(). */
uint64_t stint_mask_capabilities(uint64_t keep);
void stint_restore_capabilities(uint64_t effective);

/* Gives up for good all but those of `keep`, and with them the way to get any by an exec. 0 or a negative errno. */
int stint_drop_capabilities(uint64_t keep);

#endif
