/* SPDX-License-Identifier: MIT */

/*
 * Connecting by name, with a resolver that answers when the test says so. Delays are either an hour, which
 * never passes, or a millisecond, which always does: no test depends on how fast the machine is.
 */

#include "scripted_resolver.h"

#include <dlfcn.h>
#include <netdb.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/wait.h>

static struct stint_connect_name_options options_of_test(void)
{
	return (struct stint_connect_name_options){.size = sizeof(struct stint_connect_name_options),
						   .resolver = resolver,
						   .timeout_ns = NEVER_NS,
						   .attempt_delay_ns = NEVER_NS,
						   .resolution_delay_ns = NEVER_NS};
}

static struct stint_connect_name *begin_with(const struct stint_connect_name_options *options)
{
	struct stint_connect_name *name;

	assert_int_equal(stint_connect_name_new(&name, loop, "host.test", port, options, handler, on_result,
						NULL),
			 0);
	assert_int_equal(results, 0);
	return name;
}

static struct stint_connect_name *begin(void)
{
	struct stint_connect_name_options options = options_of_test();

	return begin_with(&options);
}

static void the_better_family_is_connected_to_when_both_are_known(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	begin();
	answer(AF_INET, 0, 1);
	answer(AF_INET6, 0, 1);
	wait_for_result();
	assert_int_equal(result.error, 0);
	assert_int_equal(result.address.any.sa_family, AF_INET6);
	assert_int_equal(ntohs(result.address.ipv6.sin6_port), port);
	assert_int_equal(result.addresses, 2);
	assert_int_equal(result.attempts, 1);
	assert_true(result.resolved_ns > 0 && result.resolved_ns <= result.took_ns);
}

/* The RFC's own case: SYNs to the IPv6 address go nowhere. */
static void ipv4_wins_when_ipv6_is_dead(void **state)
{
	struct stint_connect_name_options options = options_of_test();

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, FULL);
	options.attempt_delay_ns = MS;
	begin_with(&options);
	answer(AF_INET6, 0, 1);
	answer(AF_INET, 0, 1);
	wait_for_result();
	assert_int_equal(result.error, 0);
	assert_int_equal(result.address.any.sa_family, AF_INET);
	assert_int_equal(result.attempts, 2);
}

static void families_take_turns(void **state)
{
	struct stint_connect_name_options options = options_of_test();

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, FULL);
	options.attempt_delay_ns = 50 * MS; /* time enough for the second to be accepted */
	begin_with(&options);
	answer(AF_INET6, 0, 5);
	answer(AF_INET, 0, 5);
	wait_for_result();
	assert_int_equal(result.error, 0);
	assert_int_equal(result.address.any.sa_family, AF_INET);
	assert_int_equal(result.attempts, 2);
	assert_int_equal(result.addresses, 10);
}

static void a_refused_address_is_followed_by_the_next_at_once(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, REFUSES);
	begin();
	answer(AF_INET6, 0, 1);
	answer(AF_INET, 0, 1);
	wait_for_result();
	assert_int_equal(result.error, 0);
	assert_int_equal(result.attempts, 2);
}

static void ipv4_waits_a_little_for_ipv6_to_be_looked_up(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	begin();
	answer(AF_INET, 0, 1);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(results, 0);
	answer(AF_INET6, 0, 1);
	wait_for_result();
	assert_int_equal(result.address.any.sa_family, AF_INET6);
	assert_int_equal(result.attempts, 1);
}

static void ipv4_does_not_wait_for_ipv6_for_ever(void **state)
{
	struct stint_connect_name_options options = options_of_test();

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	options.resolution_delay_ns = MS;
	begin_with(&options);
	answer(AF_INET, 0, 1);
	wait_for_result();
	assert_int_equal(result.error, 0);
	assert_int_equal(result.address.any.sa_family, AF_INET);
	assert_int_equal(cancels, 1);
}

static void addresses_that_come_late_are_tried_too(void **state)
{
	struct stint_connect_name_options options = options_of_test();

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, FULL);
	options.attempt_delay_ns = MS;
	begin_with(&options);
	answer(AF_INET6, 0, 1);
	for (int i = 0; i < 10; i++)
		assert_int_equal(stint_loop_iterate(loop, MS), 0);
	assert_int_equal(results, 0);
	answer(AF_INET, 0, 1);
	wait_for_result();
	assert_int_equal(result.error, 0);
	assert_int_equal(result.attempts, 2);
}

