/* SPDX-License-Identifier: MIT */
#include "probes/asleep.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "probes/live_thread.h"
#include "probes/proc_line.h"

#define PATIENCE_S 1
#define REG_SP     7
#define REG_IP     16

/* "NUMBER ARGUMENTS SP PC", or "-1 SP PC" in no system call, or "running". */
static bool sleeps_there(const struct record_stack *stack)
{
	char path[64], line[256], expected[64];
	const char *found;
	size_t len, line_len;

	snprintf(path, sizeof(path), "/proc/%u/task/%u/syscall", stack->pid, stack->tid);
	if (!stint_proc_line(line, sizeof(line), path))
		return false;
	len = (size_t)snprintf(expected, sizeof(expected), " 0x%" PRIx64 " 0x%" PRIx64 "\n",
			       (uint64_t)stack->reg[REG_SP], (uint64_t)stack->reg[REG_IP]);
	line_len = strlen(line);
	found = line_len >= len ? line + line_len - len : NULL;
	return found && strcmp(found, expected) == 0;
}

struct reading {
	uint32_t pid;
	uint64_t sp;
	ssize_t bytes; /* or a negative errno */
	unsigned char stack[RECORD_STACK_BYTES];
};

/* As far as there is memory: it may end anywhere. By this file, as process_vm_readv() cannot be killed while it waits. */
static void *read_memory(void *ctx)
{
	struct reading *reading = ctx;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/mem", stint_live_thread(reading->pid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	reading->bytes = fd < 0 ? -1 : pread(fd, reading->stack, sizeof(reading->stack), (off_t)reading->sp);
	if (reading->bytes < 0)
		reading->bytes = -errno;
	if (fd >= 0)
		close(fd);
	return NULL;
}

/* Gives the thread up, with its reading, if that takes too long: -ETIMEDOUT. It ends with this process at the latest. */
static int wait_for(pthread_t thread)
{
	struct timespec end;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += PATIENCE_S;
	err = pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &end);
	if (err)
		pthread_detach(thread);
	return -err;
}

static int read_stack(struct record_stack *stack)
{
	struct reading *reading = calloc(1, sizeof(*reading));
	pthread_t thread;
	int err;

	if (!reading)
		return -ENOMEM;
	reading->pid = stack->pid;
	reading->sp = stack->sp;
	err = -pthread_create(&thread, NULL, read_memory, reading);
	if (!err) {
		err = wait_for(thread);
		if (err)
			return err;
		err = reading->bytes < 0 ? (int)reading->bytes : 0;
	}
	if (!err) {
		memcpy(stack->stack, reading->stack, (size_t)reading->bytes);
		stack->stack_bytes = (uint32_t)reading->bytes;
	}
	free(reading);
	return err;
}

int stint_asleep_read(struct record_stack *stack)
{
	int err = read_stack(stack);

	return err || sleeps_there(stack) ? err : -ESTALE;
}
