/* SPDX-License-Identifier: MIT */

/* Sources in the background: they are called while the loop runs, and do not keep it running. */

#include "loop_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/wait.h>

static struct stint_loop *loop;
static int pipe_ends[2];
static int calls;

static void on_fd(struct stint_fd *source, uint32_t events, void *ctx)
{
	char byte;

	(void)events;
	(void)ctx;
	calls++;
	(void)!read(stint_fd_descriptor(source), &byte, 1);
}

static void on_timer(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	calls++;
}

static void raise_signal(struct stint_timer *timer, void *ctx)
{
	on_timer(timer, ctx);
	assert_int_equal(raise(SIGUSR1), 0);
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)info;
	(void)ctx;
	calls++;
}

static void on_child(const struct stint_child_exit *exit, void *ctx)
{
	(void)exit;
	(void)ctx;
	calls++;
}

static void on_post(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)ctx;
	if (error == 0)
		calls++;
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	(void)listener;
	(void)peer;
	(void)bytes;
	(void)ctx;
	close(fd);
}

static int open_loop(void **state)
{
	(void)state;
	calls = 0;
	if (pipe2(pipe_ends, O_NONBLOCK | O_CLOEXEC) < 0)
		return -1;
	return stint_loop_new(&loop, NULL);
}

static int close_loop(void **state)
{
	(void)state;
	loop = stint_loop_free(loop);
	close(pipe_ends[0]);
	close(pipe_ends[1]);
	return 0;
}

static void a_descriptor_does_not_keep_the_loop_running(void **state)
{
	struct stint_fd *source;
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_fd_new(&source, loop, pipe_ends[0], STINT_READ, 0, on_fd, NULL), 0);
	assert_int_equal(stint_fd_set_background(source, true), 0);
	assert_int_equal(stint_fd_set_background(source, true), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	/* Something else does, and then it is called. */
	assert_int_equal(write(pipe_ends[1], "x", 1), 1);
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 2);
	/* One that took its place is in the foreground. */
	stint_fd_free(source);
	assert_int_equal(write(pipe_ends[1], "x", 1), 1);
	assert_int_equal(stint_fd_new(&source, loop, pipe_ends[0], STINT_READ, 0, on_fd, NULL), 0);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 3);
}

static void signals_do_not_once_all_are_in_the_background(void **state)
{
	struct stint_signal *first, *second;

	(void)state;
	assert_int_equal(stint_signal_new(&first, loop, SIGUSR1, 0, on_signal, NULL), 0);
	assert_int_equal(stint_signal_set_background(first, true), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(stint_signal_new(&second, loop, SIGUSR2, 0, on_signal, NULL), 0);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0); /* waits: the second keeps it */
	assert_int_equal(calls, 1);
	stint_signal_free(second);
	assert_int_equal(stint_loop_run(loop), 0);
	stint_signal_free(first);
	assert_int_equal(stint_signal_new(&first, loop, SIGUSR1, 0, on_signal, NULL), 0);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 2);
}

