/* SPDX-License-Identifier: MIT */
#include "report/endpoint.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};

static bool parse_port(uint16_t *ret, const char *text)
{
	unsigned long port;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	port = strtoul(text, &end, 10);
	if (*end || port == 0 || port > UINT16_MAX)
		return false;
	*ret = (uint16_t)port;
	return true;
}

static bool parse_address(uint8_t *ret, const char *text, size_t len)
{
	bool brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
	char address[INET6_ADDRSTRLEN];

	if (brackets) {
		text++;
		len -= 2;
	}
	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	memcpy(ret, mapped, sizeof(mapped));
	if (inet_pton(brackets ? AF_INET6 : AF_INET, address, brackets ? ret : ret + 12) != 1)
		return false;
	/* 0.0.0.0 is any address, as [::] is. */
	if (memcmp(ret, mapped, sizeof(mapped)) == 0)
		memset(ret, 0, sizeof(mapped));
	return true;
}

bool endpoint_parse(struct endpoint *ret, const char *text)
{
	const char *colon = strrchr(text, ':');

	memset(ret, 0, sizeof(*ret));
	if (!colon)
		return parse_port(&ret->port, text);
	return parse_port(&ret->port, colon + 1) && parse_address(ret->address, text, (size_t)(colon - text));
}

void endpoint_print(char ret[ENDPOINT_TEXT], const struct endpoint *endpoint)
{
	static const uint8_t any[16];
	char address[INET6_ADDRSTRLEN];
	bool is_v4 = memcmp(endpoint->address, mapped, 12) == 0;

	if (memcmp(endpoint->address, any, sizeof(any)) == 0 ||
	    !inet_ntop(is_v4 ? AF_INET : AF_INET6, endpoint->address + (is_v4 ? 12 : 0), address,
		       sizeof(address)))
		snprintf(ret, ENDPOINT_TEXT, "%u", endpoint->port);
	else
		snprintf(ret, ENDPOINT_TEXT, is_v4 ? "%s:%u" : "[%s]:%u", address, endpoint->port);
}
