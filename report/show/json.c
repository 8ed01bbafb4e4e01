/* SPDX-License-Identifier: MIT */
#include "report/show/json.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "report/model/late.h"
#include "report/model/stalls.h"
#include "report/show/functions.h"
#include "report/show/json_writer.h"
#include "report/show/verdict_words.h"

static void put_fd(struct json *json, int fd)
{
	json_number(json, "fd", fd < 0 ? MODEL_UNKNOWN : (uint64_t)fd);
}

static void put_source(struct json *json, enum model_source source)
{
	static const char *const names[] = {"meter", "probes", "both"};

	json_text(json, "source", names[source]);
}

static void put_metric(struct json *json, const char *key, const struct model_metric *metric)
{
	bool known;
	double mean = model_mean(metric, &known);

	if (!metric->known) {
		json_null(json, key);
		return;
	}
	json_begin(json, key, "{");
	json_number(json, "count", metric->count);
	json_number(json, "p50_ns", model_percentile(metric, 5000));
	json_number(json, "p90_ns", model_percentile(metric, 9000));
	json_number(json, "p99_ns", model_percentile(metric, 9900));
	json_number(json, "p999_ns", model_percentile(metric, 9990));
	json_number(json, "min_ns", metric->min);
	json_number(json, "max_ns", metric->max);
	if (known)
		json_real(json, "mean_ns", mean, 1);
	else
		json_null(json, "mean_ns");
	json_number(json, "overflow", metric->overflow);
	json_end(json, "}");
}

/* A batch counts events: the same keys without the unit of time. */
static void put_batch(struct json *json, const struct model_metric *metric)
{
	bool known;
	double mean = model_mean(metric, &known);

	if (!metric->known) {
		json_null(json, "batch");
		return;
	}
	json_begin(json, "batch", "{");
	json_number(json, "count", metric->count);
	json_number(json, "p50", model_percentile(metric, 5000));
	json_number(json, "p90", model_percentile(metric, 9000));
	json_number(json, "p99", model_percentile(metric, 9900));
	json_number(json, "p999", model_percentile(metric, 9990));
	json_number(json, "min", metric->min);
	json_number(json, "max", metric->max);
	if (known)
		json_real(json, "mean", mean, 2);
	else
		json_null(json, "mean");
	json_number(json, "overflow", metric->overflow);
	json_end(json, "}");
}

