/* SPDX-License-Identifier: MIT */
#include "loop_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define CHUNK      65536u
#define FILE_BYTES (10 * CHUNK + 1234)

static struct stint_loop *loop;
static struct stint_meter *meter;
static struct stint_pool *pool;
static uint32_t handler;
static char path[128];
static uint8_t model[FILE_BYTES];
static int descriptors;

static int count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static int open_loop(void **state)
{
	struct stint_pool_options options = {.size = sizeof(options), .threads = 1};

	(void)state;
	descriptors = count_descriptors();
	if (stint_meter_new(&meter, NULL) < 0 || stint_loop_new(&loop, NULL) < 0 ||
	    stint_pool_new(&pool, &options) < 0)
		return -1;
	handler = (uint32_t)stint_loop_handler(loop, "file", 0);
	snprintf(path, sizeof(path), "%s/data", fixture_directory);
	return 0;
}

/* No test may leave a descriptor open. */
static int close_loop(void **state)
{
	(void)state;
	loop = stint_loop_free(loop);
	pool = stint_pool_free(pool);
	meter = stint_meter_free(meter);
	unlink(path);
	return count_descriptors() == descriptors ? 0 : -1;
}

/* A file of bytes that tell where they stand. */
static void make_file(size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(model); i++)
		model[i] = (uint8_t)(i * 2654435761u >> 13);
	assert_int_equal(write(fd, model, bytes), bytes);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static int open_file(int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static uint32_t pool_threads(void)
{
	struct stint_pool_figures figures;

	assert_int_equal(stint_pool_figures(pool, &figures), 0);
	return figures.threads;
}

/* A job that keeps the pool's one thread until the test lets it go. */
struct gate {
	sem_t begun, go;
};

static void run_gate(struct stint_job *job, void *ctx)
{
	struct gate *gate = ctx;

	(void)job;
	sem_post(&gate->begun);
	while (sem_wait(&gate->go) < 0)
		;
}

static void gate_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	(void)job;
	(void)outcome;
	(void)ctx;
}

static void close_gate(struct gate *gate)
{
	sem_init(&gate->begun, 0, 0);
	sem_init(&gate->go, 0, 0);
	assert_int_equal(stint_job_new(NULL, loop, pool, 0, run_gate, gate_done, gate), 0);
	while (sem_wait(&gate->begun) < 0)
		;
}

/* ---- reading ---- */

/* Compares what comes with the model. */
struct reading {
	struct stint_file_reader *reader;
	uint64_t next, chunks;
	uint64_t pause_at, free_at, free_loop_at; /* after so many chunks; 0: never */
	int ends, error;
};

static void on_read(struct stint_file_reader *reader, const void *data, size_t bytes, uint64_t offset,
		    void *ctx)
{
	struct reading *reading = ctx;

	assert_int_equal(offset, reading->next);
	assert_true(bytes > 0 && offset + bytes <= sizeof(model));
	assert_memory_equal(data, model + offset, bytes);
	reading->next += bytes;
	reading->chunks++;
	if (reading->chunks == reading->pause_at)
		assert_int_equal(stint_file_reader_pause(reader), 0);
	if (reading->chunks == reading->free_at)
		reading->reader = stint_file_reader_free(reader);
	if (reading->chunks == reading->free_loop_at)
		loop = stint_loop_free(loop);
}

static void on_end(struct stint_file_reader *reader, int error, void *ctx)
{
	struct reading *reading = ctx;

	(void)reader;
	reading->ends++;
	reading->error = error;
}

static const struct stint_file_reader_callbacks reads = {.read = on_read, .end = on_end};

static void begin_reading(struct reading *reading, int fd, const struct stint_file_reader_options *options)
{
	reading->next = options ? options->offset : 0;
	assert_int_equal(stint_file_reader_new(&reading->reader, loop, pool, fd, options, handler, &reads,
					       reading),
			 0);
	assert_int_equal(reading->chunks + (uint64_t)reading->ends, 0); /* never from within the call */
}

static void cached_chunks_are_read_in_place(void **state)
{
	const struct stint_meter_file_block *block;
	struct reading reading = {0};

	(void)state;
	make_file(FILE_BYTES);
	begin_reading(&reading, open_file(O_RDONLY), NULL);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.next, FILE_BYTES);
	assert_int_equal(reading.chunks, 11);
	assert_int_equal(reading.ends, 1);
	assert_int_equal(reading.error, 0);
	assert_int_equal(pool_threads(), 0);
	block = fixture_block(meter, handler);
	assert_int_equal(block->file_reads_cached, 11);
	assert_int_equal(block->file_reads_missed, 0);
	assert_int_equal(block->histogram[STINT_METER_HANDLER_WORK_RUN].count, 0);
}

