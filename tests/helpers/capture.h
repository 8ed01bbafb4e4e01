/* SPDX-License-Identifier: MIT */
#ifndef CAPTURE_H
#define CAPTURE_H

/* What tcpdump sees on a device: an account of segments and their times that is not stint's. */

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "command.h"

struct captured_ack {
	uint64_t time_ns; /* CLOCK_MONOTONIC, as the kernel stamped the segment */
	uint32_t bytes;   /* that it acknowledges, and none before it did */
	/* Its TCP options are those of the segment before it: the kernel may make the two one, if they have to wait. */
	bool like_previous;
};

struct capture {
	struct command tcpdump;
	struct in_addr marked; /* reached by the device */
	char directory[32];
	char path[48];
	uint8_t *file;
	size_t file_len;
};

/* On loopback, from now on. Skips the test where there is no tcpdump; fails it if that cannot start. */
void capture_start(struct capture *capture);

/* The same on another device; `address` (of IPv4): one that is reached by it. */
void capture_start_on(struct capture *capture, const char *device, const char *address);

/* Once all segments until now are in the file. Fails the test if some were dropped. */
void capture_stop(struct capture *capture);

/*
 * The acknowledgements that `sender_port` was sent by `peer_port`, all but the handshake's, in their order.
 * Returns how many; fails the test if there are more than `max`.
 */
size_t capture_acks(const struct capture *capture, uint16_t sender_port, uint16_t peer_port,
		    struct captured_ack *ret, size_t max);

struct captured_segment {
	uint64_t time_ns; /* as above */
	uint8_t flags;    /* CAPTURED_... */
	uint32_t sequence;
	uint32_t data_bytes;
	uint16_t window; /* as it stands there: not scaled */
};

#define CAPTURED_FIN 0x01
#define CAPTURED_SYN 0x02
#define CAPTURED_ACK 0x10

/* The first segment from one port to the other that has all of these flags, and data if `data`. Fails if there is none. */
struct captured_segment capture_first(const struct capture *capture, uint16_t from_port, uint16_t to_port,
				      uint8_t flags, bool data);

/* All from one port to the other, in their order. Returns how many; fails the test if there are more than `max`. */
size_t capture_segments(const struct capture *capture, uint16_t from_port, uint16_t to_port,
			struct captured_segment *ret, size_t max);

void capture_free(struct capture *capture);

#endif
