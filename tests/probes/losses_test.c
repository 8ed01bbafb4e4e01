/* SPDX-License-Identifier: MIT */

/*
 * Records that get lost on their way, other than by a full ring (life_test.c): each is counted, and as what it is. The
 * test gets at the maps of its own process's probes by their names.
 */

#include <bpf/bpf.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bpf_ids.h"
#include "probes/records.h"
#include "probes/unpack.h"
#include "watching_fixture.h"

#define MS 1000000u

static void start(void)
{
	watching_or_skip();
	watching_open(&watching, NULL);
	subject_start_loops(&subject, "wait", "1");
	watching_add(&watching, subject.pid);
}

static struct stint_probes_losses losses(void)
{
	struct stint_probes_losses ret;

	stint_probes_losses(watching.probes, &ret);
	return ret;
}

/* How many overruns are told of those that the subject makes. */
static size_t make_overruns(int times)
{
	size_t before = watching_count(&watching, 2 * MS);

	for (int i = 0; i < times; i++)
		subject_do(&subject, 0, SUBJECT_BLOCK, 2 * MS);
	subject_until_state(subject_do(&subject, 0, SUBJECT_SYNC, 0).tid,
			    'S'); /* in its wait: all iterations are over */
	watching_take(&watching);
	return watching_count(&watching, 2 * MS) - before;
}

/* A descriptor of one of this process's maps, to be closed. */
static int open_map(const char *name, struct bpf_map_info *info)
{
	uint32_t ids[BPF_IDS_MAX];
	size_t len = bpf_ids(getpid(), "map_id", ids);

	for (size_t i = 0; i < len; i++) {
		uint32_t bytes = sizeof(*info);
		int fd = bpf_map_get_fd_by_id(ids[i]);

		memset(info, 0, sizeof(*info));
		if (fd >= 0 && bpf_obj_get_info_by_fd(fd, info, &bytes) == 0 && strcmp(info->name, name) == 0)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	fail_msg("there is no map '%s'", name);
	return -1;
}

/* ---- drafts: what records are put together in ---- */

/* Each begins with whether it is taken. */
static void set_drafts(uint32_t is_taken)
{
	struct bpf_map_info info;
	int map = open_map("drafts", &info);
	char *draft = malloc(info.value_size);

	assert_non_null(draft);
	for (uint32_t at = 0; at < info.max_entries; at++) {
		assert_int_equal(bpf_map_lookup_elem(map, &at, draft), 0);
		memcpy(draft, &is_taken, sizeof(is_taken));
		assert_int_equal(bpf_map_update_elem(map, &at, draft, BPF_ANY), 0);
	}
	free(draft);
	close(map);
}

static void what_is_lost_for_want_of_a_draft_is_no_full_ring(void **state)
{
	(void)state;
	start();
	assert_int_equal(make_overruns(1), 1);
	set_drafts(1);
	assert_int_equal(make_overruns(5), 0);
	set_drafts(0);
	assert_true(losses().no_draft >= 5);
	assert_int_equal(losses().ring_full, 0);
	assert_int_equal(make_overruns(2), 2);
}

/* ---- records that cannot be ---- */

#define INSN(op, dst, src, number) \
	((struct bpf_insn){.code = (uint8_t)(op), .dst_reg = dst, .src_reg = src, .imm = number})

/* The program that puts the first `bytes` of the only value of `from` into a ring, as stint's own do. */
static int load_sender(int ring, int from, uint32_t bytes)
{
	const struct bpf_insn program[] = {
		INSN(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, ring),
		INSN(0, 0, 0, 0),
		INSN(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_2, BPF_PSEUDO_MAP_VALUE, from),
		INSN(0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_3, 0, (int32_t)bytes),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_4, 0, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, BPF_FUNC_ringbuf_output),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0),
	};

	return bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "sender", "GPL", program,
			     sizeof(program) / sizeof(program[0]), NULL);
}

/* `record` has room for the longest record there is. */
static void send_record(const void *record, size_t bytes)
{
	struct bpf_test_run_opts options;
	struct bpf_map_info info;
	int ring = open_map("records", &info), program;
	int from = bpf_map_create(BPF_MAP_TYPE_ARRAY, "sent", 4, sizeof(struct record_stack), 1, NULL);
	uint32_t zero = 0;

	assert_true(from >= 0);
	assert_int_equal(bpf_map_update_elem(from, &zero, record, BPF_ANY), 0);
	program = load_sender(ring, from, (uint32_t)bytes);
	assert_true(program >= 0);
	memset(&options, 0, sizeof(options)); /* libbpf looks at the padding too */
	options.sz = sizeof(options);
	assert_int_equal(bpf_prog_test_run_opts(program, &options), 0);
	assert_int_equal(options.retval, 0);
	close(program);
	close(from);
	close(ring);
	watching_take(&watching);
}

