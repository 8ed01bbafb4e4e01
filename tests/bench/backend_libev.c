/* SPDX-License-Identifier: MIT */
/* libev as its manual recommends it: ev_io, ev_timer_again() for timeouts, ev_async for wake-ups. */
#include <errno.h>
#include <ev.h>

#include "bench.h"

struct source {
	ev_io io; /* first: callbacks are given a pointer to it */
	uint32_t index;
};

const char backend_name[] = "libev";

static struct ev_loop *loop;
static struct source *sources;
static ev_timer *timers;
static ev_async async;

void backend_open(uint32_t descriptors)
{
	sources = bench_alloc(descriptors, sizeof(*sources));
	loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	if (!loop)
		bench_die("ev_loop_new");
}

static void on_ring(struct ev_loop *unused, ev_io *io, int events)
{
	(void)unused;
	(void)events;
	if (bench_ring(((struct source *)io)->index))
		ev_break(loop, EVBREAK_ALL);
}

static void on_dispatch(struct ev_loop *unused, ev_io *io, int events)
{
	(void)unused;
	(void)io;
	(void)events;
	if (bench_dispatch())
		ev_break(loop, EVBREAK_ALL);
}

static void on_turn(struct ev_loop *unused, ev_io *io, int events)
{
	(void)unused;
	(void)io;
	(void)events;
	if (bench.turn())
		ev_break(loop, EVBREAK_ALL);
}

static void on_echo(struct ev_loop *unused, ev_io *io, int events)
{
	(void)unused;
	(void)events;
	if (bench_echo(io->fd))
		ev_break(loop, EVBREAK_ALL);
}

void backend_watch(uint32_t index, int fd, enum bench_body body)
{
	static void (*const callback[])(struct ev_loop *, ev_io *, int) = {on_ring, on_dispatch, on_turn,
									   on_echo};

	sources[index].index = index;
	ev_io_init(&sources[index].io, callback[body], fd, EV_READ);
	ev_io_start(loop, &sources[index].io);
}

bool backend_stream(uint32_t index, int fd)
{
	(void)index;
	(void)fd;
	return false;
}

void backend_run(void)
{
	ev_run(loop, 0);
}

static void on_timer(struct ev_loop *unused, ev_timer *timer, int events)
{
	(void)unused;
	(void)events;
	/* ev_timer_again() made it periodic: stopped here, it is a timeout. */
	ev_timer_stop(loop, timer);
	if (bench_timer_fired())
		ev_break(loop, EVBREAK_ALL);
}

void backend_timers_new(uint32_t count)
{
	timers = bench_alloc(count, sizeof(*timers));
	for (uint32_t i = 0; i < count; i++)
		ev_init(&timers[i], on_timer);
}

void backend_timer_start(uint32_t index, uint32_t delay_ms)
{
	timers[index].repeat = delay_ms / 1000.0;
	ev_timer_again(loop, &timers[index]);
}

void backend_timer_stop(uint32_t index)
{
	ev_timer_stop(loop, &timers[index]);
}

static void on_post(struct ev_loop *unused, ev_async *watcher, int events)
{
	(void)unused;
	(void)watcher;
	(void)events;
	if (bench_posts_take())
		ev_break(loop, EVBREAK_ALL);
}

void backend_post_open(void)
{
	ev_async_init(&async, on_post);
	ev_async_start(loop, &async);
}

void backend_post_wake(void)
{
	ev_async_send(loop, &async);
}

bool backend_posts_new(uint32_t count)
{
	(void)count;
	return false;
}

void backend_post(uint32_t index)
{
	(void)index;
}
