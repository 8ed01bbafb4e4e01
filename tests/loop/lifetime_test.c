/* SPDX-License-Identifier: MIT */

/*
 * From inside the callback of any source, any source may be freed, its own and the loop included: every pair of kinds is
 * tried, with both armed and both ready. What is freed is never called again. (That nothing freed is touched either, the
 * run under AddressSanitizer says.)
 */

#include "loop_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum kind {
	FD,
	TIMER,
	DEFERRED,
	IDLE,
	LISTENER,
	CONNECT,
	STREAM,
	SIGNAL,
	CHILD,
	MAILBOX,
	TIMEOUT,
	KINDS,
	LOOP = KINDS
};

static const char *const kind_name[] = {"fd",     "timer",  "deferred", "idle",    "listener", "connect",
					"stream", "signal", "child",    "mailbox", "timeout",  "loop"};

struct actor {
	enum kind kind;
	bool ready; /* to be called in the next iteration, or only armed */
	bool freed, done;
	int calls;
	int fds[2];
	pid_t pid;
	struct stint_post post;
	union {
		struct stint_fd *fd;
		struct stint_timer *timer;
		struct stint_deferred *deferred;
		struct stint_idle *idle;
		struct stint_listener *listener;
		struct stint_connect *connect;
		struct stint_stream *stream;
		struct stint_signal *signal;
		struct stint_child *child;
		struct stint_mailbox *mailbox;
		struct stint_timeouts *timeouts;
	};
	struct stint_timeout timeout;
	struct actor *victim; /* whom its callback frees */
};

static struct stint_loop *loop;

/* ---- freeing ---- */

static void free_actor(struct actor *actor)
{
	if (actor->freed)
		return;
	actor->freed = true;
	switch (actor->kind) {
	case FD:
		stint_fd_free(actor->fd);
		break;
	case TIMER:
		stint_timer_free(actor->timer);
		break;
	case DEFERRED:
		stint_deferred_free(actor->deferred);
		break;
	case IDLE:
		stint_idle_free(actor->idle);
		break;
	case LISTENER:
		stint_listener_free(actor->listener);
		break;
	case CONNECT:
		stint_connect_free(actor->connect);
		break;
	case STREAM:
		stint_stream_free(actor->stream);
		break;
	case SIGNAL:
		stint_signal_free(actor->signal);
		break;
	case CHILD:
		stint_child_free(actor->child);
		break;
	case MAILBOX:
		stint_mailbox_free(actor->mailbox);
		break;
	case TIMEOUT:
		stint_timeouts_free(actor->timeouts);
		break;
	case LOOP:
		loop = stint_loop_free(loop);
		break;
	}
}

/* ---- callbacks ---- */

static void called(struct actor *actor)
{
	if (actor->freed || (loop == NULL))
		fail_msg("a freed %s was called", kind_name[actor->kind]);
	if (actor->kind == CONNECT || actor->kind == CHILD)
		actor->done = true;
	if (actor->calls++ == 0 && actor->victim)
		free_actor(actor->victim);
}

static void on_fd(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	called(ctx);
}

static void on_timer(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	called(ctx);
}

static void on_timeout(struct stint_timeout *timeout, void *ctx)
{
	(void)timeout;
	called(ctx);
}

static void on_deferred(struct stint_deferred *deferred, void *ctx)
{
	(void)deferred;
	called(ctx);
}

static void on_idle(struct stint_idle *idle, void *ctx)
{
	(void)idle;
	called(ctx);
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	(void)listener;
	(void)peer;
	(void)bytes;
	close(fd);
	called(ctx);
}

static void on_connect(int error, int fd, void *ctx)
{
	(void)error;
	if (fd >= 0)
		close(fd);
	called(ctx);
}

static void on_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	(void)stream;
	(void)data;
	(void)bytes;
	called(ctx);
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	(void)info;
	called(ctx);
}

static void on_child(const struct stint_child_exit *end, void *ctx)
{
	(void)end;
	called(ctx);
}

static void on_post(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	if (error == 0)
		called(ctx);
}

