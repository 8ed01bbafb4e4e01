/* SPDX-License-Identifier: MIT */
#include "report/model/model_load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/model/model_file.h"
#include "stint/histogram.h"

#define TEXT_BYTES     256
#define SENTENCE_BYTES 1024

struct loader {
	struct model *model;
	sqlite3 *db;
	int err;
	char *error;
	size_t error_size;
};

static void failed(struct loader *loader)
{
	if (!loader->err)
		loader->err = model_file_error(loader->db, loader->error, loader->error_size);
}

static void out_of_memory(struct loader *loader)
{
	if (loader->err)
		return;
	snprintf(loader->error, loader->error_size, "out of memory");
	loader->err = -ENOMEM;
}

/* ---- columns, whatever their type ---- */

/* NULL, a negative number and what is no number are unknown. */
static uint64_t take_known(sqlite3_stmt *row, int column)
{
	int type = sqlite3_column_type(row, column);
	sqlite3_int64 value = sqlite3_column_int64(row, column);

	if ((type != SQLITE_INTEGER && type != SQLITE_FLOAT) || value < 0)
		return MODEL_UNKNOWN;
	return (uint64_t)value;
}

/* For what the schema holds to be there: a broken value counts as 0. */
static uint64_t take_number(sqlite3_stmt *row, int column)
{
	uint64_t value = take_known(row, column);

	return value == MODEL_UNKNOWN ? 0 : value;
}

static int take_fd(sqlite3_stmt *row, int column)
{
	uint64_t value = take_known(row, column);

	return value > INT32_MAX ? -1 : (int)value;
}

static char *take_text(struct loader *loader, sqlite3_stmt *row, int column, size_t limit)
{
	const char *text = (const char *)sqlite3_column_text(row, column);
	char *copy;

	if (!text)
		return NULL;
	copy = strndup(text, limit);
	if (!copy)
		out_of_memory(loader);
	return copy;
}

/* Never NULL but when out of memory, which ends the loading. */
static char *take_name(struct loader *loader, sqlite3_stmt *row, int column)
{
	char *name = take_text(loader, row, column, TEXT_BYTES);

	if (!name && !(name = strdup("?")))
		out_of_memory(loader);
	return name;
}

static bool is_text(sqlite3_stmt *row, int column, const char *text)
{
	const char *have = (const char *)sqlite3_column_text(row, column);

	return have && strcmp(have, text) == 0;
}

static enum model_source take_source(sqlite3_stmt *row, int column)
{
	if (is_text(row, column, "probes"))
		return MODEL_PROBES;
	return is_text(row, column, "both") ? MODEL_BOTH : MODEL_METER;
}

/* ---- tables ---- */

static sqlite3_stmt *prepare(struct loader *loader, const char *sql)
{
	sqlite3_stmt *row = NULL;

	if (!loader->err && sqlite3_prepare_v2(loader->db, sql, -1, &row, NULL) != SQLITE_OK)
		failed(loader);
	return row;
}

/* Steps to the next row; false at the end and on failure. */
static bool next_row(struct loader *loader, sqlite3_stmt *row)
{
	int code;

	if (loader->err || !row)
		return false;
	code = sqlite3_step(row);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		failed(loader);
	return code == SQLITE_ROW;
}

static size_t count_rows(struct loader *loader, const char *table)
{
	char sql[64];
	sqlite3_stmt *row;
	size_t count = 0;

	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
	row = prepare(loader, sql);
	if (next_row(loader, row))
		count = (size_t)take_number(row, 0);
	sqlite3_finalize(row);
	return count;
}

/* A table of the recording, and the array of the model that it goes to. */
struct table {
	const char *name;
	const char *sql;
	size_t limit;
	size_t item_bytes;
	/* Returns false if the row is of no use. */
	bool (*take)(struct loader *loader, sqlite3_stmt *row, void *item);
};

static void load_table(struct loader *loader, const struct table *table, void *array, size_t *len,
		       size_t *total)
{
	size_t want = count_rows(loader, table->name);
	char *items;
	sqlite3_stmt *row;

	*total = want;
	if (want > table->limit)
		want = table->limit;
	items = calloc(want ? want : 1, table->item_bytes);
	if (!items)
		out_of_memory(loader);
	memcpy(array, &items, sizeof(items));
	row = prepare(loader, table->sql);
	while (*len < want && next_row(loader, row)) {
		if (table->take(loader, row, items + *len * table->item_bytes))
			(*len)++;
	}
	sqlite3_finalize(row);
}

