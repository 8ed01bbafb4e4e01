/* SPDX-License-Identifier: MIT */
#include "report/show/words_writes.h"

#include <string.h>

#include "report/show/roles.h"
#include "report/show/units.h"

/* Ends of "by ...". */
static const char *const limit_words[MODEL_LIMITS] = {
	"the peer's receive window (it did not read)",
	"the congestion window (as much was on the way as the network is trusted with)",
	"recovering from loss (retransmission)",
	"the peer's silence (no segment came, whatever was sent)",
	"the way there and back (all was sent, ACKs outstanding)",
	"this machine itself (pacing, or a queue before the network)",
	"the peer of a unix socket (it did not read)",
};

const char *const words_no_event_heads[MODEL_NO_EVENTS] = {"above 2/3", "unsent",    "not armed",    "edge",
							   "replaced",  "loop busy", "already told", "other"};

const char *const words_no_event_meanings[MODEL_NO_EVENTS] = {
	"the queue was still above 2/3 of the buffer",
	"there was more unsent data than TCP_NOTSENT_LOWAT allows",
	"EPOLLOUT was not asked for",
	"edge-triggered, and the one event had been returned before",
	"sk_write_space was replaced (TLS, sockmap) and did not tell",
	"the event was delivered, and the loop had been busy beyond its budget",
	"an ACK before it had made the event, and the owner had not sent yet",
	"the kernel raised no event, or it reached nobody",
};

void words_limits(struct buffer *out, const struct stall_group *group)
{
	uint64_t sum_ns = group->sum_ns[STALL_ACK];
	bool first = true;

	for (int limit = 0; limit < MODEL_LIMITS; limit++) {
		/* A hundredth is not worth a word. */
		if (group->limit_ns[limit] == 0 || group->limit_ns[limit] < sum_ns / 100)
			continue;
		buffer_printf(out, "%s%s went by %s", first ? " Of the time before the ACK, " : ", ",
			      units_share(group->limit_ns[limit], sum_ns).text, limit_words[limit]);
		first = false;
	}
	if (!first)
		buffer_string(out, ".");
	if (group->by_lowat > 0)
		buffer_printf(out, " %s of the sends %s refused by TCP_NOTSENT_LOWAT, not by the buffer.",
			      units_count(group->by_lowat).text, group->by_lowat == 1 ? "was" : "were");
	if (group->by_queue > 0)
		buffer_printf(
			out,
			" %s of the sends %s refused by the length of the peer's queue (net.unix.max_dgram_qlen).",
			units_count(group->by_queue).text, group->by_queue == 1 ? "was" : "were");
}

/* What time went by mostly, as the end of "went by". */
static const char *cause_words(enum model_cause cause)
{
	if ((int)cause < MODEL_LIMITS)
		return limit_words[cause];
	if (cause == MODEL_CAUSE_RUNNABLE)
		return "waiting for a CPU";
	return cause == MODEL_CAUSE_OWN_LOOP ? "its own loop, which had been told" : NULL;
}

static void put_longest(struct buffer *out, words_escape escape, const struct model_stall *stall)
{
	const char *cause = cause_words(stall->cause);

	buffer_printf(out, "%s (fd %d, ", units_ns(stall->duration_ns).text, stall->fd);
	escape(out, stall->local);
	buffer_string(out, " to ");
	escape(out, stall->remote);
	buffer_string(out, ")");
	if (cause)
		buffer_printf(out, ", most of which went by %s", cause);
	buffer_string(out, ".");
}

void words_not_sent(struct buffer *out, words_escape escape, const struct stall_group *group)
{
	if (group->closed > 0) {
		buffer_printf(out, " Ended as the socket was closed, with no send: %s, the longest after ",
			      units_count(group->closed).text);
		put_longest(out, escape, group->longest_closed);
	}
	if (group->open > 0) {
		buffer_printf(out, " Still open at the end: %s, the longest for ",
			      units_count(group->open).text);
		put_longest(out, escape, group->longest_open);
	}
}

bool words_sends_unseen(struct buffer *out, const struct model *model)
{
	if (!roles_untold_rings(model))
		return false;
	buffer_string(out,
		      "Sends through a ring (io_uring) are no system calls: where nothing is told of its "
		      "requests, no stall is told.");
	return true;
}

static const struct model_event *first_of(const struct trace *trace, enum model_event_kind kind)
{
	for (size_t i = 0; i < trace->events_len; i++)
		if (trace->events[i]->kind == kind)
			return trace->events[i];
	return NULL;
}

static size_t count_of(const struct trace *trace, enum model_event_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < trace->events_len; i++)
		count += trace->events[i]->kind == kind;
	return count;
}

/* How long the peer's window was closed, as far as it was seen to open again. */
static uint64_t closed_ns(const struct trace *trace)
{
	uint64_t since_ns = 0, sum_ns = 0;

	for (size_t i = 0; i < trace->events_len; i++) {
		const struct model_event *event = trace->events[i];

		if (event->kind == MODEL_WINDOW_CLOSED)
			since_ns = event->time_ns;
		if (event->kind == MODEL_WINDOW_OPENED && since_ns && event->time_ns > since_ns)
			sum_ns += event->time_ns - since_ns;
		if (event->kind == MODEL_WINDOW_OPENED)
			since_ns = 0;
	}
	return sum_ns;
}

