/* SPDX-License-Identifier: MIT */
/*
 * libuv: uv_poll for descriptors of our own, uv_stream (uv_tcp_t, uv_try_write() first, as its guide says) for
 * its stream layer, uv_async for wake-ups.
 */
#include <errno.h>
#include <uv.h>

#include "bench.h"

struct source {
	uv_poll_t poll; /* first: callbacks are given a pointer to it */
	uint32_t index;
	int fd;
};

const char backend_name[] = "libuv";

static uv_loop_t *loop;
static struct source *sources;
static uv_tcp_t *streams;
static uv_timer_t *timers;
static uv_async_t async;

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	errno = -result;
	bench_die(what);
}

void backend_open(uint32_t descriptors)
{
	sources = bench_alloc(descriptors, sizeof(*sources));
	streams = bench_alloc(descriptors, sizeof(*streams));
	loop = bench_alloc(1, sizeof(*loop));
	check(uv_loop_init(loop), "uv_loop_init");
}

static void on_ring(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	if (bench_ring(((struct source *)poll)->index))
		uv_stop(loop);
}

static void on_dispatch(uv_poll_t *poll, int status, int events)
{
	(void)poll;
	(void)status;
	(void)events;
	if (bench_dispatch())
		uv_stop(loop);
}

static void on_turn(uv_poll_t *poll, int status, int events)
{
	(void)poll;
	(void)status;
	(void)events;
	if (bench.turn())
		uv_stop(loop);
}

static void on_echo(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	if (bench_echo(((struct source *)poll)->fd))
		uv_stop(loop);
}

void backend_watch(uint32_t index, int fd, enum bench_body body)
{
	static const uv_poll_cb callback[] = {on_ring, on_dispatch, on_turn, on_echo};
	struct source *source = &sources[index];

	source->index = index;
	source->fd = fd;
	check(uv_poll_init(loop, &source->poll, fd), "uv_poll_init");
	check(uv_poll_start(&source->poll, UV_READABLE, callback[body]), "uv_poll_start");
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *buffer)
{
	(void)handle;
	(void)wanted;
	/* One buffer for all: it is used up before the next read. */
	*buffer = uv_buf_init(bench.buffer, sizeof(bench.buffer));
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
	uv_buf_t answer;

	if (got == 0)
		return;
	check((int)got, "uv read");
	answer = uv_buf_init(buffer->base, (unsigned int)got);
	if (uv_try_write(stream, &answer, 1) != got)
		bench_die("uv_try_write");
	if (bench_echoed((uint64_t)got))
		uv_stop(loop);
}

bool backend_stream(uint32_t index, int fd)
{
	uv_tcp_t *stream = &streams[index];

	check(uv_tcp_init(loop, stream), "uv_tcp_init");
	check(uv_tcp_open(stream, fd), "uv_tcp_open");
	check(uv_read_start((uv_stream_t *)stream, on_alloc, on_read), "uv_read_start");
	return true;
}

void backend_run(void)
{
	uv_run(loop, UV_RUN_DEFAULT);
}

static void on_timer(uv_timer_t *timer)
{
	(void)timer;
	if (bench_timer_fired())
		uv_stop(loop);
}

void backend_timers_new(uint32_t count)
{
	timers = bench_alloc(count, sizeof(*timers));
	for (uint32_t i = 0; i < count; i++)
		check(uv_timer_init(loop, &timers[i]), "uv_timer_init");
}

void backend_timer_start(uint32_t index, uint32_t delay_ms)
{
	check(uv_timer_start(&timers[index], on_timer, delay_ms, 0), "uv_timer_start");
}

void backend_timer_stop(uint32_t index)
{
	check(uv_timer_stop(&timers[index]), "uv_timer_stop");
}

static void on_post(uv_async_t *handle)
{
	(void)handle;
	if (bench_posts_take())
		uv_stop(loop);
}

void backend_post_open(void)
{
	check(uv_async_init(loop, &async, on_post), "uv_async_init");
}

void backend_post_wake(void)
{
	check(uv_async_send(&async), "uv_async_send");
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
