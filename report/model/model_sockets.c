/* SPDX-License-Identifier: MIT */
#include "report/model/model_sockets.h"

#include <stdlib.h>

#include "report/model/loader.h"
#include "report/model/stalls.h"

/* Which of the keys the column holds; `other` if none. */
static int index_of(sqlite3_stmt *row, int column, const char *const *keys, int other)
{
	for (int i = 0; i < other; i++)
		if (loader_is_text(row, column, keys[i]))
			return i;
	return other;
}

static bool take_stall(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_stall *stall = item;
	uint64_t *const numbers[] = {&stall->start_ns,        &stall->duration_ns,  &stall->ack_ns,
				     &stall->kernel_ns,       &stall->scheduler_ns, &stall->loop_ns,
				     &stall->queue_ns,        &stall->queued_bytes, &stall->sndbuf_bytes,
				     &stall->threshold_bytes, &stall->acks,         &stall->acked_bytes};

	stall->process = loader_process(loader, row, 0);
	stall->tid = loader_number(row, 1);
	stall->fd = loader_fd(row, 2);
	stall->socket = loader_number(row, 3);
	stall->local = loader_name(loader, row, 4);
	stall->remote = loader_name(loader, row, 5);
	for (int i = 0; i < 12; i++)
		*numbers[i] = loader_number(row, 6 + i);
	stall->cause_ns = loader_known(row, 18);
	stall->raise_inferred = loader_number(row, 19) != 0;
	stall->snd_wnd_min_bytes = loader_number(row, 20);
	stall->retransmits = loader_number(row, 21);
	for (int limit = 0; limit < MODEL_LIMITS; limit++)
		stall->limit_ns[limit] = loader_number(row, 22 + limit);
	stall->cause =
		(enum model_cause)index_of(row, 22 + MODEL_LIMITS, stall_cause_keys, MODEL_CAUSE_UNKNOWN);
	stall->unsent_bytes = loader_known(row, 23 + MODEL_LIMITS);
	stall->lowat_bytes = loader_known(row, 24 + MODEL_LIMITS);
	stall->by_lowat = loader_number(row, 25 + MODEL_LIMITS) != 0;
	stall->alarm = index_of(row, 26 + MODEL_LIMITS, stall_no_event_keys, MODEL_NO_EVENTS);
	stall->by_queue = loader_number(row, 27 + MODEL_LIMITS) != 0;
	stall->ending =
		(enum model_ending)index_of(row, 28 + MODEL_LIMITS, stall_ending_keys, MODEL_STALL_OPEN);
	stall->runnable_later_ns = loader_number(row, 29 + MODEL_LIMITS);
	return true;
}

static bool take_acks(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_acks *acks = item;

	acks->process = loader_process(loader, row, 0);
	acks->socket = loader_number(row, 1);
	acks->fd = loader_fd(row, 2);
	acks->local = loader_name(loader, row, 3);
	acks->remote = loader_name(loader, row, 4);
	acks->acks = loader_number(row, 5);
	acks->told = loader_number(row, 6);
	for (int why = 0; why < MODEL_NO_EVENTS; why++)
		acks->no_event[why] = loader_number(row, 7 + why);
	return true;
}

static bool take_alarm(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_alarm *alarm = item;
	uint64_t interest = loader_known(row, 10);

	alarm->process = loader_process(loader, row, 0);
	alarm->tid = loader_number(row, 1);
	alarm->fd = loader_fd(row, 2);
	alarm->socket = loader_number(row, 3);
	alarm->local = loader_name(loader, row, 4);
	alarm->remote = loader_name(loader, row, 5);
	alarm->time_ns = loader_number(row, 6);
	alarm->start_ns = loader_number(row, 7);
	alarm->opened_ns = loader_number(row, 8);
	alarm->why = (enum model_no_event)index_of(row, 9, stall_no_event_keys, MODEL_NO_EVENT_OTHER);
	alarm->interest = interest > UINT32_MAX ? MODEL_UNKNOWN : interest;
	alarm->queued_bytes = loader_number(row, 11);
	alarm->sndbuf_bytes = loader_number(row, 12);
	alarm->unsent_bytes = loader_number(row, 13);
	return true;
}

