/* SPDX-License-Identifier: MIT */

/*
 * A large program that makes code at run time: its own functions are named by the map that it writes of them, and the
 * recorder stays small, though node's file is not.
 */

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "command.h"
#include "query.h"
#include "server.h"
#include "watching.h"

#define SLOW_ONES     40
#define MEMORY_MAX_KB (64 * 1024)

static struct server server;
static struct command recorder;
static char recording[128];
static int client = -1;

static const char script[] =
	"const http = require('http');\n"
	"function slowHandlerOfMine() {\n"
	"	const start = process.hrtime.bigint();\n"
	"	let sum = 0;\n"
	"	while (process.hrtime.bigint() - start < 5000000n) sum += Math.sqrt(sum + 1);\n"
	"	return sum;\n"
	"}\n"
	"http.createServer((request, response) => {\n"
	"	if (request.url == '/slow') slowHandlerOfMine();\n"
	"	response.end('.');\n"
	"}).listen(@PORT@, '127.0.0.1');\n";

static int set_up(void **state)
{
	(void)state;
	memset(&server, 0, sizeof(server));
	recorder.pid = 0;
	return 0;
}

/* The map of its functions is in /tmp, by its number. */
static int tear_down(void **state)
{
	char map[64];

	(void)state;
	snprintf(map, sizeof(map), "/tmp/perf-%d.map", (int)server.pid);
	if (recorder.pid > 0)
		command_end(&recorder, SIGKILL, NULL, 0);
	if (client >= 0)
		close(client);
	client = -1;
	server_stop(&server);
	unlink(map);
	return 0;
}

static void ask(const char *path, int times)
{
	char request[128];
	int bytes = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path);

	while (times-- > 0)
		server_ask(client, request, (size_t)bytes, "\r\n\r\n.");
}

/* Its own compiler is left to do what it does, but for making one function of two. */
static void start_node(void)
{
	const char *const argv[] = {"/usr/bin/node", "--perf-basic-prof", "--max-inlined-bytecode-size=0",
				    "server.js", NULL};

	watching_or_skip();
	server_prepare(&server);
	server_file(&server, "server.js", script);
	server_start(&server, argv);
	server_go(&server);
	client = server_connect(&server);
	ask("/slow", SLOW_ONES); /* it is compiled once it was seen to be slow */
}

static void start_recording(void)
{
	snprintf(recording, sizeof(recording), "%s/r.stint", server.directory);
	command_record(&recorder, recording, server.pid, (const char *const[]){NULL});
}

static void functions_made_at_run_time_have_their_names(void **state)
{
	(void)state;
	start_node();
	start_recording();
	ask("/slow", SLOW_ONES);
	ask("/", 1); /* once that is answered, the others are over */
	command_record_end(&recorder);
	assert_true(query_number(recording, "SELECT count(*) FROM overrun WHERE duration_ns >= 5000000") >=
		    SLOW_ONES);
	assert_true(query_number(recording, "SELECT count(DISTINCT o.id) FROM overrun o JOIN overrun_frame f"
					    " ON f.overrun = o.id WHERE o.stack_kind = 'computed'"
					    " AND f.name LIKE 'JS:%slowHandlerOfMine%'") >= SLOW_ONES / 4);
}

static long bytes_of_descriptor(const char *path)
{
	FILE *file = fopen(path, "re");
	long bytes = 0;
	char line[256];

	if (!file) /* one that the recorder had for a moment only */
		return 0;
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, "memlock:", 8) == 0)
			bytes = strtol(line + 8, NULL, 10);
	fclose(file);
	return bytes;
}

/* What the kernel holds for its programs and maps. */
static long kernel_kb(void)
{
	char path[64], file[512];
	struct dirent *entry;
	DIR *descriptors;
	long bytes = 0;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)recorder.pid);
	descriptors = opendir(path);
	assert_non_null(descriptors);
	while ((entry = readdir(descriptors))) {
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (*entry->d_name != '.')
			bytes += bytes_of_descriptor(file);
	}
	closedir(descriptors);
	return bytes / 1024;
}

/*
 * Two figures, each with something that the other has not. Resident at most: with the ring and the tables that it has
 * mapped, and with the pages of node's file and of libraries that it looked at, which are the page cache's. And its
 * own: what it allocated, and all that the kernel allocated for it, mapped or not.
 */
static void the_recorder_stays_below_64_mb(void **state)
{
	long resident_kb, own_kb;

	(void)state;
	start_node();
	start_recording();
	for (int round = 0; round < 20; round++) {
		ask("/", 200);
		ask("/slow", 10);
	}
	resident_kb = (long)command_status(&recorder, "VmHWM:", 10);
	own_kb = (long)command_status(&recorder, "RssAnon:", 10) + kernel_kb();
	command_record_end(&recorder);
	printf("at most %ld KB resident; of its own, with the kernel's: %ld KB\n", resident_kb, own_kb);
	assert_true(resident_kb < MEMORY_MAX_KB);
	assert_true(own_kb < MEMORY_MAX_KB);
	assert_true(own_kb > 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(functions_made_at_run_time_have_their_names, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_recorder_stays_below_64_mb, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
