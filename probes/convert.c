/* SPDX-License-Identifier: MIT */
#include "probes/convert.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "probes/socket_names.h"
#include "probes/syscall_names.h"
#include "probes/verdict.h"

static uint32_t bounded(uint32_t len, uint32_t limit)
{
	return len < limit ? len : limit;
}

static void convert_syscalls(struct stint_probes_overrun *ret, const struct record_overrun *record)
{
	ret->syscall_count = record->syscall_count;
	ret->syscalls_len = bounded(record->syscalls_len, STINT_PROBES_SYSCALLS);
	for (uint32_t i = 0; i < ret->syscalls_len; i++) {
		const struct record_syscall *from = &record->syscalls[i];
		struct stint_probes_syscall *to = &ret->syscalls[i];

		to->number = from->number;
		to->fd = stint_syscall_has_fd(from->number) ? from->fd : -1;
		to->start_ns = from->start_ns;
		to->duration_ns = from->duration_ns;
		to->argument = from->argument;
		stint_syscall_name(from->number, to->name, sizeof(to->name));
	}
}

static void convert_rivals(struct stint_probes_overrun *ret, const struct record_verdict *verdict)
{
	_Static_assert(sizeof(ret->rivals[0].comm) == RECORD_COMM_BYTES, "the kernel's");
	ret->rivals_other_ns = verdict->rivals_other_ns;
	ret->rivals_len = bounded(verdict->rivals_len, STINT_PROBES_RIVALS);
	for (uint32_t i = 0; i < ret->rivals_len; i++) {
		const struct record_rival *from = &verdict->rivals[i];
		uint32_t at = i;

		for (; at > 0 && ret->rivals[at - 1].duration_ns < from->duration_ns; at--)
			ret->rivals[at] = ret->rivals[at - 1];
		ret->rivals[at].pid = from->pid;
		ret->rivals[at].duration_ns = from->duration_ns;
		memcpy(ret->rivals[at].comm, from->comm, sizeof(ret->rivals[at].comm));
		ret->rivals[at].comm[sizeof(ret->rivals[at].comm) - 1] = '\0';
	}
}

static void convert_verdict(struct stint_probes_overrun *ret, const struct record_overrun *record)
{
	const struct record_verdict *verdict = &record->verdict;

	stint_verdict_parts(&ret->parts, record);
	ret->verdict = stint_verdict(&ret->parts);
	ret->minor_faults = verdict->minor_faults;
	ret->major_faults = verdict->major_faults;
	ret->fault_blocked_ns = verdict->fault_blocked_ns;
	ret->stopped_ns = verdict->stopped_ns;
	ret->samples = verdict->samples;
	ret->kernel_samples = verdict->kernel_samples;
	ret->fault_samples = verdict->fault_samples;
	ret->user_samples = verdict->user_samples;
	convert_rivals(ret, verdict);
	ret->block.start_ns = verdict->block.start_ns;
	ret->block.duration_ns = verdict->block.duration_ns;
	ret->block.in_syscall = verdict->block.in_syscall != 0;
	ret->block.is_stopped = verdict->block.is_stopped != 0;
	ret->block.waker_pid = verdict->block.waker_pid;
	memcpy(ret->block.waker, verdict->block.waker_comm, sizeof(ret->block.waker));
	ret->block.waker[sizeof(ret->block.waker) - 1] = '\0';
	ret->block.waker_inferred = true;
}

static void convert_marks(struct stint_probes_overrun *ret, const struct record_overrun *record)
{
	uint32_t len = bounded(record->marks_len, RECORD_MARKS);

	_Static_assert(STINT_PROBES_MARKS == RECORD_MARKS + 2, "and one at either end");
	ret->marks[0].time_ns = record->start_ns;
	for (uint32_t i = 0; i < len; i++) {
		const struct record_mark *from = &record->marks[i];

		ret->marks[i + 1] = (struct stint_probes_mark){
			.time_ns = record->start_ns + from->offset_us * 1000ull,
			.kernel_ns = from->kernel_us * 1000ull,
			.faulted_ns = from->faulted_us * 1000ull,
			.runnable_ns = from->runnable_us * 1000ull,
			.throttled_ns = from->throttled_us * 1000ull,
			.blocked_ns = from->blocked_us * 1000ull,
			.fault_blocked_ns = from->fault_blocked_us * 1000ull,
			.stopped_ns = from->stopped_us * 1000ull,
			.stolen_ns = from->stolen_us * 1000ull,
			.minor_faults = from->minor_faults,
			.major_faults = from->major_faults,
			.samples = from->samples,
			.kernel_samples = from->kernel_samples,
			.fault_samples = from->fault_samples,
			.user_samples = from->user_samples,
		};
	}
	ret->marks[len + 1] = stint_verdict_sums(record);
	ret->marks_len = len + 2;
}

