/* SPDX-License-Identifier: MIT */

/*
 * Every failure that a whole scenario can meet, one by one: in the n-th run the n-th allocation fails, or the n-th call
 * that makes a descriptor, a registration with epoll, or a thread, until a run has met none. Each call says so or works all
 * the same; whatever was begun ends; nothing is left, neither memory nor descriptors.
 */

#include "loop_fixture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "faults_fixture.h"
#include "signal_storm.h"

#define CROWD        300u /* sources and timers, for a second chunk of each table, and a larger one of numbers */
#define UPLOAD_BYTES 400000u

/* What a run has made, and what of it is over. */
static struct {
	struct stint_loop *loop;
	struct stint_pool *pool;
	struct stint_watchdog *watchdog;
	struct stint_mailbox *mailbox;
	struct stint_slice *slice;
	struct stint_listener *listener;
	struct stint_stream *client, *server;
	struct stint_socket_trace *trace;
	struct stint_post post;
	int begun, over; /* things that must end */
	int connected, accepted;
	int pipe[2];
	int crowd[CROWD];
	uint32_t crowded;
	struct stint_timeout timeout;
	uint64_t received;
	bool moved;
} run;

static enum fault kind;
static char *upload;

/* What a call may say in a run with a fault. Returns whether it worked. */
static bool may_fail(int result)
{
	bool known = result == -ENOMEM || (kind == FAULT_DESCRIPTOR && result == -EMFILE) ||
		     (kind == FAULT_REGISTRATION && result == -ENOSPC) ||
		     (kind == FAULT_THREAD && result == -EAGAIN);

	if (result < 0 && !(known && faults.struck))
		fail_msg("error %d (%s)", result, strerror(-result));
	return result >= 0;
}

/* The same, for a connection, whose other end a fault may have taken away. */
static bool may_break(int result)
{
	if (faults.struck && (result == -EPIPE || result == -ECONNRESET))
		return false;
	return may_fail(result);
}

/* The same, for something that will be over when its callback comes. */
static bool begin(int result)
{
	run.begun += result >= 0;
	return may_fail(result);
}

/* ---- descriptors, timers, signals, children, posts, and what runs on the loop ---- */

static void on_byte(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)events;
	(void)ctx;
	run.over++;
	stint_fd_free(source);
}

static void never(struct stint_fd *source, uint32_t events, void *ctx)
{
	(void)source;
	(void)events;
	(void)ctx;
	fail_msg("%s", "a descriptor that is not ready was called");
}

static void on_timer(struct stint_timer *timer, void *ctx)
{
	(void)ctx;
	run.over++;
	stint_timer_free(timer);
}

static void on_timeout(struct stint_timeout *timeout, void *ctx)
{
	(void)timeout;
	(void)ctx;
	run.over++;
}

static void on_deferred(struct stint_deferred *deferred, void *ctx)
{
	(void)ctx;
	run.over++;
	stint_deferred_free(deferred);
}

static void on_idle(struct stint_idle *idle, void *ctx)
{
	(void)ctx;
	run.over++;
	stint_idle_free(idle);
}

static void on_slice(struct stint_slice *slice, void *ctx)
{
	(void)ctx;
	run.over++;
	stint_slice_free(slice);
}

static void on_signal(struct stint_signal *signal, const struct stint_signal_info *info, void *ctx)
{
	(void)info;
	(void)ctx;
	run.over++;
	stint_signal_free(signal);
}

static void on_child(const struct stint_child_exit *end, void *ctx)
{
	(void)ctx;
	assert_int_equal(end->error, 0);
	assert_int_equal(end->status, 3);
	run.over++;
}

static void on_post(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)ctx;
	assert_int_equal(error, 0);
	run.over++;
}

