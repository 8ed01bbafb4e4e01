/* SPDX-License-Identifier: MIT */
#include "sources_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

static void count_call(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	(void)ctx;
	calls++;
}

/* ---- descriptors ---- */

static void count_data(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)ctx;
	if (events & STINT_READ)
		calls++;
}

static void a_blocking_descriptor_is_refused(void **state)
{
	struct stint_fd *source = NULL;
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, count_call, NULL), -EINVAL);
	assert_null(source);
	assert_int_equal(stint_fd_new(&source, loop, -1, STINT_READ, 0, count_call, NULL), -EBADF);
	close_pipe(fds);
}

static void misuse_is_an_error_code(void **state)
{
	struct stint_fd *source;
	struct stint_timer *timer;
	struct stint_loop_options options = {.size = 4};
	struct stint_loop *other;
	int fds[2];

	(void)state;
	make_pipe(fds, false);
	assert_int_equal(stint_fd_new(NULL, loop, fds[0], STINT_READ, 0, count_call, NULL), -EINVAL);
	assert_int_equal(stint_fd_new(&source, NULL, fds[0], STINT_READ, 0, count_call, NULL), -EINVAL);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, NULL, NULL), -EINVAL);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], 0x100, 0, count_call, NULL), -EINVAL);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 77, count_call, NULL), -EINVAL);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ,
				      (uint32_t)stint_loop_handler(loop, "", 0), count_call, NULL),
			 -EINVAL);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, count_call, NULL), 0);
	assert_int_equal(stint_fd_set_events(source, 0x100), -EINVAL);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, count_call, NULL), -EEXIST);
	assert_int_equal(stint_timer_new(&timer, loop, 0, NULL, NULL), -EINVAL);
	assert_int_equal(stint_loop_new(&other, &options), -EINVAL);
	assert_int_equal(stint_loop_run(NULL), -EINVAL);
	assert_int_equal(stint_loop_stop(NULL), -EINVAL);
	assert_null(stint_fd_free(NULL));
	assert_null(stint_timer_free(NULL));
	assert_null(stint_deferred_free(NULL));
	assert_null(stint_listener_free(NULL));
	assert_null(stint_connect_free(NULL));
	assert_null(stint_loop_free(NULL));
	close_pipe(fds);
}

static void level_repeats_and_edge_does_not(void **state)
{
	struct stint_fd *source;
	int level[2], edge[2];

	(void)state;
	make_pipe(level, true);
	make_pipe(edge, true);
	assert_int_equal(stint_fd_new(&source, loop, edge[0], STINT_READ | STINT_EDGE, 0, count_call, NULL),
			 0);
	stint_loop_iterate(loop, 0);
	stint_loop_iterate(loop, 0);
	assert_int_equal(calls, 1);
	assert_int_equal(stint_fd_new(&source, loop, level[0], STINT_READ, 0, count_call, NULL), 0);
	stint_loop_iterate(loop, 0);
	stint_loop_iterate(loop, 0);
	assert_int_equal(calls, 3);
	assert_int_equal(stint_fd_set_events(source, 0), 0);
	stint_loop_iterate(loop, 0);
	assert_int_equal(calls, 3);
	close_pipe(level);
	close_pipe(edge);
}

static struct stint_fd *pair[2];

static void pause_and_resume(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	(void)ctx;
	calls++;
	assert_int_equal(stint_fd_set_events(source, 0), 0);
	assert_int_equal(stint_fd_set_events(source, STINT_READ), 0);
}

/* As with two calls of epoll_ctl(): who pauses has not read all, and counts on being told again. */
static void an_edge_paused_and_resumed_at_once_is_reported_anew(void **state)
{
	struct stint_fd *source;
	int fds[2];

	(void)state;
	make_pipe(fds, true);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ | STINT_EDGE, 0, pause_and_resume,
				      NULL),
			 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 3);
	stint_fd_free(source);
	close_pipe(fds);
}

static void free_the_other(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	(void)ctx;
	calls++;
	if (source == pair[0])
		pair[1] = stint_fd_free(pair[1]);
	else
		pair[0] = stint_fd_free(pair[0]);
}

