/* SPDX-License-Identifier: MIT */

/*
 * The meter's file is hostile input: it is written by a program under watch, as it likes. Each test damages a
 * real one, and the reader must say so or read on within bounds (the sanitizers watch), never crash.
 */

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "chance.h"
#include "loop_fixture.h"
#include "report/record/meter_reader.h"

struct seen {
	unsigned loops, blocks, histograms, stacks, overruns, sockets;
	uint64_t service_count;
	char last_handler[STINT_METER_NAME_BYTES];
};

static void see_loop(void *ctx, uint32_t loop, const struct stint_meter_file_loop *entry)
{
	struct seen *seen = ctx;

	(void)loop;
	assert_non_null(memchr(entry->name, '\0', sizeof(entry->name)));
	seen->loops++;
}

static void see_block(void *ctx, uint32_t loop, uint32_t handler,
		      const struct stint_meter_file_handler *entry, const struct meter_reader_block *block)
{
	struct seen *seen = ctx;

	(void)loop, (void)handler, (void)block;
	assert_non_null(memchr(entry->name, '\0', sizeof(entry->name)));
	memcpy(seen->last_handler, entry->name, sizeof(seen->last_handler));
	seen->blocks++;
}

static void see_histogram(void *ctx, uint32_t loop, int64_t handler,
			  const struct stint_meter_file_metric *metric,
			  const struct stint_histogram *histogram)
{
	struct seen *seen = ctx;

	(void)loop;
	if (handler >= 0 && strcmp(metric->name, "service") == 0)
		seen->service_count += histogram->count;
	seen->histograms++;
}

static void see_stack(void *ctx, uint32_t loop, const struct stint_meter_file_stack *stack)
{
	struct seen *seen = ctx;

	(void)loop;
	assert_true(stack->stack_bytes <= STINT_METER_STACK_BYTES);
	seen->stacks++;
}

static void see_overrun(void *ctx, uint32_t loop, const char *handler,
			const struct stint_meter_file_overrun *overrun)
{
	struct seen *seen = ctx;

	(void)loop, (void)handler, (void)overrun;
	seen->overruns++;
}

static void see_socket(void *ctx, uint32_t loop, const struct stint_meter_file_socket *moment)
{
	struct seen *seen = ctx;

	(void)loop, (void)moment;
	seen->sockets++;
}

static const struct meter_reader_visitor visitor = {see_loop,  see_block,   see_histogram,
						    see_stack, see_overrun, see_socket};

/* A copy of the file of a meter with one loop, two dispatches and one overrun; the test may damage it. */
static char path[128];
static struct stint_meter_file_header header;

static int make_file(void **state)
{
	struct stint_meter_loop *account;
	struct stint_meter *meter;
	/* Small: it is copied with its holes. */
	const struct stint_meter_options options = {.size = sizeof(options),
						    .handler_limit = 4,
						    .loop_limit = 2};
	const void *data;
	size_t bytes;
	int fd, slow;

	(void)state;
	assert_int_equal(stint_meter_new(&meter, &options), 0);
	assert_int_equal(stint_meter_loop_new(&account, meter, "main"), 0);
	slow = stint_meter_handler(meter, "slow", 1);
	for (int i = 0; i < 2; i++) {
		stint_meter_begin(account, (uint32_t)slow, -1);
		fixture_spin(MS); /* the clock may stand still, but not for so long */
		stint_meter_end(account);
	}
	data = stint_meter_data(meter, &bytes);
	header = *(const struct stint_meter_file_header *)data;
	snprintf(path, sizeof(path), "%s/copy", fixture_directory);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, bytes), (ssize_t)bytes);
	close(fd);
	stint_meter_loop_free(account);
	stint_meter_free(meter);
	return 0;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static void put(const void *bytes, size_t size, uint64_t offset)
{
	int fd = open(path, O_WRONLY);

	assert_int_equal(pwrite(fd, bytes, size, (off_t)offset), (ssize_t)size);
	close(fd);
}

