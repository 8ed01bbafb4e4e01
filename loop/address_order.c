/* SPDX-License-Identifier: MIT */
#include "address_order.h"

#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

/*
 * The rules of RFC 6724 that a program can apply: 1 (usable), 2 (matching scope), 5 (matching label),
 * 6 (precedence), 8 (smaller scope), 9 (longest common prefix) and 10 (as given). Rules 3, 4 and 7 ask for
 * states of the source address (deprecated, home, tunnelled) that are the kernel's to know.
 */

/* The default policy table, longest prefixes first; IPv4 is looked up as ::ffff:0:0/96. */
static const struct policy {
	uint8_t prefix[16];
	uint8_t bits, precedence, label;
} policies[] = {
	{{[15] = 1}, 128, 50, 0},                /* ::1 */
	{{[10] = 0xff, [11] = 0xff}, 96, 35, 4}, /* ::ffff:0:0, IPv4 */
	{{0}, 96, 1, 3},                         /* ::, IPv4-compatible */
	{{0x20, 0x01}, 32, 5, 5},                /* 2001::, Teredo */
	{{0x20, 0x02}, 16, 30, 2},               /* 2002::, 6to4 */
	{{0x3f, 0xfe}, 16, 1, 12},               /* 3ffe::, the 6bone that was */
	{{0xfe, 0xc0}, 10, 1, 11},               /* fec0::, site-local */
	{{0xfc}, 7, 3, 13},                      /* fc00::, unique local */
	{{0}, 0, 40, 1},                         /* all else */
};

enum scope { SCOPE_LINK = 2, SCOPE_SITE = 5, SCOPE_GLOBAL = 14 };

static void as_ipv6(const union stint_address *address, uint8_t ret[16])
{
	if (address->any.sa_family == AF_INET6) {
		memcpy(ret, &address->ipv6.sin6_addr, 16);
		return;
	}
	memset(ret, 0, 10);
	ret[10] = ret[11] = 0xff;
	memcpy(ret + 12, &address->ipv4.sin_addr, 4);
}

static unsigned common_bits(const uint8_t *a, const uint8_t *b)
{
	for (unsigned i = 0; i < 16; i++)
		if (a[i] != b[i])
			return i * 8 + (unsigned)__builtin_clz((unsigned)(a[i] ^ b[i])) - 24;
	return 128;
}

static const struct policy *find_policy(const uint8_t *bytes)
{
	const struct policy *policy = policies;

	while (common_bits(bytes, policy->prefix) < policy->bits)
		policy++;
	return policy;
}

/* Loopback counts as link-local (section 3.4 and 3.2). */
static uint8_t find_scope(const uint8_t *bytes, int family)
{
	static const uint8_t loopback[16] = {[15] = 1};

	if (family == AF_INET)
		return bytes[12] == 127 || (bytes[12] == 169 && bytes[13] == 254) ? SCOPE_LINK : SCOPE_GLOBAL;
	if (bytes[0] == 0xff)
		return bytes[1] & 0x0f;
	if (memcmp(bytes, loopback, 16) == 0 || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80))
		return SCOPE_LINK;
	return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0xc0 ? SCOPE_SITE : SCOPE_GLOBAL;
}

struct address_rank address_rank(const union stint_address *destination, const union stint_address *source)
{
	int family = destination->any.sa_family;
	struct address_rank rank = {.usable = source != NULL};
	const struct policy *policy;
	uint8_t to[16], from[16];

	as_ipv6(destination, to);
	policy = find_policy(to);
	rank.precedence = policy->precedence;
	rank.scope = find_scope(to, family);
	if (!source)
		return rank;
	as_ipv6(source, from);
	rank.scopes_match = find_scope(from, family) == rank.scope;
	rank.labels_match = find_policy(from)->label == policy->label;
	if (family == AF_INET6) {
		unsigned bits = common_bits(to, from);

		rank.prefix_bits = bits < 64 ? (uint8_t)bits : 64; /* what comes after it is the host */
	}
	return rank;
}

int address_rank_compare(const struct address_rank *a, const struct address_rank *b)
{
	if (a->usable != b->usable)
		return a->usable ? -1 : 1;
	if (a->scopes_match != b->scopes_match)
		return a->scopes_match ? -1 : 1;
	if (a->labels_match != b->labels_match)
		return a->labels_match ? -1 : 1;
	if (a->precedence != b->precedence)
		return (int)b->precedence - (int)a->precedence;
	if (a->scope != b->scope)
		return (int)a->scope - (int)b->scope;
	return (int)b->prefix_bits - (int)a->prefix_bits;
}

socklen_t address_bytes(const union stint_address *address)
{
	return address->any.sa_family == AF_INET6 ? sizeof(address->ipv6) : sizeof(address->ipv4);
}

bool address_find_source(const union stint_address *destination, union stint_address *ret)
{
	int fd = socket(destination->any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof(*ret);
	bool found;

	if (fd < 0)
		return false;
	found = connect(fd, &destination->any, address_bytes(destination)) == 0 &&
		getsockname(fd, &ret->any, &bytes) == 0;
	close(fd);
	return found;
}
