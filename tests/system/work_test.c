/* SPDX-License-Identifier: MIT */

/* The examples on long work and on files, run as a person would, and what a recording says of them. */

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "query.h"

#define CHUNK 65536u
#define BYTES (40u << 20)
#define SMALL 1000u

static char directory[64], root[80], recording[96];
static uint8_t *content;

static void below(char *ret, size_t size, const char *name)
{
	snprintf(ret, size, "%s/%s", root, name);
}

/* Of so much of the content. */
static bool make_file(const char *name, size_t bytes)
{
	char path[128];
	ssize_t written;
	int fd;

	below(path, sizeof(path), name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	written = write(fd, content, bytes);
	close(fd);
	return written == (ssize_t)bytes;
}

static int make_files(void **state)
{
	char path[128];

	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/stint-test-XXXXXX");
	if (!mkdtemp(directory) || setenv("STINT_DIR", directory, 1) != 0)
		return -1;
	snprintf(recording, sizeof(recording), "%s/r.stint", directory);
	snprintf(root, sizeof(root), "%s/root", directory);
	content = malloc(BYTES);
	if (!content || mkdir(root, 0700) != 0)
		return -1;
	for (uint32_t i = 0; i < BYTES; i++)
		content[i] = (uint8_t)(i * 2654435761u >> 15);
	if (!make_file("file", BYTES) || !make_file("small", SMALL) || !make_file("empty", 0))
		return -1;
	below(path, sizeof(path), "outside");
	return symlink("/etc/hostname", path);
}

static int remove_files(void **state)
{
	static const char *const names[] = {"file", "small", "empty", "outside"};
	char path[128];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		below(path, sizeof(path), names[i]);
		unlink(path);
	}
	unlink(recording);
	free(content);
	return rmdir(root) + rmdir(directory);
}

/* ---- a client ---- */

static void start_server_of(struct command *server, int *port, const char *of, const char *option)
{
	char line[128];

	command_start(server, (const char *const[]){"examples/file_server", of, option, NULL});
	command_line(server, "listening on ", line, sizeof(line));
	*port = atoi(strrchr(line, ':') + 1);
}

static void start_server(struct command *server, int *port, const char *option)
{
	start_server_of(server, port, root, option);
}

static int ask(int port, const char *request)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct timeval limit = {.tv_sec =
					      60}; /* who answers nothing has failed, and is not waited for */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	return fd;
}

/* The head of an answer, without reading further. */
static void read_head(int fd, char *head, size_t size)
{
	size_t bytes = 0;

	head[0] = '\0';
	while (!strstr(head, "\r\n\r\n")) {
		assert_true(bytes + 1 < size);
		assert_int_equal(recv(fd, head + bytes, 1, 0), 1);
		head[++bytes] = '\0';
	}
}

static void expect_head(int fd, const char *status, unsigned long long bytes)
{
	char head[512], length[64];

	read_head(fd, head, sizeof(head));
	assert_non_null(strstr(head, status));
	snprintf(length, sizeof(length), "Content-Length: %llu\r\n", bytes);
	assert_non_null(strstr(head, length));
}

static void expect_content(int fd)
{
	uint8_t *answer = malloc(BYTES);

	assert_non_null(answer);
	assert_int_equal(recv(fd, answer, BYTES, MSG_WAITALL), BYTES);
	assert_memory_equal(answer, content, BYTES);
	free(answer);
}

/* ---- the file server ---- */

static void a_file_arrives_whole_and_its_chunks_are_counted(void **state)
{
	struct command server, recorder;
	char line[256], pid[16], report[65536];
	int port, fd;

	(void)state;
	start_server(&server, &port, NULL);
	snprintf(pid, sizeof(pid), "%d", (int)server.pid);
	command_start(&recorder, (const char *const[]){"stint", "record", "--no-probes", "-o", recording,
						       "-p", pid, NULL});
	command_line(&recorder, "recording into", line, sizeof(line));
	/* Two in one connection, asked for at once. */
	fd = ask(port, "GET /file HTTP/1.1\r\n\r\nGET /file HTTP/1.1\r\n\r\n");
	for (int i = 0; i < 2; i++) {
		expect_head(fd, "200 OK", BYTES);
		expect_content(fd);
	}
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
	assert_int_equal(command_end(&recorder, 0, NULL, 0), 0);
	/* A chunk may come in two pieces where the page cache has only its beginning. */
	assert_true(query_number(recording,
				 "SELECT sum(count) FROM handler_count c JOIN handler h ON h.id = "
				 "c.handler WHERE h.name = 'http.file' AND c.name LIKE 'file_reads_%'") >=
		    2 * BYTES / CHUNK);
	assert_int_equal(command_run((const char *const[]){"stint", "report", recording, NULL}, report,
				     sizeof(report)),
			 0);
	command_unwrap(report);
	assert_non_null(strstr(report, "Offloaded work"));
	assert_non_null(strstr(report, "chunks of files"));
}

