/* SPDX-License-Identifier: MIT */

/* The parts of the verdict that need no eBPF: the split, the words for it, names of kernel functions and of JIT code. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "probes/convert.h"
#include "probes/descriptor_name.h"
#include "probes/kernel_symbols.h"
#include "probes/modules.h"
#include "probes/moment.h"
#include "probes/open_files.h"
#include "probes/perf_map.h"
#include "probes/steal.h"
#include "probes/verdict.h"

#define MS UINT64_C(1000000)

/* ---- the six parts ---- */

static uint64_t sum(const struct stint_probes_parts *parts)
{
	return parts->user_ns + parts->kernel_ns + parts->runnable_ns + parts->throttled_ns +
	       parts->blocked_ns + parts->stolen_ns;
}

static void the_six_parts_are_what_was_measured(void **state)
{
	static const struct record_overrun record = {
		.duration_ns = 100 * MS,
		.runnable_ns = 30 * MS,
		.blocked_ns = 20 * MS,
		.verdict = {.kernel_ns = 10 * MS, .throttled_ns = 25 * MS, .known = RECORD_KNOWS_THROTTLED},
	};
	struct stint_probes_parts parts;

	(void)state;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.user_ns, 40 * MS);
	assert_int_equal(parts.kernel_ns, 10 * MS);
	assert_int_equal(parts.runnable_ns, 5 * MS);
	assert_int_equal(parts.throttled_ns, 25 * MS);
	assert_int_equal(parts.blocked_ns, 20 * MS);
	assert_int_equal(parts.stolen_ns, 0);
	assert_true(parts.throttled_known);
	assert_false(parts.stolen_known);
	assert_int_equal(stint_verdict(&parts), STINT_PROBES_USER);
}

static void stolen_time_is_taken_from_the_time_on_the_cpu_in_proportion(void **state)
{
	static const struct record_overrun record = {
		.duration_ns = 100 * MS,
		.verdict = {.kernel_ns = 25 * MS, .stolen_ns = 40 * MS, .known = RECORD_KNOWS_STOLEN},
	};
	struct stint_probes_parts parts;

	(void)state;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.stolen_ns, 40 * MS);
	assert_int_equal(parts.kernel_ns, 15 * MS);
	assert_int_equal(parts.user_ns, 45 * MS);
}

static void samples_tell_what_of_the_rest_was_in_the_kernel(void **state)
{
	struct record_overrun record = {
		.duration_ns = 100 * MS,
		.verdict = {.kernel_ns = 20 * MS, .samples = 100, .kernel_samples = 60, .user_samples = 20},
	};
	struct stint_probes_parts parts;

	(void)state;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.kernel_sampled_ns, 60 * MS);
	assert_int_equal(parts.kernel_ns, 80 * MS);
	assert_int_equal(parts.user_ns, 20 * MS);
	record.verdict.kernel_samples = 3; /* too few to say anything */
	record.verdict.user_samples = 0;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.kernel_sampled_ns, 0);
	assert_int_equal(parts.user_ns, 80 * MS);
}

/* One sample in the kernel may be an interrupt that came by; amid thousands of page faults it is not. */
static void few_samples_do_where_there_were_many_page_faults(void **state)
{
	struct record_overrun record = {
		.duration_ns = 10 * MS,
		.verdict = {.samples = 2, .kernel_samples = 2, .minor_faults = 100},
	};
	struct stint_probes_parts parts;

	(void)state;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.user_ns, 10 * MS);
	record.verdict.minor_faults = 2000;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.kernel_sampled_ns, 10 * MS);
	record.verdict.kernel_samples = 1;
	record.verdict.user_samples = 1;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.kernel_sampled_ns, 5 * MS);
	record.verdict.kernel_samples = 0;
	record.verdict.user_samples = 0;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.user_ns, 10 * MS);
}