static void make_crowd(void)
{
	struct stint_fd *source;
	struct stint_timer *timer;

	for (uint32_t i = 0; i < CROWD && kind == FAULT_MEMORY; i++) {
		int fd = fcntl(run.pipe[1], F_DUPFD_CLOEXEC, 100 + 2 * (int)i);

		assert_true(fd >= 0);
		run.crowd[run.crowded++] = fd;
		may_fail(stint_fd_new(&source, run.loop, fd, 0, 0, never, NULL));
		if (may_fail(stint_timer_new(&timer, run.loop, 0, on_timer, NULL)) &&
		    may_fail(stint_timer_start(timer, 3600 * S, 0)))
			may_fail(stint_timer_stop(timer));
	}
}

static void make_child(void)
{
	struct stint_child *child;
	pid_t pid = fork();
	int result;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(3);
	result = stint_child_new(&child, run.loop, pid, 0, on_child, NULL);
	if (result != -ENOSYS && begin(result)) /* valgrind knows no pidfds */
		return;
	while (waitpid(pid, NULL, 0) < 0)
		assert_int_equal(errno, EINTR);
}

static void make_timeout(void)
{
	struct stint_timeouts *timeouts;

	if (may_fail(stint_timeouts_new(&timeouts, run.loop, 0, on_timeout, NULL)))
		begin(stint_timeout_start(timeouts, &run.timeout, MS));
}

static void make_simple(void)
{
	struct stint_fd *source;
	struct stint_timer *timer;
	struct stint_deferred *deferred;
	struct stint_idle *idle;
	struct stint_signal *signal;

	begin(stint_fd_new(&source, run.loop, run.pipe[0], STINT_READ, 0, on_byte, NULL));
	if (may_fail(stint_timer_new(&timer, run.loop, 0, on_timer, NULL)))
		begin(stint_timer_start(timer, MS, 0));
	make_timeout();
	if (may_fail(stint_deferred_new(&deferred, run.loop, 0, on_deferred, NULL)))
		begin(stint_deferred_schedule(deferred));
	if (may_fail(stint_idle_new(&idle, run.loop, 0, on_idle, NULL)))
		begin(stint_idle_start(idle));
	if (may_fail(stint_slice_new(&run.slice, run.loop, 0, on_slice, NULL)))
		begin(stint_slice_start(run.slice));
	if (begin(stint_signal_new(&signal, run.loop, SIGUSR1, 0, on_signal, NULL)))
		raise(SIGUSR1);
	if (may_fail(stint_mailbox_new(&run.mailbox, run.loop)))
		begin(stint_mailbox_post(run.mailbox, &run.post));
	make_child();
}

/* ---- jobs and files ---- */

static void on_run(struct stint_job *job, void *ctx)
{
	(void)job;
	(void)ctx;
}

static void on_done(struct stint_job *job, enum stint_job_outcome outcome, void *ctx)
{
	(void)job;
	(void)outcome;
	(void)ctx;
	run.over++;
}

static void on_chunk(struct stint_file_reader *reader, const void *data, size_t bytes, uint64_t offset,
		     void *ctx)
{
	(void)reader;
	(void)ctx;
	assert_memory_equal(data, upload + offset, bytes);
}

static void on_file_end(struct stint_file_reader *reader, int error, void *ctx)
{
	(void)reader;
	(void)ctx;
	may_fail(error);
	run.over++;
}

static void on_file_closed(struct stint_file_writer *writer, int error, void *ctx)
{
	(void)writer;
	(void)ctx;
	may_fail(error);
	run.over++;
}

/* An unlinked file that holds the upload. Not by the wrapped open(): it is the test's own. */
static int open_file(void)
{
	int fd = memfd_create("upload", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, upload, UPLOAD_BYTES, 0), UPLOAD_BYTES);
	return fd;
}

