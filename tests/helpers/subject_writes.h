/* SPDX-License-Identifier: MIT */
#ifndef SUBJECT_WRITES_H
#define SUBJECT_WRITES_H

/* What the subject write_cases writes to its standard output at its end: the kernel's own account, from TCP_INFO. */

#include <stdint.h>

struct subject_writes {
	uint64_t short_sends; /* but those refused after another one: nothing was sent between them */
	uint64_t events;      /* returns of epoll_wait with EPOLLOUT, the first one left out */
	uint64_t rwnd_limited_us;
	uint64_t sndbuf_limited_us;
	uint64_t retransmits;
	/* From its timer of retransmission to what made up for the loss; -1: not told, as before Linux 6.7. */
	int64_t rto_ms;
	uint64_t sndbuf_bytes;
	uint64_t run_delay_ns;      /* that it wanted a CPU while it computed, by the kernel; 0: not told */
	uint64_t run_delay_ever_ns; /* the same until its end */
	uint32_t sender_inode;      /* of a unix socket */
	uint16_t sender_port;
	uint16_t peer_port;
};

#endif
