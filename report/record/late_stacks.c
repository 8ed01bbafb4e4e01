/* SPDX-License-Identifier: MIT */
#include "report/record/late_stacks.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "probes/unwind.h"

#define KEPT       64
#define FRAMES_MAX 128

_Static_assert(STINT_METER_STACK_REGISTERS == STINT_UNWIND_REGISTERS, "both in DWARF's order");

struct kept {
	uint32_t loop;
	uint64_t begin_ns; /* 0: empty */
	bool blocked;
	char **frames;
	uint32_t frames_len;
};

struct late_stacks {
	struct stint_unwinder *unwinder; /* NULL: the process's modules could not be read */
	uint64_t cut;
	struct kept kept[KEPT]; /* the oldest makes way */
	uint32_t next;
	struct stint_frame frames[FRAMES_MAX];
};

int late_stacks_new(struct late_stacks **ret, uint32_t pid)
{
	struct late_stacks *stacks = calloc(1, sizeof(*stacks));

	if (!stacks)
		return -ENOMEM;
	/* At once: a process may be gone when its last stacks are read. Without, they are counted as cut. */
	if (stint_unwinder_new(&stacks->unwinder, NULL, pid) != 0)
		stacks->unwinder = NULL;
	*ret = stacks;
	return 0;
}

static void empty(struct kept *kept)
{
	for (uint32_t i = 0; i < kept->frames_len; i++)
		free(kept->frames[i]);
	free(kept->frames);
	*kept = (struct kept){0};
}

struct late_stacks *late_stacks_free(struct late_stacks *stacks)
{
	if (!stacks)
		return NULL;
	for (uint32_t i = 0; i < KEPT; i++)
		empty(&stacks->kept[i]);
	stint_unwinder_free(stacks->unwinder);
	free(stacks);
	return NULL;
}

/* How many frames, innermost first in stacks->frames. */
static int unwind(struct late_stacks *stacks, const struct stint_meter_file_stack *stack)
{
	struct stint_unwind_regs regs = {.absent = 0};
	bool complete = false;
	uint32_t bytes = stack->stack_bytes;
	int len;

	if (!stacks->unwinder || stack->machine != EM_X86_64) {
		stacks->cut++;
		return 0;
	}
	if (bytes > STINT_METER_STACK_BYTES)
		bytes = STINT_METER_STACK_BYTES;
	memcpy(regs.reg, stack->reg, sizeof(regs.reg));
	len = stint_unwinder_run(stacks->unwinder, &regs, stack->stack, bytes, stacks->frames, FRAMES_MAX,
				 &complete);
	if (!complete)
		stacks->cut++;
	return len > 0 ? len : 0;
}

int late_stacks_add(struct late_stacks *stacks, uint32_t loop, const struct stint_meter_file_stack *stack)
{
	struct kept *kept = &stacks->kept[stacks->next++ % KEPT];
	int len = unwind(stacks, stack);

	empty(kept);
	if (len == 0)
		return 0;
	kept->frames = calloc((size_t)len, sizeof(*kept->frames));
	if (!kept->frames)
		return -ENOMEM;
	for (int i = 0; i < len; i++) {
		kept->frames[i] = strdup(stacks->frames[len - 1 - i].name);
		if (!kept->frames[i]) {
			empty(kept);
			return -ENOMEM;
		}
		kept->frames_len++;
	}
	kept->loop = loop;
	kept->begin_ns = stack->begin_ns;
	kept->blocked = stack->blocked;
	return 0;
}

bool late_stacks_find(const struct late_stacks *stacks, uint32_t loop, uint64_t begin_ns,
		      struct late_stack *ret)
{
	for (uint32_t i = 1; i <= KEPT; i++) {
		const struct kept *kept = &stacks->kept[(stacks->next - i) % KEPT];

		if (!kept->frames_len || kept->loop != loop || kept->begin_ns != begin_ns)
			continue;
		ret->blocked = kept->blocked;
		ret->frames = (const char *const *)kept->frames;
		ret->frames_len = kept->frames_len;
		return true;
	}
	return false;
}

uint64_t late_stacks_cut(const struct late_stacks *stacks)
{
	return stacks->cut;
}
