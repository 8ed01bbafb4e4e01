/* SPDX-License-Identifier: MIT */
#include "report/show/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "report/model/stalls.h"
#include "report/show/escape.h"
#include "report/show/functions.h"
#include "report/show/verdict_words.h"

/*
 * Members are put with the comma before them; `begin` forgets it. A key is a literal of this file.
 */
struct json {
	struct buffer *out;
	const struct model *model;
	bool first;
};

static void put_comma(struct json *json)
{
	if (!json->first)
		buffer_string(json->out, ",");
	json->first = false;
}

static void put_key(struct json *json, const char *key)
{
	put_comma(json);
	if (key)
		buffer_printf(json->out, "\"%s\":", key);
}

static void begin(struct json *json, const char *key, const char *bracket)
{
	put_key(json, key);
	buffer_string(json->out, bracket);
	json->first = true;
}

static void end(struct json *json, const char *bracket)
{
	buffer_string(json->out, bracket);
	json->first = false;
}

/* A row of an array: each on a line of its own, for people with less and grep. */
static void begin_row(struct json *json)
{
	put_comma(json);
	buffer_string(json->out, "\n{");
	json->first = true;
}

static void put_null(struct json *json, const char *key)
{
	put_key(json, key);
	buffer_string(json->out, "null");
}

static void put_number(struct json *json, const char *key, uint64_t value)
{
	put_key(json, key);
	if (value == MODEL_UNKNOWN)
		buffer_string(json->out, "null");
	else
		buffer_printf(json->out, "%" PRIu64, value);
}

static void put_fd(struct json *json, int fd)
{
	put_number(json, "fd", fd < 0 ? MODEL_UNKNOWN : (uint64_t)fd);
}

static void put_real(struct json *json, const char *key, double value, int digits)
{
	put_key(json, key);
	buffer_printf(json->out, "%.*f", digits, value);
}

static void put_bool(struct json *json, const char *key, bool value)
{
	put_key(json, key);
	buffer_string(json->out, value ? "true" : "false");
}

static void put_text(struct json *json, const char *key, const char *text)
{
	put_key(json, key);
	if (text)
		escape_json(json->out, text);
	else
		buffer_string(json->out, "null");
}

static void put_source(struct json *json, enum model_source source)
{
	static const char *const names[] = {"meter", "probes", "both"};

	put_text(json, "source", names[source]);
}

static void put_metric(struct json *json, const char *key, const struct model_metric *metric)
{
	bool known;
	double mean = model_mean(metric, &known);

	if (!metric->known) {
		put_null(json, key);
		return;
	}
	begin(json, key, "{");
	put_number(json, "count", metric->count);
	put_number(json, "p50_ns", model_percentile(metric, 5000));
	put_number(json, "p90_ns", model_percentile(metric, 9000));
	put_number(json, "p99_ns", model_percentile(metric, 9900));
	put_number(json, "p999_ns", model_percentile(metric, 9990));
	put_number(json, "min_ns", metric->min);
	put_number(json, "max_ns", metric->max);
	if (known)
		put_real(json, "mean_ns", mean, 1);
	else
		put_null(json, "mean_ns");
	put_number(json, "overflow", metric->overflow);
	end(json, "}");
}

/* A batch counts events: the same keys without the unit of time. */
static void put_batch(struct json *json, const struct model_metric *metric)
{
	bool known;
	double mean = model_mean(metric, &known);

	if (!metric->known) {
		put_null(json, "batch");
		return;
	}
	begin(json, "batch", "{");
	put_number(json, "count", metric->count);
	put_number(json, "p50", model_percentile(metric, 5000));
	put_number(json, "p90", model_percentile(metric, 9000));
	put_number(json, "p99", model_percentile(metric, 9900));
	put_number(json, "p999", model_percentile(metric, 9990));
	put_number(json, "min", metric->min);
	put_number(json, "max", metric->max);
	if (known)
		put_real(json, "mean", mean, 2);
	else
		put_null(json, "mean");
	put_number(json, "overflow", metric->overflow);
	end(json, "}");
}

