/* SPDX-License-Identifier: MIT */
#include "report/record/recording_row.h"

static void put_frame(struct recording *recording, int64_t id, uint32_t depth, const char *name,
		      const struct stint_probes_frame *place)
{
	struct row row = row_begin(recording, FRAME);

	put_id(&row, id);
	put_number(&row, depth);
	put_text(&row, place ? place->name : name);
	put_some_text(&row, place ? place->module : NULL);
	put_some_text(&row, place ? place->file : NULL);
	put_known(&row, place && place->line ? place->line : RECORDING_UNKNOWN);
	put_number(&row, place && place->kernel);
	row_end(&row);
}

static void put_block(struct row *row, const struct stint_probes_block *block)
{
	bool known = block->duration_ns > 0;

	put_known(row, known ? block->duration_ns : RECORDING_UNKNOWN);
	put_some_text(row, known ? block->on : NULL);
	put_known(row, known && *block->on ? block->on_inferred : RECORDING_UNKNOWN);
	put_some_text(row, known ? block->waker : NULL);
	put_known(row, known && *block->waker ? block->waker_pid : RECORDING_UNKNOWN);
	put_some_text(row, known ? block->waker_what : NULL);
	put_known(row, known ? block->waker_inferred : RECORDING_UNKNOWN);
	put_some_text(row, known ? block->in : NULL);
}

static void put_verdict(struct recording *recording, int64_t id, const struct stint_probes_overrun *probed)
{
	static const char *const verdicts[] = {NULL,        "user",    "kernel", "runnable",
					       "throttled", "blocked", "stolen"};
	static const char *const iterations[] = {NULL, "one handler", "many handlers", "system"};
	const struct stint_probes_parts *parts = &probed->parts;
	struct row row = row_begin(recording, VERDICT);

	put_id(&row, id);
	put_text(&row, verdicts[probed->verdict]);
	put_text(&row, iterations[probed->iteration]);
	put_number(&row, parts->user_ns);
	put_number(&row, parts->kernel_ns);
	put_number(&row, parts->runnable_ns);
	put_known(&row, parts->throttled_known ? parts->throttled_ns : RECORDING_UNKNOWN);
	put_number(&row, parts->blocked_ns);
	put_known(&row, parts->stolen_known ? parts->stolen_ns : RECORDING_UNKNOWN);
	put_number(&row, parts->kernel_sampled_ns);
	put_number(&row, parts->faulted_ns);
	put_number(&row, probed->fault_blocked_ns);
	put_number(&row, probed->stopped_ns);
	put_number(&row, probed->minor_faults);
	put_number(&row, probed->major_faults);
	put_number(&row, probed->samples);
	put_number(&row, probed->kernel_samples);
	put_number(&row, probed->user_samples);
	put_block(&row, &probed->block);
	row_end(&row);
}

static void put_others(struct recording *recording, int64_t id, const struct stint_probes_overrun *probed)
{
	for (uint32_t i = 0; i < probed->rivals_len && i < STINT_PROBES_RIVALS; i++) {
		struct row row = row_begin(recording, RIVAL);

		put_id(&row, id);
		put_number(&row, i);
		put_number(&row, probed->rivals[i].pid);
		put_text(&row, probed->rivals[i].comm);
		put_number(&row, probed->rivals[i].duration_ns);
		row_end(&row);
	}
	for (uint32_t i = 0; i < probed->victims_len && i < STINT_PROBES_VICTIMS; i++) {
		const struct stint_probes_victim *victim = &probed->victims_list[i];
		struct row row = row_begin(recording, VICTIM);

		put_id(&row, id);
		put_number(&row, i);
		put_signed(&row, victim->fd);
		put_some_text(&row, victim->name);
		put_known(&row, *victim->name ? victim->name_inferred : RECORDING_UNKNOWN);
		put_number(&row, victim->wait_ns);
		row_end(&row);
	}
}

static void put_details(struct recording *recording, int64_t id, const struct recording_overrun *overrun)
{
	for (uint32_t i = 0; i < overrun->syscalls_len; i++) {
		const struct stint_probes_syscall *call = &overrun->syscalls[i];
		struct row row = row_begin(recording, SYSCALL);

		put_id(&row, id);
		put_number(&row, i);
		put_text(&row, call->name);
		put_fd(&row, call->fd);
		put_number(&row, call->start_ns);
		put_number(&row, call->duration_ns);
		row_end(&row);
	}
	for (uint32_t i = 0; i < overrun->frames_len; i++)
		put_frame(recording, id, i, overrun->frames[i], overrun->places ? &overrun->places[i] : NULL);
	if (overrun->probed && overrun->probed->verdict != STINT_PROBES_VERDICT_UNKNOWN) {
		put_verdict(recording, id, overrun->probed);
		put_others(recording, id, overrun->probed);
	}
	if (overrun->probed)
		recording_overrun_functions(recording, id, overrun->probed);
	for (uint32_t i = 0; i < overrun->segments_len; i++) {
		struct row row = row_begin(recording, SEGMENT);

		put_id(&row, id);
		put_number(&row, overrun->segments[i].off_ns);
		put_number(&row, overrun->segments[i].runnable_ns);
		put_number(&row, overrun->segments[i].on_ns);
		row_end(&row);
	}
}

void recording_overrun(struct recording *recording, const struct recording_overrun *overrun)
{
	static const char *const sources[] = {"meter", "probes", "both"};
	static const char *const kinds[] = {NULL, "computed", "blocked"};
	struct row row = row_begin(recording, OVERRUN);
	int64_t id;

	put_id(&row, overrun->process);
	put_id(&row, overrun->handler);
	put_text(&row, sources[overrun->source]);
	put_number(&row, overrun->running);
	put_number(&row, overrun->began_before);
	put_number(&row, overrun->tid);
	put_fd(&row, overrun->fd);
	put_some_text(&row, overrun->role);
	put_number(&row, overrun->start_ns);
	put_number(&row, overrun->duration_ns);
	put_known(&row, overrun->iteration_ns);
	put_known(&row, overrun->on_cpu_ns);
	put_known(&row, overrun->runnable_ns);
	put_known(&row, overrun->blocked_ns);
	put_known(&row, overrun->cpu_min_ns);
	put_known(&row, overrun->cpu_max_ns);
	put_number(&row, overrun->victims);
	put_number(&row, overrun->blame_ns);
	put_known(&row, overrun->ready_events);
	put_known(&row, overrun->syscall_count);
	put_text(&row, kinds[overrun->stack_kind]);
	id = row_end(&row);
	put_details(recording, id, overrun);
}