static void of_two_that_free_each_other_one_is_called(void **state)
{
	int first[2], second[2];

	(void)state;
	make_pipe(first, true);
	make_pipe(second, true);
	assert_int_equal(stint_fd_new(&pair[0], loop, first[0], STINT_READ, 0, free_the_other, NULL), 0);
	assert_int_equal(stint_fd_new(&pair[1], loop, second[0], STINT_READ, 0, free_the_other, NULL), 0);
	stint_loop_iterate(loop, 0);
	assert_int_equal(calls, 1);
	assert_true(!pair[0] != !pair[1]);
	close_pipe(first);
	close_pipe(second);
}

/* Frees the other source and watches a third descriptor, which gets the slot, and may not get the event. */
static void replace_the_other(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct stint_fd **other = source == pair[0] ? &pair[1] : &pair[0];

	(void)events;
	stint_fd_free(*other);
	assert_int_equal(stint_fd_new(other, loop, *(int *)ctx, STINT_READ, 0, count_call, NULL), 0);
	stint_fd_set_events(source, 0);
}

static void an_event_of_a_freed_source_does_not_reach_its_successor(void **state)
{
	int first[2], second[2], quiet[2];

	(void)state;
	make_pipe(first, true);
	make_pipe(second, true);
	make_pipe(quiet, false);
	assert_int_equal(stint_fd_new(&pair[0], loop, first[0], STINT_READ, 0, replace_the_other, quiet), 0);
	assert_int_equal(stint_fd_new(&pair[1], loop, second[0], STINT_READ, 0, replace_the_other, quiet), 0);
	stint_loop_iterate(loop, 0);
	stint_loop_iterate(loop, 0);
	assert_int_equal(calls, 0);
	close_pipe(first);
	close_pipe(second);
	close_pipe(quiet);
}

static void free_self(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	(void)ctx;
	calls++;
	stint_fd_free(source);
}

static void a_source_may_free_itself(void **state)
{
	struct stint_fd *source;
	int fds[2];

	(void)state;
	make_pipe(fds, true);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, free_self, NULL), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	close_pipe(fds);
}

static void a_number_closed_and_used_again_belongs_to_its_new_source(void **state)
{
	struct stint_fd *old, *fresh;
	int fds[2], again[2];

	(void)state;
	make_pipe(fds, false);
	assert_int_equal(stint_fd_new(&old, loop, fds[0], STINT_READ, 0, free_self, NULL), 0);
	close(fds[0]);
	make_pipe(again, true);
	assert_int_equal(again[0], fds[0]);
	assert_int_equal(stint_fd_new(&fresh, loop, again[0], STINT_READ, 0, count_call, NULL), 0);
	stint_fd_free(old);
	stint_loop_iterate(loop, 0);
	assert_int_equal(calls, 1);
	close(fds[1]);
	close_pipe(again);
}

/* The duplicate keeps the registration alive, and no number leads to it any more. */
static void a_registration_that_outlives_its_descriptor_is_got_rid_of(void **state)
{
	struct stint_fd *lost, *live;
	int fds[2], other[2], duplicate;

	(void)state;
	make_pipe(fds, true);
	make_pipe(other, true);
	duplicate = dup(fds[0]);
	assert_int_equal(stint_fd_new(&lost, loop, fds[0], STINT_READ, 0, free_self, NULL), 0);
	assert_int_equal(stint_fd_new(&live, loop, other[0], STINT_READ, 0, count_call, NULL), 0);
	close(fds[0]);
	stint_fd_free(lost);
	for (int i = 0; i < 4; i++)
		stint_loop_iterate(loop, 0);
	assert_int_equal(calls, 4);
	stint_fd_free(live);
	/* Were the registration still there, this poll would return at once. */
	assert_int_equal(stint_loop_iterate(loop, 20 * MS), 0);
	assert_true(fixture_loop(meter, 0)->poll_ns >= 19 * MS);
	close(duplicate);
	close(fds[1]);
	close_pipe(other);
}

/* Its number is another file when the epoll set is built anew, for the sake of a stray registration. */
static void a_rebuilt_set_has_no_file_that_nobody_has_added(void **state)
{
	struct stint_fd *closed, *stray;
	int fds[2], other[2], foreign[2], duplicate;

	(void)state;
	make_pipe(fds, false);
	make_pipe(other, true);
	assert_int_equal(stint_fd_new(&closed, loop, fds[0], STINT_READ, 0, count_data, NULL), 0);
	assert_int_equal(stint_fd_new(&stray, loop, other[0], STINT_READ, 0, free_self, NULL), 0);
	duplicate = dup(other[0]);
	close(fds[0]);
	make_pipe(foreign, true);
	assert_int_equal(foreign[0], fds[0]);
	close(other[0]);
	stint_fd_free(stray);
	for (int i = 0; i < 3; i++)
		stint_loop_iterate(loop, 0);
	assert_int_equal(calls, 0);
	stint_fd_free(closed);
	close(fds[1]);
	close(other[1]);
	close(duplicate);
	close_pipe(foreign);
}

