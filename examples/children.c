/* SPDX-License-Identifier: MIT */

/*
 * Runs commands side by side, each within a time limit, and tells how each ended.
 *
 *	children [--timeout SECONDS] COMMAND...
 *	children --timeout 2 'exit 3' 'sleep 100' 'kill -9 $$'
 *
 * A command is given to /bin/sh. One that is still there after its time gets SIGTERM, and a second later SIGKILL. SIGINT
 * and SIGTERM end all of them that way. No SIGCHLD is involved, and no child of anybody else is waited for.
 */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <stint/stint.h>
#include <string.h>

#define GRACE_NS UINT64_C(1000000000)

struct command {
	char *text;
	struct stint_child *child; /* NULL: not started, or ended */
	struct stint_timer *timer;
	uint64_t start_ns;
	int signal; /* what it was sent last */
};

static struct stint_loop *loop;
static struct command *commands;
static int command_count, running, failed;
static uint64_t timeout_ns = UINT64_C(10000000000);
static struct stint_signal *interrupt, *terminate;

static void end_command(struct command *command, int signal)
{
	if (!command->child)
		return;
	command->signal = signal;
	stint_child_kill(command->child, signal);
	if (signal != SIGKILL)
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
	double seconds = (double)(stint_loop_now_ns(loop) - command->start_ns) / 1e9;

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
static void on_end(const struct stint_child_exit *end, void *ctx)
{
	struct command *command = ctx;

	command->child = NULL;
	command->timer = stint_timer_free(command->timer);
	print_end(command, end);
	if (end->error < 0 || end->signalled || end->status != 0)
		failed++;
	if (--running > 0)
		return;
	interrupt = stint_signal_free(interrupt);
	terminate = stint_signal_free(terminate);
}

static int start(struct command *command, uint32_t end_handler, uint32_t timeout_handler)
{
	char shell[] = "sh", option[] = "-c";
	char *const argv[] = {shell, option, command->text, NULL};
	int error = stint_timer_new(&command->timer, loop, timeout_handler, on_timeout, command);
	pid_t pid;

	if (error < 0)
		return error;
	error = -posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ);
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
	uint32_t end_handler = (uint32_t)stint_loop_handler(loop, "child.end", 0);
	uint32_t timeout_handler = (uint32_t)stint_loop_handler(loop, "child.timeout", 0);
	uint32_t signal_handler = (uint32_t)stint_loop_handler(loop, "signal", 0);
	int error = stint_signal_new(&interrupt, loop, SIGINT, signal_handler, on_signal, NULL);

	if (error == 0)
		error = stint_signal_new(&terminate, loop, SIGTERM, signal_handler, on_signal, NULL);
	for (int i = 0; i < command_count && error == 0; i++)
		error = start(&commands[i], end_handler, timeout_handler);
	return error < 0 ? error : stint_loop_run(loop);
}

static const char usage[] =
	"usage: children [--timeout SECONDS] COMMAND...\n"
	"\n"
	"Runs shell commands side by side, and tells how each ended, when, and what it used.\n"
	"\n"
	"  --timeout SECONDS   what each command may take (10); then it gets SIGTERM, a second\n"
	"                      later SIGKILL\n"
	"  --help              this text\n"
	"\n"
	"Exit status: 0 if all commands exited with 0, 1 if not, 2 for wrong arguments.\n";

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"timeout", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	double seconds;
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "+t:h", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			exit(0);
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
