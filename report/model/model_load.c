/* SPDX-License-Identifier: MIT */
#include "report/model/model_load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/model/loader.h"
#include "report/model/model_functions.h"
#include "report/model/model_roles.h"
#include "report/model/model_sockets.h"
#include "report/model/shared_sets.h"
#include "report/model/verdicts.h"
#include "report/record/recording.h"
#include "stint/histogram.h"

static bool take_meta(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_meta *meta = item;

	meta->number = loader_known(row, 1);
	meta->key = loader_name(loader, row, 0);
	meta->value = loader_text(loader, row, 1, LOADER_SENTENCE_BYTES);
	return true;
}

static bool take_loss(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_loss *loss = item;

	loss->count = loader_number(row, 1);
	loss->name = loader_name(loader, row, 0);
	loss->meaning = loader_text(loader, row, 2, LOADER_SENTENCE_BYTES);
	loss->of_stacks = loader_number(row, 3) != 0;
	return true;
}

static bool take_process(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_process *process = item;

	process->id = sqlite3_column_int64(row, 0);
	process->pid = loader_number(row, 1);
	process->exited_ns = loader_known(row, 3);
	process->appeared_ns = loader_known(row, 4);
	process->inside_pid = loader_known(row, 5);
	process->inside_netns = loader_known(row, 6);
	process->command = loader_name(loader, row, 2);
	process->shared_epfd = -1;
	return true;
}

static bool take_loop(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_loop *loop = item;

	loop->id = sqlite3_column_int64(row, 0);
	loop->process = loader_process(loader, row, 1);
	loop->tid = loader_number(row, 2);
	loop->epfd = loader_fd(row, 3);
	loop->name = loader_name(loader, row, 4);
	loop->source = loader_source(row, 5);
	loop->iterations = loader_number(row, 6);
	loop->busy_ns = loader_number(row, 7);
	loop->poll_ns = loader_number(row, 8);
	return true;
}

static bool take_handler(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_handler *handler = item;

	handler->id = sqlite3_column_int64(row, 0);
	handler->process = loader_process(loader, row, 1);
	handler->name = loader_name(loader, row, 2);
	handler->source = loader_source(row, 3);
	handler->budget_ns = loader_number(row, 4);
	handler->overruns = loader_number(row, 5);
	handler->over_ns = loader_number(row, 6);
	handler->blame_ns = loader_number(row, 7);
	handler->victims = loader_number(row, 8);
	handler->jobs_refused = loader_number(row, 9);
	handler->file_reads_cached = loader_number(row, 10);
	handler->file_reads_missed = loader_number(row, 11);
	return true;
}

static int compare_handler(const void *key, const void *item)
{
	return loader_compare_ids(*(const int64_t *)key, ((const struct model_handler *)item)->id);
}

static bool take_overrun(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model *model = loader->model;
	struct model_overrun *overrun = item;
	int64_t handler = sqlite3_column_int64(row, 2);

	overrun->id = sqlite3_column_int64(row, 0);
	overrun->process = loader_process(loader, row, 1);
	overrun->handler = bsearch(&handler, model->handlers, model->handlers_len, sizeof(*model->handlers),
				   compare_handler);
	overrun->source = loader_source(row, 3);
	overrun->tid = loader_number(row, 4);
	overrun->fd = loader_fd(row, 5);
	overrun->start_ns = loader_number(row, 6);
	overrun->duration_ns = loader_number(row, 7);
	overrun->iteration_ns = loader_known(row, 8);
	overrun->on_cpu_ns = loader_known(row, 9);
	overrun->runnable_ns = loader_known(row, 10);
	overrun->blocked_ns = loader_known(row, 11);
	overrun->cpu_min_ns = loader_known(row, 12);
	overrun->cpu_max_ns = loader_known(row, 13);
	overrun->victims = loader_number(row, 14);
	overrun->blame_ns = loader_number(row, 15);
	overrun->ready_events = loader_known(row, 16);
	overrun->syscall_count = loader_known(row, 17);
	overrun->running = loader_number(row, 19) == 1;
	overrun->role = loader_text(loader, row, 20, LOADER_TEXT_BYTES);
	overrun->began_before = loader_number(row, 21) == 1;
	if (loader_is_text(row, 18, "computed"))
		overrun->stack_kind = MODEL_STACK_COMPUTED;
	else if (loader_is_text(row, 18, "blocked"))
		overrun->stack_kind = MODEL_STACK_BLOCKED;
	return true;
}

