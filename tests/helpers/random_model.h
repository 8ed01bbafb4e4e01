/* SPDX-License-Identifier: MIT */
#ifndef RANDOM_MODEL_H
#define RANDOM_MODEL_H

/* What the random test drives: sources of each kind, with a model of each that its callbacks are checked against. */

#include "chance.h"
#include "loop_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define SLOTS       48
#define LIFE_STEPS  400
#define THREADS     3
#define POSTS       200 /* of each thread in a life */
#define WRITE_BYTES 300000u

enum kind { PIPE, TIMER, DEFERRED, IDLE, SLICE, MAILBOX, JOB, STREAM, SIGNAL, CONNECT, CHILD, KINDS };

/* A source and what the model knows of it. Its memory outlives it, so that a call too many is seen. */
struct actor {
	struct actor *next; /* of those of this life */
	enum kind kind;
	bool gone;               /* freed, or over */
	bool on;                 /* watched, armed, scheduled, started, posted, out, reading */
	uint64_t off_iteration;  /* when a pipe was last not watched any more */
	uint64_t due_ns, period; /* timer */
	uint64_t order;          /* deferred: when it was scheduled */
	uint64_t sent, received; /* bytes */
	bool ran, edge, aborted, closing, shut;
	int fds[2];
	struct actor *peer; /* stream */
	struct stint_post post;
	union {
		struct stint_fd *fd;
		struct stint_timer *timer;
		struct stint_deferred *deferred;
		struct stint_idle *idle;
		struct stint_slice *slice;
		struct stint_mailbox *mailbox;
		struct stint_job *job;
		struct stint_stream *stream;
		struct stint_signal *signal;
		struct stint_connect *connect;
		struct stint_child *child;
	};
};

struct poster {
	pthread_t thread;
	struct stint_mailbox *mailbox;
	struct stint_post posts[POSTS];
	uint32_t made, seen, returned;
	uint32_t refused; /* at the end, since the mailbox was closed */
};

static struct stint_loop *loop;
static struct stint_pool *pool;
static struct stint_listener *listener;
static struct sockaddr_in address = {.sin_family = AF_INET};
static struct actor *slots[SLOTS], *all;
static struct poster posters[THREADS];
static uint64_t iteration, timer_iteration, last_due_ns, orders, last_order;
static uint64_t calls[KINDS];
static bool quiet; /* callbacks act no more */
static char *data;

static void check(bool right, const struct actor *actor, const char *what)
{
	if (!right)
		fail_msg("%s (kind %d, iteration %llu, STINT_SEED=%llu)", what, actor ? (int)actor->kind : -1,
			 (unsigned long long)iteration, (unsigned long long)seed);
}

static void act(void);

/* The end of each callback: now and then it does something to whatever comes to hand. */
static void react(void)
{
	if (quiet || !loop)
		return;
	for (uint32_t n = below(3); n > 0 && loop; n--)
		act();
}

static void called(const struct actor *actor)
{
	check(loop && !actor->gone, actor, "called after it was freed");
	calls[actor->kind]++;
}

/* ---- pipes ---- */

static void pipe_write(struct actor *actor)
{
	size_t bytes = 1 + below(3000), at = actor->sent % 256;
	ssize_t done = write(actor->fds[1], data + at, bytes);

	actor->sent += done > 0 ? (uint64_t)done : 0;
}

static void on_pipe(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct actor *actor = ctx;
	char bytes[4096];
	ssize_t got;

	called(actor);
	check(source == actor->fd && (events & STINT_READ), actor, "an event that was not asked for");
	check(actor->on || actor->off_iteration == iteration, actor, "called while not watched");
	do {
		got = read(actor->fds[0], bytes, sizeof(bytes));
		if (got > 0) {
			check(memcmp(bytes, data + actor->received % 256, (size_t)got) == 0, actor,
			      "other bytes than were written");
			actor->received += (uint64_t)got;
		}
	} while (got > 0 && actor->edge);
	react();
}

static void pipe_change(struct actor *actor)
{
	actor->on = !actor->on || actor->edge;
	if (!actor->on)
		actor->off_iteration = iteration;
	check(stint_fd_set_events(actor->fd, actor->on ? STINT_READ : 0) == 0, actor, "cannot change events");
}

