/* SPDX-License-Identifier: MIT */
#include "probes/unwind.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "probes/demangle.h"
#include "probes/file_fault.h"
#include "probes/function_start.h"
#include "probes/go_names.h"
#include "probes/go_table.h"
#include "probes/image.h"
#include "probes/modules.h"
#include "probes/now.h"
#include "probes/perf_map.h"

#define REGISTER_SP   7
#define REGISTER_PC   16
#define PAGE_BYTES    4096
#define LOOK_AGAIN_NS 1000000000u
/* A symbol without a size covers this much, as functions in assembler are short; what is further is not in it. */
#define UNSIZED_BYTES 1024
/* Of larger files the lines are not looked up: reading theirs was seen to take seconds and hundreds of MB. */
#define LINES_FILE_BYTES (48 << 20)

struct stint_unwinder {
	struct stint_image *image;
	uint32_t pid;
	struct stint_perf_map *perf_map;
	uint64_t looked_ns; /* at what is mapped */
	bool looked_again;  /* since the beginning */
	/* Of the run under way. */
	const struct stint_unwind_regs *regs;
	const unsigned char *stack;
	size_t stack_bytes;
	struct stint_frame *frames;
	size_t frames_len;
	size_t frames_max;
	uint64_t caller_pc; /* of what has no frame; 0: libdwfl begins with the first there is */
	bool unknown_module;
	bool beyond_copy; /* memory was asked for that was not copied */
	bool has_ended;   /* where nobody returns to, all before that known */
	int err;
};

/* There is one thread: the one whose copy is being unwound. */
static pid_t next_thread(Dwfl *dwfl, void *ctx, void **thread_ctx)
{
	const struct stint_image *image = ctx;

	(void)dwfl;
	if (*thread_ctx)
		return 0;
	*thread_ctx = stint_image_user(image);
	return stint_image_pid(image);
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *ctx, void **thread_ctx)
{
	const struct stint_image *image = ctx;

	(void)dwfl;
	*thread_ctx = stint_image_user(image);
	return tid == stint_image_pid(image);
}

static bool is_absent(const struct stint_unwinder *unwinder, uint64_t address)
{
	uint64_t page = address / PAGE_BYTES - unwinder->regs->reg[REGISTER_SP] / PAGE_BYTES;

	return page < 32 && unwinder->regs->absent >> page & 1;
}

/* Only the copied stack is memory: the thread has run on since, what is there now is not what was. */
static bool read_stack(struct stint_unwinder *unwinder, uint64_t address, uint64_t *ret)
{
	uint64_t base = unwinder->regs->reg[REGISTER_SP];

	if (address < base || unwinder->stack_bytes < sizeof(*ret) ||
	    address - base > unwinder->stack_bytes - sizeof(*ret) || is_absent(unwinder, address)) {
		unwinder->beyond_copy = true;
		return false;
	}
	memcpy(ret, unwinder->stack + (address - base), sizeof(*ret));
	return true;
}

static bool read_memory(Dwfl *dwfl, Dwarf_Addr address, Dwarf_Word *result, void *ctx)
{
	(void)dwfl;
	return read_stack(stint_image_user(ctx), address, result);
}

static bool set_registers(Dwfl_Thread *thread, void *ctx)
{
	const struct stint_unwinder *unwinder = ctx;
	Dwarf_Word registers[STINT_UNWIND_REGISTERS];

	for (int i = 0; i < STINT_UNWIND_REGISTERS; i++)
		registers[i] = unwinder->regs->reg[i];
	if (unwinder->caller_pc) {
		registers[REGISTER_PC] = unwinder->caller_pc;
		registers[REGISTER_SP] += sizeof(unwinder->caller_pc);
	}
	dwfl_thread_state_register_pc(thread, registers[REGISTER_PC]);
	return dwfl_thread_state_registers(thread, 0, STINT_UNWIND_REGISTERS, registers);
}

static const Dwfl_Thread_Callbacks thread_callbacks = {
	.next_thread = next_thread,
	.get_thread = get_thread,
	.memory_read = read_memory,
	.set_initial_registers = set_registers,
};

/* What was made at run time belongs to no file. False if that is not known either. */
static bool name_outside(struct stint_unwinder *unwinder, struct stint_frame *frame, uint64_t at)
{
	const char *name = stint_perf_map_find(unwinder->perf_map, at, &frame->function_start);

	if (name)
		snprintf(frame->name, sizeof(frame->name), "%s", name);
	else
		snprintf(frame->name, sizeof(frame->name), "0x%" PRIx64, frame->pc);
	frame->has_symbol = name != NULL;
	return frame->has_symbol;
}

/* Its lines help nobody, and reading them took 16 MB, where its debug information is installed. */
static bool is_c_library(const char *name)
{
	return strncmp(name, "libc.so.", 8) == 0 || strncmp(name, "ld-linux", 8) == 0;
}

