/* SPDX-License-Identifier: MIT */
#include "dns_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER_BYTES 12
#define TYPE_A       1
#define TYPE_AAAA    28

enum { NOERROR = 0, SERVFAIL = 2, NXDOMAIN = 3, SILENCE = -1 };

struct dns_server {
	int socket;
	pthread_t thread;
	char address[32];
	uint32_t questions; /* atomic */
};

struct answer {
	int code;
	unsigned addresses;
};

static struct answer decide(const char *name, bool ipv6)
{
	struct answer answer = {.code = NOERROR};
	unsigned count;

	if (!strcmp(name, "silent.test"))
		answer.code = SILENCE;
	else if (!strcmp(name, "broken.test"))
		answer.code = SERVFAIL;
	else if (!strcmp(name, "slow6.test"))
		answer = (struct answer){.code = ipv6 ? SILENCE : NOERROR, .addresses = 1};
	else if (sscanf(name, "46-%u.test", &count) == 1)
		answer.addresses = count;
	else if (sscanf(name, "4-%u.test", &count) == 1)
		answer.addresses = ipv6 ? 0 : count;
	else if (sscanf(name, "6-%u.test", &count) == 1)
		answer.addresses = ipv6 ? count : 0;
	else
		answer.code = NXDOMAIN;
	return answer;
}

/* Reads the question's name into `ret`; returns where it ends, 0 if it makes no sense. */
static size_t read_name(const uint8_t *packet, size_t bytes, char *ret, size_t size)
{
	size_t at = HEADER_BYTES, len = 0;

	while (at < bytes && packet[at] != 0) {
		size_t label = packet[at++];

		if (label > 63 || at + label >= bytes || len + label + 2 > size)
			return 0;
		if (len)
			ret[len++] = '.';
		memcpy(ret + len, packet + at, label);
		len += label;
		at += label;
	}
	ret[len] = '\0';
	return at + 5 <= bytes ? at + 1 : 0;
}

static size_t add_address(uint8_t *packet, size_t at, bool ipv6, unsigned number)
{
	const uint8_t head[] = {0xc0, HEADER_BYTES, 0, ipv6 ? TYPE_AAAA : TYPE_A, 0, 1, 0, 0, 0, 60,
				0,    ipv6 ? 16 : 4};
	const uint8_t ipv4_address[4] = {127, 0, 0, (uint8_t)(1 + number)};
	const uint8_t ipv6_address[16] = {[15] = 1};

	memcpy(packet + at, head, sizeof(head));
	at += sizeof(head);
	memcpy(packet + at, ipv6 ? ipv6_address : ipv4_address, ipv6 ? 16 : 4);
	return at + (ipv6 ? 16 : 4);
}

/* Makes the answer of the question in place; returns its length, 0: there is none. */
static size_t make_answer(uint8_t *packet, size_t bytes)
{
	char name[256];
	size_t at = read_name(packet, bytes, name, sizeof(name));
	struct answer answer;
	bool ipv6;

	if (!at)
		return 0;
	ipv6 = packet[at + 1] == TYPE_AAAA;
	at += 4;
	answer = decide(name, ipv6);
	if (answer.code == SILENCE)
		return 0;
	packet[2] = 0x84; /* an answer, by the authority */
	packet[3] = (uint8_t)answer.code;
	memset(packet + 6, 0, 6);
	packet[7] = (uint8_t)answer.addresses;
	for (unsigned i = 0; i < answer.addresses; i++)
		at = add_address(packet, at, ipv6, i);
	return at;
}

static void *serve(void *ctx)
{
	struct dns_server *server = ctx;
	struct sockaddr_in peer;
	uint8_t packet[4096];

	for (;;) {
		socklen_t peer_bytes = sizeof(peer);
		ssize_t got = recvfrom(server->socket, packet, 512, 0, (struct sockaddr *)&peer, &peer_bytes);
		size_t bytes;

		if (got <= HEADER_BYTES) /* a short one is our own, to stop */
			return NULL;
		__atomic_fetch_add(&server->questions, 1, __ATOMIC_RELEASE);
		bytes = make_answer(packet, (size_t)got);
		if (bytes)
			sendto(server->socket, packet, bytes, 0, (struct sockaddr *)&peer, peer_bytes);
	}
}

struct dns_server *dns_server_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct dns_server *server = calloc(1, sizeof(*server));
	socklen_t bytes = sizeof(address);

	assert_non_null(server);
	server->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(server->socket >= 0);
	assert_int_equal(bind(server->socket, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(getsockname(server->socket, (struct sockaddr *)&address, &bytes), 0);
	snprintf(server->address, sizeof(server->address), "127.0.0.1:%d", ntohs(address.sin_port));
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	return server;
}

void dns_server_stop(struct dns_server *server)
{
	struct sockaddr_in address;
	socklen_t bytes = sizeof(address);

	assert_int_equal(getsockname(server->socket, (struct sockaddr *)&address, &bytes), 0);
	assert_int_equal(sendto(server->socket, "x", 1, 0, (struct sockaddr *)&address, bytes), 1);
	pthread_join(server->thread, NULL);
	close(server->socket);
	free(server);
}

const char *dns_server_address(const struct dns_server *server)
{
	return server->address;
}

uint32_t dns_server_questions(const struct dns_server *server)
{
	return __atomic_load_n(&server->questions, __ATOMIC_ACQUIRE);
}