/* A huge page takes 0.1 ms and more to make: then one sample tells of what few faults there were. */
static void one_sample_does_if_it_fell_into_a_page_fault(void **state)
{
	struct record_overrun record = {
		.duration_ns = 2 * MS,
		.verdict = {.samples = 1, .kernel_samples = 1, .minor_faults = 4},
	};
	struct stint_probes_parts parts;

	(void)state;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.user_ns, 2 * MS);
	record.verdict.fault_samples = 1;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.kernel_sampled_ns, 2 * MS);
	record.verdict.user_samples = 1;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.kernel_sampled_ns, MS);
}

static bool wants_faults(struct stint_probes_parts parts, uint64_t faults)
{
	const struct stint_probes_overrun overrun = {.parts = parts, .minor_faults = faults};

	return stint_verdict_wants_faults(&overrun);
}

/* Many do, and few that take long: each may have to free memory first. */
static void page_faults_that_may_matter_are_to_be_timed(void **state)
{
	const struct stint_probes_parts in_user = {.user_ns = 10 * MS};
	const struct stint_probes_parts in_samples = {.user_ns = 6 * MS, .kernel_sampled_ns = 4 * MS};
	const struct stint_probes_parts in_faults = {.user_ns = 6 * MS, .faulted_ns = 4 * MS};

	(void)state;
	assert_true(wants_faults(in_user, 2000));
	assert_false(wants_faults(in_user, 100));
	assert_true(wants_faults(in_samples, 100));
	assert_true(wants_faults(in_faults, 100));
	assert_false(wants_faults(in_samples, 3)); /* they may be interrupts */
	assert_true(wants_faults(in_faults, 3));   /* they are known not to be, so it goes on */
}

static bool wants_faults_by_samples(uint32_t in_faults, uint32_t in_kernel, uint32_t in_user)
{
	const struct stint_probes_overrun overrun = {.parts = {.user_ns = 10 * MS},
						     .minor_faults = 4,
						     .fault_samples = in_faults,
						     .kernel_samples = in_kernel,
						     .user_samples = in_user};

	return stint_verdict_wants_faults(&overrun);
}

static void page_faults_that_samples_fell_into_are_to_be_timed(void **state)
{
	(void)state;
	assert_true(wants_faults_by_samples(1, 1, 0));
	assert_true(wants_faults_by_samples(1, 2, 1));
	assert_false(wants_faults_by_samples(1, 1, 9)); /* most of it was something else */
	assert_false(wants_faults_by_samples(0, 2, 0)); /* interrupts */
	assert_false(wants_faults_by_samples(0, 0, 0));
}

/* What was timed is not guessed at: the samples are of what is outside of it. */
static void page_faults_that_were_timed_are_no_matter_of_samples(void **state)
{
	struct record_overrun record = {
		.duration_ns = 10 * MS,
		.verdict = {.kernel_ns = 7 * MS,
			    .faulted_ns = 6 * MS,
			    .samples = 3,
			    .kernel_samples = 2,
			    .user_samples = 1,
			    .minor_faults = 2000},
	};
	struct stint_probes_parts parts;

	(void)state;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.user_ns, 3 * MS);
	assert_int_equal(parts.kernel_ns, 7 * MS);
	assert_int_equal(parts.faulted_ns, 6 * MS);
	assert_int_equal(parts.kernel_sampled_ns, 0);
	record.verdict.samples = 9;
	record.verdict.kernel_samples = 2;
	record.verdict.user_samples = 4;
	stint_verdict_parts(&parts, &record);
	assert_int_equal(parts.kernel_sampled_ns, 1 * MS);
	assert_int_equal(parts.faulted_ns, 6 * MS);
}

