/* SPDX-License-Identifier: MIT */
#ifndef REPORT_ENDPOINT_H
#define REPORT_ENDPOINT_H

/* One end of a connection, as a user names it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct endpoint {
	uint8_t address[16]; /* IPv6, or IPv4 mapped into it; all 0: any */
	uint16_t port;
};

/* "80", "127.0.0.1:80" or "[::1]:80"; the address 0.0.0.0 or [::] is any. False if it is none of these. */
bool endpoint_parse(struct endpoint *ret, const char *text);

#define ENDPOINT_TEXT 64

/* As a user would write it: what endpoint_parse() reads. */
void endpoint_print(char ret[ENDPOINT_TEXT], const struct endpoint *endpoint);

#endif
