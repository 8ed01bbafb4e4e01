/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_UNIX_H
#define SUBJECT_UNIX_H

/* What the subject unix_send writes to its standard output at its end: its sends and its peer's reads, by their clocks. */

#include <stdint.h>

#include "subject_sends.h"

#define SUBJECT_UNIX_SENDS 512
#define SUBJECT_UNIX_READS 1024

struct subject_read {
	uint64_t before_ns;
	uint64_t after_ns;
	uint64_t bytes;
	uint64_t writable; /* what poll() said of the sender's end then: the kernel's own answer */
};

struct subject_unix {
	uint64_t peer_pid;
	uint64_t sndbuf_bytes;
	uint64_t sends_len;
	uint64_t reads_len;
	struct subject_send sends[SUBJECT_UNIX_SENDS];
	struct subject_read reads[SUBJECT_UNIX_READS];
};

#endif
