/* SPDX-License-Identifier: MIT */
#include "report/model/pick.h"

#include <stdbool.h>
#include <string.h>

/* What its handler had called, by the stack; NULL if that is not known. */
static const char *called_by_handler(const struct model_overrun *overrun)
{
	for (size_t i = 0; overrun->handler && i + 1 < overrun->frames_len; i++)
		if (strcmp(overrun->frames[i], overrun->handler->name) == 0)
			return overrun->frames[i + 1];
	return NULL;
}

static bool is_like(const struct model_overrun *a, const struct model_overrun *b)
{
	const char *a_called = called_by_handler(a), *b_called = called_by_handler(b);

	if (a->process != b->process || a->handler != b->handler)
		return false;
	if (a->verdict && b->verdict && a->verdict->verdict != b->verdict->verdict)
		return false;
	return !a_called || !b_called || strcmp(a_called, b_called) == 0;
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
