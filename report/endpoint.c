/* SPDX-License-Identifier: MIT */
#include "report/endpoint.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

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
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
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
	if (brackets)
		return inet_pton(AF_INET6, address, ret) == 1;
	memcpy(ret, mapped, sizeof(mapped));
	return inet_pton(AF_INET, address, ret + sizeof(mapped)) == 1;
}

bool endpoint_parse(struct endpoint *ret, const char *text)
{
	const char *colon = strrchr(text, ':');

	memset(ret, 0, sizeof(*ret));
	if (!colon)
		return parse_port(&ret->port, text);
	return parse_port(&ret->port, colon + 1) && parse_address(ret->address, text, (size_t)(colon - text));
}