static void free_loop(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	(void)ctx;
	calls++;
	loop = stint_loop_free(loop);
}

static void note_events(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	calls++;
	*(uint32_t *)ctx = events;
}

/* And run() does not wait for what will not come. */
static void a_source_is_told_once_that_its_descriptor_was_closed(void **state)
{
	struct stint_fd *source;
	uint32_t seen = 0;
	int fds[2];

	(void)state;
	make_pipe(fds, true);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], 0, 0, note_events, &seen), 0);
	close(fds[0]);
	assert_int_equal(stint_fd_set_events(source, STINT_READ), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(seen, STINT_ERROR);
	assert_int_equal(calls, 1);
	assert_int_equal(stint_fd_set_events(source, 0), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 1);
	stint_fd_free(source);
	close(fds[1]);
}

/* The kernel has its registration for as long as the file is open, whatever number that has. */
static void one_whose_file_is_open_elsewhere_is_told_no_more(void **state)
{
	struct stint_fd *source;
	uint32_t seen = 0;
	int fds[2], elsewhere;

	(void)state;
	make_pipe(fds, false);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, note_events, &seen), 0);
	elsewhere = dup(fds[0]);
	assert_return_code(elsewhere, errno);
	close(fds[0]);
	assert_int_equal(stint_fd_set_events(source, STINT_READ | STINT_WRITE), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	for (int i = 0; i < 5; i++)
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(seen, STINT_ERROR);
	assert_int_equal(calls, 1);
	stint_fd_free(source);
	close(elsewhere);
	close(fds[1]);
}

/* The kernel gave the number to another file by then. */
static void a_source_whose_number_another_takes_is_told_so_too(void **state)
{
	struct stint_fd *lost, *fresh;
	uint32_t seen_by_lost = 0, seen_by_fresh = 0;
	int fds[2], again[2], elsewhere;

	(void)state;
	make_pipe(fds, false);
	assert_int_equal(stint_fd_new(&lost, loop, fds[0], STINT_READ, 0, note_events, &seen_by_lost), 0);
	elsewhere = dup(fds[0]);
	assert_return_code(elsewhere, errno);
	close(fds[0]);
	make_pipe(again, false);
	assert_int_equal(again[0], fds[0]);
	assert_int_equal(stint_fd_new(&fresh, loop, again[0], STINT_READ, 0, note_events, &seen_by_fresh), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(seen_by_lost, STINT_ERROR);
	assert_int_equal(calls, 1);
	/* It is not what keeps the loop running, nor is it called for what comes to a file that is open elsewhere. */
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(stint_fd_set_background(fresh, true), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 1);
	/* The number is the other's. */
	stint_fd_free(lost);
	assert_int_equal(write(again[1], "x", 1), 1);
	assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(seen_by_fresh, STINT_READ);
	assert_int_equal(calls, 2);
	stint_fd_free(fresh);
	close(elsewhere);
	close(fds[1]);
	close_pipe(again);
}

/* Whether that is asked before or after it was told. */
static void a_source_that_is_lost_keeps_no_loop_running(void **state)
{
	struct stint_fd *lost, *fresh;
	struct stint_timer *limit;
	uint32_t seen = 0;
	int fds[2], again[2];

	(void)state;
	make_pipe(fds, false);
	assert_int_equal(stint_timer_new(&limit, loop, 0, tick_never, NULL), 0);
	assert_int_equal(stint_timer_set_background(limit, true), 0);
	assert_int_equal(stint_timer_start(limit, 5 * S, 0), 0);
	assert_int_equal(stint_fd_new(&lost, loop, fds[0], STINT_READ, 0, note_events, &seen), 0);
	close(fds[0]);
	make_pipe(again, false);
	assert_int_equal(stint_fd_new(&fresh, loop, again[0], STINT_READ, 0, count_call, NULL), 0);
	assert_int_equal(stint_fd_set_background(fresh, true), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stint_fd_set_background(lost, false), 0);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(seen, STINT_ERROR);
		assert_int_equal(calls, 1);
	}
	/* What it did not count for is not missed when it is gone. */
	stint_fd_free(lost);
	assert_int_equal(stint_fd_set_background(fresh, false), 0);
	assert_int_equal(write(again[1], "x", 1), 1);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	assert_int_equal(calls, 2);
	stint_fd_free(fresh);
	assert_int_equal(stint_loop_run(loop), 0);
	close(fds[1]);
	close_pipe(again);
}