static void a_file_arrives_whole_by_sendfile_too(void **state)
{
	struct command server;
	int port, fd;

	(void)state;
	start_server(&server, &port, "--send-file");
	fd = ask(port, "GET /file HTTP/1.1\r\n\r\n");
	expect_head(fd, "200 OK", BYTES);
	expect_content(fd);
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
}

/* Segments with data that have come, as the kernel counts them; the loopback device joins none. */
static uint32_t segments_of(int fd)
{
	struct tcp_info info = {0};
	socklen_t bytes = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes), 0);
	return info.tcpi_data_segs_in;
}

static void expect_one_segment_an_answer(const char *option)
{
	uint8_t answer[SMALL];
	struct command server;
	int port, fd;

	start_server(&server, &port, option);
	fd = ask(port, "GET /small HTTP/1.1\r\n\r\n");
	for (uint32_t answers = 1; answers <= 3; answers++) {
		expect_head(fd, "200 OK", SMALL);
		assert_int_equal(recv(fd, answer, SMALL, MSG_WAITALL), SMALL);
		assert_memory_equal(answer, content, SMALL);
		assert_int_equal(segments_of(fd), answers);
		if (answers < 3)
			assert_int_equal(send(fd, "GET /small HTTP/1.1\r\n\r\n", 23, 0), 23);
	}
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
}

static void a_small_file_and_its_head_are_one_segment(void **state)
{
	(void)state;
	expect_one_segment_an_answer(NULL);
	expect_one_segment_an_answer("--send-file");
}

static unsigned long long bytes_read_by(pid_t pid)
{
	unsigned long long bytes = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/io", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "rchar: %llu", &bytes), 1);
	fclose(file);
	return bytes;
}

/* Until the server has read nothing for a while. */
static unsigned long long stalled_at(pid_t pid)
{
	unsigned long long before, now = bytes_read_by(pid);

	do {
		before = now;
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		now = bytes_read_by(pid);
	} while (now != before);
	return now;
}

/* What the peer does not take stays on the disk: only the socket's buffers and the queue are filled. */
static void a_slow_peer_holds_the_reader_back(void **state)
{
	struct command server;
	int port, fd;

	(void)state;
	start_server(&server, &port, NULL);
	fd = ask(port, "GET /file HTTP/1.1\r\n\r\n");
	expect_head(fd, "200 OK", BYTES);
	assert_true(stalled_at(server.pid) < BYTES / 2);
	expect_content(fd);
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
}

static int descriptors_of(pid_t pid)
{
	struct dirent *entry;
	char path[64];
	DIR *listing;
	int count = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	listing = opendir(path);
	assert_non_null(listing);
	while ((entry = readdir(listing)))
		count += entry->d_name[0] != '.';
	closedir(listing);
	return count;
}

static void peers_that_leave_in_the_middle_leave_nothing_behind(void **state)
{
	struct command server;
	int port, fd, before;

	(void)state;
	start_server(&server, &port, NULL);
	before = descriptors_of(server.pid);
	for (int i = 0; i < 30; i++) {
		fd = ask(port, "GET /file HTTP/1.1\r\n\r\n");
		expect_head(fd, "200 OK", BYTES);
		close(fd);
	}
	while (descriptors_of(server.pid) > before) /* for ever, if it leaks */
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
}

/* However many it asks for at once: what is sent by the kernel needs its descriptor until then. */
static void a_slow_peer_holds_one_file_open_when_it_goes_by_sendfile(void **state)
{
	char requests[1024] = "";
	struct command server;
	int port, slow, other, before;

	(void)state;
	start_server(&server, &port, "--send-file");
	before = descriptors_of(server.pid);
	for (int i = 0; i < 20; i++)
		strcat(requests, "GET /file HTTP/1.1\r\n\r\n");
	slow = ask(port, requests);
	read_head(slow, requests, sizeof(requests));
	/* Whoever is answered after it finds that dispatch over. */
	other = ask(port, "HEAD /nothing HTTP/1.1\r\n\r\n");
	read_head(other, requests, sizeof(requests));
	assert_int_equal(descriptors_of(server.pid), before + 3); /* two connections and the file */
	expect_content(slow);
	for (int i = 1; i < 3; i++) {
		expect_head(slow, "200 OK", BYTES);
		expect_content(slow);
	}
	close(slow);
	close(other);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
}

/* Whether it asks for nothing, for half of something, or for nothing more. */
static void who_does_nothing_is_ended(void **state)
{
	static const char *const requests[] = {"", "GET /fi", "GET /empty HTTP/1.1\r\n\r\n"};
	struct command server;
	int port, fds[3], before;
	char head[512];

	(void)state;
	start_server(&server, &port, "--idle=1");
	before = descriptors_of(server.pid);
	for (int i = 0; i < 3; i++)
		fds[i] = ask(port, requests[i]);
	read_head(fds[2], head, sizeof(head));
	for (int i = 0; i < 3; i++)
		assert_int_equal(recv(fds[i], head, 1, 0), 0);
	while (descriptors_of(server.pid) > before) /* for ever, if it keeps one */
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
}

