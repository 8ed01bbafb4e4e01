/* SPDX-License-Identifier: MIT */
#ifndef CHANCE_H
#define CHANCE_H

/* Chance that can be repeated: the tests that use it print their seed, and STINT_SEED in the environment sets it. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed, chance_state;

__attribute__((unused)) static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void begin_chance(uint64_t otherwise)
{
	seed = chance_state = number_from("STINT_SEED", otherwise);
	printf("STINT_SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout); /* forked children have copies */
}

static uint64_t next_random(void)
{
	uint64_t z = chance_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static uint32_t below(uint32_t n)
{
	return (uint32_t)(next_random() % n);
}

__attribute__((unused)) static bool one_in(uint32_t n)
{
	return below(n) == 0;
}

#endif