/* And then the other is not told. */
static void one_that_is_told_so_may_free_the_loop(void **state)
{
	struct stint_fd *source;
	int fds[2];

	(void)state;
	make_pipe(fds, true);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stint_fd_new(&source, loop, fds[i], 0, 0, free_loop, NULL), 0);
		assert_int_equal(stint_fd_set_events(source, i ? STINT_WRITE : STINT_READ), 0);
	}
	close_pipe(fds);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
}

static void the_loop_may_be_freed_in_a_callback(void **state)
{
	struct stint_fd *source;
	struct stint_timer *timer;
	int first[2], second[2];

	(void)state;
	make_pipe(first, true);
	make_pipe(second, true);
	assert_int_equal(stint_fd_new(&source, loop, first[0], STINT_READ, 0, free_loop, NULL), 0);
	assert_int_equal(stint_fd_new(&source, loop, second[0], STINT_READ, 0, free_loop, NULL), 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, tick_never, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 1);
	close_pipe(first);
	close_pipe(second);
}

static void run_again(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	(void)ctx;
	calls = stint_loop_run(loop);
	stint_loop_stop(loop);
}

static void free_loop_of_timer(struct stint_timer *timer, void *ctx)
{
	assert_ptr_equal(stint_timer_ctx(timer), ctx);
	assert_ptr_equal(stint_timer_loop(timer), loop);
	loop = stint_loop_free(stint_timer_loop(timer));
	assert_null(stint_timer_loop(timer));
	assert_null(stint_timer_ctx(timer));
	assert_null(stint_fd_loop(ctx));
}

static void a_source_knows_its_loop_and_context(void **state)
{
	struct stint_timer *timer;
	struct stint_fd *source;
	int fds[2];

	(void)state;
	make_pipe(fds, false);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, count_call, fds), 0);
	assert_ptr_equal(stint_fd_loop(source), loop);
	assert_ptr_equal(stint_fd_ctx(source), fds);
	stint_fd_free(source);
	assert_null(stint_fd_loop(source));
	assert_null(stint_fd_ctx(source));
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, count_call, NULL), 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, free_loop_of_timer, source), 0);
	assert_int_equal(stint_timer_start(timer, 0, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_null(loop);
	assert_null(stint_fd_ctx(NULL));
	assert_null(stint_timer_ctx(NULL));
	close_pipe(fds);
}

static void a_loop_does_not_run_inside_of_itself(void **state)
{
	struct stint_fd *source;
	int fds[2];

	(void)state;
	make_pipe(fds, true);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, run_again, NULL), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, -EBUSY);
	close_pipe(fds);
}

/* ---- running ---- */

static void stop_loop(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	calls++;
	assert_int_equal(stint_loop_stop(loop), 0);
}

