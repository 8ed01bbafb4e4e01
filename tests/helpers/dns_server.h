/* SPDX-License-Identifier: MIT */
#ifndef DNS_SERVER_H
#define DNS_SERVER_H

/*
 * A name server for tests, in a thread of its own on a UDP port of loopback. Names say what it answers:
 *
 *	4-N.test     N addresses of IPv4, 127.0.0.1 and so on, none of IPv6
 *	6-N.test     N times ::1, none of IPv4
 *	46-N.test    both
 *	slow6.test   127.0.0.1; the question for IPv6 is never answered
 *	silent.test  nothing at all
 *	broken.test  SERVFAIL
 *	others       NXDOMAIN
 */

#include <stdint.h>

struct dns_server;

struct dns_server *dns_server_start(void);
void dns_server_stop(struct dns_server *server);
/* "127.0.0.1:PORT" */
const char *dns_server_address(const struct dns_server *server);
uint32_t dns_server_questions(const struct dns_server *server);

#endif