void stint_convert_overrun(struct stint_probes_overrun *ret, const struct record_overrun *record)
{
	uint64_t off_cpu_ns = record->runnable_ns + record->blocked_ns;

	memset(ret, 0, sizeof(*ret));
	ret->pid = record->pid;
	ret->tid = record->tid;
	ret->epfd = record->epfd;
	ret->fd = -1;
	ret->running = record->running != 0;
	ret->began_before = record->began_before != 0;
	ret->start_ns = record->start_ns;
	ret->duration_ns = record->duration_ns;
	ret->runnable_ns = record->runnable_ns;
	ret->blocked_ns = record->blocked_ns;
	ret->on_cpu_ns = off_cpu_ns < record->duration_ns ? record->duration_ns - off_cpu_ns : 0;
	ret->wait = (enum stint_probes_wait)record->wait;
	ret->ready_unknown = record->ready_events == RECORD_READY_UNKNOWN;
	ret->ready_events = ret->ready_unknown ? 0 : record->ready_events;
	convert_syscalls(ret, record);
	convert_verdict(ret, record);
	ret->segments_len = bounded(record->segments_len, STINT_PROBES_SEGMENTS);
	ret->segments_lost = record->segments_lost;
	for (uint32_t i = 0; i < STINT_PROBES_FUNCTIONS; i++) {
		ret->functions[i].calls = record->functions[i].calls;
		ret->functions[i].running = record->functions[i].running;
		ret->functions[i].duration_ns = record->functions[i].duration_ns;
	}
	for (uint32_t i = 0; i < ret->segments_len; i++) {
		ret->segments[i].off_ns = record->segments[i].off_ns;
		ret->segments[i].runnable_ns = record->segments[i].runnable_ns;
		ret->segments[i].on_ns = record->segments[i].on_ns;
		ret->segments[i].throttled_ns = record->segments[i].throttled_us * 1000ull;
		ret->segments[i].in_syscall = record->segments[i].in_syscall != 0;
		ret->segments[i].is_stopped = record->segments[i].is_stopped != 0;
	}
	convert_marks(ret, record);
}

/* A turn: from the first system call on a ready descriptor to the first one on another. */
struct turn {
	int32_t fd; /* -1: not known */
	uint32_t victims;
	uint64_t start_ns;
	uint64_t length_ns;
};

static uint32_t count_waiting(const int32_t *fds, const bool *handled, uint32_t fds_len, int32_t but_fd)
{
	uint32_t waiting = 0;

	for (uint32_t i = 0; i < fds_len; i++)
		waiting += fds[i] >= 0 && fds[i] != but_fd && !handled[i];
	return waiting;
}

/* Those that had to wait, the longest first: who is handled last is seen last, or not at all. */
static void list_victims(struct stint_probes_overrun *ret, const struct record_overrun *record,
			 const int32_t *fds, uint32_t fds_len, const uint64_t *handled_ns,
			 const struct turn *slow)
{
	uint64_t end_ns = record->start_ns + record->duration_ns;

	ret->victims_len = 0;
	if (!ret->victims)
		return;
	for (uint32_t i = 0; i < fds_len; i++) {
		uint64_t wait_ns = (handled_ns[i] ? handled_ns[i] : end_ns) - record->start_ns;
		uint32_t at = ret->victims_len;

		if (fds[i] < 0 || fds[i] == slow->fd ||
		    (handled_ns[i] && handled_ns[i] < slow->start_ns + slow->length_ns))
			continue;
		while (at > 0 && ret->victims_list[at - 1].wait_ns < wait_ns)
			at--;
		if (at == STINT_PROBES_VICTIMS)
			continue;
		if (ret->victims_len < STINT_PROBES_VICTIMS)
			ret->victims_len++;
		for (uint32_t to = ret->victims_len - 1; to > at; to--)
			ret->victims_list[to] = ret->victims_list[to - 1];
		ret->victims_list[at] = (struct stint_probes_victim){.fd = fds[i], .wait_ns = wait_ns};
	}
}

