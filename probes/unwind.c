/* SPDX-License-Identifier: MIT */
#include "probes/unwind.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REGISTER_SP 7
#define REGISTER_PC 16

struct stint_unwinder {
	Dwfl *dwfl;
	pid_t pid;
	Elf *self; /* this program's file */
	int self_fd;
	/* Of the run under way. */
	const struct stint_unwind_regs *regs;
	const unsigned char *stack;
	size_t stack_bytes;
	struct stint_frame *frames;
	size_t frames_len;
	size_t frames_max;
	bool unknown_module;
	bool beyond_copy; /* memory was asked for that was not copied */
};

/* There is one thread: the one whose copy is being unwound. */
static pid_t next_thread(Dwfl *dwfl, void *ctx, void **thread_ctx)
{
	struct stint_unwinder *unwinder = ctx;

	(void)dwfl;
	if (*thread_ctx)
		return 0;
	*thread_ctx = unwinder;
	return unwinder->pid;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *ctx, void **thread_ctx)
{
	struct stint_unwinder *unwinder = ctx;

	(void)dwfl;
	*thread_ctx = unwinder;
	return tid == unwinder->pid;
}

/* Only the copied stack is memory: the thread has run on since, what is there now is not what was. */
static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *ctx)
{
	struct stint_unwinder *unwinder = ctx;
	uint64_t base = unwinder->regs->reg[REGISTER_SP];

	(void)dwfl;
	if (address < base || unwinder->stack_bytes < sizeof(*result) ||
	    address - base > unwinder->stack_bytes - sizeof(*result)) {
		unwinder->beyond_copy = true;
		return false;
	}
	memcpy(result, unwinder->stack + (address - base), sizeof(*result));
	return true;
}

static bool set_registers(Dwfl_Thread *thread, void *ctx)
{
	const struct stint_unwinder *unwinder = ctx;
	Dwarf_Word registers[STINT_UNWIND_REGISTERS];

	for (int i = 0; i < STINT_UNWIND_REGISTERS; i++)
		registers[i] = unwinder->regs->reg[i];
	dwfl_thread_state_register_pc(thread, registers[REGISTER_PC]);
	return dwfl_thread_state_registers(thread, 0, STINT_UNWIND_REGISTERS, registers);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = read_memory,
	.set_initial_registers = set_registers,
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* A return address may be the first one past its function: the call itself is what is looked up. */
static void name_frame(struct stint_unwinder *unwinder, struct stint_frame *frame, bool is_return)
{
	uint64_t at = frame->pc - (is_return ? 1 : 0);
	Dwfl_Module *module = dwfl_addrmodule(unwinder->dwfl, at);
	const char *name, *path;
	Dwarf_Addr start, end;
	GElf_Off offset;
	GElf_Sym symbol;

	frame->function_start = 0;
	path = module ? dwfl_module_info(module, NULL, &start, &end, NULL, NULL, NULL, NULL) : NULL;
	/* libdwfl takes the gap behind a module for a part of it. */
	if (!module || at >= end) {
		unwinder->unknown_module = true;
		snprintf(frame->name, sizeof(frame->name), "0x%" PRIx64, frame->pc);
		return;
	}
	name = dwfl_module_addrinfo(module, at, &offset, &symbol, NULL, NULL, NULL);
	if (name && (!symbol.st_size || offset < symbol.st_size)) {
		frame->function_start = at - offset;
		/* Without the symbol's version: "main", not "main@@GLIBC_2.34". */
		snprintf(frame->name, sizeof(frame->name), "%.*s", (int)strcspn(name, "@"), name);
		return;
	}
	snprintf(frame->name, sizeof(frame->name), "%s+0x%" PRIx64, path ? base_name(path) : "?", at - start);
}

static int take_frame(Dwfl_Frame *state, void *ctx)
{
	struct stint_unwinder *unwinder = ctx;
	struct stint_frame *frame;
	bool is_activation;
	Dwarf_Addr pc;

	if (!dwfl_frame_pc(state, &pc, &is_activation))
		return DWARF_CB_ABORT;
	if (unwinder->frames_len == unwinder->frames_max)
		return DWARF_CB_ABORT;
	frame = &unwinder->frames[unwinder->frames_len++];
	frame->pc = pc;
	name_frame(unwinder, frame, !is_activation);
	return DWARF_CB_OK;
}

static int report_modules(struct stint_unwinder *unwinder)
{
	int err;

	dwfl_report_begin(unwinder->dwfl);
	err = dwfl_linux_proc_report(unwinder->dwfl, unwinder->pid);
	if (dwfl_report_end(unwinder->dwfl, NULL, NULL) != 0 && !err)
		err = -1;
	return err > 0 ? -err : err < 0 ? -EIO : 0;
}

/*
 * Which registers there are, libdwfl takes from an ELF file; left to itself, from the first module that it finds,
 * whatever that is, and ends us by an assertion if it makes no sense of it. This program's own is of the right kind.
 */
static int attach(struct stint_unwinder *unwinder)
{
	if (elf_version(EV_CURRENT) == EV_NONE)
		return -EIO;
	unwinder->self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (unwinder->self_fd < 0)
		return -errno;
	unwinder->self = elf_begin(unwinder->self_fd, ELF_C_READ, NULL);
	if (!unwinder->self ||
	    !dwfl_attach_state(unwinder->dwfl, unwinder->self, unwinder->pid, &thread_callbacks, unwinder))
		return -EIO;
	return 0;
}

int stint_unwinder_new(struct stint_unwinder **ret, uint32_t pid)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_linux_proc_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
	};
	struct stint_unwinder *unwinder;
	int err;