/* ---- making, and making ready ---- */

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int make_pipe(struct actor *actor)
{
	assert_int_equal(pipe2(actor->fds, O_NONBLOCK | O_CLOEXEC), 0);
	if (actor->ready)
		assert_int_equal(write(actor->fds[1], "x", 1), 1);
	return stint_fd_new(&actor->fd, loop, actor->fds[0], STINT_READ, 0, on_fd, actor);
}

static int make_listener(struct actor *actor)
{
	struct sockaddr_in address = loopback(0);
	int error = stint_listener_new(&actor->listener, loop, (struct sockaddr *)&address, sizeof(address),
				       NULL, 0, on_accept, actor);

	if (error < 0 || !actor->ready)
		return error;
	address = loopback(stint_listener_port(actor->listener));
	for (int i = 0; i < 2; i++) { /* two, so that it is in the middle of accepting when it is freed */
		actor->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(actor->fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
	}
	return 0;
}

/* To a port that refuses, or one that will never answer: a listener whose backlog of 0 is full. */
static int make_connect(struct actor *actor)
{
	struct sockaddr_in address = loopback(0);
	socklen_t bytes = sizeof(address);

	actor->fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(actor->fds[0], (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(actor->fds[0], (struct sockaddr *)&address, &bytes), 0);
	if (!actor->ready) {
		assert_int_equal(listen(actor->fds[0], 0), 0);
		actor->fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(actor->fds[1], (struct sockaddr *)&address, sizeof(address)), 0);
	}
	return stint_connect_new(&actor->connect, loop, (struct sockaddr *)&address, sizeof(address), S, 0,
				 on_connect, actor);
}

static int make_stream(struct actor *actor)
{
	static const struct stint_stream_callbacks callbacks = {.read = on_read};

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, actor->fds), 0);
	if (actor->ready)
		assert_int_equal(write(actor->fds[1], "x", 1), 1);
	return stint_stream_new(&actor->stream, loop, actor->fds[0], NULL, 0, &callbacks, actor);
}

static int make_child(struct actor *actor)
{
	siginfo_t info;

	actor->pid = fork();
	assert_true(actor->pid >= 0);
	if (actor->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* whatever becomes of the test */
		while (!actor->ready)
			pause();
		_exit(0);
	}
	if (actor->ready)
		assert_int_equal(waitid(P_PID, (id_t)actor->pid, &info, WEXITED | WNOWAIT), 0);
	return stint_child_new(&actor->child, loop, actor->pid, 0, on_child, actor);
}

static int make_mailbox(struct actor *actor)
{
	int error = stint_mailbox_new(&actor->mailbox, loop);

	actor->post = (struct stint_post){.callback = on_post, .ctx = actor};
	if (error == 0 && actor->ready)
		error = stint_mailbox_post(actor->mailbox, &actor->post);
	return error;
}

static int make_timer(struct actor *actor)
{
	int error = stint_timer_new(&actor->timer, loop, 0, on_timer, actor);

	return error < 0 ? error : stint_timer_start(actor->timer, actor->ready ? 0 : 1000 * S, 0);
}

static int make_timeout(struct actor *actor)
{
	int error = stint_timeouts_new(&actor->timeouts, loop, 0, on_timeout, actor);

	return error < 0 ? error
			 : stint_timeout_start(actor->timeouts, &actor->timeout, actor->ready ? 0 : 1000 * S);
}

static int make_deferred(struct actor *actor)
{
	int error = stint_deferred_new(&actor->deferred, loop, 0, on_deferred, actor);

	return error < 0 || !actor->ready ? error : stint_deferred_schedule(actor->deferred);
}

static int make_idle(struct actor *actor)
{
	int error = stint_idle_new(&actor->idle, loop, 0, on_idle, actor);

	return error < 0 || !actor->ready ? error : stint_idle_start(actor->idle);
}

static int make_signal(struct actor *actor)
{
	return stint_signal_new(&actor->signal, loop, SIGUSR1, 0, on_signal, actor);
}

