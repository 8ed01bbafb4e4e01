/* SPDX-License-Identifier: MIT */
#include "probes/function.h"

#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probes/closer.h"
#include "probes/function_cost.h"
#include "probes/function_symbols.h"
#include "probes/modules.h"

_Static_assert(STINT_PROBES_FUNCTIONS == RECORD_FUNCTIONS, "the same on both sides");

/* The last slots are those that the cost was measured with, and so are the numbers up to the first one that is given. */
#define FIRST_OF_COST STINT_PROBES_TIMED
#define FIRST_NUMBER  FUNCTION_SLOTS

_Static_assert(FIRST_OF_COST + STINT_FUNCTION_KINDS == FUNCTION_SLOTS, "as much room as there is");

/* A function in a process. */
struct timed {
	uint32_t number; /* 0: the slot is free */
	uint32_t pid;
	uint32_t function;         /* its place among the names */
	struct bpf_link *links[2]; /* NULL: it is over */
	bool was_told;             /* and its last figures were read */
	uint64_t address;
	enum stint_function_kind kind;
	char name[128];
	char module[64];
};

/* A function that is not timed in a process which has it. */
struct untimed {
	uint32_t pid, function;
	bool for_room; /* there was no slot: tried again when there is. Others are not */
};

enum attempt {
	ATTEMPT_TIMED,
	ATTEMPT_NO_ROOM,
	ATTEMPT_REFUSED, /* by the kernel; or by us, as the process would not survive it */
	ATTEMPT_NOT_ONE  /* there is nothing to be timed, or it is already */
};

struct stint_functions {
	struct stint_bpf *bpf;
	struct stint_closer *closer; /* of links */
	const char *const *names;
	uint32_t names_len;
	struct function_counters *table; /* the kernel's own memory */
	size_t table_bytes;
	struct stint_function_cost costs[STINT_FUNCTION_KINDS];
	struct timed timed[STINT_PROBES_TIMED];
	uint32_t limit; /* so many of those are used */
	uint32_t next_number;
	uint64_t not_attached;  /* those that are untimed, and others of processes that are over */
	uint64_t attached_late; /* that were untimed before */
	uint64_t not_kept;      /* by those whose slots were given back */
	bool is_stopped;
	bool ends_filtered; /* a process with a seccomp filter does not survive it */
	bool found[STINT_PROBES_FUNCTIONS];
	char why[STINT_PROBES_FUNCTIONS][512];
	struct untimed *untimed;
	uint32_t untimed_len, untimed_room;
};

int stint_functions_new(struct stint_functions **ret, struct stint_bpf *bpf,
			const struct stint_probes_options *options)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct stint_functions *functions = calloc(1, sizeof(*functions));
	void *memory;

	if (!functions)
		return -ENOMEM;
	if (stint_closer_new(&functions->closer) != 0) {
		free(functions);
		return -ENOMEM;
	}
	functions->bpf = bpf;
	functions->names = options->functions;
	functions->names_len = options->functions_len;
	functions->limit = options->function_limit;
	functions->next_number = FIRST_NUMBER;
	functions->table_bytes = (FUNCTION_SLOTS * sizeof(struct function_counters) + page - 1) / page * page;
	memory = mmap(NULL, functions->table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		      stint_bpf_function_table(bpf), 0);
	if (memory == MAP_FAILED) {
		int err = -errno;

		stint_closer_free(functions->closer, NULL, NULL);
		free(functions);
		return err;
	}
	functions->table = memory;
	for (uint32_t i = 0; i < functions->names_len; i++)
		snprintf(functions->why[i], sizeof(functions->why[i]), "no process was seen that has '%s'",
			 functions->names[i]);
	stint_function_cost_measure(functions->costs, bpf, functions->table, FIRST_OF_COST);
	functions->ends_filtered = stint_function_ends_filtered(bpf, functions->table, FIRST_OF_COST);
	*ret = functions;
	return 0;
}

static void take_away(void *link)
{
	bpf_link__destroy(link);
}

/* What is noted still of calls under way is counted no more from before the probes are gone. */
static void end_timed(struct stint_functions *functions, struct timed *timed)
{
	__atomic_store_n(&functions->table[timed - functions->timed].number, 0, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		if (timed->links[i])
			stint_closer_add(functions->closer, take_away, timed->links[i]);
		timed->links[i] = NULL;
	}
}

struct stint_functions *stint_functions_free(struct stint_functions *functions,
					     void (*lingers)(void *ctx, uint32_t uprobes), void *ctx)
{
	if (!functions)
		return NULL;
	for (uint32_t i = 0; i < functions->limit; i++)
		end_timed(functions, &functions->timed[i]);
	stint_closer_free(functions->closer, lingers, ctx);
	munmap(functions->table, functions->table_bytes);
	free(functions->untimed);
	free(functions);
	return NULL;
}

static bool is_timed(const struct stint_functions *functions, uint32_t pid, uint32_t function)
{
	for (uint32_t i = 0; i < functions->limit; i++)
		if (functions->timed[i].links[0] && functions->timed[i].pid == pid &&
		    functions->timed[i].function == function)
			return true;
	return false;
}

