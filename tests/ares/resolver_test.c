/* SPDX-License-Identifier: MIT */

/* Names looked up by c-ares on the loop, from a name server of the test's own. */

#include "dns_server.h"
#include "names_fixture.h"

#include <stint/ares.h>

/* c-ares 1.18 itself loses the copy of a name that it makes for "localhost". */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:libcares.so";
}

static struct dns_server *server;
static struct stint_resolver *resolver;

static void open_resolver_with(uint32_t try_ms, uint32_t tries)
{
	struct stint_ares_options options = {.size = sizeof(options),
					     .servers = dns_server_address(server),
					     .try_ms = try_ms,
					     .tries = tries};

	assert_int_equal(stint_ares_resolver_new(&resolver, loop, &options, handler), 0);
}

static int open_server(void **state)
{
	if (open_loop(state) < 0)
		return -1;
	server = dns_server_start();
	return 0;
}

static int close_server(void **state)
{
	close_loop(state);
	dns_server_stop(server);
	return 0;
}

static struct stint_connect_name *begin_within(const char *text, uint64_t timeout_ns)
{
	struct stint_connect_name_options options = {.size = sizeof(options),
						     .resolver = resolver,
						     .timeout_ns = timeout_ns};
	struct stint_connect_name *name;

	assert_int_equal(stint_connect_name_new(&name, loop, text, port, &options, handler, on_result, NULL),
			 0);
	assert_int_equal(results, 0);
	return name;
}

static struct stint_connect_name *begin(const char *text)
{
	return begin_within(text, 0);
}

static void a_name_with_both_families_is_connected_to(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	open_resolver_with(0, 0);
	begin("46-1.test");
	assert_int_equal(stint_loop_run(loop), 0); /* and nothing of c-ares keeps it running */
	assert_int_equal(results, 1);
	assert_int_equal(result.error, 0);
	assert_int_equal(result.addresses, 2);
	assert_int_equal(result.address.any.sa_family, AF_INET6);
	assert_int_equal(dns_server_questions(server), 2);
}

static void a_name_with_one_family_is_connected_to(void **state)
{
	static const char *const names[] = {"4-1.test", "6-1.test"};

	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	open_resolver_with(0, 0);
	for (int i = 0; i < 2; i++) {
		results = 0;
		begin(names[i]);
		wait_for_result();
		assert_int_equal(result.error, 0);
		assert_int_equal(result.addresses, 1);
	}
}

static void a_question_for_ipv6_that_is_never_answered_holds_up_nobody(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	open_resolver_with(3600000, 1);
	begin("slow6.test");
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(result.error, 0);
	assert_int_equal(result.address.any.sa_family, AF_INET);
}

static void how_a_name_is_not_found_is_told(void **state)
{
	static const struct {
		const char *name;
		int error;
	} cases[] = {{"nowhere.test", -ENOENT},
		     {"46-0.test", -ENODATA},
		     {"broken.test", -EREMOTEIO},
		     {"no..such.name", -ENOENT}};

	(void)state;
	port = 1;
	open_resolver_with(0, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		results = 0;
		begin(cases[i].name);
		wait_for_result();
		assert_int_equal(result.error, cases[i].error);
		assert_int_equal(result.fd, -1);
	}
}

static void a_server_that_is_silent_is_given_up(void **state)
{
	(void)state;
	port = 1;
	open_resolver_with(10, 2);
	begin("silent.test");
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(result.error, -EREMOTEIO);
	assert_int_equal(dns_server_questions(server), 4);
}

static void the_deadline_ends_a_lookup(void **state)
{
	(void)state;
	port = 1;
	open_resolver_with(3600000, 1);
	begin_within("silent.test", MS);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(result.error, -ETIMEDOUT);
}

static void all_addresses_of_a_long_answer_are_tried(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(REFUSES, REFUSES);
	open_resolver_with(0, 0);
	begin("46-12.test");
	wait_for_result();
	assert_int_equal(result.error, -ECONNREFUSED);
	assert_int_equal(result.addresses, 24);
	assert_int_equal(result.attempts, 24);
}

static void the_hosts_file_is_asked_first(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	open_resolver_with(0, 0);
	begin("localhost");
	wait_for_result();
	assert_int_equal(result.error, 0);
	assert_int_equal(dns_server_questions(server), 0);
}

