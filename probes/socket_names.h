/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_SOCKET_NAMES_H
#define STINT_PROBES_SOCKET_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * "127.0.0.1:80", "[::1]:80"; an IPv4 address mapped into IPv6 is shown as IPv4; "family N" for others.
 * `address` has 16 bytes in network order, of which IPv4 uses four; `port` is in host order.
 */
void stint_socket_name(char *ret, size_t ret_bytes, uint32_t family, const uint8_t *address, uint16_t port);

/* "tcp 10.0.0.1:80 > 10.0.0.2:4242", "tcp 10.0.0.1:80, listening"; the rest as above. */
void stint_tcp_name(char *ret, size_t ret_bytes, uint32_t family, const uint8_t *local, uint16_t local_port,
		    const uint8_t *remote, uint16_t remote_port, bool listens);

#endif
