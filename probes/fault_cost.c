/* SPDX-License-Identifier: MIT */
#include "probes/fault_cost.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "probes/now.h"

#define PAGES  64u
#define ROUNDS 16

/* Debian's libc of 2022 has it not. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static bool make_pages(char *memory, size_t page, bool by_touch)
{
	if (!by_touch)
		return madvise(memory, PAGES * page, MADV_POPULATE_WRITE) == 0;
	for (size_t i = 0; i < PAGES; i++)
		((volatile char *)memory)[i * page] = 1;
	return true;
}

/* Of a page, in the quickest of all rounds: the others were interrupted. 0: it cannot be done. */
static uint64_t least_ns(char *memory, size_t page, bool by_touch)
{
	uint64_t least = UINT64_MAX;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start_ns = stint_now_ns(), ns;

		if (!make_pages(memory, page, by_touch))
			return 0;
		ns = stint_now_ns() - start_ns;
		least = ns < least ? ns : least;
		if (madvise(memory, PAGES * page, MADV_DONTNEED) != 0)
			return 0;
	}
	return least / PAGES;
}

uint64_t stint_fault_cost_ns(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t touched_ns = 0, made_ns = 0;

	if (memory == MAP_FAILED)
		return 0;
	if (madvise(memory, PAGES * page, MADV_NOHUGEPAGE) == 0)
		made_ns = least_ns(memory, page, false);
	if (made_ns)
		touched_ns = least_ns(memory, page, true);
	munmap(memory, PAGES * page);
	return touched_ns > made_ns ? touched_ns - made_ns : 0;
}
