/* SPDX-License-Identifier: MIT */
#include "report/model/traces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The moments of one socket as one of the two sides saw it. */
struct life {
	const struct model_process *process;
	enum model_source source;
	uint64_t socket;
	int fd;
	bool closed;
	const struct model_event **events;
	size_t len;
	struct life *other; /* the same socket as the other side saw it */
};

struct lives {
	struct life *items;
	size_t len;
	size_t left_out;
};

/* ---- sorting moments into lives ---- */

static bool belongs(const struct life *life, const struct model_event *event)
{
	if (life->process != event->process || life->source != event->source)
		return false;
	if (event->socket != MODEL_UNKNOWN)
		return life->socket == event->socket;
	return life->fd == event->fd && !life->closed && event->kind != MODEL_OPEN;
}

static struct life *life_of(struct lives *lives, const struct model_event *event)
{
	struct life *life;

	for (size_t i = lives->len; i > 0; i--) {
		if (belongs(&lives->items[i - 1], event))
			return &lives->items[i - 1];
	}
	if (lives->len == 2 * TRACES_LIMIT) {
		lives->left_out += event->kind == MODEL_OPEN || event->kind == MODEL_SEND_SHORT;
		return NULL;
	}
	/* The same descriptor opened again without a close seen: the life before is over. */
	for (size_t i = 0; i < lives->len; i++) {
		life = &lives->items[i];
		if (life->process == event->process && life->source == event->source && life->fd == event->fd)
			life->closed = true;
	}
	life = &lives->items[lives->len++];
	*life = (struct life){.process = event->process,
			      .source = event->source,
			      .socket = event->socket,
			      .fd = event->fd};
	return life;
}

static int append(const struct model_event ***events, size_t *len, const struct model_event *event)
{
	if ((*len & (*len - 1)) == 0) {
		size_t size = *len ? 2 * *len : 1;
		const struct model_event **more = realloc(*events, size * sizeof(*more));

		if (!more)
			return -ENOMEM;
		*events = more;
	}
	(*events)[(*len)++] = event;
	return 0;
}

static int sort_into_lives(struct lives *lives, const struct model *model)
{
	for (size_t i = 0; i < model->events_len; i++) {
		const struct model_event *event = &model->events[i];
		struct life *life = life_of(lives, event);

		if (!life)
			continue;
		if (life->fd < 0)
			life->fd = event->fd; /* before its first call it had none that is known */
		if (append(&life->events, &life->len, event) < 0)
			return -ENOMEM;
		life->closed = life->closed || event->kind == MODEL_CLOSE;
	}
	return 0;
}

static uint64_t overlap_ns(const struct life *a, const struct life *b)
{
	uint64_t begin = a->events[0]->time_ns, end = a->events[a->len - 1]->time_ns;

	if (b->events[0]->time_ns > begin)
		begin = b->events[0]->time_ns;
	if (b->events[b->len - 1]->time_ns < end)
		end = b->events[b->len - 1]->time_ns;
	return end > begin ? end - begin : 0;
}

/* A descriptor is one socket at a time, so the life that overlaps most on the same descriptor is the same. */
static void pair_lives(struct lives *lives)
{
	for (size_t i = 0; i < lives->len; i++) {
		struct life *probes = &lives->items[i], *best = NULL;

		for (size_t j = 0; probes->source == MODEL_PROBES && j < lives->len; j++) {
			struct life *meter = &lives->items[j];

			if (meter->source == MODEL_METER && meter->process == probes->process &&
			    meter->fd == probes->fd && !meter->other && overlap_ns(probes, meter) > 0 &&
			    (!best || overlap_ns(probes, meter) > overlap_ns(probes, best)))
				best = meter;
		}
		if (best) {
			best->other = probes;
			probes->other = best;
		}
	}
}

/* ---- merging two views ---- */

static bool adds_to_probes(const struct model_event *event, uint64_t probes_from_ns)
{
	if (event->kind == MODEL_ACK)
		return false;
	return event->time_ns < probes_from_ns || event->kind == MODEL_SAMPLE || event->kind == MODEL_OPEN ||
	       event->kind == MODEL_CLOSE;
}

static int merge(struct trace *trace, const struct life *probes, const struct life *meter)
{
	size_t i = 0, j = 0;
	int err = 0;

	while (err == 0 && (i < probes->len || j < meter->len)) {
		const struct model_event *own = j < meter->len ? meter->events[j] : NULL;

		if (i < probes->len && (!own || probes->events[i]->time_ns <= own->time_ns)) {
			err = append(&trace->events, &trace->events_len, probes->events[i++]);
			continue;
		}
		if (own && (!probes->len || adds_to_probes(own, probes->events[0]->time_ns)))
			err = append(&trace->events, &trace->events_len, own);
		j++;
	}
	return err;
}

