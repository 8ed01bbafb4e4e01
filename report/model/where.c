/* SPDX-License-Identifier: MIT */
#include "report/model/where.h"

#include <stdbool.h>
#include <string.h>

#define STACKS_MAX 1024 /* the longest ones, which come first */

struct stack {
	const struct model_overrun *overrun;
	size_t at; /* the frame that is being looked at */
	uint64_t weight_ns;
};

struct stacks {
	struct stack items[STACKS_MAX];
	size_t len;
	uint64_t sum_ns;
};

static const char *frame_of(const struct stack *stack)
{
	return stack->at < stack->overrun->frames_len ? stack->overrun->frames[stack->at] : NULL;
}

static bool is_at(const struct stack *stack, const char *frame)
{
	return frame_of(stack) && strcmp(frame_of(stack), frame) == 0;
}

/* The kernel's frames have "[k] " before the name; one without a symbol is "module+0x12". */
static bool is_of_program(const char *frame)
{
	return strncmp(frame, "[k] ", 4) != 0;
}

static bool has_name(const char *frame)
{
	return !strstr(frame, "+0x") && strncmp(frame, "0x", 2) != 0;
}

static void gather(struct stacks *ret, const struct model *model, const struct model_handler *handler,
		   uint64_t (*weigh)(const struct model *model, const struct model_overrun *overrun))
{
	for (size_t i = 0; i < model->overruns_len && ret->len < STACKS_MAX; i++) {
		const struct model_overrun *overrun = &model->overruns[i];
		struct stack stack = {.overrun = overrun};

		if (overrun->handler != handler)
			continue;
		while (frame_of(&stack) && !is_at(&stack, handler->name))
			stack.at++;
		stack.weight_ns = frame_of(&stack) ? weigh(model, overrun) : 0;
		if (!stack.weight_ns || __builtin_add_overflow(ret->sum_ns, stack.weight_ns, &ret->sum_ns))
			continue;
		stack.at++;
		ret->items[ret->len++] = stack;
	}
}

/* If one has more than half of what is left, it is this: what others have does not outweigh it. */
static const char *candidate(const struct stacks *stacks)
{
	const char *frame = NULL;
	uint64_t lead_ns = 0;

	for (size_t i = 0; i < stacks->len; i++) {
		const struct stack *stack = &stacks->items[i];

		if (frame && is_at(stack, frame)) {
			lead_ns += stack->weight_ns;
		} else if (lead_ns >= stack->weight_ns) {
			lead_ns -= stack->weight_ns;
		} else {
			lead_ns = stack->weight_ns - lead_ns;
			frame = frame_of(stack);
		}
	}
	return frame;
}

/* The program's function that more than half of all went through; NULL if none is. */
static const char *heaviest(const struct stacks *stacks)
{
	const char *frame = candidate(stacks);
	uint64_t weight_ns = 0;

	for (size_t i = 0; frame && i < stacks->len; i++)
		if (is_at(&stacks->items[i], frame))
			weight_ns += stacks->items[i].weight_ns;
	return weight_ns > stacks->sum_ns / 2 && is_of_program(frame) ? frame : NULL;
}

/* To compare or copy is what everybody does: who called that is the answer. */
static bool is_of_libc(const struct stacks *stacks, const char *frame)
{
	size_t i = 0;

	while (i < stacks->len && !is_at(&stacks->items[i], frame))
		i++;
	if (i == stacks->len || !stacks->items[i].overrun->places)
		return false;
	frame = stacks->items[i].overrun->places[stacks->items[i].at].module;
	return frame && (strncmp(frame, "libc.", 5) == 0 || strcmp(frame, "[vdso]") == 0);
}

static void descend(struct stacks *stacks, const char *frame)
{
	size_t kept = 0;

	for (size_t i = 0; i < stacks->len; i++) {
		struct stack stack = stacks->items[i];

		if (!is_at(&stack, frame))
			continue;
		stack.at++;
		stacks->items[kept++] = stack;
	}
	stacks->len = kept;
}

const char *where_most(const struct model *model, const struct model_handler *handler,
		       uint64_t (*weigh)(const struct model *model, const struct model_overrun *overrun))
{
	struct stacks stacks = {.len = 0};
	const char *frame, *named = NULL;

	gather(&stacks, model, handler, weigh);
	while ((frame = heaviest(&stacks))) {
		named = has_name(frame) && !is_of_libc(&stacks, frame) ? frame : named;
		descend(&stacks, frame);
	}
	return named;
}