static bool make_pipe(struct actor *actor)
{
	if (pipe2(actor->fds, O_NONBLOCK | O_CLOEXEC) < 0)
		return false;
	actor->on = true;
	actor->edge = one_in(3);
	return stint_fd_new(&actor->fd, loop, actor->fds[0],
			    actor->edge ? STINT_READ | STINT_EDGE : STINT_READ, 0, on_pipe, actor) == 0;
}

/* ---- timers ---- */

static void on_timer(struct stint_timer *timer, void *ctx)
{
	struct actor *actor = ctx;
	uint64_t now_ns = stint_loop_now_ns(loop), next_ns = stint_timer_due_ns(timer);

	called(actor);
	check(actor->on, actor, "called while not armed");
	check(now_ns >= actor->due_ns, actor, "early");
	if (timer_iteration == iteration)
		check(actor->due_ns >= last_due_ns, actor, "not in the order of deadlines");
	timer_iteration = iteration;
	last_due_ns = actor->due_ns;
	if (actor->period)
		check(next_ns > now_ns && (next_ns - actor->due_ns) % actor->period == 0, actor,
		      "off its grid");
	else
		check(next_ns == 0, actor, "armed after its one time");
	actor->on = actor->period != 0;
	actor->due_ns = next_ns;
	react();
}

static void timer_change(struct actor *actor)
{
	actor->on = !one_in(4);
	if (!actor->on) {
		stint_timer_stop(actor->timer);
		return;
	}
	actor->period = one_in(2) ? 1 + below(3000000) : 0;
	stint_timer_start(actor->timer, one_in(8) ? 0 : below(one_in(8) ? 30000000 : 4000000), actor->period);
	actor->due_ns = stint_timer_due_ns(actor->timer);
}

static bool make_timer(struct actor *actor)
{
	if (stint_timer_new(&actor->timer, loop, 0, on_timer, actor) < 0)
		return false;
	timer_change(actor);
	return true;
}

/* ---- deferreds, idles, slices ---- */

static void on_deferred(struct stint_deferred *deferred, void *ctx)
{
	struct actor *actor = ctx;

	called(actor);
	check(deferred == actor->deferred && actor->on, actor, "called while not scheduled");
	check(actor->order > last_order, actor, "not in the order of scheduling");
	last_order = actor->order;
	actor->on = false;
	react();
}

static void deferred_change(struct actor *actor)
{
	if (one_in(4)) {
		stint_deferred_cancel(actor->deferred);
		actor->on = false;
		return;
	}
	if (!actor->on)
		actor->order = ++orders;
	actor->on = true;
	stint_deferred_schedule(actor->deferred);
}

static bool make_deferred(struct actor *actor)
{
	if (stint_deferred_new(&actor->deferred, loop, 0, on_deferred, actor) < 0)
		return false;
	deferred_change(actor);
	return true;
}

static void on_idle(struct stint_idle *idle, void *ctx)
{
	struct actor *actor = ctx;

	called(actor);
	check(idle == actor->idle && actor->on, actor, "called while not started");
	if (one_in(3)) {
		stint_idle_stop(idle);
		actor->on = false;
	}
	react();
}

static void idle_change(struct actor *actor)
{
	actor->on = !actor->on;
	check((actor->on ? stint_idle_start(actor->idle) : stint_idle_stop(actor->idle)) == 0, actor, "idle");
}

static bool make_idle(struct actor *actor)
{
	return stint_idle_new(&actor->idle, loop, 0, on_idle, actor) == 0;
}

static void on_slice(struct stint_slice *slice, void *ctx)
{
	struct actor *actor = ctx;

	called(actor);
	check(slice == actor->slice && actor->on, actor, "called while not started");
	while (one_in(2) && !stint_slice_over(slice))
		actor->sent++;
	if (one_in(3)) {
		stint_slice_stop(slice);
		actor->on = false;
	}
	react();
}

static void slice_change(struct actor *actor)
{
	actor->on = !actor->on;
	check((actor->on ? stint_slice_start(actor->slice) : stint_slice_stop(actor->slice)) == 0, actor,
	      "slice");
}

static bool make_slice(struct actor *actor)
{
	return stint_slice_new(&actor->slice, loop, 0, on_slice, actor) == 0;
}

/* ---- posts ---- */

static void on_post(struct stint_post *post, int error, void *ctx)
{
	struct actor *actor = ctx;

	check(post == &actor->post && actor->on, actor, "called while not posted");
	check(error == (actor->gone ? -ECANCELED : 0), actor, "an error that is not due");
	actor->on = false;
	if (error < 0)
		return;
	called(actor);
	react();
}

