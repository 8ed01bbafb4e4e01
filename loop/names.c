/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

#define NAME_BYTES 253

void candidates_add(struct candidates *candidates, const union stint_address *address, uint16_t port)
{
	struct candidate fresh = {.address = *address};
	union stint_address source;
	uint32_t place = candidates->count;

	if (address->any.sa_family == AF_INET6)
		fresh.address.ipv6.sin6_port = htons(port);
	else
		fresh.address.ipv4.sin_port = htons(port);
	fresh.rank =
		address_rank(&fresh.address, address_find_source(&fresh.address, &source) ? &source : NULL);
	while (place > 0 && address_rank_compare(&fresh.rank, &candidates->at[place - 1].rank) < 0)
		place--;
	memmove(&candidates->at[place + 1], &candidates->at[place],
		(candidates->count - place) * sizeof(fresh));
	candidates->at[place] = fresh;
	candidates->count++;
}

bool names_valid(const char *text)
{
	size_t bytes = text ? strnlen(text, NAME_BYTES + 1) : 0;

	return bytes > 0 && bytes <= NAME_BYTES;
}

int names_check(int family, const struct stint_resolver *resolver, const struct stint_loop *loop)
{
	if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
		return -EINVAL;
	return resolver && !resolver_serves(resolver, loop) ? -EINVAL : 0;
}

bool names_parse(const char *text, union stint_address *ret)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *found;

	if (getaddrinfo(text, NULL, &hints, &found) != 0)
		return false;
	memcpy(ret, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return true;
}

int names_look_up(struct stint_lookup *lookup[NAMES_FAMILIES], struct stint_loop *loop,
		  struct stint_resolver *resolver, const char *text, int family, uint32_t handler,
		  void (*callback)(struct stint_lookup *, void *), void *ctx)
{
	static const int families[NAMES_FAMILIES] = {AF_INET6, AF_INET};
	int error = 0;

	if (!resolver && !loop->resolver)
		error = stint_thread_resolver_new(&loop->resolver, loop, NULL);
	if (!resolver)
		resolver = loop->resolver;
	for (int i = 0; i < NAMES_FAMILIES && error == 0; i++)
		if (!family || family == families[i])
			error = lookup_new(&lookup[i], resolver, text, families[i], handler, callback, ctx);
	return error;
}

int names_worse_error(int a, int b)
{
	if (a == 0 || b == 0)
		return a ? a : b;
	if (a == -ENOENT || b == -ENOENT)
		return -ENOENT;
	return a == -ENODATA ? b : a;
}
