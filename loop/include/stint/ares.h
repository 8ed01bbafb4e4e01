/* SPDX-License-Identifier: MIT */
#ifndef STINT_ARES_H
#define STINT_ARES_H

/*
 * A resolver by c-ares, in a library of its own: libstint-ares, which needs libcares 1.16 or later (pkg-config
 * libstint-ares). Its sockets and timeouts are watched by the loop, so there are no threads, and all its work
 * is timed under a handler. It reads /etc/resolv.conf and /etc/hosts, but knows no nsswitch.conf, and so no
 * mDNS. Which resolver to use is said in stint/resolve.h.
 */

#include <stint/resolve.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_ares_options {
	size_t size;         /* sizeof(struct stint_ares_options) */
	const char *servers; /* "192.0.2.1,192.0.2.2:5353,[2001:db8::1]:53"; NULL: from resolv.conf */
	uint32_t try_ms;     /* for a server to answer the first time; 0: as resolv.conf says, or 5000 */
	uint32_t tries;      /* of each server; 0: as resolv.conf says, or 4 */
};

/*
 * `handler`: what the reading of answers is timed under. Without a resolv.conf that can be read, a name server on this host
 * is asked. -EINVAL: also servers that are no addresses; -ENOMEM.
 */
STINT_API int stint_ares_resolver_new(struct stint_resolver **ret, struct stint_loop *loop,
				      const struct stint_ares_options *options, uint32_t handler);

#ifdef __cplusplus
}
#endif

#endif