static const struct loader_table meta_table = {"meta", "SELECT key, value FROM meta", MODEL_FACTS,
					       sizeof(struct model_meta), take_meta};
static const struct loader_table loss_table = {
	"loss", "SELECT name, count, meaning, name IN (" RECORDING_STACKS_INCOMPLETE ") FROM loss",
	MODEL_FACTS, sizeof(struct model_loss), take_loss};
static const struct loader_table process_table = {
	"process",
	"SELECT id, pid, command, exited_ns, appeared_ns, inside_pid, inside_netns FROM process ORDER BY id",
	MODEL_PROCESSES, sizeof(struct model_process), take_process};
static const struct loader_table loop_table = {
	"loop",
	"SELECT id, process, tid, epfd, name, source, iterations, busy_ns, poll_ns FROM loop ORDER BY id",
	MODEL_LOOPS, sizeof(struct model_loop), take_loop};
static const struct loader_table handler_table = {
	"handler",
	"SELECT id, process, name, source, budget_ns, overruns, over_ns, blame_ns, victims,"
	" (SELECT count FROM handler_count c WHERE c.handler = h.id AND c.name = 'jobs_refused'),"
	" (SELECT count FROM handler_count c WHERE c.handler = h.id AND c.name = 'file_reads_cached'),"
	" (SELECT count FROM handler_count c WHERE c.handler = h.id AND c.name = 'file_reads_missed')"
	" FROM handler h ORDER BY id",
	MODEL_HANDLERS, sizeof(struct model_handler), take_handler};
static const struct loader_table overrun_table = {
	"overrun",
	"SELECT id, process, handler, source, tid, fd, start_ns, duration_ns, iteration_ns, on_cpu_ns, runnable_ns,"
	" blocked_ns, cpu_min_ns, cpu_max_ns, victims, blame_ns, ready_events, syscall_count, stack_kind, running,"
	" role, began_before FROM overrun ORDER BY duration_ns DESC, id LIMIT 10000",
	MODEL_OVERRUNS, sizeof(struct model_overrun), take_overrun};
/* ---- histograms ---- */

static void load_loop_metrics(struct loader *loader)
{
	static const char *const names[] = {"busy", "poll", "batch", "lateness"};
	sqlite3_stmt *buckets = loader_prepare(
		loader, "SELECT bucket, count FROM histogram WHERE loop = ? AND metric = ? ORDER BY bucket");
	sqlite3_stmt *total = loader_prepare(
		loader, "SELECT count, sum, min, max, overflow FROM total WHERE loop = ? AND metric = ?");

	for (size_t i = 0; i < loader->model->loops_len; i++) {
		struct model_loop *loop = &loader->model->loops[i];

		for (int metric = 0; metric < MODEL_LOOP_METRICS; metric++)
			loader_metric(loader, buckets, total, loop->id, names[metric],
				      &loop->metrics[metric]);
	}
	sqlite3_finalize(buckets);
	sqlite3_finalize(total);
}

