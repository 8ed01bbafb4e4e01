/* SPDX-License-Identifier: MIT */
#ifndef ADDRESS_ORDER_H
#define ADDRESS_ORDER_H

/* Which of several addresses to connect to first: RFC 6724, section 6. */

#include <stdbool.h>
#include <stint/resolve.h>

struct address_rank {
	bool usable; /* there is a source address for it: a route */
	bool scopes_match, labels_match;
	uint8_t precedence, scope;
	uint8_t prefix_bits; /* that source and destination have in common; 0 for IPv4 */
};

/* `source` NULL: there is none. Both of the same family. */
struct address_rank address_rank(const union stint_address *destination, const union stint_address *source);

/* Negative: `a` comes first; 0: as they were given. */
int address_rank_compare(const struct address_rank *a, const struct address_rank *b);

/* Asks the kernel which source it would take; nothing is sent. */
bool address_find_source(const union stint_address *destination, union stint_address *ret);

socklen_t address_bytes(const union stint_address *address);

#endif