static bool has_short_file(Dwfl_Module *module)
{
	struct stat status;
	const char *main_file, *debug_file;

	dwfl_module_info(module, NULL, NULL, NULL, NULL, NULL, &main_file, &debug_file);
	if (debug_file)
		main_file = debug_file;
	return main_file && stat(main_file, &status) == 0 && status.st_size <= LINES_FILE_BYTES;
}

/* The last two parts of the path tell a file well enough. */
static void write_line(struct stint_frame *frame, const char *path, uint32_t line)
{
	for (const char *end = stint_module_base_name(path) - 1; end > path; end--) {
		if (end[-1] != '/')
			continue;
		path = end;
		break;
	}
	snprintf(frame->file, sizeof(frame->file), "%s", path);
	frame->line = line;
}

static void find_line(Dwfl_Module *module, uint64_t at, struct stint_frame *frame)
{
	bool wanted = !is_c_library(frame->module) && has_short_file(module);
	Dwfl_Line *found = wanted ? dwfl_module_getsrc(module, at) : NULL;
	const char *path;
	int line = 0;

	path = found ? dwfl_lineinfo(found, NULL, &line, NULL, NULL, NULL) : NULL;
	if (!path || line <= 0)
		return;
	write_line(frame, path, (uint32_t)line);
}

/*
 * Memory that is shared with nobody, as a rule: Erlang and .NET map the code that they make twice, so that it can be
 * written to elsewhere than where it runs.
 */
static bool has_no_name(const char *path)
{
	return path && (strncmp(path, "/memfd:", 7) == 0 || strncmp(path, "/dev/zero", 9) == 0);
}

/*
 * Whether an address is in what the module's file asked to be loaded. libdwfl takes all between the first and the last
 * mapping of a file for its module, and a program may map its own file again far away, as V8 does beside its JIT code.
 */
static bool is_loaded(Dwfl_Module *module, const char *path, uint64_t at)
{
	GElf_Addr bias;
	Elf *elf = dwfl_module_getelf(module, &bias);
	GElf_Phdr header;
	size_t count;

	if (!elf && has_no_name(path))
		return false;
	if (!elf || elf_getphdrnum(elf, &count) != 0)
		return true; /* all that is known is its place */
	for (size_t i = 0; i < count; i++)
		if (gelf_getphdr(elf, (int)i, &header) && header.p_type == PT_LOAD &&
		    at - bias >= header.p_vaddr && at - bias - header.p_vaddr < header.p_memsz)
			return true;
	return false;
}

static void name_by_place(Dwfl_Module *module, uint64_t module_start, struct stint_frame *frame, uint64_t at)
{
	if (stint_function_start(module, at, &frame->function_start))
		at = frame->function_start;
	snprintf(frame->name, sizeof(frame->name), "%s+0x%" PRIx64, frame->module, at - module_start);
}

/* A program in Go without symbols. */
static bool name_by_go(Dwfl_Module *module, struct stint_frame *frame, uint64_t at)
{
	struct stint_go_function function;
	GElf_Addr bias;
	Elf *elf = dwfl_module_getelf(module, &bias);

	if (!stint_go_function(elf, at - bias, &function))
		return false;
	snprintf(frame->name, sizeof(frame->name), "%s", function.name);
	if (function.file)
		write_line(frame, function.file, function.line);
	frame->function_start = bias + function.start;
	frame->has_symbol = true;
	return true;
}

static void find_name(struct stint_unwinder *unwinder, struct stint_frame *frame, uint64_t at)
{
	Dwfl_Module *module = dwfl_addrmodule(stint_image_dwfl(unwinder->image), at);
	const char *name, *path;
	Dwarf_Addr start, end;
	GElf_Off offset;
	GElf_Sym symbol;

	memset(frame->name, 0, sizeof(*frame) - offsetof(struct stint_frame, name));
	frame->function_start = 0;
	frame->has_symbol = false;
	path = module ? dwfl_module_info(module, NULL, &start, &end, NULL, NULL, NULL, NULL) : NULL;
	/* libdwfl takes the gap behind a module for a part of it. */
	if (!module || at >= end || !is_loaded(module, path, at)) {
		unwinder->unknown_module |= !name_outside(unwinder, frame, at);
		return;
	}
	frame->in_executable = path && stint_image_is_executable(unwinder->image, path);
	path = path ? stint_image_file_name(unwinder->image, path) : "?";
	snprintf(frame->module, sizeof(frame->module), "%.*s", (int)stint_module_path_len(path), path);
	name = dwfl_module_addrinfo(module, at, &offset, &symbol, NULL, NULL, NULL);
	if (!name || offset >= (symbol.st_size ? symbol.st_size : UNSIZED_BYTES)) {
		if (!name_by_go(module, frame, at))
			name_by_place(module, start, frame, at);
		return;
	}
	frame->has_symbol = true;
	frame->function_start = at - offset;
	/* Without the symbol's version: "main", not "main@@GLIBC_2.34". */
	stint_demangle(frame->name, sizeof(frame->name), name, strcspn(name, "@"));
	find_line(module, at, frame);
}

