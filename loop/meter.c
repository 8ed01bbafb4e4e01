/* SPDX-License-Identifier: MIT */
#include "meter.h"

#include "histogram_record.h"
#include "options.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/*
 * The process's meter: one file, a table of handlers that any thread may add to, a table of loops each of
 * which is written by its own thread alone (meter_loop.c). What is shared between threads is changed under `lock`.
 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static struct stint_meter *process_meter;

void meter_lock(void)
{
	pthread_mutex_lock(&lock);
}

void meter_unlock(void)
{
	pthread_mutex_unlock(&lock);
}

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

/* The child must not write into its parent's figures; and it may want a meter of its own. */
static void in_child(void)
{
	if (process_meter)
		meter_map_detach(&process_meter->map);
	process_meter = NULL;
	pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

static uint32_t default_to(uint32_t value, uint32_t fallback)
{
	return value ? value : fallback;
}

static int take_options(struct stint_meter_options *ret, const struct stint_meter_options *given)
{
	int error = options_take(ret, sizeof(*ret), given);

	if (error < 0)
		return error;
	if (!ret->budget_ns)
		ret->budget_ns = STINT_BUDGET_DEFAULT_NS;
	ret->handler_limit = default_to(ret->handler_limit, 128);
	ret->loop_limit = default_to(ret->loop_limit, 16);
	ret->overrun_slots = default_to(ret->overrun_slots, 1024);
	ret->socket_slots = default_to(ret->socket_slots, 4096);
	if (ret->handler_limit > 65535 || ret->loop_limit > 1024 || ret->overrun_slots > 65536 ||
	    ret->socket_slots > 65536)
		return -EINVAL;
	return 0;
}

static int make_meter(struct stint_meter **ret, const struct stint_meter_options *given)
{
	struct stint_meter *meter = calloc(1, sizeof(*meter));
	int error;

	if (!meter)
		return -ENOMEM;
	error = take_options(&meter->options, given);
	if (error == 0)
		error = meter_map_open(&meter->map, &meter->options);
	if (error < 0) {
		free(meter);
		return error;
	}
	meter->options.directory = NULL; /* the caller's string, of no use any more */
	meter_map_copy_name(meter_map_handler(&meter->map, 0)->name, STINT_METER_NAME_BYTES, "other");
	meter_map_handler(&meter->map, 0)->budget_ns = meter->options.budget_ns;
	__atomic_store_n(&meter_map_header(&meter->map)->handler_count, 1, __ATOMIC_RELEASE);
	*ret = meter;
	return 0;
}

int stint_meter_new(struct stint_meter **ret, const struct stint_meter_options *options)
{
	int error = 0;

	if (!ret)
		return -EINVAL;
	pthread_once(&fork_once, watch_forks);
	pthread_mutex_lock(&lock);
	if (!process_meter)
		error = make_meter(&process_meter, options);
	if (error == 0) {
		process_meter->references++;
		*ret = process_meter;
	}
	pthread_mutex_unlock(&lock);
	return error;
}

struct stint_meter *stint_meter_free(struct stint_meter *meter)
{
	if (!meter)
		return NULL;
	pthread_mutex_lock(&lock);
	if (--meter->references > 0)
		meter = NULL;
	else if (process_meter == meter)
		process_meter = NULL;
	pthread_mutex_unlock(&lock);
	if (meter)
		meter_map_close(&meter->map);
	free(meter);
	return NULL;
}

int stint_meter_file_error(const struct stint_meter *meter)
{
	return meter ? meter->map.error : -EINVAL;
}

const char *stint_meter_path(const struct stint_meter *meter)
{
	return meter && meter->map.error == 0 ? meter->map.path : NULL;
}

const void *stint_meter_data(const struct stint_meter *meter, size_t *bytes)
{
	if (!meter || !bytes)
		return NULL;
	*bytes = meter->map.bytes;
	return meter->map.base;
}

/* Under the lock. */
static int find_or_add(struct stint_meter *meter, const char *name, uint64_t budget_ns)
{
	struct stint_meter_file_header *header = meter_map_header(&meter->map);
	struct stint_meter_file_handler *entry;
	char field[STINT_METER_NAME_BYTES];

	meter_map_copy_name(field, sizeof(field), name);
	for (uint32_t i = 0; i < header->handler_count; i++) {
		entry = meter_map_handler(&meter->map, i);
		if (memcmp(entry->name, field, sizeof(field)) != 0)
			continue;
		if (budget_ns)
			relaxed_store(&entry->budget_ns, budget_ns);
		return (int)i;
	}
	if (header->handler_count == header->handler_limit) {
		__atomic_fetch_add(&header->handlers_refused, 1, __ATOMIC_RELAXED);
		return 0;
	}
	entry = meter_map_handler(&meter->map, header->handler_count);
	memcpy(entry->name, field, sizeof(field));
	relaxed_store(&entry->budget_ns, budget_ns ? budget_ns : meter->options.budget_ns);
	__atomic_store_n(&header->handler_count, header->handler_count + 1, __ATOMIC_RELEASE);
	return (int)header->handler_count - 1;
}

int stint_meter_handler(struct stint_meter *meter, const char *name, uint64_t budget_ns)
{
	int index;

	if (!meter || !name || !*name)
		return -EINVAL;
	pthread_mutex_lock(&lock);
	index = find_or_add(meter, name, budget_ns);
	pthread_mutex_unlock(&lock);
	return index;
}

uint64_t stint_meter_budget_ns(const struct stint_meter *meter, uint32_t handler)
{
	if (!meter ||
	    handler >= __atomic_load_n(&meter_map_header(&meter->map)->handler_count, __ATOMIC_ACQUIRE))
		return 0;
	return relaxed_load(&meter_map_handler(&meter->map, handler)->budget_ns);
}
