/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "bench.h"

#include <signal.h>

struct client_link {
	int fd;
	uint64_t to_send;  /* bytes */
	uint64_t expected; /* bytes */
};

static void set_nodelay(int fd)
{
	int one = 1;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		bench_die("TCP_NODELAY");
}

static int connect_to(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		bench_die("connect");
	set_nodelay(fd);
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		bench_die("O_NONBLOCK");
	return fd;
}

static void link_send(struct client_link *link, uint64_t bytes)
{
	static const char data[BENCH_BUFFER_BYTES];

	if (bytes > link->to_send)
		bytes = link->to_send;
	link->to_send -= bytes;
	if (bytes > 0 && write(link->fd, data, bytes) != (ssize_t)bytes)
		bench_die("send a request");
}

/* Answers are asked for anew as they come, so `depth` stay under way. True when the link is done. */
static bool link_receive(struct client_link *link)
{
	static char buffer[BENCH_BUFFER_BYTES];
	ssize_t got = read(link->fd, buffer, sizeof(buffer));

	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0 || (uint64_t)got > link->expected)
		bench_die("receive an answer");
	link->expected -= (uint64_t)got;
	link_send(link, (uint64_t)got);
	return link->expected == 0;
}

static void client_loop(struct client_link *links, uint32_t count)
{
	struct epoll_event events[BENCH_BATCH];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (uint32_t i = 0; i < count; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = &links[i]};

		if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, links[i].fd, &event) < 0)
			bench_die("client epoll");
	}
	while (count > 0) {
		int ready = epoll_wait(epoll, events, BENCH_BATCH, -1);

		for (int i = 0; i < ready; i++)
			count -= link_receive(events[i].data.ptr);
	}
}

static void client_main(const struct client *client, const struct sockaddr_in *address, int go_fd)
{
	struct client_link *links = bench_alloc(client->active, sizeof(*links));
	uint64_t bytes = client->requests / client->active * BENCH_MESSAGE_BYTES;
	ssize_t got;
	char byte;

	for (uint32_t i = 0; i < client->idle; i++)
		connect_to(address);
	for (uint32_t i = 0; i < client->active; i++)
		links[i] = (struct client_link){connect_to(address), bytes, bytes};
	got = read(go_fd, &byte, 1);
	if (got == 0) /* there is none: the backend has no streams, or has said what failed */
		_exit(1);
	if (got < 0)
		bench_die("wait for the start");
	for (uint32_t i = 0; i < client->active; i++)
		link_send(&links[i], (uint64_t)client->depth * BENCH_MESSAGE_BYTES);
	client_loop(links, client->active);
	/* The server decides when it is over: a FIN before would be an event more. */
	if (read(go_fd, &byte, 1) < 0)
		bench_die("wait for the end");
	_exit(0);
}

static int listen_any(struct sockaddr_in *address)
{
	socklen_t bytes = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (struct sockaddr *)address, bytes) < 0 || listen(fd, 4096) < 0 ||
	    getsockname(fd, (struct sockaddr *)address, &bytes) < 0)
		bench_die("listen");
	return fd;
}

void client_start(struct client *client, int *sockets)
{
	struct sockaddr_in address;
	int listener = listen_any(&address), go[2];

	if (pipe2(go, O_CLOEXEC) < 0)
		bench_die("pipe");
	client->pid = fork();
	if (client->pid < 0)
		bench_die("fork");
	if (client->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(listener);
		close(go[1]);
		client_main(client, &address, go[0]);
	}
	close(go[0]);
	client->go_fd = go[1];
	for (uint32_t i = 0; i < client->idle + client->active; i++) {
		sockets[i] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (sockets[i] < 0)
			bench_die("accept");
		set_nodelay(sockets[i]);
	}
	close(listener);
}

void client_go(struct client *client)
{
	if (write(client->go_fd, "g", 1) != 1)
		bench_die("start the client");
}

void client_end(struct client *client)
{
	int status;

	close(client->go_fd);
	if (waitpid(client->pid, &status, 0) < 0 || status != 0) {
		errno = EPROTO;
		bench_die("client");
	}
}
