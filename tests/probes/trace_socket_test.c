/* SPDX-License-Identifier: MIT */

/*
 * Sockets that are asked for by port or descriptor, from the handshake to the close: a server and a client of one
 * connection each, which do one thing after another, so that the order of what they see is known.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture.h"
#include "network.h"
#include "subject_ring.h"
#include "watching.h"

#define ROUNDS 3

struct peers {
	struct watching watching;
	int listener;
	int old[2]; /* a connection that there was before anybody watched: the watched process' end, the test's */
	struct sockaddr_in address;
	int go[2]; /* closed: the watched process may begin */
	pid_t watched;
};

#define TOLERANCE_NS UINT64_C(100000) /* of the two clocks against each other */

static struct peers peers;
static struct capture capture;
static int chosen_fd = -1;

static void wait_for(int fd, uint32_t events)
{
	int epfd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = events};

	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &event) < 0 ||
	    epoll_wait(epfd, &event, 1, -1) != 1)
		_exit(1);
	close(epfd);
}

/* Takes one connection, answers one byte, and closes when the other end has. */
static _Noreturn void be_server(void)
{
	char byte;
	int fd;

	wait_for(peers.listener, EPOLLIN);
	fd = accept4(peers.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		_exit(1);
	wait_for(fd, EPOLLIN);
	if (read(fd, &byte, 1) != 1 || write(fd, &byte, 1) != 1)
		_exit(1);
	wait_for(fd, EPOLLIN);
	_exit(read(fd, &byte, 1) != 0);
}

static _Noreturn void be_client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char byte = 'x';

	if (fd < 0 || (connect(fd, (struct sockaddr *)&peers.address, sizeof(peers.address)) < 0 &&
		       errno != EINPROGRESS))
		_exit(1);
	wait_for(fd, EPOLLOUT);
	if (write(fd, &byte, 1) != 1)
		_exit(1);
	wait_for(fd, EPOLLIN);
	_exit(read(fd, &byte, 1) != 1);
}

