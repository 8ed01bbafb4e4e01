/* SPDX-License-Identifier: MIT */
#include "report/record/recording_row.h"

static const char *const cause_names[STINT_PROBES_STALL_UNKNOWN + 1] = {
	[STINT_PROBES_LIMIT_RECEIVE_WINDOW] = "receive_window",
	[STINT_PROBES_LIMIT_CONGESTION_WINDOW] = "congestion_window",
	[STINT_PROBES_LIMIT_RETRANSMISSION] = "retransmission",
	[STINT_PROBES_LIMIT_SILENT] = "silent",
	[STINT_PROBES_LIMIT_NETWORK] = "network",
	[STINT_PROBES_LIMIT_HOST] = "host",
	[STINT_PROBES_LIMIT_PEER_READS] = "peer_reads",
	[STINT_PROBES_STALL_RUNNABLE] = "runnable",
	[STINT_PROBES_STALL_OWN_LOOP] = "own_loop",
	[STINT_PROBES_STALL_UNKNOWN] = "unknown",
};

static const char *const ending_names[] = {
	[STINT_PROBES_SENT] = "sent",
	[STINT_PROBES_CLOSED] = "closed",
	[STINT_PROBES_OPEN] = "open",
};

static const char *const no_event_names[STINT_PROBES_NO_EVENTS] = {
	[STINT_PROBES_NO_EVENT_ABOVE] = "above",         [STINT_PROBES_NO_EVENT_UNSENT] = "unsent",
	[STINT_PROBES_NO_EVENT_NOT_ARMED] = "not_armed", [STINT_PROBES_NO_EVENT_EDGE] = "edge",
	[STINT_PROBES_NO_EVENT_REPLACED] = "replaced",   [STINT_PROBES_NO_EVENT_LOOP_BUSY] = "loop_busy",
	[STINT_PROBES_NO_EVENT_TOLD] = "already_told",   [STINT_PROBES_NO_EVENT_OTHER] = "other",
};

void recording_stall(struct recording *recording, int64_t process, const struct stint_probes_stall *stall)
{
	struct row row = row_begin(recording, STALL);

	put_id(&row, process);
	put_number(&row, stall->tid);
	put_signed(&row, stall->fd);
	put_number(&row, stall->socket);
	put_text(&row, stall->local);
	put_text(&row, stall->remote);
	put_number(&row, stall->start_ns);
	put_number(&row, stall->duration_ns);
	put_number(&row, stall->ack_ns);
	put_number(&row, stall->kernel_ns);
	put_number(&row, stall->scheduler_ns);
	put_number(&row, stall->loop_ns);
	put_number(&row, stall->queue_ns);
	put_number(&row, stall->queued_bytes);
	put_number(&row, stall->sndbuf_bytes);
	put_number(&row, stall->threshold_bytes);
	put_number(&row, stall->acks);
	put_number(&row, stall->acked_bytes);
	put_known(&row, stall->cause_time_ns ? stall->cause_time_ns : RECORDING_UNKNOWN);
	put_number(&row, stall->raise_inferred);
	put_number(&row, stall->snd_wnd_min_bytes);
	put_number(&row, stall->retransmits);
	for (int limit = 0; limit < STINT_PROBES_LIMITS; limit++)
		put_number(&row, stall->limit_ns[limit]);
	put_text(&row, cause_names[stall->cause]);
	put_number(&row, stall->unsent_bytes);
	put_known(&row, stall->lowat_bytes ? stall->lowat_bytes : RECORDING_UNKNOWN);
	put_number(&row, stall->by_lowat);
	put_text(&row, stall->alarm < 0 ? NULL : no_event_names[stall->alarm]);
	put_number(&row, stall->by_queue);
	put_text(&row, ending_names[stall->ending]);
	put_number(&row, stall->runnable_later_ns);
	row_end(&row);
}

void recording_acks(struct recording *recording, int64_t process, const struct stint_probes_acks *acks)
{
	struct row row = row_begin(recording, ACKS);

	put_id(&row, process);
	put_number(&row, acks->socket);
	put_signed(&row, acks->fd);
	put_text(&row, acks->local);
	put_text(&row, acks->remote);
	put_number(&row, acks->acks);
	put_number(&row, acks->told);
	for (int why = 0; why < STINT_PROBES_NO_EVENTS; why++)
		put_number(&row, acks->no_event[why]);
	row_end(&row);
}

void recording_alarm(struct recording *recording, int64_t process, const struct stint_probes_alarm *alarm)
{
	struct row row = row_begin(recording, ALARM);

	put_id(&row, process);
	put_number(&row, alarm->tid);
	put_signed(&row, alarm->fd);
	put_number(&row, alarm->socket);
	put_text(&row, alarm->local);
	put_text(&row, alarm->remote);
	put_number(&row, alarm->time_ns);
	put_number(&row, alarm->start_ns);
	put_number(&row, alarm->opened_ns);
	put_text(&row, no_event_names[alarm->why]);
	put_known(&row, alarm->registered ? alarm->interest : RECORDING_UNKNOWN);
	put_number(&row, alarm->queued_bytes);
	put_number(&row, alarm->sndbuf_bytes);
	put_number(&row, alarm->unsent_bytes);
	row_end(&row);
}

void recording_socket_event(struct recording *recording, const struct recording_socket_event *event)
{
	struct row row = row_begin(recording, SOCKET);

	put_id(&row, event->process);
	put_source(&row, event->from_meter);
	put_known(&row, event->socket ? event->socket : RECORDING_UNKNOWN);
	put_number(&row, event->tid);
	put_signed(&row, event->fd);
	put_text(&row, event->local);
	put_text(&row, event->remote);
	put_number(&row, event->time_ns);
	put_text(&row, event->kind);
	put_known(&row, event->requested_bytes);
	put_known(&row, event->done_bytes);
	put_known(&row, event->queued_before_bytes);
	put_known(&row, event->queued_bytes);
	put_known(&row, event->sndbuf_bytes);
	put_known(&row, event->unacked_bytes);
	put_known(&row, event->snd_wnd_bytes);
	put_known(&row, event->snd_cwnd);
	put_number(&row, event->cause);
	row_end(&row);
}