static void make_files(void)
{
	const struct stint_file_reader_callbacks reading = {.read = on_chunk, .end = on_file_end};
	const struct stint_file_writer_callbacks writing = {.closed = on_file_closed};
	struct stint_file_reader *reader;
	struct stint_file_writer *writer;
	int in = open_file(), out = open_file();

	if (!begin(stint_file_reader_new(&reader, run.loop, run.pool, in, NULL, 0, &reading, NULL)))
		close(in);
	if (!begin(stint_file_writer_new(&writer, run.loop, run.pool, out, NULL, 0, &writing, NULL))) {
		close(out);
		return;
	}
	/* A writer that has failed calls `closed`. */
	if (may_fail(stint_file_writer_write(writer, upload, UPLOAD_BYTES)) &&
	    may_fail(stint_file_writer_write(writer, upload, 1000)) &&
	    may_fail(stint_file_writer_sync(writer)))
		may_fail(stint_file_writer_close(writer));
}

static void make_jobs(void)
{
	if (!may_fail(stint_pool_new(&run.pool, NULL)))
		return;
	begin(stint_job_new(NULL, run.loop, run.pool, 0, on_run, on_done, NULL));
	make_files();
}

/* ---- connections ---- */

static void on_server_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	struct stint_detached *detached;

	(void)ctx;
	for (size_t i = 0; i < bytes; i++)
		if (((const char *)data)[i] != upload[(run.received + i) % UPLOAD_BYTES])
			fail_msg("byte %zu is wrong", (size_t)run.received + i);
	run.received += bytes;
	if (run.moved)
		return;
	run.moved = true; /* to another loop and back, as far as memory goes */
	if (!may_break(stint_stream_write(stream, upload, UPLOAD_BYTES)) ||
	    !may_break(stint_stream_detach(&detached, stream)))
		return;
	if (!may_fail(stint_stream_attach(&run.server, detached, run.loop, 0, NULL, NULL))) {
		stint_detached_free(detached);
		run.over++; /* its `closed` will not come */
	}
}

static void on_client_read(struct stint_stream *stream, const void *data, size_t bytes, void *ctx)
{
	(void)stream;
	(void)data;
	(void)bytes;
	(void)ctx;
}

static void on_closed(struct stint_stream *stream, int error, void *ctx)
{
	(void)ctx;
	if (stream == run.client)
		run.client = NULL;
	may_break(error);
	run.over++;
}

static void on_accept(struct stint_listener *listener, int fd, const struct sockaddr *peer, socklen_t bytes,
		      void *ctx)
{
	const struct stint_stream_callbacks callbacks = {.read = on_server_read, .closed = on_closed};
	const struct stint_stream_options options = {.size = sizeof(options), .idle_ns = 10 * S};

	(void)listener;
	(void)peer;
	(void)bytes;
	(void)ctx;
	run.accepted++;
	if (!begin(stint_stream_new(&run.server, run.loop, fd, &options, 0, &callbacks, NULL)))
		close(fd);
}

static void release(void *data, void *ctx)
{
	(void)data;
	(void)ctx;
	run.over++;
}

/* The upload three times: as a copy, by reference, and from a file. */
static void use_client(void)
{
	struct stint_meter_loop *account = stint_loop_account(run.loop);

	if (may_fail(stint_socket_trace_new(&run.trace, account, stint_stream_descriptor(run.client), NULL,
					    NULL)))
		may_fail(stint_stream_set_trace(run.client, run.trace));
	if (!may_break(stint_stream_write(run.client, upload, UPLOAD_BYTES)))
		return;
	run.begun++;
	if (!may_break(stint_stream_write_reference(run.client, upload, UPLOAD_BYTES, release, NULL)) ||
	    !may_break(stint_stream_send_file(run.client, open_file(), 0, UPLOAD_BYTES, NULL, NULL)))
		return;
	may_break(stint_stream_close(run.client));
}

static void on_connect(int error, int fd, void *ctx)
{
	const struct stint_stream_callbacks callbacks = {.read = on_client_read, .closed = on_closed};
	const int small = 300000, on = 1;

	(void)ctx;
	run.over++;
	if (!may_fail(error))
		return;
	run.connected++;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)), 0);
	if (begin(stint_stream_new(&run.client, run.loop, fd, NULL, 0, &callbacks, NULL)))
		use_client();
	else
		close(fd);
}