static bool take_meta(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_meta *meta = item;

	meta->number = take_known(row, 1);
	meta->key = take_name(loader, row, 0);
	meta->value = take_text(loader, row, 1, SENTENCE_BYTES);
	return true;
}

static bool take_loss(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_loss *loss = item;

	loss->count = take_number(row, 1);
	loss->name = take_name(loader, row, 0);
	loss->meaning = take_text(loader, row, 2, SENTENCE_BYTES);
	return true;
}

static bool take_process(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_process *process = item;

	process->id = sqlite3_column_int64(row, 0);
	process->pid = take_number(row, 1);
	process->exited_ns = take_known(row, 3);
	process->command = take_name(loader, row, 2);
	return true;
}

static int compare_ids(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int compare_process(const void *key, const void *item)
{
	return compare_ids(*(const int64_t *)key, ((const struct model_process *)item)->id);
}

static const struct model_process *process_of(struct loader *loader, sqlite3_stmt *row, int column)
{
	struct model *model = loader->model;
	int64_t id = sqlite3_column_int64(row, column);
	const struct model_process *process =
		bsearch(&id, model->processes, model->processes_len, sizeof(*process), compare_process);

	return process ? process : &model->nobody;
}

static bool take_loop(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_loop *loop = item;

	loop->id = sqlite3_column_int64(row, 0);
	loop->process = process_of(loader, row, 1);
	loop->tid = take_number(row, 2);
	loop->epfd = take_fd(row, 3);
	loop->name = take_name(loader, row, 4);
	loop->source = take_source(row, 5);
	loop->iterations = take_number(row, 6);
	loop->busy_ns = take_number(row, 7);
	loop->poll_ns = take_number(row, 8);
	return true;
}

static bool take_handler(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_handler *handler = item;

	handler->id = sqlite3_column_int64(row, 0);
	handler->process = process_of(loader, row, 1);
	handler->name = take_name(loader, row, 2);
	handler->source = take_source(row, 3);
	handler->budget_ns = take_number(row, 4);
	handler->overruns = take_number(row, 5);
	handler->over_ns = take_number(row, 6);
	handler->blame_ns = take_number(row, 7);
	handler->victims = take_number(row, 8);
	return true;
}

static int compare_handler(const void *key, const void *item)
{
	return compare_ids(*(const int64_t *)key, ((const struct model_handler *)item)->id);
}

static bool take_overrun(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model *model = loader->model;
	struct model_overrun *overrun = item;
	int64_t handler = sqlite3_column_int64(row, 2);

	overrun->id = sqlite3_column_int64(row, 0);
	overrun->process = process_of(loader, row, 1);
	overrun->handler = bsearch(&handler, model->handlers, model->handlers_len, sizeof(*model->handlers),
				   compare_handler);
	overrun->source = take_source(row, 3);
	overrun->tid = take_number(row, 4);
	overrun->fd = take_fd(row, 5);
	overrun->start_ns = take_number(row, 6);
	overrun->duration_ns = take_number(row, 7);
	overrun->iteration_ns = take_known(row, 8);
	overrun->on_cpu_ns = take_known(row, 9);
	overrun->runnable_ns = take_known(row, 10);
	overrun->blocked_ns = take_known(row, 11);
	overrun->cpu_min_ns = take_known(row, 12);
	overrun->cpu_max_ns = take_known(row, 13);
	overrun->victims = take_number(row, 14);
	overrun->blame_ns = take_number(row, 15);
	overrun->ready_events = take_known(row, 16);
	overrun->syscall_count = take_known(row, 17);
	if (is_text(row, 18, "computed"))
		overrun->stack_kind = MODEL_STACK_COMPUTED;
	else if (is_text(row, 18, "blocked"))
		overrun->stack_kind = MODEL_STACK_BLOCKED;
	return true;
}

static bool take_stall(struct loader *loader, sqlite3_stmt *row, void *item)
{
	struct model_stall *stall = item;
	uint64_t *const numbers[] = {&stall->start_ns,        &stall->duration_ns,  &stall->ack_ns,
				     &stall->kernel_ns,       &stall->scheduler_ns, &stall->loop_ns,
				     &stall->queue_ns,        &stall->queued_bytes, &stall->sndbuf_bytes,
				     &stall->threshold_bytes, &stall->acks,         &stall->acked_bytes};

	stall->process = process_of(loader, row, 0);
	stall->tid = take_number(row, 1);
	stall->fd = take_fd(row, 2);
	stall->socket = take_number(row, 3);
	stall->local = take_name(loader, row, 4);
	stall->remote = take_name(loader, row, 5);
	for (int i = 0; i < 12; i++)
		*numbers[i] = take_number(row, 6 + i);
	stall->cause_ns = take_known(row, 18);
	stall->raise_inferred = take_number(row, 19) != 0;
	stall->snd_wnd_min_bytes = take_number(row, 20);
	stall->retransmits = take_number(row, 21);
	return true;
}

static bool take_event(struct loader *loader, sqlite3_stmt *row, void *item)
{
	static const char *const kinds[] = {"open",  "send",     "send_short", "ack",    "write_event",
					    "woken", "returned", "retransmit", "sample", "close"};
	struct model_event *event = item;
	int kind = 0;

	while (kind <= MODEL_CLOSE && !is_text(row, 7, kinds[kind]))
		kind++;
	if (kind > MODEL_CLOSE)
		return false; /* of a newer recorder, which says nothing to this one */
	event->kind = (enum model_event_kind)kind;
	event->process = process_of(loader, row, 0);
	event->source = take_source(row, 1);
	event->socket = take_known(row, 2);
	event->fd = take_fd(row, 3);
	event->local = take_text(loader, row, 4, TEXT_BYTES);
	event->remote = take_text(loader, row, 5, TEXT_BYTES);
	event->time_ns = take_number(row, 6);
	event->requested_bytes = take_known(row, 8);
	event->done_bytes = take_known(row, 9);
	event->queued_before_bytes = take_known(row, 10);
	event->queued_bytes = take_known(row, 11);
	event->sndbuf_bytes = take_known(row, 12);
	event->unacked_bytes = take_known(row, 13);
	event->cause = take_number(row, 14) != 0;
	return true;
}

static const struct table meta_table = {"meta", "SELECT key, value FROM meta", MODEL_FACTS,
					sizeof(struct model_meta), take_meta};
static const struct table loss_table = {"loss", "SELECT name, count, meaning FROM loss", MODEL_FACTS,
					sizeof(struct model_loss), take_loss};
static const struct table process_table = {"process",
					   "SELECT id, pid, command, exited_ns FROM process ORDER BY id",
					   MODEL_PROCESSES, sizeof(struct model_process), take_process};
static const struct table loop_table = {
	"loop",
	"SELECT id, process, tid, epfd, name, source, iterations, busy_ns, poll_ns FROM loop ORDER BY id",
	MODEL_LOOPS, sizeof(struct model_loop), take_loop};
static const struct table handler_table = {
	"handler",
	"SELECT id, process, name, source, budget_ns, overruns, over_ns, blame_ns, victims FROM handler ORDER BY id",
	MODEL_HANDLERS, sizeof(struct model_handler), take_handler};
static const struct table overrun_table = {
	"overrun",
	"SELECT id, process, handler, source, tid, fd, start_ns, duration_ns, iteration_ns, on_cpu_ns, runnable_ns,"
	" blocked_ns, cpu_min_ns, cpu_max_ns, victims, blame_ns, ready_events, syscall_count, stack_kind"
	" FROM overrun ORDER BY duration_ns DESC, id LIMIT 10000",
	MODEL_OVERRUNS, sizeof(struct model_overrun), take_overrun};
static const struct table stall_table = {
	"write_stall",
	"SELECT process, tid, fd, socket, local, remote, start_ns, duration_ns, ack_ns, kernel_ns, scheduler_ns,"
	" loop_ns, queue_ns, queued_bytes, sndbuf_bytes, threshold_bytes, acks, acked_bytes, cause_ns,"
	" raise_inferred, snd_wnd_min_bytes, retransmits FROM write_stall ORDER BY start_ns",
	MODEL_STALLS, sizeof(struct model_stall), take_stall};
static const struct table event_table = {
	"socket_event",
	"SELECT process, source, socket, fd, local, remote, time_ns, kind, requested_bytes, done_bytes,"
	" queued_before_bytes, queued_bytes, sndbuf_bytes, unacked_bytes, cause FROM socket_event ORDER BY time_ns",
	MODEL_EVENTS, sizeof(struct model_event), take_event};

/* ---- histograms ---- */

static void add_bucket(struct loader *loader, struct model_metric *metric, uint32_t bucket, uint64_t count)
{
	struct model_bucket *last = metric->buckets_len ? &metric->buckets[metric->buckets_len - 1] : NULL;
	size_t len = metric->buckets_len;

	if (last && last->bucket == bucket) {
		last->count = count > UINT64_MAX - last->count ? UINT64_MAX : last->count + count;
		return;
	}
	if ((len & (len - 1)) == 0) {
		struct model_bucket *more = realloc(metric->buckets, (len ? 2 * len : 1) * sizeof(*more));

		if (!more) {
			out_of_memory(loader);
			return;
		}
		metric->buckets = more;
	}
	metric->buckets[metric->buckets_len++] = (struct model_bucket){bucket, count};
}

static void bind_owner(sqlite3_stmt *row, int64_t owner, const char *name)
{
	sqlite3_reset(row);
	sqlite3_bind_int64(row, 1, owner);
	sqlite3_bind_text(row, 2, name, -1, SQLITE_STATIC);
}

/* Where there is no total (the recorder was killed before it), buckets tell what they can. */
static void sum_up_buckets(struct model_metric *metric)
{
	metric->min = MODEL_UNKNOWN;
	metric->max = MODEL_UNKNOWN;
	metric->known = metric->buckets_len > 0;
	for (size_t i = 0; i < metric->buckets_len; i++) {
		uint64_t low = stint_histogram_bucket_low(metric->buckets[i].bucket);

		metric->count += metric->buckets[i].count;
		metric->sum += metric->buckets[i].count * low;
	}
}

static void load_metric(struct loader *loader, sqlite3_stmt *buckets, sqlite3_stmt *total, int64_t owner,
			const char *name, struct model_metric *metric)
{
	if (loader->err)
		return;
	bind_owner(buckets, owner, name);
	while (next_row(loader, buckets)) {
		uint64_t bucket = take_known(buckets, 0), count = take_number(buckets, 1);

		if (bucket < STINT_HISTOGRAM_BUCKETS && count > 0)
			add_bucket(loader, metric, (uint32_t)bucket, count);
	}
	bind_owner(total, owner, name);
	if (!next_row(loader, total)) {
		sum_up_buckets(metric);
		return;
	}
	metric->known = true;
	metric->count = take_number(total, 0);
	metric->sum = take_number(total, 1);
	metric->min = take_known(total, 2);
	metric->max = take_known(total, 3);
	metric->overflow = take_number(total, 4);
}

static void load_loop_metrics(struct loader *loader)
{
	static const char *const names[] = {"busy", "poll", "batch", "lateness"};
	sqlite3_stmt *buckets =
		prepare(loader,
			"SELECT bucket, count FROM histogram WHERE loop = ? AND metric = ? ORDER BY bucket");
	sqlite3_stmt *total =
		prepare(loader,
			"SELECT count, sum, min, max, overflow FROM total WHERE loop = ? AND metric = ?");

	for (size_t i = 0; i < loader->model->loops_len; i++) {
		struct model_loop *loop = &loader->model->loops[i];

		for (int metric = 0; metric < MODEL_LOOP_METRICS; metric++)
			load_metric(loader, buckets, total, loop->id, names[metric], &loop->metrics[metric]);
	}
	sqlite3_finalize(buckets);
	sqlite3_finalize(total);
}

static void load_handler_metrics(struct loader *loader)
{
	static const char *const names[] = {"service", "wait", "write_stall"};
	sqlite3_stmt *buckets = prepare(
		loader,
		"SELECT bucket, count FROM histogram WHERE handler = ? AND metric = ? ORDER BY bucket");
	sqlite3_stmt *total =
		prepare(loader,
			"SELECT count, sum, min, max, overflow FROM total WHERE handler = ? AND metric = ?");

	for (size_t i = 0; i < loader->model->handlers_len; i++) {
		struct model_handler *handler = &loader->model->handlers[i];

		for (int metric = 0; metric < MODEL_HANDLER_METRICS; metric++)
			load_metric(loader, buckets, total, handler->id, names[metric],
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
	return compare_ids(((const struct index *)a)->id, ((const struct index *)b)->id);
}

static struct model_overrun *overrun_of(const struct index *index, size_t len, int64_t id)
{
	struct index key = {.id = id};
	const struct index *found = bsearch(&key, index, len, sizeof(key), compare_index);

	return found ? found->overrun : NULL;
}

static void take_syscall(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun)
{
	uint64_t rank = take_known(row, 1);
	struct model_syscall *call;

	if (rank >= MODEL_SYSCALLS || overrun->syscalls[rank].name)
		return;
	call = &overrun->syscalls[rank];
	call->name = take_name(loader, row, 2);
	call->fd = take_fd(row, 3);
	call->start_ns = take_number(row, 4);
	call->duration_ns = take_number(row, 5);
}

static void take_frame(struct loader *loader, sqlite3_stmt *row, struct model_overrun *overrun)
{
	uint64_t depth = take_known(row, 1);

	if (!overrun->frames)
		overrun->frames = calloc(MODEL_FRAMES, sizeof(*overrun->frames));
	if (!overrun->frames)
		out_of_memory(loader);
	else if (depth < MODEL_FRAMES && !overrun->frames[depth])
		overrun->frames[depth] = take_name(loader, row, 2);
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
	for (size_t i = 0; overrun->frames && i < MODEL_FRAMES; i++) {
		char *frame = overrun->frames[i];

		if (!frame)
			continue;
		overrun->frames[i] = NULL;
		overrun->frames[overrun->frames_len++] = frame;
	}
}

static void load_details(struct loader *loader, const struct index *index, size_t len, const char *sql,
			 void (*take)(struct loader *, sqlite3_stmt *, struct model_overrun *))
{
	sqlite3_stmt *row = prepare(loader, sql);

	while (next_row(loader, row)) {
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
		out_of_memory(loader);
		return;
	}
	for (size_t i = 0; i < model->overruns_len; i++)
		index[i] = (struct index){model->overruns[i].id, &model->overruns[i]};
	qsort(index, model->overruns_len, sizeof(*index), compare_index);
	load_details(loader, index, model->overruns_len,
		     "SELECT overrun, rank, name, fd, start_ns, duration_ns FROM overrun_syscall",
		     take_syscall);
	load_details(loader, index, model->overruns_len, "SELECT overrun, depth, name FROM overrun_frame",
		     take_frame);
	for (size_t i = 0; i < model->overruns_len; i++)
		close_gaps(&model->overruns[i]);
	free(index);
}

/* ---- the whole ---- */

static uint64_t last_second(struct loader *loader)
{
	sqlite3_stmt *row = prepare(loader, "SELECT max(second) FROM histogram");
	uint64_t second = MODEL_UNKNOWN;

	if (next_row(loader, row))
		second = take_known(row, 0);
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

	model->nobody = (struct model_process){.command = strdup("?"), .exited_ns = MODEL_UNKNOWN};
	if (!model->nobody.command)
		out_of_memory(&loader);
	load_table(&loader, &meta_table, &model->meta, &model->meta_len, &model->meta_total);
	load_table(&loader, &loss_table, &model->losses, &model->losses_len, &model->losses_total);
	load_table(&loader, &process_table, &model->processes, &model->processes_len,
		   &model->processes_total);
	load_table(&loader, &loop_table, &model->loops, &model->loops_len, &model->loops_total);
	load_table(&loader, &handler_table, &model->handlers, &model->handlers_len, &model->handlers_total);
	load_loop_metrics(&loader);
	load_handler_metrics(&loader);
	load_table(&loader, &overrun_table, &model->overruns, &model->overruns_len, &model->overruns_total);
	load_overrun_details(&loader);
	load_table(&loader, &stall_table, &model->stalls, &model->stalls_len, &model->stalls_total);
	load_table(&loader, &event_table, &model->events, &model->events_len, &model->events_total);
	find_duration(&loader);
	return loader.err;
}
