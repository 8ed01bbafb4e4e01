/* SPDX-License-Identifier: MIT */

/* The examples do what their first lines say, with real connections. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"

static char directory[64];
static char output[65536];

static int make_directory(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	return mkdtemp(directory) ? setenv("STINT_DIR", directory, 1) : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

/* Starts a server; returns the port that it listens on. */
static int start(struct command *command, const char *const *argv)
{
	char line[256];

	command_start(command, argv);
	command_line(command, "listening on ", line, sizeof(line));
	return atoi(strrchr(line, ':') + 1);
}

static int connect_to(int port, int receive_buffer)
{
	const struct sockaddr_in address = {.sin_family = AF_INET,
					    .sin_port = htons((uint16_t)port),
					    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval limit = {.tv_sec = 60};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (receive_buffer)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(int)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Writes until the other side takes no more: nothing more went in for 300 ms. Returns how much it took. */
static size_t write_until_held_back(int fd, const char *data, size_t bytes)
{
	size_t sent = 0;
	struct pollfd writable = {.fd = fd, .events = POLLOUT};

	while (sent < bytes && poll(&writable, 1, 300) == 1) {
		ssize_t done = send(fd, data + sent, bytes - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(done > 0 || errno == EAGAIN);
		sent += done > 0 ? (size_t)done : 0;
	}
	return sent;
}

static void read_exactly(int fd, char *ret, size_t bytes)
{
	while (bytes > 0) {
		ssize_t got = read(fd, ret, bytes);

		if (got <= 0)
			fail_msg("%zu bytes did not come: %s", bytes, got ? strerror(errno) : "end");
		ret += got;
		bytes -= (size_t)got;
	}
}

static void expect_end(int fd)
{
	char byte;

	assert_int_equal(read(fd, &byte, 1), 0);
}

static char *make_data(size_t bytes)
{
	char *data = malloc(bytes);

	assert_non_null(data);
	for (size_t i = 0; i < bytes; i++)
		data[i] = (char)(i * 7 + i / 251);
	return data;
}

/* The number before a word of the output. */
static unsigned long long number_before(const char *text, const char *word)
{
	const char *at = strstr(text, word);

	if (!at)
		fail_msg("no '%s' in: %s", word, text);
	while (at > text && at[-1] == ' ')
		at--;
	while (at > text && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return strtoull(at, NULL, 10);
}

static void each_says_how_it_is_used(void **state)
{
	static const char *const names[] = {"echo",         "proxy",       "chat",        "half_close",
					    "upstream",     "loops",       "file_server", "http_server",
					    "select_epoll", "write_buffer"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char program[64];

		snprintf(program, sizeof(program), "examples/%s", names[i]);
		assert_int_equal(command_run((const char *const[]){program, "--help", NULL}, output,
					     sizeof(output)),
				 0);
		assert_non_null(strstr(output, "usage: "));
		assert_int_equal(command_run((const char *const[]){program, "--nonsense", NULL}, output,
					     sizeof(output)),
				 2);
	}
}

/* A peer that does not read is held back, and loses nothing, not even by ending its own direction. */
static void echo_holds_back_who_does_not_read_and_sends_all_after_an_end(void **state)
{
	const size_t bytes = 64000000;
	char *data = make_data(bytes), *back = malloc(bytes);
	struct command server;
	size_t sent;
	int fd;

	(void)state;
	fd = connect_to(start(&server, (const char *const[]){"examples/echo", NULL}), 65536);
	sent = write_until_held_back(fd, data, bytes);
	assert_true(sent > 0 && sent < bytes);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	read_exactly(fd, back, sent);
	assert_memory_equal(data, back, sent);
	expect_end(fd);
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, output, sizeof(output)), 0);
	assert_int_equal(number_before(output, "connections"), 1);
	assert_int_equal(number_before(output, "bytes"), sent);
	assert_true(number_before(output, "times held back") > 0);
	free(data);
	free(back);
}

/* Answers everything that it was sent all the same; a request that came in part only is none. */
static void http_server_holds_back_who_does_not_read_its_answers(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\n\r\n";
	static const char answer[] =
		"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
	const size_t bytes = 1500000 * (sizeof(request) - 1);
	char *requests = malloc(bytes), got[sizeof(answer)] = "";
	struct command server;
	size_t sent;
	int fd;

	(void)state;
	assert_non_null(requests);
	for (size_t i = 0; i < bytes; i += sizeof(request) - 1)
		memcpy(requests + i, request, sizeof(request) - 1);
	fd = connect_to(start(&server, (const char *const[]){"examples/http_server", NULL}), 65536);
	sent = write_until_held_back(fd, requests, bytes);
	assert_true(sent > 0 && sent < bytes);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	for (size_t i = 0; i < sent / (sizeof(request) - 1); i++) {
		read_exactly(fd, got, sizeof(answer) - 1);
		assert_string_equal(got, answer);
	}
	expect_end(fd);
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, output, sizeof(output)), 0);
	free(requests);
}