static void a_stop_holds_for_the_run_that_it_is_in_or_for_the_next(void **state)
{
	struct stint_timer *timer;

	(void)state;
	assert_int_equal(stint_timer_new(&timer, loop, 0, stop_loop, NULL), 0);
	assert_int_equal(stint_timer_start_at(timer, 1, 0), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 1);
	assert_int_equal(stint_timer_start_at(timer, 1, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 2);
	/* Of one outside of both, an iteration takes nothing away. */
	assert_int_equal(stint_loop_stop(loop), 0);
	assert_int_equal(stint_timer_start_at(timer, 1, 0), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(calls, 3);
	assert_int_equal(stint_timer_start_at(timer, 1, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 3);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 4);
}

/* ---- deferred ---- */

static void schedule_again(struct stint_deferred *deferred, void *ctx)
{
	(void)ctx;
	if (++calls < 3)
		stint_deferred_schedule(deferred);
}

static void a_deferred_scheduled_by_itself_waits_for_the_next_iteration(void **state)
{
	struct stint_deferred *deferred;

	(void)state;
	assert_int_equal(stint_deferred_new(&deferred, loop, 0, schedule_again, NULL), 0);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
	assert_int_equal(stint_deferred_schedule(deferred), 0);
	for (int i = 1; i <= 3; i++) {
		stint_loop_iterate(loop, UINT64_MAX);
		assert_int_equal(calls, i);
	}
}

/* ---- meter ---- */

static void spin_once(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	*(uint64_t *)ctx = fixture_spin(5 * MS);
	stint_fd_free(source);
}

static void a_slow_handler_is_reported_with_the_timer_that_it_delayed(void **state)
{
	int handler = stint_loop_handler(loop, "slow", MS);
	const struct stint_meter_file_overrun *overrun;
	struct stint_fd *source;
	struct stint_timer *timer;
	uint64_t took_ns = 0, begin_ns, end_ns;
	int fds[2];

	(void)state;
	make_pipe(fds, true);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, (uint32_t)handler, spin_once,
				      &took_ns),
			 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, count_tick, &calls), 0);
	assert_int_equal(stint_timer_start_at(timer, stint_loop_now_ns(loop), 0), 0);
	begin_ns = fixture_now_ns(CLOCK_MONOTONIC);
	assert_int_equal(stint_loop_run(loop), 0);
	end_ns = fixture_now_ns(CLOCK_MONOTONIC);
	assert_int_equal(calls, 1);
	assert_int_equal(fixture_block(meter, (uint32_t)handler)->overruns, 1);
	overrun = fixture_overrun_of(meter, (uint32_t)handler);
	/* Between what the handler saw and what the whole run took, by another clock. */
	assert_true(overrun->duration_ns >= fixture_at_least(took_ns));
	assert_true(fixture_at_least(overrun->duration_ns) <= end_ns - begin_ns);
	assert_int_equal(overrun->victims, 1);
	assert_int_equal(overrun->fd, fds[0]);
	assert_int_equal(fixture_block(meter, (uint32_t)handler)->victims, 1);
	/* The timer's wait is its lateness, so the spin is in it. */
	assert_true(fixture_block(meter, 0)->histogram[STINT_METER_HANDLER_WAIT].max >=
		    fixture_at_least(took_ns));
	close_pipe(fds);
}

/* ---- listeners and connecting ---- */

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int accepted, connected, connect_error;

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	(void)ctx;
	assert_int_equal(peer->sa_family, AF_INET);
	assert_int_equal(bytes, sizeof(struct sockaddr_in));
	close(fd);
	accepted++;
	stint_listener_free(listener);
}

static void on_connect(int error, int fd, void *ctx)
{
	(void)ctx;
	connect_error = error;
	connected++;
	if (fd >= 0)
		close(fd);
}

