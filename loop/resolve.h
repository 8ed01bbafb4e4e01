/* SPDX-License-Identifier: MIT */
#ifndef RESOLVE_H
#define RESOLVE_H

/* Lookups, as those who need one see them. */

#include "reactor.h"

#include <stint/resolve.h>

#define ADDRESSES_MAX 32u

struct stint_lookup {
	struct stint_lookup *next, *previous; /* of those that its resolver has not answered */
	struct deferral deferral;             /* brings the answer */
	struct stint_resolver *resolver;      /* NULL: answered */
	void *query;                          /* the resolver's own */
	struct stint_loop *loop;
	void (*callback)(struct stint_lookup *lookup, void *ctx);
	void *ctx;
	int family, error;
	uint32_t count;
	union stint_address address[ADDRESSES_MAX];
};

bool resolver_serves(const struct stint_resolver *resolver, const struct stint_loop *loop);

/*
 * Begins a lookup. The callback comes from the loop; the lookup is the caller's, also then, until
 * lookup_free(), which may be called at any time.
 */
int lookup_new(struct stint_lookup **ret, struct stint_resolver *resolver, const char *name, int family,
	       uint32_t handler, void (*callback)(struct stint_lookup *, void *), void *ctx);
struct stint_lookup *lookup_free(struct stint_lookup *lookup);

#endif
