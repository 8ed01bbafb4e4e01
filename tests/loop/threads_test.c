/* SPDX-License-Identifier: MIT */

/*
 * Several threads, each with a loop or posting to one: posts, signals, listeners on one port, connections handed over.
 * Run under ThreadSanitizer too. Nothing is asserted but in the main thread, as cmocka wants it.
 */

#include "loop_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>

#define THREADS 4
#define LOOPS   4

/* A loop that runs in a thread of its own until a post stops it. Made, and freed, in that thread. */
struct runner {
	pthread_t thread;
	struct stint_loop *loop;
	struct stint_mailbox *mailbox;
	struct stint_post stop;
	int (*begin)(struct runner *runner); /* in the thread, before the loop runs */
	int error;
	uint64_t calls;
};

static struct stint_meter *meter;
static pthread_barrier_t ready; /* all loops are made, and about to run */

static int open_meter(void **state)
{
	(void)state;
	return stint_meter_new(&meter, NULL);
}

static int close_meter(void **state)
{
	(void)state;
	meter = stint_meter_free(meter);
	return 0;
}

static void on_stop(struct stint_post *post, int error, void *ctx)
{
	struct runner *runner = ctx;

	(void)post;
	if (error == 0)
		stint_loop_stop(runner->loop);
}

static void *run_loop(void *ctx)
{
	struct runner *runner = ctx;

	runner->stop = (struct stint_post){.callback = on_stop, .ctx = runner};
	runner->error = stint_loop_new(&runner->loop, NULL);
	if (runner->error == 0)
		runner->error = stint_mailbox_new(&runner->mailbox, runner->loop);
	if (runner->error == 0)
		stint_mailbox_ref(runner->mailbox);
	if (runner->error == 0 && runner->begin)
		runner->error = runner->begin(runner);
	pthread_barrier_wait(&ready);
	if (runner->error == 0)
		runner->error = stint_loop_run(runner->loop);
	runner->loop = stint_loop_free(runner->loop);
	return NULL;
}

static void start_runners(struct runner *runners, int count)
{
	assert_int_equal(pthread_barrier_init(&ready, NULL, (unsigned)count + 1), 0);
	for (int i = 0; i < count; i++)
		assert_int_equal(pthread_create(&runners[i].thread, NULL, run_loop, &runners[i]), 0);
	pthread_barrier_wait(&ready);
}

/* They may have stopped themselves. No mailbox may go before the last that might be posting to it. */
static void join_runners(struct runner *runners, int count)
{
	for (int i = 0; i < count; i++)
		assert_int_equal(pthread_join(runners[i].thread, NULL), 0);
	pthread_barrier_destroy(&ready);
	for (int i = 0; i < count; i++) {
		assert_int_equal(runners[i].error, 0);
		stint_mailbox_unref(runners[i].mailbox);
	}
}

static void stop_runners(struct runner *runners, int count)
{
	for (int i = 0; i < count; i++)
		assert_int_equal(stint_mailbox_post(runners[i].mailbox, &runners[i].stop), 0);
	join_runners(runners, count);
}

/* ---- posts ---- */

#define POSTS 20000

struct poster {
	pthread_t thread;
	struct stint_mailbox *mailbox;
	struct stint_post *posts;
	uint32_t count;
	uint64_t accepted, refused, wrong;
	/* the loop's */
	uint64_t called, cancelled, out_of_order;
	struct stint_loop *loop;
	uint64_t *left; /* of all posters */
};

/* A post's place in its array is when it was posted. */
static void on_post(struct stint_post *post, int error, void *ctx)
{
	struct poster *poster = ctx;

	if ((uint64_t)(post - poster->posts) != poster->called + poster->cancelled)
		poster->out_of_order++;
	if (error < 0)
		poster->cancelled++;
	else
		poster->called++;
	if (poster->left && --*poster->left == 0)
		stint_loop_stop(poster->loop);
}