static void lookups_can_be_given_up_and_leave_nothing(void **state)
{
	struct stint_connect_name *names[10];
	int before;

	(void)state;
	port = 1;
	open_resolver_with(3600000, 1);
	before = count_descriptors();
	for (int i = 0; i < 10; i++)
		names[i] = begin("silent.test");
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	for (int i = 0; i < 10; i++)
		stint_connect_name_free(names[i]);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 0);
	assert_int_equal(count_descriptors(), before);
}

static void of_two_lookups_one_can_be_given_up(void **state)
{
	(void)state;
	need_ipv6();
	open_listeners(ACCEPTS, ACCEPTS);
	open_resolver_with(3600000, 1);
	begin("silent.test");
	stint_connect_name_free(begin("slow6.test"));
	begin("46-1.test");
	wait_for_result();
	assert_int_equal(result.error, 0);
}

/* c-ares would go on with the one that was given up. */
static void of_two_lookups_the_end_of_the_other_is_the_end_of_all(void **state)
{
	struct stint_connect_name *silent;

	(void)state;
	port = 1;
	open_resolver_with(3600000, 1);
	silent = begin("silent.test");
	begin("nowhere.test");
	stint_connect_name_free(silent);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(result.error, -ENOENT);
}

static void an_address_of_the_other_family_is_no_question(void **state)
{
	struct stint_connect_name_options options = {.size = sizeof(options),
						     .resolver = NULL,
						     .family = AF_INET};
	struct stint_connect_name *name;

	(void)state;
	open_resolver_with(0, 0);
	options.resolver = resolver;
	assert_int_equal(stint_connect_name_new(&name, loop, "::1", 1, &options, handler, on_result, NULL),
			 0);
	wait_for_result();
	assert_int_equal(result.error, -ENODATA);
	assert_int_equal(dns_server_questions(server), 0);
}

static void a_resolver_can_be_freed_while_it_looks_up(void **state)
{
	(void)state;
	port = 1;
	open_resolver_with(3600000, 1);
	begin("silent.test");
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	assert_null(stint_resolver_free(resolver));
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(results, 1);
	assert_int_equal(result.error, -ECANCELED);
}

static void a_loop_can_be_freed_while_it_looks_up(void **state)
{
	int before = count_descriptors();

	(void)state;
	port = 1;
	open_resolver_with(3600000, 1);
	begin("silent.test");
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	loop = stint_loop_free(loop);
	assert_int_equal(results, 0);
	assert_true(count_descriptors() < before);
}

static void what_makes_no_resolver_is_refused(void **state)
{
	static const char *const servers[] = {"no address", "", ","};
	struct stint_ares_options options = {.size = sizeof(options)};

	(void)state;
	assert_int_equal(stint_ares_resolver_new(NULL, loop, NULL, handler), -EINVAL);
	assert_int_equal(stint_ares_resolver_new(&resolver, NULL, NULL, handler), -EINVAL);
	assert_int_equal(stint_ares_resolver_new(&resolver, loop, NULL, 9999), -EINVAL);
	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
		options.servers = servers[i];
		assert_int_equal(stint_ares_resolver_new(&resolver, loop, &options, handler), -EINVAL);
	}
}

#define SERVED(name) cmocka_unit_test_setup_teardown(name, open_server, close_server)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(a_name_with_both_families_is_connected_to),
		SERVED(a_name_with_one_family_is_connected_to),
		SERVED(a_question_for_ipv6_that_is_never_answered_holds_up_nobody),
		SERVED(how_a_name_is_not_found_is_told),
		SERVED(a_server_that_is_silent_is_given_up),
		SERVED(the_deadline_ends_a_lookup),
		SERVED(all_addresses_of_a_long_answer_are_tried),
		SERVED(the_hosts_file_is_asked_first),
		SERVED(lookups_can_be_given_up_and_leave_nothing),
		SERVED(of_two_lookups_one_can_be_given_up),
		SERVED(of_two_lookups_the_end_of_the_other_is_the_end_of_all),
		SERVED(an_address_of_the_other_family_is_no_question),
		SERVED(a_resolver_can_be_freed_while_it_looks_up),
		SERVED(a_loop_can_be_freed_while_it_looks_up),
		SERVED(what_makes_no_resolver_is_refused),
	};

	return cmocka_run_group_tests_name("ares", tests, fixture_make_directory, fixture_remove_directory);
}