static void listen_on_loopback(void)
{
	socklen_t bytes = sizeof(peers.address);

	memset(&peers, 0, sizeof(peers));
	peers.address =
		(struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	peers.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(bind(peers.listener, (struct sockaddr *)&peers.address, bytes), errno);
	assert_return_code(listen(peers.listener, 1), errno);
	assert_return_code(getsockname(peers.listener, (struct sockaddr *)&peers.address, &bytes), errno);
}

/* `other_port` and `address` (of IPv4): of what is asked for; 0: the listener's port, any address. */
static void watch(void (*watched)(void), uint16_t other_port, uint32_t address)
{
	struct stint_probes_options options = {.size = sizeof(options), .trace_sockets = true};
	const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char nothing;

	options.trace_port = other_port ? other_port : ntohs(peers.address.sin_port);
	if (address) {
		address = htonl(address);
		memcpy(options.trace_address, mapped, sizeof(mapped));
		memcpy(options.trace_address + sizeof(mapped), &address, sizeof(address));
	}
	if (chosen_fd >= 0) {
		options.trace_port = 0;
		options.trace_by_fd = true;
		options.trace_fd = chosen_fd;
	}
	watching_open(&peers.watching, &options);
	assert_return_code(pipe(peers.go), errno);
	peers.watched = fork();
	assert_return_code(peers.watched, errno);
	if (peers.watched == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(peers.go[1]);
		if (read(peers.go[0], &nothing, 1) == 0)
			watched();
		_exit(1);
	}
	watching_add(&peers.watching, peers.watched);
	close(peers.go[1]);
}

static void start(void (*watched)(void), uint16_t other_port, uint32_t address)
{
	watching_or_skip();
	listen_on_loopback();
	watch(watched, other_port, address);
}

/* The same, of what is that descriptor of the watched process. */
static void start_by_fd(void (*watched)(void), int fd)
{
	chosen_fd = fd;
	start(watched, 0, 0);
	chosen_fd = -1;
}

static void finish(void)
{
	int status;

	watching_until_exit(&peers.watching, peers.watched);
	assert_int_equal(waitpid(peers.watched, &status, 0), peers.watched);
	assert_int_equal(status, 0);
	watching_take(&peers.watching);
	close(peers.listener);
	close(peers.go[0]);
}

static int tear_down(void **state)
{
	(void)state;
	watching_close(&peers.watching);
	return 0;
}

static const struct stint_probes_socket_event *moment(enum stint_probes_socket_kind kind)
{
	for (size_t i = 0; i < peers.watching.events_len; i++)
		if (peers.watching.events[i].kind == kind)
			return &peers.watching.events[i];
	fail_msg("no moment of kind %d among %zu", kind, peers.watching.events_len);
	return NULL;
}

static void assert_in_order(const enum stint_probes_socket_kind *kinds, size_t len)
{
	for (size_t i = 1; i < len; i++) {
		const struct stint_probes_socket_event *before = moment(kinds[i - 1]),
						       *after = moment(kinds[i]);

		if (before->time_ns > after->time_ns)
			fail_msg("moment %d is later than moment %d", kinds[i - 1], kinds[i]);
		assert_int_equal(before->socket, after->socket);
		assert_string_equal(before->local, after->local);
		assert_string_equal(before->remote, after->remote);
	}
}

/* The test is the client. */
static void a_servers_connection_is_told_from_handshake_to_close(void **state)
{
	static const enum stint_probes_socket_kind kinds[] = {STINT_PROBES_SOCKET_ESTABLISHED,
							      STINT_PROBES_SOCKET_ACCEPTED,
							      STINT_PROBES_SOCKET_SEND,
							      STINT_PROBES_SOCKET_FIN_RECEIVED,
							      STINT_PROBES_SOCKET_READ_EVENT,
							      STINT_PROBES_SOCKET_FIN_SENT};
	char byte = 'x';
	int fd;

	(void)state;
	start(be_server, 0, 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* after the fork: its close is to be the last */
	assert_return_code(fd, errno);
	assert_return_code(connect(fd, (struct sockaddr *)&peers.address, sizeof(peers.address)), errno);
	assert_int_equal(write(fd, &byte, 1), 1);
	assert_int_equal(read(fd, &byte, 1), 1);
	close(fd);
	finish();
	assert_in_order(kinds, sizeof(kinds) / sizeof(kinds[0]));
	/* On loopback it may come before the send returns, so its place is not known. */
	assert_int_equal(moment(STINT_PROBES_SOCKET_ACK)->done_bytes, 1);
	assert_true(moment(STINT_PROBES_SOCKET_ACCEPTED)->fd >= 0);
}

/* The test is the server. */
static void a_clients_connection_is_told_from_its_syn_on(void **state)
{
	static const enum stint_probes_socket_kind kinds[] = {STINT_PROBES_SOCKET_CONNECTING,
							      STINT_PROBES_SOCKET_ESTABLISHED,
							      STINT_PROBES_SOCKET_SEND,
							      STINT_PROBES_SOCKET_FIN_SENT};
	char byte;
	int fd;

	(void)state;
	start(be_client, 0, 0);
	fd = accept4(peers.listener, NULL, NULL, SOCK_CLOEXEC);
	assert_return_code(fd, errno);
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(write(fd, &byte, 1), 1);
	finish();
	close(fd);
	assert_in_order(kinds, sizeof(kinds) / sizeof(kinds[0]));
	/* On loopback it may come before the send returns, so its place is not known. */
	assert_int_equal(moment(STINT_PROBES_SOCKET_ACK)->done_bytes, 1);
}

/* Watches a client with one connection, from its SYN to its close. */
static void run_client(uint16_t other_port, uint32_t address)
{
	int fd;
	char byte;

	start(be_client, other_port, address);
	fd = accept4(peers.listener, NULL, NULL, SOCK_CLOEXEC);
	assert_return_code(fd, errno);
	assert_int_equal(read(fd, &byte, 1), 1);
	assert_int_equal(write(fd, &byte, 1), 1);
	finish();
	close(fd);
}

static void sockets_with_other_ports_are_not_told(void **state)
{
	(void)state;
	run_client(1, 0);
	assert_int_equal(peers.watching.events_len, 0);
}

static void a_socket_with_the_address_at_the_ports_end_is_told(void **state)
{
	(void)state;
	run_client(0, INADDR_LOOPBACK);
	assert_true(moment(STINT_PROBES_SOCKET_CONNECTING)->time_ns <
		    moment(STINT_PROBES_SOCKET_FIN_SENT)->time_ns);
}

static void sockets_with_other_addresses_are_not_told(void **state)
{
	(void)state;
	run_client(0, INADDR_LOOPBACK + 1);
	assert_int_equal(peers.watching.events_len, 0);
}

/* The client's own, whatever number that is: it is moved there before anything is sent. */
static _Noreturn void be_client_at_50(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char byte = 'x';

	if (fd < 0 || dup2(fd, 50) != 50 || close(fd) != 0 ||
	    (connect(50, (struct sockaddr *)&peers.address, sizeof(peers.address)) < 0 &&
	     errno != EINPROGRESS))
		_exit(1);
	wait_for(50, EPOLLOUT);
	if (write(50, &byte, 1) != 1)
		_exit(1);
	wait_for(50, EPOLLIN);
	if (read(50, &byte, 1) != 1)
		_exit(1);
	wait_for(50, EPOLLIN);
	_exit(read(50, &byte, 1) != 0);
}

static void run_client_at_50(int fd)
{
	int accepted;
	char byte;

	start_by_fd(be_client_at_50, fd);
	accepted = accept4(peers.listener, NULL, NULL, SOCK_CLOEXEC);
	assert_return_code(accepted, errno);
	assert_int_equal(read(accepted, &byte, 1), 1);
	assert_int_equal(write(accepted, &byte, 1), 1);
	close(accepted);
	finish();
}

static void a_descriptor_is_told_from_its_first_send_to_the_peers_fin(void **state)
{
	static const enum stint_probes_socket_kind kinds[] = {STINT_PROBES_SOCKET_SEND,
							      STINT_PROBES_SOCKET_FIN_RECEIVED,
							      STINT_PROBES_SOCKET_READ_EVENT};

	(void)state;
	run_client_at_50(50);
	assert_in_order(kinds, sizeof(kinds) / sizeof(kinds[0]));
	for (size_t i = 0; i < peers.watching.events_len; i++)
		assert_int_equal(peers.watching.events[i].fd, 50);
}

static void other_descriptors_are_not_told(void **state)
{
	(void)state;
	run_client_at_50(51);
	assert_int_equal(peers.watching.events_len, 0);
}

/* ---- connections that are older than the recording ---- */

/* `flags`: SOCK_NONBLOCK or none, of the watched process' end. */
static void connect_before(int flags)
{
	watching_or_skip();
	listen_on_loopback();
	peers.old[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(connect(peers.old[1], (struct sockaddr *)&peers.address, sizeof(peers.address)),
			   errno);
	peers.old[0] = accept4(peers.listener, NULL, NULL, flags | SOCK_CLOEXEC);
	assert_return_code(peers.old[0], errno);
}

/* Answers each byte, and is over when the other end is closed. */
static _Noreturn void be_old_server(void)
{
	char byte;

	close(peers.old[1]);
	for (;;) {
		wait_for(peers.old[0], EPOLLIN);
		if (read(peers.old[0], &byte, 1) != 1)
			_exit(0);
		if (write(peers.old[0], &byte, 1) != 1)
			_exit(1);
	}
}

static void converse_and_finish(void)
{
	char byte = 'x';

	close(peers.old[0]);
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(write(peers.old[1], &byte, 1), 1);
		assert_int_equal(read(peers.old[1], &byte, 1), 1);
	}
	close(peers.old[1]);
	finish();
}

static size_t moments(enum stint_probes_socket_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < peers.watching.events_len; i++)
		count += peers.watching.events[i].kind == kind;
	return count;
}

static void assert_told_from_first_send_on(void)
{
	static const enum stint_probes_socket_kind kinds[] = {STINT_PROBES_SOCKET_SEND,
							      STINT_PROBES_SOCKET_FIN_RECEIVED,
							      STINT_PROBES_SOCKET_READ_EVENT};

	assert_int_equal(moments(STINT_PROBES_SOCKET_SEND), ROUNDS);
	assert_true(moments(STINT_PROBES_SOCKET_ACK) > 0);
	assert_in_order(kinds, sizeof(kinds) / sizeof(kinds[0]));
	assert_int_equal(moment(STINT_PROBES_SOCKET_SEND)->done_bytes, 1);
}

static void a_connection_that_was_there_before_is_told_from_its_first_send_on(void **state)
{
	(void)state;
	connect_before(SOCK_NONBLOCK);
	watch(be_old_server, 0, INADDR_LOOPBACK);
	converse_and_finish();
	assert_told_from_first_send_on();
}

static void so_is_one_that_blocks(void **state)
{
	(void)state;
	connect_before(0);
	watch(be_old_server, 0, 0);
	converse_and_finish();
	assert_told_from_first_send_on();
}

static void one_that_was_there_before_with_another_port_is_not_told(void **state)
{
	(void)state;
	connect_before(SOCK_NONBLOCK);
	watch(be_old_server, 1, 0);
	converse_and_finish();
	assert_int_equal(peers.watching.events_len, 0);
}

static void one_that_was_there_before_with_another_address_is_not_told(void **state)
{
	(void)state;
	connect_before(SOCK_NONBLOCK);
	watch(be_old_server, 0, INADDR_LOOPBACK + 1);
	converse_and_finish();
	assert_int_equal(peers.watching.events_len, 0);
}

static int by_ring(struct ring *ring, uint8_t opcode, char *byte)
{
	struct io_uring_sqe sqe = {.opcode = opcode,
				   .fd = peers.old[0],
				   .addr = (uintptr_t)byte,
				   .len = opcode != IORING_OP_NOP};
	struct ring_answer answer;

	ring_prepare(ring, &sqe);
	ring_wait(ring);
	return ring_take(ring, &answer) ? answer.res : -EIO;
}

static int ring_is_known[2]; /* a byte says so */

/* As be_old_server(), by a ring alone. */
static _Noreturn void be_old_ring_server(void)
{
	struct ring ring;
	char byte = 'x';

	close(peers.old[1]);
	close(ring_is_known[0]);
	ring_open(&ring);
	if (by_ring(&ring, IORING_OP_NOP, &byte) != 0 || write(ring_is_known[1], &byte, 1) != 1)
		_exit(1);
	while (by_ring(&ring, IORING_OP_RECV, &byte) == 1)
		if (by_ring(&ring, IORING_OP_SEND, &byte) != 1)
			_exit(1);
	_exit(0);
}

static void so_is_one_that_sends_through_a_ring(void **state)
{
	char byte;

	(void)state;
	connect_before(SOCK_NONBLOCK);
	assert_return_code(pipe(ring_is_known), errno);
	watch(be_old_ring_server, 0, 0);
	close(ring_is_known[1]);
	if (read(ring_is_known[0], &byte, 1) != 1) {
		printf("skipped: this kernel lets no program have a ring\n");
		skip();
	}
	close(ring_is_known[0]);
	watching_take(&peers.watching);
	converse_and_finish();
	assert_told_from_first_send_on();
}

static int tear_down_capture(void **state)
{
	capture_free(&capture);
	return tear_down(state);
}

/* Not before the one segment came, which makes it, nor after the other, which only follows it. */
static void assert_between(enum stint_probes_socket_kind kind, const struct captured_segment *after,
			   const struct captured_segment *before)
{
	assert_in_range(moment(kind)->time_ns, after->time_ns - TOLERANCE_NS, before->time_ns + TOLERANCE_NS);
}

/* As tcpdump sees the segments: the server answers a byte, and closes once it was told of the client's FIN. */
static void handshake_and_fin_are_told_between_the_segments_that_tcpdump_sees(void **state)
{
	struct captured_segment handshake, answer, client_fin, server_fin;
	struct sockaddr_in own;
	socklen_t bytes = sizeof(own);
	uint16_t server, client;
	char byte = 'x';
	int fd;

	(void)state;
	watching_or_skip();
	network_enter("true");
	capture_start(&capture);
	start(be_server, 0, 0);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(connect(fd, (struct sockaddr *)&peers.address, sizeof(peers.address)), errno);
	assert_return_code(getsockname(fd, (struct sockaddr *)&own, &bytes), errno);
	assert_int_equal(write(fd, &byte, 1), 1);
	assert_int_equal(read(fd, &byte, 1), 1);
	close(fd);
	finish();
	capture_stop(&capture);
	server = ntohs(peers.address.sin_port);
	client = ntohs(own.sin_port);
	handshake = capture_first(&capture, server, client, CAPTURED_SYN | CAPTURED_ACK, false);
	answer = capture_first(&capture, server, client, CAPTURED_ACK, true);
	client_fin = capture_first(&capture, client, server, CAPTURED_FIN, false);
	server_fin = capture_first(&capture, server, client, CAPTURED_FIN, false);
	assert_between(STINT_PROBES_SOCKET_ESTABLISHED, &handshake, &answer);
	assert_between(STINT_PROBES_SOCKET_ACCEPTED, &handshake, &answer);
	assert_between(STINT_PROBES_SOCKET_FIN_RECEIVED, &client_fin, &server_fin);
	assert_between(STINT_PROBES_SOCKET_READ_EVENT, &client_fin, &server_fin);
	assert_between(STINT_PROBES_SOCKET_FIN_SENT, &client_fin, &server_fin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_servers_connection_is_told_from_handshake_to_close, tear_down),
		cmocka_unit_test_teardown(a_clients_connection_is_told_from_its_syn_on, tear_down),
		cmocka_unit_test_teardown(sockets_with_other_ports_are_not_told, tear_down),
		cmocka_unit_test_teardown(a_socket_with_the_address_at_the_ports_end_is_told, tear_down),
		cmocka_unit_test_teardown(sockets_with_other_addresses_are_not_told, tear_down),
		cmocka_unit_test_teardown(a_descriptor_is_told_from_its_first_send_to_the_peers_fin,
					  tear_down),
		cmocka_unit_test_teardown(other_descriptors_are_not_told, tear_down),
		cmocka_unit_test_teardown(a_connection_that_was_there_before_is_told_from_its_first_send_on,
					  tear_down),
		cmocka_unit_test_teardown(so_is_one_that_blocks, tear_down),
		cmocka_unit_test_teardown(so_is_one_that_sends_through_a_ring, tear_down),
		cmocka_unit_test_teardown(one_that_was_there_before_with_another_port_is_not_told, tear_down),
		cmocka_unit_test_teardown(one_that_was_there_before_with_another_address_is_not_told,
					  tear_down),
		/* In a network of its own, which the process does not leave again. */
		cmocka_unit_test_teardown(handshake_and_fin_are_told_between_the_segments_that_tcpdump_sees,
					  tear_down_capture),
	};

	/* An emulated CPU takes ten seconds to load the programs: there, one of them tells that they load and work. */
	if (getenv("STINT_KERNELS"))
		cmocka_set_test_filter("a_servers_connection_is_told_from_handshake_to_close");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