static void *post_all(void *ctx)
{
	struct poster *poster = ctx;

	for (uint32_t i = 0; i < poster->count; i++) {
		int error = stint_mailbox_post(poster->mailbox, &poster->posts[i]);

		if (error == 0)
			poster->accepted++;
		else if (error == -ESHUTDOWN)
			poster->refused++;
		else
			poster->wrong++;
	}
	stint_mailbox_unref(poster->mailbox);
	return NULL;
}

static void start_posters(struct poster *posters, struct stint_loop *loop, struct stint_mailbox *mailbox,
			  uint32_t count, uint64_t *left)
{
	for (int i = 0; i < THREADS; i++) {
		posters[i] = (struct poster){.mailbox = stint_mailbox_ref(mailbox),
					     .loop = loop,
					     .count = count,
					     .left = left,
					     .posts = calloc(count, sizeof(struct stint_post))};
		assert_non_null(posters[i].posts);
		for (uint32_t k = 0; k < count; k++)
			posters[i].posts[k] = (struct stint_post){.callback = on_post, .ctx = &posters[i]};
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
}

static void join_posters(struct poster *posters)
{
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(posters[i].thread, NULL), 0);
}

static void free_posters(struct poster *posters)
{
	for (int i = 0; i < THREADS; i++)
		free(posters[i].posts);
}

static void every_post_of_four_threads_runs_once_in_each_threads_order(void **state)
{
	struct poster posters[THREADS];
	struct stint_mailbox *mailbox;
	struct stint_loop *loop;
	uint64_t left = (uint64_t)THREADS * POSTS;

	(void)state;
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	start_posters(posters, loop, mailbox, POSTS, &left);
	assert_int_equal(stint_loop_run(loop), 0);
	join_posters(posters);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(posters[i].accepted, POSTS);
		assert_int_equal(posters[i].called, POSTS);
		assert_int_equal(posters[i].out_of_order, 0);
	}
	assert_true(stint_mailbox_wakeups(mailbox) >= 1);
	stint_loop_free(loop);
	free_posters(posters);
}

static void a_burst_of_four_threads_wakes_the_loop_once(void **state)
{
	struct poster posters[THREADS];
	struct stint_mailbox *mailbox;
	struct stint_loop *loop;
	uint64_t left = (uint64_t)THREADS * POSTS;

	(void)state;
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	start_posters(posters, loop, mailbox, POSTS, &left);
	join_posters(posters);
	assert_int_equal(stint_mailbox_wakeups(mailbox), 1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(left, 0);
	assert_int_equal(stint_mailbox_wakeups(mailbox), 1);
	stint_loop_free(loop);
	free_posters(posters);
}

/* What was accepted has run or was given back, to the last one. */
static void a_mailbox_can_be_closed_while_four_threads_post(void **state)
{
	struct poster posters[THREADS];
	struct stint_mailbox *mailbox;
	struct stint_loop *loop;
	uint64_t left = 100; /* which stops the loop */

	(void)state;
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	start_posters(posters, loop, mailbox, POSTS, &left);
	assert_int_equal(stint_loop_run(loop), 0);
	stint_loop_free(loop);
	join_posters(posters);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(posters[i].accepted, posters[i].called + posters[i].cancelled);
		assert_int_equal(posters[i].accepted + posters[i].refused, POSTS);
		assert_int_equal(posters[i].wrong, 0);
		assert_int_equal(posters[i].out_of_order, 0);
	}
	free_posters(posters);
}

/* ---- several loops ---- */

#define LAPS 200

struct token {
	struct stint_post post;
	struct runner *runners;
	uint32_t at, handler;
	uint64_t left;
};

static void pass_on(struct stint_post *post, int error, void *ctx)
{
	struct token *token = ctx;

	if (error < 0)
		return;
	token->runners[token->at].calls++;
	if (--token->left == 0) {
		for (int i = 0; i < LOOPS; i++)
			stint_mailbox_post(token->runners[i].mailbox, &token->runners[i].stop);
		return;
	}
	token->at = (token->at + 1) % LOOPS;
	stint_mailbox_post(token->runners[token->at].mailbox, post);
}

static const struct stint_meter_file_block *block_of(uint32_t loop, uint32_t handler)
{
	const struct stint_meter_file_loop *figures = fixture_loop(meter, loop);

	return (const struct stint_meter_file_block *)((const char *)fixture_header(meter) +
						       figures->blocks_offset +
						       handler * figures->block_stride);
}