static void mailbox_change(struct actor *actor)
{
	int result = stint_mailbox_post(actor->mailbox, &actor->post);

	check(result == (actor->on ? -EALREADY : 0), actor, "cannot post");
	actor->on = true;
}

static bool make_mailbox(struct actor *actor)
{
	actor->post = (struct stint_post){.callback = on_post, .ctx = actor};
	return stint_mailbox_new(&actor->mailbox, loop) == 0;
}

/* Posts of other threads, to a mailbox of their own. */
static void on_thread_post(struct stint_post *post, int error, void *ctx)
{
	struct poster *poster = ctx;

	check(post == &poster->posts[poster->seen + poster->returned], NULL, "not in the thread's order");
	if (error < 0)
		poster->returned++;
	else
		poster->seen++;
	if (error == 0)
		react();
}

static void *post_all(void *ctx)
{
	struct poster *poster = ctx;

	for (uint32_t i = 0; i < POSTS; i++) {
		poster->posts[i] = (struct stint_post){.callback = on_thread_post, .ctx = poster};
		if (stint_mailbox_post(poster->mailbox, &poster->posts[i]) < 0)
			poster->refused++;
		else
			poster->made++;
		if (i % 16 == 0)
			usleep(500);
	}
	return NULL;
}

/* ---- jobs ---- */

static void on_run(struct stint_job *job, void *ctx)
{
	struct actor *actor = ctx;

	for (int i = 0; i < 20 && !stint_job_cancelled(job); i++)
		usleep(20);
	actor->ran = true;
}

static void on_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	struct actor *actor = ctx;

	called(actor);
	check(job == actor->job, actor, "another job");
	check(actor->ran == (outcome != STINT_JOB_CANCELLED), actor, "an outcome that is not so");
	actor->gone = true;
	react();
}

static bool make_job(struct actor *actor)
{
	return stint_job_new(&actor->job, loop, pool, 0, on_run, on_done, actor) == 0;
}

/* ---- streams ---- */

static void stream_gone(struct actor *actor, bool aborted)
{
	actor->gone = true;
	actor->aborted = aborted;
}

static void on_read(struct stint_stream *stream, const void *bytes, size_t count, void *ctx)
{
	struct actor *actor = ctx;

	called(actor);
	check(stream == actor->stream && !actor->closing, actor, "data of a stream that is closing");
	/* A pause in the middle of a dispatch ends it. */
	check(actor->on, actor, "data while paused");
	for (size_t i = 0; i < count; i++)
		if (((const char *)bytes)[i] != data[(actor->received + i) % 256])
			check(false, actor, "other bytes than were written");
	actor->received += count;
	check(actor->received <= actor->peer->sent, actor, "more than was written");
	react();
}

static void on_end(struct stint_stream *stream, void *ctx)
{
	struct actor *actor = ctx, *peer = actor->peer;

	called(actor);
	if (!peer->aborted && !actor->closing)
		check(actor->received == peer->sent, actor, "an end before all has come");
	actor->closing = true;
	stint_stream_close(stream);
	react();
}

static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct actor *actor = ctx;

	(void)stream;
	called(actor);
	check(error == 0 || error == -ECONNRESET || error == -EPIPE, actor, strerror(-error));
	check(error == 0 || actor->peer->aborted || actor->peer->gone, actor, "a reset without a cause");
	stream_gone(actor, error != 0);
	react();
}

/* Its peer may be gone, and the stream then be over without our knowing yet. */
static void stream_write(struct actor *actor)
{
	uint32_t bytes = one_in(4) ? below(WRITE_BYTES) : below(2000), first = below(bytes + 1);
	char *from = data + actor->sent % 256;
	const struct iovec parts[2] = {{from, first}, {from + first, bytes - first}};
	int result = one_in(2) ? stint_stream_write(actor->stream, from, bytes)
			       : stint_stream_writev(actor->stream, parts, 2);

	check(result == 0 || result == -EPIPE, actor, "cannot write");
	if (result == 0)
		actor->sent += bytes;
	else if (!actor->shut && !actor->closing)
		check(actor->peer->gone || actor->peer->closing, actor, "EPIPE without a cause");
}