/* A return address may be the first one past its function: the call itself is what is looked up. */
static void name_frame(struct stint_unwinder *unwinder, struct stint_frame *frame, bool is_return)
{
	uint64_t at = frame->pc - (is_return ? 1 : 0), pc = frame->pc;
	const struct stint_frame *kept = stint_image_kept(unwinder->image, at);

	if (kept) {
		*frame = *kept;
		frame->pc = pc;
		return;
	}
	find_name(unwinder, frame, at);
	/* What belongs to no module is named by a file that changes. */
	if (*frame->module)
		stint_image_keep(unwinder->image, at, frame);
}

static bool add_frame(struct stint_unwinder *unwinder, uint64_t pc, bool is_return)
{
	struct stint_frame *frame;

	if (unwinder->frames_len == unwinder->frames_max)
		return false;
	frame = &unwinder->frames[unwinder->frames_len++];
	frame->pc = pc;
	name_frame(unwinder, frame, is_return);
	return true;
}

/*
 * No code of a program's is there, on no machine with 48 or 57 bits of address. A stack that libraries have put together,
 * as greenlet's, ends where nobody returns to, and what lies there is no return address: a canary, as a rule.
 */
#define PC_MIN 0x1000
#define PC_END (UINT64_C(1) << 56)

static bool is_no_code(uint64_t pc)
{
	return pc < PC_MIN || pc >= PC_END;
}

/* `any`: whether its module has any frame information at all. */
static bool has_frame(struct stint_unwinder *unwinder, uint64_t pc, bool *any)
{
	Dwfl_Module *module = dwfl_addrmodule(stint_image_dwfl(unwinder->image), pc);
	Dwarf_Addr bias;
	Dwarf_CFI *cfi = module ? dwfl_module_eh_cfi(module, &bias) : NULL;
	Dwarf_Frame *frame = NULL;
	bool found = cfi && dwarf_cfi_addrframe(cfi, pc - bias, &frame) == 0;

	free(frame);
	*any = cfi != NULL;
	return found;
}

/* Without frame information, its caller was a guess, and the stack may well go on. */
static bool last_has_frame(struct stint_unwinder *unwinder)
{
	size_t last = unwinder->frames_len - 1;
	bool any;

	return has_frame(unwinder, unwinder->frames[last].pc - (last ? 1 : 0), &any);
}

static bool begins_stack(const struct stint_frame *frame)
{
	return frame->in_executable && frame->has_symbol && stint_go_begins_stack(frame->name);
}

/* What its frame information takes for its caller is none. */
static bool left_stack(const struct stint_unwinder *unwinder)
{
	const struct stint_frame *last = &unwinder->frames[unwinder->frames_len - 1];

	return unwinder->frames_len > 1 && last->in_executable && last->has_symbol &&
	       stint_go_changes_stack(last->name);
}

static int take_frame(Dwfl_Frame *state, void *ctx)
{
	struct stint_unwinder *unwinder = ctx;
	bool is_activation, beyond_copy = unwinder->beyond_copy;
	Dwarf_Addr pc;

	/* That looks for a caller at once, even of what is no code. */
	if (!dwfl_frame_pc(state, &pc, &is_activation))
		return DWARF_CB_ABORT;
	if (unwinder->frames_len && is_no_code(pc)) {
		unwinder->has_ended = !beyond_copy && last_has_frame(unwinder);
		return DWARF_CB_ABORT;
	}
	if (!add_frame(unwinder, pc, !is_activation || unwinder->caller_pc))
		return DWARF_CB_ABORT;
	unwinder->has_ended = begins_stack(&unwinder->frames[unwinder->frames_len - 1]);
	return unwinder->has_ended || left_stack(unwinder) ? DWARF_CB_ABORT : DWARF_CB_OK;
}

/*
 * Who has called what is without a frame, 0: libdwfl is to find out. The frame information of libc's clone() and clone3()
 * ends before their system call, since that returns twice, and posix_spawn() waits in it until the child is another
 * program. They have nothing on the stack but where they return to, and that has frame information.
 */
static uint64_t caller_of_frameless(struct stint_unwinder *unwinder)
{
	const uint64_t *reg = unwinder->regs->reg;
	Dwarf_Word caller;
	bool any;

	if (has_frame(unwinder, reg[REGISTER_PC], &any) || !any ||
	    !read_stack(unwinder, reg[REGISTER_SP], &caller))
		return 0;
	return has_frame(unwinder, caller, &any) ? caller : 0;
}

