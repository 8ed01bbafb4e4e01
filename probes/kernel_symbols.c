/* SPDX-License-Identifier: MIT */
#include "probes/kernel_symbols.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOLS_MAX    (1u << 20)
#define NAMES_MAX      (64u << 20)
#define FUNCTION_BYTES 65536 /* none is longer */

struct symbol {
	uint64_t address;
	uint32_t name; /* where it begins in `names` */
};

struct stint_kernel_symbols {
	char *path;
	struct symbol *items; /* by address, once they are read */
	size_t len;
	size_t capacity;
	char *names;
	size_t names_len;
	size_t names_capacity;
	bool was_read;
};

int stint_kernel_symbols_new(struct stint_kernel_symbols **ret, const char *path)
{
	struct stint_kernel_symbols *symbols = calloc(1, sizeof(*symbols));

	if (!symbols)
		return -ENOMEM;
	symbols->path = strdup(path ? path : "/proc/kallsyms");
	if (!symbols->path) {
		free(symbols);
		return -ENOMEM;
	}
	*ret = symbols;
	return 0;
}

struct stint_kernel_symbols *stint_kernel_symbols_free(struct stint_kernel_symbols *symbols)
{
	if (!symbols)
		return NULL;
	free(symbols->path);
	free(symbols->items);
	free(symbols->names);
	free(symbols);
	return NULL;
}

/* False when there is no more room, or no memory. */
static bool make_room(void **array, size_t *capacity, size_t need, size_t limit, size_t item_bytes)
{
	size_t larger = *capacity ? *capacity : 4096;
	void *memory;

	while (larger < need)
		larger *= 2;
	if (need > limit)
		return false;
	if (larger == *capacity)
		return true;
	memory = realloc(*array, larger * item_bytes);
	if (!memory)
		return false;
	*array = memory;
	*capacity = larger;
	return true;
}

static bool add(struct stint_kernel_symbols *symbols, uint64_t address, const char *name)
{
	size_t bytes = strlen(name) + 1;
	void *items = symbols->items, *names = symbols->names;
	bool room =
		make_room(&items, &symbols->capacity, symbols->len + 1, SYMBOLS_MAX, sizeof(struct symbol)) &&
		make_room(&names, &symbols->names_capacity, symbols->names_len + bytes, NAMES_MAX, 1);

	symbols->items = items;
	symbols->names = names;
	if (!room)
		return false;
	memcpy(symbols->names + symbols->names_len, name, bytes);
	symbols->items[symbols->len++] = (struct symbol){address, (uint32_t)symbols->names_len};
	symbols->names_len += bytes;
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct symbol *left = a, *right = b;

	return (left->address > right->address) - (left->address < right->address);
}

/* Lines of "ffffffff81000000 T _stext", in modules with "\t[nf_tables]" after that. Functions only. */
static void read_symbols(struct stint_kernel_symbols *symbols)
{
	FILE *file = fopen(symbols->path, "re");
	char line[512], name[256], type;
	uint64_t address;

	symbols->was_read = true;
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%" SCNx64 " %c %255s", &address, &type, name) != 3 || !address)
			continue;
		/* What precedes each function, for padding, is none of them. */
		if (!strchr("tTwW", type) || strncmp(name, "__pfx_", 6) == 0)
			continue;
		if (!add(symbols, address, name))
			break;
	}
	fclose(file);
	if (symbols->len)
		qsort(symbols->items, symbols->len, sizeof(*symbols->items), compare);
}

bool stint_kernel_symbols_known(struct stint_kernel_symbols *symbols)
{
	if (!symbols->was_read)
		read_symbols(symbols);
	return symbols->len > 0;
}

