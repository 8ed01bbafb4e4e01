/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_SOCKET_NAMES_H
#define STINT_PROBES_SOCKET_NAMES_H

#include <stddef.h>
#include <stdint.h>

/*
 * "127.0.0.1:80", "[::1]:80"; an IPv4 address mapped into IPv6 is shown as IPv4; "family N" for others.
 * `address` has 16 bytes in network order, of which IPv4 uses four; `port` is in host order.
 */
void stint_socket_name(char *ret, size_t ret_bytes, uint32_t family, const uint8_t *address, uint16_t port);

#endif