static void when_all_fail_the_last_error_is_told(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(REFUSES, REFUSES);
	begin();
	answer(AF_INET6, 0, 3);
	answer(AF_INET, 0, 40); /* more than are kept */
	wait_for_result();
	assert_int_equal(result.error, -ECONNREFUSED);
	assert_int_equal(result.fd, -1);
	assert_int_equal(result.addresses, 3 + 32);
	assert_int_equal(result.attempts, 3 + 32);
	assert_int_equal(result.address.any.sa_family, AF_INET);
}

static void the_deadline_covers_looking_up(void **state)
{
	struct stint_connect_name_options options = options_of_test();

	(void)state;
	port = 1;
	options.timeout_ns = MS;
	begin_with(&options);
	wait_for_result();
	assert_int_equal(result.error, -ETIMEDOUT);
	assert_int_equal(result.attempts, 0);
	assert_int_equal(result.address.any.sa_family, AF_UNSPEC);
	assert_int_equal(cancels, 2);
}

static void the_deadline_covers_connecting(void **state)
{
	struct stint_connect_name_options options = options_of_test();

	(void)state;
	need_ipv6();
	open_listeners(FULL, FULL);
	options.timeout_ns = 50 * MS;
	begin_with(&options);
	answer(AF_INET, 0, 1);
	answer(AF_INET6, -ENODATA, 0);
	wait_for_result();
	assert_int_equal(result.error, -ETIMEDOUT);
}

static void how_a_name_is_not_found_is_told(void **state)
{
	static const struct {
		int ipv6, ipv4, error;
	} cases[] = {
		{-ENOENT, -ENOENT, -ENOENT},        {-ENODATA, -ENODATA, -ENODATA},
		{-ENODATA, -EREMOTEIO, -EREMOTEIO}, {-EREMOTEIO, -ENODATA, -EREMOTEIO},
		{-EREMOTEIO, -ENOENT, -ENOENT},     {0, 0, -ENODATA},
	};

	(void)state;
	port = 1;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		results = 0;
		begin();
		answer(AF_INET6, cases[i].ipv6, 0);
		answer(AF_INET, cases[i].ipv4, 0);
		wait_for_result();
		assert_int_equal(result.error, cases[i].error);
		assert_int_equal(result.attempts, 0);
	}
	assert_string_equal(stint_connect_name_error(-ENOENT), "no such host name");
	assert_string_equal(stint_connect_name_error(-ECONNREFUSED), "Connection refused");
	assert_non_null(stint_connect_name_error(-99999));
}

static void an_address_in_figures_is_not_looked_up(void **state)
{
	static const char *const texts[] = {"127.0.0.1", "::1"};
	struct stint_connect_name_options options = options_of_test();
	struct stint_connect_name *name;

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	for (int i = 0; i < 2; i++) {
		results = 0;
		assert_int_equal(stint_connect_name_new(&name, loop, texts[i], port, &options, handler,
							on_result, NULL),
				 0);
		assert_int_equal(results, 0);
		wait_for_result();
		assert_int_equal(result.error, 0);
	}
	assert_int_equal(starts, 0);
}

static void an_address_in_figures_of_another_family_is_none(void **state)
{
	static const struct {
		const char *text;
		int family;
	} cases[] = {{"::1", AF_INET}, {"127.0.0.1", AF_INET6}};
	struct stint_connect_name_options options = options_of_test();
	struct stint_connect_name *name;

	(void)state;
	for (int i = 0; i < 2; i++) {
		results = 0;
		options.family = cases[i].family;
		assert_int_equal(stint_connect_name_new(&name, loop, cases[i].text, 1, &options, handler,
							on_result, NULL),
				 0);
		assert_int_equal(results, 0);
		wait_for_result();
		assert_int_equal(result.error, -ENODATA);
		assert_int_equal(result.addresses, 0);
	}
	assert_int_equal(starts, 0);
}

static void one_family_is_looked_up_if_one_is_asked_for(void **state)
{
	struct stint_connect_name_options options = options_of_test();

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	options.family = AF_INET;
	begin_with(&options);
	assert_int_equal(starts, 1);
	answer(AF_INET, 0, 1);
	wait_for_result();
	assert_int_equal(result.address.any.sa_family, AF_INET);
}

#define STAGES 4

/* Looking up; answered but not told; one family told; connecting. */
static struct stint_connect_name *begin_and_go_to_stage(int stage)
{
	struct stint_connect_name *name = begin();

