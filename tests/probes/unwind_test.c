/* SPDX-License-Identifier: MIT */

/* Copied stacks are unwound, here those of this very program. */

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/unwind.h"

/* ---- unwinding: this very program ---- */

/* glibc's: the stack pointer as the process began. */
extern void *__libc_stack_end;

struct captured {
	struct stint_unwind_regs regs;
	unsigned char stack[32768];
	size_t stack_bytes;
};

static void keep_registers(struct stint_unwind_regs *regs, const greg_t *from)
{
	static const int order[STINT_UNWIND_REGISTERS] = {
		REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
		REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP,
	};

	for (int i = 0; i < STINT_UNWIND_REGISTERS; i++)
		regs->reg[i] = (uint64_t)from[order[i]];
}

static __attribute__((noinline)) void capture(struct captured *captured, int depth)
{
	volatile unsigned char bytes[2048] = {0};
	ucontext_t context;
	size_t stack_bytes;

	bytes[depth] = 1;
	if (depth > 0) {
		capture(captured, depth - 1);
		bytes[0]++;
		return;
	}
	getcontext(&context);
	keep_registers(&captured->regs, context.uc_mcontext.gregs);
	/* To where the process began, and no further: beyond the top there is nothing. */
	stack_bytes = (size_t)((uintptr_t)__libc_stack_end + sizeof(uint64_t) - captured->regs.reg[7]);
	captured->stack_bytes = stack_bytes < sizeof(captured->stack) ? stack_bytes : sizeof(captured->stack);
	memcpy(captured->stack, (const void *)(uintptr_t)captured->regs.reg[7], captured->stack_bytes);
}

static struct stint_unwinder *own_unwinder(void)
{
	struct stint_unwinder *unwinder;

	assert_int_equal(stint_unwinder_new(&unwinder, NULL, (uint32_t)getpid()), 0);
	return unwinder;
}

static void a_copied_stack_is_unwound_with_names(void **state)
{
	static struct captured captured;
	static struct stint_frame frames[64];
	struct stint_unwinder *unwinder = own_unwinder();
	bool complete, has_test = false, has_library = false;
	int len;

	(void)state;
	capture(&captured, 3);
	len = stint_unwinder_run(unwinder, &captured.regs, captured.stack, captured.stack_bytes, frames, 64,
				 &complete);
	assert_true(len > 5);
	assert_true(complete);
	for (int i = 0; i < 4; i++) {
		assert_string_equal(frames[i].name, "capture");
		assert_int_equal(frames[i].function_start, frames[0].function_start);
		assert_true(frames[i].in_executable);
	}
	for (int i = 4; i < len; i++) {
		has_test |= strcmp(frames[i].name, __func__) == 0;
		has_library |= strncmp(frames[i].module, "libc", 4) == 0 && !frames[i].in_executable;
	}
	assert_true(has_test);
	assert_true(has_library);
	stint_unwinder_free(unwinder);
}

static void a_stack_that_is_cut_is_said_to_be(void **state)
{
	static struct captured captured;
	static struct stint_frame frames[64];
	struct stint_unwinder *unwinder = own_unwinder();
	bool complete = true;

	(void)state;
	capture(&captured, 3);
	assert_in_range(stint_unwinder_run(unwinder, &captured.regs, captured.stack, 3000, frames, 64,
					   &complete),
			1, 3);
	assert_false(complete);
	complete = true;
	assert_int_equal(stint_unwinder_run(unwinder, &captured.regs, captured.stack, 16384, frames, 2,
					    &complete),
			 2);
	assert_false(complete);
	complete = true;
	assert_int_equal(stint_unwinder_run(unwinder, &captured.regs, NULL, 0, frames, 64, &complete), 1);
	assert_false(complete);
	stint_unwinder_free(unwinder);
}