static union {
	uint32_t type;
	struct record_overrun overrun; /* as far as its arrays */
	struct record_stack stack;     /* the longest there is */
} sent;

_Static_assert(sizeof(sent) == sizeof(struct record_stack), "the longest");

/* One of that type, of which all else is zero. */
static uint64_t refused_of(uint32_t type, size_t bytes)
{
	uint64_t before = losses().refused;

	memset(&sent, 0, sizeof(sent));
	sent.type = type;
	send_record(&sent, bytes);
	return losses().refused - before;
}

static void a_record_that_is_shorter_than_its_kind_is_counted(void **state)
{
	static const struct {
		enum record_type type;
		size_t bytes;
	} kinds[] = {
		{RECORD_OVERRUN, offsetof(struct record_overrun, syscalls)},
		{RECORD_STACK, offsetof(struct record_stack, stack)},
		{RECORD_STALL, sizeof(struct record_stall)},
		{RECORD_SOCKET, sizeof(struct record_socket)},
		{RECORD_EXIT, sizeof(struct record_exit)},
		{RECORD_EXEC, sizeof(struct record_exit)},
		{RECORD_JOINED, sizeof(struct record_exit)},
		{RECORD_WHY, sizeof(struct record_why)},
		{RECORD_ALARM, sizeof(struct record_alarm)},
		{RECORD_UNIX, sizeof(struct record_unix)},
		{RECORD_HANG, sizeof(struct record_hang)},
	};

	(void)state;
	start();
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		assert_int_equal(refused_of(kinds[i].type, kinds[i].bytes - 1), 1);
		assert_int_equal(refused_of(kinds[i].type, sizeof(uint32_t)), 1);
		assert_int_equal(refused_of(kinds[i].type, kinds[i].bytes), 0);
	}
	assert_int_equal(losses().ring_full, 0);
	assert_int_equal(make_overruns(2), 2);
}

static void a_record_of_no_kind_is_counted(void **state)
{
	(void)state;
	start();
	assert_int_equal(refused_of(0, 64), 1);
	assert_int_equal(refused_of(RECORD_HANG + 1, 1024), 1);
	assert_int_equal(refused_of(UINT32_MAX, 1024), 1);
	assert_int_equal(refused_of(RECORD_EXIT, 0), 1);
	assert_int_equal(refused_of(RECORD_EXIT, 3), 1);
	assert_int_equal(make_overruns(2), 2);
}

static uint64_t refused_as_it_is(size_t bytes)
{
	uint64_t before = losses().refused;

	send_record(&sent, bytes);
	return losses().refused - before;
}

static void a_record_that_says_lengths_that_cannot_be_is_counted(void **state)
{
	(void)state;
	start();
	memset(&sent, 0, sizeof(sent));
	sent.type = RECORD_OVERRUN;
	sent.overrun.syscalls_len = RECORD_SYSCALLS + 1;
	assert_int_equal(refused_as_it_is(sizeof(sent)), 1);
	sent.overrun.syscalls_len = 0;
	sent.overrun.marks_len = UINT32_MAX;
	assert_int_equal(refused_as_it_is(sizeof(sent)), 1);
	sent.overrun.marks_len = RECORD_MARKS;
	assert_int_equal(refused_as_it_is(offsetof(struct record_overrun, syscalls) + 64), 1);
	memset(&sent, 0, sizeof(sent));
	sent.type = RECORD_STACK;
	sent.stack.stack_bytes = RECORD_STACK_BYTES + 1;
	assert_int_equal(refused_as_it_is(sizeof(sent)), 1);
	sent.stack.stack_bytes = 100;
	assert_int_equal(refused_as_it_is(offsetof(struct record_stack, stack) + 99), 1);
	assert_int_equal(refused_as_it_is(offsetof(struct record_stack, stack) + 100), 0);
	assert_int_equal(make_overruns(2), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_lost_for_want_of_a_draft_is_no_full_ring,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_record_that_is_shorter_than_its_kind_is_counted,
						watching_set_up, watching_tear_down),
		cmocka_unit_test_setup_teardown(a_record_of_no_kind_is_counted, watching_set_up,
						watching_tear_down),
		cmocka_unit_test_setup_teardown(a_record_that_says_lengths_that_cannot_be_is_counted,
						watching_set_up, watching_tear_down),
	};

	return cmocka_run_group_tests_name("losses", tests, NULL, NULL);
}