/* Whatever the figures are: no part is larger than what it is a part of, and the sum is the whole. */
static void the_parts_add_up_whatever_the_record_says(void **state)
{
	struct stint_probes_parts parts;

	(void)state;
	srand(7);
	for (int round = 0; round < 20000; round++) {
		uint64_t scale = UINT64_C(1) << (rand() % 40);
		struct record_overrun record = {
			.duration_ns = (uint64_t)rand() % scale,
			.runnable_ns = (uint64_t)rand() % scale,
			.blocked_ns = (uint64_t)rand() % scale,
			.verdict = {.kernel_ns = (uint64_t)rand() % scale,
				    .faulted_ns = (uint64_t)rand() % scale,
				    .minor_faults = (uint64_t)rand() % 1000,
				    .throttled_ns = (uint64_t)rand() % scale,
				    .stolen_ns = rand() % 2 ? (uint64_t)rand() % scale : 0,
				    .kernel_samples = (uint32_t)rand() % 50,
				    .fault_samples = (uint32_t)rand() % 2,
				    .user_samples = (uint32_t)rand() % 50},
		};

		stint_verdict_parts(&parts, &record);
		assert_int_equal(sum(&parts), record.duration_ns);
		assert_true(parts.runnable_ns + parts.throttled_ns <= record.runnable_ns);
		assert_true(parts.blocked_ns <= record.blocked_ns);
		assert_true(parts.stolen_ns <= record.verdict.stolen_ns);
		assert_true(parts.kernel_sampled_ns + parts.faulted_ns <= parts.kernel_ns);
		assert_true(stint_verdict_outside_ns(&parts) >= parts.user_ns);
		assert_true(stint_verdict_outside_ns(&parts) <= parts.user_ns + parts.kernel_ns);
	}
}

static void the_verdict_is_the_largest_part(void **state)
{
	(void)state;
	for (int i = STINT_PROBES_USER; i <= STINT_PROBES_STOLEN; i++) {
		struct stint_probes_parts parts = {.user_ns = 1,
						   .kernel_ns = 1,
						   .runnable_ns = 1,
						   .throttled_ns = 1,
						   .blocked_ns = 1,
						   .stolen_ns = 1};
		uint64_t *const each[] = {NULL,
					  &parts.user_ns,
					  &parts.kernel_ns,
					  &parts.runnable_ns,
					  &parts.throttled_ns,
					  &parts.blocked_ns,
					  &parts.stolen_ns};

		*each[i] = 2;
		assert_int_equal(stint_verdict(&parts), i);
		assert_int_equal(stint_verdict_ns(&parts, (enum stint_probes_verdict)i), 2);
	}
	assert_int_equal(stint_verdict(&(struct stint_probes_parts){0}), STINT_PROBES_VERDICT_UNKNOWN);
}

/* ---- the iteration ---- */

static void an_iteration_is_one_handler_or_many_or_the_system(void **state)
{
	static const struct stint_probes_parts own = {.user_ns = 10 * MS};
	static const struct stint_probes_parts kept = {.user_ns = 4 * MS,
						       .runnable_ns = 2 * MS,
						       .throttled_ns = 2 * MS,
						       .stolen_ns = 2 * MS};

	(void)state;
	assert_int_equal(stint_verdict_iteration(&own, 5, 5, 6 * MS), STINT_PROBES_ONE_HANDLER);
	assert_int_equal(stint_verdict_iteration(&own, 5, 5, 5 * MS), STINT_PROBES_MANY_HANDLERS);
	assert_int_equal(stint_verdict_iteration(&own, 1, 0, 0), STINT_PROBES_ONE_HANDLER);
	assert_int_equal(stint_verdict_iteration(&own, 5, 0, 10 * MS), STINT_PROBES_ITERATION_UNKNOWN);
	assert_int_equal(stint_verdict_iteration(&kept, 1, 1, 10 * MS), STINT_PROBES_SYSTEM);
	assert_int_equal(stint_verdict_iteration(&(struct stint_probes_parts){0}, 1, 1, 1),
			 STINT_PROBES_ITERATION_UNKNOWN);
}