static void loops_post_to_each_other_and_one_file_has_the_figures_of_all(void **state)
{
	struct runner runners[LOOPS] = {0};
	struct token token = {.runners = runners, .left = LOOPS * LAPS};
	uint64_t tids[LOOPS];

	(void)state;
	token.handler = (uint32_t)stint_meter_handler(meter, "token", 0);
	token.post = (struct stint_post){.callback = pass_on, .ctx = &token, .handler = token.handler};
	start_runners(runners, LOOPS);
	assert_int_equal(stint_mailbox_post(runners[0].mailbox, &token.post), 0);
	join_runners(runners, LOOPS);
	assert_non_null(stint_meter_path(meter));
	assert_int_equal(fixture_header(meter)->loop_count, LOOPS);
	for (uint32_t i = 0; i < LOOPS; i++) {
		const struct stint_meter_file_block *block = block_of(i, token.handler);

		assert_int_equal(runners[i].calls, LAPS);
		assert_int_equal(block->histogram[STINT_METER_HANDLER_SERVICE].count, LAPS);
		assert_int_equal(block->histogram[STINT_METER_HANDLER_WAIT].count, LAPS);
		assert_int_equal(fixture_loop(meter, i)->closed, 1);
		tids[i] = fixture_loop(meter, i)->tid;
		for (uint32_t k = 0; k < i; k++)
			assert_int_not_equal(tids[i], tids[k]);
	}
}

/* ---- listeners on one port ---- */

#define CLIENTS 60

static struct sockaddr_in address;
static uint64_t accepted; /* by all loops */

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	struct runner *runner = ctx;

	(void)listener;
	(void)peer;
	(void)bytes;
	close(fd);
	runner->calls++;
	__atomic_fetch_add(&accepted, 1, __ATOMIC_RELAXED);
}

static int listen_too(struct runner *runner)
{
	const struct stint_listener_options options = {.size = sizeof(options), .reuse_port = true};
	struct stint_listener *listener;

	return stint_listener_new(&listener, runner->loop, (const struct sockaddr *)&address, sizeof(address),
				  &options, 0, on_accept, runner);
}

/* Binds the port that the loops listen on, without listening: connections are for them. */
static int reserve_port(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	socklen_t bytes = sizeof(address);

	address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	return fd;
}

static void loops_that_listen_on_one_port_accept_each_connection_once(void **state)
{
	struct runner runners[LOOPS] = {0};
	int reserved = reserve_port(), fds[CLIENTS];
	uint64_t sum = 0;
	char byte;

	(void)state;
	accepted = 0;
	for (int i = 0; i < LOOPS; i++)
		runners[i].begin = listen_too;
	start_runners(runners, LOOPS);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
	}
	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(read(fds[i], &byte, 1), 0); /* accepted, and closed */
		close(fds[i]);
	}
	stop_runners(runners, LOOPS);
	for (int i = 0; i < LOOPS; i++)
		sum += runners[i].calls;
	assert_int_equal(sum, CLIENTS);
	assert_int_equal(accepted, CLIENTS);
	close(reserved);
}

/* ---- hand-over ---- */

#define STREAM_BYTES (8u << 20)

struct handover {
	struct stint_post post;
	struct stint_detached *detached;
	int fd;
	struct runner *to;
	int error;
	bool other_thread; /* `read` came in the thread of the loop that it was handed to */
	uint64_t queued_bytes;
	char answer[8];
};

/* Byte i of the stream. */
static unsigned char pattern(uint64_t i)
{
	return (unsigned char)(i * 7 + i / 251);
}

static void read_never(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct handover *handover = ctx;

	(void)stream;
	(void)data;
	(void)bytes;
	handover->error = -EPROTO;
}

static void read_answer(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct handover *handover = ctx;

	handover->other_thread = pthread_equal(pthread_self(), handover->to->thread);
	memcpy(handover->answer, data,
	       bytes < sizeof(handover->answer) ? bytes : sizeof(handover->answer) - 1);
	stint_stream_close(stream);
}

