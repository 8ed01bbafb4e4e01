/* SPDX-License-Identifier: MIT */
#include "watched_roles.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROLES_MAX 64

static struct stint_probes_role roles[ROLES_MAX];
static size_t roles_len;

static void add(struct stint_probes_histogram *to, const struct stint_probes_histogram *from)
{
	to->count += from->count;
	to->sum_ns += from->sum_ns;
	to->overflow += from->overflow;
	to->min_ns = from->min_ns < to->min_ns ? from->min_ns : to->min_ns;
	to->max_ns = from->max_ns > to->max_ns ? from->max_ns : to->max_ns;
}

static int keep(void *ctx, const struct stint_probes_role *role)
{
	(void)ctx;
	for (size_t i = 0; i < roles_len; i++) {
		if (strcmp(roles[i].name, role->name) != 0)
			continue;
		for (int metric = 0; metric < STINT_PROBES_ROLE_METRICS; metric++)
			add(&roles[i].metric[metric], &role->metric[metric]);
		return 0;
	}
	assert_true(roles_len < ROLES_MAX);
	roles[roles_len++] = *role;
	return 0;
}

void watched_roles_read(struct watching *watching)
{
	roles_len = 0;
	watching_take(watching);
	assert_int_equal(stint_probes_read_roles(watching->probes, keep, NULL), 0);
}

size_t watched_roles_len(void)
{
	return roles_len;
}

const struct stint_probes_role *watched_role_at(size_t i)
{
	assert_true(i < roles_len);
	return &roles[i];
}

const struct stint_probes_role *watched_role(const char *name)
{
	for (size_t i = 0; i < roles_len; i++)
		if (strcmp(roles[i].name, name) == 0)
			return &roles[i];
	fail_msg("no role is named '%s'", name);
	return NULL;
}

void watched_role_adds_up(const struct stint_probes_role *role)
{
	uint64_t sum_ns = 0;

	for (int i = STINT_PROBES_ROLE_LEFT; i <= STINT_PROBES_ROLE_QUEUE; i++)
		sum_ns += role->metric[i].sum_ns;
	assert_int_equal(sum_ns, role->metric[STINT_PROBES_ROLE_AGE].sum_ns);
}