static void load_handler_metrics(struct loader *loader)
{
	static const char *const names[] = {"service",    "wait",     "write_stall",
					    "work_queue", "work_run", "work_return"};
	sqlite3_stmt *buckets = loader_prepare(
		loader,
		"SELECT bucket, count FROM histogram WHERE handler = ? AND metric = ? ORDER BY bucket");
	sqlite3_stmt *total = loader_prepare(
		loader, "SELECT count, sum, min, max, overflow FROM total WHERE handler = ? AND metric = ?");

	for (size_t i = 0; i < loader->model->handlers_len; i++) {
		struct model_handler *handler = &loader->model->handlers[i];

		for (int metric = 0; metric < MODEL_HANDLER_METRICS; metric++)
			loader_metric(loader, buckets, total, handler->id, names[metric],
				      &handler->metrics[metric]);
	}
	sqlite3_finalize(buckets);
	sqlite3_finalize(total);
}

/* ---- what belongs to overruns ---- */

struct index {
	int64_t id;
	struct model_overrun *overrun;
};

static int compare_index(const void *a, const void *b)
{
	return loader_compare_ids(((const struct index *)a)->id, ((const struct index *)b)->id);
}

static struct model_overrun *overrun_of(const struct index *index, size_t len, int64_t id)
{
	struct index key = {.id = id};
	const struct index *found = bsearch(&key, index, len, sizeof(key), compare_index);

	return found ? found->overrun : NULL;
}

static void take_syscall(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun)
{
	uint64_t rank = loader_known(row, 1);
	struct model_syscall *call;

	if (rank >= MODEL_SYSCALLS || overrun->syscalls[rank].name)
		return;
	call = &overrun->syscalls[rank];
	call->name = loader_name(loader, row, 2);
	call->fd = loader_fd(row, 3);
	call->start_ns = loader_number(row, 4);
	call->duration_ns = loader_number(row, 5);
}

static void fill_frame(struct loader *loader, sqlite3_stmt *row, char **frame, struct model_place *place)
{
	char *name = loader_name(loader, row, 2);

	place->module = loader_text(loader, row, 3, LOADER_TEXT_BYTES);
	place->file = loader_text(loader, row, 4, LOADER_TEXT_BYTES);
	place->line = loader_known(row, 5);
	place->kernel = loader_number(row, 6) != 0;
	*frame = name;
	if (!place->kernel || !name)
		return;
	if (asprintf(frame, "[k] %s", name) < 0) {
		*frame = NULL;
		loader_no_memory(loader);
	}
	free(name);
}

static void take_frame(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun)
{
	uint64_t depth = loader_known(row, 1);

	if (!overrun->frames)
		overrun->frames = calloc(MODEL_FRAMES, sizeof(*overrun->frames));
	if (!overrun->places)
		overrun->places = calloc(MODEL_FRAMES, sizeof(*overrun->places));
	if (!overrun->frames || !overrun->places)
		loader_no_memory(loader);
	else if (depth < MODEL_FRAMES && !overrun->frames[depth])
		fill_frame(loader, row, &overrun->frames[depth], &overrun->places[depth]);
}

/* A broken recording may have gaps. */
static void close_gaps(struct model_overrun *overrun)
{
	for (size_t i = 0; i < MODEL_SYSCALLS; i++) {
		struct model_syscall call = overrun->syscalls[i];

		if (!call.name)
			continue;
		overrun->syscalls[i].name = NULL;
		overrun->syscalls[overrun->syscalls_len++] = call;
	}
	for (size_t i = 0; overrun->frames && overrun->places && i < MODEL_FRAMES; i++) {
		char *frame = overrun->frames[i];
		struct model_place place = overrun->places[i];

		if (!frame)
			continue;
		overrun->frames[i] = NULL;
		overrun->places[i] = (struct model_place){0};
		overrun->places[overrun->frames_len] = place;
		overrun->frames[overrun->frames_len++] = frame;
	}
	verdicts_close_gaps(overrun);
}

static void load_details(struct loader *loader, const struct index *index, size_t len, const char *sql,
			 void (*take)(struct loader *, sqlite3_stmt *, struct model_overrun *))
{
	sqlite3_stmt *row = loader_prepare(loader, sql);

	while (loader_next(loader, row)) {
		struct model_overrun *overrun = overrun_of(index, len, sqlite3_column_int64(row, 0));

		if (overrun)
			take(loader, row, overrun);
	}
	sqlite3_finalize(row);
}

