/* SPDX-License-Identifier: MIT */

/*
 * The contract of stint_loop_run(), sentence by sentence: each source writes its letter into one string.
 *
 *	f descriptor   c child   t timer   j job   d deferred   p post   s signal   l slice   i idle
 */

#include "metered_fixture.h"
#include "refused_call.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

static char order[64];
static int fds[2];

static int open_loop(void **state)
{
	(void)state;
	memset(order, 0, sizeof(order));
	return pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0 ? -1 : fixture_open_loop();
}

static int close_loop(void **state)
{
	fixture_close_loop(state);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

static void note(const char *letter)
{
	assert_true(strlen(order) + 1 < sizeof(order));
	strcat(order, letter);
}

static void on_fd(struct stint_fd *source, uint32_t events, void *ctx)
{
	char byte;

	(void)events;
	(void)ctx;
	assert_int_equal(read(stint_fd_descriptor(source), &byte, 1), 1);
	note("f");
}

static void on_child(const struct stint_child_exit *end, void *ctx)
{
	(void)end;
	(void)ctx;
	note("c");
}

static void on_timer(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	note("t");
}

static void on_deferred(struct stint_deferred *deferred, void *ctx)
{
	(void)deferred;
	(void)ctx;
	note("d");
}

static void on_post(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)ctx;
	if (error == 0)
		note("p");
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)info;
	(void)ctx;
	note("s");
}

static void on_idle(struct stint_idle *idle, void *ctx)
{
	(void)idle;
	note(ctx ? ctx : "i");
}

static void iterate(void)
{
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
}

static struct stint_fd *watch_fd(void)
{
	struct stint_fd *source;

	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, on_fd, NULL), 0);
	return source;
}

static void make_fd_ready(void)
{
	assert_int_equal(write(fds[1], "x", 1), 1);
}

static void start_timer(void)
{
	struct stint_timer *timer;

	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start_at(timer, 1, 0), 0);
}

static struct stint_deferred *new_deferred(void)
{
	struct stint_deferred *deferred;

	assert_int_equal(stint_deferred_new(&deferred, loop, 0, on_deferred, NULL), 0);
	return deferred;
}

static struct stint_idle *start_idle(char *letter)
{
	struct stint_idle *idle;

	assert_int_equal(stint_idle_new(&idle, loop, 0, on_idle, letter), 0);
	assert_int_equal(stint_idle_start(idle), 0);
	return idle;
}

static struct stint_mailbox *new_mailbox(void)
{
	struct stint_mailbox *mailbox;

	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	return mailbox;
}

/* A child that has ended, and waits to be waited for. */
static pid_t ended_child(void)
{
	siginfo_t info;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	return pid;
}

/* ---- all of an iteration ---- */

static void descriptors_and_children_then_timers_then_the_rest(void **state)
{
	struct stint_mailbox *mailbox = new_mailbox();
	struct stint_post post = {.callback = on_post};
	struct stint_signal *signal;
	struct stint_child *child;

	(void)state;
	start_idle(NULL);
	assert_int_equal(stint_deferred_schedule(new_deferred()), 0);
	assert_int_equal(stint_signal_new(&signal, loop, SIGUSR1, 0, on_signal, NULL), 0);
	assert_int_equal(stint_mailbox_post(mailbox, &post), 0);
	raise(SIGUSR1);
	start_timer();
	watch_fd();
	make_fd_ready();
	if (fixture_has_pidfds())
		assert_int_equal(stint_child_new(&child, loop, ended_child(), 0, on_child, NULL), 0);
	else
		note("(no pidfds)");
	iterate();
	/* The deferred was scheduled before the wake-ups of post and signal came. */
	assert_string_equal(order, fixture_has_pidfds() ? "fctdps" : "(no pidfds)ftdps");
	iterate();
	assert_string_equal(order + strlen(order) - 2, "si");
}

static void defer(struct stint_fd *source, uint32_t events, void *ctx)
{
	on_fd(source, events, NULL);
	stint_deferred_schedule(ctx);
}

/* Whichever of the two wake-ups the kernel returns first, posts and deferred keep that order. */
static void posts_run_where_their_wake_up_put_them_among_the_deferred(void **state)
{
	struct stint_mailbox *mailbox = new_mailbox();
	struct stint_deferred *deferred = new_deferred();
	struct stint_post post = {.callback = on_post};
	struct stint_fd *source;

	(void)state;
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, defer, deferred), 0);
	make_fd_ready();
	assert_int_equal(stint_mailbox_post(mailbox, &post), 0);
	iterate();
	assert_string_equal(order, "fdp");
	assert_int_equal(stint_loop_iterate(loop, 0),
			 0); /* the kernel takes the pipe off its list of the ready */
	assert_int_equal(stint_mailbox_post(mailbox, &post), 0);
	make_fd_ready();
	iterate();
	assert_string_equal(order, "fdpfpd");
}