const char *stint_kernel_symbol(struct stint_kernel_symbols *symbols, uint64_t address)
{
	size_t low = 0, high;

	if (!symbols->was_read)
		read_symbols(symbols);
	high = symbols->len;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols->items[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	/* Between the kernel and its modules, and behind those, is code made at run time, which is not known. */
	if (low == 0 || address - symbols->items[low - 1].address > FUNCTION_BYTES)
		return NULL;
	return symbols->names + symbols->items[low - 1].name;
}

bool stint_kernel_range(struct stint_kernel_symbols *symbols, const char *name, uint64_t *start,
			uint64_t *end)
{
	if (!symbols->was_read)
		read_symbols(symbols);
	for (size_t i = 0; i + 1 < symbols->len; i++) {
		if (strcmp(symbols->names + symbols->items[i].name, name) != 0)
			continue;
		*start = symbols->items[i].address;
		*end = symbols->items[i + 1].address;
		return true;
	}
	return false;
}

const char *const stint_kernel_timer_entries[] = {"asm_sysvec_apic_timer_interrupt", "asm_common_interrupt",
						  "asm_sysvec_hyperv_stimer0", "asm_sysvec_xen_hvm_callback",
						  NULL};

bool stint_kernel_is_timer_entry(const char *name)
{
	for (const char *const *entry = stint_kernel_timer_entries; *entry; entry++)
		if (strcmp(name, *entry) == 0)
			return true;
	return false;
}

static bool begins_with_any(const char *name, const char *const *beginnings)
{
	for (; *beginnings; beginnings++)
		if (strncmp(name, *beginnings, strlen(*beginnings)) == 0)
			return true;
	return false;
}

/* What looks at the wake-up stands before it in the stack: our own programs, whose names are nobody's. */
static uint32_t after_wake_up(struct stint_kernel_symbols *symbols, const __u64 *stack, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		const char *name = stint_kernel_symbol(symbols, stack[i]);

		if (name && strncmp(name, "try_to_wake_up", 14) == 0)
			return i + 1;
	}
	return 0;
}

bool stint_kernel_waker(struct stint_kernel_symbols *symbols, const __u64 *stack, uint32_t len,
			const char **what)
{
	/* The wake-up itself, and the programs of ours that look at it. */
	static const char *const machinery[] = {"try_to_wake_up",
						"wake_up_",
						"__wake_up",
						"default_wake_function",
						"autoremove_wake_function",
						"woken_wake_function",
						"pollwake",
						"ep_",
						"ttwu_",
						"swake_",
						"complete",
						"rwsem_mark_wake",
						"bpf_",
						"__bpf_",
						"__traceiter_",
						"perf_",
						NULL};
	static const char *const interrupts[] = {"asm_sysvec_",      "asm_common_interrupt",
						 "common_interrupt", "sysvec_",
						 "irq_exit",         "__irq_exit",
						 "run_ksoftirqd",    NULL};
	bool interrupt = false;

	*what = NULL;
	for (uint32_t i = after_wake_up(symbols, stack, len); i < len; i++) {
		const char *name = stint_kernel_symbol(symbols, stack[i]);

		if (!name)
			continue;
		interrupt |= begins_with_any(name, interrupts);
		if (!*what && !begins_with_any(name, machinery))
			*what = name;
	}
	return interrupt;
}

const char *stint_kernel_stop(struct stint_kernel_symbols *symbols, const __u64 *stack, uint32_t len)
{
	static const struct {
		const char *function;
		const char *stop;
	} known[] = {
		{"do_signal_stop", "a stop by a signal"}, {"ptrace_stop", "a stop by a tracer"},
		{"do_freezer_trap", "a frozen cgroup"},   {"cgroup_enter_frozen", "a frozen cgroup"},
		{"__refrigerator", "a frozen cgroup"},
	};

	for (uint32_t i = 0; i < len; i++) {
		const char *name = stint_kernel_symbol(symbols, stack[i]);

		for (size_t of = 0; name && of < sizeof(known) / sizeof(known[0]); of++)
			if (strncmp(name, known[of].function, strlen(known[of].function)) == 0)
				return known[of].stop;
	}
	return NULL;
}