/* One pass over each table: there is no index by overrun, and the tables need none for anything else. */
static void load_overrun_details(struct loader *loader)
{
	struct model *model = loader->model;
	struct index *index = calloc(model->overruns_len ? model->overruns_len : 1, sizeof(*index));

	if (!index) {
		loader_no_memory(loader);
		return;
	}
	for (size_t i = 0; i < model->overruns_len; i++)
		index[i] = (struct index){model->overruns[i].id, &model->overruns[i]};
	qsort(index, model->overruns_len, sizeof(*index), compare_index);
	load_details(loader, index, model->overruns_len,
		     "SELECT overrun, rank, name, fd, start_ns, duration_ns FROM overrun_syscall",
		     take_syscall);
	load_details(loader, index, model->overruns_len,
		     "SELECT overrun, depth, name, module, file, line, kernel FROM overrun_frame",
		     take_frame);
	for (size_t i = 0; i < VERDICTS_PARTS; i++)
		load_details(loader, index, model->overruns_len, verdicts_parts[i].sql,
			     verdicts_parts[i].take);
	load_details(loader, index, model->overruns_len, model_function_parts_sql, model_take_function_part);
	for (size_t i = 0; i < model->overruns_len; i++)
		close_gaps(&model->overruns[i]);
	free(index);
}

/* A loop that does not tell how many events its poll returned has no batch counted; so nobody is known to have waited. */
static bool tells_batches(const struct model *model, const struct model_process *process)
{
	for (size_t i = 0; i < model->loops_len; i++)
		if (model->loops[i].process == process && model->loops[i].source == MODEL_METER &&
		    model->loops[i].metrics[MODEL_BATCH].count > 0)
			return true;
	return false;
}

static void forget_unmeasured(struct model *model)
{
	for (size_t i = 0; i < model->loops_len; i++)
		if (model->loops[i].metrics[MODEL_BATCH].count == 0)
			model->loops[i].metrics[MODEL_BATCH].known = false;
	for (size_t i = 0; i < model->handlers_len; i++) {
		struct model_handler *handler = &model->handlers[i];

		if (handler->source == MODEL_METER && handler->victims == 0 &&
		    !tells_batches(model, handler->process))
			handler->blame_ns = handler->victims = MODEL_UNKNOWN;
	}
	for (size_t i = 0; i < model->overruns_len; i++) {
		struct model_overrun *overrun = &model->overruns[i];

		if (overrun->source != MODEL_PROBES && overrun->handler && overrun->victims == 0 &&
		    overrun->handler->victims == MODEL_UNKNOWN)
			overrun->blame_ns = overrun->victims = MODEL_UNKNOWN;
	}
}

/*
 * A program that ran before the recording may have set its maximum then; the one within it is only known to be in a
 * bucket, and its bound is written. The longest overrun, if it is in that bucket, is the maximum itself.
 */
static void sharpen_maxima(struct model *model)
{
	for (size_t i = 0; i < model->overruns_len; i++) {
		const struct model_overrun *overrun = &model->overruns[i];
		struct model_metric *service;
		uint32_t bucket;

		if (!overrun->handler || overrun->handler->source == MODEL_PROBES || overrun->running)
			continue;
		service = &model->handlers[overrun->handler - model->handlers].metrics[MODEL_SERVICE];
		bucket = stint_histogram_bucket(overrun->duration_ns);
		if (bucket < STINT_HISTOGRAM_BUCKETS &&
		    service->max == stint_histogram_bucket_low(bucket + 1) - 1)
			service->max = overrun->duration_ns;
	}
}

/*
 * An iteration that had not ended counts for its loop. Of several of a thread that is the one that it came to most often:
 * which it was is not in the recording.
 */
static struct model_loop *find_loop(struct model *model, const struct model_overrun *overrun)
{
	struct model_loop *found = NULL;