static void stop_when_closed(struct stint_stream *stream, int error, void *ctx)
{
	struct handover *handover = ctx;

	(void)stream;
	if (error < 0)
		handover->error = error;
	stint_loop_stop(handover->to->loop);
}

static void on_handover(struct stint_post *post, int error, void *ctx)
{
	static const struct stint_stream_callbacks callbacks = {.read = read_answer,
								.closed = stop_when_closed};
	struct handover *handover = ctx;
	struct stint_stream *stream;

	(void)post;
	if (error == 0)
		error = stint_stream_attach(&stream, handover->detached, handover->to->loop, 0, &callbacks,
					    handover);
	if (error == 0)
		handover->queued_bytes = stint_stream_queued_bytes(stream);
	else
		handover->error = error;
}

static void assert_pattern_comes(int fd)
{
	static unsigned char buffer[65536];
	uint64_t got = 0;

	while (got < STREAM_BYTES) {
		ssize_t bytes = read(fd, buffer, sizeof(buffer));

		assert_true(bytes > 0);
		for (ssize_t i = 0; i < bytes; i++, got++)
			if (buffer[i] != pattern(got))
				fail_msg("byte %llu is wrong", (unsigned long long)got);
	}
}

static void a_stream_is_handed_over_with_its_queue(void **state)
{
	static const struct stint_stream_callbacks callbacks = {.read = read_never};
	struct runner runner = {0};
	struct handover handover = {.to = &runner};
	struct stint_stream *stream;
	struct stint_loop *loop;
	unsigned char *data = malloc(STREAM_BYTES);
	int fds[2];
	char byte;

	(void)state;
	assert_non_null(data);
	for (uint64_t i = 0; i < STREAM_BYTES; i++)
		data[i] = pattern(i);
	start_runners(&runner, 1);
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(stint_stream_new(&stream, loop, fds[0], NULL, 0, &callbacks, &handover), 0);
	assert_int_equal(stint_stream_write(stream, data, STREAM_BYTES), 0);
	free(data);
	assert_true(stint_stream_queued_bytes(stream) > 0);
	assert_int_equal(stint_stream_detach(&handover.detached, stream), 0);
	assert_int_equal(stint_loop_run(loop), 0); /* nothing is left on it */
	stint_loop_free(loop);
	handover.post = (struct stint_post){.callback = on_handover, .ctx = &handover};
	assert_int_equal(stint_mailbox_post(runner.mailbox, &handover.post), 0);
	assert_pattern_comes(fds[1]);
	assert_int_equal(write(fds[1], "enough", 6), 6);
	assert_int_equal(read(fds[1], &byte, 1), 0); /* its FIN */
	close(fds[1]);
	join_runners(&runner, 1);
	assert_int_equal(handover.error, 0);
	assert_true(handover.other_thread);
	assert_true(handover.queued_bytes > 0);
	assert_string_equal(handover.answer, "enough");
}

static void greet(struct stint_post *post, int error, void *ctx)
{
	struct handover *handover = ctx;

	(void)post;
	handover->error = error < 0 ? error : write(handover->fd, "hello", 5) == 5 ? 0 : -errno;
	close(handover->fd);
	stint_loop_stop(handover->to->loop);
}

static void a_descriptor_is_handed_over(void **state)
{
	struct runner runner = {0};
	struct handover handover = {.to = &runner};
	char greeting[8] = "";
	int fds[2];

	(void)state;
	start_runners(&runner, 1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	handover.fd = fds[0];
	handover.post = (struct stint_post){.callback = greet, .ctx = &handover};
	assert_int_equal(stint_mailbox_post(runner.mailbox, &handover.post), 0);
	assert_int_equal(read(fds[1], greeting, sizeof(greeting)), 5);
	assert_string_equal(greeting, "hello");
	join_runners(&runner, 1);
	assert_int_equal(handover.error, 0);
	close(fds[1]);
}

/* ---- signals ---- */

static void stop_on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	struct runner *runner = ctx;

	(void)signal;
	runner->calls += info->count;
	stint_loop_stop(runner->loop);
}

