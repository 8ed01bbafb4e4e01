/* SPDX-License-Identifier: MIT */
#include "meter.h"
#include "meter_account.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* How a loop's account begins and ends: its entry in the meter's table, and its region of the file. */

/* Beyond the loop limit, or of the file system: the table entry and the region in memory that nobody else sees. */
static int take_private_region(struct stint_meter_loop *account)
{
	size_t entry_bytes = 4096;
	void *memory;

	__atomic_fetch_add(&meter_map_header(&account->meter->map)->loops_refused, 1, __ATOMIC_RELAXED);
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

	if (index == header->loop_limit)
		return take_private_region(account);
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
	error = meter_map_back(&account->meter->map, account->base + figures->blocks_offset,
			       METER_MAP_BLOCK_BASE_BYTES);
	if (error == 0)
		meter_account_adopt(account, 0);
	return error;
}

static bool lacks_room(int error)
{
	return error == -ENOSPC || error == -EDQUOT || error == -EFBIG;
}

/* Under the lock. A file system without room for the figures is no reason for a program not to run. */
static int open_region(struct stint_meter_loop *account, const char *name)
{
	int error = take_region(account);

	if (error == 0)
		error = prepare_region(account, name);
	if (!lacks_room(error))
		return error;
	error = take_private_region(account);
	return error < 0 ? error : prepare_region(account, name);
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
	account->map = &meter->map;
	account->hot = calloc(meter->options.handler_limit, sizeof(*account->hot));
	if (!account->hot) {
		free(account);
		return -ENOMEM;
	}
	clock_init(&account->clock);
	meter_lock();
	error = open_region(account, name);
	if (error == 0 && !account->private_memory)
		__atomic_fetch_add(&meter_map_header(&meter->map)->loop_count, 1, __ATOMIC_RELEASE);
	if (error == 0)
		meter->references++;
	meter_unlock();
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
