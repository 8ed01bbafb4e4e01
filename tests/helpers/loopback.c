/* SPDX-License-Identifier: MIT */
#include "loopback.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sock_diag.h>
#include <linux/sockios.h>

#include <cmocka.h>

#define SEND_BUFFER    196608 /* the kernel doubles both */
#define RECEIVE_BUFFER 65536
#define TOO_MUCH       4194304

static char data[TOO_MUCH];

void loopback_open(struct loopback *pair)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int sndbuf = SEND_BUFFER, rcvbuf = RECEIVE_BUFFER;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof(address);

	/* An accepted socket has the listener's sizes. */
	assert_return_code(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)), errno);
	assert_return_code(bind(listener, (struct sockaddr *)&address, bytes), errno);
	assert_return_code(listen(listener, 1), errno);
	assert_return_code(getsockname(listener, (struct sockaddr *)&address, &bytes), errno);
	pair->sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(setsockopt(pair->sender, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)), errno);
	assert_return_code(connect(pair->sender, (struct sockaddr *)&address, bytes), errno);
	assert_return_code(fcntl(pair->sender, F_SETFL, O_NONBLOCK), errno);
	pair->receiver = accept4(listener, (struct sockaddr *)&address, &bytes, SOCK_CLOEXEC);
	assert_return_code(pair->receiver, errno);
	pair->sender_port = ntohs(address.sin_port);
	close(listener);
}

void loopback_close(struct loopback *pair)
{
	close(pair->sender);
	close(pair->receiver);
}

uint32_t loopback_send_too_much(const struct loopback *pair)
{
	ssize_t taken = send(pair->sender, data, sizeof(data), MSG_NOSIGNAL);

	assert_return_code(taken, errno);
	return (uint32_t)taken;
}

uint32_t loopback_read(const struct loopback *pair, uint32_t bytes)
{
	ssize_t got = read(pair->receiver, data, bytes < sizeof(data) ? bytes : sizeof(data));

	assert_true(got > 0);
	return (uint32_t)got;
}

uint32_t loopback_sndbuf_bytes(const struct loopback *pair)
{
	int sndbuf = 0;
	socklen_t bytes = sizeof(sndbuf);

	assert_return_code(getsockopt(pair->sender, SOL_SOCKET, SO_SNDBUF, &sndbuf, &bytes), errno);
	return (uint32_t)sndbuf;
}

uint32_t loopback_queued_bytes(const struct loopback *pair)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t bytes = sizeof(memory);

	assert_return_code(getsockopt(pair->sender, SOL_SOCKET, SO_MEMINFO, memory, &bytes), errno);
	return memory[SK_MEMINFO_WMEM_QUEUED];
}

static uint32_t ask(int fd, unsigned long request)
{
	int bytes = 0;

	assert_return_code(ioctl(fd, request, &bytes), errno);
	return (uint32_t)bytes;
}

uint32_t loopback_unacked_bytes(const struct loopback *pair)
{
	return ask(pair->sender, SIOCOUTQ);
}

uint32_t loopback_unsent_bytes(const struct loopback *pair)
{
	return ask(pair->sender, SIOCOUTQNSD);
}
