/* SPDX-License-Identifier: MIT */
#include "report/record/meter_source.h"

#include <errno.h>
#include <stdlib.h>

#include "report/record/late_stacks.h"
#include "report/record/meter_reader.h"

struct loop {
	int64_t id;                         /* its row; 0: none yet */
	struct stint_meter_file_loop first; /* as the session began; all 0 where it was not there yet */
	struct stint_meter_file_loop last;  /* when last looked at */
	struct stint_meter_file_handler
		entry; /* of the handler that ran then; no name: none did, or it is not known */
};

/* What a handler was charged with when it was last read, in one loop. */
struct charge {
	uint32_t loop;
	uint32_t handler;
	struct meter_reader_block block;
};

struct meter_source {
	struct session *session;
	struct meter_reader *reader;
	struct late_stacks *stacks;
	int64_t process;
	uint32_t number; /* how many the process had before */
	struct loop *loops;
	uint32_t loops_len;
	struct charge *charges;
	size_t charges_len;
	size_t charges_capacity;

	uint64_t now_ns; /* of this read */
	bool baseline;   /* this read is the zero to count from */
	uint64_t second;
	struct stint_meter_file_handler entry; /* of the block being visited */
	int64_t handler;                       /* its row; 0: none yet */
	int err;
};

/* ---- loops ---- */

static struct loop *get_loop(struct meter_source *source, uint32_t index)
{
	struct loop *larger;

	if (index < source->loops_len)
		return &source->loops[index];
	larger = realloc(source->loops, (index + 1) * sizeof(*larger));
	if (!larger) {
		source->err = -ENOMEM;
		return NULL;
	}
	for (uint32_t i = source->loops_len; i <= index; i++)
		larger[i] = (struct loop){0};
	source->loops = larger;
	source->loops_len = index + 1;
	return &source->loops[index];
}