#define PUT_HEADER(field, value)                                                                     \
	do {                                                                                         \
		__typeof__(header.field) put_value = (value);                                        \
		put(&put_value, sizeof(put_value), offsetof(struct stint_meter_file_header, field)); \
	} while (0)

#define PUT_LOOP(field, value)                                                              \
	do {                                                                                \
		__typeof__(((struct stint_meter_file_loop *)0)->field) put_value = (value); \
		put(&put_value, sizeof(put_value),                                          \
		    header.loops_offset + offsetof(struct stint_meter_file_loop, field));   \
	} while (0)

static int visit(struct seen *seen)
{
	struct meter_reader *reader;
	int err = meter_reader_open(&reader, path, NULL);

	memset(seen, 0, sizeof(*seen));
	if (err)
		return err;
	err = meter_reader_visit(reader, &visitor, seen);
	meter_reader_free(reader);
	return err;
}

static void what_the_meter_wrote_is_read(void **state)
{
	struct seen seen;

	(void)state;
	assert_int_equal(visit(&seen), 0);
	assert_int_equal(seen.loops, 1);
	assert_int_equal(seen.service_count, 2);
	assert_int_equal(seen.overruns, 2);
	assert_string_equal(seen.last_handler, "slow");
}

static void a_stack_that_says_it_is_longer_than_it_can_be_is_cut(void **state)
{
	const uint32_t bytes = UINT32_MAX;
	struct stint_meter_file_loop loop;
	struct seen seen;
	int fd = open(path, O_RDONLY);

	(void)state;
	assert_int_equal(pread(fd, &loop, sizeof(loop), (off_t)header.loops_offset), sizeof(loop));
	close(fd);
	put(&bytes, sizeof(bytes), loop.stacks_offset + offsetof(struct stint_meter_file_stack, stack_bytes));
	PUT_LOOP(stacks_written, 1);
	assert_int_equal(visit(&seen), 0); /* see_stack checks it */
	assert_int_equal(seen.stacks, 1);
}

static void a_ring_of_stacks_without_slots_is_refused(void **state)
{
	struct seen seen;

	(void)state;
	PUT_LOOP(stack_slots, 0);
	assert_int_equal(visit(&seen), -EPROTO);
	PUT_LOOP(stack_slots, UINT32_MAX);
	assert_int_equal(visit(&seen), -EPROTO);
}

static void a_foreign_file_is_refused(void **state)
{
	const char *why;
	struct meter_reader *reader;

	(void)state;
	PUT_HEADER(magic, 1);
	assert_int_equal(meter_reader_open(&reader, path, &why), -EPROTO);
	assert_string_equal(why, "it is not a meter's file");
}

static void another_version_is_refused(void **state)
{
	struct seen seen;

	(void)state;
	PUT_HEADER(version, 99);
	assert_int_equal(visit(&seen), -EPROTO);
}

static void a_file_cut_anywhere_is_survived(void **state)
{
	struct stat status;

	(void)state;
	assert_int_equal(stat(path, &status), 0);
	for (off_t bytes = status.st_size; bytes > 0; bytes -= bytes > 70000 ? 65521 : 997) {
		struct seen seen;

		assert_int_equal(truncate(path, bytes), 0);
		if (bytes < status.st_size)
			assert_int_equal(visit(&seen), -EPROTO);
	}
}

static void a_fifo_in_its_place_is_refused_without_waiting(void **state)
{
	struct seen seen;

	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_not_equal(visit(&seen), 0);
}

static void tables_beyond_the_file_are_refused(void **state)
{
	static const uint64_t offsets[] = {UINT64_MAX, UINT64_MAX - 4096, INT64_MAX, UINT64_C(1) << 40};
	struct seen seen;

	(void)state;
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		PUT_LOOP(blocks_offset, offsets[i]);
		assert_int_equal(visit(&seen), -EPROTO);
		PUT_LOOP(blocks_offset, 0);
		PUT_LOOP(block_stride, offsets[i]);
		assert_int_equal(visit(&seen), -EPROTO);
	}
	PUT_HEADER(loops_offset, UINT64_MAX - 8);
	assert_int_equal(visit(&seen), -EPROTO);
}