static const struct stint_frame *frame_at(struct stint_unwinder *unwinder, uint64_t pc)
{
	static struct stint_frame frame;
	struct stint_unwind_regs regs = {.reg[16] = pc};
	bool complete;

	assert_int_equal(stint_unwinder_run(unwinder, &regs, NULL, 0, &frame, 1, &complete), 1);
	return &frame;
}

static uint64_t map_code(void)
{
	int fd = memfd_create("code", MFD_CLOEXEC);
	void *mapped;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(mapped, MAP_FAILED);
	close(fd);
	return (uint64_t)(uintptr_t)mapped;
}

/* As Erlang's and .NET's does, so that it can be written to elsewhere than where it runs. */
static void code_made_at_run_time_may_be_in_a_file_without_a_name(void **state)
{
	uint64_t code = map_code();
	struct stint_unwinder *unwinder = own_unwinder();
	char expected[32], path[64];
	FILE *map;

	(void)state;
	snprintf(expected, sizeof(expected), "0x%" PRIx64, code + 16);
	assert_string_equal(frame_at(unwinder, code + 16)->name, expected);
	assert_string_equal(frame_at(unwinder, code + 16)->module, "");
	stint_unwinder_free(unwinder);
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	map = fopen(path, "we");
	assert_non_null(map);
	fprintf(map, "%" PRIx64 " 20 lists:map/2\n", code);
	fclose(map);
	unwinder = own_unwinder();
	assert_string_equal(frame_at(unwinder, code + 16)->name, "lists:map/2");
	assert_int_equal(frame_at(unwinder, code + 16)->function_start, code);
	stint_unwinder_free(unwinder);
	unlink(path);
	munmap((void *)(uintptr_t)code, 4096);
}

/* As Go's does, but that goes on with another stack before it asks for the time. */
static void ask_for_time(struct captured *captured) __asm__("runtime.nanotime1");

static __attribute__((noinline)) void ask_for_time(struct captured *captured)
{
	capture(captured, 0);
	__asm__ volatile(""); /* no tail call: it is to be in the stack */
}

static void a_stack_that_was_left_for_another_is_not_known_further_out(void **state)
{
	static struct captured captured;
	static struct stint_frame frames[64];
	struct stint_unwinder *unwinder = own_unwinder();
	void (*volatile ask)(struct captured *) = ask_for_time; /* so that the compiler makes no copy of it */
	bool complete = true;
	int len;

	(void)state;
	ask(&captured);
	len = stint_unwinder_run(unwinder, &captured.regs, captured.stack, captured.stack_bytes, frames, 64,
				 &complete);
	assert_true(len > 1);
	assert_string_equal(frames[len - 1].name, "runtime.nanotime1");
	assert_false(complete);
	stint_unwinder_free(unwinder);
}

/* As that of a greenlet does, whose first frame has the stack's canary where others have their caller. */
static void a_stack_ends_before_what_is_no_code(void **state)
{
	static struct captured captured;
	static struct stint_frame frames[64], before[64];
	struct stint_unwinder *unwinder = own_unwinder();
	const uint64_t canary = 0xd8cf19be7eb8d800;
	bool complete;
	size_t at = 0;

	(void)state;
	capture(&captured, 3);
	assert_in_range(stint_unwinder_run(unwinder, &captured.regs, captured.stack, captured.stack_bytes,
					   before, 64, &complete),
			6, 64);
	assert_true(complete);
	while (memcmp(captured.stack + at, &before[5].pc, sizeof(canary)) != 0)
		at += sizeof(canary);
	memcpy(captured.stack + at, &canary, sizeof(canary));
	assert_int_equal(stint_unwinder_run(unwinder, &captured.regs, captured.stack, captured.stack_bytes,
					    frames, 64, &complete),
			 5);
	assert_true(complete);
	assert_string_equal(frames[4].name, before[4].name);
	/* Of a copy that is cut before, that is not known. */
	stint_unwinder_run(unwinder, &captured.regs, captured.stack, at, frames, 64, &complete);
	assert_false(complete);
	stint_unwinder_free(unwinder);
}