static void on_named(const struct stint_connect_name_result *result, void *ctx)
{
	(void)ctx;
	run.over++;
	if (may_fail(result->error)) {
		run.connected++;
		close(result->fd);
	}
}

static void on_resolved(const struct stint_resolve_result *result, void *ctx)
{
	(void)ctx;
	run.over++;
	may_fail(result->error);
}

static void make_connections(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct stint_connect_name_options ipv4 = {.size = sizeof(ipv4), .family = AF_INET};
	struct stint_connect *connect;
	struct stint_connect_name *named;
	struct stint_resolve *resolve;
	const struct stint_resolve_options resolved = {.size = sizeof(resolved), .family = AF_INET};
	uint16_t port;

	if (!may_fail(stint_listener_new(&run.listener, run.loop, (struct sockaddr *)&address,
					 sizeof(address), NULL, 0, on_accept, NULL)))
		return;
	port = (uint16_t)stint_listener_port(run.listener);
	address.sin_port = htons(port);
	begin(stint_connect_new(&connect, run.loop, (struct sockaddr *)&address, sizeof(address), 10 * S, 0,
				on_connect, NULL));
	begin(stint_connect_name_new(&named, run.loop, "localhost", port, &ipv4, 0, on_named, NULL));
	begin(stint_connect_name_new(&named, run.loop, "127.0.0.1", port, &ipv4, 0, on_named, NULL));
	begin(stint_resolve_new(&resolve, run.loop, "localhost", port, &resolved, 0, on_resolved, NULL));
}

/* ---- a run ---- */

static int count_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static void make_all(void)
{
	struct stint_watchdog_options watch = {.size = sizeof(watch), .interval_ns = 100 * MS};
	struct stint_meter *meter;

	if (!may_fail(stint_meter_new(&meter, NULL)))
		return;
	if (may_fail(stint_watchdog_start(&run.watchdog, meter, &watch)) &&
	    may_fail(stint_loop_new(&run.loop, NULL))) {
		may_fail(stint_loop_handler(run.loop, "fault", 0));
		make_crowd();
		make_simple();
		make_jobs();
		make_connections();
	}
	stint_meter_free(meter);
}

/* All that was begun must be over some time; what a fault has cut short says so by its callback, too. A connection that
 * the kernel had made when its side of the loop failed may still be accepted, or not, before the rest is over. */
static void run_to_the_end(void)
{
	if (!run.loop)
		return;
	for (int i = 0; i < 100000 && (run.over < run.begun || run.accepted < run.connected); i++)
		assert_int_equal(stint_loop_iterate(run.loop, 5 * MS), 0);
	assert_int_equal(run.over, run.begun);
	assert_in_range(run.accepted, run.connected, run.connected + faults.struck);
}

static void free_all(void)
{
	stint_loop_free(run.loop);
	stint_pool_free(run.pool);
	stint_watchdog_stop(run.watchdog);
	stint_socket_trace_free(run.trace);
	for (uint32_t i = 0; i < run.crowded; i++)
		close(run.crowd[i]);
	close(run.pipe[0]);
	close(run.pipe[1]);
}

/* Threads that look up names end when they like. */
static void nothing_is_left(int64_t live, int descriptors)
{
	const struct timespec moment = {.tv_nsec = MS};

	for (int i = 0; i < 5000 && (__atomic_load_n(&faults.live, __ATOMIC_RELAXED) != live ||
				     count_descriptors() != descriptors);
	     i++)
		nanosleep(&moment, NULL);
	assert_int_equal(__atomic_load_n(&faults.live, __ATOMIC_RELAXED), live);
	assert_int_equal(count_descriptors(), descriptors);
}