static void put_start(struct json *json)
{
	uint64_t ns = model_meta_number(json->model, "start_realtime_ns");
	time_t seconds = (time_t)(ns / 1000000000);
	char text[64];
	struct tm tm;

	if (ns == MODEL_UNKNOWN || !gmtime_r(&seconds, &tm) ||
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		put_null(json, "start");
	else
		put_text(json, "start", text);
}

static void put_losses(struct json *json)
{
	begin(json, "losses", "[");
	for (size_t i = 0; i < json->model->losses_len; i++) {
		begin_row(json);
		put_text(json, "name", json->model->losses[i].name);
		put_number(json, "count", json->model->losses[i].count);
		put_text(json, "meaning", json->model->losses[i].meaning);
		end(json, "}");
	}
	end(json, "]");
}

static void put_recording(struct json *json)
{
	const struct model *model = json->model;

	begin(json, "recording", "{");
	put_start(json);
	put_number(json, "start_ns", model_meta_number(model, "start_ns"));
	put_real(json, "duration_s", (double)model->duration_ns / 1e9, 6);
	put_bool(json, "ended", model->ended);
	put_text(json, "kernel", model_meta_text(model, "kernel"));
	put_text(json, "host", model_meta_text(model, "host"));
	put_number(json, "lost_events", model->losses_len ? model_lost(model) : MODEL_UNKNOWN);
	put_losses(json);
	put_text(json, "stint_version", model_meta_text(model, "stint_version"));
	put_text(json, "clock", model_meta_text(model, "clock"));
	put_text(json, "probes", model_meta_text(model, "probes"));
	put_text(json, "epollout_rule", model_meta_text(model, "epollout_rule"));
	put_number(json, "budget_ns", model_meta_number(model, "budget_ns"));
	put_number(json, "recorder_cpu_ns", model_meta_number(model, "recorder_cpu_ns"));
	put_number(json, "bpf_ns", model_meta_number(model, "bpf_ns"));
	put_number(json, "events", model_meta_number(model, "events"));
	put_number(json, "events_not_attributed", model_meta_number(model, "events_not_attributed"));
	end(json, "}");
}

static void put_totals(struct json *json)
{
	const struct model *model = json->model;

	begin(json, "totals", "{");
	put_number(json, "processes", model->processes_total);
	put_number(json, "loops", model->loops_total);
	put_number(json, "handlers", model->handlers_total);
	put_number(json, "overruns", model->overruns_total);
	put_number(json, "write_stalls", model->stalls_total);
	put_number(json, "socket_events", model->events_total);
	put_number(json, "roles", model->roles_total);
	put_number(json, "findings", model->findings_total);
	put_number(json, "functions", model->functions_total);
	end(json, "}");
}

static void put_processes(struct json *json)
{
	begin(json, "processes", "[");
	for (size_t i = 0; i < json->model->processes_len; i++) {
		const struct model_process *process = &json->model->processes[i];

		begin_row(json);
		put_number(json, "pid", process->pid);
		put_text(json, "command", process->command);
		if (process->exited_ns == MODEL_UNKNOWN)
			put_null(json, "exited_s");
		else
			put_real(json, "exited_s", model_seconds(json->model, process->exited_ns), 6);
		if (process->appeared_ns == MODEL_UNKNOWN)
			put_null(json, "appeared_s");
		else
			put_real(json, "appeared_s", model_seconds(json->model, process->appeared_ns), 6);
		put_number(json, "inside_pid", process->inside_pid);
		put_number(json, "inside_netns", process->inside_netns);
		end(json, "}");
	}
	end(json, "]");
}

static void put_loop(struct json *json, const struct model_loop *loop)
{
	uint64_t whole_ns = loop->busy_ns + loop->poll_ns;

	begin_row(json);
	put_number(json, "pid", loop->process->pid);
	put_number(json, "tid", loop->tid);
	put_text(json, "name", loop->name);
	put_source(json, loop->source);
	put_number(json, "iterations", loop->iterations);
	if (whole_ns > 0)
		put_real(json, "utilization", (double)loop->busy_ns / (double)whole_ns, 6);
	else
		put_null(json, "utilization");
	put_number(json, "busy_ns", loop->busy_ns);
	put_number(json, "poll_ns", loop->poll_ns);
	put_metric(json, "busy", &loop->metrics[MODEL_BUSY]);
	put_metric(json, "poll", &loop->metrics[MODEL_POLL]);
	put_batch(json, &loop->metrics[MODEL_BATCH]);
	put_metric(json, "lateness", &loop->metrics[MODEL_LATENESS]);
	end(json, "}");
}

static void put_handler(struct json *json, const struct model_handler *handler)
{
	begin_row(json);
	put_number(json, "pid", handler->process->pid);
	put_text(json, "name", handler->name);
	put_source(json, handler->source);
	put_number(json, "budget_ns", handler->budget_ns);
	put_number(json, "overruns", handler->overruns);
	put_number(json, "over_ns", handler->over_ns);
	put_number(json, "blame_ns", handler->blame_ns);
	put_number(json, "victims", handler->victims);
	put_metric(json, "service", &handler->metrics[MODEL_SERVICE]);
	put_metric(json, "wait", &handler->metrics[MODEL_WAIT]);
	put_metric(json, "write_stall", &handler->metrics[MODEL_WRITE_STALL]);
	put_metric(json, "work_queue", &handler->metrics[MODEL_WORK_QUEUE]);
	put_metric(json, "work_run", &handler->metrics[MODEL_WORK_RUN]);
	put_metric(json, "work_return", &handler->metrics[MODEL_WORK_RETURN]);
	put_number(json, "jobs_refused", handler->jobs_refused);
	put_number(json, "file_reads_cached", handler->file_reads_cached);
	put_number(json, "file_reads_missed", handler->file_reads_missed);
	end(json, "}");
}

static void put_owners(struct json *json)
{
	begin(json, "loops", "[");
	for (size_t i = 0; i < json->model->loops_len; i++)
		put_loop(json, &json->model->loops[i]);
	end(json, "]");
	begin(json, "handlers", "[");
	for (size_t i = 0; i < json->model->handlers_len; i++)
		put_handler(json, &json->model->handlers[i]);
	end(json, "]");
}

static void put_frames(struct json *json, const struct model_overrun *overrun)
{
	begin(json, "frames", "[");
	for (size_t i = 0; overrun->places && i < overrun->frames_len; i++) {
		const struct model_place *place = &overrun->places[i];

		begin(json, NULL, "{");
		put_text(json, "name", overrun->frames[i] + (place->kernel ? strlen("[k] ") : 0));
		put_text(json, "module", place->module);
		put_text(json, "file", place->file);
		put_number(json, "line", place->line);
		put_bool(json, "kernel", place->kernel);
		end(json, "}");
	}
	end(json, "]");
}

static void put_block(struct json *json, const struct model_verdict *verdict)
{
	if (verdict->block_ns == MODEL_UNKNOWN) {
		put_null(json, "longest_block");
		return;
	}
	begin(json, "longest_block", "{");
	put_number(json, "duration_ns", verdict->block_ns);
	put_text(json, "in", verdict->blocked_in);
	put_text(json, "on", verdict->blocked_on);
	put_text(json, "waker", verdict->waker);
	put_number(json, "waker_pid", verdict->waker_pid);
	put_text(json, "waker_what", verdict->waker_what);
	put_bool(json, "waker_inferred", verdict->waker_inferred);
	end(json, "}");
}

static void put_others(struct json *json, const struct model_verdict *verdict)
{
	begin(json, "rivals", "[");
	for (size_t i = 0; i < verdict->rivals_len; i++) {
		begin(json, NULL, "{");
		put_number(json, "pid", verdict->rivals[i].pid);
		put_text(json, "comm", verdict->rivals[i].comm);
		put_number(json, "duration_ns", verdict->rivals[i].duration_ns);
		put_bool(json, "is_recorder", verdict->rivals[i].is_recorder);
		end(json, "}");
	}
	end(json, "]");
	begin(json, "victims", "[");
	for (size_t i = 0; i < verdict->victims_len; i++) {
		begin(json, NULL, "{");
		put_fd(json, verdict->victims[i].fd);
		put_text(json, "name", verdict->victims[i].name);
		put_number(json, "wait_ns", verdict->victims[i].wait_ns);
		end(json, "}");
	}
	end(json, "]");
}

/* Of the iteration: the six parts add up to iteration_ns, where all are known. */
static void put_verdict(struct json *json, const struct model_verdict *verdict)
{
	static const char *const keys[MODEL_VERDICTS] = {"user_ns",      "kernel_ns",  "runnable_ns",
							 "throttled_ns", "blocked_ns", "stolen_ns"};

	if (!verdict) {
		put_null(json, "verdict");
		return;
	}
	begin(json, "verdict", "{");
	put_text(json, "cause", verdict->verdict < MODEL_VERDICTS ? verdict_names[verdict->verdict] : NULL);
	put_text(json, "iteration", iteration_names[verdict->iteration]);
	for (int kind = 0; kind < MODEL_VERDICTS; kind++)
		put_number(json, keys[kind], verdict->parts_ns[kind]);
	put_number(json, "kernel_sampled_ns", verdict->kernel_sampled_ns);
	put_number(json, "fault_blocked_ns", verdict->fault_blocked_ns);
	put_number(json, "minor_faults", verdict->minor_faults);
	put_number(json, "major_faults", verdict->major_faults);
	put_number(json, "samples", verdict->samples);
	put_number(json, "kernel_samples", verdict->kernel_samples);
	put_number(json, "user_samples", verdict->user_samples);
	put_block(json, verdict);
	put_others(json, verdict);
	end(json, "}");
}

static void put_details(struct json *json, const struct model_overrun *overrun)
{
	static const char *const kinds[] = {NULL, "computed", "blocked"};

	begin(json, "syscalls", "[");
	for (size_t i = 0; i < overrun->syscalls_len; i++) {
		begin(json, NULL, "{");
		put_text(json, "name", overrun->syscalls[i].name);
		put_fd(json, overrun->syscalls[i].fd);
		put_number(json, "duration_ns", overrun->syscalls[i].duration_ns);
		end(json, "}");
	}
	end(json, "]");
	begin(json, "functions", "[");
	for (size_t i = 0; i < overrun->functions_len; i++) {
		begin(json, NULL, "{");
		put_text(json, "asked", overrun->functions[i].asked);
		put_number(json, "calls", overrun->functions[i].calls);
		put_number(json, "running", overrun->functions[i].running);
		put_number(json, "duration_ns", overrun->functions[i].duration_ns);
		end(json, "}");
	}
	end(json, "]");
	put_text(json, "stack_kind", kinds[overrun->stack_kind]);
	put_frames(json, overrun);
	put_verdict(json, overrun->verdict);
	begin(json, "stack", "[");
	for (size_t i = 0; i < overrun->frames_len; i++)
		put_text(json, NULL, overrun->frames[i]);
	end(json, "]");
}

static void put_overrun(struct json *json, const struct model_overrun *overrun)
{
	begin_row(json);
	put_real(json, "time_s", model_seconds(json->model, overrun->start_ns), 6);
	put_number(json, "pid", overrun->process->pid);
	put_number(json, "tid", overrun->tid);
	put_text(json, "handler", overrun->handler ? overrun->handler->name : NULL);
	put_source(json, overrun->source);
	put_bool(json, "running", overrun->running);
	put_text(json, "role", overrun->role);
	put_fd(json, overrun->fd);
	put_number(json, "duration_ns", overrun->duration_ns);
	put_number(json, "iteration_ns", overrun->iteration_ns);
	put_number(json, "on_cpu_ns", overrun->on_cpu_ns);
	put_number(json, "runnable_ns", overrun->runnable_ns);
	put_number(json, "blocked_ns", overrun->blocked_ns);
	put_number(json, "cpu_min_ns", overrun->cpu_min_ns);
	put_number(json, "cpu_max_ns", overrun->cpu_max_ns);
	put_number(json, "victims", overrun->victims);
	put_number(json, "blame_ns", overrun->blame_ns);
	put_number(json, "ready_events", overrun->ready_events);
	put_number(json, "syscall_count", overrun->syscall_count);
	put_details(json, overrun);
	end(json, "}");
}

static void put_stall(struct json *json, const struct model_stall *stall)
{
	begin_row(json);
	put_real(json, "time_s", model_seconds(json->model, stall->start_ns), 6);
	put_number(json, "pid", stall->process->pid);
	put_number(json, "tid", stall->tid);
	put_fd(json, stall->fd);
	put_text(json, "local", stall->local);
	put_text(json, "remote", stall->remote);
	put_number(json, "queued_bytes", stall->queued_bytes);
	put_number(json, "sndbuf_bytes", stall->sndbuf_bytes);
	put_number(json, "threshold_bytes", stall->threshold_bytes);
	put_number(json, "acks", stall->acks);
	put_number(json, "acked_bytes", stall->acked_bytes);
	put_number(json, "duration_ns", stall->duration_ns);
	put_number(json, "ack_ns", stall->ack_ns);
	put_number(json, "kernel_ns", stall->kernel_ns);
	put_number(json, "scheduler_ns", stall->scheduler_ns);
	put_number(json, "loop_ns", stall->loop_ns);
	put_number(json, "queue_ns", stall->queue_ns);
	if (stall->cause_ns == MODEL_UNKNOWN)
		put_null(json, "cause_s");
	else
		put_real(json, "cause_s", model_seconds(json->model, stall->cause_ns), 9);
	put_bool(json, "raise_inferred", stall->raise_inferred);
	put_number(json, "snd_wnd_min_bytes", stall->snd_wnd_min_bytes);
	put_number(json, "retransmits", stall->retransmits);
	put_text(json, "cause", stall_cause_keys[stall->cause]);
	begin(json, "limits", "{");
	for (int limit = 0; limit < MODEL_LIMITS; limit++) {
		char key[40];

		snprintf(key, sizeof(key), "%s_ns", stall_cause_keys[limit]);
		put_number(json, key, stall->limit_ns[limit]);
	}
	end(json, "}");
	put_number(json, "unsent_bytes", stall->unsent_bytes);
	put_number(json, "lowat_bytes", stall->lowat_bytes);
	put_bool(json, "by_lowat", stall->by_lowat);
	if (stall->alarm == MODEL_NO_EVENTS)
		put_null(json, "alarm");
	else
		put_text(json, "alarm", stall_no_event_keys[stall->alarm]);
	end(json, "}");
}

static void put_acks(struct json *json, const struct model_acks *acks)
{
	begin_row(json);
	put_number(json, "pid", acks->process->pid);
	put_fd(json, acks->fd);
	put_text(json, "local", acks->local);
	put_text(json, "remote", acks->remote);
	put_number(json, "acks", acks->acks);
	put_number(json, "told", acks->told);
	for (int why = 0; why < MODEL_NO_EVENTS; why++)
		put_number(json, stall_no_event_keys[why], acks->no_event[why]);
	end(json, "}");
}

static void put_alarm(struct json *json, const struct model_alarm *alarm)
{
	begin_row(json);
	put_real(json, "time_s", model_seconds(json->model, alarm->time_ns), 6);
	put_number(json, "pid", alarm->process->pid);
	put_number(json, "tid", alarm->tid);
	put_fd(json, alarm->fd);
	put_text(json, "local", alarm->local);
	put_text(json, "remote", alarm->remote);
	put_text(json, "why", stall_no_event_keys[alarm->why]);
	put_real(json, "opened_s", model_seconds(json->model, alarm->opened_ns), 6);
	put_number(json, "untold_ns",
		   alarm->time_ns > alarm->opened_ns ? alarm->time_ns - alarm->opened_ns : 0);
	put_number(json, "interest", alarm->interest);
	put_number(json, "queued_bytes", alarm->queued_bytes);
	put_number(json, "sndbuf_bytes", alarm->sndbuf_bytes);
	put_number(json, "unsent_bytes", alarm->unsent_bytes);
	end(json, "}");
}

/* Both keys have a row for each role, in the same order; the second only those whose arrivals are known. */
static void put_roles(struct json *json)
{
	static const char *const stages[] = {"age", "busy", "kernel", "scheduler", "return", "queue"};
	const struct model *model = json->model;

	begin(json, "roles", "[");
	for (size_t i = 0; i < model->roles_len; i++) {
		begin_row(json);
		put_number(json, "pid", model->roles[i].process->pid);
		put_text(json, "name", model->roles[i].name);
		put_text(json, "kind", model->roles[i].kind);
		put_bool(json, "inferred", true);
		put_metric(json, "service", &model->roles[i].metrics[MODEL_ROLE_SERVICE]);
		put_metric(json, "wait", &model->roles[i].metrics[MODEL_ROLE_WAIT]);
		end(json, "}");
	}
	end(json, "]");
	begin(json, "events_wait", "[");
	for (size_t i = 0; i < model->roles_len; i++) {
		if (!model->roles[i].metrics[MODEL_ROLE_AGE].known)
			continue;
		begin_row(json);
		put_number(json, "pid", model->roles[i].process->pid);
		put_text(json, "role", model->roles[i].name);
		for (int stage = 0; stage < 6; stage++)
			put_metric(json, stages[stage], &model->roles[i].metrics[MODEL_ROLE_AGE + stage]);
		end(json, "}");
	}
	end(json, "]");
}

static void put_finding(struct json *json, const struct model_finding *finding)
{
	static const char *const kinds[MODEL_FINDINGS_KINDS] = {"idle_epollout",  "not_drained",
								"maxevents_full", "ctl_storm",
								"zero_timeout",   "blocking"};

	begin_row(json);
	put_text(json, "kind", kinds[finding->kind]);
	put_number(json, "pid", finding->process->pid);
	put_number(json, "tid", finding->tid);
	put_fd(json, finding->fd);
	put_text(json, "role", finding->role);
	put_number(json, "count", finding->count);
	put_number(json, "of", finding->of);
	put_number(json, "cost_ns", finding->cost_ns);
	put_number(json, "longest_ns", finding->longest_ns);
	put_number(json, "same", finding->same);
	put_number(json, "idle_iterations", finding->idle_iterations);
	end(json, "}");
}

static void put_function(struct json *json, const struct model_function *function)
{
	begin_row(json);
	put_number(json, "pid", function->process->pid);
	put_text(json, "asked", function->asked);
	put_text(json, "name", function->name);
	put_text(json, "module", function->module);
	put_number(json, "address", function->address);
	put_number(json, "begun", function->begun);
	put_number(json, "nested", function->nested);
	put_number(json, "left_behind", function->left_behind);
	put_number(json, "unmatched", function->unmatched);
	put_number(json, "not_kept", function->not_kept);
	put_number(json, "cost_per_call_ns", function->cost_ns);
	put_number(json, "cost_within_ns", function->within_ns);
	put_number(json, "cost_ns", functions_cost_ns(function));
	put_metric(json, "duration", &function->duration);
	end(json, "}");
}

void json_report(struct buffer *out, const struct model *model)
{
	struct json json = {.out = out, .model = model, .first = true};

	begin(&json, NULL, "{");
	put_number(&json, "schema", 1);
	put_recording(&json);
	put_totals(&json);
	put_processes(&json);
	put_owners(&json);
	begin(&json, "overruns", "[");
	for (size_t i = 0; i < model->overruns_len; i++)
		put_overrun(&json, &model->overruns[i]);
	end(&json, "]");
	begin(&json, "write_stalls", "[");
	for (size_t i = 0; i < model->stalls_len; i++)
		put_stall(&json, &model->stalls[i]);
	end(&json, "]");
	put_roles(&json);
	begin(&json, "findings", "[");
	for (size_t i = 0; i < model->findings_len; i++)
		put_finding(&json, &model->findings[i]);
	end(&json, "]");
	begin(&json, "functions", "[");
	for (size_t i = 0; i < model->functions_len; i++)
		put_function(&json, &model->functions[i]);
	end(&json, "]");
	begin(&json, "write_acks", "[");
	for (size_t i = 0; i < model->acks_len; i++)
		put_acks(&json, &model->acks[i]);
	end(&json, "]");
	begin(&json, "write_alarms", "[");
	for (size_t i = 0; i < model->alarms_len; i++)
		put_alarm(&json, &model->alarms[i]);
	end(&json, "]");
	end(&json, "}");
	buffer_string(out, "\n");
}
