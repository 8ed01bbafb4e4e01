/* SPDX-License-Identifier: MIT */
#include "report/model/verdicts.h"

#include <stdlib.h>

/* Parts of a hostile file may be anything: the sum stays within what can be told from unknown. */
static uint64_t add_up(const struct model_verdict *verdict)
{
	uint64_t whole_ns = 0;

	for (int i = 0; i < MODEL_VERDICTS; i++) {
		uint64_t part_ns = verdict->parts_ns[i] == MODEL_UNKNOWN ? 0 : verdict->parts_ns[i];

		if (__builtin_add_overflow(whole_ns, part_ns, &whole_ns) || whole_ns > INT64_MAX)
			return INT64_MAX;
	}
	return whole_ns;
}

static enum model_verdict_kind take_kind(sqlite3_stmt *row, int column)
{
	static const char *const names[] = {"user", "kernel", "runnable", "throttled", "blocked", "stolen"};
	int kind = 0;

	while (kind < MODEL_VERDICTS && !loader_is_text(row, column, names[kind]))
		kind++;
	return (enum model_verdict_kind)kind;
}

static enum model_iteration take_iteration(sqlite3_stmt *row, int column)
{
	static const char *const names[] = {"one handler", "many handlers", "system"};

	for (int i = 0; i < 3; i++)
		if (loader_is_text(row, column, names[i]))
			return (enum model_iteration)(MODEL_ONE_HANDLER + i);
	return MODEL_ITERATION_UNKNOWN;
}

static struct model_verdict *verdict_of(struct loader *loader, struct model_overrun *overrun)
{
	if (overrun->verdict)
		return overrun->verdict;
	overrun->verdict = calloc(1, sizeof(*overrun->verdict));
	if (!overrun->verdict)
		loader_no_memory(loader);
	else
		overrun->verdict->verdict = MODEL_VERDICTS;
	return overrun->verdict;
}

static void take_verdict(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun)
{
	struct model_verdict *verdict = verdict_of(loader, overrun);

	if (!verdict || verdict->whole_ns)
		return;
	verdict->verdict = take_kind(row, 1);
	verdict->iteration = take_iteration(row, 2);
	for (int i = 0; i < MODEL_VERDICTS; i++)
		verdict->parts_ns[i] = i == MODEL_THROTTLED || i == MODEL_STOLEN ? loader_known(row, 3 + i)
										 : loader_number(row, 3 + i);
	verdict->whole_ns = add_up(verdict);
	verdict->kernel_sampled_ns = loader_number(row, 9);
	verdict->fault_blocked_ns = loader_number(row, 10);
	verdict->minor_faults = loader_number(row, 11);
	verdict->major_faults = loader_number(row, 12);
	verdict->samples = loader_number(row, 13);
	verdict->kernel_samples = loader_number(row, 14);
	verdict->user_samples = loader_number(row, 15);
	verdict->block_ns = loader_known(row, 16);
	verdict->blocked_on = loader_text(loader, row, 17, LOADER_TEXT_BYTES);
	verdict->waker = loader_text(loader, row, 18, LOADER_TEXT_BYTES);
	verdict->waker_pid = loader_known(row, 19);
	verdict->waker_what = loader_text(loader, row, 20, LOADER_TEXT_BYTES);
	verdict->waker_inferred = loader_number(row, 21) != 0;
	verdict->blocked_in = loader_text(loader, row, 22, LOADER_TEXT_BYTES);
	verdict->stopped_ns = loader_number(row, 23);
	verdict->blocked_on_inferred = loader_number(row, 24) != 0;
	verdict->faulted_ns = loader_number(row, 25);
}

static void take_rival(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun)
{
	uint64_t rank = loader_known(row, 1);
	struct model_verdict *verdict = verdict_of(loader, overrun);

	if (!verdict || rank >= MODEL_RIVALS || verdict->rivals[rank].comm)
		return;
	verdict->rivals[rank].pid = loader_number(row, 2);
	verdict->rivals[rank].comm = loader_name(loader, row, 3);
	verdict->rivals[rank].duration_ns = loader_number(row, 4);
	verdict->rivals[rank].is_recorder = loader_number(row, 5) != 0;
	verdict->rivals[rank].is_own =
		verdict->rivals[rank].pid && verdict->rivals[rank].pid == overrun->process->pid;
}

static void take_victim(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun)
{
	uint64_t rank = loader_known(row, 1);
	struct model_verdict *verdict = verdict_of(loader, overrun);

	if (!verdict || rank >= MODEL_VICTIMS || verdict->victims[rank].known)
		return;
	verdict->victims[rank].known = true;
	verdict->victims[rank].fd = loader_fd(row, 2);
	verdict->victims[rank].name = loader_text(loader, row, 3, LOADER_TEXT_BYTES);
	verdict->victims[rank].wait_ns = loader_number(row, 4);
	verdict->victims[rank].name_inferred = loader_number(row, 5) != 0;
}

const struct verdicts_part verdicts_parts[VERDICTS_PARTS] = {
	{"SELECT overrun, verdict, iteration, user_ns, kernel_ns, runnable_ns, throttled_ns, blocked_ns, stolen_ns,"
	 " kernel_sampled_ns, fault_blocked_ns, minor_faults, major_faults, samples, kernel_samples, user_samples,"
	 " block_ns, blocked_on, waker, waker_pid, waker_what, waker_inferred, blocked_in, stopped_ns,"
	 " blocked_on_inferred, faulted_ns FROM overrun_verdict",
	 take_verdict},
	{"SELECT overrun, rank, pid, comm, duration_ns,"
	 " pid IS (SELECT value FROM meta WHERE key = 'recorder_pid') FROM overrun_rival",
	 take_rival},
	{"SELECT overrun, rank, fd, name, wait_ns, name_inferred FROM overrun_victim", take_victim},
};

void verdicts_close_gaps(struct model_overrun *overrun)
{
	struct model_verdict *verdict = overrun->verdict;

	if (!verdict)
		return;
	for (size_t i = 0; i < MODEL_RIVALS; i++) {
		struct model_rival rival = verdict->rivals[i];

		if (!rival.comm)
			continue;
		verdict->rivals[i].comm = NULL;
		verdict->rivals[verdict->rivals_len++] = rival;
	}
	for (size_t i = 0; i < MODEL_VICTIMS; i++) {
		struct model_victim victim = verdict->victims[i];

		if (!victim.known)
			continue;
		verdict->victims[i] = (struct model_victim){0};
		verdict->victims[verdict->victims_len++] = victim;
	}
}

void verdicts_free(struct model_verdict *verdict)
{
	if (!verdict)
		return;
	for (size_t i = 0; i < MODEL_RIVALS; i++)
		free(verdict->rivals[i].comm);
	for (size_t i = 0; i < MODEL_VICTIMS; i++)
		free(verdict->victims[i].name);
	free(verdict->blocked_in);
	free(verdict->blocked_on);
	free(verdict->waker);
	free(verdict->waker_what);
	free(verdict);
}