static uint64_t growth(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* What a poll or a dispatch that goes on has of the session until then; `begin_ns` 0: none does. */
static uint64_t within_ns(const struct meter_source *source, const struct stint_meter_file_loop *last,
			  uint64_t begin_ns, uint64_t end_ns)
{
	uint64_t start_ns = source->session->start_ns;

	return begin_ns && !last->closed ? growth(end_ns, begin_ns > start_ns ? begin_ns : start_ns) : 0;
}

/*
 * `running_ns`: of the dispatch that goes on, and is not told as an overrun. When its iteration began the meter does not
 * say.
 */
static void write_counts(const struct meter_source *source, const struct loop *loop, uint64_t end_ns,
			 uint64_t running_ns)
{
	const struct stint_meter_file_loop *first = &loop->first, *last = &loop->last;
	uint64_t ended_ns = growth(last->poll_ns, first->poll_ns);
	uint64_t before_ns =
		first->poll_begin_ns ? growth(source->session->start_ns, first->poll_begin_ns) : 0;

	recording_loop_counts(source->session->recording, loop->id,
			      growth(last->iterations, first->iterations),
			      growth(last->busy_ns, first->busy_ns) + running_ns,
			      growth(ended_ns, before_ns) +
				      within_ns(source, last, last->poll_begin_ns, end_ns));
}

static void take_loop(void *ctx, uint32_t index, const struct stint_meter_file_loop *entry)
{
	struct meter_source *source = ctx;
	struct loop *loop = get_loop(source, index);

	if (!loop)
		return;
	loop->last = *entry;
	loop->entry.name[0] = '\0';
	if (source->baseline) {
		loop->first = *entry;
		return;
	}
	/* A loop that had ended before is no part of this recording. */
	if (!loop->id && entry->closed && entry->iterations == loop->first.iterations)
		return;
	if (!loop->id)
		loop->id = recording_loop(source->session->recording, source->process, entry->tid, -1,
					  entry->name, true);
	write_counts(source, loop, source->now_ns,
		     within_ns(source, entry, entry->dispatch_begin_ns, source->now_ns));
}

/* ---- handlers ---- */

static struct charge *get_charge(struct meter_source *source, uint32_t loop, uint32_t handler)
{
	size_t capacity = source->charges_capacity ? 2 * source->charges_capacity : 64;
	struct charge *larger;

	for (size_t i = 0; i < source->charges_len; i++)
		if (source->charges[i].loop == loop && source->charges[i].handler == handler)
			return &source->charges[i];
	if (source->charges_len == source->charges_capacity) {
		larger = realloc(source->charges, capacity * sizeof(*larger));
		if (!larger) {
			source->err = -ENOMEM;
			return NULL;
		}
		source->charges = larger;
		source->charges_capacity = capacity;
	}
	source->charges[source->charges_len] = (struct charge){.loop = loop, .handler = handler};
	return &source->charges[source->charges_len++];
}

/* The row of the block being visited: made once there is something to say of it. */
static int64_t block_handler(struct meter_source *source)
{
	if (!source->handler)
		source->handler = roster_handler(source->session->roster, source->process, source->entry.name,
						 true, source->entry.budget_ns);
	return source->handler;
}

static void count(struct meter_source *source, const char *name, uint64_t now, uint64_t before)
{
	if (!source->baseline && growth(now, before))
		recording_handler_count(source->session->recording, block_handler(source), name,
					growth(now, before));
}

static void take_block(void *ctx, uint32_t loop, uint32_t handler,
		       const struct stint_meter_file_handler *entry, const struct meter_reader_block *block)
{
	struct meter_source *source = ctx;
	struct charge *charge = get_charge(source, loop, handler);
	struct recording_handler_counts counts;
	struct meter_reader_block before;

	if (!charge)
		return;
	if (loop < source->loops_len && source->loops[loop].last.dispatch_handler == handler)
		source->loops[loop].entry = *entry;
	counts = (struct recording_handler_counts){
		.overruns = growth(block->overruns, charge->block.overruns),
		.over_ns = growth(block->over_ns, charge->block.over_ns),
		.blame_ns = growth(block->blame_ns, charge->block.blame_ns),
		.victims = growth(block->victims, charge->block.victims),
	};
	before = charge->block;
	charge->block = *block;
	source->entry = *entry;
	source->handler = 0;
	if (!source->baseline && (counts.overruns || counts.blame_ns || counts.victims))
		roster_charge(source->session->roster, block_handler(source), &counts);
	count(source, "jobs_refused", block->jobs_refused, before.jobs_refused);
	count(source, "file_reads_cached", block->file_reads_cached, before.file_reads_cached);
	count(source, "file_reads_missed", block->file_reads_missed, before.file_reads_missed);
}

static const char *unit_name(uint32_t unit)
{
	static const char *const names[] = {"ns", "count", "bytes"};

	return names[unit]; /* the reader has refused all others */
}

/* The series knows the loops of all meters that the process has had. */
static int64_t first_loop(const struct meter_source *source)
{
	return (int64_t)source->number << 32;
}

static void take_histogram(void *ctx, uint32_t loop, int64_t handler,
			   const struct stint_meter_file_metric *metric,
			   const struct stint_histogram *histogram)
{
	struct meter_source *source = ctx;
	struct series_source key = {source->process, first_loop(source) + loop, handler,
				    metric->scope << 16 | (metric->index & 0xffff)};
	struct series_sample sample = {histogram->count, histogram->sum,      histogram->min,
				       histogram->max,   histogram->overflow, histogram->bucket};
	struct recording_owner owner = {0};
	int err;

	if (source->baseline) {
		err = series_baseline(source->session->series, key, &sample);
		goto out;
	}
	if (handler >= 0)
		owner.handler = block_handler(source);
	else if (loop < source->loops_len)
		owner.loop = source->loops[loop].id;
	if (!owner.handler && !owner.loop)
		return;
	err = series_grow(source->session->series, key, &sample, owner, metric->name, unit_name(metric->unit),
			  source->second);
out:
	if (err)
		source->err = err;
}

/* ---- rings ---- */

static void take_stack(void *ctx, uint32_t loop, const struct stint_meter_file_stack *stack)
{
	struct meter_source *source = ctx;
	int err = late_stacks_add(source->stacks, loop, stack);

	if (err)
		source->err = err;
}

/* With the stack that the watchdog took in it, if it did. */
static void add_dispatch(struct meter_source *source, uint32_t loop, const char *handler,
			 const struct stint_meter_file_overrun *overrun, bool running)
{
	struct join_dispatch dispatch = {
		.process = source->process,
		.handler = roster_handler(source->session->roster, source->process, handler, true,
					  overrun->budget_ns),
		.tid = source->loops[loop].last.tid,
		.running = running,
		.overrun = *overrun,
	};
	struct late_stack stack;
	int err;

	if (late_stacks_find(source->stacks, loop, overrun->start_ns, &stack)) {
		dispatch.stack_kind =
			stack.blocked ? STINT_PROBES_STACK_BLOCKED : STINT_PROBES_STACK_COMPUTED;
		dispatch.frames = stack.frames;
		dispatch.frames_len = stack.frames_len;
	}
	err = join_add_dispatch(source->session->join, &dispatch);
	if (err)
		source->err = err;
}

static void take_overrun(void *ctx, uint32_t loop, const char *handler,
			 const struct stint_meter_file_overrun *overrun)
{
	struct meter_source *source = ctx;

	if (loop < source->loops_len && overrun->start_ns + overrun->duration_ns >= source->session->start_ns)
		add_dispatch(source, loop, handler, overrun, false);
}

static const char *socket_kind_name(uint32_t kind)
{
	static const char *const names[] = {
		[STINT_METER_SOCKET_OPEN] = "open",
		[STINT_METER_SOCKET_SEND] = "send",
		[STINT_METER_SOCKET_SEND_SHORT] = "send_short",
		[STINT_METER_SOCKET_ACK] = "ack",
		[STINT_METER_SOCKET_WRITE_EVENT] = "returned",
		[STINT_METER_SOCKET_SAMPLE] = "sample",
		[STINT_METER_SOCKET_CLOSE] = "close",
	};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : NULL;
}

static void take_socket(void *ctx, uint32_t loop, const struct stint_meter_file_socket *moment)
{
	struct meter_source *source = ctx;
	const char *kind = socket_kind_name(moment->kind);
	bool is_send =
		moment->kind == STINT_METER_SOCKET_SEND || moment->kind == STINT_METER_SOCKET_SEND_SHORT;

	if (!kind || loop >= source->loops_len || moment->time_ns < source->session->start_ns)
		return;
	recording_socket_event(source->session->recording,
			       &(struct recording_socket_event){
				       .from_meter = true,
				       .process = source->process,
				       .tid = source->loops[loop].last.tid,
				       .fd = moment->fd,
				       .time_ns = moment->time_ns,
				       .kind = kind,
				       .requested_bytes =
					       is_send ? moment->requested_bytes : RECORDING_UNKNOWN,
				       .done_bytes = is_send || moment->kind == STINT_METER_SOCKET_ACK
							     ? moment->done_bytes
							     : RECORDING_UNKNOWN,
				       .queued_before_bytes = RECORDING_UNKNOWN,
				       .queued_bytes = moment->queued_bytes,
				       .sndbuf_bytes = moment->sndbuf_bytes,
				       .unacked_bytes = moment->unacked_bytes,
				       .snd_wnd_bytes = RECORDING_UNKNOWN,
				       .snd_cwnd = RECORDING_UNKNOWN,
			       });
}

/* ---- the source ---- */

static int visit(struct meter_source *source, uint64_t second)
{
	static const struct meter_reader_visitor visitor = {
		.loop = take_loop,
		.block = take_block,
		.histogram = take_histogram,
		.stack = take_stack,
		.overrun = take_overrun,
		.socket = take_socket,
	};
	int err;

	source->second = second;
	source->err = 0;
	err = meter_reader_visit(source->reader, &visitor, source);
	return source->err ? source->err : err;
}

int meter_source_new(struct meter_source **ret, struct session *session, int64_t process, uint32_t pid,
		     uint32_t number)
{
	struct meter_source *source = calloc(1, sizeof(*source));
	int err;

	if (!source)
		return -ENOMEM;
	source->session = session;
	source->process = process;
	source->number = number;
	/* First: most processes have none, and are asked again and again. */
	err = meter_reader_new(&source->reader, pid, session->births);
	if (!err)
		err = late_stacks_new(&source->stacks, pid);
	/* A program that was started for the recording has nothing that is older. */
	if (!err && meter_reader_header(source->reader)->created_ns < session->start_ns) {
		source->baseline = true;
		err = meter_reader_skip_rings(source->reader);
		if (!err)
			err = visit(source, 0);
		source->baseline = false;
	}
	if (err) {
		meter_source_free(source);
		return err;
	}
	*ret = source;
	return 0;
}

struct meter_source *meter_source_free(struct meter_source *source)
{
	if (!source)
		return NULL;
	if (source->reader) /* most processes have no meter, and are asked for one again and again */
		series_end_loops(source->session->series, source->process, first_loop(source),
				 first_loop(source) + UINT32_MAX);
	meter_reader_free(source->reader);
	late_stacks_free(source->stacks);
	free(source->loops);
	free(source->charges);
	free(source);
	return NULL;
}

bool meter_source_is_over(const struct meter_source *source)
{
	return meter_reader_is_over(source->reader);
}

bool meter_source_is_left(const struct meter_source *source)
{
	return meter_reader_is_left(source->reader);
}

uint64_t meter_source_created_ns(const struct meter_source *source)
{
	return meter_reader_header(source->reader)->created_ns;
}

int meter_source_read(struct meter_source *source, uint64_t now_ns, uint64_t second)
{
	source->now_ns = now_ns;
	return visit(source, second);
}

static void end_dispatch(struct meter_source *source, uint32_t index, uint64_t end_ns)
{
	const struct loop *loop = &source->loops[index];
	uint64_t begin_ns = loop->last.dispatch_begin_ns;
	struct stint_meter_file_overrun overrun = {
		.start_ns = begin_ns,
		.duration_ns = growth(end_ns, begin_ns),
		.budget_ns = loop->entry.budget_ns,
		.cpu_max_ns = growth(end_ns, begin_ns),
		.handler = loop->last.dispatch_handler,
		.fd = loop->last.dispatch_fd,
	};

	if (begin_ns && loop->entry.name[0] && overrun.duration_ns > overrun.budget_ns)
		add_dispatch(source, index, loop->entry.name, &overrun, true);
}

int meter_source_end(struct meter_source *source, uint64_t end_ns)
{
	source->err = 0;
	for (uint32_t i = 0; i < source->loops_len; i++) {
		const struct loop *loop = &source->loops[i];

		if (loop->id)
			write_counts(source, loop, end_ns, 0);
		end_dispatch(source, i, end_ns);
	}
	return source->err;
}

uint64_t meter_source_stacks_lost(const struct meter_source *source)
{
	uint64_t lost = late_stacks_cut(source->stacks);

	for (uint32_t i = 0; i < source->loops_len; i++)
		lost += growth(source->loops[i].last.stacks_missed, source->loops[i].first.stacks_missed);
	return lost;
}

uint64_t meter_source_stacks_skipped(const struct meter_source *source)
{
	uint64_t skipped = 0;

	for (uint32_t i = 0; i < source->loops_len; i++)
		skipped +=
			growth(source->loops[i].last.stacks_skipped, source->loops[i].first.stacks_skipped);
	return skipped;
}

uint64_t meter_source_handlers_refused(const struct meter_source *source)
{
	return meter_reader_header(source->reader)->handlers_refused;
}

uint64_t meter_source_loops_refused(const struct meter_source *source)
{
	return meter_reader_header(source->reader)->loops_refused;
}

uint64_t meter_source_lost(const struct meter_source *source)
{
	return meter_reader_lost(source->reader);
}

const char *meter_source_clock(const struct meter_source *source)
{
	return meter_reader_header(source->reader)->clock == STINT_METER_CLOCK_TSC ? "tsc" : "clock_gettime";
}