static int take_life(struct trace *trace, const struct life *life)
{
	static const struct life none;
	const struct life *probes = life->source == MODEL_PROBES ? life : life->other;
	const struct life *meter = life->source == MODEL_PROBES ? life->other : life;

	trace->process = life->process;
	trace->fd = life->fd;
	trace->from_probes = probes != NULL;
	trace->from_meter = meter != NULL;
	return merge(trace, probes ? probes : &none, meter ? meter : &none);
}

/* ---- cycles ---- */

/* NULL: it is not told of, as by a recorder that was killed. */
static const struct model_stall *stall_of(const struct model *model, const struct trace *trace,
					  const struct model_event *send)
{
	for (size_t i = 0; i < model->stalls_len && model->stalls[i].start_ns <= send->time_ns + 1000000;
	     i++) {
		const struct model_stall *stall = &model->stalls[i];

		if (stall->start_ns + 1000000 >= send->time_ns && stall->process == trace->process &&
		    stall->fd == trace->fd)
			return stall;
	}
	return NULL;
}

static uint64_t threshold_of(const struct model *model, const struct trace *trace,
			     const struct model_event *send)
{
	const struct model_stall *stall = stall_of(model, trace, send);

	if (stall && stall->threshold_bytes > 0)
		return stall->threshold_bytes;
	return send->sndbuf_bytes == MODEL_UNKNOWN ? MODEL_UNKNOWN : send->sndbuf_bytes / 3 * 2;
}

static void note(struct trace_cycle *cycle, const struct model_event *event)
{
	switch (event->kind) {
	case MODEL_ACK:
		cycle->acks++;
		if (event->cause && !cycle->cause)
			cycle->cause = event;
		break;
	case MODEL_WRITE_EVENT:
		cycle->write_event = cycle->write_event ? cycle->write_event : event;
		break;
	case MODEL_WOKEN:
		cycle->woken = cycle->woken ? cycle->woken : event;
		break;
	case MODEL_RETURNED:
		cycle->returned = cycle->returned ? cycle->returned : event;
		break;
	default:
		break;
	}
}

static bool is_send(const struct model_event *event)
{
	return event->kind == MODEL_SEND || event->kind == MODEL_SEND_SHORT;
}

/* Where TCP has an address and a port, a unix socket's peer has a path, or its process. */
static bool has_unix_peer(const struct trace *trace)
{
	return trace->from_probes && trace->remote && !strchr("0123456789[", trace->remote[0]);
}

static uint64_t since_ns(const struct trace_cycle *cycle, uint64_t time_ns)
{
	return time_ns > cycle->send->time_ns ? time_ns - cycle->send->time_ns : 0;
}

static bool is_end_of_socket(enum model_event_kind kind)
{
	return kind == MODEL_CLOSE || kind == MODEL_CLOSED || kind == MODEL_FIN_SENT;
}

/* No send followed. That is seen of one cycle of a trace at most, its last. */
static void end_last(struct trace_cycle *cycle, const struct trace *trace, const struct model *model)
{
	const struct model_stall *stall = stall_of(model, trace, cycle->send);
	const struct model_event *last = trace->events[trace->events_len - 1];
	uint64_t end_ns;

	if (stall && stall->ending != MODEL_STALL_SENT) {
		cycle->ending = stall->ending == MODEL_STALL_CLOSED ? TRACE_CLOSED : TRACE_OPEN;
		cycle->duration_ns = stall->duration_ns;
		return;
	}
	if (is_end_of_socket(last->kind)) {
		cycle->ending = TRACE_CLOSED;
		end_ns = last->time_ns;
	} else if (stall || model->events_len < model->events_total) {
		cycle->ending = TRACE_CUT;
		end_ns = last->time_ns;
	} else if (trace->process->exited_ns != MODEL_UNKNOWN) {
		cycle->ending = TRACE_CLOSED;
		end_ns = trace->process->exited_ns;
	} else {
		cycle->ending = TRACE_OPEN;
		end_ns = model->start_ns + model->duration_ns;
	}
	cycle->duration_ns = since_ns(cycle, end_ns);
}

/* Is it the next send, with which the cycle is over? One that is refused at once changes nothing. */
static bool ends_cycle(const struct trace_cycle *cycle, const struct model_event *event)
{
	if (!is_send(event))
		return false;
	return event->kind == MODEL_SEND || event->done_bytes != 0 || cycle->cause || cycle->write_event ||
	       cycle->returned;
}