static void put_start(struct json *json, const struct model *model)
{
	uint64_t ns = model_meta_number(model, "start_realtime_ns");
	time_t seconds = (time_t)(ns / 1000000000);
	char text[64];
	struct tm tm;

	if (ns == MODEL_UNKNOWN || !gmtime_r(&seconds, &tm) ||
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		json_null(json, "start");
	else
		json_text(json, "start", text);
}

static void put_losses(struct json *json, const struct model *model)
{
	json_begin(json, "losses", "[");
	for (size_t i = 0; i < model->losses_len; i++) {
		json_begin_row(json);
		json_text(json, "name", model->losses[i].name);
		json_number(json, "count", model->losses[i].count);
		json_text(json, "meaning", model->losses[i].meaning);
		json_end(json, "}");
	}
	json_end(json, "]");
}

static void put_recording(struct json *json, const struct model *model)
{
	json_begin(json, "recording", "{");
	put_start(json, model);
	json_number(json, "start_ns", model_meta_number(model, "start_ns"));
	json_real(json, "duration_s", (double)model->duration_ns / 1e9, 6);
	json_bool(json, "ended", model->ended);
	json_text(json, "kernel", model_meta_text(model, "kernel"));
	json_text(json, "host", model_meta_text(model, "host"));
	json_number(json, "lost_events", model->losses_len ? model_lost(model) : MODEL_UNKNOWN);
	json_number(json, "stacks_incomplete",
		    model->losses_len ? model_stacks_incomplete(model) : MODEL_UNKNOWN);
	put_losses(json, model);
	json_text(json, "stint_version", model_meta_text(model, "stint_version"));
	json_text(json, "clock", model_meta_text(model, "clock"));
	json_text(json, "probes", model_meta_text(model, "probes"));
	json_text(json, "trace_socket", model_meta_text(model, "trace_socket"));
	json_text(json, "epollout_rule", model_meta_text(model, "epollout_rule"));
	json_number(json, "budget_ns", model_meta_number(model, "budget_ns"));
	json_number(json, "recorder_cpu_ns", model_meta_number(model, "recorder_cpu_ns"));
	json_number(json, "bpf_ns", model_meta_number(model, "bpf_ns"));
	json_number(json, "events", model_meta_number(model, "events"));
	json_number(json, "events_not_attributed", model_meta_number(model, "events_not_attributed"));
	json_end(json, "}");
}

static void put_totals(struct json *json, const struct model *model)
{
	json_begin(json, "totals", "{");
	json_number(json, "processes", model->processes_total);
	json_number(json, "loops", model->loops_total);
	json_number(json, "handlers", model->handlers_total);
	json_number(json, "overruns", model->overruns_total);
	json_number(json, "write_stalls", model->stalls_total);
	json_number(json, "socket_events", model->events_total);
	json_number(json, "roles", model->roles_total);
	json_number(json, "findings", model->findings_total);
	json_number(json, "functions", model->functions_total);
	json_end(json, "}");
}

/* As the first lines of a report have it. */
static void put_late(struct json *json, const struct model *model, const struct model_process *process)
{
	static const char *const others[] = {"stopped", "computing", "off_cpu", "unknown"};
	struct late late;

	late_of(&late, model, process, NULL);
	json_begin(json, "late", "{");
	json_number(json, "overruns", late.overruns);
	json_number(json, "sum_ns", late.sum_ns);
	json_number(json, "over_ns", late.over_ns);
	json_begin(json, "causes", "[");
	for (size_t i = 0; i < late.causes_len; i++) {
		enum late_kind kind = late.causes[i].kind;

		json_begin(json, NULL, "{");
		json_text(json, "cause",
			  kind < LATE_STOPPED ? verdict_names[kind] : others[kind - LATE_STOPPED]);
		json_number(json, "sum_ns", late.causes[i].sum_ns);
		json_end(json, "}");
	}
	json_end(json, "]");
	json_number(json, "own_overruns", late.own.overruns);
	json_text(json, "own_handler", late.own.handler ? late.own.handler->name : NULL);
	json_end(json, "}");
}

static void put_processes(struct json *json, const struct model *model)
{
	json_begin(json, "processes", "[");
	for (size_t i = 0; i < model->processes_len; i++) {
		const struct model_process *process = &model->processes[i];

		json_begin_row(json);
		json_number(json, "pid", process->pid);
		json_text(json, "command", process->command);
		if (process->exited_ns == MODEL_UNKNOWN)
			json_null(json, "exited_s");
		else
			json_real(json, "exited_s", model_seconds(model, process->exited_ns), 6);
		if (process->appeared_ns == MODEL_UNKNOWN)
			json_null(json, "appeared_s");
		else
			json_real(json, "appeared_s", model_seconds(model, process->appeared_ns), 6);
		json_number(json, "inside_pid", process->inside_pid);
		json_number(json, "inside_netns", process->inside_netns);
		json_number(json, "shared_epfd",
			    process->shared_epfd < 0 ? MODEL_UNKNOWN : (uint64_t)process->shared_epfd);
		put_late(json, model, process);
		json_end(json, "}");
	}
	json_end(json, "]");
}

static void put_loop(struct json *json, const struct model_loop *loop)
{
	uint64_t whole_ns = model_whole_ns(loop);

	json_begin_row(json);
	json_number(json, "pid", loop->process->pid);
	json_number(json, "tid", loop->tid);
	json_text(json, "name", loop->name);
	put_source(json, loop->source);
	json_number(json, "iterations", loop->iterations);
	if (whole_ns > 0 && !loop->is_shared)
		json_real(json, "utilization", (double)model_busy_ns(loop) / (double)whole_ns, 6);
	else
		json_null(json, "utilization");
	json_number(json, "busy_ns", loop->busy_ns);
	json_number(json, "poll_ns", loop->poll_ns);
	json_number(json, "running_ns", loop->running_ns);
	put_metric(json, "busy", &loop->metrics[MODEL_BUSY]);
	put_metric(json, "poll", &loop->metrics[MODEL_POLL]);
	put_batch(json, &loop->metrics[MODEL_BATCH]);
	put_metric(json, "lateness", &loop->metrics[MODEL_LATENESS]);
	json_end(json, "}");
}

static void put_handler(struct json *json, const struct model_handler *handler)
{
	json_begin_row(json);
	json_number(json, "pid", handler->process->pid);
	json_text(json, "name", handler->name);
	put_source(json, handler->source);
	json_number(json, "budget_ns", handler->budget_ns);
	json_number(json, "overruns", handler->overruns);
	json_number(json, "over_ns", handler->over_ns);
	json_number(json, "blame_ns", handler->blame_ns);
	json_number(json, "victims", handler->victims);
	put_metric(json, "service", &handler->metrics[MODEL_SERVICE]);
	put_metric(json, "wait", &handler->metrics[MODEL_WAIT]);
	put_metric(json, "write_stall", &handler->metrics[MODEL_WRITE_STALL]);
	put_metric(json, "work_queue", &handler->metrics[MODEL_WORK_QUEUE]);
	put_metric(json, "work_run", &handler->metrics[MODEL_WORK_RUN]);
	put_metric(json, "work_return", &handler->metrics[MODEL_WORK_RETURN]);
	json_number(json, "jobs_refused", handler->jobs_refused);
	json_number(json, "file_reads_cached", handler->file_reads_cached);
	json_number(json, "file_reads_missed", handler->file_reads_missed);
	json_end(json, "}");
}

static void put_owners(struct json *json, const struct model *model)
{
	json_begin(json, "loops", "[");
	for (size_t i = 0; i < model->loops_len; i++)
		put_loop(json, &model->loops[i]);
	json_end(json, "]");
	json_begin(json, "handlers", "[");
	for (size_t i = 0; i < model->handlers_len; i++)
		put_handler(json, &model->handlers[i]);
	json_end(json, "]");
}

static void put_frames(struct json *json, const struct model_overrun *overrun)
{
	json_begin(json, "frames", "[");
	for (size_t i = 0; overrun->places && i < overrun->frames_len; i++) {
		const struct model_place *place = &overrun->places[i];

		json_begin(json, NULL, "{");
		json_text(json, "name", overrun->frames[i] + (place->kernel ? strlen("[k] ") : 0));
		json_text(json, "module", place->module);
		json_text(json, "file", place->file);
		json_number(json, "line", place->line);
		json_bool(json, "kernel", place->kernel);
		json_end(json, "}");
	}
	json_end(json, "]");
}

static void put_block(struct json *json, const struct model_verdict *verdict)
{
	if (verdict->block_ns == MODEL_UNKNOWN) {
		json_null(json, "longest_block");
		return;
	}
	json_begin(json, "longest_block", "{");
	json_number(json, "duration_ns", verdict->block_ns);
	json_text(json, "in", verdict->blocked_in);
	json_text(json, "on", verdict->blocked_on);
	json_bool(json, "on_inferred", verdict->blocked_on_inferred);
	json_text(json, "waker", verdict->waker);
	json_number(json, "waker_pid", verdict->waker_pid);
	json_text(json, "waker_what", verdict->waker_what);
	json_bool(json, "waker_inferred", verdict->waker_inferred);
	json_end(json, "}");
}

static void put_others(struct json *json, const struct model_verdict *verdict)
{
	json_begin(json, "rivals", "[");
	for (size_t i = 0; i < verdict->rivals_len; i++) {
		json_begin(json, NULL, "{");
		json_number(json, "pid", verdict->rivals[i].pid);
		json_text(json, "comm", verdict->rivals[i].comm);
		json_number(json, "duration_ns", verdict->rivals[i].duration_ns);
		json_bool(json, "is_recorder", verdict->rivals[i].is_recorder);
		json_bool(json, "is_own", verdict->rivals[i].is_own);
		json_end(json, "}");
	}
	json_end(json, "]");
	json_begin(json, "victims", "[");
	for (size_t i = 0; i < verdict->victims_len; i++) {
		json_begin(json, NULL, "{");
		put_fd(json, verdict->victims[i].fd);
		json_text(json, "name", verdict->victims[i].name);
		json_bool(json, "name_inferred", verdict->victims[i].name_inferred);
		json_number(json, "wait_ns", verdict->victims[i].wait_ns);
		json_end(json, "}");
	}
	json_end(json, "]");
}

/* Of the iteration: the six parts add up to iteration_ns, where all are known. */
static void put_verdict(struct json *json, const struct model_verdict *verdict)
{
	static const char *const keys[MODEL_VERDICTS] = {"user_ns",      "kernel_ns",  "runnable_ns",
							 "throttled_ns", "blocked_ns", "stolen_ns"};

	if (!verdict) {
		json_null(json, "verdict");
		return;
	}
	json_begin(json, "verdict", "{");
	json_text(json, "cause", verdict->verdict < MODEL_VERDICTS ? verdict_names[verdict->verdict] : NULL);
	json_text(json, "iteration", iteration_names[verdict->iteration]);
	for (int kind = 0; kind < MODEL_VERDICTS; kind++)
		json_number(json, keys[kind], verdict->parts_ns[kind]);
	json_number(json, "kernel_sampled_ns", verdict->kernel_sampled_ns);
	json_number(json, "faulted_ns", verdict->faulted_ns);
	json_number(json, "fault_blocked_ns", verdict->fault_blocked_ns);
	json_number(json, "stopped_ns", verdict->stopped_ns);
	json_number(json, "minor_faults", verdict->minor_faults);
	json_number(json, "major_faults", verdict->major_faults);
	json_number(json, "samples", verdict->samples);
	json_number(json, "kernel_samples", verdict->kernel_samples);
	json_number(json, "user_samples", verdict->user_samples);
	put_block(json, verdict);
	put_others(json, verdict);
	json_end(json, "}");
}

static void put_details(struct json *json, const struct model_overrun *overrun)
{
	static const char *const kinds[] = {NULL, "computed", "blocked"};

	json_begin(json, "syscalls", "[");
	for (size_t i = 0; i < overrun->syscalls_len; i++) {
		json_begin(json, NULL, "{");
		json_text(json, "name", overrun->syscalls[i].name);
		put_fd(json, overrun->syscalls[i].fd);
		json_number(json, "duration_ns", overrun->syscalls[i].duration_ns);
		json_end(json, "}");
	}
	json_end(json, "]");
	json_begin(json, "functions", "[");
	for (size_t i = 0; i < overrun->functions_len; i++) {
		json_begin(json, NULL, "{");
		json_text(json, "asked", overrun->functions[i].asked);
		json_number(json, "calls", overrun->functions[i].calls);
		json_number(json, "running", overrun->functions[i].running);
		json_number(json, "duration_ns", overrun->functions[i].duration_ns);
		json_end(json, "}");
	}
	json_end(json, "]");
	json_text(json, "stack_kind", kinds[overrun->stack_kind]);
	put_frames(json, overrun);
	put_verdict(json, overrun->verdict);
	json_begin(json, "stack", "[");
	for (size_t i = 0; i < overrun->frames_len; i++)
		json_text(json, NULL, overrun->frames[i]);
	json_end(json, "]");
}

static void put_overrun(struct json *json, const struct model *model, const struct model_overrun *overrun)
{
	json_begin_row(json);
	json_real(json, "time_s", model_seconds(model, overrun->start_ns), 6);
	json_number(json, "pid", overrun->process->pid);
	json_number(json, "tid", overrun->tid);
	json_text(json, "handler", overrun->handler ? overrun->handler->name : NULL);
	put_source(json, overrun->source);
	json_bool(json, "running", overrun->running);
	json_bool(json, "began_before", overrun->began_before);
	json_text(json, "role", overrun->role);
	put_fd(json, overrun->fd);
	json_number(json, "duration_ns", overrun->duration_ns);
	json_number(json, "iteration_ns", overrun->iteration_ns);
	json_number(json, "on_cpu_ns", overrun->on_cpu_ns);
	json_number(json, "runnable_ns", overrun->runnable_ns);
	json_number(json, "blocked_ns", overrun->blocked_ns);
	json_number(json, "cpu_min_ns", overrun->cpu_min_ns);
	json_number(json, "cpu_max_ns", overrun->cpu_max_ns);
	json_number(json, "victims", overrun->victims);
	json_number(json, "blame_ns", overrun->blame_ns);
	json_number(json, "ready_events", overrun->ready_events);
	json_number(json, "syscall_count", overrun->syscall_count);
	put_details(json, overrun);
	json_end(json, "}");
}

static void put_stall(struct json *json, const struct model *model, const struct model_stall *stall)
{
	json_begin_row(json);
	json_real(json, "time_s", model_seconds(model, stall->start_ns), 6);
	json_number(json, "pid", stall->process->pid);
	json_number(json, "tid", stall->tid);
	put_fd(json, stall->fd);
	json_text(json, "local", stall->local);
	json_text(json, "remote", stall->remote);
	json_number(json, "queued_bytes", stall->queued_bytes);
	json_number(json, "sndbuf_bytes", stall->sndbuf_bytes);
	json_number(json, "threshold_bytes", stall->threshold_bytes);
	json_number(json, "acks", stall->acks);
	json_number(json, "acked_bytes", stall->acked_bytes);
	json_number(json, "duration_ns", stall->duration_ns);
	json_number(json, "ack_ns", stall->ack_ns);
	json_number(json, "kernel_ns", stall->kernel_ns);
	json_number(json, "scheduler_ns", stall->scheduler_ns);
	json_number(json, "loop_ns", stall->loop_ns);
	json_number(json, "queue_ns", stall->queue_ns);
	json_number(json, "runnable_later_ns", stall->runnable_later_ns);
	if (stall->cause_ns == MODEL_UNKNOWN)
		json_null(json, "cause_s");
	else
		json_real(json, "cause_s", model_seconds(model, stall->cause_ns), 9);
	json_bool(json, "raise_inferred", stall->raise_inferred);
	json_number(json, "snd_wnd_min_bytes", stall->snd_wnd_min_bytes);
	json_number(json, "retransmits", stall->retransmits);
	json_text(json, "cause", stall_cause_keys[stall->cause]);
	json_begin(json, "limits", "{");
	for (int limit = 0; limit < MODEL_LIMITS; limit++) {
		char key[40];

		snprintf(key, sizeof(key), "%s_ns", stall_cause_keys[limit]);
		json_number(json, key, stall->limit_ns[limit]);
	}
	json_end(json, "}");
	json_number(json, "unsent_bytes", stall->unsent_bytes);
	json_number(json, "lowat_bytes", stall->lowat_bytes);
	json_bool(json, "by_lowat", stall->by_lowat);
	if (stall->alarm == MODEL_NO_EVENTS)
		json_null(json, "alarm");
	else
		json_text(json, "alarm", stall_no_event_keys[stall->alarm]);
	json_bool(json, "by_queue", stall->by_queue);
	json_text(json, "ending", stall_ending_keys[stall->ending]);
	json_end(json, "}");
}

static void put_acks(struct json *json, const struct model_acks *acks)
{
	json_begin_row(json);
	json_number(json, "pid", acks->process->pid);
	put_fd(json, acks->fd);
	json_text(json, "local", acks->local);
	json_text(json, "remote", acks->remote);
	json_number(json, "acks", acks->acks);
	json_number(json, "told", acks->told);
	for (int why = 0; why < MODEL_NO_EVENTS; why++)
		json_number(json, stall_no_event_keys[why], acks->no_event[why]);
	json_end(json, "}");
}

static void put_alarm(struct json *json, const struct model *model, const struct model_alarm *alarm)
{
	json_begin_row(json);
	json_real(json, "time_s", model_seconds(model, alarm->time_ns), 6);
	json_number(json, "pid", alarm->process->pid);
	json_number(json, "tid", alarm->tid);
	put_fd(json, alarm->fd);
	json_text(json, "local", alarm->local);
	json_text(json, "remote", alarm->remote);
	json_text(json, "why", stall_no_event_keys[alarm->why]);
	json_real(json, "opened_s", model_seconds(model, alarm->opened_ns), 6);
	json_number(json, "untold_ns",
		    alarm->time_ns > alarm->opened_ns ? alarm->time_ns - alarm->opened_ns : 0);
	json_number(json, "interest", alarm->interest);
	json_number(json, "queued_bytes", alarm->queued_bytes);
	json_number(json, "sndbuf_bytes", alarm->sndbuf_bytes);
	json_number(json, "unsent_bytes", alarm->unsent_bytes);
	json_end(json, "}");
}

/* Both keys have a row for each role, in the same order; the second only those whose arrivals are known. */
static void put_roles(struct json *json, const struct model *model)
{
	static const char *const stages[] = {"age", "left", "busy", "kernel", "scheduler", "return", "queue"};

	json_begin(json, "roles", "[");
	for (size_t i = 0; i < model->roles_len; i++) {
		json_begin_row(json);
		json_number(json, "pid", model->roles[i].process->pid);
		json_text(json, "name", model->roles[i].name);
		json_text(json, "kind", model->roles[i].kind);
		json_bool(json, "inferred", true);
		put_metric(json, "service", &model->roles[i].metrics[MODEL_ROLE_SERVICE]);
		put_metric(json, "wait", &model->roles[i].metrics[MODEL_ROLE_WAIT]);
		json_end(json, "}");
	}
	json_end(json, "]");
	json_begin(json, "events_wait", "[");
	for (size_t i = 0; i < model->roles_len; i++) {
		if (!model->roles[i].metrics[MODEL_ROLE_AGE].known)
			continue;
		json_begin_row(json);
		json_number(json, "pid", model->roles[i].process->pid);
		json_text(json, "role", model->roles[i].name);
		for (int stage = 0; stage < 6; stage++)
			put_metric(json, stages[stage], &model->roles[i].metrics[MODEL_ROLE_AGE + stage]);
		json_end(json, "}");
	}
	json_end(json, "]");
}

static void put_finding(struct json *json, const struct model_finding *finding)
{
	static const char *const kinds[MODEL_FINDINGS_KINDS] = {"idle_epollout",  "not_drained",
								"maxevents_full", "ctl_storm",
								"zero_timeout",   "blocking",
								"left_ready",     "no_descriptor"};

	json_begin_row(json);
	json_text(json, "kind", kinds[finding->kind]);
	json_number(json, "pid", finding->process->pid);
	json_number(json, "tid", finding->tid);
	put_fd(json, finding->fd);
	json_text(json, "role", finding->role);
	json_number(json, "count", finding->count);
	json_number(json, "of", finding->of);
	json_number(json, "cost_ns", finding->cost_ns);
	json_number(json, "longest_ns", finding->longest_ns);
	json_number(json, "same", finding->same);
	json_number(json, "idle_iterations", finding->idle_iterations);
	json_end(json, "}");
}

static void put_function(struct json *json, const struct model_function *function)
{
	json_begin_row(json);
	json_number(json, "pid", function->process->pid);
	json_text(json, "asked", function->asked);
	json_text(json, "name", function->name);
	json_text(json, "module", function->module);
	json_number(json, "address", function->address);
	json_number(json, "begun", function->begun);
	json_number(json, "nested", function->nested);
	json_number(json, "left_behind", function->left_behind);
	json_number(json, "unmatched", function->unmatched);
	json_number(json, "not_kept", function->not_kept);
	json_number(json, "cost_per_call_ns", function->cost_ns);
	json_number(json, "cost_within_ns", function->within_ns);
	json_number(json, "cost_ns", functions_cost_ns(function));
	put_metric(json, "duration", &function->duration);
	json_end(json, "}");
}

void json_report(struct buffer *out, const struct model *model)
{
	struct json json = {.out = out, .first = true};

	json_begin(&json, NULL, "{");
	json_number(&json, "schema", 1);
	put_recording(&json, model);
	put_totals(&json, model);
	put_processes(&json, model);
	put_owners(&json, model);
	json_begin(&json, "overruns", "[");
	for (size_t i = 0; i < model->overruns_len; i++)
		put_overrun(&json, model, &model->overruns[i]);
	json_end(&json, "]");
	json_begin(&json, "write_stalls", "[");
	for (size_t i = 0; i < model->stalls_len; i++)
		put_stall(&json, model, &model->stalls[i]);
	json_end(&json, "]");
	put_roles(&json, model);
	json_begin(&json, "findings", "[");
	for (size_t i = 0; i < model->findings_len; i++)
		put_finding(&json, &model->findings[i]);
	json_end(&json, "]");
	json_begin(&json, "functions", "[");
	for (size_t i = 0; i < model->functions_len; i++)
		put_function(&json, &model->functions[i]);
	json_end(&json, "]");
	json_begin(&json, "write_acks", "[");
	for (size_t i = 0; i < model->acks_len; i++)
		put_acks(&json, &model->acks[i]);
	json_end(&json, "]");
	json_begin(&json, "write_alarms", "[");
	for (size_t i = 0; i < model->alarms_len; i++)
		put_alarm(&json, model, &model->alarms[i]);
	json_end(&json, "]");
	json_end(&json, "}");
	buffer_string(out, "\n");
}