/* Six descriptors were ready; the second was slow, the third is never used, the fourth and later wait. */
static void victims_are_those_that_came_after_the_slow_one(void **state)
{
	static struct record_overrun record = {
		.start_ns = 1000 * MS,
		.duration_ns = 10 * MS,
		.ready_events = 6,
		.touches_len = 5,
		.touches = {{0, 10}, {100, 11}, {9100, 13}, {9200, 14}, {9300, 15}},
	};
	static const int32_t fds[] = {10, 11, 12, 13, 14, 15};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 6);
	assert_int_equal(overrun.fd, 11);
	assert_int_equal(overrun.iteration, STINT_PROBES_ONE_HANDLER);
	assert_int_equal(overrun.victims, 4);
	assert_int_equal(overrun.victims_len, 4);
	assert_int_equal(overrun.victims_list[0].fd, 12);
	assert_int_equal(overrun.victims_list[0].wait_ns, 10 * MS);
	assert_int_equal(overrun.victims_list[1].fd, 15);
	assert_int_equal(overrun.victims_list[1].wait_ns, 9300 * MS / 1000);
	assert_int_equal(overrun.victims_list[3].fd, 13);
}

static void of_many_victims_those_that_waited_longest_are_kept(void **state)
{
	static struct record_overrun record = {.duration_ns = 50 * MS, .ready_events = 40, .touches_len = 40};
	struct stint_probes_overrun overrun;
	int32_t fds[40];

	(void)state;
	for (uint32_t i = 0; i < 40; i++) {
		fds[i] = (int32_t)i;
		record.touches[i] = (struct record_touch){i ? 40000 + i * 100 : 0, (int32_t)i};
	}
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 40);
	assert_int_equal(overrun.fd, 0);
	assert_int_equal(overrun.victims, 39);
	assert_int_equal(overrun.victims_len, STINT_PROBES_VICTIMS);
	for (uint32_t i = 0; i < STINT_PROBES_VICTIMS; i++)
		assert_int_equal(overrun.victims_list[i].fd, 39 - i);
}

static void rivals_are_in_order_of_their_time(void **state)
{
	static struct record_overrun record = {
		.duration_ns = 10 * MS,
		.verdict = {.rivals_len = 3,
			    .rivals = {{.duration_ns = 1, .pid = 1, .comm = "a"},
				       {.duration_ns = 3, .pid = 3, .comm = "0123456789abcdef"},
				       {.duration_ns = 2, .pid = 2, .comm = "b"}}},
	};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	assert_int_equal(overrun.rivals_len, 3);
	assert_int_equal(overrun.rivals[0].pid, 3);
	assert_string_equal(overrun.rivals[0].comm, "0123456789abcde");
	assert_int_equal(overrun.rivals[1].pid, 2);
	assert_int_equal(overrun.rivals[2].pid, 1);
	record.verdict.rivals_len = 4000;
	stint_convert_overrun(&overrun, &record);
	assert_int_equal(overrun.rivals_len, STINT_PROBES_RIVALS);
}

/* ---- names ---- */

/* A read from 100 to 200, in which it waited for a CPU, and a futex from 300 to 320, in which it was blocked. */
static const struct stint_probes_overrun read_and_futex = {
	.on_cpu_ns = 60,
	.blocked_ns = 18,
	.syscalls_len = 2,
	.syscalls = {{.start_ns = 100, .duration_ns = 100}, {.start_ns = 300, .duration_ns = 20}},
	.segments_len = 2,
	.segments = {{.off_ns = 130, .runnable_ns = 130, .on_ns = 190},
		     {.off_ns = 301, .runnable_ns = 319, .on_ns = 319}},
	.block = {.start_ns = 301, .duration_ns = 18, .in_syscall = true},
};

