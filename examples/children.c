/* SPDX-License-Identifier: MIT */

/*
 * Runs commands side by side, each within a time limit, and tells how each ended.
 *
 *	children [--timeout SECONDS] [--lines] COMMAND...
 *	children --timeout 2 'exit 3' 'sleep 100' 'kill -9 $$'
 *
 * A command is given to /bin/sh. One that is still there after its time gets SIGTERM, and a second later SIGKILL. SIGINT
 * and SIGTERM end all of them that way. No SIGCHLD is involved, and no child of anybody else is waited for.
 *
 * With --lines, what commands print comes through a pipe of each, which is a stream here, and is printed line by line with
 * the number of the command. A command's end is then told when its output has ended, too; the time that it took is its own.
 * Its output may be held open by what it has left behind in the background; it is given up when the time is over, or by a
 * signal.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* environ, pipe2() */
#endif

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>
#include <unistd.h>

#define GRACE_NS   UINT64_C(1000000000)
#define LINE_BYTES 4096u

struct command {
	char *text;
	struct stint_child *child; /* NULL: not started, or ended */
	struct stint_timer *timer;
	uint64_t start_ns, end_ns;
	int signal; /* what it was sent last */
	bool ended;
	struct stint_child_exit end;
	struct stint_stream *output; /* NULL: not ours to print, or ended */
	size_t bytes;
	char line[LINE_BYTES];
};

static struct stint_loop *loop;
static struct command *commands;
static int command_count, running, failed;
static uint64_t timeout_ns = UINT64_C(10000000000);
static bool by_lines;
static uint32_t end_handler, timeout_handler, output_handler;
static struct stint_signal *interrupt, *terminate;

/* Whoever still writes to it is no child of ours. It is told of by on_output_closed(). */
static void give_up_output(struct command *command)
{
	if (!command->output)
		return;
	fprintf(stderr, "children: still open, and given up: the output of %s\n", command->text);
	stint_stream_close(command->output);
}

static void end_command(struct command *command, int signal)
{
	if (!command->child) {
		give_up_output(command);
		return;
	}
	command->signal = signal;
	stint_child_kill(command->child, signal);
	stint_timer_start(command->timer, GRACE_NS, 0);
}

static void on_timeout(struct stint_timer *timer, void *ctx)
{
	struct command *command = ctx;

	(void)timer;
	end_command(command, command->signal ? SIGKILL : SIGTERM);
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)info;
	(void)ctx;
	for (int i = 0; i < command_count; i++)
		end_command(&commands[i], SIGTERM);
}

static void print_end(const struct command *command, const struct stint_child_exit *end)
{
	double seconds = (double)(command->end_ns - command->start_ns) / 1e9;

	if (end->error < 0)
		printf("unknown: %s", strerror(-end->error));
	else if (end->signalled)
		printf("signal %d (%s)%s", end->status, strsignal(end->status),
		       command->signal ? ", ours" : "");
	else
		printf("exit %d", end->status);
	printf(" after %.3f s, CPU %.3f s, %llu kB: %s\n", seconds,
	       (double)(end->user_ns + end->system_ns) / 1e9, (unsigned long long)end->max_rss_bytes / 1024,
	       command->text);
	fflush(stdout);
}

/* The loop returns when nothing is left that could call back: the timer and, with the last command, the signals. */
static void finish(struct command *command)
{
	const struct stint_child_exit *end = &command->end;

	if (!command->ended || command->output)
		return;
	command->timer = stint_timer_free(command->timer);
	print_end(command, end);
	if (end->error < 0 || end->signalled || end->status != 0)
		failed++;
	if (--running > 0)
		return;
	interrupt = stint_signal_free(interrupt);
	terminate = stint_signal_free(terminate);
}

static void on_end(const struct stint_child_exit *end, void *ctx)
{
	struct command *command = ctx;

	command->child = NULL;
	command->end_ns = stint_loop_now_ns(loop);
	command->end = *end;
	command->ended = true;
	finish(command);
}

/* ---- what it prints ---- */

static void print_line(struct command *command)
{
	printf("%d: %.*s\n", (int)(command - commands) + 1, (int)command->bytes, command->line);
	fflush(stdout);
	command->bytes = 0;
}

static void on_output(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct command *command = ctx;
	const char *from = data;

	(void)stream;
	for (size_t i = 0; i < bytes; i++) {
		if (from[i] != '\n')
			command->line[command->bytes++] = from[i];
		if (from[i] == '\n' || command->bytes == LINE_BYTES)
			print_line(command);
	}
}