/* Returns whether a fault has struck. */
static bool scenario(int error, int64_t n)
{
	int64_t live = __atomic_load_n(&faults.live, __ATOMIC_RELAXED);
	int descriptors = count_descriptors();
	bool struck;

	memset(&run, 0, sizeof(run));
	run.post = (struct stint_post){.callback = on_post};
	assert_int_equal(pipe2(run.pipe, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(write(run.pipe[1], "x", 1), 1);
	faults_arm(kind, error, n);
	make_all();
	run_to_the_end();
	struck = faults_disarm();
	if (!struck)
		assert_int_equal(run.received, 3 * UPLOAD_BYTES);
	faults.struck = struck; /* freeing may say so still */
	free_all();
	nothing_is_left(live, descriptors);
	return struck;
}

static void fail_each(enum fault fault, int error, int64_t at_least)
{
	int64_t n = 1;

	kind = fault;
	while (scenario(error, n))
		n++;
	print_message("%lld faults, one a run\n", (long long)(n - 1));
	assert_true(n > at_least);
}

static void each_allocation_may_fail(void **state)
{
	(void)state;
	fail_each(FAULT_MEMORY, ENOMEM, 40);
}

static void each_call_that_makes_a_descriptor_may_fail(void **state)
{
	(void)state;
	fail_each(FAULT_DESCRIPTOR, EMFILE, 10);
}

static void each_registration_may_fail_for_want_of_memory(void **state)
{
	(void)state;
	fail_each(FAULT_REGISTRATION, ENOMEM, 10);
}

static void each_registration_may_fail_for_want_of_watches(void **state)
{
	(void)state;
	fail_each(FAULT_REGISTRATION, ENOSPC, 10);
}

static void each_thread_may_fail_to_start(void **state)
{
	(void)state;
	fail_each(FAULT_THREAD, EAGAIN, 2);
}

/* Nothing fails for it, and nothing is lost: each run ends with all that it has begun. */
static void no_interrupted_call_is_a_failure(void **state)
{
	long signals;

	(void)state;
	kind = FAULT_THREAD;
	storm_begin();
	for (int i = 0; i < 60; i++)
		assert_false(scenario(EAGAIN, INT64_MAX));
	signals = storm_end();
	print_message("%ld signals\n", signals);
	assert_true(signals > 60);
}

/* A stray registration calls for a new epoll set; without a descriptor for one, the loop goes on with the old. */
static void a_loop_that_cannot_rebuild_its_epoll_set_goes_on(void **state)
{
	struct stint_fd *lost, *live;
	struct stint_loop *loop;
	int fds[2], duplicate;

	(void)state;
	memset(&run, 0, sizeof(run));
	assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(pipe2(run.pipe, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	duplicate = dup(fds[0]);
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	assert_int_equal(stint_fd_new(&lost, loop, fds[0], STINT_READ, 0, never, NULL), 0);
	assert_int_equal(stint_fd_new(&live, loop, run.pipe[0], STINT_READ, 0, on_byte, NULL), 0);
	close(fds[0]);
	stint_fd_free(lost);
	for (int i = 0; i < 4; i++) {
		faults_arm(i % 2 ? FAULT_REGISTRATION : FAULT_DESCRIPTOR, i % 2 ? ENOMEM : EMFILE, 1);
		assert_int_equal(stint_loop_iterate(loop, 10 * MS), 0);
		assert_int_equal(faults_disarm(), i > 0);
	}
	assert_int_equal(write(run.pipe[1], "x", 1), 1);
	assert_int_equal(stint_loop_run(loop), 0);
	assert_int_equal(run.over, 1);
	stint_loop_free(loop);
	close(duplicate);
	close(fds[1]);
	close(run.pipe[0]);
	close(run.pipe[1]);
}

static int close_error;

static void note_error(struct stint_stream *stream, int error, void *ctx)
{
	(void)stream;
	(void)ctx;
	close_error = error;
	run.over++;
}

/* Of the user's, or of the library's own at the peer's end. */
static void a_close_without_memory_for_its_timer_ends_the_stream(void **state)
{
	const struct stint_stream_callbacks callbacks = {.read = on_client_read, .closed = note_error};
	const struct stint_loop_options options = {.size = sizeof(options), .meter_off = true};
	struct stint_stream *stream;
	struct stint_loop *loop;

	(void)state;
	for (int by_peer = 0; by_peer < 2; by_peer++) {
		int fds[2], error = -ENOMEM;

		memset(&run, 0, sizeof(run));
		assert_int_equal(stint_loop_new(&loop, &options), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
		assert_int_equal(stint_stream_new(&stream, loop, fds[0], NULL, 0, &callbacks, NULL), 0);
		faults_arm(FAULT_MEMORY, ENOMEM, 1);
		if (by_peer)
			assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
		else
			error = stint_stream_close(stream);
		assert_int_equal(stint_loop_iterate(loop, 10 * S), 0);
		assert_true(faults_disarm());
		assert_int_equal(error, -ENOMEM);
		assert_int_equal(run.over, 1);
		assert_int_equal(close_error, -ENOMEM);
		stint_loop_free(loop);
		close(fds[1]);
	}
}

/* What the loop's thread does while another, that has posted in a signal handler, is about to wake it. */
static struct stint_mailbox *freed_meanwhile; /* atomic: all threads write */
static int64_t live_then;
static int given_back;

ssize_t write(int fd, const void *data, size_t bytes)
{
	struct stint_mailbox *mailbox = __atomic_load_n(&freed_meanwhile, __ATOMIC_RELAXED);

	if (mailbox) {
		__atomic_store_n(&freed_meanwhile, NULL, __ATOMIC_RELAXED);
		stint_mailbox_free(mailbox);
		live_then = faults.live;
	}
	return syscall(SYS_write, fd, data, bytes);
}

static void on_given_back(struct stint_post *post, int error, void *ctx)
{
	(void)post;
	(void)ctx;
	given_back += error == -ECANCELED;
}

/* The last reference to the mailbox may be the post's own. */
static void a_post_frees_no_memory(void **state)
{
	struct stint_post post = {.callback = on_given_back};
	struct stint_mailbox *mailbox;
	struct stint_loop *loop;
	int64_t live;

	(void)state;
	assert_int_equal(stint_loop_new(&loop, NULL), 0);
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	stint_mailbox_free(mailbox);
	live = faults.live;
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	__atomic_store_n(&freed_meanwhile, mailbox, __ATOMIC_RELAXED);
	assert_int_equal(stint_mailbox_post(mailbox, &post), 0);
	assert_int_equal(faults.live, live_then);
	assert_int_equal(given_back, 1);
	/* That is for the next one to do. */
	assert_int_equal(stint_mailbox_new(&mailbox, loop), 0);
	stint_mailbox_free(mailbox);
	assert_int_equal(faults.live, live);
	stint_loop_free(loop);
}

static int make_upload(void **state)
{
	upload = malloc(UPLOAD_BYTES);
	for (uint32_t i = 0; upload && i < UPLOAD_BYTES; i++)
		upload[i] = (char)(i * 7 + i / 251);
	return upload ? fixture_make_memory_directory(state) : -1;
}

static int free_upload(void **state)
{
	free(upload);
	return fixture_remove_directory(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_may_fail),
		cmocka_unit_test(each_call_that_makes_a_descriptor_may_fail),
		cmocka_unit_test(each_registration_may_fail_for_want_of_memory),
		cmocka_unit_test(each_registration_may_fail_for_want_of_watches),
		cmocka_unit_test(each_thread_may_fail_to_start),
		cmocka_unit_test(no_interrupted_call_is_a_failure),
		cmocka_unit_test(a_loop_that_cannot_rebuild_its_epoll_set_goes_on),
		cmocka_unit_test(a_close_without_memory_for_its_timer_ends_the_stream),
		cmocka_unit_test(a_post_frees_no_memory),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("faults", tests, make_upload, free_upload);
}
