/* SPDX-License-Identifier: MIT */
#ifndef BPF_IDS_H
#define BPF_IDS_H

/* What a process has in the kernel of eBPF. */

#include <stddef.h>
#include <stdint.h>

#define BPF_IDS_MAX 256

/*
 * The ids that the descriptors of a process stand for, of one kind: "prog_id", "map_id", "link_id". Returns how many;
 * `ret` has room for BPF_IDS_MAX, and what is beyond is left out. Fails the test if there is no such process.
 */
size_t bpf_ids(int pid, const char *kind, uint32_t *ret);

#endif