static void only_files_below_the_directory_are_served(void **state)
{
	static const char *const refused[] = {"/../r.stint", "/outside", "/", "//etc/hostname", "/none"};
	struct command server;
	int port, fd;

	(void)state;
	start_server(&server, &port, NULL);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		char request[128];

		snprintf(request, sizeof(request), "HEAD %s HTTP/1.1\r\n\r\n", refused[i]);
		fd = ask(port, request);
		expect_head(fd, "404 Not Found", strlen("no such file\n"));
		close(fd);
	}
	fd = ask(port, "GET /empty HTTP/1.1\r\n\r\n");
	expect_head(fd, "200 OK", 0);
	close(fd);
	fd = ask(port, "POST /file HTTP/1.1\r\n\r\n");
	expect_head(fd, "405 Method Not Allowed", 0);
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
}

/* Its size is known, and reading it fails: nothing was promised by then. */
static void a_file_that_cannot_be_read_is_answered_with_an_error(void **state)
{
	static const char lo[] = "/sys/devices/virtual/net/lo";
	struct command server;
	int fd, port;
	char byte;

	(void)state;
	if (access("/sys/devices/virtual/net/lo/speed", R_OK) != 0) {
		print_message("skipped: there is no %s/speed here\n", lo);
		skip();
	}
	start_server_of(&server, &port, lo, NULL);
	fd = ask(port, "GET /speed HTTP/1.1\r\n\r\n");
	expect_head(fd, "500 Internal Server Error", 0);
	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
	assert_int_equal(command_end(&server, SIGTERM, NULL, 0), 0);
}

/* ---- long work ---- */

struct row {
	double took_s, cpu_s, p50_ms, p99_ms, longest_ms;
	unsigned long long primes, requests;
};

static void parse_row(const char *output, const char *name, struct row *row)
{
	const char *line = strstr(output, name);

	assert_non_null(line);
	assert_int_equal(sscanf(line + strlen(name), "%lf %lf %llu %llu %lf %lf %lf", &row->took_s,
				&row->cpu_s, &row->primes, &row->requests, &row->p50_ms, &row->p99_ms,
				&row->longest_ms),
			 7);
}

static int64_t jobs_with(const char *metric)
{
	char sql[256];

	snprintf(sql, sizeof(sql),
		 "SELECT sum(t.count) FROM total t JOIN handler h ON h.id = t.handler "
		 "WHERE h.name = 'primes.job' AND t.metric = '%s'",
		 metric);
	return query_number(recording, sql);
}

static void long_work_has_one_result_in_three_ways_and_its_jobs_are_recorded(void **state)
{
	char output[8192], program[128], report[65536];
	struct row handler, slices, offloaded;

	(void)state;
	snprintf(program, sizeof(program), "%s/examples/long_work", BUILD_DIRECTORY);
	assert_int_equal(command_run((const char *const[]){"stint", "record", "--no-probes", "-o", recording,
							   "--", program, "--tasks", "5", "--work", "40",
							   NULL},
				     output, sizeof(output)),
			 0);
	parse_row(output, "in the handler", &handler);
	parse_row(output, "in slices", &slices);
	parse_row(output, "offloaded", &offloaded);
	assert_true(handler.primes > 0);
	assert_int_equal(handler.primes, slices.primes);
	assert_int_equal(handler.primes, offloaded.primes);
	/* Of the requests that came during a task, half waited for more than half of it. Rounded: to 10 ms, all five. */
	assert_true(handler.requests > 0 && handler.took_s > 0);
	assert_true(handler.p99_ms >= (handler.took_s * 1000 - 5) / 5 / 2);
	assert_int_equal(jobs_with("work_queue"), 5);
	assert_int_equal(jobs_with("work_run"), 5);
	assert_int_equal(jobs_with("work_return"), 5);
	assert_int_equal(command_run((const char *const[]){"stint", "report", "--json", recording, NULL},
				     report, sizeof(report)),
			 0);
	assert_non_null(strstr(report, "\"work_run\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_arrives_whole_and_its_chunks_are_counted),
		cmocka_unit_test(a_file_arrives_whole_by_sendfile_too),
		cmocka_unit_test(a_small_file_and_its_head_are_one_segment),
		cmocka_unit_test(a_slow_peer_holds_the_reader_back),
		cmocka_unit_test(peers_that_leave_in_the_middle_leave_nothing_behind),
		cmocka_unit_test(a_slow_peer_holds_one_file_open_when_it_goes_by_sendfile),
		cmocka_unit_test(who_does_nothing_is_ended),
		cmocka_unit_test(only_files_below_the_directory_are_served),
		cmocka_unit_test(a_file_that_cannot_be_read_is_answered_with_an_error),
		cmocka_unit_test(long_work_has_one_result_in_three_ways_and_its_jobs_are_recorded),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
