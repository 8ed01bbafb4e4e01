/* SPDX-License-Identifier: MIT */

/*
 * What the whole project rests on, statement by statement, on real sockets and real files. Number 8, what
 * select and epoll cost over the number of descriptors, is examples/select_epoll; what the kernel does about
 * 3, 4 and 5 is seen from its own side in tests/probes and tests/kernels.
 */

#include "stream_fixture.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* What a descriptor was told. */
struct told {
	uint32_t events;
	int count;
};

static void on_event(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct told *told = ctx;

	(void)source;
	told->events |= events;
	told->count++;
}

static struct stint_fd *watch(int fd, uint32_t events, struct told *told)
{
	struct stint_fd *source;

	*told = (struct told){0};
	assert_int_equal(stint_fd_new(&source, loop, fd, events, handler, on_event, told), 0);
	return source;
}

/* All that is ready by now. */
static void dispatch_what_is_ready(void)
{
	assert_int_equal(stint_loop_iterate(loop, 0), 0);
}

static size_t read_all(int fd)
{
	static char scrap[65536];
	size_t sum = 0;
	ssize_t got;

	while ((got = read(fd, scrap, sizeof(scrap))) > 0)
		sum += (size_t)got;
	return sum;
}

/* 1 */
static void a_completed_handshake_is_a_read_event_on_the_listener_and_a_write_event_on_the_connecting_socket(
	void **state)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), server;
	struct told to_listener, to_client;
	socklen_t bytes = sizeof(address);

	(void)state;
	assert_int_equal(bind(listener, (struct sockaddr *)&address, bytes), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
	watch(listener, STINT_READ, &to_listener);
	dispatch_what_is_ready();
	assert_int_equal(to_listener.count, 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, bytes), -1);
	assert_int_equal(errno, EINPROGRESS);
	watch(client, STINT_READ | STINT_WRITE, &to_client);
	while (!to_listener.count || !to_client.count)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(to_listener.events, STINT_READ);
	assert_int_equal(to_client.events, STINT_WRITE);
	server = accept(listener, NULL, NULL);
	assert_true(server >= 0);
	loop = stint_loop_free(loop);
	close(server);
	close(client);
	close(listener);
}

/* 2 */
static void arriving_data_is_a_read_event(void **state)
{
	struct told told;
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	watch(fds[1], STINT_READ, &told);
	dispatch_what_is_ready();
	assert_int_equal(told.count, 0);
	assert_int_equal(write(fds[0], "x", 1), 1);
	while (!told.count)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(told.events, STINT_READ);
	loop = stint_loop_free(loop);
	close(fds[0]);
	close(fds[1]);
}

#define MB     1048576
#define BUFFER 524288 /* which the kernel doubles */

/* Sends until the buffer is full; returns how much it took beyond the first send. */
static size_t fill_buffer(int fd, const char *data, size_t first, size_t bytes)
{
	size_t sent = first;
	ssize_t done;

	while (sent < bytes && (done = send(fd, data, bytes - sent, MSG_DONTWAIT)) > 0)
		sent += (size_t)done;
	assert_true(sent < bytes);
	assert_int_equal(errno, EAGAIN);
	return sent;
}