/* ---- jobs, slices, and what a callback of one step may begin of another ---- */

static struct stint_pool *pool;
static int gate[2]; /* the loop's end, the job's end */
static char last_letter[] = "G";

static void run_nothing(struct stint_job *job, void *ctx)
{
	(void)job;
	(void)ctx;
}

static void stand_at_gate(struct stint_job *job, void *ctx)
{
	char byte = 'x';

	(void)job;
	(void)ctx;
	if (write(gate[1], &byte, 1) != 1 || read(gate[1], &byte, 1) != 1)
		abort();
}

static void on_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	(void)job;
	(void)outcome;
	note(ctx);
}

/* Jobs of one thread, which then stands at the gate: those before are back, though the loop has not looked yet. */
static void finish_jobs(char *const *letters, int count)
{
	const struct stint_pool_options one = {.size = sizeof(one), .threads = 1};
	char byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate), 0);
	assert_int_equal(stint_pool_new(&pool, &one), 0);
	for (int i = 0; i < count; i++)
		assert_int_equal(stint_job_new(NULL, loop, pool, 0, run_nothing, on_done, letters[i]), 0);
	assert_int_equal(stint_job_new(NULL, loop, pool, 0, stand_at_gate, on_done, last_letter), 0);
	assert_int_equal(read(gate[0], &byte, 1), 1);
}

static void open_gate(void)
{
	assert_int_equal(write(gate[0], "x", 1), 1);
	pool = stint_pool_free(pool); /* waits for its thread, and so for the job's return */
	iterate();
	close(gate[0]);
	close(gate[1]);
}

/* Takes all of its turn, so that there is one in an iteration. */
static void on_slice(struct stint_slice *slice, void *ctx)
{
	while (!stint_slice_over(slice))
		continue;
	note("l");
	if (ctx)
		stint_slice_stop(slice);
}

static struct stint_slice *start_slice(bool once)
{
	static bool yes = true;
	struct stint_slice *slice;

	assert_int_equal(stint_slice_new(&slice, loop, 0, on_slice, once ? &yes : NULL), 0);
	assert_int_equal(stint_slice_start(slice), 0);
	return slice;
}

static void jobs_come_after_timers_and_before_deferreds_and_slices_come_last(void **state)
{
	char job[] = "j";
	char *jobs[] = {job};

	(void)state;
	finish_jobs(jobs, 1);
	start_idle(NULL);
	start_slice(true);
	assert_int_equal(stint_deferred_schedule(new_deferred()), 0);
	start_timer();
	watch_fd();
	make_fd_ready();
	iterate();
	assert_string_equal(order, "ftjdl");
	iterate();
	assert_string_equal(order, "ftjdli");
	open_gate();
	assert_string_equal(order, "ftjdliG");
}

static void jobs_of_one_iteration_come_in_the_order_in_which_they_came_back(void **state)
{
	char first[] = "1", second[] = "2", third[] = "3";
	char *jobs[] = {first, second, third};

	(void)state;
	finish_jobs(jobs, 3);
	iterate();
	assert_string_equal(order, "123");
	open_gate();
	assert_string_equal(order, "123G");
}

static void a_started_slice_lets_no_idle_be_called(void **state)
{
	struct stint_slice *slice = start_slice(false);

	(void)state;
	start_idle(NULL);
	iterate();
	iterate();
	assert_string_equal(order, "ll");
	assert_int_equal(stint_slice_stop(slice), 0);
	iterate();
	assert_string_equal(order, "lli");
}

/* Each notes its letter and begins what it is given. */
static void begin_timer(struct stint_fd *source, uint32_t events, void *ctx)
{
	on_fd(source, events, NULL);
	assert_int_equal(stint_timer_start_at(ctx, 1, 0), 0);
}

static void a_timer_that_a_descriptor_starts_waits_for_the_next_iteration(void **state)
{
	struct stint_timer *timer;
	struct stint_fd *source;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, begin_timer, timer), 0);
	make_fd_ready();
	iterate();
	assert_string_equal(order, "f");
	iterate();
	assert_string_equal(order, "ft");
}

static void defer_from_timer(struct stint_timer *timer, void *ctx)
{
	on_timer(timer, NULL);
	stint_deferred_schedule(ctx);
}

static void a_deferred_that_a_timer_schedules_is_of_the_same_iteration(void **state)
{
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, defer_from_timer, new_deferred()), 0);
	assert_int_equal(stint_timer_start_at(timer, 1, 0), 0);
	iterate();
	assert_string_equal(order, "td");
}

static void defer_from_slice(struct stint_slice *slice, void *ctx)
{
	note("l");
	stint_deferred_schedule(ctx);
	stint_slice_stop(slice);
}

