/* SPDX-License-Identifier: MIT */
#ifndef LOOPBACK_H
#define LOOPBACK_H

/* A TCP connection of the test with itself, and what the kernel says of its sending end. */

#include <stdint.h>

struct loopback {
	int sender;   /* non-blocking, with a send buffer of fixed size */
	int receiver; /* blocking, with a small receive buffer */
	uint16_t sender_port;
};

/* Fails the test if it cannot. */
void loopback_open(struct loopback *pair);
void loopback_close(struct loopback *pair);

/* One send that is larger than the buffer. Returns what the kernel took of it. */
uint32_t loopback_send_too_much(const struct loopback *pair);

/* Reads at least a byte, at most `bytes`. Returns how many. */
uint32_t loopback_read(const struct loopback *pair, uint32_t bytes);

/* SO_SNDBUF; sk_wmem_queued (SO_MEMINFO); in the queue and not acknowledged, and never sent (SIOCOUTQ, SIOCOUTQNSD). */
uint32_t loopback_sndbuf_bytes(const struct loopback *pair);
uint32_t loopback_queued_bytes(const struct loopback *pair);
uint32_t loopback_unacked_bytes(const struct loopback *pair);
uint32_t loopback_unsent_bytes(const struct loopback *pair);

#endif
