/* SPDX-License-Identifier: MIT */
/*
 * libevent: persistent events placed in memory of our own (event_assign), no locks where one thread is all
 * there is, its epoll changelist left off: it saves system calls only for interests that change, and here
 * none do. bufferevent is its stream layer; an event made active by hand from the other thread, with
 * locks on, its wake-up.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#include "bench.h"

const char backend_name[] = "libevent";

static struct event_base *base;
static struct event *sources;
static struct event *timers;
static struct event wake;

static void open_base(int flags)
{
	struct event_config *config = event_config_new();

	if (!config || event_config_set_flag(config, flags) < 0)
		bench_die("event_config");
	base = event_base_new_with_config(config);
	if (!base)
		bench_die("event_base_new");
	event_config_free(config);
}

void backend_open(uint32_t descriptors)
{
	sources = bench_alloc(descriptors, sizeof(*sources));
	open_base(EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV);
}

static void on_ring(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd;
	(void)events;
	if (bench_ring((uint32_t)(uintptr_t)ctx))
		event_base_loopbreak(base);
}

static void on_dispatch(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd;
	(void)events;
	(void)ctx;
	if (bench_dispatch())
		event_base_loopbreak(base);
}

static void on_turn(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd;
	(void)events;
	(void)ctx;
	if (bench.turn())
		event_base_loopbreak(base);
}

static void on_echo(evutil_socket_t fd, short events, void *ctx)
{
	(void)events;
	(void)ctx;
	if (bench_echo(fd))
		event_base_loopbreak(base);
}

void backend_watch(uint32_t index, int fd, enum bench_body body)
{
	static const event_callback_fn callback[] = {on_ring, on_dispatch, on_turn, on_echo};
	struct event *source = &sources[index];

	if (event_assign(source, base, fd, EV_READ | EV_PERSIST, callback[body], (void *)(uintptr_t)index) <
		    0 ||
	    event_add(source, NULL) < 0)
		bench_die("event_add");
}

static void on_read(struct bufferevent *stream, void *ctx)
{
	struct evbuffer *input = bufferevent_get_input(stream);
	size_t got = evbuffer_get_length(input);
	const struct timeval flush = {.tv_usec = 10000};

	(void)ctx;
	/* Moves the data from one to the other without a copy. */
	if (bufferevent_write_buffer(stream, input) < 0)
		bench_die("bufferevent_write_buffer");
	/* Answers are sent in the next iteration: let it come to pass. */
	if (bench_echoed(got))
		event_base_loopexit(base, &flush);
}

bool backend_stream(uint32_t index, int fd)
{
	struct bufferevent *stream = bufferevent_socket_new(base, fd, 0);

	(void)index;
	if (!stream)
		bench_die("bufferevent_socket_new");
	bufferevent_setcb(stream, on_read, NULL, NULL, NULL);
	if (bufferevent_enable(stream, EV_READ | EV_WRITE) < 0)
		bench_die("bufferevent_enable");
	return true;
}

void backend_run(void)
{
	if (event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
		bench_die("event_base_loop");
}

static void on_timer(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd;
	(void)events;
	(void)ctx;
	if (bench_timer_fired())
		event_base_loopbreak(base);
}

void backend_timers_new(uint32_t count)
{
	timers = bench_alloc(count, sizeof(*timers));
	for (uint32_t i = 0; i < count; i++)
		evtimer_assign(&timers[i], base, on_timer, NULL);
}

void backend_timer_start(uint32_t index, uint32_t delay_ms)
{
	struct timeval delay = {.tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000};

	if (event_add(&timers[index], &delay) < 0)
		bench_die("event_add");
}

void backend_timer_stop(uint32_t index)
{
	if (event_del(&timers[index]) < 0)
		bench_die("event_del");
}

static void on_post(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd;
	(void)events;
	(void)ctx;
	if (bench_posts_take())
		event_base_loopbreak(base);
}

void backend_post_open(void)
{
	/* Locks must be on before the base is made. */
	event_base_free(base);
	if (evthread_use_pthreads() < 0)
		bench_die("evthread_use_pthreads");
	open_base(EVENT_BASE_FLAG_IGNORE_ENV);
	if (event_assign(&wake, base, -1, EV_PERSIST, on_post, NULL) < 0 || event_add(&wake, NULL) < 0)
		bench_die("event_add");
}

void backend_post_wake(void)
{
	event_active(&wake, EV_READ, 0);
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