static void counts_beyond_their_tables_are_refused(void **state)
{
	struct seen seen;

	(void)state;
	PUT_HEADER(handler_count, UINT32_MAX);
	assert_int_equal(visit(&seen), -EPROTO);
	PUT_HEADER(handler_count, header.handler_count);
	PUT_HEADER(loop_count, UINT32_MAX);
	assert_int_equal(visit(&seen), -EPROTO);
	PUT_HEADER(loop_count, header.loop_count);
	PUT_HEADER(metric_count, UINT32_MAX);
	assert_int_equal(visit(&seen), -EPROTO);
}

static void rings_without_slots_are_refused(void **state)
{
	struct seen seen;

	(void)state;
	PUT_LOOP(overrun_slots, 0);
	assert_int_equal(visit(&seen), -EPROTO);
	PUT_LOOP(overrun_slots, UINT32_MAX);
	assert_int_equal(visit(&seen), -EPROTO);
}

static void a_ring_that_claims_more_than_it_holds_loses_the_rest(void **state)
{
	struct meter_reader *reader;
	struct seen seen = {0};

	(void)state;
	PUT_LOOP(overruns_written, 1000000);
	assert_int_equal(meter_reader_open(&reader, path, NULL), 0);
	(void)meter_reader_visit(reader, &visitor, &seen);
	assert_true(seen.overruns <= 1024);
	assert_int_equal(meter_reader_lost(reader) + seen.overruns, 1000000);
	meter_reader_free(reader);
}

/* As many loops and handlers as there may be, in a file that has memory for one loop and one block: all are the same. */
static void lay_all_over_the_first(void)
{
	struct stint_meter_file_loop loop;
	struct stat status;
	int fd = open(path, O_RDWR);
	uint64_t at;

	assert_int_equal(pread(fd, &loop, sizeof(loop), (off_t)header.loops_offset), sizeof(loop));
	assert_int_equal(fstat(fd, &status), 0);
	at = ((uint64_t)status.st_size + 4095) / 4096 * 4096;
	loop.block_stride = 0;
	loop.overruns_written = loop.overrun_slots;
	PUT_HEADER(loops_offset, at);
	PUT_HEADER(loop_stride, sizeof(loop));
	PUT_HEADER(loop_limit, 1024);
	PUT_HEADER(loop_count, 1024);
	for (int i = 0; i < 1024; i++, at += sizeof(loop))
		assert_int_equal(pwrite(fd, &loop, sizeof(loop), (off_t)at), sizeof(loop));
	PUT_HEADER(handlers_offset, at);
	PUT_HEADER(handler_limit, 65535);
	at += UINT64_C(65535) * header.handler_stride;
	PUT_HEADER(file_bytes, at);
	assert_int_equal(ftruncate(fd, (off_t)at), 0);
	close(fd);
}

static void a_file_that_says_it_is_huge_is_given_up(void **state)
{
	struct seen seen;

	(void)state;
	lay_all_over_the_first();
	PUT_HEADER(handler_count, 65535);
	assert_int_equal(visit(&seen), -EPROTO);
	assert_true(seen.histograms <= 65536);
}

static void a_file_of_empty_blocks_holds_nobody_up(void **state)
{
	const uint64_t unused = 0;
	struct stint_meter_file_loop loop;
	uint64_t cpu_ns = fixture_now_ns(CLOCK_THREAD_CPUTIME_ID);
	struct seen seen;
	int fd = open(path, O_RDONLY);

	(void)state;
	assert_int_equal(pread(fd, &loop, sizeof(loop), (off_t)header.loops_offset), sizeof(loop));
	close(fd);
	put(&unused, sizeof(unused), loop.blocks_offset + offsetof(struct stint_meter_file_block, used));
	lay_all_over_the_first();
	PUT_HEADER(handler_count, 65535);
	assert_int_equal(visit(&seen), -EPROTO);
	assert_true(fixture_now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns < 30 * S);
}