/* (Asking by RWF_NOWAIT would make the kernel read ahead.) */
static bool first_page_is_cached(int fd)
{
	unsigned char resident = 0;
	void *page = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(page, MAP_FAILED);
	assert_int_equal(mincore(page, 1, &resident), 0);
	munmap(page, 1);
	return resident & 1;
}

/* Out of the page cache; where that cannot be done, the test is skipped. */
static void evict(int fd)
{
	for (int i = 0; i < 10; i++) {
		assert_int_equal(fsync(fd), 0);
		assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
		if (!first_page_is_cached(fd))
			return;
	}
	close(fd);
	print_message("skipped: the file system in %s keeps the file in memory\n", fixture_directory);
	skip();
}

/* Until one was missed: asked for a chunk, the kernel may have read it already by the time that it looks. */
static void chunks_that_are_not_cached_are_read_by_the_pool(void **state)
{
	const struct stint_meter_file_block *block = fixture_block(meter, handler);
	uint64_t chunks = 0;

	(void)state;
	make_file(FILE_BYTES);
	for (int tries = 0; tries < 100 && block->file_reads_missed == 0; tries++) {
		struct reading reading = {0};
		int fd = open_file(O_RDONLY);

		evict(fd);
		begin_reading(&reading, fd, NULL);
		assert_int_equal(stint_loop_run(loop), 0);
		assert_int_equal(reading.next, FILE_BYTES);
		assert_int_equal(reading.error, 0);
		chunks += reading.chunks;
	}
	assert_int_equal(pool_threads(), 1);
	assert_true(block->file_reads_missed >= 1);
	assert_int_equal(block->file_reads_cached + block->file_reads_missed, chunks);
	assert_int_equal(block->histogram[STINT_METER_HANDLER_WORK_RUN].count, block->file_reads_missed);
}

/* A file that cannot be read with RWF_NOWAIT, and is in the model: what reads it needs the pool. */
static int open_blind(uint64_t *ret_bytes)
{
	struct iovec part = {.iov_base = (uint8_t[1]){0}, .iov_len = 1};
	int fd = open("/proc/version", O_RDONLY | O_CLOEXEC);
	ssize_t bytes;

	assert_true(fd >= 0);
	if (preadv2(fd, &part, 1, 0, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP) {
		close(fd);
		print_message("skipped: this kernel reads /proc without waiting\n");
		skip();
	}
	bytes = pread(fd, model, sizeof(model), 0);
	assert_true(bytes > 0);
	*ret_bytes = (uint64_t)bytes;
	return fd;
}

static void a_file_system_that_cannot_tell_is_read_by_the_pool(void **state)
{
	struct reading reading = {0};
	uint64_t bytes;

	(void)state;
	begin_reading(&reading, open_blind(&bytes), NULL);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.next, bytes);
	assert_int_equal(reading.error, 0);
	assert_int_equal(fixture_block(meter, handler)->file_reads_cached, 0);
	assert_int_equal(fixture_block(meter, handler)->file_reads_missed, 2); /* the end is another one */
}

static void a_part_is_read_exactly(void **state)
{
	struct stint_file_reader_options options = {.size = sizeof(options),
						    .offset = 1000,
						    .bytes = 100001,
						    .chunk_bytes = 4096};
	struct reading reading = {0};

	(void)state;
	make_file(FILE_BYTES);
	begin_reading(&reading, open_file(O_RDONLY), &options);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.next, 101001);
	assert_int_equal(reading.chunks, 25);
	assert_int_equal(reading.error, 0);
}

static void a_file_that_ends_too_early_says_so(void **state)
{
	struct stint_file_reader_options options = {.size = sizeof(options), .bytes = FILE_BYTES + 1};
	struct reading reading = {0};

	(void)state;
	make_file(FILE_BYTES);
	begin_reading(&reading, open_file(O_RDONLY), &options);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.next, FILE_BYTES);
	assert_int_equal(reading.ends, 1);
	assert_int_equal(reading.error, -ENODATA);
}

