/* SPDX-License-Identifier: MIT */
#include "probes/identity_name.h"

#include <stdint.h>
#include <stdio.h>

#include "probes/role_records.h"
#include "probes/socket_names.h"

const struct record_identity *stint_identity_find(const struct record_overrun *record, __s32 fd)
{
	for (uint32_t i = 0; i < record->turns_len && i < RECORD_READY; i++)
		if (record->identities[i].state != RECORD_IDENTITY_UNKNOWN && record->identities[i].fd == fd)
			return &record->identities[i];
	return NULL;
}

static bool is_tcp(uint16_t kind)
{
	return kind == ROLE_LISTENER || kind == ROLE_CLIENTS || kind == ROLE_UPSTREAM;
}

bool stint_identity_name(const struct record_identity *identity, char *ret, size_t ret_bytes)
{
	static const char *const names[ROLE_KINDS] = {
		[ROLE_UDP] = "udp socket",   [ROLE_UNIX_LISTENER] = "unix socket, listening",
		[ROLE_UNIX] = "unix socket", [ROLE_SOCKET] = "socket",
		[ROLE_PIPE] = "pipe",        [ROLE_TIMERFD] = "timerfd",
		[ROLE_EVENTFD] = "eventfd",  [ROLE_SIGNALFD] = "signalfd",
		[ROLE_INOTIFY] = "inotify",  [ROLE_EPOLL] = "eventpoll",
	};
	const struct record_addresses *ends = &identity->addresses;

	if (identity->state != RECORD_IDENTITY_NOTED || identity->kind >= ROLE_KINDS)
		return false;
	if (is_tcp(identity->kind)) {
		stint_tcp_name(ret, ret_bytes, ends->family, ends->local, ends->local_port, ends->remote,
			       ends->remote_port, identity->kind == ROLE_LISTENER);
		return true;
	}
	if (!names[identity->kind])
		return false;
	snprintf(ret, ret_bytes, "%s", names[identity->kind]);
	return true;
}
