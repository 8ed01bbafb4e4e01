/* SPDX-License-Identifier: MIT */
#include "report/model/pick.h"

#include <stdbool.h>
#include <string.h>

/* A server's own dispatch of commands takes some calls; further down it is chance where a sample falls. */
#define CALLS_COMPARED 4

/* The number of the frame that is its handler's, by the stack; frames_len if that is not known. */
static size_t handlers_frame(const struct model_overrun *overrun)
{
	size_t i = 0;

	while (i < overrun->frames_len &&
	       (!overrun->handler || strcmp(overrun->frames[i], overrun->handler->name) != 0))
		i++;
	return i;
}

/* As far as both stacks are known. */
static bool call_alike(const struct model_overrun *a, const struct model_overrun *b)
{
	size_t a_at = handlers_frame(a), b_at = handlers_frame(b);

	for (size_t i = 0; i < CALLS_COMPARED; i++)
		if (++a_at >= a->frames_len || ++b_at >= b->frames_len)
			break;
		else if (strcmp(a->frames[a_at], b->frames[b_at]) != 0)
			return false;
	return true;
}

static bool is_like(const struct model_overrun *a, const struct model_overrun *b)
{
	if (a->process != b->process || a->handler != b->handler)
		return false;
	if (a->verdict && b->verdict && a->verdict->verdict != b->verdict->verdict)
		return false;
	return call_alike(a, b);
}

static size_t count_like(const struct model_overrun *const *picked, size_t len,
			 const struct model_overrun *overrun)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += is_like(picked[i], overrun);
	return count;
}

size_t pick_overruns(const struct model_overrun **ret, size_t max, size_t alike_max,
		     const struct model *model)
{
	size_t len = 0;

	for (size_t i = 0; i < model->overruns_len && len < max; i++)
		if (count_like(ret, len, &model->overruns[i]) < alike_max)
			ret[len++] = &model->overruns[i];
	return len;
}

static bool has_meter(const struct model *model, const struct model_process *process)
{
	for (size_t i = 0; i < model->loops_len; i++)
		if (model->loops[i].process == process && model->loops[i].source == MODEL_METER)
			return true;
	return false;
}

static size_t pick_handlers(struct pick_distribution *ret, size_t max, const struct model *model)
{
	size_t len = 0;

	for (size_t i = 0; i < model->handlers_len; i++) {
		const struct model_handler *handler = &model->handlers[i];
		size_t place = len;

		if (!handler->metrics[MODEL_SERVICE].buckets_len)
			continue;
		while (place > 0 && ret[place - 1].overruns < handler->overruns)
			place--;
		if (place == max)
			continue;
		if (len < max)
			len++;
		memmove(&ret[place + 1], &ret[place], (len - place - 1) * sizeof(ret[0]));
		ret[place] = (struct pick_distribution){handler->name, "dispatches",
							&handler->metrics[MODEL_SERVICE], handler->budget_ns,
							handler->overruns};
	}
	return len;
}

/* Of iterations, the probes keep no count of those beyond the budget but the overruns themselves. */
static uint64_t count_overruns(const struct model *model, const struct model_loop *loop)
{
	uint64_t count = 0;

	for (size_t i = 0; i < model->overruns_len; i++)
		count += model->overruns[i].process == loop->process && model->overruns[i].tid == loop->tid;
	return count;
}

size_t pick_distributions(struct pick_distribution *ret, size_t max, const struct model *model)
{
	size_t len = pick_handlers(ret, max, model);

	for (size_t i = 0; i < model->loops_len && len < max; i++) {
		const struct model_loop *loop = &model->loops[i];

		if (loop->source == MODEL_METER || !loop->metrics[MODEL_BUSY].buckets_len ||
		    has_meter(model, loop->process))
			continue;
		ret[len++] = (struct pick_distribution){loop->process->command, "iterations",
							&loop->metrics[MODEL_BUSY],
							model_meta_number(model, "budget_ns"),
							count_overruns(model, loop)};
	}
	return len;
}

size_t pick_functions(struct pick_distribution *ret, size_t max, const struct model *model)
{
	size_t len = 0;

	for (size_t i = 0; i < model->functions_len && len < max; i++) {
		const struct model_function *function = &model->functions[i];

		if (function->duration.buckets_len > 0)
			ret[len++] = (struct pick_distribution){function->asked, "calls", &function->duration,
								MODEL_UNKNOWN, 0};
	}
	return len;
}
