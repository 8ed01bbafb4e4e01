/* SPDX-License-Identifier: MIT */

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "report/endpoint.h"

static void check(const char *text, const char *address, uint16_t port)
{
	struct endpoint endpoint;
	uint8_t expected[16];

	assert_int_equal(inet_pton(AF_INET6, address, expected), 1);
	assert_true(endpoint_parse(&endpoint, text));
	assert_memory_equal(endpoint.address, expected, sizeof(expected));
	assert_int_equal(endpoint.port, port);
}

static void a_port_alone_is_of_any_address(void **state)
{
	(void)state;
	check("1", "::", 1);
	check("65535", "::", 65535);
}

static void an_ipv4_address_is_mapped(void **state)
{
	(void)state;
	check("127.0.0.1:80", "::ffff:127.0.0.1", 80);
}

static void an_ipv6_address_is_in_brackets(void **state)
{
	(void)state;
	check("[::1]:6379", "::1", 6379);
	check("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80);
}

static void the_unspecified_address_of_either_family_is_any(void **state)
{
	(void)state;
	check("0.0.0.0:80", "::", 80);
	check("[::]:80", "::", 80);
	check("[::ffff:0.0.0.0]:80", "::", 80);
}

static void an_end_is_printed_as_it_is_read(void **state)
{
	static const char *const texts[][2] = {{"80", "80"},
					       {"0.0.0.0:80", "80"},
					       {"127.0.0.1:65535", "127.0.0.1:65535"},
					       {"[::1]:6379", "[::1]:6379"},
					       {"[2001:db8:1111:2222:3333:4444:5555:6666]:65535",
						"[2001:db8:1111:2222:3333:4444:5555:6666]:65535"}};
	char text[ENDPOINT_TEXT];
	struct endpoint endpoint;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_true(endpoint_parse(&endpoint, texts[i][0]));
		endpoint_print(text, &endpoint);
		assert_string_equal(text, texts[i][1]);
	}
}

static void what_is_no_end_of_a_connection_is_refused(void **state)
{
	static const char *const texts[] = {"",
					    "0",
					    "65536",
					    "-1",
					    "+80",
					    " 80",
					    "80x",
					    "1e3",
					    "99999999999999999999",
					    ":80",
					    "localhost:80",
					    "127.0.0.1",
					    "127.0.0.1:",
					    "127.0.0.1:0",
					    "127.0.0.256:80",
					    "[127.0.0.1]:80",
					    "::1:80",
					    "[::1]",
					    "[]:80",
					    "[:80",
					    "]:80",
					    "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]:80"};
	struct endpoint endpoint;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (endpoint_parse(&endpoint, texts[i]))
			fail_msg("\"%s\" was taken", texts[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_port_alone_is_of_any_address),
		cmocka_unit_test(an_ipv4_address_is_mapped),
		cmocka_unit_test(an_ipv6_address_is_in_brackets),
		cmocka_unit_test(the_unspecified_address_of_either_family_is_any),
		cmocka_unit_test(an_end_is_printed_as_it_is_read),
		cmocka_unit_test(what_is_no_end_of_a_connection_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