static void a_deferred_that_a_slice_schedules_is_of_the_next(void **state)
{
	struct stint_slice *slice;

	(void)state;
	assert_int_equal(stint_slice_new(&slice, loop, 0, defer_from_slice, new_deferred()), 0);
	assert_int_equal(stint_slice_start(slice), 0);
	iterate();
	assert_string_equal(order, "l");
	iterate();
	assert_string_equal(order, "ld");
}

struct begun {
	struct stint_slice *slice;
	struct stint_idle *idle;
};

static void begin_both(struct stint_deferred *deferred, void *ctx)
{
	struct begun *begun = ctx;

	on_deferred(deferred, NULL);
	assert_int_equal(stint_slice_start(begun->slice), 0);
	assert_int_equal(stint_idle_start(begun->idle), 0);
}

static void a_slice_that_a_deferred_starts_is_of_the_same_iteration_and_an_idle_of_one_with_nothing_else(
	void **state)
{
	struct stint_deferred *deferred;
	struct begun begun;

	(void)state;
	begun.slice = start_slice(true);
	begun.idle = start_idle(NULL);
	stint_slice_stop(begun.slice);
	stint_idle_stop(begun.idle);
	assert_int_equal(stint_deferred_new(&deferred, loop, 0, begin_both, &begun), 0);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
	iterate();
	assert_string_equal(order, "dl");
	iterate();
	assert_string_equal(order, "dli");
}

/* ---- idle ---- */

static void an_idle_is_called_when_there_is_nothing_else(void **state)
{
	struct stint_mailbox *mailbox = new_mailbox();
	struct stint_post post = {.callback = on_post};
	struct stint_deferred *deferred = new_deferred();

	(void)state;
	watch_fd();
	start_idle(NULL);
	iterate();
	iterate();
	assert_string_equal(order, "ii");
	make_fd_ready();
	iterate();
	assert_string_equal(order, "iif");
	iterate();
	start_timer();
	iterate();
	assert_string_equal(order, "iifit");
	iterate();
	stint_deferred_schedule(deferred);
	iterate();
	assert_string_equal(order, "iifitid");
	iterate();
	assert_int_equal(stint_mailbox_post(mailbox, &post), 0);
	iterate();
	assert_string_equal(order, "iifitidip");
	iterate();
	assert_string_equal(order, "iifitidipi");
}

static void a_stopped_idle_lets_the_poll_wait(void **state)
{
	struct stint_idle *idle = start_idle(NULL);
	struct stint_timer *timer;
	uint64_t polled_ns;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, on_timer, NULL), 0);
	assert_int_equal(stint_timer_start(timer, S, 0), 0);
	iterate();
	assert_string_equal(order, "i");
	assert_int_equal(stint_idle_stop(idle), 0);
	assert_int_equal(stint_idle_stop(idle), 0);
	assert_int_equal(stint_timer_start(timer, 20 * MS, 0), 0);
	polled_ns = fixture_loop(meter, 0)->poll_ns;
	iterate();
	assert_string_equal(order, "it");
	assert_true(fixture_loop(meter, 0)->poll_ns > polled_ns);
	assert_int_equal(stint_loop_run(loop), 0);
}

static void idles_are_called_once_each_in_the_order_in_which_they_were_started(void **state)
{
	char first[] = "1", second[] = "2", third[] = "3";
	struct stint_idle *idle;

	(void)state;
	idle = start_idle(first);
	start_idle(second);
	start_idle(third);
	assert_int_equal(stint_idle_start(idle), 0); /* it is, and keeps its place */
	iterate();
	assert_string_equal(order, "123");
	stint_idle_stop(idle);
	stint_idle_start(idle);
	iterate();
	assert_string_equal(order, "123231");
}

static void start_another(struct stint_idle *idle, void *ctx)
{
	note("1");
	stint_idle_start(ctx);
	stint_idle_stop(idle);
}

static void an_idle_started_by_an_idle_waits_for_the_next_iteration(void **state)
{
	struct stint_idle *first, *second;
	char letter[] = "2";

	(void)state;
	assert_int_equal(stint_idle_new(&second, loop, 0, on_idle, letter), 0);
	assert_int_equal(stint_idle_new(&first, loop, 0, start_another, second), 0);
	assert_int_equal(stint_idle_start(first), 0);
	iterate();
	assert_string_equal(order, "1");
	iterate();
	assert_string_equal(order, "12");
}

static void free_idle(struct stint_idle *idle, void *ctx)
{
	note("i");
	if (*(int *)ctx && --*(int *)ctx == 0)
		stint_idle_free(idle);
}

