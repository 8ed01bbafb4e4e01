/* SPDX-License-Identifier: MIT */

/*
 * All kinds of sources at once, driven at random against a model of each: bytes that arrive in order and none twice, timers
 * in the order of their deadlines and never early, deferreds in the order in which they were scheduled, each job back once,
 * posts in each thread's order, nothing called that is freed or stopped. Callbacks free, stop, change and make others. Each
 * life of a loop ends at random: drained, when all that was promised must have come; or freed as it is, in a callback
 * or out.
 *
 * STINT_SEED repeats a run (as far as the kernel and threads do), STINT_STEPS (iterations) makes it longer.
 */

#include "random_model.h"
#include "signal_storm.h"

#define LIFE_STEPS 400
#ifdef __SANITIZE_THREAD__
#define STEPS 3000 /* it takes twenty times as long */
#else
#define STEPS 10000
#endif

/* ---- any of them ---- */

static bool (*const make[KINDS])(struct actor *) = {make_pipe,   make_timer,   make_deferred, make_idle,
						    make_slice,  make_mailbox, make_job,      make_stream,
						    make_signal, make_connect, make_child};

static void free_actor(struct actor *actor)
{
	actor->gone = true;
	switch (actor->kind) {
	case PIPE:
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
	case SLICE:
		stint_slice_free(actor->slice);
		break;
	case MAILBOX:
		stint_mailbox_free(actor->mailbox);
		check(!actor->on, actor, "a post that was not given back");
		break;
	case JOB: /* its callback comes all the same */
		actor->gone = false;
		stint_job_cancel(actor->job);
		break;
	case STREAM:
		stream_gone(actor, true);
		stint_stream_free(actor->stream);
		break;
	case SIGNAL:
		stint_signal_free(actor->signal);
		break;
	case CONNECT:
		stint_connect_free(actor->connect);
		break;
	case CHILD:
		stint_child_free(actor->child);
		waitpid((pid_t)actor->sent, NULL, 0);
		break;
	case KINDS:
		break;
	}
}

static void change(struct actor *actor)
{
	static void (*const change_kind[KINDS])(struct actor *) = {
		[PIPE] = pipe_change,    [TIMER] = timer_change, [DEFERRED] = deferred_change,
		[IDLE] = idle_change,    [SLICE] = slice_change, [MAILBOX] = mailbox_change,
		[STREAM] = stream_change};

	if (actor->kind == PIPE && one_in(2))
		pipe_write(actor);
	else if (actor->kind == SIGNAL)
		raise_signal();
	else if (change_kind[actor->kind])
		change_kind[actor->kind](actor);
}

static void free_loop(void)
{
	struct stint_loop *freed = loop;

	quiet = true;
	for (struct actor *actor = all; actor; actor = actor->next)
		actor->gone = true;
	loop = NULL;
	stint_loop_free(freed);
}

static void act(void)
{
	struct actor **slot = &slots[below(SLOTS)];

	if (*slot && (*slot)->gone)
		*slot = NULL;
	if (!*slot) {
		struct actor *actor = new_actor((enum kind)below(KINDS));

		*slot = actor;
		if (!make[actor->kind](actor))
			actor->gone = true;
		return;
	}
	if (one_in(12))
		free_actor(*slot);
	else
		change(*slot);
}

/* ---- a life ---- */

static void begin_life(void)
{
	quiet = false;
	all = NULL;
	memset(slots, 0, sizeof(slots));
	memset(posters, 0, sizeof(posters));
	last_order = orders = 0;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = 0;
	assert_int_equal(
		stint_loop_new(&loop, &(struct stint_loop_options){.size = sizeof(struct stint_loop_options),
								   .meter_off = one_in(4)}),
		0);
	assert_int_equal(stint_pool_new(&pool, NULL), 0);
	assert_int_equal(stint_listener_new(&listener, loop, (struct sockaddr *)&address, sizeof(address),
					    NULL, 0, on_accept, NULL),
			 0);
	address.sin_port = htons((uint16_t)stint_listener_port(listener));
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(stint_mailbox_new(&posters[i].mailbox, loop), 0);
		stint_mailbox_ref(posters[i].mailbox);
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
	}
}

static void iterate(uint64_t timeout_ns)
{
	iteration++;
	check(stint_loop_iterate(loop, timeout_ns) == 0, NULL, "the loop failed");
}