static void stream_move(struct actor *actor)
{
	struct stint_detached *detached;

	if (stint_stream_detach(&detached, actor->stream) < 0)
		return;
	check(stint_stream_attach(&actor->stream, detached, loop, 0, NULL, actor) == 0, actor,
	      "cannot attach");
}

static void stream_change(struct actor *actor)
{
	switch (below(12)) {
	case 0:
		actor->on = !actor->on;
		(actor->on ? stint_stream_resume : stint_stream_pause)(actor->stream);
		break;
	case 1:
		actor->shut = true;
		stint_stream_shutdown(actor->stream);
		break;
	case 2:
		if (one_in(2)) {
			actor->closing = actor->aborted = true; /* what comes is thrown away */
			stint_stream_close(actor->stream);
		}
		break;
	case 3:
		stream_move(actor);
		break;
	default:
		stream_write(actor);
	}
}

static void connect_pair(int fds[2])
{
	int one = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 20000;
	struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof(place);
	sigset_t every, before;

	sigfillset(&every);
	pthread_sigmask(SIG_BLOCK, &every, &before); /* this end's calls are the test's own, and wait */
	assert_int_equal(bind(one, (struct sockaddr *)&place, bytes), 0);
	assert_int_equal(listen(one, 1), 0);
	assert_int_equal(getsockname(one, (struct sockaddr *)&place, &bytes), 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&place, bytes), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	fds[1] = accept4(one, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	close(one);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
}

static struct actor *new_actor(enum kind kind)
{
	struct actor *actor = calloc(1, sizeof(*actor));

	assert_non_null(actor);
	*actor = (struct actor){.kind = kind, .next = all, .fds = {-1, -1}};
	all = actor;
	return actor;
}

/* Two actors: the other end gets a slot if there is one, and lives without otherwise. */
static bool make_stream(struct actor *actor)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_read,
								.end = on_end,
								.closed = on_closed};
	struct actor *peer = new_actor(STREAM);
	uint32_t at = below(SLOTS);
	int fds[2];

	if (one_in(2))
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	else
		connect_pair(fds);
	actor->peer = peer;
	peer->peer = actor;
	actor->on = peer->on = true;
	if (!slots[at])
		slots[at] = peer;
	return stint_stream_new(&actor->stream, loop, fds[0], NULL, 0, &callbacks, actor) == 0 &&
	       stint_stream_new(&peer->stream, loop, fds[1], NULL, 0, &callbacks, peer) == 0;
}

/* ---- signals, connections, children ---- */

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	struct actor *actor = ctx;

	called(actor);
	check(signal == actor->signal && info->number == SIGUSR1, actor, "another signal");
	actor->received += info->count;
	check(actor->received <= actor->sent, actor, "more signals than were raised");
	react();
}

static void raise_signal(void)
{
	bool watched = false;

	for (struct actor *actor = all; actor; actor = actor->next)
		if (actor->kind == SIGNAL && !actor->gone) {
			actor->sent++;
			watched = true;
		}
	if (watched)
		raise(SIGUSR1);
}

static bool make_signal(struct actor *actor)
{
	return stint_signal_new(&actor->signal, loop, SIGUSR1, 0, on_signal, actor) == 0;
}

static void on_accept(struct stint_listener *from, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	(void)from, (void)peer, (void)bytes, (void)ctx;
	close(fd);
	react();
}

static void on_connect(int error, int fd, void *ctx)
{
	struct actor *actor = ctx;

	called(actor);
	check(error == 0, actor, "cannot connect");
	close(fd);
	actor->gone = true;
	react();
}

static bool make_connect(struct actor *actor)
{
	return stint_connect_new(&actor->connect, loop, (struct sockaddr *)&address, sizeof(address),
				 one_in(2) ? 60 * S : 0, 0, on_connect, actor) == 0;
}

static void on_child(const struct stint_child_exit *end, void *ctx)
{
	struct actor *actor = ctx;

	called(actor);
	check(end->error == 0 && end->status == 7, actor, "another end than the child's");
	actor->gone = true;
	react();
}

static bool make_child(struct actor *actor)
{
	pid_t pid;

	if (!one_in(8)) /* they are slow to make */
		return false;
	pid = fork();
	if (pid == 0)
		_exit(7);
	actor->sent = (uint64_t)pid;
	if (stint_child_new(&actor->child, loop, pid, 0, on_child, actor) == 0)
		return true;
	waitpid(pid, NULL, 0); /* valgrind knows no pidfds */
	return false;
}

#endif
