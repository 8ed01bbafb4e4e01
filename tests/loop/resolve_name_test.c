/* SPDX-License-Identifier: MIT */

/* The addresses of a name, from a resolver that answers when the test says so. */

#include "scripted_resolver.h"

static struct stint_resolve_result found;
static union stint_address addresses[64];
static bool frees_loop;

static void on_found(const struct stint_resolve_result *given, void *ctx)
{
	assert_ptr_equal(ctx, &found);
	results++;
	found = *given;
	memcpy(addresses, given->addresses, given->count * sizeof(addresses[0]));
	if (frees_loop)
		loop = stint_loop_free(loop);
}

static struct stint_resolve *begin_with(const char *text, uint64_t timeout_ns, int family)
{
	struct stint_resolve_options options = {.size = sizeof(options),
						.resolver = resolver,
						.timeout_ns = timeout_ns,
						.family = family};
	struct stint_resolve *resolve;

	results = 0;
	frees_loop = false;
	assert_int_equal(stint_resolve_new(&resolve, loop, text, 80, &options, handler, on_found, &found), 0);
	assert_int_equal(results, 0);
	return resolve;
}

static struct stint_resolve *begin(void)
{
	return begin_with("host.test", NEVER_NS, 0);
}

static void addresses_of_both_families_come_best_first_with_the_port(void **state)
{
	(void)state;
	need_ipv6();
	begin();
	answer(AF_INET, 0, 2);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_int_equal(results, 0);
	answer(AF_INET6, 0, 1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(found.error, 0);
	assert_int_equal(found.count, 3);
	assert_int_equal(addresses[0].any.sa_family, AF_INET6);
	assert_int_equal(ntohs(addresses[0].ipv6.sin6_port), 80);
	assert_int_equal(addresses[2].any.sa_family, AF_INET);
	assert_int_equal(ntohs(addresses[2].ipv4.sin_port), 80);
	assert_int_equal(addresses[2].ipv4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_true(found.took_ns > 0);
}

static void one_family_that_is_found_is_enough(void **state)
{
	static const int families[] = {AF_INET, AF_INET6};

	(void)state;
	for (int i = 0; i < 2; i++) {
		begin();
		answer(families[i], 0, 1);
		answer(families[!i], -EREMOTEIO, 0);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(results, 1);
		assert_int_equal(found.error, 0);
		assert_int_equal(found.count, 1);
		assert_int_equal(addresses[0].any.sa_family, families[i]);
	}
}

static void why_no_address_is_found_is_told(void **state)
{
	static const int cases[][3] = {{-ENOENT, -EREMOTEIO, -ENOENT},
				       {-ENODATA, -EREMOTEIO, -EREMOTEIO},
				       {-ENODATA, -ENODATA, -ENODATA}};

	(void)state;
	for (int i = 0; i < 3; i++) {
		begin();
		answer(AF_INET6, cases[i][0], 0);
		answer(AF_INET, cases[i][1], 0);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(results, 1);
		assert_int_equal(found.error, cases[i][2]);
		assert_int_equal(found.count, 0);
	}
}

static void what_was_found_by_the_deadline_is_told(void **state)
{
	(void)state;
	for (uint32_t count = 0; count < 2; count++) {
		begin_with("host.test", MS, 0);
		if (count)
			answer(AF_INET, 0, count);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(results, 1);
		assert_int_equal(found.error, count ? 0 : -ETIMEDOUT);
		assert_int_equal(found.count, count);
	}
	assert_int_equal(cancels, 3);
}

static void an_address_in_figures_is_its_own(void **state)
{
	static const struct {
		const char *text;
		int family, error;
	} cases[] = {{"127.0.0.1", 0, 0}, {"::1", AF_INET6, 0}, {"::1", AF_INET, -ENODATA}};

	(void)state;
	for (int i = 0; i < 3; i++) {
		begin_with(cases[i].text, NEVER_NS, cases[i].family);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(results, 1);
		assert_int_equal(found.error, cases[i].error);
		assert_int_equal(found.count, cases[i].error == 0);
	}
	assert_int_equal(starts, 0);
}

static void a_lookup_that_is_given_up_calls_nobody(void **state)
{
	(void)state;
	stint_resolve_free(begin());
	assert_int_equal(cancels, 2);
	stint_resolve_free(begin_with("127.0.0.1", NEVER_NS, 0));
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 0);
	assert_null(stint_resolve_free(NULL));
}

static void a_resolver_that_is_freed_ends_it(void **state)
{
	(void)state;
	begin();
	resolver = stint_resolver_free(resolver);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(found.error, -ECANCELED);
}

static void the_loop_may_be_freed_while_it_runs_and_by_its_callback(void **state)
{
	(void)state;
	begin();
	begin();
	frees_loop = true;
	answer(AF_INET6, 0, 1);
	answer(AF_INET, 0, 1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_null(loop);
	assert_int_equal(cancels, 2);
}

static void without_a_resolver_the_loops_own_is_asked(void **state)
{
	struct stint_resolve *resolve;

	(void)state;
	results = 0;
	assert_int_equal(stint_resolve_new(&resolve, loop, "localhost", 0, NULL, handler, on_found, &found),
			 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(found.error, 0);
	assert_in_range(found.count, 1, 64);
	loop = stint_loop_free(loop);
	stint_thread_resolver_wait();
}

static void what_cannot_be_looked_up_is_refused(void **state)
{
	struct stint_resolve_options options = {.size = sizeof(options), .resolver = resolver};
	struct stint_resolve *resolve;
	char text[300];

	(void)state;
	memset(text, 'a', sizeof(text));
	text[254] = '\0';
	assert_int_equal(stint_resolve_new(NULL, loop, "a", 0, &options, handler, on_found, NULL), -EINVAL);
	assert_int_equal(stint_resolve_new(&resolve, NULL, "a", 0, &options, handler, on_found, NULL),
			 -EINVAL);
	assert_int_equal(stint_resolve_new(&resolve, loop, NULL, 0, &options, handler, on_found, NULL),
			 -EINVAL);
	assert_int_equal(stint_resolve_new(&resolve, loop, "", 0, &options, handler, on_found, NULL),
			 -EINVAL);
	assert_int_equal(stint_resolve_new(&resolve, loop, text, 0, &options, handler, on_found, NULL),
			 -EINVAL);
	assert_int_equal(stint_resolve_new(&resolve, loop, "a", 0, &options, 9999, on_found, NULL), -EINVAL);
	assert_int_equal(stint_resolve_new(&resolve, loop, "a", 0, &options, handler, NULL, NULL), -EINVAL);
	options.family = AF_UNIX;
	assert_int_equal(stint_resolve_new(&resolve, loop, "a", 0, &options, handler, on_found, NULL),
			 -EINVAL);
	refuse_after = 1; /* the second of two lookups: the first is taken back */
	options.family = 0;
	assert_int_equal(stint_resolve_new(&resolve, loop, "host.test", 0, &options, handler, on_found, NULL),
			 -ENOMEM);
	assert_int_equal(cancels, 1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRIPTED(addresses_of_both_families_come_best_first_with_the_port),
		SCRIPTED(one_family_that_is_found_is_enough),
		SCRIPTED(why_no_address_is_found_is_told),
		SCRIPTED(what_was_found_by_the_deadline_is_told),
		SCRIPTED(an_address_in_figures_is_its_own),
		SCRIPTED(a_lookup_that_is_given_up_calls_nobody),
		SCRIPTED(a_resolver_that_is_freed_ends_it),
		SCRIPTED(the_loop_may_be_freed_while_it_runs_and_by_its_callback),
		SCRIPTED(without_a_resolver_the_loops_own_is_asked),
		SCRIPTED(what_cannot_be_looked_up_is_refused),
	};

	return cmocka_run_group_tests_name("resolve_name", tests, fixture_make_directory,
					   fixture_remove_directory);
}
