/* SPDX-License-Identifier: MIT */
#include "meter_account.h"
#include "options.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * The process's meter: one file, a table of handlers that any thread may add to, a table of loops each of
 * which is written by its own thread alone. What is shared between threads is changed under `lock`.
 */

struct stint_meter {
	struct meter_map map;
	struct stint_meter_options options;
	unsigned references;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static struct stint_meter *process_meter;

struct meter_map *meter_get_map(struct stint_meter *meter)
{
	return &meter->map;
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

/* Beyond the loop limit: the table entry and the region in memory that nobody else sees. */
static int take_private_region(struct stint_meter_loop *account)
{
	size_t entry_bytes = 4096;
	void *memory;

	account->private_bytes = entry_bytes + account->meter->map.region_bytes;
	memory = mmap(NULL, account->private_bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return -errno;
	account->private_memory = memory;
	account->base = memory;
	account->figures = memory;
	meter_map_layout_region(&account->meter->options, entry_bytes, account->figures);
	return 0;
}

/* Under the lock: the next entry of the loop table and its region. */
static int take_region(struct stint_meter_loop *account)
{
	struct meter_map *map = &account->meter->map;
	struct stint_meter_file_header *header = meter_map_header(map);
	uint32_t index = header->loop_count;

	if (index == header->loop_limit) {
		__atomic_fetch_add(&header->loops_refused, 1, __ATOMIC_RELAXED);
		return take_private_region(account);
	}
	account->base = map->base;
	account->figures = meter_map_loop(map, index);
	meter_map_layout_region(&account->meter->options, map->regions_offset + index * map->region_bytes,
				account->figures);
	return 0;
}

/* Everything up to the socket ring is backed at once; that one waits for the first traced socket. */
static int prepare_region(struct stint_meter_loop *account, const char *name)
{
	struct stint_meter_file_loop *figures = account->figures;
	uint8_t *start = account->base + figures->histograms_offset;
	int error;

	error = meter_map_back(&account->meter->map, start,
			       figures->sockets_offset - figures->histograms_offset);
	if (error < 0)
		return error;
	account->metric = (struct stint_histogram *)start;
	for (int i = 0; i < STINT_METER_LOOP_METRICS; i++)
		stint_histogram_init(&account->metric[i]);
	meter_map_copy_name(figures->name, sizeof(figures->name), name ? name : "loop");
	figures->dispatch_fd = NO_FD;
	meter_account_set_thread(account);
	/* "other" must never be without a block: it takes what finds no room. */
	if (meter_map_back(&account->meter->map, account->base + figures->blocks_offset,
			   METER_MAP_BLOCK_BASE_BYTES) < 0)
		return -ENOSPC;
	meter_account_adopt(account, 0);
	return 0;
}

int stint_meter_loop_new(struct stint_meter_loop **ret, struct stint_meter *meter, const char *name)
{
	struct stint_meter_loop *account;
	int error;

	if (!ret || !meter)
		return -EINVAL;
	account = calloc(1, sizeof(*account));
	if (!account)
		return -ENOMEM;
	account->meter = meter;
	account->hot = calloc(meter->options.handler_limit, sizeof(*account->hot));
	if (!account->hot) {
		free(account);
		return -ENOMEM;
	}
	clock_init(&account->clock);
	pthread_mutex_lock(&lock);
	error = take_region(account);
	if (error == 0)
		error = prepare_region(account, name);
	if (error == 0 && !account->private_memory)
		__atomic_fetch_add(&meter_map_header(&meter->map)->loop_count, 1, __ATOMIC_RELEASE);
	if (error == 0)
		meter->references++;
	pthread_mutex_unlock(&lock);
	if (error < 0) {
		if (account->private_memory)
			munmap(account->private_memory, account->private_bytes);
		free(account->hot);
		free(account);
		return error;
	}
	*ret = account;
	return 0;
}

struct stint_meter_loop *stint_meter_loop_free(struct stint_meter_loop *account)
{
	if (!account)
		return NULL;
	relaxed_store(&account->figures->dispatch_begin_ns, 0);
	__atomic_store_n(&account->figures->closed, 1, __ATOMIC_RELEASE);
	if (account->private_memory)
		munmap(account->private_memory, account->private_bytes);
	stint_meter_free(account->meter);
	free(account->hot);
	free(account);
	return NULL;
}