	if (stage >= 1)
		answer(AF_INET, 0, 1);
	if (stage >= 2)
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
	if (stage >= 3) {
		answer(AF_INET6, 0, 1);
		assert_int_equal(stint_loop_iterate(loop, 0), 0);
	}
	return name;
}

static void it_can_be_given_up_at_every_stage(void **state)
{
	static const int cancelled[STAGES] = {2, 1, 1, 0};
	int before;

	(void)state;
	need_ipv6();
	open_listeners(FULL, FULL);
	before = count_descriptors();
	for (int stage = 0; stage < STAGES; stage++) {
		cancels = 0;
		assert_null(stint_connect_name_free(begin_and_go_to_stage(stage)));
		assert_int_equal(cancels, cancelled[stage]);
		assert_int_equal(stint_loop_run(loop), 0); /* nothing is left */
		assert_int_equal(count_descriptors(), before);
	}
	assert_int_equal(results, 0);
	assert_null(stint_connect_name_free(NULL));
}

static void free_loop_at_stage(int stage)
{
	open_listeners(FULL, FULL);
	begin_and_go_to_stage(stage);
	loop = stint_loop_free(loop);
	assert_int_equal(frees, 1);
	assert_int_equal(results, 0);
}

static void a_loop_can_be_freed_while_names_are_looked_up(void **state)
{
	(void)state;
	need_ipv6();
	free_loop_at_stage(0);
}

static void a_loop_can_be_freed_when_answers_have_come(void **state)
{
	(void)state;
	need_ipv6();
	free_loop_at_stage(1);
}

static void a_loop_can_be_freed_while_connecting(void **state)
{
	(void)state;
	need_ipv6();
	free_loop_at_stage(3);
}

static void a_resolver_that_is_freed_ends_its_lookups(void **state)
{
	(void)state;
	port = 1;
	begin();
	resolver = stint_resolver_free(resolver);
	assert_int_equal(cancels, 2);
	assert_int_equal(frees, 1);
	wait_for_result();
	assert_int_equal(result.error, -ECANCELED);
	assert_null(stint_resolver_free(NULL));
}

static void free_the_loop(const struct stint_connect_name_result *given, void *ctx)
{
	on_result(given, ctx);
	loop = stint_loop_free(loop);
}

static void the_callback_may_free_the_loop(void **state)
{
	struct stint_connect_name_options options = options_of_test();
	struct stint_connect_name *name;

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, FULL);
	options.attempt_delay_ns = MS;
	assert_int_equal(stint_connect_name_new(&name, loop, "host.test", port, &options, handler,
						free_the_loop, NULL),
			 0);
	answer(AF_INET6, 0, 2);
	answer(AF_INET, 0, 2);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(frees, 1);
}

static void a_resolver_that_is_freed_may_free_the_loop_as_it_cancels(void **state)
{
	(void)state;
	port = 1;
	begin();
	cancel_frees_loop = true;
	resolver = stint_resolver_free(resolver);
	assert_null(loop);
	assert_int_equal(cancels, 2);
	assert_int_equal(frees, 1);
	assert_int_equal(results, 0);
}

static void a_resolver_that_is_freed_may_free_the_loop_as_it_ends(void **state)
{
	(void)state;
	port = 1;
	begin();
	free_frees_loop = true;
	resolver = stint_resolver_free(resolver);
	assert_null(loop);
	assert_int_equal(cancels, 2);
	assert_int_equal(frees, 1);
	assert_int_equal(results, 0);
}

static void what_cannot_be_begun_is_refused(void **state)
{
	struct stint_connect_name_options options = options_of_test();
	struct stint_connect_name *name = NULL;
	char longest[256];

	(void)state;
	memset(longest, 'a', 254);
	longest[254] = '\0';
	assert_int_equal(stint_connect_name_new(&name, loop, NULL, 1, &options, handler, on_result, NULL),
			 -EINVAL);
	assert_int_equal(stint_connect_name_new(&name, loop, "", 1, &options, handler, on_result, NULL),
			 -EINVAL);
	assert_int_equal(stint_connect_name_new(&name, loop, longest, 1, &options, handler, on_result, NULL),
			 -EINVAL);
	assert_int_equal(stint_connect_name_new(&name, loop, "host.test", 0, &options, handler, on_result,
						NULL),
			 -EINVAL);
	assert_int_equal(stint_connect_name_new(&name, loop, "host.test", 1, &options, handler, NULL, NULL),
			 -EINVAL);
	options.family = AF_UNIX;
	assert_int_equal(stint_connect_name_new(&name, loop, "host.test", 1, &options, handler, on_result,
						NULL),
			 -EINVAL);
	options.family = 0;
	for (refuse_after = 0; refuse_after < 2; refuse_after++) {
		starts = 0;
		assert_int_equal(stint_connect_name_new(&name, loop, "host.test", 1, &options, handler,
							on_result, NULL),
				 -ENOMEM);
	}
	assert_null(name);
	assert_int_equal(cancels, 1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 0);
}