/* Whether something that was promised has not come yet. Of a stream that was cut off nothing is promised. */
static bool is_owed(const struct actor *actor)
{
	if (actor->gone)
		return false;
	switch (actor->kind) {
	case PIPE:
	case SIGNAL:
		return actor->received < actor->sent;
	case TIMER:
		return actor->on && !actor->period;
	case DEFERRED:
	case MAILBOX:
		return actor->on;
	case JOB:
	case CONNECT:
	case CHILD:
		return true;
	case STREAM:
		return !actor->closing && !actor->peer->aborted && actor->received < actor->peer->sent;
	default:
		return false;
	}
}

static const struct actor *find_owed(void)
{
	for (const struct actor *actor = all; actor; actor = actor->next)
		if (is_owed(actor))
			return actor;
	return NULL;
}

static bool threads_are_seen(void)
{
	for (int i = 0; i < THREADS; i++)
		if (posters[i].seen < POSTS)
			return false;
	return true;
}

/* All are let go on; then what was promised must come. */
static void drain(void)
{
	quiet = true;
	for (struct actor *actor = all; actor; actor = actor->next) {
		if (actor->gone)
			continue;
		if (actor->kind == PIPE && !actor->on)
			pipe_change(actor);
		if (actor->kind == STREAM && !actor->on) {
			actor->on = true;
			stint_stream_resume(actor->stream);
		}
	}
	for (int i = 0; i < 200000 && (find_owed() || !threads_are_seen()); i++)
		iterate(MS);
	check(!find_owed(), find_owed(), "something that was promised did not come");
	check(threads_are_seen(), NULL, "a post did not come");
}

static void on_last(struct stint_deferred *deferred, void *ctx)
{
	(void)deferred;
	(void)ctx;
	free_loop();
}

static void end_life(void)
{
	struct stint_deferred *last;

	switch (below(3)) {
	case 0:
		drain();
		break;
	case 1:
		if (stint_deferred_new(&last, loop, 0, on_last, NULL) == 0)
			stint_deferred_schedule(last);
		for (int i = 0; i < 10 && loop; i++)
			iterate(0);
		check(!loop, NULL, "a deferred did not come");
		break;
	}
	if (loop)
		free_loop();
	for (int i = 0; i < THREADS; i++) {
		pthread_join(posters[i].thread, NULL);
		check(posters[i].seen + posters[i].returned == posters[i].made &&
			      posters[i].made + posters[i].refused == POSTS,
		      NULL, "a post was lost");
		stint_mailbox_unref(posters[i].mailbox);
	}
	pool = stint_pool_free(pool);
	while (all) {
		struct actor *actor = all;

		all = actor->next;
		for (int i = 0; i < 2; i++)
			if (actor->fds[i] >= 0)
				close(actor->fds[i]);
		free(actor);
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		continue;
}

/* valgrind extends a stack where the program touches it, but not for a signal that comes at its end. */
static __attribute__((noinline)) void touch_stack(void)
{
	volatile char bytes[256 * 1024];

	for (size_t i = 0; i < sizeof(bytes); i += 1024)
		bytes[i] = 0;
}

static void live(uint64_t steps)
{
	uint64_t done = 0;

	touch_stack();
	data = malloc(WRITE_BYTES + 512);
	assert_non_null(data);
	for (uint32_t i = 0; i < WRITE_BYTES + 512; i++)
		data[i] = (char)(i * 7);
	while (done < steps) {
		begin_life();
		for (uint32_t i = 0; i < LIFE_STEPS; i++, done++) {
			act();
			iterate(below(2) * below(300000));
		}
		end_life();
	}
	free(data);
	for (int i = 0; i < KINDS && steps >= 1000; i++)
		if (calls[i] == 0 && i != CHILD)
			fail_msg("no source of kind %d was called", i);
}

static uint64_t how_many_steps(void)
{
	return number_from("STINT_STEPS", fixture_on_valgrind() ? STEPS / 10 : STEPS);
}

static void all_kinds_at_once_behave_as_their_models_say(void **unused)
{
	(void)unused;
	begin_chance(fixture_now_ns(CLOCK_REALTIME));
	live(how_many_steps());
}

static void they_do_under_a_storm_of_signals(void **unused)
{
	long signals;

	(void)unused;
	begin_chance(fixture_now_ns(CLOCK_REALTIME));
	storm_begin();
	live(how_many_steps() / 4);
	signals = storm_end();
	print_message("%ld signals\n", signals);
	assert_true(signals > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_kinds_at_once_behave_as_their_models_say),
		cmocka_unit_test(they_do_under_a_storm_of_signals),
	};

	return cmocka_run_group_tests_name("random", tests, fixture_make_memory_directory,
					   fixture_remove_directory);
}