static void end_turn(struct turn *turn, uint64_t end_ns, uint32_t victims, struct turn *longest)
{
	turn->victims = victims;
	turn->length_ns = end_ns > turn->start_ns ? end_ns - turn->start_ns : 0;
	if (turn->length_ns >= longest->length_ns)
		*longest = *turn;
}

/* The index of a ready descriptor that was not handled before, or -1. */
static int find_unhandled(const int32_t *fds, const bool *handled, uint32_t fds_len, int32_t fd)
{
	for (uint32_t i = 0; i < fds_len; i++)
		if (fds[i] >= 0 && fds[i] == fd && !handled[i])
			return (int)i;
	return -1;
}

/* Where touches were lost, the last turn that is known may have ended anywhere after the last that was not. */
static uint64_t last_turn_end(const struct record_overrun *record, uint32_t touches_len,
			      uint64_t turn_start_ns)
{
	uint64_t end_ns;

	if (!record->touches_lost || !touches_len)
		return record->start_ns + record->duration_ns;
	end_ns = record->start_ns + record->touches[touches_len - 1].offset_us * 1000ull;
	if (record->longest_start_ns >= turn_start_ns && record->longest_start_ns <= end_ns)
		return record->longest_start_ns + record->longest_ns;
	return end_ns;
}

void stint_convert_victims(struct stint_probes_overrun *ret, const struct record_overrun *record,
			   const int32_t *fds, uint32_t fds_len)
{
	uint32_t touches_len = bounded(record->touches_len, RECORD_TOUCHES);
	struct turn turn = {.fd = -1, .start_ns = record->start_ns}, longest = {.fd = -1};
	bool handled[RECORD_READY] = {false};
	uint64_t handled_ns[RECORD_READY] = {0};
	uint32_t turns = 0;

	fds_len = bounded(fds_len, RECORD_READY);
	if (fds_len == 1)
		turn.fd = fds[0];
	for (uint32_t i = 0; i < touches_len; i++) {
		uint64_t at_ns = record->start_ns + record->touches[i].offset_us * 1000ull;
		int index = find_unhandled(fds, handled, fds_len, record->touches[i].fd);

		if (index < 0)
			continue;
		end_turn(&turn, at_ns, count_waiting(fds, handled, fds_len, turn.fd), &longest);
		turn = (struct turn){.fd = fds[index], .start_ns = at_ns};
		handled[index] = true;
		handled_ns[index] = at_ns;
		turns++;
	}
	end_turn(&turn, last_turn_end(record, touches_len, turn.start_ns),
		 count_waiting(fds, handled, fds_len, turn.fd), &longest);
	ret->fd = longest.fd;
	ret->victims = longest.victims;
	ret->blame_ns = longest.victims * longest.length_ns;
	ret->iteration = stint_verdict_iteration(&ret->parts, ret->ready_events, turns, longest.length_ns);
	list_victims(ret, record, fds, fds_len, handled_ns, &longest);
}

/* Until their names are known (unix_names.h), the ends of a unix socket are told by their numbers. */
static void convert_unix_end(char *ret, size_t bytes, const uint8_t *from, bool peer)
{
	struct record_unix_end end;

	memcpy(&end, from, sizeof(end));
	if (peer && end.pid)
		snprintf(ret, bytes, "pid %u%s", end.pid, end.seen ? "" : "?");
	else
		snprintf(ret, bytes, "unix:[%llu]", (unsigned long long)end.inode);
}

static void convert_addresses(char *local, char *remote, size_t bytes, const struct record_addresses *from)
{
	if (from->family == AF_UNIX) {
		convert_unix_end(local, bytes, from->local, false);
		convert_unix_end(remote, bytes, from->remote, true);
		return;
	}
	stint_socket_name(local, bytes, from->family, from->local, from->local_port);
	stint_socket_name(remote, bytes, from->family, from->remote, from->remote_port);
}

_Static_assert((int)STINT_PROBES_LIMITS == (int)RECORD_LIMITS &&
		       (int)STINT_PROBES_NO_EVENTS == (int)RECORD_WHYS,
	       "the records and the interface tell of the same");

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