/* 3, 4 and 5 are one story: 2 MB to send, 1 MB of buffer, a peer that does not read at first. */
static void a_send_fills_the_buffer_which_acks_free_for_the_rest_by_a_write_event(void **state)
{
	int fds[2], small = 131072, unacked;
	char *data = make_data(2 * MB);
	struct stint_fd *source;
	struct told told;
	size_t sent, received = 0;
	ssize_t first;

	(void)state;
	connect_pair(fds, BUFFER);
	assert_int_equal(setsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	first = send(fds[0], data, 2 * MB, MSG_DONTWAIT);
	assert_true(first > MB / 2 && first < 2 * MB - MB / 4); /* 3: it takes about 1 MB */
	sent = fill_buffer(fds[0], data, (size_t)first, 2 * MB);
	assert_int_equal(ioctl(fds[0], SIOCOUTQ, &unacked), 0);
	assert_true(unacked > MB / 2); /* 4: and keeps what is not acknowledged */

	source = watch(fds[0], STINT_WRITE, &told);
	dispatch_what_is_ready();
	assert_int_equal(told.count, 0);
	while (!told.count) { /* 5: until enough has been acknowledged */
		received += read_all(fds[1]);
		assert_int_equal(stint_loop_iterate(loop, MS), 0);
	}
	assert_int_equal(told.events, STINT_WRITE);
	stint_fd_free(source);
	while (received < 2 * MB) {
		ssize_t done = sent < 2 * MB ? send(fds[0], data, 2 * MB - sent, MSG_DONTWAIT) : 0;

		sent += done > 0 ? (size_t)done : 0;
		received += read_all(fds[1]);
	}
	do {
		assert_int_equal(ioctl(fds[0], SIOCOUTQ, &unacked), 0);
	} while (unacked > 0);
	free(data);
	close(fds[0]);
	close(fds[1]);
}

/* 6 */
static void a_fin_is_a_read_event_and_the_passive_side_goes_on_writing_then_closes(void **state)
{
	struct told told;
	char text[8];
	int fds[2];

	(void)state;
	connect_pair(fds, 0);
	watch(fds[1], STINT_READ, &told);
	assert_int_equal(shutdown(fds[0], SHUT_WR), 0);
	while (!told.count)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(told.events, STINT_READ);
	assert_int_equal(read(fds[1], text, sizeof(text)), 0);
	assert_int_equal(write(fds[1], "still", 5), 5);
	loop = stint_loop_free(loop);
	close(fds[1]);
	assert_int_equal(fcntl(fds[0], F_SETFL, 0), 0);
	assert_int_equal(read(fds[0], text, sizeof(text)), 5);
	assert_int_equal(read(fds[0], text, sizeof(text)), 0);
	close(fds[0]);
}

static void compute_for_5_ms(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	(void)ctx;
	fixture_spin(5 * MS);
	stint_fd_free(source);
}

/* 7 */
static void a_handler_that_takes_long_makes_every_other_event_late_and_is_blamed_for_it(void **state)
{
	uint32_t slow = (uint32_t)stint_loop_handler(loop, "slow", 0);
	const struct stint_meter_file_block *block;
	struct stint_fd *source;
	struct told told[3];
	int fds[4][2];

	(void)state;
	for (int i = 0; i < 4; i++) {
		assert_int_equal(pipe2(fds[i], O_NONBLOCK | O_CLOEXEC), 0);
		if (i == 0)
			assert_int_equal(stint_fd_new(&source, loop, fds[0][0], STINT_READ, slow,
						      compute_for_5_ms, NULL),
					 0);
		else
			watch(fds[i][0], STINT_READ, &told[i - 1]);
		assert_int_equal(write(fds[i][1], "x", 1), 1); /* the order in which they are reported */
	}
	dispatch_what_is_ready();
	block = fixture_block(meter, slow);
	assert_int_equal(block->overruns, 1);
	assert_int_equal(block->victims, 3);
	assert_true(block->blame_ns >= fixture_at_least(3 * 5 * MS));
	assert_int_equal(told[0].count + told[1].count + told[2].count, 3);
	assert_true(fixture_block(meter, handler)->histogram[STINT_METER_HANDLER_WAIT].min >=
		    fixture_at_least(5 * MS));
	loop = stint_loop_free(loop);
	for (int i = 0; i < 4; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

/* ---- 9: long computation, with the other events served meanwhile ---- */

static int ticks, job_ended;

static void on_tick(struct stint_timer *timer, void *ctx)
{
	(void)timer;
	(void)ctx;
	__atomic_fetch_add(&ticks, 1, __ATOMIC_RELEASE);
}

static struct stint_timer *tick_every_ms(void)
{
	struct stint_timer *timer;

	ticks = 0;
	assert_int_equal(stint_timer_new(&timer, loop, handler, on_tick, NULL), 0);
	assert_int_equal(stint_timer_start(timer, 0, MS), 0);
	return timer;
}

/* In the handler, this would be for ever. */
static void compute_until_others_were_served(struct stint_job *job, void *ctx)
{
	(void)job;
	(void)ctx;
	while (__atomic_load_n(&ticks, __ATOMIC_ACQUIRE) < 5)
		;
}

static void on_job(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	(void)job;
	(void)ctx;
	assert_int_equal(outcome, STINT_JOB_DONE);
	job_ended = 1;
}

static void long_computation_goes_to_another_thread_and_others_are_served_meanwhile(void **state)
{
	struct stint_timer *timer = tick_every_ms();
	struct stint_pool *pool;

	(void)state;
	job_ended = 0;
	assert_int_equal(stint_pool_new(&pool, NULL), 0);
	assert_int_equal(stint_job_new(NULL, loop, pool, handler, compute_until_others_were_served, on_job,
				       NULL),
			 0);
	iterate_until(&job_ended);
	stint_timer_free(timer);
	stint_pool_free(pool);
}

static int slice_ended;

static void compute_a_slice(struct stint_slice *slice, void *ctx)
{
	(void)ctx;
	while (!stint_slice_over(slice))
		;
	if (ticks < 5)
		return; /* to be called again */
	slice_ended = 1;
	stint_slice_stop(slice);
}

static void long_computation_is_cut_into_slices_and_others_are_served_in_between(void **state)
{
	struct stint_timer *timer = tick_every_ms();
	struct stint_slice *slice;

	(void)state;
	slice_ended = 0;
	assert_int_equal(stint_slice_new(&slice, loop, handler, compute_a_slice, NULL), 0);
	assert_int_equal(stint_slice_start(slice), 0);
	iterate_until(&slice_ended);
	assert_true(stint_slice_calls(slice) > 1);
	stint_slice_free(slice);
	stint_timer_free(timer);
}

/* ---- 10: files ---- */

static size_t file_bytes, largest_chunk;
static int chunks, file_ended;

static void on_chunk(struct stint_file_reader *reader, const void *data, size_t bytes, uint64_t offset,
		     void *ctx)
{
	(void)reader;
	(void)data;
	(void)ctx;
	assert_int_equal(offset, file_bytes);
	file_bytes += bytes;
	largest_chunk = bytes > largest_chunk ? bytes : largest_chunk;
	chunks++;
}

static void on_file_end(struct stint_file_reader *reader, int error, void *ctx)
{
	(void)reader;
	(void)ctx;
	assert_int_equal(error, 0);
	file_ended = 1;
}

static void a_file_write_is_buffered_and_a_file_read_is_cut_into_chunks_of_tens_of_kb(void **state)
{
	const struct stint_file_reader_callbacks reading = {.read = on_chunk, .end = on_file_end};
	const struct stint_file_writer_callbacks writing = {.closed = NULL};
	struct stint_file_reader *reader;
	struct stint_file_writer *writer;
	int fd = memfd_create("stint-test", MFD_CLOEXEC);
	char *data = make_data(1000000);
	struct stint_pool *pool;

	(void)state;
	file_bytes = largest_chunk = 0;
	chunks = file_ended = 0;
	assert_int_equal(stint_pool_new(&pool, NULL), 0);
	assert_int_equal(stint_file_writer_new(&writer, loop, pool, dup(fd), NULL, handler, &writing, NULL),
			 0);
	assert_int_equal(stint_file_writer_write(writer, data, 50000), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 50000); /* there when the call returns */
	stint_file_writer_free(writer);
	assert_int_equal(pwrite(fd, data, 1000000, 0), 1000000);
	assert_int_equal(stint_file_reader_new(&reader, loop, pool, fd, NULL, handler, &reading, NULL), 0);
	iterate_until(&file_ended);
	assert_int_equal(file_bytes, 1000000);
	assert_int_equal(largest_chunk, 65536);
	assert_true(chunks >= 16);
	stint_pool_free(pool);
	free(data);
}

/* ---- 11: an upstream service ---- */

static void answer_after_others_were_served(struct stint_timer *timer, void *ctx)
{
	struct end *upstream = ctx;

	if (++ticks < 5)
		return;
	assert_int_equal(stint_stream_write(upstream->stream, "42", 2), 0);
	stint_timer_free(timer);
}

/* The answer is given by the fifth event that is served meanwhile: a client that blocked would never see it. */
static void an_upstream_is_called_over_a_non_blocking_socket_and_others_are_served_meanwhile(void **state)
{
	struct stint_timer *timer;

	(void)state;
	ticks = 0;
	open_both(0, NULL);
	assert_int_equal(stint_stream_write(near.stream, "price?", 6), 0);
	assert_int_equal(stint_timer_new(&timer, loop, handler, answer_after_others_were_served, &far), 0);
	assert_int_equal(stint_timer_start(timer, MS, MS), 0);
	while (near.received < 2)
		assert_int_equal(stint_loop_iterate(loop, S), 0);
	assert_int_equal(ticks, 5);
	assert_int_equal(far.received, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_completed_handshake_is_a_read_event_on_the_listener_and_a_write_event_on_the_connecting_socket),
		TEST(arriving_data_is_a_read_event),
		TEST(a_send_fills_the_buffer_which_acks_free_for_the_rest_by_a_write_event),
		TEST(a_fin_is_a_read_event_and_the_passive_side_goes_on_writing_then_closes),
		TEST(a_handler_that_takes_long_makes_every_other_event_late_and_is_blamed_for_it),
		TEST(long_computation_goes_to_another_thread_and_others_are_served_meanwhile),
		TEST(long_computation_is_cut_into_slices_and_others_are_served_in_between),
		TEST(a_file_write_is_buffered_and_a_file_read_is_cut_into_chunks_of_tens_of_kb),
		TEST(an_upstream_is_called_over_a_non_blocking_socket_and_others_are_served_meanwhile),
	};

	return cmocka_run_group_tests_name("statements", tests, fixture_make_directory,
					   fixture_remove_directory);
}