void words_life(struct buffer *out, const struct model *model, const struct trace *trace)
{
	const struct model_event *established = first_of(trace, MODEL_ESTABLISHED);
	const struct model_event *fin = first_of(trace, MODEL_FIN_RECEIVED);
	const struct model_event *read_event = first_of(trace, MODEL_READ_EVENT);
	size_t retransmits = count_of(trace, MODEL_RETRANSMIT);
	size_t closings = count_of(trace, MODEL_WINDOW_CLOSED);

	if (established)
		buffer_printf(out, " Its handshake was complete at %.6f s.",
			      model_seconds(model, established->time_ns));
	if (retransmits > 0)
		buffer_printf(out, " %s segment%s sent again.", units_count(retransmits).text,
			      retransmits == 1 ? " was" : "s were");
	if (closings > 0)
		buffer_printf(out, " The peer closed its window %s time%s, for %s in sum.",
			      units_count(closings).text, closings == 1 ? "" : "s",
			      units_ns(closed_ns(trace)).text);
	if (!fin)
		return;
	buffer_printf(out, " The peer's FIN came at %.6f s", model_seconds(model, fin->time_ns));
	if (read_event && read_event->time_ns >= fin->time_ns)
		buffer_printf(out, ", and made a read event %s later",
			      units_ns(read_event->time_ns - fin->time_ns).text);
	buffer_string(out, ".");
}

bool words_none_traced(struct buffer *out, words_escape escape, const struct model *model)
{
	const char *asked = model_meta_text(model, "trace_socket");
	bool stalled = asked && strcmp(asked, "stalled") == 0;

	if (!asked)
		return false;
	for (size_t i = 0; i < model->events_len; i++)
		if (model->events[i].source == MODEL_PROBES)
			return false;
	buffer_printf(out, "Asked for was --trace-socket%s", stalled ? "" : "=");
	if (!stalled)
		escape(out, asked);
	if (!words_has_probes(model))
		buffer_string(out, ", which needs the probes: they were not there.");
	else if (stalled)
		buffer_string(out, ": no send found its buffer full.");
	else
		buffer_string(out, ": no TCP socket that matches sent anything while it was recorded.");
	if (model_lost(model) > 0)
		buffer_string(out, " Or it is among what was lost: see Lost.");
	return true;
}

void words_alarm(struct buffer *out, words_escape escape, const struct model *model,
		 const struct model_alarm *alarm)
{
	uint64_t untold_ns = alarm->time_ns > alarm->opened_ns ? alarm->time_ns - alarm->opened_ns : 0;

	words_process(out, escape, alarm->process);
	buffer_printf(out, ", fd %d (", alarm->fd);
	escape(out, alarm->local);
	buffer_string(out, " to ");
	escape(out, alarm->remote);
	buffer_printf(out, ") could be written to from %.3f s on, and %s later nothing had been sent: %s",
		      model_seconds(model, alarm->opened_ns), units_ns(untold_ns).text,
		      words_no_event_meanings[alarm->why]);
	if (alarm->interest == MODEL_UNKNOWN)
		buffer_string(out, " (it is in no epoll set)");
	buffer_printf(out, ". %s of %s bytes of the buffer were in use.",
		      units_count(alarm->queued_bytes).text, units_count(alarm->sndbuf_bytes).text);
}

bool words_alarms(struct buffer *out, const struct model *model, const struct model_process *process)
{
	uint64_t count = 0;

	for (size_t i = 0; i < model->alarms_len; i++)
		count += model->alarms[i].process == process;
	if (count)
		buffer_printf(
			out, "%s socket%s could be written to, and for a second nothing was sent: see Alarms",
			units_count(count).text, count == 1 ? "" : "s");
	return count > 0;
}

bool words_stalled(struct buffer *out, const struct model *model, const struct model_process *process)
{
	uint64_t count = 0, sum_ns = 0, longest_ns = 0, by_cause_ns[MODEL_CAUSE_UNKNOWN + 1] = {0};
	size_t most = 0;

	for (size_t i = 0; i < model->stalls_len; i++) {
		const struct model_stall *stall = &model->stalls[i];

		if (stall->process != process || stall->duration_ns > INT64_MAX - sum_ns)
			continue;
		count++;
		sum_ns += stall->duration_ns;
		by_cause_ns[stall->cause] += stall->duration_ns;
		longest_ns = stall->duration_ns > longest_ns ? stall->duration_ns : longest_ns;
	}
	if (!count)
		return false;
	for (size_t cause = 1; cause < sizeof(by_cause_ns) / sizeof(by_cause_ns[0]); cause++)
		most = by_cause_ns[cause] > by_cause_ns[most] ? cause : most;
	buffer_printf(out, "%s found the buffer full: for %s in sum, the longest %s; ",
		      count == 1 ? "a send" : "sends", units_ns(sum_ns).text, units_ns(longest_ns).text);
	if (most == MODEL_CAUSE_OWN_LOOP)
		buffer_string(out, "most of it by the loop itself, after the ACK");
	else if (cause_words((enum model_cause)most))
		buffer_printf(out, "most of it by %s", cause_words((enum model_cause)most));
	else
		buffer_string(out, "by what is not known");
	return true;
}