int stint_unwinder_new(struct stint_unwinder **ret, struct stint_images *images, uint32_t pid)
{
	struct stint_unwinder *unwinder;
	int err;

#ifndef __x86_64__
	return -ENOTSUP;
#endif
	unwinder = calloc(1, sizeof(*unwinder));
	if (!unwinder)
		return -ENOMEM;
	unwinder->pid = pid;
	unwinder->looked_ns = stint_now_ns();
	err = stint_perf_map_new(&unwinder->perf_map, pid);
	if (!err)
		err = stint_image_get(&unwinder->image, images, pid, &thread_callbacks);
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
	stint_image_release(unwinder->image, unwinder->pid);
	stint_perf_map_free(unwinder->perf_map);
	free(unwinder);
	return NULL;
}

static bool may_look_again(struct stint_unwinder *unwinder)
{
	if (!unwinder->looked_again) {
		unwinder->looked_again = true;
		return true;
	}
	return stint_now_ns() - unwinder->looked_ns > LOOK_AGAIN_NS;
}

static void unwind_once(struct stint_unwinder *unwinder)
{
	unwinder->frames_len = 0;
	unwinder->unknown_module = false;
	unwinder->beyond_copy = false;
	unwinder->has_ended = false;
	unwinder->caller_pc = caller_of_frameless(unwinder);
	if (unwinder->caller_pc)
		add_frame(unwinder, unwinder->regs->reg[REGISTER_PC], false);
	unwinder->err = dwfl_getthread_frames(stint_image_dwfl(unwinder->image),
					      stint_image_pid(unwinder->image), take_frame, unwinder);
}

static bool look_again(struct stint_unwinder *unwinder)
{
	unwinder->looked_ns = stint_now_ns();
	if (!stint_image_refresh(&unwinder->image, unwinder->pid))
		return false;
	stint_image_use(unwinder->image, unwinder->pid, unwinder);
	return true;
}

static void unwind(void *ctx)
{
	struct stint_unwinder *unwinder = ctx;

	unwind_once(unwinder);
	/*
	 * A library that was loaded since: if its process is gone, what was known stays known. Code made at run time is in
	 * no module ever, so this is not tried all the time.
	 */
	if (unwinder->unknown_module && may_look_again(unwinder) && look_again(unwinder))
		unwind_once(unwinder);
}

int stint_unwinder_run(struct stint_unwinder *unwinder, const struct stint_unwind_regs *regs,
		       const void *stack, size_t stack_bytes, struct stint_frame *frames, size_t frames_max,
		       bool *complete)
{
	if (!unwinder || !regs || !frames || !frames_max || !complete)
		return -EINVAL;
	*complete = false;
	if (!stint_image_dwfl(unwinder->image))
		return -ENODATA;
	stint_image_use(unwinder->image, unwinder->pid, unwinder);
	unwinder->regs = regs;
	unwinder->stack = stack;
	unwinder->stack_bytes = stack ? stack_bytes : 0;
	unwinder->frames = frames;
	unwinder->frames_max = frames_max;
	if (!stint_file_fault_guard(unwind, unwinder)) {
		stint_image_lose(unwinder->image);
		return -ENODATA;
	}
	/* To elfutils, a frame whose return address cannot be read is just the last one. */
	*complete = unwinder->has_ended || (unwinder->err == 0 && !unwinder->beyond_copy);
	return unwinder->frames_len ? (int)unwinder->frames_len : -ENODATA;
}

struct naming {
	Dwfl *dwfl;
	uint64_t address;
	char variable[STINT_FRAME_NAME_BYTES];
};

static void name_variable(void *ctx)
{
	struct naming *naming = ctx;
	Dwfl_Module *module = dwfl_addrmodule(naming->dwfl, naming->address);
	const char *name = NULL;
	GElf_Off offset;
	GElf_Sym symbol;

	if (module)
		name = dwfl_module_addrinfo(module, naming->address, &offset, &symbol, NULL, NULL, NULL);
	if (name && offset < symbol.st_size)
		snprintf(naming->variable, sizeof(naming->variable), "%.*s", (int)strcspn(name, "@"), name);
}

void stint_unwinder_name(struct stint_unwinder *unwinder, uint64_t address, const char *before, char *ret,
			 size_t ret_bytes)
{
	struct naming naming = {.dwfl = stint_image_dwfl(unwinder->image), .address = address};

	stint_image_use(unwinder->image, unwinder->pid, unwinder);
	if (naming.dwfl && !stint_file_fault_guard(name_variable, &naming))
		stint_image_lose(unwinder->image);
	if (*naming.variable)
		snprintf(ret, ret_bytes, "%sat 0x%" PRIx64 " (%s)", before, address, naming.variable);
	else
		snprintf(ret, ret_bytes, "%sat 0x%" PRIx64, before, address);
}