static bool is_untimed(const struct stint_functions *functions, uint32_t pid, uint32_t function)
{
	for (uint32_t i = 0; i < functions->untimed_len; i++)
		if (functions->untimed[i].pid == pid && functions->untimed[i].function == function)
			return true;
	return false;
}

/* Counted as lost, once. Without memory for it, it is tried again as if it were new, and counted anew. */
static void note_untimed(struct stint_functions *functions, uint32_t pid, uint32_t function, bool for_room)
{
	uint32_t room = functions->untimed_room ? 2 * functions->untimed_room : 64;

	functions->not_attached++;
	if (functions->untimed_len == functions->untimed_room) {
		void *larger = reallocarray(functions->untimed, room, sizeof(*functions->untimed));

		if (!larger)
			return;
		functions->untimed = larger;
		functions->untimed_room = room;
	}
	functions->untimed[functions->untimed_len++] = (struct untimed){pid, function, for_room};
}

/* Two probes at one place would each take the other's call for one that was left. */
static const struct timed *timed_there(const struct stint_functions *functions, uint32_t pid,
				       const struct stint_function_site *site)
{
	for (uint32_t i = 0; i < functions->limit; i++) {
		const struct timed *timed = &functions->timed[i];

		if (timed->links[0] && timed->pid == pid && timed->address == site->address &&
		    strcmp(timed->module, site->module) == 0)
			return timed;
	}
	return NULL;
}

static bool thread_has_filter(uint32_t pid, const char *tid)
{
	char path[320], line[256];
	unsigned mode = 1; /* what cannot be read has one, unless it is gone */
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task/%s/status", pid, tid);
	status = fopen(path, "re");
	if (!status && errno == ENOENT)
		return false;
	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "Seccomp: %u", &mode) == 1)
			break;
	if (status && ferror(status) && errno == ESRCH)
		mode = 0;
	if (status)
		fclose(status);
	return mode != 0;
}

static bool has_filter(uint32_t pid)
{
	const struct dirent *entry;
	bool found = false;
	char path[64];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return true;
	while (!found && (entry = readdir(tasks)))
		found = *entry->d_name != '.' && thread_has_filter(pid, entry->d_name);
	closedir(tasks);
	return found;
}

