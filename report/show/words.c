/* SPDX-License-Identifier: MIT */
#include "report/show/words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "report/show/shorten.h"
#include "report/show/units.h"
#include "report/show/verdict_words.h"

#define COMMAND_HEAD 44 /* bytes of a command that are shown, if it is longer than both */
#define COMMAND_TAIL 20

/* ---- the recording ---- */

static void put_time(struct buffer *out, const struct model *model)
{
	uint64_t ns = model_meta_number(model, "start_realtime_ns");
	time_t seconds = (time_t)(ns / 1000000000);
	char text[64];
	struct tm tm;

	if (ns == MODEL_UNKNOWN || !gmtime_r(&seconds, &tm) ||
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		buffer_string(out, "at an unknown time");
	else
		buffer_string(out, text);
}

static void put_meta(struct buffer *out, words_escape escape, const struct model *model, const char *before,
		     const char *key)
{
	const char *text = model_meta_text(model, key);

	if (!text)
		return;
	buffer_string(out, before);
	escape(out, text);
}

void words_recording(struct buffer *out, words_escape escape, const struct model *model)
{
	buffer_string(out, "Recorded ");
	put_time(out, model);
	buffer_printf(out, " for %s", units_ns(model->duration_ns).text);
	put_meta(out, escape, model, " on ", "host");
	put_meta(out, escape, model, ", kernel ", "kernel");
	buffer_string(out, ".");
	if (!model->ended)
		buffer_string(out,
			      " It has no end: the recorder still runs or was killed, and this is what it "
			      "had written.");
}

/* The program without its directory. */
static const char *base_of(const char *command)
{
	const char *base = command;

	for (size_t i = 0; command[i] && command[i] != ' '; i++)
		if (command[i] == '/' && command[i + 1] && command[i + 1] != ' ')
			base = command + i + 1;
	return base;
}

/* A long command keeps its beginning and its end: what it is, and often which one. Its directory goes first. */
static void put_command(struct buffer *out, words_escape escape, const char *command)
{
	struct buffer text = {0};

	if (strlen(command) > COMMAND_HEAD + 3 + COMMAND_TAIL)
		command = base_of(command);
	shorten(&text, command, COMMAND_HEAD, COMMAND_TAIL);
	if (text.err)
		out->err = text.err;
	else
		escape(out, text.data ? text.data : "");
	buffer_free(&text);
}

void words_process(struct buffer *out, words_escape escape, const struct model_process *process)
{
	put_command(out, escape, process->command);
	buffer_printf(out, " (pid %" PRIu64, process->pid);
	if (process->inside_pid != MODEL_UNKNOWN && process->inside_pid != process->pid)
		buffer_printf(out, ", %" PRIu64 " in its own namespace", process->inside_pid);
	if (process->inside_netns != MODEL_UNKNOWN)
		buffer_printf(out, ", network namespace %" PRIu64, process->inside_netns);
	buffer_string(out, ")");
}

void words_descriptor(struct buffer *out, words_escape escape, const struct model_overrun *overrun)
{
	if (overrun->role) {
		buffer_string(out, ", ~");
		escape(out, overrun->role);
	}
	if (overrun->fd >= 0)
		buffer_printf(out, overrun->role ? " (fd %d)" : ", fd %d", overrun->fd);
}

bool words_has_no_stack(const struct model_overrun *overrun)
{
	return overrun->handler && overrun->handler->source == MODEL_PROBES && overrun->role &&
	       overrun->frames_len == 0;
}

const char *words_no_process(const struct model *model)
{
	return model->ended ? "No process is in this recording: it ended before one was found."
			    : "No process is in this recording: none had been found when this was written.";
}

bool words_has_probes(const struct model *model)
{
	const char *probes = model_meta_text(model, "probes");

	return probes && strcmp(probes, "yes") == 0;
}

void words_no_probes(struct buffer *out, words_escape escape, const struct model *model)
{
	const char *why = model_meta_text(model, "probes");

	buffer_string(out, "The kernel's side was not recorded: ");
	escape(out, why ? why : "the recording does not say why");
	buffer_string(
		out,
		". So it is not known on what an overrun was spent (CPU, waiting for a CPU, blocked), nor "
		"its system calls and stack, nor each ACK. Command to see what would allow it: "
		"stint doctor");
}

void words_loss(struct buffer *out, words_escape escape, const struct model_loss *loss)
{
	buffer_printf(out, "%s%s ", loss->of_stacks ? "Not lost, but incomplete: " : "",
		      units_count(loss->count).text);
	escape(out, loss->name);
	if (!loss->meaning)
		return;
	buffer_string(out, ": ");
	escape(out, loss->meaning);
}

/* What stint itself did to those that it watched, where that is known: in overruns. */
static void put_waits_behind(struct buffer *out, const struct model *model)
{
	uint64_t sum_ns = 0, overruns = 0;

	for (size_t i = 0; i < model->overruns_len; i++) {
		const struct model_verdict *verdict = model->overruns[i].verdict;
		uint64_t before_ns = sum_ns;

		for (size_t rank = 0; verdict && rank < verdict->rivals_len; rank++)
			if (verdict->rivals[rank].is_recorder)
				sum_ns += verdict->rivals[rank].duration_ns;
		overruns += sum_ns > before_ns;
	}
	if (overruns)
		buffer_printf(out, " %s%s overrun%s waited for a CPU behind it, %s in sum.",
			      model->overruns_len < model->overruns_total ? "At least " : "",
			      units_count(overruns).text, overruns == 1 ? "" : "s", units_ns(sum_ns).text);
}

void words_cost(struct buffer *out, const struct model *model)
{
	uint64_t cpu_ns = model_meta_number(model, "recorder_cpu_ns");
	uint64_t bpf_ns = model_meta_number(model, "bpf_ns");
	uint64_t skipped = model_meta_number(model, "watchdog_stacks_skipped");

	if (cpu_ns == MODEL_UNKNOWN)
		buffer_string(out, "The recorder's CPU time is not known");
	else
		buffer_printf(out, "The recorder used %s of CPU while it recorded (%s of one CPU)",
			      units_ns(cpu_ns).text, units_share(cpu_ns, model->duration_ns).text);
	if (bpf_ns != MODEL_UNKNOWN)
		buffer_printf(out, "; its eBPF programs ran for %s in sum (%s of one CPU).",
			      units_ns(bpf_ns).text, units_share(bpf_ns, model->duration_ns).text);
	else if (words_has_probes(model))
		buffer_string(
			out,
			"; what its eBPF programs cost is not known (the kernel counts it while sysctl kernel.bpf_stats_enabled is 1).");
	else
		buffer_string(out, "; no eBPF program ran.");
	put_waits_behind(out, model);
	if (skipped != MODEL_UNKNOWN && skipped > 0)
		buffer_printf(out, " Watchdogs take so many stacks a second: %s were left out.",
			      units_count(skipped).text);
}

/* ---- overruns ---- */

static const struct model_syscall *longest_call(const struct model_overrun *overrun)
{
	return overrun->syscalls_len ? &overrun->syscalls[0] : NULL;
}

static void put_split_cause(struct buffer *out, words_escape escape, const struct model_overrun *overrun)
{
	const struct model_syscall *call = longest_call(overrun);

	if (overrun->blocked_ns >= overrun->on_cpu_ns && overrun->blocked_ns >= overrun->runnable_ns) {
		buffer_string(out, "blocked");
		if (call) {
			buffer_string(out, " in ");
			escape(out, call->name);
		}
	} else if (overrun->runnable_ns > overrun->on_cpu_ns) {
		buffer_string(out, "waiting for a CPU");
	} else {
		buffer_string(out, "computing");
		if (call && call->duration_ns > overrun->duration_ns / 2) {
			buffer_string(out, " in the kernel, in ");
			escape(out, call->name);
		}
	}
}

void words_cause(struct buffer *out, words_escape escape, const struct model_overrun *overrun)
{
	uint64_t half_ns = overrun->duration_ns / 2;

	if (overrun->began_before)
		buffer_printf(out, "at least, as it ~began before the recording%s, ",
			      overrun->running ? " and had not ended yet" : "");
	else if (overrun->running)
		buffer_string(out, "it had not ended yet, ");
	if (overrun->verdict && overrun->verdict->verdict != MODEL_VERDICTS)
		verdict_words_cause(out, escape, overrun);
	else if (overrun->on_cpu_ns != MODEL_UNKNOWN && overrun->runnable_ns != MODEL_UNKNOWN &&
		 overrun->blocked_ns != MODEL_UNKNOWN)
		put_split_cause(out, escape, overrun);
	else if (overrun->cpu_min_ns != MODEL_UNKNOWN && overrun->cpu_min_ns > half_ns)
		buffer_string(out, "computing");
	else if (overrun->cpu_max_ns != MODEL_UNKNOWN && overrun->cpu_max_ns < half_ns)
		buffer_string(out, overrun->stack_kind == MODEL_STACK_BLOCKED
					   ? "blocked, when its stack was taken"
					   : "off the CPU (blocked, or waiting for one)");
	else if (overrun->stack_kind != MODEL_STACK_NONE)
		buffer_printf(out, "%s, when its stack was taken",
			      overrun->stack_kind == MODEL_STACK_BLOCKED ? "blocked" : "computing");
	else
		buffer_string(out, "on what it was spent is not known");
}

bool words_is_late(const struct model *model, const struct model_process *process)
{
	for (size_t i = 0; i < model->overruns_len; i++) {
		if (model->overruns[i].process == process)
			return true;
	}
	for (size_t i = 0; i < model->handlers_len; i++) {
		if (model->handlers[i].process == process && model->handlers[i].overruns > 0)
			return true;
	}
	return false;
}

/* ---- write stalls ---- */

/* Those that ended with a send: of these are the figures. */
static void put_sent_stalls(struct buffer *out, const struct stall_group *group)
{
	buffer_printf(out, "%s in sum: half of them %s or shorter, the longest %s. ",
		      units_ns(group->sum_ns[STALL_WHOLE]).text, units_ns(group->p50_ns[STALL_WHOLE]).text,
		      units_ns(group->max_ns[STALL_WHOLE]).text);
	buffer_printf(out, "%s of that time went by %s.",
		      units_share(group->sum_ns[group->worst], group->sum_ns[STALL_WHOLE]).text,
		      stall_stage_meanings[group->worst]);
	if (group->retransmits > 0)
		buffer_printf(out, " %s segment%s had to be sent again meanwhile.",
			      units_count(group->retransmits).text, group->retransmits == 1 ? "" : "s");
}

void words_stalls(struct buffer *out, words_escape escape, const struct stall_group *group)
{
	size_t count = group->count + group->closed + group->open;

	words_process(out, escape, group->process);
	buffer_printf(out, " had %s write stall%s on %s socket%s", units_count(count).text,
		      count == 1 ? "" : "s", units_count(group->sockets).text,
		      group->sockets == 1 ? "" : "s");
	if (!group->count)
		buffer_string(out, ", of which none ended with a send.");
	else if (group->count < count)
		buffer_printf(out, ". %s ended with a send, ", units_count(group->count).text);
	else
		buffer_string(out, ", ");
	if (group->count)
		put_sent_stalls(out, group);
}

const struct trace_cycle *words_best_cycle(const struct trace *trace)
{
	return trace->cycles_len ? &trace->cycles[trace->longest] : NULL;
}

static void put_after(struct buffer *out, const char *what, const struct model_event *event,
		      const struct model_event *since)
{
	if (event && event->time_ns >= since->time_ns)
		buffer_printf(out, ", %s %s later", what, units_ns(event->time_ns - since->time_ns).text);
}

/* One that woke nobody is known by what it did, and given the time of its ACK: it came at the end of that. */
static void put_write_event(struct buffer *out, const struct trace_cycle *cycle)
{
	if (cycle->write_event && cycle->write_event->time_ns == cycle->cause->time_ns)
		buffer_string(out, ", ~write event with it");
	else
		put_after(out, "write event", cycle->write_event, cycle->cause);
}

static void put_send(struct buffer *out, const struct model_event *send)
{
	buffer_string(out, send->requested_bytes == MODEL_UNKNOWN || send->requested_bytes == 0
				   ? "A send"
				   : "A send of ");
	if (send->requested_bytes != MODEL_UNKNOWN && send->requested_bytes != 0)
		buffer_printf(out, "%s bytes", units_count(send->requested_bytes).text);
	if (send->done_bytes == MODEL_UNKNOWN)
		buffer_string(out, " found the buffer full");
	else
		buffer_printf(out, " took %s and found the buffer full", units_count(send->done_bytes).text);
	if (send->queued_bytes != MODEL_UNKNOWN && send->sndbuf_bytes != MODEL_UNKNOWN)
		buffer_printf(out, " (%s of %s in use)", units_count(send->queued_bytes).text,
			      units_count(send->sndbuf_bytes).text);
	buffer_string(out, ". ");
}

static bool is_ack(const struct model_event *event)
{
	return event->kind == MODEL_ACK && event->queued_bytes != MODEL_UNKNOWN;
}

/* The ACKs before the one that opened the buffer: the first two and the last by their figures. */
static void put_vain_acks(struct buffer *out, const struct trace *trace, const struct trace_cycle *cycle)
{
	size_t vain = 0, shown = 0;

	for (size_t i = cycle->first; i < cycle->end && trace->events[i] != cycle->cause; i++)
		vain += is_ack(trace->events[i]);
	if (vain == 0)
		return;
	buffer_printf(out, "%s %s%s%s left ", units_count(vain).text, trace->is_unix ? "read" : "ACK",
		      vain == 1 ? "" : "s", trace->is_unix ? " of the peer" : "");
	for (size_t i = cycle->first; i < cycle->end && trace->events[i] != cycle->cause; i++) {
		if (!is_ack(trace->events[i]))
			continue;
		shown++;
		if (shown > 2 && shown < vain)
			continue;
		buffer_printf(out, "%s%s",
			      shown == 1      ? ""
			      : shown == vain ? (vain > 3 ? ", ..., " : " and ")
					      : ", ",
			      units_count(trace->events[i]->queued_bytes).text);
	}
	buffer_string(out, " bytes in it: no write event. ");
}

static void put_cause(struct buffer *out, const struct trace *trace, const struct trace_cycle *cycle)
{
	const struct model_event *cause = cycle->cause;

	buffer_printf(out, "The %s at +%s ", trace->is_unix ? "read" : "ACK",
		      units_ns(cause->time_ns - cycle->send->time_ns).text);
	if (cause->queued_bytes == MODEL_UNKNOWN)
		buffer_string(out, "opened the buffer");
	else if (cycle->threshold_bytes == MODEL_UNKNOWN)
		buffer_printf(out, "left %s bytes", units_count(cause->queued_bytes).text);
	else
		buffer_printf(out, "left %s bytes, %s the threshold of %s",
			      units_count(cause->queued_bytes).text,
			      cause->queued_bytes <= cycle->threshold_bytes ? "at or below" : "above",
			      units_count(cycle->threshold_bytes).text);
	put_write_event(out, cycle);
	put_after(out, "thread on a CPU", cycle->woken, cause);
	put_after(out, "epoll_wait returned", cycle->returned, cause);
	put_after(out, "next send", cycle->next, cause);
	buffer_string(out, ".");
	if (cycle->ending == TRACE_OPEN || cycle->ending == TRACE_CLOSED)
		buffer_printf(out, " No send had followed when the %s, %s after this one.",
			      cycle->ending == TRACE_OPEN ? "recording ended" : "socket was closed",
			      units_ns(cycle->duration_ns).text);
}

static void put_no_event(struct buffer *out, const struct trace_cycle *cycle)
{
	struct figure lasted = units_ns(cycle->duration_ns);

	if (cycle->ending == TRACE_SENT)
		buffer_printf(out, "The next send came %s later, and no write event was seen before it.",
			      lasted.text);
	else if (cycle->ending == TRACE_CLOSED)
		buffer_printf(out, "The socket was closed %s later, and no write event had come.",
			      lasted.text);
	else if (cycle->ending == TRACE_OPEN)
		buffer_printf(out, "The recording ended %s later, and no write event had come.", lasted.text);
	else
		buffer_string(out, "What followed is beyond the moments that are read for a report.");
}

/* The process alone cannot tell which ACK it was. */
static void put_own_view(struct buffer *out, const struct trace_cycle *cycle)
{
	const struct model_event *event = cycle->write_event ? cycle->write_event : cycle->returned;

	if (!event) {
		put_no_event(out, cycle);
		return;
	}
	buffer_printf(out, "The write event reached the program at +%s",
		      units_ns(event->time_ns - cycle->send->time_ns).text);
	if (event->queued_bytes != MODEL_UNKNOWN)
		buffer_printf(out, ", when %s bytes were left in the buffer",
			      units_count(event->queued_bytes).text);
	if (cycle->threshold_bytes != MODEL_UNKNOWN)
		buffer_printf(out, " (the kernel raises it at or below %s)",
			      units_count(cycle->threshold_bytes).text);
	put_after(out, "the next send followed", cycle->next, event);
	buffer_string(out, ". Which ACK opened the buffer is only known with the probes.");
}

void words_cycle(struct buffer *out, const struct trace *trace, const struct trace_cycle *cycle)
{
	put_send(out, cycle->send);
	if (!cycle->cause) {
		put_own_view(out, cycle);
		return;
	}
	put_vain_acks(out, trace, cycle);
	put_cause(out, trace, cycle);
}

/* ---- distributions ---- */

void words_distribution(struct buffer *out, const struct pick_distribution *distribution)
{
	const struct model_metric *metric = distribution->metric;

	buffer_printf(out, "Half of the %s %s took %s or less, 99 in 100 took %s or less, the longest %s",
		      units_count(metric->count).text, distribution->what,
		      units_ns(model_percentile(metric, 5000)).text,
		      units_ns(model_percentile(metric, 9900)).text, units_ns(model_maximum(metric)).text);
	if (distribution->budget_ns == MODEL_UNKNOWN || !distribution->budget_ns)
		buffer_string(out, "; there is no budget");
	else if (distribution->overruns > 0)
		buffer_printf(out, "; %s (%s) went beyond the budget of %s",
			      units_count(distribution->overruns).text,
			      units_share(distribution->overruns, metric->count).text,
			      units_ns(distribution->budget_ns).text);
	else
		buffer_printf(out, "; none went beyond the budget of %s",
			      units_ns(distribution->budget_ns).text);
	if (metric->overflow > 0)
		buffer_printf(out, "; %s took longer than the histogram's 73 minutes",
			      units_count(metric->overflow).text);
	buffer_string(out, ".");
}