static void make(struct actor *actor, enum kind kind, bool ready)
{
	static int (*const maker[])(struct actor *) = {make_pipe,    make_timer,    make_deferred,
						       make_idle,    make_listener, make_connect,
						       make_stream,  make_signal,   make_child,
						       make_mailbox, make_timeout};

	*actor = (struct actor){.kind = kind, .ready = ready, .fds = {-1, -1}};
	if (kind != LOOP)
		assert_int_equal(maker[kind](actor), 0);
}

/* What is the test's own: after the loop is gone. */
static void clean_up(struct actor *actor)
{
	if (actor->pid > 0 && !actor->done) {
		kill(actor->pid, SIGKILL);
		waitpid(actor->pid, NULL, 0);
	}
	if (actor->kind != STREAM && actor->fds[0] >= 0) /* which its stream owned */
		close(actor->fds[0]);
	if (actor->fds[1] >= 0)
		close(actor->fds[1]);
}

/* ---- the tests ---- */

static bool can_be_made(enum kind kind)
{
	return kind != CHILD || fixture_has_pidfds();
}

static void run_pair(enum kind kind, enum kind victim_kind, bool victim_first, bool self_too)
{
	bool idle = kind == IDLE; /* which is called only if nothing else is */
	struct actor actor, victim;

	if (!can_be_made(kind) || !can_be_made(victim_kind))
		return;
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	if (victim_first)
		make(&victim, victim_kind, !idle || victim_kind == IDLE);
	make(&actor, kind, true);
	if (!victim_first)
		make(&victim, victim_kind, !idle || victim_kind == IDLE);
	actor.victim = &victim;
	/* Both free each other: whoever is called first. */
	victim.victim = victim_kind == kind ? &actor : NULL;
	if (self_too)
		actor.victim = &actor;
	if (kind == SIGNAL || (victim_kind == SIGNAL && !idle))
		raise(SIGUSR1);
	for (int i = 0; i < 10 && loop && actor.calls == 0; i++)
		stint_loop_iterate(loop, kind == CONNECT ? S / 10 : 0);
	for (int i = 0; i < 3 && loop; i++)
		stint_loop_iterate(loop, 0);
	if (actor.calls == 0 && victim.victim != &actor)
		fail_msg("%s was not called, with %s", kind_name[kind], kind_name[victim_kind]);
	loop = stint_loop_free(loop);
	clean_up(&actor);
	clean_up(&victim);
}

static void any_callback_may_free_any_source(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++)
		for (int victim = 0; victim < KINDS; victim++) {
			run_pair((enum kind)kind, (enum kind)victim, true, false);
			run_pair((enum kind)kind, (enum kind)victim, false, false);
		}
}

static void any_callback_may_free_its_own_source(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++)
		run_pair((enum kind)kind, (enum kind)kind, false, true);
}

static void any_callback_may_free_the_loop(void **state)
{
	(void)state;
	for (int kind = 0; kind < KINDS; kind++)
		run_pair((enum kind)kind, LOOP, false, false);
}

static void freeing_the_loop_frees_sources_of_all_kinds(void **state)
{
	struct actor actors[2 * KINDS];

	(void)state;
	for (int round = 0; round < 2; round++) {
		assert_int_equal(stint_loop_new(&loop, NULL), 0);
		for (int i = 0; i < 2 * KINDS; i++) {
			enum kind kind = (enum kind)(i % KINDS);

			make(&actors[i], can_be_made(kind) ? kind : FD, round && i % 2);
		}
		raise(SIGUSR1);
		if (round)
			stint_loop_iterate(loop, 0);
		loop = stint_loop_free(loop);
		for (int i = 0; i < 2 * KINDS; i++)
			clean_up(&actors[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_callback_may_free_any_source),
		cmocka_unit_test(any_callback_may_free_its_own_source),
		cmocka_unit_test(any_callback_may_free_the_loop),
		cmocka_unit_test(freeing_the_loop_frees_sources_of_all_kinds),
	};

	if (!can_be_made(CHILD))
		print_message("skipped: children among the sources, as there are no pidfds here\n");
	return cmocka_run_group_tests_name("lifetime", tests, fixture_make_directory,
					   fixture_remove_directory);
}