static void on_output_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct command *command = ctx;

	(void)stream;
	if (error < 0)
		fprintf(stderr, "children: the output of %s: %s\n", command->text, strerror(-error));
	if (command->bytes)
		print_line(command);
	command->output = NULL;
	finish(command);
}

/* The reading end is ours, and does not block; the other one is the command's, which expects to wait for room. */
static int open_output(struct command *command, posix_spawn_file_actions_t *actions, int *theirs)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_output,
								.closed = on_output_closed};
	int ends[2], error;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	*theirs = ends[1];
	error = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (error == 0)
		error = stint_stream_new(&command->output, loop, ends[0], NULL, output_handler, &callbacks,
					 command);
	if (error < 0)
		close(ends[0]);
	if (error == 0)
		error = -posix_spawn_file_actions_adddup2(actions, ends[1], STDOUT_FILENO);
	if (error == 0)
		error = -posix_spawn_file_actions_adddup2(actions, ends[1], STDERR_FILENO);
	return error;
}

static int spawn(struct command *command, pid_t *ret)
{
	char shell[] = "sh", option[] = "-c";
	char *const argv[] = {shell, option, command->text, NULL};
	posix_spawn_file_actions_t actions;
	int theirs = -1, error = -posix_spawn_file_actions_init(&actions);

	if (error < 0)
		return error;
	if (by_lines)
		error = open_output(command, &actions, &theirs);
	if (error == 0)
		error = -posix_spawn(ret, "/bin/sh", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (theirs >= 0)
		close(theirs);
	return error;
}

static int start(struct command *command)
{
	int error = stint_timer_new(&command->timer, loop, timeout_handler, on_timeout, command);
	pid_t pid;

	if (error == 0)
		error = spawn(command, &pid);
	if (error < 0)
		return error;
	command->start_ns = stint_loop_now_ns(loop);
	running++;
	error = stint_child_new(&command->child, loop, pid, end_handler, on_end, command);
	if (error < 0)
		return error;
	return stint_timer_start(command->timer, timeout_ns, 0);
}

static int run(void)
{
	uint32_t signal_handler = (uint32_t)stint_loop_handler(loop, "signal", 0);
	int error;

	end_handler = (uint32_t)stint_loop_handler(loop, "child.end", 0);
	timeout_handler = (uint32_t)stint_loop_handler(loop, "child.timeout", 0);
	output_handler = (uint32_t)stint_loop_handler(loop, "child.output", 0);
	error = stint_signal_new(&interrupt, loop, SIGINT, signal_handler, on_signal, NULL);

	if (error == 0)
		error = stint_signal_new(&terminate, loop, SIGTERM, signal_handler, on_signal, NULL);
	for (int i = 0; i < command_count && error == 0; i++)
		error = start(&commands[i]);
	return error < 0 ? error : stint_loop_run(loop);
}

static const char usage[] =
	"usage: children [--timeout SECONDS] [--lines] COMMAND...\n"
	"\n"
	"Runs shell commands side by side, and tells how each ended, when, and what it used.\n"
	"\n"
	"  --timeout SECONDS   what each command may take (10); then it gets SIGTERM, a second\n"
	"                      later SIGKILL\n"
	"  --lines             what commands print, line by line, after the command's number\n"
	"  --help              this text\n"
	"\n"
	"Exit status: 0 if all commands exited with 0, 1 if not, 2 for wrong arguments.\n";

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, 't'},
		{"lines", no_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	double seconds;
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "+t:lh", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			exit(0);
		}
		if (option == 'l') {
			by_lines = true;
			continue;
		}
		seconds = option == 't' ? strtod(optarg, &end) : 0;
		if (option == 't' && *optarg && !*end && seconds > 0 && seconds <= 86400) {
			timeout_ns = (uint64_t)(seconds * 1e9);
			continue;
		}
		if (option == 't')
			fprintf(stderr, "children: --timeout: not a number above 0 and up to 86400: %s\n",
				optarg);
		else
			fputs(usage, stderr);
		exit(2);
	}
	if (optind == argc) {
		fputs(usage, stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	int error;

	parse(argc, argv);
	command_count = argc - optind;
	commands = calloc((size_t)command_count, sizeof(*commands));
	error = commands ? stint_loop_new(&loop, NULL) : -ENOMEM;
	for (int i = 0; i < command_count && commands; i++)
		commands[i].text = argv[optind + i];
	if (error == 0)
		error = run();
	stint_loop_free(loop);
	free(commands);
	if (error < 0)
		fprintf(stderr, "children: %s\n", strerror(-error));
	return error < 0 || failed > 0;
}