/* ---- the loop's own resolver ---- */

static sem_t gate; /* what lookups in threads wait for, to fail then; unless they are libc's */
static bool gated;
static atomic_int looking; /* threads in getaddrinfo() */

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
	int (*of_libc)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	int error = EAI_NONAME;

	looking++;
	if (!gated || hints->ai_flags & AI_NUMERICHOST) { /* the latter is called by the loop */
		*(void **)&of_libc = dlsym(RTLD_NEXT, "getaddrinfo");
		error = of_libc(node, service, hints, ret);
	} else {
		while (sem_wait(&gate) < 0)
			;
	}
	looking--;
	return error;
}

/* With lookups that end once so many are let through. */
static int open_gate(void **state)
{
	gated = true;
	sem_init(&gate, 0, 0);
	return open_resolver(state);
}

static void let_through(int lookups)
{
	while (lookups-- > 0)
		sem_post(&gate);
}

/* A test that failed has left some waiting, and they are waited for at the end. */
static int close_gate(void **state)
{
	int error = close_loop(state);

	let_through(1000);
	stint_thread_resolver_wait();
	gated = false;
	sem_destroy(&gate);
	return error;
}

static void await_lookups(int count)
{
	while (looking < count)
		sched_yield();
}

/* One for each family. */
static void await_both_lookups(void)
{
	await_lookups(2);
}