static void a_started_idle_keeps_the_loop_running(void **state)
{
	struct stint_idle *idle;
	int left = 3;

	(void)state;
	assert_int_equal(stint_idle_new(&idle, loop, 0, free_idle, &left), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "");
	assert_int_equal(stint_idle_start(idle), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_string_equal(order, "iii");
}

static void misuse_of_idles_is_an_error_code(void **state)
{
	struct stint_idle *idle = NULL;

	(void)state;
	assert_int_equal(stint_idle_new(NULL, loop, 0, on_idle, NULL), -EINVAL);
	assert_int_equal(stint_idle_new(&idle, NULL, 0, on_idle, NULL), -EINVAL);
	assert_int_equal(stint_idle_new(&idle, loop, 0, NULL, NULL), -EINVAL);
	assert_int_equal(stint_idle_new(&idle, loop, 77, on_idle, NULL), -EINVAL);
	assert_null(idle);
	assert_int_equal(stint_idle_start(NULL), -EINVAL);
	assert_int_equal(stint_idle_stop(NULL), -EINVAL);
	assert_null(stint_idle_free(NULL));
}

/* ---- the poll ---- */

static volatile sig_atomic_t interrupts;

static void count_interrupt(int number)
{
	(void)number;
	interrupts++;
}

static void a_poll_that_is_interrupted_is_one_without_events(void **state)
{
	const struct itimerval often = {.it_value.tv_usec = 5000, .it_interval.tv_usec = 5000}, never = {0};
	struct sigaction action = {.sa_handler = count_interrupt}, before;

	(void)state;
	watch_fd();
	interrupts = 0;
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
	for (int i = 0; i < 3; i++)
		iterate(); /* nothing else could end it */
	assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
	sigaction(SIGALRM, &before, NULL);
	assert_true(interrupts >= 3);
	assert_string_equal(order, "");
	assert_int_equal(fixture_loop(meter, 0)->events, 0);
}

/* In a child: 0 if a timer of 2.5 ms came, was not early, and the loop slept for it and did not spin. */
static int wait_without_pwait2(void)
{
	const struct stint_loop_options options = {.size = sizeof(options), .meter = meter};
	struct stint_loop *own; /* that of its parent refuses to run here */
	struct stint_timer *timer;
	uint64_t due_ns, iterations;

	if (stint_loop_new(&own, &options) < 0 || stint_timer_new(&timer, own, 0, on_timer, NULL) < 0 ||
	    stint_timer_start(timer, 5 * MS / 2, 0) < 0)
		return 4;
	due_ns = stint_timer_due_ns(timer);
	if (stint_loop_run(own) < 0 || strcmp(order, "t") != 0)
		return 5;
	if (fixture_now_ns(CLOCK_MONOTONIC) < due_ns)
		return 6;
	iterations = fixture_loop(meter, fixture_header(meter)->loop_count - 1)->iterations;
	stint_loop_free(own);
	return iterations < 1 || iterations > 2 ? 7 : 0;
}

static void a_kernel_without_epoll_pwait2_is_polled_in_milliseconds(void **state)
{
	(void)state;
	check_with_refused_call(SYS_epoll_pwait2, ENOSYS, wait_without_pwait2);
}

static void a_sandbox_that_refuses_epoll_pwait2_is_polled_in_milliseconds(void **state)
{
	(void)state;
	check_with_refused_call(SYS_epoll_pwait2, EPERM, wait_without_pwait2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(descriptors_and_children_then_timers_then_the_rest),
		TEST(posts_run_where_their_wake_up_put_them_among_the_deferred),
		TEST(jobs_come_after_timers_and_before_deferreds_and_slices_come_last),
		TEST(jobs_of_one_iteration_come_in_the_order_in_which_they_came_back),
		TEST(a_started_slice_lets_no_idle_be_called),
		TEST(a_timer_that_a_descriptor_starts_waits_for_the_next_iteration),
		TEST(a_deferred_that_a_timer_schedules_is_of_the_same_iteration),
		TEST(a_deferred_that_a_slice_schedules_is_of_the_next),
		TEST(a_slice_that_a_deferred_starts_is_of_the_same_iteration_and_an_idle_of_one_with_nothing_else),
		TEST(an_idle_is_called_when_there_is_nothing_else),
		TEST(a_stopped_idle_lets_the_poll_wait),
		TEST(idles_are_called_once_each_in_the_order_in_which_they_were_started),
		TEST(an_idle_started_by_an_idle_waits_for_the_next_iteration),
		TEST(a_started_idle_keeps_the_loop_running),
		TEST(misuse_of_idles_is_an_error_code),
		TEST(a_poll_that_is_interrupted_is_one_without_events),
		TEST(a_kernel_without_epoll_pwait2_is_polled_in_milliseconds),
		TEST(a_sandbox_that_refuses_epoll_pwait2_is_polled_in_milliseconds),
	};

	return cmocka_run_group_tests_name("order", tests, fixture_make_directory, fixture_remove_directory);
}
