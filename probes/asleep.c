/* SPDX-License-Identifier: MIT */
#include "probes/asleep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#include "probes/proc_line.h"

#define PAGE_BYTES 4096u
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

/* Page by page: it may end anywhere. */
static int read_stack(struct record_stack *stack)
{
	struct iovec to = {.iov_base = stack->stack, .iov_len = sizeof(stack->stack)};
	struct iovec from[RECORD_STACK_BYTES / PAGE_BYTES + 1];
	uint64_t at = stack->sp, end = at + sizeof(stack->stack);
	unsigned len = 0;
	ssize_t bytes;

	while (at < end && len < sizeof(from) / sizeof(from[0])) {
		uint64_t next = (at / PAGE_BYTES + 1) * PAGE_BYTES;

		next = next < end ? next : end;
		from[len++] = (struct iovec){.iov_base = (void *)(uintptr_t)at, .iov_len = next - at};
		at = next;
	}
	bytes = process_vm_readv((pid_t)stack->pid, &to, 1, from, len, 0);
	if (bytes < 0)
		return -errno;
	stack->stack_bytes = (uint32_t)bytes;
	return 0;
}

int stint_asleep_read(struct record_stack *stack)
{
	int err = read_stack(stack);

	return err || sleeps_there(stack) ? err : -ESTALE;
}