static void a_name_of_the_hosts_file_is_found_by_libc_in_threads(void **state)
{
	struct stint_connect_name *name;

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	assert_int_equal(stint_connect_name_new(&name, loop, "localhost", port, NULL, handler, on_result,
						NULL),
			 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(result.error, 0);
	assert_int_equal(starts, 0);
}

static void many_names_are_looked_up_by_few_threads(void **state)
{
	struct stint_thread_resolver_options few = {.size = sizeof(few), .threads = 2};
	struct stint_connect_name_options options = {.size = sizeof(options)};
	struct stint_connect_name *name;

	(void)state;
	need_ipv6();
	open_listeners(REFUSES, REFUSES);
	assert_int_equal(stint_thread_resolver_new(&options.resolver, loop, &few), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(stint_connect_name_new(&name, loop, "localhost", port, &options, handler,
							on_result, NULL),
				 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 50);
	assert_int_equal(result.error, -ECONNREFUSED);
	assert_null(stint_resolver_free(options.resolver));
}

/* Whether they wait, run or are done: nobody waits for libc, unless that is asked for. */
static void lookups_in_threads_can_be_given_up(void **state)
{
	struct stint_connect_name *names[40];

	(void)state;
	for (int i = 0; i < 40; i++)
		assert_int_equal(stint_connect_name_new(&names[i], loop, "localhost", 1, NULL, handler,
							on_result, NULL),
				 0);
	for (int i = 0; i < 40; i++)
		stint_connect_name_free(names[i]);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 0);
	for (int i = 0; i < 40; i++)
		assert_int_equal(stint_connect_name_new(&names[i], loop, "localhost", 1, NULL, handler,
							on_result, NULL),
				 0);
	loop = stint_loop_free(loop);
	assert_int_equal(results, 0);
	let_through(160);
	stint_thread_resolver_wait();
	assert_int_equal(looking, 0);
}

/* Nor a thread that another lookup waits for, whether that was begun before or is after. */
static void what_was_given_up_holds_up_nobody(void **state)
{
	struct stint_thread_resolver_options few = {.size = sizeof(few), .threads = 2};
	struct stint_connect_name_options options = {.size = sizeof(options)};
	struct stint_connect_name *given_up, *waiting, *later;

	(void)state;
	assert_int_equal(stint_thread_resolver_new(&options.resolver, loop, &few), 0);
	assert_int_equal(stint_connect_name_new(&given_up, loop, "localhost", 1, &options, handler, on_result,
						NULL),
			 0);
	await_lookups(2);
	assert_int_equal(stint_connect_name_new(&waiting, loop, "localhost", 1, &options, handler, on_result,
						NULL),
			 0);
	assert_int_equal(looking, 2);
	stint_connect_name_free(given_up);
	assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
	await_lookups(4);
	stint_connect_name_free(waiting);
	assert_int_equal(stint_connect_name_new(&later, loop, "localhost", 1, &options, handler, on_result,
						NULL),
			 0);
	await_lookups(6);
	let_through(6);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(result.error, -ENOENT);
	assert_null(stint_resolver_free(options.resolver));
	stint_thread_resolver_wait();
}

static void what_was_given_up_can_be_waited_for(void **state)
{
	struct stint_connect_name *name;

	(void)state;
	assert_int_equal(stint_connect_name_new(&name, loop, "localhost", 1, NULL, handler, on_result, NULL),
			 0);
	await_both_lookups();
	loop = stint_loop_free(loop);
	let_through(2);
	stint_thread_resolver_wait();
	assert_int_equal(looking, 0);
	stint_thread_resolver_wait(); /* for none */
}

/* The child has none of its parent's threads, and may look up names by its own. */
static void a_child_waits_for_its_own_lookups_alone(void **state)
{
	struct stint_connect_name *name;
	int status;
	pid_t pid;

	(void)state;
	fixture_skip_without_threads_after_fork();
	assert_int_equal(stint_connect_name_new(&name, loop, "localhost", 1, NULL, handler, on_result, NULL),
			 0);
	await_both_lookups();
	pid = fork();
	if (pid == 0) {
		looking = 0;
		let_through(2);
		stint_thread_resolver_wait();
		if (stint_loop_new(&loop, NULL) < 0 ||
		    stint_connect_name_new(&name, loop, "localhost", 1, NULL,
					   (uint32_t)stint_loop_handler(loop, "child", 0), on_result,
					   NULL) < 0)
			_exit(1);
		stint_loop_free(loop);
		stint_thread_resolver_wait();
		_exit(looking == 0 ? 0 : 2);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	loop = stint_loop_free(loop);
	let_through(2);
	stint_thread_resolver_wait();
	assert_int_equal(looking, 0);
}

static int wait_for_libc(void **state)
{
	stint_thread_resolver_wait();
	return fixture_remove_directory(state);
}

#define GATED(name) cmocka_unit_test_setup_teardown(name, open_gate, close_gate)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRIPTED(the_better_family_is_connected_to_when_both_are_known),
		SCRIPTED(ipv4_wins_when_ipv6_is_dead),
		SCRIPTED(families_take_turns),
		SCRIPTED(a_refused_address_is_followed_by_the_next_at_once),
		SCRIPTED(ipv4_waits_a_little_for_ipv6_to_be_looked_up),
		SCRIPTED(ipv4_does_not_wait_for_ipv6_for_ever),
		SCRIPTED(addresses_that_come_late_are_tried_too),
		SCRIPTED(when_all_fail_the_last_error_is_told),
		SCRIPTED(the_deadline_covers_looking_up),
		SCRIPTED(the_deadline_covers_connecting),
		SCRIPTED(how_a_name_is_not_found_is_told),
		SCRIPTED(an_address_in_figures_is_not_looked_up),
		SCRIPTED(an_address_in_figures_of_another_family_is_none),
		SCRIPTED(one_family_is_looked_up_if_one_is_asked_for),
		SCRIPTED(it_can_be_given_up_at_every_stage),
		SCRIPTED(a_loop_can_be_freed_while_names_are_looked_up),
		SCRIPTED(a_loop_can_be_freed_when_answers_have_come),
		SCRIPTED(a_loop_can_be_freed_while_connecting),
		SCRIPTED(a_resolver_that_is_freed_ends_its_lookups),
		SCRIPTED(the_callback_may_free_the_loop),
		SCRIPTED(a_resolver_that_is_freed_may_free_the_loop_as_it_cancels),
		SCRIPTED(a_resolver_that_is_freed_may_free_the_loop_as_it_ends),
		SCRIPTED(what_cannot_be_begun_is_refused),
		GATED(lookups_in_threads_can_be_given_up),
		GATED(what_was_given_up_holds_up_nobody),
		GATED(what_was_given_up_can_be_waited_for),
		GATED(a_child_waits_for_its_own_lookups_alone),
		/* Last: libc may go on to look for the other family. */
		SCRIPTED(a_name_of_the_hosts_file_is_found_by_libc_in_threads),
		SCRIPTED(many_names_are_looked_up_by_few_threads),
	};

	return cmocka_run_group_tests_name("connect_name", tests, fixture_make_directory, wait_for_libc);
}