static void entries_of_rings_that_are_too_many_at_once_are_lost(void **state)
{
	struct meter_reader *reader;
	struct seen seen = {0};

	(void)state;
	lay_all_over_the_first();
	PUT_HEADER(handler_count, header.handler_count);
	assert_int_equal(meter_reader_open(&reader, path, NULL), 0);
	assert_int_equal(meter_reader_visit(reader, &visitor, &seen), 0);
	assert_true(seen.overruns <= 131072);
	assert_int_equal(meter_reader_lost(reader) + seen.overruns, 1024 * 1024);
	meter_reader_free(reader);
}

static void names_without_end_are_cut(void **state)
{
	char name[STINT_METER_NAME_BYTES];
	struct seen seen;

	(void)state;
	memset(name, 'x', sizeof(name));
	put(name, sizeof(name), header.loops_offset);
	put(name, sizeof(name), header.handlers_offset + header.handler_stride);
	assert_int_equal(visit(&seen), 0);
	assert_int_equal(strlen(seen.last_handler), STINT_METER_NAME_BYTES - 1);
}

/* Every aligned word of the header and of the first loop, set to what breaks arithmetic. */
static void any_word_of_it_may_be_wrong(void **state)
{
	static const uint64_t words[] = {0,          1,         UINT32_MAX,
					 UINT64_MAX, INT64_MAX, UINT64_C(0xfffffffffffff000)};
	struct meter_reader *reader;
	struct seen seen;

	(void)state;
	for (uint64_t at = 0; at < sizeof(header) + sizeof(struct stint_meter_file_loop); at += 8) {
		uint64_t offset = at < sizeof(header) ? at : header.loops_offset + at - sizeof(header);
		uint64_t before;
		int fd = open(path, O_RDONLY);

		assert_int_equal(pread(fd, &before, 8, (off_t)offset), 8);
		close(fd);
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
			put(&words[i], 8, offset);
			if (meter_reader_open(&reader, path, NULL) != 0)
				continue;
			(void)meter_reader_visit(reader, &visitor, &seen);
			(void)meter_reader_skip_rings(reader);
			meter_reader_free(reader);
		}
		put(&before, 8, offset);
	}
	assert_int_equal(visit(&seen), 0);
}

static void read_what_there_is(void)
{
	struct meter_reader *reader;
	struct seen seen = {0};

	if (meter_reader_open(&reader, path, NULL) != 0)
		return;
	for (int i = 0; i < 3; i++)
		(void)meter_reader_visit(reader, &visitor, &seen);
	(void)meter_reader_skip_rings(reader);
	meter_reader_free(reader);
}

/* Tables are mostly of small numbers: so are half of these. */
static void damage_at_random(int fd, off_t bytes)
{
	uint64_t word = one_in(2) ? below(2000) : next_random() >> below(64);
	off_t at = one_in(2) ? (off_t)(next_random() % 4096) : (off_t)(next_random() % (uint64_t)bytes);

	if (pwrite(fd, &word, 1u << below(4), at) < 0)
		fail_msg("%s", strerror(errno));
}