/* Reads to the end, and returns how many lines that were. */
static size_t count_lines(int fd)
{
	static char got[65536];
	size_t lines = 0;
	ssize_t bytes;

	while ((bytes = read(fd, got, sizeof(got))) > 0)
		for (ssize_t i = 0; i < bytes; i++)
			lines += got[i] == '\n';
	assert_int_equal(bytes, 0);
	return lines;
}

static void loops_hold_back_who_does_not_read_its_answers(void **state)
{
	const size_t line_bytes = 1000, bytes = 64000 * line_bytes;
	char *lines = malloc(bytes);
	struct command server;
	size_t sent;
	int fd;

	(void)state;
	assert_non_null(lines);
	memset(lines, 'x', bytes);
	for (size_t i = line_bytes; i <= bytes; i += line_bytes)
		lines[i - 1] = '\n';
	fd = connect_to(start(&server, (const char *const[]){"examples/loops", NULL}), 65536);
	sent = write_until_held_back(fd, lines, bytes);
	assert_true(sent > 0 && sent < bytes);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(count_lines(fd), sent / line_bytes);
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, output, sizeof(output)), 0);
	free(lines);
}

/* Whether it has said nothing at all or was handed over to another loop, where it says nothing any more. */
static void loops_end_who_does_nothing(void **state)
{
	struct command server;
	int port, silent, moved;
	char answer[16];

	(void)state;
	port = start(&server, (const char *const[]){"examples/loops", "--idle", "1", NULL});
	silent = connect_to(port, 0);
	moved = connect_to(port, 0);
	assert_int_equal(write(moved, "move\n", 5), 5);
	read_exactly(moved, answer, strlen("loop 0: move\n"));
	expect_end(silent);
	expect_end(moved);
	close(silent);
	close(moved);
	assert_int_equal(command_end(&server, SIGTERM, output, sizeof(output)), 0);
	assert_non_null(strstr(output, "1 taken over"));
}

/* Through the proxy to an echo server that cannot get rid of it: the proxy's queues stay within their marks. */
static void a_proxy_queues_no_more_than_its_marks_and_passes_ends_on(void **state)
{
	const size_t bytes = 64000000;
	char *data = make_data(bytes), *back = malloc(bytes), to[32];
	struct command server, proxy;
	size_t sent;
	int fd;

	(void)state;
	snprintf(to, sizeof(to), "localhost:%d",
		 start(&server, (const char *const[]){"examples/echo", NULL}));
	fd = connect_to(start(&proxy, (const char *const[]){"examples/proxy", "--to", to, NULL}), 65536);
	sent = write_until_held_back(fd, data, bytes);
	assert_true(sent > 0 && sent < bytes);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	read_exactly(fd, back, sent);
	assert_memory_equal(data, back, sent);
	expect_end(fd);
	close(fd);
	assert_int_equal(command_end(&proxy, SIGINT, output, sizeof(output)), 0);
	assert_int_equal(number_before(output, "bytes to the upstream"), sent);
	assert_int_equal(number_before(output, " back;"), sent);
	assert_true(number_before(output, "queued") > 0);
	assert_true(number_before(output, "queued") <= 262144 + 65536);
	command_end(&server, SIGTERM, NULL, 0);
	free(data);
	free(back);
}

