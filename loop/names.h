/* SPDX-License-Identifier: MIT */
#ifndef NAMES_H
#define NAMES_H

/* What connecting by name (connect_name.c) and mere lookups (resolve_name.c) have in common. */

#include "address_order.h"
#include "resolve.h"

#define NAMES_TIMEOUT_NS UINT64_C(30000000000)
#define NAMES_FAMILIES   2 /* IPv6, IPv4 */

struct candidate {
	union stint_address address;
	struct address_rank rank;
};

/* Addresses that were found, best first. */
struct candidates {
	uint32_t count;
	struct candidate at[NAMES_FAMILIES * ADDRESSES_MAX];
};

/* There is room for what both families have. */
void candidates_add(struct candidates *candidates, const union stint_address *address, uint16_t port);

/* Whether it may be a name: not empty, nor longer than one can be. */
bool names_valid(const char *text);
/* -EINVAL: no family that names have, or a resolver (NULL: any) that is not there for this loop. */
int names_check(int family, const struct stint_resolver *resolver, const struct stint_loop *loop);
/* An address in figures, with its zone if it has one ("fe80::1%eth0"). */
bool names_parse(const char *text, union stint_address *ret);
/*
 * Begins the lookups of `family` (0: of both), by `resolver` (NULL: the loop's own). What has begun is in `lookup`, also
 * on failure.
 */
int names_look_up(struct stint_lookup *lookup[NAMES_FAMILIES], struct stint_loop *loop,
		  struct stint_resolver *resolver, const char *text, int family, uint32_t handler,
		  void (*callback)(struct stint_lookup *, void *), void *ctx);
/* Of two failed lookups, the error that says more: no such name, then what may pass, then no address. */
int names_worse_error(int a, int b);

#endif