static int watch_signal(struct runner *runner)
{
	struct stint_signal *signal;

	return stint_signal_new(&signal, runner->loop, SIGUSR1, 0, stop_on_signal, runner);
}

static void one_signal_reaches_the_loops_of_all_threads(void **state)
{
	struct runner runners[LOOPS] = {0};

	(void)state;
	for (int i = 0; i < LOOPS; i++)
		runners[i].begin = watch_signal;
	start_runners(runners, LOOPS);
	assert_int_equal(kill(getpid(), SIGUSR1), 0);
	join_runners(runners, LOOPS);
	for (int i = 0; i < LOOPS; i++)
		assert_int_equal(runners[i].calls, 1);
}

static void count_signals(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)signal;
	*(uint64_t *)ctx += info->count;
}

static int count_in_runner(struct runner *runner)
{
	struct stint_signal *signal;

	return stint_signal_new(&signal, runner->loop, SIGUSR1, 0, count_signals, &runner->calls);
}

static bool raising;

static void *raise_always(void *ctx)
{
	while (__atomic_load_n(&raising, __ATOMIC_RELAXED)) {
		raise(SIGUSR1);
		++*(uint64_t *)ctx;
	}
	return NULL;
}

/* One loop watches throughout and misses none, while sources of another come and go. */
static void sources_come_and_go_while_signals_are_raised(void **state)
{
	struct runner runner = {.begin = count_in_runner};
	struct stint_loop *loop;
	pthread_t raiser;
	uint64_t raised = 0, counted = 0;

	(void)state;
	start_runners(&runner, 1);
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	raising = true;
	assert_int_equal(pthread_create(&raiser, NULL, raise_always, &raised), 0);
	for (int i = 0; i < 200; i++) {
		struct stint_signal *first, *second;

		assert_int_equal(stint_signal_new(&first, loop, SIGUSR1, 0, count_signals, &counted), 0);
		assert_int_equal(stint_signal_new(&second, loop, SIGUSR1, 0, count_signals, &counted), 0);
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
		stint_signal_free(first);
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
		stint_signal_free(second);
	}
	__atomic_store_n(&raising, false, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(raiser, NULL), 0);
	stint_loop_free(loop);
	stop_runners(&runner, 1);
	assert_int_equal(runner.calls, raised);
}

static void on_last_post(struct stint_post *post, int error, void *ctx)
{
	struct runner *runner = ctx;

	(void)post;
	if (error == 0)
		runner->mailbox = stint_mailbox_free(runner->mailbox);
}

/* Nobody holds a reference but the mailbox itself, whose end is what the post is for. */
static void the_last_post_may_free_its_mailbox(void **state)
{
	(void)state;
	for (int i = 0; i < 200; i++) {
		struct runner runner = {0};
		struct stint_post last = {.callback = on_last_post, .ctx = &runner};

		start_runners(&runner, 1);
		stint_mailbox_unref(runner.mailbox); /* which run_loop() took */
		assert_int_equal(stint_mailbox_post(runner.mailbox, &last), 0);
		assert_int_equal(pthread_join(runner.thread, NULL), 0);
		assert_int_equal(runner.error, 0);
		assert_null(runner.mailbox);
		pthread_barrier_destroy(&ready);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_meter, close_meter)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_post_of_four_threads_runs_once_in_each_threads_order),
		TEST(a_burst_of_four_threads_wakes_the_loop_once),
		TEST(a_mailbox_can_be_closed_while_four_threads_post),
		TEST(the_last_post_may_free_its_mailbox),
		TEST(loops_post_to_each_other_and_one_file_has_the_figures_of_all),
		TEST(loops_that_listen_on_one_port_accept_each_connection_once),
		TEST(a_stream_is_handed_over_with_its_queue),
		TEST(a_descriptor_is_handed_over),
		TEST(one_signal_reaches_the_loops_of_all_threads),
		TEST(sources_come_and_go_while_signals_are_raised),
	};

	return cmocka_run_group_tests_name("threads", tests, fixture_make_directory,
					   fixture_remove_directory);
}