/* Looking a threshold up costs a walk over the stalls: it is done for the cycle that is told of. */
static void find_longest(struct trace *trace, const struct model *model)
{
	struct trace_cycle *longest;

	if (!trace->cycles_len)
		return;
	for (size_t i = 0; i < trace->cycles_len; i++)
		if (trace->cycles[i].duration_ns > trace->cycles[trace->longest].duration_ns)
			trace->longest = i;
	longest = &trace->cycles[trace->longest];
	longest->threshold_bytes = threshold_of(model, trace, longest->send);
}

static int find_cycles(struct trace *trace, const struct model *model)
{
	size_t wanted = 0, i = 0;

	for (size_t j = 0; j < trace->events_len; j++) {
		wanted += trace->events[j]->kind == MODEL_SEND_SHORT;
		trace->local = trace->local ? trace->local : trace->events[j]->local;
		trace->remote = trace->remote ? trace->remote : trace->events[j]->remote;
	}
	trace->is_unix = has_unix_peer(trace);
	trace->cycles = calloc(wanted ? wanted : 1, sizeof(*trace->cycles));
	if (!trace->cycles)
		return -ENOMEM;
	while (i < trace->events_len) {
		struct trace_cycle *cycle = &trace->cycles[trace->cycles_len];

		if (trace->events[i]->kind != MODEL_SEND_SHORT) {
			i++;
			continue;
		}
		*cycle = (struct trace_cycle){.send = trace->events[i], .first = i};
		while (++i < trace->events_len && !ends_cycle(cycle, trace->events[i]))
			note(cycle, trace->events[i]);
		cycle->next = i < trace->events_len ? trace->events[i] : NULL;
		cycle->end = i;
		if (cycle->next)
			cycle->duration_ns = since_ns(cycle, cycle->next->time_ns);
		else
			end_last(cycle, trace, model);
		trace->cycles_len++;
	}
	find_longest(trace, model);
	return 0;
}

/* ---- the whole ---- */

static uint64_t longest_ns(const struct trace *trace)
{
	return trace->cycles_len ? trace->cycles[trace->longest].duration_ns : 0;
}

static int compare_traces(const void *a, const void *b)
{
	const struct trace *x = a, *y = b;

	if (x->from_probes != y->from_probes)
		return x->from_probes ? -1 : 1;
	if (longest_ns(x) != longest_ns(y))
		return longest_ns(x) > longest_ns(y) ? -1 : 1;
	if (x->cycles_len != y->cycles_len)
		return x->cycles_len > y->cycles_len ? -1 : 1;
	return x->events[0]->time_ns < y->events[0]->time_ns ? -1 : 1;
}

static int fill(struct traces *traces, const struct lives *lives, const struct model *model)
{
	traces->items = calloc(TRACES_LIMIT, sizeof(*traces->items));
	if (!traces->items)
		return -ENOMEM;
	traces->left_out = lives->left_out;
	for (size_t i = 0; i < lives->len; i++) {
		const struct life *life = &lives->items[i];
		struct trace *trace = &traces->items[traces->len];

		if (life->source == MODEL_METER && life->other)
			continue;
		if (traces->len == TRACES_LIMIT) {
			traces->left_out++;
			continue;
		}
		traces->len++;
		if (take_life(trace, life) < 0 || find_cycles(trace, model) < 0)
			return -ENOMEM;
	}
	qsort(traces->items, traces->len, sizeof(*traces->items), compare_traces);
	return 0;
}

static void free_lives(struct lives *lives)
{
	for (size_t i = 0; i < lives->len; i++)
		free(lives->items[i].events);
	free(lives->items);
}

int traces_new(struct traces **ret, const struct model *model)
{
	struct lives lives = {.items = calloc(2 * TRACES_LIMIT, sizeof(*lives.items))};
	struct traces *traces = calloc(1, sizeof(*traces));
	int err = lives.items && traces ? sort_into_lives(&lives, model) : -ENOMEM;

	if (err == 0) {
		pair_lives(&lives);
		err = fill(traces, &lives, model);
	}
	free_lives(&lives);
	if (err < 0)
		traces_free(traces);
	else
		*ret = traces;
	return err;
}

struct traces *traces_free(struct traces *traces)
{
	if (!traces)
		return NULL;
	for (size_t i = 0; i < traces->len; i++) {
		free(traces->items[i].events);
		free(traces->items[i].cycles);
	}
	free(traces->items);
	free(traces);
	return NULL;
}