static void a_stack_of_rubbish_is_no_stack(void **state)
{
	static unsigned char rubbish[16384];
	static struct stint_frame frames[256];
	struct stint_unwinder *unwinder = own_unwinder();
	struct stint_unwind_regs regs = {.absent = 0};
	bool complete;

	(void)state;
	srand(1);
	for (int round = 0; round < 50; round++) {
		int len;

		for (size_t i = 0; i < sizeof(rubbish); i++)
			rubbish[i] = (unsigned char)rand();
		memcpy(&regs, rubbish + round, sizeof(regs));
		if (round % 2)
			regs.reg[16] = (uint64_t)(uintptr_t)a_stack_of_rubbish_is_no_stack + 20;
		len = stint_unwinder_run(unwinder, &regs, rubbish, sizeof(rubbish), frames, 256, &complete);
		assert_true(len == -ENODATA || (len > 0 && len <= 256));
	}
	assert_int_equal(stint_unwinder_run(unwinder, NULL, rubbish, 1, frames, 256, &complete), -EINVAL);
	assert_int_equal(stint_unwinder_run(unwinder, &regs, rubbish, 1, frames, 0, &complete), -EINVAL);
	stint_unwinder_free(unwinder);
	assert_null(stint_unwinder_free(NULL));
}

/* ---- a twin of this program without symbols ---- */

#define TWIN "stripped"

static void frames_are_told_by_where_their_functions_begin(void **state)
{
	static struct captured captured;
	static struct stint_frame frames[64];
	struct stint_unwinder *unwinder = own_unwinder();
	bool complete;

	(void)state;
	capture(&captured, 3);
	assert_true(stint_unwinder_run(unwinder, &captured.regs, captured.stack, captured.stack_bytes, frames,
				       64, &complete) > 5);
	for (int i = 0; i < 5; i++) {
		assert_false(frames[i].has_symbol);
		assert_non_null(strstr(frames[i].name, "+0x"));
	}
	for (int i = 0; i < 4; i++) {
		assert_int_equal(frames[i].function_start, (uintptr_t)capture);
		assert_string_equal(frames[i].name, frames[0].name);
	}
	assert_int_equal(frames[4].function_start, (uintptr_t)frames_are_told_by_where_their_functions_begin);
	stint_unwinder_free(unwinder);
}

/* The twin's main() is this one's, and runs the test above. */
static void without_symbols_frames_are_told_by_where_their_functions_begin(void **state)
{
	char folder[] = "/tmp/stint-unwind-XXXXXX", command[512];
	int status;

	(void)state;
	if (getenv("STINT_KERNELS")) { /* which has no binutils, and it is no matter of kernels */
		print_message("no strip(1) in the emulated machine\n");
		skip();
	}
	assert_non_null(mkdtemp(folder));
	snprintf(command, sizeof(command), "strip -o %s/twin /proc/%d/exe && %s/twin " TWIN, folder,
		 (int)getpid(), folder);
	status = system(command);
	snprintf(command, sizeof(command), "%s/twin", folder);
	unlink(command);
	rmdir(folder);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_symbols_frames_are_told_by_where_their_functions_begin),
		cmocka_unit_test(a_copied_stack_is_unwound_with_names),
		cmocka_unit_test(a_stack_that_is_cut_is_said_to_be),
		cmocka_unit_test(code_made_at_run_time_may_be_in_a_file_without_a_name),
		cmocka_unit_test(a_stack_that_was_left_for_another_is_not_known_further_out),
		cmocka_unit_test(a_stack_ends_before_what_is_no_code),
		cmocka_unit_test(a_stack_of_rubbish_is_no_stack),
	};
	const struct CMUnitTest in_twin[] = {
		cmocka_unit_test(frames_are_told_by_where_their_functions_begin),
	};

	if (argc > 1 && strcmp(argv[1], TWIN) == 0)
		return cmocka_run_group_tests(in_twin, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
