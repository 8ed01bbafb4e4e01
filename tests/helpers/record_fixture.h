/* SPDX-License-Identifier: MIT */
#ifndef RECORD_FIXTURE_H
#define RECORD_FIXTURE_H

/* What the tests of `stint record` share: a folder of their own, and a server to record. */

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
#include "directory_fixture.h"

static int remove_recording(void **state)
{
	char journal[128];

	(void)state;
	snprintf(journal, sizeof(journal), "%s-journal", recording);
	unlink(journal);
	unlink(recording);
	return 0;
}

/* A server of the examples, and its pid as text. */
struct server {
	struct command command;
	char pid[16];
	char url[64];
};

static void start_server(struct server *server)
{
	const char *const argv[] = {"examples/http_server", "--port", "0", "--every", "1", NULL};
	char line[128];

	command_start(&server->command, argv);
	command_line(&server->command, "listening on ", line, sizeof(line));
	snprintf(server->url, sizeof(server->url), "%s", strrchr(line, ' ') + 1);
	snprintf(server->pid, sizeof(server->pid), "%d", (int)server->command.pid);
}

static void end_server(struct server *server)
{
	command_end(&server->command, SIGTERM, NULL, 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, remove_recording)

#endif
