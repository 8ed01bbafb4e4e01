/* SPDX-License-Identifier: MIT */
/* stint, with its meter or without (meter=0). */
#include <errno.h>
#include <stdio.h>
#include <stint/stint.h>

#include "bench.h"

const char backend_name[] = "stint";

static struct stint_loop *loop;
static struct stint_timeouts *kind;
static struct stint_timeout *timeouts;
static struct stint_timer **timers;           /* with native=1 */
static uint32_t handlers[BENCH_HANDLERS_MAX]; /* of which the first bench.handlers are there */

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	errno = -result;
	bench_die(what);
}

void backend_open(uint32_t descriptors)
{
	struct stint_loop_options options = {.size = sizeof(options), .meter_off = !bench.meter};
	char name[16];

	(void)descriptors;
	check(stint_loop_new(&loop, &options), "stint_loop_new");
	for (uint32_t i = 0; i < bench.handlers; i++) {
		int registered;

		snprintf(name, sizeof(name), "bench-%u", i);
		registered = stint_loop_handler(loop, name, 0);
		check(registered, "stint_loop_handler");
		handlers[i] = (uint32_t)registered;
	}
}

static void on_ring(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	if (bench_ring((uint32_t)(uintptr_t)ctx))
		stint_loop_stop(loop);
}

static void on_dispatch(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	(void)ctx;
	if (bench_dispatch())
		stint_loop_stop(loop);
}

static void on_turn(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	(void)ctx;
	if (bench.turn())
		stint_loop_stop(loop);
}

static void on_echo(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	(void)ctx;
	if (bench_echo(stint_fd_descriptor(source)))
		stint_loop_stop(loop);
}

void backend_watch(uint32_t index, int fd, enum bench_body body)
{
	static const stint_fd_callback callback[] = {on_ring, on_dispatch, on_turn, on_echo};
	struct stint_fd *source;

	check(stint_fd_new(&source, loop, fd, STINT_READ, handlers[index % bench.handlers], callback[body],
			   (void *)(uintptr_t)index),
	      "stint_fd_new");
}

static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	(void)ctx;
	check(stint_stream_write(stream, data, bytes), "stint_stream_write");
	if (bench_echoed(bytes))
		stint_loop_stop(loop);
}

bool backend_stream(uint32_t index, int fd)
{
	const struct stint_stream_callbacks callbacks = {.read = on_read};
	struct stint_stream *stream;

	(void)index;
	check(stint_stream_new(&stream, loop, fd, NULL, handlers[0], &callbacks, NULL), "stint_stream_new");
	return true;
}

void backend_run(void)
{
	check(stint_loop_run(loop), "stint_loop_run");
}

static void timer_fired(void)
{
	if (bench_timer_fired())
		stint_loop_stop(loop);
}

static void on_timeout(struct stint_timeout *timeout, void *ctx)
{
	(void)timeout;
	(void)ctx;
	timer_fired();
}

static void on_timer(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	timer_fired();
}

void backend_timers_new(uint32_t count)
{
	if (bench.native) {
		timers = bench_alloc(count, sizeof(*timers));
		for (uint32_t i = 0; i < count; i++)
			check(stint_timer_new(&timers[i], loop, handlers[0], on_timer, NULL),
			      "stint_timer_new");
		return;
	}
	timeouts = bench_alloc(count, sizeof(*timeouts));
	check(stint_timeouts_new(&kind, loop, handlers[0], on_timeout, NULL), "stint_timeouts_new");
}

void backend_timer_start(uint32_t index, uint32_t delay_ms)
{
	uint64_t delay_ns = delay_ms * 1000000ull;

	if (bench.native)
		check(stint_timer_start(timers[index], delay_ns, 0), "stint_timer_start");
	else
		check(stint_timeout_start(kind, &timeouts[index], delay_ns), "stint_timeout_start");
}

void backend_timer_stop(uint32_t index)
{
	if (bench.native)
		check(stint_timer_stop(timers[index]), "stint_timer_stop");
	else
		check(stint_timeout_stop(kind, &timeouts[index]), "stint_timeout_stop");
}

static struct stint_mailbox *mailbox;
static struct stint_post *posts;

static void on_wake(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)error;
	(void)ctx;
	if (bench_posts_take())
		stint_loop_stop(loop);
}

void backend_post_open(void)
{
	check(stint_mailbox_new(&mailbox, loop), "stint_mailbox_new");
	posts = bench_alloc(1, sizeof(*posts));
	*posts = (struct stint_post){.callback = on_wake, .handler = handlers[0]};
}

void backend_post_wake(void)
{
	check(stint_mailbox_post(mailbox, posts), "stint_mailbox_post");
}

static void on_post(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)error;
	(void)ctx;
	if (bench_posted())
		stint_loop_stop(loop);
}

bool backend_posts_new(uint32_t count)
{
	check(stint_mailbox_new(&mailbox, loop), "stint_mailbox_new");
	posts = bench_alloc(count, sizeof(*posts));
	for (uint32_t i = 0; i < count; i++)
		posts[i] = (struct stint_post){.callback = on_post, .handler = handlers[0]};
	return true;
}

void backend_post(uint32_t index)
{
	check(stint_mailbox_post(mailbox, &posts[index]), "stint_mailbox_post");
}