static void a_handshake_is_an_event_on_both_sides(void **state)
{
	struct sockaddr_in address = loopback(0);
	struct stint_listener *listener;
	struct stint_connect *attempt;

	(void)state;
	accepted = connected = 0;
	connect_error = 1;
	assert_int_equal(stint_listener_new(&listener, loop, (struct sockaddr *)&address, sizeof(address),
					    NULL, 0, on_accept, NULL),
			 0);
	address = loopback(stint_listener_port(listener));
	assert_int_equal(stint_connect_new(&attempt, loop, (struct sockaddr *)&address, sizeof(address),
					   5 * S, 0, on_connect, NULL),
			 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(accepted, 1);
	assert_int_equal(connected, 1);
	assert_int_equal(connect_error, 0);
}

static void a_refused_connect_says_so_once(void **state)
{
	struct sockaddr_in address = loopback(0);
	struct stint_listener *listener;
	struct stint_connect *attempt;

	(void)state;
	connected = 0;
	assert_int_equal(stint_listener_new(&listener, loop, (struct sockaddr *)&address, sizeof(address),
					    NULL, 0, on_accept, NULL),
			 0);
	address = loopback(stint_listener_port(listener));
	stint_listener_free(listener);
	assert_int_equal(stint_connect_new(&attempt, loop, (struct sockaddr *)&address, sizeof(address), 0, 0,
					   on_connect, NULL),
			 0);
	assert_int_equal(connected, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(connected, 1);
	assert_int_equal(connect_error, -ECONNREFUSED);
}

/* As a loop that is busy for longer than the limit comes to it after that has passed. */
static void what_a_connect_knows_at_once_is_not_lost_to_its_limit(void **state)
{
	const struct sockaddr_un nowhere = {.sun_family = AF_UNIX, .sun_path = "/nonexistent"};
	struct stint_connect *attempt;

	(void)state;
	connected = 0;
	assert_int_equal(stint_connect_new(&attempt, loop, (const struct sockaddr *)&nowhere, sizeof(nowhere),
					   1, 0, on_connect, NULL),
			 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(connected, 1);
	assert_int_equal(connect_error, -ENOENT);
}

/* Somebody closes what is not his, and opens a file that gets the number. */
static void a_connect_whose_number_another_takes_fails_and_leaves_it_alone(void **state)
{
	struct sockaddr_in address = loopback(0);
	struct stint_listener *listener;
	struct stint_connect *attempt;
	struct stint_fd *source;
	int number, fds[2];

	(void)state;
	connected = 0;
	assert_int_equal(stint_listener_new(&listener, loop, (struct sockaddr *)&address, sizeof(address),
					    NULL, 0, on_accept, NULL),
			 0);
	address = loopback(stint_listener_port(listener));
	number = dup(0);
	close(number);
	assert_int_equal(stint_connect_new(&attempt, loop, (struct sockaddr *)&address, sizeof(address),
					   5 * S, 0, on_connect, NULL),
			 0);
	close(number);
	make_pipe(fds, true);
	assert_int_equal(fds[0], number);
	assert_int_equal(stint_fd_new(&source, loop, fds[0], STINT_READ, 0, free_self, NULL), 0);
	while (!connected || !calls)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(connect_error, -EBADF);
	assert_int_equal(connected, 1);
	assert_int_equal(calls, 1);
	assert_true(fcntl(fds[0], F_GETFD) >= 0);
	close_pipe(fds);
}

static void a_loop_without_a_meter_works(void **state)
{
	struct stint_loop_options options = {.size = sizeof(options), .meter_off = true};
	struct stint_timer *timer;

	(void)state;
	fixture_close_loop(NULL);
	assert_int_equal(stint_loop_new(&loop, &options), 0);
	assert_null(stint_loop_account(loop));
	assert_int_equal(stint_loop_handler(loop, "any", 0), 0);
	assert_int_equal(stint_timer_new(&timer, loop, 0, start_again, NULL), 0);
	assert_int_equal(stint_timer_start(timer, MS, 0), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(calls, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_blocking_descriptor_is_refused),
		TEST(misuse_is_an_error_code),
		TEST(level_repeats_and_edge_does_not),
		TEST(an_edge_paused_and_resumed_at_once_is_reported_anew),
		TEST(of_two_that_free_each_other_one_is_called),
		TEST(an_event_of_a_freed_source_does_not_reach_its_successor),
		TEST(a_source_may_free_itself),
		TEST(a_number_closed_and_used_again_belongs_to_its_new_source),
		TEST(a_registration_that_outlives_its_descriptor_is_got_rid_of),
		TEST(a_rebuilt_set_has_no_file_that_nobody_has_added),
		TEST(the_loop_may_be_freed_in_a_callback),
		TEST(a_source_is_told_once_that_its_descriptor_was_closed),
		TEST(one_whose_file_is_open_elsewhere_is_told_no_more),
		TEST(a_source_whose_number_another_takes_is_told_so_too),
		TEST(a_source_that_is_lost_keeps_no_loop_running),
		TEST(one_that_is_told_so_may_free_the_loop),
		TEST(a_source_knows_its_loop_and_context),
		TEST(a_loop_does_not_run_inside_of_itself),
		TEST(a_stop_holds_for_the_run_that_it_is_in_or_for_the_next),
		TEST(a_deferred_scheduled_by_itself_waits_for_the_next_iteration),
		TEST(a_slow_handler_is_reported_with_the_timer_that_it_delayed),
		TEST(a_handshake_is_an_event_on_both_sides),
		TEST(a_refused_connect_says_so_once),
		TEST(what_a_connect_knows_at_once_is_not_lost_to_its_limit),
		TEST(a_connect_whose_number_another_takes_fails_and_leaves_it_alone),
		TEST(a_loop_without_a_meter_works),
	};

	return cmocka_run_group_tests_name("loop", tests, fixture_make_directory, fixture_remove_directory);
}