static void a_mailbox_does_not_but_its_posts_run(void **state)
{
	struct stint_post post = {.callback = on_post};
	struct stint_mailbox *mailbox;
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	assert_int_equal(stint_mailbox_set_background(mailbox, true), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	assert_int_equal(stint_mailbox_post(mailbox, &post), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 2);
}

/* What is there as the loop would return is still served, and what that leaves behind too. */
static void a_post_that_is_there_keeps_the_loop_running(void **state)
{
	struct stint_post first = {.callback = on_post}, second = {.callback = on_post};
	struct stint_mailbox *mailbox;
	struct stint_signal *signal;
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	assert_int_equal(stint_mailbox_set_background(mailbox, true), 0);
	assert_int_equal(stint_mailbox_post(mailbox, &first), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(stint_mailbox_post(mailbox, &first), 0);
	assert_int_equal(stint_mailbox_post(mailbox, &second), 0);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 3);
	assert_int_equal(stint_signal_new(&signal, loop, SIGUSR1, 0, on_signal, NULL), 0);
	assert_int_equal(stint_signal_set_background(signal, true), 0);
	assert_int_equal(raise(SIGUSR1), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 4);
	/* Nor does one get lost that comes in the last iteration, after its poll. */
	assert_int_equal(stint_timer_new(&timer, loop, 0, raise_signal, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 6);
}

static void a_timer_does_not_but_it_is_due_while_another_keeps_the_loop_running(void **state)
{
	struct stint_timer *behind, *ahead;

	(void)state;
	assert_int_equal(stint_timer_new(&behind, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_set_background(behind, true), 0);
	assert_int_equal(stint_timer_start(behind, 0, 60 * S), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(stint_timer_new(&ahead, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(ahead, 2 * MS, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 2);
	assert_true(stint_timer_due_ns(behind) > 0);
}

static void a_timer_may_change_its_mind_while_it_is_armed(void **state)
{
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	assert_int_equal(stint_timer_set_background(timer, true), 0);
	assert_int_equal(stint_timer_set_background(timer, true), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(stint_timer_set_background(timer, false), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
}

static void what_a_background_timer_counted_for_is_gone_with_it(void **state)
{
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_set_background(timer, true), 0);
	assert_int_equal(stint_timer_start(timer, 60 * S, 0), 0);
	assert_int_equal(stint_timer_start(timer, 30 * S, 0), 0);
	stint_timer_free(timer);
	/* The next one has its memory, and is in the foreground. */
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 2 * MS, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(stint_timer_set_background(NULL, true), -EINVAL);
}

static void on_timeout(struct stint_timeout *timeout, void *ctx)
{
	(void)timeout;
	(void)ctx;
	calls++;
}

static struct stint_timeouts *new_kind(bool background)
{
	struct stint_timeouts *kind;

	assert_int_equal(stint_timeouts_new(&kind, loop, 0, on_timeout, NULL), 0);
	assert_int_equal(stint_timeouts_set_background(kind, background), 0);
	return kind;
}

static void timeouts_of_a_kind_do_not_but_they_are_due(void **state)
{
	struct stint_timeouts *kind = new_kind(true);
	struct stint_timeout far = {0}, near = {0};
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_timeout_start(kind, &far, 60 * S), 0);
	assert_int_equal(stint_timeout_start(kind, &near, MS), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 2 * MS, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 2);
	assert_int_equal(stint_timeout_due_ns(&near), 0);
	assert_true(stint_timeout_due_ns(&far) > 0);
	assert_int_equal(stint_timeouts_set_background(NULL, true), -EINVAL);
	assert_int_equal(stint_timeout_stop(kind, &far), 0); /* its memory is gone before the loop */
}

static void one_that_is_armed_keeps_to_what_it_was_armed_with(void **state)
{
	struct stint_timeouts *behind = new_kind(true), *ahead = new_kind(false);
	struct stint_timeout timeout = {0};

	(void)state;
	assert_int_equal(stint_timeout_start(ahead, &timeout, MS), 0);
	assert_int_equal(stint_timeouts_set_background(ahead, true), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	/* From one kind to another, and back. */
	assert_int_equal(stint_timeouts_set_background(ahead, false), 0);
	assert_int_equal(stint_timeout_start(behind, &timeout, MS), 0);
	assert_int_equal(stint_timeout_start(ahead, &timeout, MS), 0);
	assert_int_equal(stint_timeout_start(behind, &timeout, 60 * S), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(stint_timeout_start(ahead, &timeout, MS), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 2);
}

static void what_background_timeouts_counted_for_is_gone_with_them(void **state)
{
	struct stint_timeouts *behind = new_kind(true), *ahead = new_kind(false);
	struct stint_timeout timeouts[3] = {0};

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(stint_timeout_start(behind, &timeouts[i], 60 * S), 0);
	assert_int_equal(stint_timeout_stop(behind, &timeouts[0]), 0);
	stint_timeouts_free(behind);
	assert_int_equal(stint_timeout_start(ahead, &timeouts[2], MS), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
}

static void a_child_and_a_listener_do_not(void **state)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct stint_listener *listener;
	struct stint_child *child;
	pid_t pid;

	(void)state;
	fixture_skip_without_pidfds();
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(stint_child_new(&child, loop, pid, 0, on_child, NULL), 0);
	assert_int_equal(stint_child_set_background(child, true), 0);
	assert_int_equal(stint_listener_new(&listener, loop, (const struct sockaddr *)&any, sizeof(any), NULL,
					    0, on_accept, NULL),
			 0);
	assert_int_equal(stint_listener_set_background(listener, true), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(stint_child_set_background(child, false), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
}

static void an_iteration_of_an_empty_loop_returns_at_once(void **state)
{
	(void)state;
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_descriptor_does_not_keep_the_loop_running),
		TEST(signals_do_not_once_all_are_in_the_background),
		TEST(a_mailbox_does_not_but_its_posts_run),
		TEST(a_post_that_is_there_keeps_the_loop_running),
		TEST(a_timer_does_not_but_it_is_due_while_another_keeps_the_loop_running),
		TEST(a_timer_may_change_its_mind_while_it_is_armed),
		TEST(what_a_background_timer_counted_for_is_gone_with_it),
		TEST(timeouts_of_a_kind_do_not_but_they_are_due),
		TEST(one_that_is_armed_keeps_to_what_it_was_armed_with),
		TEST(what_background_timeouts_counted_for_is_gone_with_them),
		TEST(a_child_and_a_listener_do_not),
		TEST(an_iteration_of_an_empty_loop_returns_at_once),
	};

	return cmocka_run_group_tests_name("background", tests, fixture_make_directory,
					   fixture_remove_directory);
}
