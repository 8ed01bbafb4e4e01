/* SPDX-License-Identifier: MIT */
#include "report/model/shared_sets.h"

#include <stdlib.h>
#include <string.h>

static bool is_in_set(const struct model_loop *loop)
{
	return loop->source != MODEL_METER && loop->epfd >= 0 && strncmp(loop->name, "epoll", 5) == 0;
}

/*
 * Threads that have sets of their own, one after another, may have them under the same number; their times then fit
 * into the recording one behind the other. Where they do not, two of them were in the set at once.
 */
static bool is_shared(const struct model *model, const struct model_loop *loop)
{
	uint64_t left_ns = model->duration_ns;
	bool has_others = false, fits = true;

	for (size_t i = 0; i < model->loops_len; i++) {
		const struct model_loop *other = &model->loops[i];
		uint64_t whole_ns = model_whole_ns(other);

		if (other->process != loop->process || other->epfd != loop->epfd || !is_in_set(other))
			continue;
		has_others |= other->tid != loop->tid;
		fits &= whole_ns <= left_ns;
		left_ns -= fits ? whole_ns : 0;
	}
	return has_others && !fits;
}

static bool is_in_shared_set(const struct model *model, const struct model_finding *finding)
{
	for (size_t i = 0; i < model->loops_len; i++) {
		const struct model_loop *loop = &model->loops[i];

		if (loop->is_shared && loop->process == finding->process && loop->tid == finding->tid)
			return true;
	}
	return false;
}

static void forget_not_drained(struct model *model)
{
	size_t kept = 0;

	for (size_t i = 0; i < model->findings_len; i++) {
		struct model_finding *finding = &model->findings[i];

		if (finding->kind == MODEL_NOT_DRAINED && is_in_shared_set(model, finding)) {
			free(finding->role);
			model->findings_total--;
			continue;
		}
		model->findings[kept++] = *finding;
	}
	model->findings_len = kept;
}

void model_find_shared_sets(struct model *model)
{
	for (size_t i = 0; i < model->loops_len; i++) {
		struct model_loop *loop = &model->loops[i];

		loop->is_shared =
			loop->process != &model->nobody && is_in_set(loop) && is_shared(model, loop);
		if (loop->is_shared)
			model->processes[loop->process - model->processes].shared_epfd = loop->epfd;
	}
	forget_not_drained(model);
}
