/* SPDX-License-Identifier: MIT */
#include "command.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void find_program(char *ret, size_t size, const char *name)
{
	if (access(name, X_OK) == 0 || !strcmp(name, "sh") || name[0] == '/')
		snprintf(ret, size, "%s", name);
	else
		snprintf(ret, size, "%s/%s", BUILD_DIRECTORY, name);
	if (access(ret, X_OK) != 0)
		snprintf(ret, size, "%s", name);
}

void command_start(struct command *command, const char *const argv[])
{
	char program[512];
	int output[2];

	find_program(program, sizeof(program), argv[0]);
	assert_int_equal(pipe2(output, O_CLOEXEC), 0);
	command->pid = fork();
	assert_true(command->pid >= 0);
	if (command->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(output[1], STDOUT_FILENO);
		dup2(output[1], STDERR_FILENO);
		execvp(program, (char *const *)(uintptr_t)argv);
		dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
		_exit(127);
	}
	close(output[1]);
	command->out = output[0];
}

/* Byte by byte, so that nothing of the next line is taken. */
static bool read_line(int fd, char *ret, size_t size)
{
	size_t len = 0;
	ssize_t taken;
	char byte;

	while ((taken = read(fd, &byte, 1)) != 0) {
		if (taken < 0 && errno == EINTR)
			continue;
		if (taken < 0 || byte == '\n')
			break;
		if (len + 1 < size)
			ret[len++] = byte;
	}
	ret[len] = '\0';
	return taken > 0;
}

void command_line(struct command *command, const char *text, char *ret, size_t size)
{
	do {
		if (!read_line(command->out, ret, size))
			fail_msg("the output ended without '%s'", text);
	} while (!strstr(ret, text));
}

int command_end(struct command *command, int signal, char *output, size_t size)
{
	size_t len = 0;
	char scrap[4096];
	ssize_t taken;
	int status;

	if (signal)
		kill(command->pid, signal);
	for (;;) {
		bool keep = output && len + 1 < size;

		taken = read(command->out, keep ? output + len : scrap,
			     keep ? size - 1 - len : sizeof(scrap));
		if (taken < 0 && errno == EINTR)
			continue;
		if (taken <= 0)
			break;
		if (keep)
			len += (size_t)taken;
	}
	if (output)
		output[len] = '\0';
	close(command->out);
	assert_int_equal(waitpid(command->pid, &status, 0), command->pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int command_run(const char *const argv[], char *output, size_t size)
{
	struct command command;

	command_start(&command, argv);
	return command_end(&command, 0, output, size);
}

uint64_t command_status(const struct command *command, const char *key, int base)
{
	char path[64], line[256];
	bool found = false;
	uint64_t number = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)command->pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file)) {
		found = strncmp(line, key, strlen(key)) == 0;
		if (found)
			number = strtoull(line + strlen(key), NULL, base);
	}
	fclose(file);
	assert_true(found);
	return number;
}

void command_record(struct command *recorder, const char *recording, pid_t pid, const char *const *options)
{
	const char *argv[32] = {"stint", "record", "-o", recording};
	char number[16], line[512];
	size_t len = 4;

	snprintf(number, sizeof(number), "%d", (int)pid);
	if (pid) {
		argv[len++] = "-p";
		argv[len++] = number;
	}
	while (*options) {
		assert_true(len + 1 < sizeof(argv) / sizeof(argv[0]));
		argv[len++] = *options++;
	}
	command_start(recorder, argv);
	command_line(recorder, "recording into", line, sizeof(line));
}

void command_record_end(struct command *recorder)
{
	char output[4096];
	int status = command_end(recorder, SIGINT, output, sizeof(output));

	recorder->pid = 0;
	if (status != 0)
		print_error("%s", output);
	assert_int_equal(status, 0);
}

void command_unwrap(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++)
		if ((*from != ' ' && *from != '\n') || (to > text && to[-1] != ' '))
			*to++ = *from == '\n' ? ' ' : *from;
	*to = '\0';
}