static bool take_event(struct loader *loader, sqlite3_stmt *row, void *item)
{
	static const char *const kinds[] = {"open",          "send",        "send_short",   "ack",
					    "write_event",   "woken",       "returned",     "retransmit",
					    "connecting",    "established", "accepted",     "window_closed",
					    "window_opened", "fin_sent",    "fin_received", "read_event",
					    "closed",        "sample",      "close"};
	struct model_event *event = item;
	int kind = 0;

	while (kind <= MODEL_CLOSE && !loader_is_text(row, 7, kinds[kind]))
		kind++;
	if (kind > MODEL_CLOSE)
		return false; /* of a newer recorder, which says nothing to this one */
	event->kind = (enum model_event_kind)kind;
	event->process = loader_process(loader, row, 0);
	event->source = loader_source(row, 1);
	event->socket = loader_known(row, 2);
	event->fd = loader_fd(row, 3);
	event->local = loader_text(loader, row, 4, LOADER_TEXT_BYTES);
	event->remote = loader_text(loader, row, 5, LOADER_TEXT_BYTES);
	event->time_ns = loader_number(row, 6);
	event->requested_bytes = loader_known(row, 8);
	event->done_bytes = loader_known(row, 9);
	event->queued_before_bytes = loader_known(row, 10);
	event->queued_bytes = loader_known(row, 11);
	event->sndbuf_bytes = loader_known(row, 12);
	event->unacked_bytes = loader_known(row, 13);
	event->cause = loader_number(row, 14) != 0;
	return true;
}

static const struct loader_table stall_table = {
	"write_stall",
	"SELECT process, tid, fd, socket, local, remote, start_ns, duration_ns, ack_ns, kernel_ns, scheduler_ns,"
	" loop_ns, queue_ns, queued_bytes, sndbuf_bytes, threshold_bytes, acks, acked_bytes, cause_ns,"
	" raise_inferred, snd_wnd_min_bytes, retransmits, receive_window_ns, congestion_window_ns, retransmission_ns,"
	" silent_ns, network_ns, host_ns, peer_reads_ns, cause, unsent_bytes, lowat_bytes, by_lowat, alarm,"
	" by_queue, ending, runnable_later_ns FROM write_stall ORDER BY start_ns",
	MODEL_STALLS, sizeof(struct model_stall), take_stall};
static const struct loader_table acks_table = {
	"write_ack",
	"SELECT process, socket, fd, local, remote, acks, told, above, unsent, not_armed, edge, replaced, loop_busy,"
	" already_told, other"
	" FROM write_ack ORDER BY acks - told DESC, socket",
	MODEL_ACKS, sizeof(struct model_acks), take_acks};
static const struct loader_table alarm_table = {
	"write_alarm",
	"SELECT process, tid, fd, socket, local, remote, time_ns, start_ns, opened_ns, why, interest, queued_bytes,"
	" sndbuf_bytes, unsent_bytes FROM write_alarm ORDER BY time_ns",
	MODEL_ALARMS, sizeof(struct model_alarm), take_alarm};
static const struct loader_table event_table = {
	"socket_event",
	"SELECT process, source, socket, fd, local, remote, time_ns, kind, requested_bytes, done_bytes,"
	" queued_before_bytes, queued_bytes, sndbuf_bytes, unacked_bytes, cause FROM socket_event ORDER BY time_ns",
	MODEL_EVENTS, sizeof(struct model_event), take_event};

void model_load_sockets(struct loader *loader)
{
	struct model *model = loader->model;

	loader_table(loader, &stall_table, &model->stalls, &model->stalls_len, &model->stalls_total);
	loader_table(loader, &acks_table, &model->acks, &model->acks_len, &model->acks_total);
	loader_table(loader, &alarm_table, &model->alarms, &model->alarms_len, &model->alarms_total);
	loader_table(loader, &event_table, &model->events, &model->events_len, &model->events_total);
}

void model_free_sockets(struct model *model)
{
	for (size_t i = 0; i < model->acks_len; i++) {
		free(model->acks[i].local);
		free(model->acks[i].remote);
	}
	for (size_t i = 0; i < model->alarms_len; i++) {
		free(model->alarms[i].local);
		free(model->alarms[i].remote);
	}
	free(model->acks);
	free(model->alarms);
}