static uint64_t later(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns : b_ns;
}

/* Of equals the last; nothing at all has no cause. */
int stint_stall_cause(const struct stint_probes_stall *stall)
{
	uint64_t part_ns[STINT_PROBES_STALL_UNKNOWN], most_ns = 0;
	int cause = STINT_PROBES_STALL_UNKNOWN;

	memcpy(part_ns, stall->limit_ns, sizeof(stall->limit_ns));
	part_ns[STINT_PROBES_LIMIT_HOST] += stall->kernel_ns;
	part_ns[STINT_PROBES_STALL_RUNNABLE] = stall->scheduler_ns + stall->runnable_later_ns;
	part_ns[STINT_PROBES_STALL_OWN_LOOP] = stall->loop_ns + stall->queue_ns - stall->runnable_later_ns;
	for (int part = 0; part < STINT_PROBES_STALL_UNKNOWN; part++) {
		if (!part_ns[part] || part_ns[part] < most_ns)
			continue;
		most_ns = part_ns[part];
		cause = part;
	}
	return cause;
}

/* What was accounted beyond the stage (nothing, by the programs' rules) is cut off. */
static void convert_limits(struct stint_probes_stall *ret, const struct record_stall *record)
{
	uint64_t left_ns = ret->ack_ns;

	for (int limit = 0; limit < STINT_PROBES_LIMITS; limit++) {
		uint64_t limit_ns = record->limit_ns[limit];

		ret->limit_ns[limit] = limit_ns < left_ns ? limit_ns : left_ns;
		left_ns -= ret->limit_ns[limit];
	}
	ret->cause = stint_stall_cause(ret);
}

/*
 * The stages are the differences of moments, each not before the one it follows, and the last one not
 * before all: so they add up to the whole. A moment that was not seen gives its stage 0 and its time to
 * the next stage that was; but the ACK's time ends only with the event if no ACK was seen, and never if
 * there was no event, as then all was waiting for it. A stall that did not end with a send is still in the stage
 * that it had come to: with the event raised, and not returned, that is the loop's.
 */
void stint_convert_stall(struct stint_probes_stall *ret, const struct record_stall *record)
{
	uint64_t opened_ns = record->opened ? record->raised_ns : record->end_ns;
	uint64_t cause_ns = later(record->cause_ns ? record->cause_ns : opened_ns, record->start_ns);
	uint64_t raised_ns = later(record->raised_ns, cause_ns);
	uint64_t on_cpu_ns = later(record->on_cpu_ns, raised_ns);
	bool came_back = record->returned_ns || record->ending == RECORD_SENT;
	uint64_t returned_ns = later(came_back ? record->returned_ns : record->end_ns, on_cpu_ns);
	uint64_t end_ns = later(record->end_ns, returned_ns);

	memset(ret, 0, sizeof(*ret));
	ret->ending =
		record->ending <= RECORD_OPEN ? (enum stint_probes_ending)record->ending : STINT_PROBES_SENT;
	ret->pid = record->pid;
	ret->tid = record->tid;
	ret->fd = record->fd;
	convert_addresses(ret->local, ret->remote, sizeof(ret->local), &record->addresses);
	ret->socket = record->socket;
	ret->start_ns = record->start_ns;
	ret->duration_ns = end_ns - record->start_ns;
	ret->ack_ns = cause_ns - record->start_ns;
	ret->kernel_ns = raised_ns - cause_ns;
	ret->scheduler_ns = on_cpu_ns - raised_ns;
	ret->loop_ns = returned_ns - on_cpu_ns;
	ret->queue_ns = end_ns - returned_ns;
	ret->runnable_later_ns = earlier(record->runnable_ns, ret->loop_ns + ret->queue_ns);
	ret->queued_bytes = record->queued_bytes;
	ret->sndbuf_bytes = record->sndbuf_bytes;
	ret->threshold_bytes = record->addresses.family == AF_UNIX ? record->sndbuf_bytes / 4
								   : record->sndbuf_bytes * 2ull / 3;
	ret->acks = record->acks;
	ret->acked_bytes = record->acked_bytes;
	ret->cause_time_ns = record->cause_ns;
	ret->raise_inferred = record->raise_inferred != 0;
	ret->snd_wnd_min_bytes = record->snd_wnd_min_bytes;
	ret->retransmits = record->retransmits;
	ret->unsent_bytes = record->unsent_bytes;
	ret->lowat_bytes = record->lowat_bytes == UINT32_MAX ? 0 : record->lowat_bytes;
	ret->by_lowat = record->by_lowat != 0;
	ret->by_queue = record->by_queue != 0;
	ret->alarm = record->alarm <= STINT_PROBES_NO_EVENTS ? (int)record->alarm - 1 : -1;
	convert_limits(ret, record);
}

