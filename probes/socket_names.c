/* SPDX-License-Identifier: MIT */
#include "probes/socket_names.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

void stint_socket_name(char *ret, size_t ret_bytes, uint32_t family, const uint8_t *address, uint16_t port)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[INET6_ADDRSTRLEN] = "?";

	if (family == AF_INET6 && memcmp(address, mapped, sizeof(mapped)) == 0) {
		family = AF_INET;
		address += sizeof(mapped);
	}
	if (family != AF_INET && family != AF_INET6) {
		snprintf(ret, ret_bytes, "family %u", family);
		return;
	}
	inet_ntop((int)family, address, text, sizeof(text));
	snprintf(ret, ret_bytes, family == AF_INET6 ? "[%s]:%u" : "%s:%u", text, port);
}

void stint_tcp_name(char *ret, size_t ret_bytes, uint32_t family, const uint8_t *local, uint16_t local_port,
		    const uint8_t *remote, uint16_t remote_port, bool listens)
{
	char local_name[64], remote_name[64];

	stint_socket_name(local_name, sizeof(local_name), family, local, local_port);
	stint_socket_name(remote_name, sizeof(remote_name), family, remote, remote_port);
	if (listens)
		snprintf(ret, ret_bytes, "tcp %s, listening", local_name);
	else
		snprintf(ret, ret_bytes, "tcp %s > %s", local_name, remote_name);
}