#ifndef __x86_64__
	return -ENOTSUP;
#endif
	unwinder = calloc(1, sizeof(*unwinder));
	if (!unwinder)
		return -ENOMEM;
	unwinder->pid = (pid_t)pid;
	unwinder->self_fd = -1;
	unwinder->dwfl = dwfl_begin(&callbacks);
	if (!unwinder->dwfl) {
		free(unwinder);
		return -ENOMEM;
	}
	err = report_modules(unwinder);
	/* A process that is ending has no memory, so no auxiliary vector, and libdwfl calls that ENOEXEC. */
	if (err == -ENOENT || err == -ENOEXEC)
		err = -ESRCH;
	if (!err)
		err = attach(unwinder);
	if (err) {
		stint_unwinder_free(unwinder);
		return err;
	}
	*ret = unwinder;
	return 0;
}

struct stint_unwinder *stint_unwinder_free(struct stint_unwinder *unwinder)
{
	if (!unwinder)
		return NULL;
	dwfl_end(unwinder->dwfl);
	elf_end(unwinder->self);
	if (unwinder->self_fd >= 0)
		close(unwinder->self_fd);
	free(unwinder);
	return NULL;
}

static int unwind_once(struct stint_unwinder *unwinder)
{
	unwinder->frames_len = 0;
	unwinder->unknown_module = false;
	unwinder->beyond_copy = false;
	return dwfl_getthread_frames(unwinder->dwfl, unwinder->pid, take_frame, unwinder);
}

int stint_unwinder_run(struct stint_unwinder *unwinder, const struct stint_unwind_regs *regs,
		       const void *stack, size_t stack_bytes, struct stint_frame *frames, size_t frames_max,
		       bool *complete)
{
	int err;

	if (!unwinder || !regs || !frames || !frames_max || !complete)
		return -EINVAL;
	unwinder->regs = regs;
	unwinder->stack = stack;
	unwinder->stack_bytes = stack ? stack_bytes : 0;
	unwinder->frames = frames;
	unwinder->frames_max = frames_max;
	err = unwind_once(unwinder);
	/* A library that was loaded since: if its process is gone, what was known stays known. */
	if (unwinder->unknown_module && report_modules(unwinder) == 0)
		err = unwind_once(unwinder);
	/* To elfutils, a frame whose return address cannot be read is just the last one. */
	*complete = err == 0 && !unwinder->beyond_copy;
	return unwinder->frames_len ? (int)unwinder->frames_len : -ENODATA;
}