void stint_convert_acks(struct stint_probes_acks *ret, const struct record_why *record)
{
	memset(ret, 0, sizeof(*ret));
	ret->pid = record->pid;
	ret->fd = record->fd;
	ret->socket = record->socket;
	convert_addresses(ret->local, ret->remote, sizeof(ret->local), &record->addresses);
	ret->told = record->told;
	ret->acks = record->told;
	for (int why = 0; why < STINT_PROBES_NO_EVENTS; why++) {
		ret->no_event[why] = record->why[why];
		ret->acks += record->why[why];
	}
}

static enum stint_probes_hang_state hang_state(const struct record_hang *record, uint64_t duration_ns)
{
	if (record->stopped_ns > duration_ns / 2)
		return STINT_PROBES_HANG_STOPPED;
	if (record->blocked_ns > duration_ns / 2)
		return STINT_PROBES_HANG_BLOCKED;
	return record->runnable_ns > duration_ns / 2 ? STINT_PROBES_HANG_RUNNABLE
						     : STINT_PROBES_HANG_COMPUTING;
}

void stint_convert_hang(struct stint_probes_hang *ret, const struct record_hang *record)
{
	*ret = (struct stint_probes_hang){
		.pid = record->pid,
		.tid = record->tid,
		.duration_ns = record->time_ns - record->start_ns,
		.began_before = record->began_before != 0,
		.fd = -1,
		.handler = "",
	};
	ret->state = hang_state(record, ret->duration_ns);
	if (ret->state != STINT_PROBES_HANG_BLOCKED || !record->is_asleep || !record->in_syscall)
		return;
	stint_syscall_name(record->syscall_number, ret->in, sizeof(ret->in));
	if (stint_syscall_has_fd(record->syscall_number))
		ret->fd = record->syscall_fd;
}

void stint_convert_alarm(struct stint_probes_alarm *ret, const struct record_alarm *record)
{
	bool known = record->why < STINT_PROBES_NO_EVENTS;

	memset(ret, 0, sizeof(*ret));
	ret->pid = record->pid;
	ret->tid = record->tid;
	ret->fd = record->fd;
	ret->socket = record->socket;
	convert_addresses(ret->local, ret->remote, sizeof(ret->local), &record->addresses);
	ret->time_ns = record->time_ns;
	ret->start_ns = record->start_ns;
	ret->opened_ns = record->opened_ns;
	ret->why = known ? (enum stint_probes_no_event)record->why : STINT_PROBES_NO_EVENT_OTHER;
	ret->registered = record->registered != 0;
	ret->interest = record->interest;
	ret->queued_bytes = record->queued_bytes;
	ret->sndbuf_bytes = record->sndbuf_bytes;
	ret->unsent_bytes = record->unsent_bytes;
}

void stint_convert_socket(struct stint_probes_socket_event *ret, const struct record_socket *record)
{
	memset(ret, 0, sizeof(*ret));
	ret->time_ns = record->time_ns;
	ret->socket = record->socket;
	ret->pid = record->pid;
	ret->tid = record->tid;
	ret->fd = record->fd;
	ret->kind = (enum stint_probes_socket_kind)record->kind;
	convert_addresses(ret->local, ret->remote, sizeof(ret->local), &record->addresses);
	ret->requested_bytes = record->requested_bytes;
	ret->done_bytes = record->done_bytes;
	ret->queued_before_bytes = record->queued_before_bytes;
	ret->queued_bytes = record->queued_bytes;
	ret->sndbuf_bytes = record->sndbuf_bytes;
	ret->unacked_bytes = record->unacked_bytes;
	ret->snd_wnd_bytes = record->snd_wnd_bytes;
	ret->snd_cwnd = record->snd_cwnd;
	ret->cause = record->cause != 0;
}
