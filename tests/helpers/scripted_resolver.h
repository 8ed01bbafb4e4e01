/* SPDX-License-Identifier: MIT */
#ifndef SCRIPTED_RESOLVER_H
#define SCRIPTED_RESOLVER_H

/* A resolver that answers when the test says so, and knows one name. */

#include "names_fixture.h"

#define NEVER_NS (3600 * S)

static struct stint_resolver *resolver;
static struct stint_lookup *asked[2];            /* by IPv6, IPv4; NULL: not asked, or cancelled */
static int starts, cancels, frees, refuse_after; /* starts before one is refused; -1: none is */
static bool cancel_frees_loop, free_frees_loop;

static int on_start(void *backend, struct stint_lookup *lookup, const char *name, int family,
		    void **ret_query)
{
	int i = family == AF_INET;

	assert_ptr_equal(backend, &resolver);
	assert_string_equal(name, "host.test");
	if (starts == refuse_after)
		return -ENOMEM;
	starts++;
	asked[i] = lookup;
	*ret_query = &asked[i];
	return 0;
}

static void on_cancel(void *backend, void *query)
{
	(void)backend;
	cancels++;
	*(struct stint_lookup **)query = NULL;
	if (cancel_frees_loop)
		loop = stint_loop_free(loop);
}

static void on_free(void *backend)
{
	(void)backend;
	frees++;
	if (free_frees_loop)
		loop = stint_loop_free(loop);
}

static int open_resolver(void **state)
{
	static const struct stint_resolver_backend operations = {on_start, on_cancel, on_free};

	asked[0] = asked[1] = NULL;
	starts = cancels = frees = 0;
	refuse_after = -1;
	cancel_frees_loop = free_frees_loop = false;
	if (open_loop(state) < 0)
		return -1;
	return stint_resolver_new(&resolver, loop, &operations, &resolver);
}

__attribute__((unused)) static void answer(int family, int error, uint32_t count)
{
	union stint_address addresses[64];

	for (uint32_t i = 0; i < count; i++)
		addresses[i] = loopback(family);
	stint_lookup_done(asked[family == AF_INET], error, addresses, count);
}

#define SCRIPTED(name) cmocka_unit_test_setup_teardown(name, open_resolver, close_loop)

#endif