static void an_empty_file_has_only_an_end(void **state)
{
	struct reading reading = {0};

	(void)state;
	make_file(0);
	begin_reading(&reading, open_file(O_RDONLY), NULL);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.chunks, 0);
	assert_int_equal(reading.ends, 1);
	assert_int_equal(reading.error, 0);
}

static void one_chunk_comes_in_an_iteration(void **state)
{
	struct reading reading = {0};

	(void)state;
	make_file(FILE_BYTES);
	begin_reading(&reading, open_file(O_RDONLY), NULL);
	for (uint64_t i = 1; i <= 11; i++) {
		assert_int_equal(stint_loop_iterate(loop, UINT64_MAX), 0);
		assert_int_equal(reading.chunks, i);
	}
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.ends, 1);
}

static void a_paused_reader_waits(void **state)
{
	struct stint_file_reader_options options = {.size = sizeof(options), .start_paused = true};
	struct reading reading = {.pause_at = 3};

	(void)state;
	make_file(FILE_BYTES);
	begin_reading(&reading, open_file(O_RDONLY), &options);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.chunks, 0);
	assert_int_equal(stint_file_reader_resume(reading.reader), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.chunks, 3);
	assert_int_equal(stint_file_reader_resume(reading.reader), 0);
	assert_int_equal(stint_file_reader_resume(reading.reader), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.next, FILE_BYTES);
	assert_int_equal(reading.ends, 1);
}

/* Reads what the pool has to read, while the gate keeps it from doing so. Returns the reader's descriptor. */
static int begin_behind(struct gate *gate, struct reading *reading, uint64_t *ret_bytes)
{
	int fd = open_blind(ret_bytes);

	close_gate(gate);
	begin_reading(reading, fd, NULL);
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
	return fd;
}

static void a_chunk_that_comes_back_while_paused_is_kept(void **state)
{
	struct reading reading = {0};
	struct gate gate;
	uint64_t bytes;

	(void)state;
	begin_behind(&gate, &reading, &bytes);
	assert_int_equal(stint_file_reader_pause(reading.reader), 0);
	sem_post(&gate.go);
	assert_int_equal(stint_loop_run(loop), 0); /* the job is back, and nobody was called */
	assert_int_equal(reading.chunks, 0);
	assert_int_equal(stint_file_reader_resume(reading.reader), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.next, bytes);
	assert_int_equal(reading.ends, 1);
}

static void a_reader_may_be_freed_in_its_callback(void **state)
{
	struct reading reading = {.free_at = 4};

	(void)state;
	make_file(FILE_BYTES);
	begin_reading(&reading, open_file(O_RDONLY), NULL);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.chunks, 4);
	assert_int_equal(reading.ends, 0);
}

static void the_loop_may_be_freed_in_a_readers_callback(void **state)
{
	struct reading first = {.free_loop_at = 2}, second = {0};

	(void)state;
	make_file(FILE_BYTES);
	begin_reading(&first, open_file(O_RDONLY), NULL);
	begin_reading(&second, open_file(O_RDONLY), NULL);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(first.chunks, 2);
	assert_int_equal(first.ends + second.ends, 0);
}