	for (size_t i = 0; i < model->loops_len; i++) {
		struct model_loop *loop = &model->loops[i];

		if (loop->process == overrun->process && loop->tid == overrun->tid &&
		    loop->source == MODEL_PROBES && (!found || loop->iterations > found->iterations))
			found = loop;
	}
	return found;
}

static void take_running(struct model *model)
{
	for (size_t i = 0; i < model->overruns_len; i++) {
		const struct model_overrun *overrun = &model->overruns[i];
		struct model_loop *loop = overrun->running ? find_loop(model, overrun) : NULL;

		if (loop)
			loop->running_ns = overrun->iteration_ns == MODEL_UNKNOWN ? overrun->duration_ns
										  : overrun->iteration_ns;
	}
}

/* ---- the whole ---- */

static uint64_t last_second(struct loader *loader)
{
	sqlite3_stmt *row = loader_prepare(loader, "SELECT max(second) FROM histogram");
	uint64_t second = MODEL_UNKNOWN;

	if (loader_next(loader, row))
		second = loader_known(row, 0);
	sqlite3_finalize(row);
	return second;
}

static void later(uint64_t *last, uint64_t time_ns)
{
	if (time_ns > *last)
		*last = time_ns;
}

/* Without an end (the recorder was killed) the recording lasts to the last thing in it. */
static void find_duration(struct loader *loader)
{
	struct model *model = loader->model;
	uint64_t start_ns = model_meta_number(model, "start_ns"), end_ns = model_meta_number(model, "end_ns");
	uint64_t second = last_second(loader), last_ns;

	model->start_ns = start_ns == MODEL_UNKNOWN ? 0 : start_ns;
	model->ended = end_ns != MODEL_UNKNOWN && end_ns >= model->start_ns;
	last_ns = model->start_ns;
	if (second < UINT64_MAX / 2000000000)
		later(&last_ns, model->start_ns + (second + 1) * 1000000000);
	for (size_t i = 0; i < model->overruns_len; i++)
		later(&last_ns, model->overruns[i].start_ns + model->overruns[i].duration_ns);
	if (model->stalls_len > 0)
		later(&last_ns, model->stalls[model->stalls_len - 1].start_ns);
	model->duration_ns = (model->ended ? end_ns : last_ns) - model->start_ns;
}

int model_load(struct model *model, sqlite3 *db, char *error, size_t error_size)
{
	struct loader loader = {.model = model, .db = db, .error = error, .error_size = error_size};

	model->nobody = (struct model_process){.command = strdup("?"),
					       .exited_ns = MODEL_UNKNOWN,
					       .appeared_ns = MODEL_UNKNOWN,
					       .inside_pid = MODEL_UNKNOWN,
					       .inside_netns = MODEL_UNKNOWN,
					       .shared_epfd = -1};
	if (!model->nobody.command)
		loader_no_memory(&loader);
	loader_table(&loader, &meta_table, &model->meta, &model->meta_len, &model->meta_total);
	loader_table(&loader, &loss_table, &model->losses, &model->losses_len, &model->losses_total);
	loader_table(&loader, &process_table, &model->processes, &model->processes_len,
		     &model->processes_total);
	loader_table(&loader, &loop_table, &model->loops, &model->loops_len, &model->loops_total);
	loader_table(&loader, &handler_table, &model->handlers, &model->handlers_len, &model->handlers_total);
	load_loop_metrics(&loader);
	load_handler_metrics(&loader);
	loader_table(&loader, &overrun_table, &model->overruns, &model->overruns_len, &model->overruns_total);
	take_running(model);
	sharpen_maxima(model);
	forget_unmeasured(model);
	load_overrun_details(&loader);
	model_load_sockets(&loader);
	model_load_roles(&loader);
	model_load_functions(&loader);
	if (loader.err) /* what is there may lack its names */
		return loader.err;
	find_duration(&loader);
	model_find_shared_sets(model);
	return loader.err;
}
