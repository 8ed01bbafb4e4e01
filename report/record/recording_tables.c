/* SPDX-License-Identifier: MIT */
#include "report/record/recording_row.h"

void recording_meta_text(struct recording *recording, const char *key, const char *value)
{
	struct row row = row_begin(recording, META);

	put_text(&row, key);
	put_text(&row, value);
	row_end(&row);
}

void recording_meta_number(struct recording *recording, const char *key, int64_t value)
{
	struct row row = row_begin(recording, META);

	put_text(&row, key);
	put_signed(&row, value);
	row_end(&row);
}

void recording_loss(struct recording *recording, const char *name, uint64_t count, const char *meaning)
{
	struct row row = row_begin(recording, LOSS);

	put_text(&row, name);
	put_number(&row, count);
	put_text(&row, meaning);
	row_end(&row);
}

int64_t recording_process(struct recording *recording, uint32_t pid, const char *command)
{
	struct row row = row_begin(recording, PROCESS);

	put_number(&row, pid);
	put_text(&row, command);
	return row_end(&row);
}

void recording_process_command(struct recording *recording, int64_t process, const char *command)
{
	struct row row = row_begin(recording, PROCESS_COMMAND);

	put_text(&row, command);
	put_id(&row, process);
	row_end(&row);
}

void recording_process_appeared(struct recording *recording, int64_t process, uint64_t time_ns)
{
	struct row row = row_begin(recording, PROCESS_APPEARED);

	put_number(&row, time_ns);
	put_id(&row, process);
	row_end(&row);
}

void recording_process_inside(struct recording *recording, int64_t process, uint32_t pid, uint64_t netns)
{
	struct row row = row_begin(recording, PROCESS_INSIDE);

	put_known(&row, pid ? pid : RECORDING_UNKNOWN);
	put_known(&row, netns ? netns : RECORDING_UNKNOWN);
	put_id(&row, process);
	row_end(&row);
}

void recording_process_exited(struct recording *recording, int64_t process, uint64_t time_ns)
{
	struct row row = row_begin(recording, PROCESS_EXITED);

	put_number(&row, time_ns);
	put_id(&row, process);
	row_end(&row);
}

int64_t recording_handler(struct recording *recording, int64_t process, const char *name, bool from_meter,
			  uint64_t budget_ns)
{
	struct row row = row_begin(recording, HANDLER);

	put_id(&row, process);
	put_text(&row, name);
	put_source(&row, from_meter);
	put_number(&row, budget_ns);
	return row_end(&row);
}

int64_t recording_loop(struct recording *recording, int64_t process, uint32_t tid, int epfd, const char *name,
		       bool from_meter)
{
	struct row row = row_begin(recording, LOOP);

	put_id(&row, process);
	put_number(&row, tid);
	put_fd(&row, epfd);
	put_text(&row, name);
	put_source(&row, from_meter);
	return row_end(&row);
}

void recording_handler_counts(struct recording *recording, int64_t handler,
			      const struct recording_handler_counts *counts)
{
	struct row row = row_begin(recording, HANDLER_COUNTS);

	put_number(&row, counts->overruns);
	put_number(&row, counts->over_ns);
	put_number(&row, counts->blame_ns);
	put_number(&row, counts->victims);
	put_id(&row, handler);
	row_end(&row);
}

void recording_handler_count(struct recording *recording, int64_t handler, const char *name, uint64_t count)
{
	struct row row = row_begin(recording, HANDLER_COUNT);

	put_id(&row, handler);
	put_text(&row, name);
	put_number(&row, count);
	row_end(&row);
}

void recording_loop_counts(struct recording *recording, int64_t loop, uint64_t iterations, uint64_t busy_ns,
			   uint64_t poll_ns)
{
	struct row row = row_begin(recording, LOOP_COUNTS);

	put_number(&row, iterations);
	put_number(&row, busy_ns);
	put_number(&row, poll_ns);
	put_id(&row, loop);
	row_end(&row);
}

void recording_bucket(struct recording *recording, struct recording_owner owner, const char *metric,
		      uint64_t second, uint32_t bucket, uint64_t count)
{
	struct row row = row_begin(recording, owner.role       ? ROLE_HISTOGRAM
					      : owner.function ? FUNCTION_HISTOGRAM
							       : HISTOGRAM);

	if (owner.role || owner.function) {
		put_id(&row, owner.role ? owner.role : owner.function);
	} else {
		put_id(&row, owner.handler);
		put_id(&row, owner.loop);
	}
	put_text(&row, metric);
	put_number(&row, second);
	put_number(&row, bucket);
	put_number(&row, count);
	row_end(&row);
}

static void put_total(struct row *row, const struct recording_total *total)
{
	bool has_extremes = total->count > total->overflow;

	put_number(row, total->count);
	put_number(row, total->sum);
	put_known(row, has_extremes ? total->min : RECORDING_UNKNOWN);
	put_known(row, has_extremes ? total->max : RECORDING_UNKNOWN);
	put_number(row, total->overflow);
	row_end(row);
}

void recording_total(struct recording *recording, struct recording_owner owner, const char *metric,
		     const char *unit, const struct recording_total *total)
{
	struct row row;

	if (owner.role || owner.function) {
		row = row_begin(recording, owner.role ? ROLE_TOTAL : FUNCTION_TOTAL);
		put_id(&row, owner.role ? owner.role : owner.function);
		put_text(&row, metric);
		put_total(&row, total);
		return;
	}
	row = row_begin(recording, TOTAL_DELETE);
	put_id(&row, owner.handler);
	put_id(&row, owner.loop);
	put_text(&row, metric);
	row_end(&row);
	row = row_begin(recording, TOTAL);
	put_id(&row, owner.handler);
	put_id(&row, owner.loop);
	put_text(&row, metric);
	put_text(&row, unit);
	put_total(&row, total);
}

int64_t recording_role(struct recording *recording, int64_t process, const char *name, const char *kind)
{
	struct row row = row_begin(recording, ROLE);

	put_id(&row, process);
	put_text(&row, name);
	put_text(&row, kind);
	return row_end(&row);
}

void recording_finding(struct recording *recording, int64_t process,
		       const struct stint_probes_finding *finding)
{
	static const char *const kinds[] = {"idle_epollout", "not_drained",  "maxevents_full",
					    "ctl_storm",     "zero_timeout", "blocking",
					    "left_ready",    "no_descriptor"};
	struct row row = row_begin(recording, FINDING);

	put_id(&row, process);
	put_number(&row, finding->tid);
	put_signed(&row, finding->epfd);
	put_signed(&row, finding->fd);
	put_text(&row, kinds[finding->kind]);
	put_text(&row, *finding->role ? finding->role : NULL);
	put_number(&row, finding->count);
	put_number(&row, finding->of);
	put_number(&row, finding->cost_ns);
	put_number(&row, finding->longest_ns);
	put_number(&row, finding->same);
	put_number(&row, finding->idle_iterations);
	put_number(&row, finding->loop);
	row_end(&row);
}

void recording_forget_findings(struct recording *recording, int64_t process, uint64_t loop)
{
	struct row row = row_begin(recording, FINDING_DELETE);

	put_id(&row, process);
	put_number(&row, loop);
	row_end(&row);
}
