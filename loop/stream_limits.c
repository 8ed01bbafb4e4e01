/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include <errno.h>

/* The time limits of a stream: one timer for all of them. */

/* When the peer began to owe what has not come; only while we would read it. */
static uint64_t owed_since(const struct stint_stream *stream)
{
	if (!stream->read_ns || !stream->expecting || stream->ended || stream->paused || stream->closing)
		return UINT64_MAX;
	return stream->expect_at_ns > stream->read_at_ns ? stream->expect_at_ns : stream->read_at_ns;
}

/* The next moment at which a limit may be reached; UINT64_MAX: none is running. */
static uint64_t next_limit(const struct stint_stream *stream)
{
	uint64_t next_ns = UINT64_MAX, active_ns = stream->read_at_ns;
	uint64_t owed_ns = owed_since(stream);

	if (stream->sent_at_ns > active_ns)
		active_ns = stream->sent_at_ns;
	if (stream->idle_ns)
		next_ns = active_ns + stream->idle_ns;
	if (stream->write_ns && stream->queue.bytes && stream->sent_at_ns + stream->write_ns < next_ns)
		next_ns = stream->sent_at_ns + stream->write_ns;
	if (owed_ns != UINT64_MAX && owed_ns + stream->read_ns < next_ns)
		next_ns = owed_ns + stream->read_ns;
	if (stream->closing && stream->close_by_ns < next_ns)
		next_ns = stream->close_by_ns;
	return next_ns;
}

/*
 * Activity does not touch the timer, it only moves the limit; the timer finds out when it fires. While the
 * queue is empty, or nothing owed, those limits are looked for once every write_ns and read_ns, for the same
 * reason.
 */
int stream_watch_limits(struct stint_stream *stream)
{
	struct stint_loop *loop = stream->object.loop;
	uint64_t next_ns = next_limit(stream), now_ns = loop->clock->now_ns;

	if (stream->write_ns && now_ns + stream->write_ns < next_ns)
		next_ns = now_ns + stream->write_ns;
	if (stream->read_ns && now_ns + stream->read_ns < next_ns)
		next_ns = now_ns + stream->read_ns;
	return next_ns == UINT64_MAX ? 0 : stint_timer_start_at(stream->timer, next_ns, 0);
}

static void on_limit(struct stint_timer *timer, void *ctx)
{
	struct stint_stream *stream = ctx;

	(void)timer;
	if (stream->finished)
		return;
	if (next_limit(stream) <= stream->object.loop->clock->now_ns)
		/* A close that took too long is a close all the same; the peer may see a reset. */
		stream_finish(stream, stream->closing && stream->queue.bytes == 0 ? 0 : -ETIMEDOUT);
	else
		stream_watch_limits(stream);
}

int stream_need_timer(struct stint_stream *stream)
{
	if (stream->timer)
		return 0;
	return stint_timer_new(&stream->timer, stream->object.loop, stream->handler, on_limit, stream);
}