static void the_kernels_stack_of_a_block_continues_no_other_stack(void **state)
{
	struct stint_probes_overrun fault = {.block = {.start_ns = 301, .duration_ns = 18}};

	(void)state;
	assert_false(stint_moment_in_block(&read_and_futex, RECORD_STACK_BLOCKED, 200));
	assert_true(stint_moment_in_block(&read_and_futex, RECORD_STACK_BLOCKED, 320));
	assert_false(stint_moment_in_block(&read_and_futex, RECORD_STACK_COMPUTED, 310));
	assert_false(stint_moment_in_block(&read_and_futex, RECORD_STACK_FAULT, 301));
	assert_true(stint_moment_in_block(&fault, RECORD_STACK_FAULT, 301));
	assert_false(stint_moment_in_block(&fault, RECORD_STACK_FAULT, 250));
	fault.block.duration_ns = 0;
	assert_false(stint_moment_in_block(&fault, RECORD_STACK_FAULT, 301));
}

static void a_system_call_that_waited_for_a_cpu_was_not_blocked(void **state)
{
	struct stint_probes_overrun lost = read_and_futex;

	(void)state;
	assert_false(stint_moment_blocked(&read_and_futex, RECORD_STACK_BLOCKED, 200));
	assert_true(stint_moment_blocked(&read_and_futex, RECORD_STACK_BLOCKED, 320));
	assert_false(stint_moment_blocked(&read_and_futex, RECORD_STACK_COMPUTED, 320));
	assert_true(stint_moment_blocked(&read_and_futex, RECORD_STACK_FAULT, 250));
	lost.segments_lost = 1; /* then the whole iteration tells */
	assert_false(stint_moment_blocked(&lost, RECORD_STACK_BLOCKED, 320));
	lost.on_cpu_ns = 2;
	assert_true(stint_moment_blocked(&lost, RECORD_STACK_BLOCKED, 320));
}

static char temporary[] = "/tmp/stint-parts-XXXXXX";

