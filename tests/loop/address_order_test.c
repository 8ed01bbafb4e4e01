/* SPDX-License-Identifier: MIT */

/* The order of addresses, by the examples that RFC 6724 gives in section 10.2. */

#include "loop/address_order.h"
#include "loop_fixture.h"

#include <arpa/inet.h>

static union stint_address parse(const char *text)
{
	union stint_address address = {0};

	if (inet_pton(AF_INET, text, &address.ipv4.sin_addr) == 1)
		address.any.sa_family = AF_INET;
	else if (inet_pton(AF_INET6, text, &address.ipv6.sin6_addr) == 1)
		address.any.sa_family = AF_INET6;
	else
		fail_msg("no address: %s", text);
	return address;
}

static struct address_rank rank(const char *destination, const char *source)
{
	union stint_address to = parse(destination), from;

	if (!source)
		return address_rank(&to, NULL);
	from = parse(source);
	return address_rank(&to, &from);
}

static void the_examples_of_the_rfc_come_out_as_it_says(void **state)
{
	static const struct {
		const char *first, *first_source, *second, *second_source;
	} cases[] = {
		/* matching scope */
		{"2001:db8:1::1", "2001:db8:1::2", "198.51.100.121", "169.254.13.78"},
		{"198.51.100.121", "198.51.100.117", "2001:db8:1::1", "fe80::1"},
		/* precedence */
		{"2001:db8:1::1", "2001:db8:1::2", "10.1.2.3", "10.1.2.4"},
		/* smaller scope */
		{"fe80::1", "fe80::2", "2001:db8:1::1", "2001:db8:1::2"},
		/* matching label: to a 6to4 address only from one */
		{"2001:db8:1::1", "2001:db8:1::2", "2002:c633:6401::1", "2001:db8:1::2"},
		{"2002:c633:6401::1", "2002:c633:6401::2", "2001:db8:1::1", "2002:c633:6401::2"},
		/* longest common prefix */
		{"2001:db8:1::1", "2001:db8:1::2", "2001:db8:3ffe::1", "2001:db8:1::2"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct address_rank first = rank(cases[i].first, cases[i].first_source);
		struct address_rank second = rank(cases[i].second, cases[i].second_source);

		if (address_rank_compare(&first, &second) >= 0 || address_rank_compare(&second, &first) <= 0)
			fail_msg("%s comes after %s", cases[i].first, cases[i].second);
	}
}

static void what_has_no_source_comes_last(void **state)
{
	struct address_rank ipv6 = rank("2001:db8:1::1", NULL), ipv4 = rank("192.0.2.1", "192.0.2.2");

	(void)state;
	assert_true(address_rank_compare(&ipv4, &ipv6) < 0);
}

static void equals_stay_as_they_were_given(void **state)
{
	struct address_rank a = rank("192.0.2.1", "192.0.2.9"), b = rank("203.0.113.1", "192.0.2.9");

	(void)state;
	assert_int_equal(address_rank_compare(&a, &b), 0);
}

static void the_kernel_says_which_source_it_would_take(void **state)
{
	union stint_address to = parse("127.0.0.1"), source;

	(void)state;
	to.ipv4.sin_port = htons(9);
	assert_true(address_find_source(&to, &source));
	assert_int_equal(source.ipv4.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_examples_of_the_rfc_come_out_as_it_says),
		cmocka_unit_test(what_has_no_source_comes_last),
		cmocka_unit_test(equals_stay_as_they_were_given),
		cmocka_unit_test(the_kernel_says_which_source_it_would_take),
	};

	return cmocka_run_group_tests_name("address_order", tests, NULL, NULL);
}
