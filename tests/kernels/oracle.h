/* SPDX-License-Identifier: (GPL-2.0-only OR MIT) */
#ifndef STINT_TESTS_ORACLE_H
#define STINT_TESTS_ORACLE_H

/*
 * What the kernel did, as seen by the oracle; read by both sides. The includer brings the __u types. Times
 * are CLOCK_MONOTONIC's.
 */

#define ORACLE_EVENTS 4096

/* A write event: a call of the socket's write-space function that found SOCK_NOSPACE set and cleared it. */
struct oracle_event {
	__u64 socket;     /* the kernel's address of it: tells sockets apart, and nothing else */
	__u64 segment_ns; /* when the kernel began to process the segment before it */
	__u64 enter_ns;   /* the event was raised between these two */
	__u64 exit_ns;
	__u32 queued_bytes; /* as it was raised */
	__u32 sndbuf_bytes;
};

_Static_assert(sizeof(struct oracle_event) == 40, "the same on both sides");

#endif