static int attach(struct stint_functions *functions, struct timed *timed,
		  const struct stint_function_site *site)
{
	uint32_t slot = (uint32_t)(timed - functions->timed);
	struct function_counters *counters = &functions->table[slot];
	struct stint_bpf_function place = {.offset = site->offset, .slot = slot, .number = timed->number};
	char path[64];
	int err;

	/* By the open file, which is the one that is mapped, in whatever mount namespace. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", site->fd);
	place.path = path;
	counters->pid = timed->pid;
	counters->function = timed->function;
	err = stint_bpf_attach_function(functions->bpf, timed->pid, &place, timed->links);
	if (!err)
		__atomic_store_n(&counters->number, timed->number, __ATOMIC_RELEASE);
	return err;
}

/* NULL: there is none. */
static struct timed *free_slot(struct stint_functions *functions)
{
	for (uint32_t i = 0; i < functions->limit; i++)
		if (!functions->timed[i].number)
			return &functions->timed[i];
	return NULL;
}

static enum attempt add_one(struct stint_functions *functions, uint32_t pid, uint32_t function)
{
	struct timed *timed = free_slot(functions);
	char *why = functions->why[function];
	struct stint_function_site site;
	const struct timed *same;
	int err;

	if (stint_function_find(&site, pid, functions->names[function], why,
				sizeof(functions->why[function])) != 0)
		return ATTEMPT_NOT_ONE;
	if (functions->ends_filtered && has_filter(pid)) {
		snprintf(why, sizeof(functions->why[function]),
			 "on this kernel a probe would end process %" PRIu32 ", which has a seccomp filter",
			 pid);
		close(site.fd);
		return ATTEMPT_REFUSED;
	}
	same = timed_there(functions, pid, &site);
	if (same) {
		snprintf(why, sizeof(functions->why[function]), "'%s' of %s is the same function as '%s'",
			 site.function, site.module, functions->names[same->function]);
		close(site.fd);
		return ATTEMPT_NOT_ONE;
	}
	if (!timed) {
		close(site.fd);
		return ATTEMPT_NO_ROOM;
	}
	*timed = (struct timed){.number = functions->next_number++,
				.pid = pid,
				.function = function,
				.address = site.address};
	timed->kind = stint_function_kind(site.code);
	snprintf(timed->name, sizeof(timed->name), "%s", site.function);
	snprintf(timed->module, sizeof(timed->module), "%s", site.module);
	err = attach(functions, timed, &site);
	close(site.fd);
	if (err) {
		timed->number = 0;
		snprintf(why, sizeof(functions->why[function]), "'%s' of %s cannot be given a probe: %s%s",
			 site.function, site.module, strerror(-err),
			 err == -EACCES || err == -EPERM ? " (this kernel leaves uprobes to root)" : "");
		return ATTEMPT_REFUSED;
	}
	functions->found[function] = true;
	return ATTEMPT_TIMED;
}

void stint_functions_add(struct stint_functions *functions, uint32_t pid)
{
	if (!functions || functions->is_stopped || stint_module_is_own(pid))
		return;
	for (uint32_t function = 0; function < functions->names_len; function++) {
		enum attempt attempt;

		if (is_timed(functions, pid, function) || is_untimed(functions, pid, function))
			continue;
		attempt = add_one(functions, pid, function);
		if (attempt == ATTEMPT_NO_ROOM || attempt == ATTEMPT_REFUSED)
			note_untimed(functions, pid, function, attempt == ATTEMPT_NO_ROOM);
	}
}

void stint_functions_drop(struct stint_functions *functions, uint32_t pid)
{
	for (uint32_t i = 0; functions && i < functions->limit; i++)
		if (functions->timed[i].pid == pid)
			end_timed(functions, &functions->timed[i]);
	for (uint32_t i = 0; functions && i < functions->untimed_len;)
		if (functions->untimed[i].pid == pid)
			functions->untimed[i] = functions->untimed[--functions->untimed_len];
		else
			i++;
}

void stint_functions_stop(struct stint_functions *functions)
{
	if (!functions)
		return;
	functions->is_stopped = true;
	for (uint32_t slot = 0; slot < functions->limit; slot++)
		__atomic_store_n(&functions->table[slot].number, 0, __ATOMIC_RELEASE);
}

const char *stint_functions_missing(const struct stint_functions *functions, uint32_t function)
{
	if (!functions || function >= functions->names_len || functions->found[function])
		return NULL;
	return functions->why[function];
}

static void fill(struct stint_probes_function *ret, const struct stint_functions *functions, uint32_t slot)
{
	const struct function_counters *counters = &functions->table[slot];
	const struct timed *timed = &functions->timed[slot];
	const struct stint_function_cost *cost = &functions->costs[timed->kind];

	*ret = (struct stint_probes_function){
		.number = timed->number,
		.is_over = !timed->links[0],
		.pid = timed->pid,
		.asked = functions->names[timed->function],
		.name = timed->name,
		.module = timed->module,
		.address = timed->address,
		.begun = counters->begun,
		.nested = counters->nested,
		.left = counters->left,
		.unmatched = counters->unmatched,
		.not_kept = counters->not_kept,
		.cost_ns = cost->call_ns,
		.within_ns = cost->within_ns,
		.duration = {.sum_ns = counters->sum_ns,
			     .min_ns = ~counters->min_inverse_ns,
			     .max_ns = counters->max_ns,
			     .overflow = counters->overflow,
			     .count = counters->overflow,
			     .bucket = (const uint64_t *)counters->bucket},
	};
	for (uint32_t bucket = 0; bucket < RECORD_BUCKETS; bucket++)
		ret->duration.count += counters->bucket[bucket];
}

int stint_functions_read(struct stint_functions *functions, stint_probes_function_visit visit, void *ctx)
{
	for (uint32_t slot = 0; functions && slot < functions->limit; slot++) {
		struct stint_probes_function function;
		int err;

		if (!functions->timed[slot].number)
			continue;
		fill(&function, functions, slot);
		err = visit(ctx, &function);
		if (err)
			return err;
		functions->timed[slot].was_told = function.is_over;
	}
	return 0;
}

/* Those that found no room, as long as there is some. */
static void try_again(struct stint_functions *functions)
{
	for (uint32_t i = 0; i < functions->untimed_len && free_slot(functions);) {
		struct untimed *untimed = &functions->untimed[i];
		enum attempt attempt = ATTEMPT_REFUSED;

		if (untimed->for_room)
			attempt = add_one(functions, untimed->pid, untimed->function);
		if (attempt == ATTEMPT_REFUSED) {
			untimed->for_room = false;
			i++;
			continue;
		}
		if (attempt == ATTEMPT_TIMED) {
			functions->not_attached--;
			functions->attached_late++;
		}
		*untimed = functions->untimed[--functions->untimed_len];
	}
}

void stint_functions_release(struct stint_functions *functions)
{
	bool has_room = false;

	for (uint32_t slot = 0; functions && slot < functions->limit; slot++) {
		if (!functions->timed[slot].was_told)
			continue;
		functions->not_kept += functions->table[slot].not_kept;
		memset(&functions->table[slot], 0, sizeof(functions->table[slot]));
		functions->timed[slot] = (struct timed){0};
		has_room = true;
	}
	if (has_room && !functions->is_stopped)
		try_again(functions);
}

uint64_t stint_functions_lost(const struct stint_functions *functions)
{
	uint64_t lost = functions ? functions->not_attached + functions->not_kept : 0;

	for (uint32_t slot = 0; functions && slot < functions->limit; slot++)
		lost += functions->table[slot].not_kept;
	return lost;
}

uint64_t stint_functions_late(const struct stint_functions *functions)
{
	return functions ? functions->attached_late : 0;
}
