/* SPDX-License-Identifier: MIT */
#include "stream_state.h"
#include "timer_arm.h"

#include <errno.h>

/* The time limits of a stream, of which the closing of one is made: one timer for all of them. */

/* When the peer began to owe what has not come; only while we would read it. */
static uint64_t owed_since(const struct stint_stream *stream)
{
	if (!stream->read_ns || !stream->expecting || stream->ended || stream->paused || stream->closing)
		return UINT64_MAX;
	return stream->expect_at_ns > stream->read_at_ns ? stream->expect_at_ns : stream->read_at_ns;
}

/*
 * When something went last, or a queue began. What is held back has not been tried: timers come before the deferral that
 * sends it, so none of its time has gone by, whatever the iteration has taken since the write.
 */
static uint64_t sent_at(const struct stint_stream *stream)
{
	return stream->held ? stream->object.loop->clock->now_ns : stream->sent_at_ns;
}

static uint64_t closing_limit(const struct stint_stream *stream)
{
	uint64_t from_ns = stream->closing_at_ns, sent_at_ns = sent_at(stream);

	if (sent_at_ns > from_ns)
		from_ns = sent_at_ns;
	return timer_time_after(from_ns, stream->close_ns);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

/* The next moment at which a limit may be reached; UINT64_MAX: none is running. */
static uint64_t next_limit(const struct stint_stream *stream)
{
	uint64_t next_ns = UINT64_MAX, active_ns = stream->read_at_ns;
	uint64_t owed_ns = owed_since(stream), sent_at_ns = sent_at(stream);

	if (sent_at_ns > active_ns)
		active_ns = sent_at_ns;
	if (stream->idle_ns)
		next_ns = timer_time_after(active_ns, stream->idle_ns);
	if (stream->write_ns && stream->queue.bytes)
		next_ns = earlier(next_ns, timer_time_after(sent_at_ns, stream->write_ns));
	if (owed_ns != UINT64_MAX)
		next_ns = earlier(next_ns, timer_time_after(owed_ns, stream->read_ns));
	if (stream->closing)
		next_ns = earlier(next_ns, closing_limit(stream));
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

	if (stream->write_ns)
		next_ns = earlier(next_ns, timer_time_after(now_ns, stream->write_ns));
	if (stream->read_ns)
		next_ns = earlier(next_ns, timer_time_after(now_ns, stream->read_ns));
	return next_ns == UINT64_MAX ? 0 : stint_timer_start_at(stream->timer, next_ns, 0);
}

static void on_limit(struct stint_timer *timer, void *ctx)
{
	struct stint_stream *stream = ctx;

	(void)timer;
	if (stream->finished)
		return;
	stream_note_progress(stream);
	if (next_limit(stream) > stream->object.loop->clock->now_ns)
		stream_watch_limits(stream);
	else if (stream->unread_bytes)
		stream_finish(stream, stream->error);
	else
		/* All was sent, and the peer does not end: a close all the same. */
		stream_finish(stream, stream->closing && stream->queue.bytes == 0 ? 0 : -ETIMEDOUT);
}

int stream_need_timer(struct stint_stream *stream)
{
	if (stream->timer)
		return 0;
	/* Without one nobody has asked, and a limit that is set amid a stall would be over at once. */
	if (stream->source && stream->stall_from_ns)
		stream_note_progress(stream);
	return stint_timer_new(&stream->timer, stream->object.loop, stream->handler, on_limit, stream);
}

int stint_stream_close(struct stint_stream *stream)
{
	int error;

	if (!stream || stream->freed)
		return -EINVAL;
	if (stream->closing || stream->finished)
		return 0;
	stream->closing = true;
	if (stream->pipe && stream->shut) { /* its reading end: nobody would lose anything */
		stream_finish(stream, 0);
		return 0;
	}
	stream->closing_at_ns = stint_loop_now_ns(stream->object.loop);
	/* What the peer has got until now is progress for the other limits, too. */
	stream_note_progress(stream);
	error = stream_need_timer(stream);
	if (error == 0)
		error = stream_watch_limits(stream);
	if (error < 0) { /* without a limit it might last for ever */
		stream_finish(stream, error);
		return error;
	}
	stream_update_events(stream);
	return stint_stream_shutdown(stream);
}