/* A listening socket for an upstream that the test plays itself, and its address. */
static int listen_as_upstream(char *to, size_t size)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	snprintf(to, size, "127.0.0.1:%d", ntohs(address.sin_port));
	return fd;
}

/* Half of an answer must not pass for the whole. */
static void a_proxy_passes_a_reset_on_as_a_reset(void **state)
{
	const struct linger at_once = {.l_onoff = 1};
	struct command proxy;
	char to[32], bytes[4];
	int listener = listen_as_upstream(to, sizeof(to)), client, upstream;

	(void)state;
	client = connect_to(start(&proxy, (const char *const[]){"examples/proxy", "--to", to, NULL}), 0);
	upstream = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(upstream >= 0);
	assert_int_equal(write(upstream, "half", 4), 4);
	read_exactly(client, bytes, 4);
	assert_int_equal(setsockopt(upstream, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
	close(upstream);
	assert_int_equal(read(client, bytes, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	close(client);
	close(listener);
	assert_int_equal(command_end(&proxy, SIGTERM, output, sizeof(output)), 0);
}

static void a_proxy_without_an_upstream_ends_its_client(void **state)
{
	struct command proxy;
	char byte;
	int fd;

	(void)state;
	fd = connect_to(start(&proxy, (const char *const[]){"examples/proxy", "--to", "127.0.0.1:1", NULL}),
			0);
	assert_true(read(fd, &byte, 1) <= 0);
	close(fd);
	assert_int_equal(command_end(&proxy, SIGTERM, output, sizeof(output)), 0);
	assert_non_null(strstr(output, "Connection refused"));
	assert_int_equal(number_before(output, "failed"), 1);
}

/* One line to all others; then so many that the slow one misses some, and the quick one none. */
static void a_slow_member_of_a_chat_misses_lines_and_holds_up_nobody(void **state)
{
	const int lines = 20000;
	struct command room;
	char line[512], *all;
	size_t line_bytes;
	int port, talker, quick, slow;

	(void)state;
	port = start(&room, (const char *const[]){"examples/chat", NULL});
	slow = connect_to(port, 4096);
	quick = connect_to(port, 0);
	talker = connect_to(port, 0);
	assert_int_equal(write(talker, "hello\n", 6), 6);
	read_exactly(quick, line, 9);
	assert_memory_equal(line, "3: hello\n", 9);
	read_exactly(slow, line, 9);
	assert_memory_equal(line, "3: hello\n", 9);

	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\n';
	line_bytes = sizeof(line) + 3; /* with the member's number */
	all = malloc(line_bytes);
	for (int i = 0; i < lines; i++) {
		assert_int_equal(write(talker, line, sizeof(line)), sizeof(line));
		read_exactly(quick, all, line_bytes);
	}
	free(all);
	all = calloc(1, 16000000);
	/* The word on what it missed may be the last that comes: nothing is waited for behind it. */
	for (size_t len = 0, woken = 0; !strstr(all + (len > 8192 ? len - 8192 : 0), "(you missed ");) {
		ssize_t got;

		if (len >= woken) { /* more to miss, and to wake up for */
			assert_int_equal(write(talker, "y\n", 2), 2);
			woken += 65536;
		}
		assert_true(len + 8192 < 16000000);
		got = read(slow, all + len, 4096);
		if (got <= 0)
			fail_msg("nothing came after %zu bytes: %s", len, got ? strerror(errno) : "end");
		len += (size_t)got;
	}
	free(all);
	close(talker);
	close(quick);
	close(slow);
	assert_int_equal(command_end(&room, SIGTERM, output, sizeof(output)), 0);
	assert_int_equal(number_before(output, "members"), 3);
	assert_true(number_before(output, "not sent to slow readers") > 0);
}

static void half_close_shows_each_end_in_its_order(void **state)
{
	static const char *const moments[] = {
		"sends the request, then its FIN", "read event: the client's FIN", "goes on writing",
		"the answer is complete",          "read event: the server's FIN", "client  both directions",
	};
	const char *at = output;

	(void)state;
	assert_int_equal(command_run((const char *const[]){"examples/half_close", NULL}, output,
				     sizeof(output)),
			 0);
	for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
		at = strstr(at, moments[i]);
		if (!at)
			fail_msg("'%s' is not at its place in: %s", moments[i], output);
	}
}

/* The upstream takes 10 ms, so a blocking call makes some timer of 1 ms wait for nearly that long. */
static void upstream_shows_that_a_blocking_client_makes_others_wait(void **state)
{
	double blocking[4], stream[4];
	unsigned calls[2], failed[2];
	const char *at;

	(void)state;
	assert_int_equal(command_run((const char *const[]){"examples/upstream", "--seconds", "1", NULL},
				     output, sizeof(output)),
			 0);
	at = strstr(output, "\nblocking ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, " blocking %u %u %lf %lf %lf %lf", &calls[0], &failed[0], &blocking[0],
				&blocking[1], &blocking[2], &blocking[3]),
			 6);
	at = strstr(output, "\nstream ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, " stream %u %u %lf %lf %lf %lf", &calls[1], &failed[1], &stream[0],
				&stream[1], &stream[2], &stream[3]),
			 6);
	assert_true(calls[0] > 0 && calls[1] > 0);
	assert_int_equal(failed[0] + failed[1], 0);
	assert_true(blocking[2] > 8.0);
	assert_true(blocking[3] > 8.0 * calls[0] * 2);
}

/* Of 9,900 descriptors, or as many as may be open, one is ready: select is given all, epoll none. */
static void select_epoll_plots_what_each_costs(void **state)
{
	char plot[96], *last;
	double watched, select_ns, poll_ns, epoll_ns;
	FILE *file;

	(void)state;
	snprintf(plot, sizeof(plot), "%s/plot.svg", directory);
	assert_int_equal(command_run((const char *const[]){"examples/select_epoll", "--plot", plot, NULL},
				     output, sizeof(output)),
			 0);
	last = strrchr(output, '\n');
	*last = '\0';
	last = strrchr(output, '\n');
	assert_int_equal(sscanf(last, "%lf %lf %lf %lf", &watched, &select_ns, &poll_ns, &epoll_ns), 4);
	assert_true(watched >= 300);
	assert_true(select_ns > 3 * epoll_ns);
	assert_true(poll_ns > 3 * epoll_ns);
	file = fopen(plot, "r");
	assert_non_null(file);
	output[fread(output, 1, sizeof(output) - 1, file)] = '\0';
	fclose(file);
	unlink(plot);
	assert_non_null(strstr(output, "<svg"));
	assert_non_null(strstr(output, "descriptors watched"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_says_how_it_is_used),
		cmocka_unit_test(echo_holds_back_who_does_not_read_and_sends_all_after_an_end),
		cmocka_unit_test(http_server_holds_back_who_does_not_read_its_answers),
		cmocka_unit_test(loops_hold_back_who_does_not_read_its_answers),
		cmocka_unit_test(loops_end_who_does_nothing),
		cmocka_unit_test(a_proxy_queues_no_more_than_its_marks_and_passes_ends_on),
		cmocka_unit_test(a_proxy_passes_a_reset_on_as_a_reset),
		cmocka_unit_test(a_proxy_without_an_upstream_ends_its_client),
		cmocka_unit_test(a_slow_member_of_a_chat_misses_lines_and_holds_up_nobody),
		cmocka_unit_test(half_close_shows_each_end_in_its_order),
		cmocka_unit_test(upstream_shows_that_a_blocking_client_makes_others_wait),
		cmocka_unit_test(select_epoll_plots_what_each_costs),
	};

	return cmocka_run_group_tests_name("examples", tests, make_directory, remove_directory);
}
