/* SPDX-License-Identifier: MIT */
#include "report/record/roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Names that are found by stacks are as many as a program has functions; beyond this many, the rest goes to
 * one handler named as below.
 */
#define HANDLERS_MAX 4096

struct handler {
	int64_t id;
	int64_t process;
	char *name;
	bool from_meter;
	bool changed;
	struct recording_handler_counts counts;
};

struct roster {
	struct recording *recording;
	struct handler *handlers;
	size_t handlers_len;
	size_t handlers_capacity;
};

int roster_new(struct roster **ret, struct recording *recording)
{
	struct roster *roster = calloc(1, sizeof(*roster));

	if (!roster)
		return -ENOMEM;
	roster->recording = recording;
	*ret = roster;
	return 0;
}

struct roster *roster_free(struct roster *roster)
{
	if (!roster)
		return NULL;
	for (size_t i = 0; i < roster->handlers_len; i++)
		free(roster->handlers[i].name);
	free(roster->handlers);
	free(roster);
	return NULL;
}

static struct handler *find(struct roster *roster, int64_t process, const char *name, bool from_meter)
{
	for (size_t i = 0; i < roster->handlers_len; i++) {
		struct handler *handler = &roster->handlers[i];

		if (handler->process == process && handler->from_meter == from_meter &&
		    strcmp(handler->name, name) == 0)
			return handler;
	}
	return NULL;
}

static bool make_room(struct roster *roster)
{
	size_t capacity = roster->handlers_capacity ? 2 * roster->handlers_capacity : 32;
	void *larger;

	if (roster->handlers_len < roster->handlers_capacity)
		return true;
	larger = realloc(roster->handlers, capacity * sizeof(*roster->handlers));
	if (!larger)
		return false;
	roster->handlers = larger;
	roster->handlers_capacity = capacity;
	return true;
}

int64_t roster_handler(struct roster *roster, int64_t process, const char *name, bool from_meter,
		       uint64_t budget_ns)
{
	struct handler *handler = find(roster, process, name, from_meter);
	char *copy;

	if (handler)
		return handler->id;
	if (roster->handlers_len >= HANDLERS_MAX) {
		name = "(other handlers)";
		handler = find(roster, process, name, from_meter);
		if (handler)
			return handler->id;
	}
	copy = strdup(name);
	if (!copy || !make_room(roster)) {
		free(copy);
		return 0;
	}
	handler = &roster->handlers[roster->handlers_len++];
	*handler = (struct handler){.process = process, .name = copy, .from_meter = from_meter};
	handler->id = recording_handler(roster->recording, process, name, from_meter, budget_ns);
	return handler->id;
}

void roster_charge(struct roster *roster, int64_t id, const struct recording_handler_counts *counts)
{
	for (size_t i = 0; i < roster->handlers_len; i++) {
		struct handler *handler = &roster->handlers[i];

		if (handler->id != id)
			continue;
		handler->counts.overruns += counts->overruns;
		handler->counts.over_ns += counts->over_ns;
		handler->counts.blame_ns += counts->blame_ns;
		handler->counts.victims += counts->victims;
		handler->changed = true;
		return;
	}
}

void roster_write(struct roster *roster)
{
	for (size_t i = 0; i < roster->handlers_len; i++) {
		struct handler *handler = &roster->handlers[i];

		if (!handler->changed)
			continue;
		recording_handler_counts(roster->recording, handler->id, &handler->counts);
		handler->changed = false;
	}
}