static void write_temporary(const char *text)
{
	int fd;

	strcpy(temporary + strlen(temporary) - 6, "XXXXXX");
	fd = mkstemp(temporary);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void kernel_functions_have_their_names(void **state)
{
	static const __u64 timer[] = {0xffffffff81000010, 0xffffffff81001004, 0xffffffff81002001,
				      0xffffffff81003040};
	static const __u64 task[] = {0xffffffff81000010, 0xffffffff81004000};
	static const __u64 stopped[] = {0xffffffff81004000, 0xffffffff81005008};
	struct stint_kernel_symbols *symbols;
	const char *what;

	(void)state;
	write_temporary("ffffffff81002000 t hrtimer_wakeup\n"
			"ffffffff81000000 T try_to_wake_up\n"
			"ffffffff81001000 W default_wake_function\n"
			"rubbish\n"
			"0000000000000000 A fixed_percpu_data\n"
			"ffffffff81003030 t __pfx_asm_sysvec_apic_timer_interrupt\n"
			"ffffffff81003040 T asm_sysvec_apic_timer_interrupt\n"
			"ffffffff81003f00 D some_data\n"
			"ffffffff81004000 t futex_wake\t[a_module]\n"
			"ffffffff81005000 t do_signal_stop\n");
	assert_int_equal(stint_kernel_symbols_new(&symbols, temporary), 0);
	assert_string_equal(stint_kernel_symbol(symbols, 0xffffffff81002abc), "hrtimer_wakeup");
	assert_null(stint_kernel_symbol(symbols, 0xffffffff80ffffff));
	assert_null(stint_kernel_symbol(symbols, 0xffffffffc0000000));
	assert_true(stint_kernel_waker(symbols, timer, 4, &what));
	assert_string_equal(what, "hrtimer_wakeup");
	assert_false(stint_kernel_waker(symbols, task, 2, &what));
	assert_string_equal(what, "futex_wake");
	assert_false(stint_kernel_waker(symbols, task, 0, &what));
	assert_null(what);
	assert_string_equal(stint_kernel_stop(symbols, stopped, 2), "a stop by a signal");
	assert_null(stint_kernel_stop(symbols, task, 2));
	stint_kernel_symbols_free(symbols);
	unlink(temporary);
}

static void where_the_kernel_hides_its_addresses_there_are_no_names(void **state)
{
	struct stint_kernel_symbols *symbols;

	(void)state;
	write_temporary("0000000000000000 T try_to_wake_up\n");
	assert_int_equal(stint_kernel_symbols_new(&symbols, temporary), 0);
	assert_null(stint_kernel_symbol(symbols, 0xffffffff81002abc));
	unlink(temporary);
	assert_null(stint_kernel_symbols_free(symbols));
	assert_int_equal(stint_kernel_symbols_new(&symbols, "/no/such/file"), 0);
	assert_null(stint_kernel_symbol(symbols, 0xffffffff81002abc));
	stint_kernel_symbols_free(symbols);
}

static void lines_of_a_perf_map_are_parsed(void **state)
{
	static const char *const bad[] = {"",         "\n",      "12",       "12 30",
					  "12 30 \n", "x y z\n", "12 0 f\n", "ffffffffffffffff 10 f\n"};
	uint64_t start, bytes;
	char name[8];

	(void)state;
	assert_true(
		stint_perf_map_parse("7f10 20 JS:*busy /a b.js:1:2\n", &start, &bytes, name, sizeof(name)));
	assert_int_equal(start, 0x7f10);
	assert_int_equal(bytes, 0x20);
	assert_string_equal(name, "JS:*bus");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(stint_perf_map_parse(bad[i], &start, &bytes, name, sizeof(name)));
}

static FILE *own_map(char *path, size_t bytes)
{
	snprintf(path, bytes, "/tmp/perf-%d.map", getpid());
	return fopen(path, "we");
}

static void code_made_at_run_time_is_named_by_its_perf_map(void **state)
{
	struct stint_perf_map *map;
	uint64_t start = 0;
	char path[64];
	FILE *file = own_map(path, sizeof(path));

	(void)state;
	assert_non_null(file);
	fprintf(file, "1000 100 old\n2000 10 other\n1000 80 new\n3000 10 cut");
	fflush(file);
	assert_int_equal(stint_perf_map_new(&map, (uint32_t)getpid()), 0);
	assert_string_equal(stint_perf_map_find(map, 0x1010, &start), "new");
	assert_int_equal(start, 0x1000);
	assert_string_equal(stint_perf_map_find(map, 0x10f0, &start), "old");
	assert_null(stint_perf_map_find(map, 0x2010, &start));
	assert_null(stint_perf_map_find(map, 0x3001, &start));
	fprintf(file, " off\n");
	fclose(file);
	usleep(110000); /* it is looked at again after a tenth of a second */
	assert_string_equal(stint_perf_map_find(map, 0x3001, &start), "cut off");
	assert_null(stint_perf_map_free(map));
	unlink(path);
}

/* As `jcmd PID Compiler.perfmap` does. */
static void a_perf_map_that_is_written_anew_is_read_anew(void **state)
{
	struct stint_perf_map *map;
	uint64_t start = 0;
	char path[64];
	FILE *file = own_map(path, sizeof(path));

	(void)state;
	assert_non_null(file);
	fprintf(file, "1000 10 first\n2000 10 second\n");
	fclose(file);
	assert_int_equal(stint_perf_map_new(&map, (uint32_t)getpid()), 0);
	assert_string_equal(stint_perf_map_find(map, 0x2001, &start), "second");
	file = own_map(path, sizeof(path));
	assert_non_null(file);
	fprintf(file, "1000 10 firstly\n2000 10 secondly\n3000 10 thirdly\n");
	fclose(file);
	usleep(110000); /* it is looked at again after a tenth of a second */
	assert_string_equal(stint_perf_map_find(map, 0x3001, &start), "thirdly");
	assert_string_equal(stint_perf_map_find(map, 0x2001, &start), "secondly");
	stint_perf_map_free(map);
	unlink(path);
}

static void a_method_of_javas_has_its_name_without_its_types(void **state)
{
	static const char long_types[] =
		"1000 10 com.example.a.very.very.very.very.very.very.very.very.very."
		"very.very.very.very.long.package.Result[] com.example.Shop.sell(int,"
		" java.lang.String)\n";
	struct stint_perf_map *map;
	uint64_t start = 0;
	char path[64];
	FILE *file = own_map(path, sizeof(path));

	(void)state;
	assert_non_null(file);
	fprintf(file, "%s", long_types);
	fprintf(file, "2000 10 void [Shop] Shop.Till::Sell(int32)[Tier0]\n3000 10 Interpreter\n");
	fclose(file);
	assert_int_equal(stint_perf_map_new(&map, (uint32_t)getpid()), 0);
	assert_string_equal(stint_perf_map_find(map, 0x1001, &start), "com.example.Shop.sell()");
	assert_string_equal(stint_perf_map_find(map, 0x2001, &start),
			    "void [Shop] Shop.Till::Sell(int32)[Tier0]");
	assert_string_equal(stint_perf_map_find(map, 0x3001, &start), "Interpreter");
	stint_perf_map_free(map);
	unlink(path);
}

static void a_nul_in_a_perf_map_hides_none_of_what_follows(void **state)
{
	static const char lines[] = "1000 10 a\0b\n2000 10 after\n";
	struct stint_perf_map *map;
	uint64_t start = 0;
	char path[64];
	FILE *file = own_map(path, sizeof(path));

	(void)state;
	assert_non_null(file);
	assert_int_equal(fwrite(lines, 1, sizeof(lines) - 1, file), sizeof(lines) - 1);
	fclose(file);
	assert_int_equal(stint_perf_map_new(&map, (uint32_t)getpid()), 0);
	assert_string_equal(stint_perf_map_find(map, 0x2001, &start), "after");
	stint_perf_map_free(map);
	unlink(path);
}

static void a_perf_map_that_is_no_file_of_its_own_is_not_read(void **state)
{
	struct stint_perf_map *map;
	char path[64];
	uint64_t start;
	FILE *file = own_map(path, sizeof(path));

	(void)state;
	fclose(file);
	unlink(path);
	write_temporary("1000 100 secret\n");
	assert_int_equal(symlink(temporary, path), 0);
	assert_int_equal(stint_perf_map_new(&map, (uint32_t)getpid()), 0);
	assert_null(stint_perf_map_find(map, 0x1010, &start));
	stint_perf_map_free(map);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes to it: to open it would hang */
	assert_int_equal(stint_perf_map_new(&map, (uint32_t)getpid()), 0);
	assert_null(stint_perf_map_find(map, 0x1010, &start));
	stint_perf_map_free(map);
	unlink(path);
	unlink(temporary);
}

static void assert_named(struct stint_descriptors *descriptors, int fd, const char *name)
{
	char found[128];

	stint_descriptor_name(descriptors, fd, found, sizeof(found));
	assert_string_equal(found, name);
}

static void descriptors_are_named_as_what_they_are(void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), event = eventfd(0, EFD_CLOEXEC);
	struct stint_descriptors *descriptors;
	int ends[2], file;
	char name[64];

	(void)state;
	write_temporary("x");
	file = open(temporary, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(stint_descriptors_new(&descriptors, (uint32_t)getpid()), 0);
	snprintf(name, sizeof(name), "tcp 127.0.0.1:%u, listening", ntohs(address.sin_port));
	assert_named(descriptors, listener, name);
	assert_named(descriptors, event, "eventfd");
	assert_named(descriptors, ends[0], "pipe");
	assert_named(descriptors, file, temporary);
	assert_named(descriptors, 9999, "");
	assert_null(stint_descriptors_free(descriptors));
	close(listener);
	close(event);
	close(ends[0]);
	close(ends[1]);
	close(file);
	unlink(temporary);
}

static void a_table_of_sockets_is_good_for_as_long_as_it_is_dear(void **state)
{
	(void)state;
	assert_int_equal(stint_descriptors_rest_ns(200000), 20000000);
	assert_int_equal(stint_descriptors_rest_ns(10000000), 1000000000);
	assert_int_equal(stint_descriptors_rest_ns(UINT64_MAX), 1000000000);
}

static void what_no_epoll_set_takes_is_known(void **state)
{
	int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	    file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_true(stint_fd_is_file((uint32_t)getpid(), folder));
	assert_true(stint_fd_is_file((uint32_t)getpid(), file));
	assert_false(stint_fd_is_file((uint32_t)getpid(), ends[0]));
	close(file);
	close(folder);
	close(ends[0]);
	close(ends[1]);
	assert_false(stint_fd_is_file((uint32_t)getpid(), ends[0]));
}

/* This machine's own account of it: once some was stolen, the hypervisor is known to tell. */
static void whether_a_hypervisor_tells_is_known(void **state)
{
	FILE *file = fopen("/proc/stat", "re");
	uint64_t stolen = 0;

	(void)state;
	assert_non_null(file);
	assert_int_equal(fscanf(file, "cpu %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &stolen), 1);
	fclose(file);
	if (stolen)
		assert_true(stint_steal_is_told());
	else
		assert_in_range(stint_steal_is_told(), 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_six_parts_are_what_was_measured),
		cmocka_unit_test(stolen_time_is_taken_from_the_time_on_the_cpu_in_proportion),
		cmocka_unit_test(samples_tell_what_of_the_rest_was_in_the_kernel),
		cmocka_unit_test(few_samples_do_where_there_were_many_page_faults),
		cmocka_unit_test(page_faults_that_were_timed_are_no_matter_of_samples),
		cmocka_unit_test(one_sample_does_if_it_fell_into_a_page_fault),
		cmocka_unit_test(page_faults_that_may_matter_are_to_be_timed),
		cmocka_unit_test(page_faults_that_samples_fell_into_are_to_be_timed),
		cmocka_unit_test(the_parts_add_up_whatever_the_record_says),
		cmocka_unit_test(the_verdict_is_the_largest_part),
		cmocka_unit_test(an_iteration_is_one_handler_or_many_or_the_system),
		cmocka_unit_test(victims_are_those_that_came_after_the_slow_one),
		cmocka_unit_test(of_many_victims_those_that_waited_longest_are_kept),
		cmocka_unit_test(rivals_are_in_order_of_their_time),
		cmocka_unit_test(the_kernels_stack_of_a_block_continues_no_other_stack),
		cmocka_unit_test(a_system_call_that_waited_for_a_cpu_was_not_blocked),
		cmocka_unit_test(kernel_functions_have_their_names),
		cmocka_unit_test(where_the_kernel_hides_its_addresses_there_are_no_names),
		cmocka_unit_test(lines_of_a_perf_map_are_parsed),
		cmocka_unit_test(code_made_at_run_time_is_named_by_its_perf_map),
		cmocka_unit_test(a_perf_map_that_is_written_anew_is_read_anew),
		cmocka_unit_test(a_method_of_javas_has_its_name_without_its_types),
		cmocka_unit_test(a_nul_in_a_perf_map_hides_none_of_what_follows),
		cmocka_unit_test(a_perf_map_that_is_no_file_of_its_own_is_not_read),
		cmocka_unit_test(descriptors_are_named_as_what_they_are),
		cmocka_unit_test(a_table_of_sockets_is_good_for_as_long_as_it_is_dear),
		cmocka_unit_test(what_no_epoll_set_takes_is_known),
		cmocka_unit_test(whether_a_hypervisor_tells_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