static void any_bytes_of_it_may_be_wrong(void **state)
{
	struct stat status;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	(void)state;
	begin_chance(20261125);
	assert_int_equal(fstat(fd, &status), 0);
	for (int i = 0; i < 1500; i++) {
		damage_at_random(fd, status.st_size);
		/* The head is what decides whether the rest is looked at. */
		if (i % 4)
			assert_int_equal(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
		read_what_there_is();
	}
	close(fd);
}

static volatile bool changed_enough;

static void *change_all_the_time(void *ctx)
{
	const off_t bytes = *(const off_t *)ctx;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	for (uint64_t i = 0; !changed_enough; i++) {
		damage_at_random(fd, bytes);
		if (i % 16 == 0 && (ftruncate(fd, bytes / 2) < 0 || ftruncate(fd, bytes) < 0))
			break;
		if (i % 2 && pwrite(fd, &header, sizeof(header), 0) < 0)
			break;
	}
	close(fd);
	return NULL;
}

/* Cut short, too, which would be SIGBUS for one who maps it. */
static void it_may_change_while_it_is_read(void **state)
{
	struct stat status;
	pthread_t writer;

	(void)state;
	begin_chance(20261125);
	assert_int_equal(stat(path, &status), 0);
	changed_enough = false;
	assert_int_equal(pthread_create(&writer, NULL, change_all_the_time, &status.st_size), 0);
	for (int i = 0; i < 1500; i++)
		read_what_there_is();
	changed_enough = true;
	pthread_join(writer, NULL);
}

static void a_process_without_a_meter_has_no_file(void **state)
{
	struct meter_reader *reader;

	(void)state;
	assert_int_equal(meter_reader_new(&reader, 1, NULL), -ENOENT);
}

static void the_file_of_an_earlier_process_of_that_pid_is_as_none(void **state)
{
	struct meter_reader *reader;
	char stale[128];

	(void)state;
	snprintf(stale, sizeof(stale), "%s/%d.meter", fixture_directory, (int)getpid());
	PUT_HEADER(process_start_ticks, 1);
	assert_int_equal(link(path, stale), 0);
	assert_int_equal(meter_reader_new(&reader, (uint32_t)getpid(), NULL), -ENOENT);
	unlink(stale);
}

/* Anybody may have made the directory in /tmp that this user's programs would make. */
static void the_file_of_another_user_is_as_none(void **state)
{
	struct meter_reader *reader;
	char own[128];
	int found, foreign, broken, fd;

	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: only root can give a file away\n");
		skip();
	}
	snprintf(own, sizeof(own), "%s/%d.meter", fixture_directory, (int)getpid());
	assert_int_equal(link(path, own), 0);
	fd = open(own, O_RDONLY);
	assert_int_equal(flock(fd, LOCK_EX), 0); /* as its process does: it is nobody's else */
	found = meter_reader_new(&reader, (uint32_t)getpid(), NULL);
	if (!found)
		meter_reader_free(reader);
	assert_int_equal(chown(path, 65534, 65534), 0);
	foreign = meter_reader_new(&reader, (uint32_t)getpid(), NULL);
	if (!foreign)
		meter_reader_free(reader);
	PUT_HEADER(magic, 1);
	broken = meter_reader_new(&reader, (uint32_t)getpid(), NULL);
	unlink(own);
	close(fd);
	assert_int_equal(found, 0);
	assert_int_equal(foreign, -ENOENT);
	assert_int_equal(broken, -ENOENT); /* so that it is looked for again */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_file, remove_file)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(what_the_meter_wrote_is_read),
		TEST(a_stack_that_says_it_is_longer_than_it_can_be_is_cut),
		TEST(a_ring_of_stacks_without_slots_is_refused),
		TEST(a_foreign_file_is_refused),
		TEST(another_version_is_refused),
		TEST(a_file_cut_anywhere_is_survived),
		TEST(a_fifo_in_its_place_is_refused_without_waiting),
		TEST(tables_beyond_the_file_are_refused),
		TEST(counts_beyond_their_tables_are_refused),
		TEST(rings_without_slots_are_refused),
		TEST(a_ring_that_claims_more_than_it_holds_loses_the_rest),
		TEST(a_file_that_says_it_is_huge_is_given_up),
		TEST(a_file_of_empty_blocks_holds_nobody_up),
		TEST(entries_of_rings_that_are_too_many_at_once_are_lost),
		TEST(names_without_end_are_cut),
		TEST(any_word_of_it_may_be_wrong),
		TEST(any_bytes_of_it_may_be_wrong),
		TEST(it_may_change_while_it_is_read),
		TEST(a_process_without_a_meter_has_no_file),
		TEST(the_file_of_an_earlier_process_of_that_pid_is_as_none),
		TEST(the_file_of_another_user_is_as_none),
	};

	return cmocka_run_group_tests_name("meter_reader", tests, fixture_make_directory,
					   fixture_remove_directory);
}
