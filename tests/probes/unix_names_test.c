/* SPDX-License-Identifier: MIT */

/* How the ends of unix sockets are named from what the kernel tells of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "probes/unix_names.h"

static struct stint_unix_names *names;

static int set_up(void **state)
{
	(void)state;
	return stint_unix_names_new(&names);
}

static int tear_down(void **state)
{
	(void)state;
	names = stint_unix_names_free(names);
	return 0;
}

static void add(uint64_t socket, const char *local, uint32_t local_len, const char *peer, uint32_t peer_len)
{
	struct record_unix record = {.type = RECORD_UNIX, .socket = socket};

	memset(record.local, 'x', sizeof(record.local)); /* what is left over in the ring */
	memset(record.peer, 'x', sizeof(record.peer));
	memcpy(record.local, local, strlen(local + (*local == '\0')) + (*local == '\0'));
	memcpy(record.peer, peer, strlen(peer));
	record.local_len = local_len;
	record.peer_len = peer_len;
	stint_unix_names_add(names, &record);
}

static void check(uint64_t socket, const char *expected_local, const char *expected_remote)
{
	char local[64] = "unix:[7]", remote[64] = "pid 12";

	stint_unix_name(names, socket, local, remote, sizeof(local));
	assert_string_equal(local, expected_local);
	assert_string_equal(remote, expected_remote);
}

static void ends_without_a_path_keep_their_numbers(void **state)
{
	(void)state;
	add(1, "", 0, "", 0);
	check(1, "unix:[7]", "pid 12");
	check(2, "unix:[7]", "pid 12"); /* nothing was told of it */
	check(0, "unix:[7]", "pid 12");
}

static void paths_take_the_place_of_numbers(void **state)
{
	(void)state;
	add(1, "/run/a", 6, "/run/b", 6);
	check(1, "/run/a", "/run/b (pid 12)");
}

static void an_abstract_name_begins_with_an_at_sign(void **state)
{
	(void)state;
	add(1, "\0name", 5, "", 0);
	check(1, "@name", "pid 12");
}

static void of_a_path_that_is_too_long_the_end_is_kept(void **state)
{
	char path[RECORD_PATH_BYTES + 1], expected[64], expected_peer[64];

	(void)state;
	for (size_t i = 0; i < RECORD_PATH_BYTES; i++)
		path[i] = (char)('a' + i % 26);
	path[RECORD_PATH_BYTES] = '\0';
	add(1, path, RECORD_PATH_BYTES, path, RECORD_PATH_BYTES);
	snprintf(expected, sizeof(expected), "...%s", path + RECORD_PATH_BYTES - 60);
	snprintf(expected_peer, sizeof(expected_peer), "...%s (pid 12)", path + RECORD_PATH_BYTES - 51);
	check(1, expected, expected_peer);
}

static void a_length_beyond_the_longest_path_is_cut(void **state)
{
	char local[256] = "", remote[256] = "pid 12";

	(void)state;
	add(1, "/run/a", UINT32_MAX, "", 0);
	/* Filled with what the ring held, to the record's end and no further. */
	stint_unix_name(names, 1, local, remote, sizeof(local));
	assert_int_equal(strlen(local), RECORD_PATH_BYTES);
}

static void a_newer_socket_takes_the_place_of_one_thousands_before(void **state)
{
	(void)state;
	add(1, "/run/a", 6, "", 0);
	add(1 + 4096, "/run/b", 6, "", 0);
	check(1, "unix:[7]", "pid 12");
	check(1 + 4096, "/run/b", "pid 12");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ends_without_a_path_keep_their_numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(paths_take_the_place_of_numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_abstract_name_begins_with_an_at_sign, set_up, tear_down),
		cmocka_unit_test_setup_teardown(of_a_path_that_is_too_long_the_end_is_kept, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_length_beyond_the_longest_path_is_cut, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_newer_socket_takes_the_place_of_one_thousands_before,
						set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