static void a_reader_freed_while_the_pool_has_its_chunk_is_gone(void **state)
{
	struct reading reading = {0};
	struct gate gate;
	uint64_t bytes;
	int fd;

	(void)state;
	fd = begin_behind(&gate, &reading, &bytes);
	stint_file_reader_free(reading.reader);
	sem_post(&gate.go);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.chunks + (uint64_t)reading.ends, 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void freeing_the_loop_waits_for_the_chunk(void **state)
{
	struct reading reading = {0};
	struct gate gate;
	uint64_t bytes;
	int fd;

	(void)state;
	fd = begin_behind(&gate, &reading, &bytes);
	sem_post(&gate.go);
	loop = stint_loop_free(loop);
	assert_int_equal(reading.chunks + (uint64_t)reading.ends, 0);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void without_its_pool_a_reader_ends(void **state)
{
	struct reading cached = {0}, missing = {0};
	uint64_t bytes;

	(void)state;
	begin_reading(&missing, open_blind(&bytes), NULL);
	pool = stint_pool_free(pool);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(missing.ends, 1);
	assert_int_equal(missing.error, -ECANCELED);
	assert_int_equal(stint_pool_new(&pool, NULL), 0);
	make_file(FILE_BYTES);
	begin_reading(&cached, open_file(O_RDONLY), NULL);
	pool = stint_pool_free(pool);
	assert_int_equal(stint_loop_run(loop), 0); /* never needs it */
	assert_int_equal(cached.next, FILE_BYTES);
	assert_int_equal(cached.error, 0);
}

static void without_memory_a_reader_ends(void **state)
{
	struct stint_file_reader_options options = {.size = sizeof(options),
						    .chunk_bytes = STINT_FILE_CHUNK_MAX_BYTES};
	struct reading reading = {0};
	struct rlimit before;

	(void)state;
	make_file(FILE_BYTES);
	begin_reading(&reading, open_file(O_RDONLY), &options);
	fixture_take_memory(&before);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
	assert_int_equal(reading.ends, 1);
	assert_int_equal(reading.error, -ENOMEM);
}

static void a_descriptor_that_the_file_cannot_be_used_by_is_refused(void **state)
{
	const struct stint_file_writer_options append = {.size = sizeof(append), .offset = STINT_FILE_APPEND};
	struct stint_file_reader *reader;
	struct stint_file_writer *writer;
	int fd;

	(void)state;
	make_file(10);
	fd = open_file(O_WRONLY);
	assert_int_equal(stint_file_reader_new(&reader, loop, pool, fd, NULL, handler, &reads, NULL), -EBADF);
	close(fd);
	/* Linux appends to it, whatever the offset. */
	fd = open_file(O_WRONLY | O_APPEND);
	assert_int_equal(stint_file_writer_new(&writer, loop, pool, fd, NULL, handler, NULL, NULL), -EINVAL);
	assert_int_equal(stint_file_writer_new(&writer, loop, pool, fd, &append, handler, NULL, NULL), 0);
	stint_file_writer_free(writer);
}

static void a_descriptor_that_only_names_the_file_is_refused(void **state)
{
	struct stint_file_reader *reader;
	struct stint_file_writer *writer;
	int fd;

	(void)state;
	make_file(1);
	fd = open_file(O_PATH);
	assert_int_equal(stint_file_reader_new(&reader, loop, pool, fd, NULL, handler, &reads, NULL), -EBADF);
	assert_int_equal(stint_file_writer_new(&writer, loop, pool, fd, NULL, handler, NULL, NULL), -EBADF);
	close(fd);
}

/* A block device on the file, until it is closed; only root may have one. -1: none. */
static int open_block_device(void)
{
	struct loop_config config = {.fd = (uint32_t)open_file(O_RDWR), .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number = -1, fd = -1;
	char device[32];

	if (control >= 0) {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		close(control);
	}
	snprintf(device, sizeof(device), "/dev/loop%d", number);
	if (number >= 0)
		fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
		close(fd);
		fd = -1;
	}
	close((int)config.fd);
	return fd;
}

/* What is written to its "end" would be at its beginning, as its size is not told as a file's is. */
static void nothing_is_appended_to_a_block_device(void **state)
{
	struct stint_file_writer_options options = {.size = sizeof(options), .offset = STINT_FILE_APPEND};
	struct stint_file_writer *writer;
	int fd;

	(void)state;
	make_file(CHUNK);
	fd = open_block_device();
	if (fd < 0) {
		printf("skipped: no loop device to be had\n");
		skip();
	}
	assert_int_equal(stint_file_writer_new(&writer, loop, pool, fd, &options, handler, NULL, NULL),
			 -EINVAL);
	close(fd);
}

static void what_is_no_file_is_refused(void **state)
{
	struct stint_file_reader_options large = {.size = sizeof(large),
						  .chunk_bytes = STINT_FILE_CHUNK_MAX_BYTES + 1};
	struct stint_file_reader *reader;
	struct stint_file_writer *writer;
	int fds[2], fd;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(stint_file_reader_new(&reader, loop, pool, fds[0], NULL, handler, &reads, NULL),
			 -EINVAL);
	assert_int_equal(stint_file_writer_new(&writer, loop, pool, fds[1], NULL, handler, NULL, NULL),
			 -EINVAL);
	close(fds[0]); /* still ours */
	close(fds[1]);
	assert_int_equal(stint_file_reader_new(&reader, loop, pool, -1, NULL, handler, &reads, NULL), -EBADF);
	make_file(10);
	fd = open_file(O_RDONLY);
	assert_int_equal(stint_file_writer_new(&writer, loop, pool, fd, NULL, handler, NULL, NULL), -EBADF);
	assert_int_equal(stint_file_reader_new(&reader, loop, pool, fd, &large, handler, &reads, NULL),
			 -EINVAL);
	assert_int_equal(stint_file_reader_new(&reader, loop, NULL, fd, NULL, handler, &reads, NULL),
			 -EINVAL);
	assert_int_equal(stint_file_reader_new(&reader, loop, pool, fd, NULL, handler, NULL, NULL), -EINVAL);
	assert_int_equal(stint_file_reader_pause(NULL), -EINVAL);
	assert_int_equal(stint_file_reader_resume(NULL), -EINVAL);
	assert_int_equal(stint_file_writer_write(NULL, "", 1), -EINVAL);
	assert_null(stint_file_reader_free(NULL));
	assert_null(stint_file_writer_free(NULL));
	close(fd);
}

/* ---- writing ---- */

struct writing {
	struct stint_file_writer *writer;
	int drained, closed, error, syncs;
	uint64_t synced;
};

static void on_drained(struct stint_file_writer *writer, void *ctx)
{
	struct writing *writing = ctx;

	assert_false(stint_file_writer_full(writer));
	writing->drained++;
}

static void on_synced(struct stint_file_writer *writer, uint64_t offset, void *ctx)
{
	struct writing *writing = ctx;

	(void)writer;
	writing->syncs++;
	writing->synced = offset;
}

static void on_closed(struct stint_file_writer *writer, int error, void *ctx)
{
	struct writing *writing = ctx;

	(void)writer;
	writing->closed++;
	writing->error = error;
}

static const struct stint_file_writer_callbacks writes = {.drained = on_drained,
							  .synced = on_synced,
							  .closed = on_closed};

static void begin_writing(struct writing *writing, int fd, const struct stint_file_writer_options *options)
{
	assert_int_equal(stint_file_writer_new(&writing->writer, loop, pool, fd, options, handler, &writes,
					       writing),
			 0);
}

static void assert_file_is(const uint8_t *data, size_t bytes)
{
	uint8_t *content = malloc(bytes + 1);
	int fd = open_file(O_RDONLY);

	assert_non_null(content);
	assert_int_equal(read(fd, content, bytes + 1), bytes);
	assert_memory_equal(content, data, bytes);
	free(content);
	close(fd);
}

static void a_small_write_is_made_at_once(void **state)
{
	struct writing writing = {0};

	(void)state;
	make_file(0);
	begin_writing(&writing, open_file(O_WRONLY), NULL);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(stint_file_writer_write(writing.writer, model + i * 100, 100), 0);
	assert_int_equal(stint_file_writer_queued_bytes(writing.writer), 0);
	assert_file_is(model, 10000);
	assert_int_equal(pool_threads(), 0);
	assert_int_equal(stint_file_writer_close(writing.writer), 0);
	assert_int_equal(writing.closed, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(writing.closed, 1);
	assert_int_equal(writing.error, 0);
}

static void large_and_small_writes_keep_their_order(void **state)
{
	static const size_t sizes[] = {10, 200000, 1, 65536, 65537, 4096, 3, 300000};
	struct writing writing = {0};
	size_t done = 0;

	(void)state;
	make_file(0);
	begin_writing(&writing, open_file(O_WRONLY), NULL);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(stint_file_writer_write(writing.writer, model + done, sizes[i]), 0);
		done += sizes[i];
	}
	assert_int_equal(stint_file_writer_close(writing.writer), 0);
	assert_int_equal(stint_file_writer_write(writing.writer, "x", 1), -EPIPE);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(writing.closed, 1);
	assert_int_equal(writing.error, 0);
	assert_int_equal(pool_threads(), 1);
	assert_file_is(model, done);
}

static void writes_that_wait_for_the_disk_go_to_the_pool(void **state)
{
	struct writing writing = {0};

	(void)state;
	make_file(0);
	begin_writing(&writing, open_file(O_WRONLY | O_DSYNC), NULL);
	assert_int_equal(stint_file_writer_write(writing.writer, model, 10), 0);
	assert_int_equal(stint_file_writer_queued_bytes(writing.writer), 10);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(stint_file_writer_queued_bytes(writing.writer), 0);
	assert_int_equal(pool_threads(), 1);
	assert_file_is(model, 10);
	assert_int_equal(fixture_block(meter, handler)->histogram[STINT_METER_HANDLER_WORK_RUN].count, 1);
}

/* Past the page cache, what is read and written must be aligned in memory, as copies in a queue are not. */
static void without_the_page_cache_what_was_written_is_read(void **state)
{
	const size_t bytes = FILE_BYTES / 4096 * 4096;
	struct reading reading = {0};
	struct writing writing = {0};
	int fd;

	(void)state;
	make_file(0);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_DIRECT);
	if (fd < 0) {
		print_message("skipped: the file system in %s has no O_DIRECT\n", fixture_directory);
		skip();
	}
	begin_writing(&writing, fd, NULL);
	for (size_t at = 0, part = 4096; at < bytes; at += part, part = 7 * 4096 - part % 8192) {
		part = part < bytes - at ? part : bytes - at;
		assert_int_equal(stint_file_writer_write(writing.writer, model + at, part), 0);
	}
	assert_int_equal(stint_file_writer_close(writing.writer), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(writing.closed, 1);
	assert_int_equal(writing.error, 0);
	assert_file_is(model, bytes);
	begin_reading(&reading, open_file(O_RDONLY | O_DIRECT), NULL);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.ends, 1);
	assert_int_equal(reading.error, 0);
	assert_int_equal(reading.next, bytes);
}

static void a_full_queue_says_so_until_it_has_drained(void **state)
{
	struct stint_file_writer_options options = {.size = sizeof(options),
						    .in_place_bytes = 1,
						    .high_bytes = 100000,
						    .low_bytes = 1000};
	struct writing writing = {0};
	struct gate gate;
	size_t done = 0;

	(void)state;
	make_file(0);
	begin_writing(&writing, open_file(O_WRONLY), &options);
	close_gate(&gate);
	while (!stint_file_writer_full(writing.writer)) {
		assert_true(done <= options.high_bytes);
		assert_int_equal(stint_file_writer_write(writing.writer, model + done, 10000), 0);
		done += 10000;
	}
	assert_int_equal(done, 110000);
	assert_int_equal(stint_file_writer_queued_bytes(writing.writer), done);
	sem_post(&gate.go);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(writing.drained, 1);
	assert_file_is(model, done);
}

static void an_appender_begins_at_the_end(void **state)
{
	struct stint_file_writer_options options = {.size = sizeof(options), .offset = STINT_FILE_APPEND};
	struct writing writing = {0};

	(void)state;
	make_file(1000);
	begin_writing(&writing, open_file(O_WRONLY), &options);
	assert_int_equal(stint_file_writer_write(writing.writer, model + 1000, 500), 0);
	assert_file_is(model, 1500);
}

static void a_sync_covers_what_was_accepted_before_it(void **state)
{
	struct stint_file_writer_options options = {.size = sizeof(options), .in_place_bytes = 1};
	struct writing writing = {0};

	(void)state;
	make_file(0);
	begin_writing(&writing, open_file(O_WRONLY), &options);
	assert_int_equal(stint_file_writer_write(writing.writer, model, 5000), 0);
	assert_int_equal(stint_file_writer_sync(writing.writer), 0);
	assert_int_equal(stint_file_writer_write(writing.writer, model + 5000, 5000), 0);
	assert_int_equal(writing.syncs, 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(writing.syncs, 1);
	assert_int_equal(writing.synced, 5000);
	assert_int_equal(stint_file_writer_sync(writing.writer), 0);
	assert_int_equal(stint_file_writer_close(writing.writer), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(writing.syncs, 2);
	assert_int_equal(writing.synced, 10000);
	assert_int_equal(writing.closed, 1);
	assert_file_is(model, 10000);
}

/* A file may be 100 kB long: what is beyond is EFBIG, in place and in the pool. */
static void a_write_that_fails_ends_the_writer(void **state)
{
	struct stint_file_writer_options in_place = {.size = sizeof(in_place), .offset = 200000};
	struct stint_file_writer_options offloaded = {.size = sizeof(offloaded), .in_place_bytes = 1};
	struct writing first = {0}, second = {0};
	struct rlimit before, low;

	(void)state;
	make_file(0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	low = (struct rlimit){.rlim_cur = 100000, .rlim_max = before.rlim_max};
	begin_writing(&first, open_file(O_WRONLY), &in_place);
	begin_writing(&second, open_file(O_WRONLY), &offloaded);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
	assert_int_equal(stint_file_writer_write(first.writer, model, 10), -EPIPE);
	assert_int_equal(first.closed, 0);
	assert_int_equal(stint_file_writer_write(second.writer, model, 150000), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(first.error, -EFBIG);
	assert_int_equal(second.error, -EFBIG);
	assert_int_equal(first.closed + second.closed, 2);
	assert_file_is(model, 100000); /* what fitted is there */
}

static void a_writer_freed_while_the_pool_writes_is_gone(void **state)
{
	struct writing writing = {0};
	struct gate gate;

	(void)state;
	make_file(0);
	begin_writing(&writing, open_file(O_WRONLY), NULL);
	close_gate(&gate);
	assert_int_equal(stint_file_writer_write(writing.writer, model, 100000), 0);
	stint_file_writer_free(writing.writer);
	sem_post(&gate.go);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(writing.closed + writing.drained, 0);
	assert_file_is(model, 0); /* it never ran */
}

static void a_writer_goes_with_the_loop(void **state)
{
	struct writing writing = {0};
	struct gate gate;

	(void)state;
	make_file(0);
	begin_writing(&writing, open_file(O_WRONLY), NULL);
	close_gate(&gate);
	assert_int_equal(stint_file_writer_write(writing.writer, model, 100000), 0);
	sem_post(&gate.go);
	loop = stint_loop_free(loop);
	assert_int_equal(writing.closed, 0);
}

/* Its descriptor is closed as it ends, and not only as the loop does. */
static void what_no_pool_takes_holds_no_descriptor(void **state)
{
	const struct stint_file_writer_options offloaded = {.size = sizeof(offloaded), .in_place_bytes = 1};
	struct reading reading = {0};
	struct writing writing = {0};
	uint64_t bytes;
	int read_fd = open_blind(&bytes), write_fd;

	(void)state;
	make_file(0);
	write_fd = open_file(O_WRONLY);
	begin_reading(&reading, read_fd, NULL);
	begin_writing(&writing, write_fd, &offloaded);
	pool = stint_pool_free(pool);
	assert_int_equal(stint_file_writer_write(writing.writer, model, 100), 0);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(reading.error, -ECANCELED);
	assert_int_equal(writing.error, -ECANCELED);
	assert_int_equal(fcntl(read_fd, F_GETFD), -1);
	assert_int_equal(fcntl(write_fd, F_GETFD), -1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_loop, close_loop)
	const struct CMUnitTest tests[] = {
		TEST(without_memory_a_reader_ends), /* first: libc may keep memory that was freed */
		TEST(cached_chunks_are_read_in_place),
		TEST(chunks_that_are_not_cached_are_read_by_the_pool),
		TEST(a_file_system_that_cannot_tell_is_read_by_the_pool),
		TEST(a_part_is_read_exactly),
		TEST(a_file_that_ends_too_early_says_so),
		TEST(an_empty_file_has_only_an_end),
		TEST(one_chunk_comes_in_an_iteration),
		TEST(a_paused_reader_waits),
		TEST(a_chunk_that_comes_back_while_paused_is_kept),
		TEST(a_reader_may_be_freed_in_its_callback),
		TEST(the_loop_may_be_freed_in_a_readers_callback),
		TEST(a_reader_freed_while_the_pool_has_its_chunk_is_gone),
		TEST(freeing_the_loop_waits_for_the_chunk),
		TEST(without_its_pool_a_reader_ends),
		TEST(a_descriptor_that_the_file_cannot_be_used_by_is_refused),
		TEST(a_descriptor_that_only_names_the_file_is_refused),
		TEST(what_is_no_file_is_refused),
		TEST(a_small_write_is_made_at_once),
		TEST(large_and_small_writes_keep_their_order),
		TEST(writes_that_wait_for_the_disk_go_to_the_pool),
		TEST(without_the_page_cache_what_was_written_is_read),
		TEST(a_full_queue_says_so_until_it_has_drained),
		TEST(an_appender_begins_at_the_end),
		TEST(nothing_is_appended_to_a_block_device),
		TEST(a_sync_covers_what_was_accepted_before_it),
		TEST(a_write_that_fails_ends_the_writer),
		TEST(a_writer_freed_while_the_pool_writes_is_gone),
		TEST(a_writer_goes_with_the_loop),
		TEST(what_no_pool_takes_holds_no_descriptor),
	};

	return cmocka_run_group_tests(tests, fixture_make_directory, fixture_remove_directory);
}
