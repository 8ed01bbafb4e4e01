/* SPDX-License-Identifier: MIT */
#ifndef COMMAND_H
#define COMMAND_H

/* Programs of the build that a test runs, with what they print. All end with the test, however that ends. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct command {
	pid_t pid;
	int out; /* its standard output and standard error, read by command_wait() and command_line() */
};

/*
 * Starts argv[0], a path below the build's directory ("stint", "examples/http_server") or, with a leading slash or
 * without any, a program of the system. Fails the test if it cannot.
 */
void command_start(struct command *command, const char *const argv[]);

/* Waits for a line that has `text` in it, and copies it. Fails the test if the output ends before. */
void command_line(struct command *command, const char *text, char *ret, size_t size);

/* Sends a signal (0: none), and waits for the end. Returns the exit status, or -SIGNAL if one ended it. */
int command_end(struct command *command, int signal, char *output, size_t size);

/* Starts, waits for the end, returns the exit status. */
int command_run(const char *const argv[], char *output, size_t size);

/*
 * Starts `stint record -o recording -p pid` with more options, a list that ends with NULL, and returns once it
 * records. `pid` 0: they say what to record. At its end it has succeeded, or the test has failed.
 */
void command_record(struct command *recorder, const char *recording, pid_t pid, const char *const *options);
void command_record_end(struct command *recorder);

/* A report's lines are broken anywhere: one blank for any number of blanks and ends of lines. */
void command_unwrap(char *text);

/* A number of /proc/PID/status by its key ("VmHWM:"), in that base. Fails the test if it is not there. */
uint64_t command_status(const struct command *command, const char *key, int base);

#endif
