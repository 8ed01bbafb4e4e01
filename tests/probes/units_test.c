/* SPDX-License-Identifier: MIT */

/* The parts of the probes that need no eBPF: names, conversions, unwinding, /proc. */

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>
#include <stint/histogram.h>

#include "probes/convert.h"
#include "probes/demangle.h"
#include "probes/epoll_fds.h"
#include "probes/handler_name.h"
#include "probes/listeners.h"
#include "probes/socket_names.h"
#include "probes/syscall_names.h"
#include "probes/unwind.h"

/* The eBPF side's own words, to compile its bucket function here. */
typedef uint32_t u32;
typedef uint64_t u64;
#define __noinline static __attribute__((noinline))
#include "probes/bpf/histogram.bpf.h"

#define MS UINT64_C(1000000)

/* ---- histogram ---- */

static void both_sides_have_the_same_histogram(void **state)
{
	(void)state;
	assert_int_equal(STINT_PROBES_BUCKETS, STINT_HISTOGRAM_BUCKETS);
	assert_int_equal(RECORD_BUCKETS, STINT_HISTOGRAM_BUCKETS);
	assert_int_equal(RECORD_SUB_BITS, STINT_HISTOGRAM_SUB_BITS);
	assert_int_equal(RECORD_MAX_BITS, STINT_HISTOGRAM_MAX_BITS);
}

static void both_sides_put_a_value_into_the_same_bucket(void **state)
{
	uint64_t value = 1;

	(void)state;
	for (uint32_t i = 0; i <= STINT_HISTOGRAM_BUCKETS; i++) {
		uint64_t low = stint_histogram_bucket_low(i);

		assert_int_equal(histogram_bucket(low), i);
		assert_int_equal(histogram_bucket(low), stint_histogram_bucket(low));
		if (low)
			assert_int_equal(histogram_bucket(low - 1), i - 1);
	}
	for (int i = 0; i < 200000; i++) {
		value = value * 6364136223846793005u + 1442695040888963407u;
		assert_int_equal(histogram_bucket(value >> (i % 64)),
				 stint_histogram_bucket(value >> (i % 64)));
	}
	assert_int_equal(histogram_bucket(UINT64_MAX), STINT_HISTOGRAM_BUCKETS);
}

/* ---- handler names: frames are innermost first ---- */

static struct stint_frame frame(const char *name, uint64_t function_start)
{
	struct stint_frame ret = {.pc = function_start ? function_start + 5 : 0x999,
				  .function_start = function_start};

	snprintf(ret.name, sizeof(ret.name), "%s", name);
	return ret;
}

static const char *handler_of(const struct stint_frame *loop, size_t loop_len,
			      const struct stint_frame *overrun, size_t overrun_len, int fd)
{
	static char name[64];

	stint_handler_name(name, sizeof(name), loop, loop_len, overrun, overrun_len, fd);
	return name;
}

static void the_handler_is_where_the_stack_leaves_the_loops_own(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("poll", 20), frame("run", 30),
				     frame("main", 40)};
	struct stint_frame overrun[] = {frame("spin", 60), frame("on_read", 50), frame("run", 30),
					frame("main", 40)};

	(void)state;
	assert_string_equal(handler_of(loop, 4, overrun, 4, 3), "on_read");
}

static void the_handler_is_found_where_either_stack_is_cut(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("poll", 20), frame("run", 30),
				     frame("main", 40)};
	struct stint_frame overrun[] = {frame("spin", 60), frame("on_read", 50), frame("poll", 20),
					frame("run", 30), frame("main", 40)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 5, 3), "on_read");
	assert_string_equal(handler_of(loop, 4, overrun, 3, 3), "on_read");
}

static void a_frame_without_a_name_is_passed_over(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("run", 30), frame("main", 40)};
	struct stint_frame overrun[] = {frame("spin", 60), frame("lib+0x10", 0), frame("run", 30),
					frame("main", 40)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 4, 3), "spin");
	assert_string_equal(handler_of(loop, 3, overrun + 1, 3, 3), "lib+0x10");
}

static void without_a_name_the_place_tells_functions_apart(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("app+0x1", 0), frame("app+0x2", 0)};
	struct stint_frame overrun[] = {frame("work", 60), frame("app+0x3", 0), frame("app+0x2", 0)};

	(void)state;
	loop[1].pc = 1, loop[2].pc = overrun[2].pc = 2, overrun[1].pc = 3;
	assert_string_equal(handler_of(loop, 3, overrun, 3, 3), "work");
}

static void time_in_the_loops_own_function_is_said_to_be(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("run", 30), frame("main", 40)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, loop + 1, 2, 3), "run (the loop itself)");
}

static void without_the_loops_stack_the_handler_is_what_main_called(void **state)
{
	struct stint_frame overrun[] = {frame("spin", 60), frame("run", 30), frame("main", 40),
					frame("_start", 70)};

	(void)state;
	assert_string_equal(handler_of(NULL, 0, overrun, 4, 3), "run");
	assert_string_equal(handler_of(NULL, 0, overrun, 1, 3), "spin");
}

static void a_loops_stack_that_is_cut_is_found_in_the_other(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("poll", 20), frame("run", 30)};
	struct stint_frame overrun[] = {frame("spin", 60), frame("on_read", 50), frame("run", 30),
					frame("main", 40), frame("_start", 70)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 5, 3), "on_read");
	assert_string_equal(handler_of(loop, 3, overrun + 2, 3, 3), "run (the loop itself)");
}

static void what_runs_before_main_is_no_handler(void **state)
{
	struct stint_frame overrun[] = {frame("spin", 60), frame("begin", 30), frame("__libc_start_main", 40),
					frame("_start", 70)};

	(void)state;
	assert_string_equal(handler_of(NULL, 0, overrun, 4, 3), "begin");
}

/* As node --perf-basic-prof names them. */
static void the_handler_of_a_script_is_its_own_first_function(void **state)
{
	struct stint_frame loop[] = {frame("epoll_pwait", 10), frame("uv__io_poll", 20)};
	struct stint_frame overrun[] = {frame("JS:~inner /srv/app.js:9:1", 80),
					frame("JS:*render /srv/app.js:3:19", 70),
					frame("JS:^emit node:events:471:44", 60), frame("uv__stream_io", 50),
					frame("uv__io_poll", 20)};

	(void)state;
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "JS:render /srv/app.js:3:19");
	assert_string_equal(handler_of(loop, 2, overrun + 2, 3, 3), "JS:emit node:events:471:44");
	assert_string_equal(handler_of(loop, 2, overrun + 3, 2, 3), "uv__stream_io");
}

static struct stint_frame frame_in(const char *module, const char *name, uint64_t function_start)
{
	struct stint_frame ret = frame(name, function_start);

	snprintf(ret.module, sizeof(ret.module), "%s", module);
	return ret;
}

static void an_interpreter_is_no_handler_where_it_calls_a_library(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("python3.11", "_PyEval_EvalFrameDefault", 20)};
	struct stint_frame overrun[] = {frame_in("libc.so.6", "memcpy", 70),
					frame_in("libcrypto.so.3", "PKCS5_PBKDF2_HMAC", 60),
					frame_in("_hashlib.so", "_hashlib.so+0x8792", 0),
					frame_in("python3.11", "PyIter_Send", 50),
					frame_in("python3.11", "_PyEval_EvalFrameDefault", 20)};

	(void)state;
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "PKCS5_PBKDF2_HMAC");
	assert_string_equal(handler_of(loop, 2, overrun + 2, 3, 3), "PyIter_Send");
	overrun[2] = overrun[0];
	assert_string_equal(handler_of(loop, 2, overrun + 2, 3, 3), "PyIter_Send");
}

static void without_a_stack_the_handler_is_the_descriptor(void **state)
{
	(void)state;
	assert_string_equal(handler_of(NULL, 0, NULL, 0, 7), "fd 7");
	assert_string_equal(handler_of(NULL, 0, NULL, 0, -1), "unknown");
}

static void a_long_handler_name_is_cut_and_terminated(void **state)
{
	struct stint_frame overrun = {.function_start = 1};
	char name[8];

	(void)state;
	memset(overrun.name, 'x', sizeof(overrun.name) - 1);
	stint_handler_name(name, sizeof(name), NULL, 0, &overrun, 1, -1);
	assert_string_equal(name, "xxxxxxx");
}

/* ---- names of C++ ---- */

static void assert_demangled(const char *symbol, const char *expected)
{
	char name[STINT_FRAME_NAME_BYTES];

	stint_demangle(name, sizeof(name), symbol, strlen(symbol));
	assert_string_equal(name, expected);
}

/* Each as `c++filt -p` has it. */
static void names_of_cpp_are_demangled_without_parameters(void **state)
{
	(void)state;
	assert_demangled("_ZN2v88internal9Execution4CallEPNS0_7IsolateENS0_6HandleINS0_6ObjectEEES6_iPS6_",
			 "v8::internal::Execution::Call");
	assert_demangled("_ZN2v88internal12_GLOBAL__N_16InvokeEPNS0_7IsolateERKNS1_12InvokeParamsE",
			 "v8::internal::(anonymous namespace)::Invoke");
	assert_demangled("_ZNKSs4sizeEv", "std::string::size");
	assert_demangled("_ZNSolsEi", "std::ostream::operator<<");
	assert_demangled("_ZSt4moveIRiEONSt16remove_referenceIT_E4typeEOS2_", "std::move<int&>");
	assert_demangled("_ZN3icu1A4withEv.cold", "icu::A::with");
	assert_demangled("_ZNKR1A1bEv", "A::b");
}

static void a_rust_name_has_no_hash(void **state)
{
	(void)state;
	assert_demangled("_ZN5tokio7runtime4park17h0123456789abcdefE", "tokio::runtime::park");
}

static void what_is_not_mangled_stays(void **state)
{
	char name[8];

	(void)state;
	assert_demangled("main", "main");
	assert_demangled("_Z", "_Z");
	assert_demangled("_ZN", "_ZN");
	assert_demangled("_Znonsense", "_Znonsense");
	assert_demangled("", "");
	stint_demangle(name, sizeof(name), "_ZN9following3one", 4);
	assert_string_equal(name, "_ZN9");
	stint_demangle(name, sizeof(name), "_ZN4long4nameEv", 15);
	assert_string_equal(name, "long::n");
}

/* ---- /proc/PID/fdinfo ---- */

static void a_registration_is_parsed(void **state)
{
	uint32_t events;
	uint64_t data;
	int32_t fd;

	(void)state;
	assert_int_equal(stint_epoll_fds_parse("tfd:        5 events:       19 data:     7fff00000005  pos:0 "
					       "ino:1a sdev:8\n",
					       &fd, &events, &data),
			 0);
	assert_int_equal(fd, 5);
	assert_int_equal(events, 0x19);
	assert_int_equal(data, 0x7fff00000005);
}

static void a_line_that_is_no_registration_is_refused(void **state)
{
	static const char *const lines[] = {
		"",
		"\n",
		"pos:\t0\n",
		"flags:\t02\n",
		"tfd:\n",
		"tfd: x",
		"tfd: 5",
		"tfd: 5 events: zz",
		"tfd: -1 events: 19 data: 5",
		"tfd: 5 events: 19 data:",
		" tfd 5 19",
		"%s%n%s%n%s",
		"data: 5 events: 19 tfd: 5",
	};
	uint32_t events = 1;
	uint64_t data = 2;
	int32_t fd = 3;

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_int_equal(stint_epoll_fds_parse(lines[i], &fd, &events, &data), -EINVAL);
	assert_true(fd == 3 && events == 1 && data == 2);
}

struct registration {
	int32_t fd;
	uint64_t data;
	int seen;
};

static int note_registration(void *ctx, int32_t fd, uint32_t events, uint64_t data)
{
	struct registration *registration = ctx;

	(void)events;
	registration->fd = fd;
	registration->data = data;
	registration->seen++;
	return registration->seen == 2 ? -ECANCELED : 0;
}

static void registrations_of_this_process_are_read(void **state)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0};
	struct registration seen = {0};
	int before = stint_epoll_fds_count((uint32_t)getpid()), pipes[2], epfd = epoll_create1(EPOLL_CLOEXEC);

	(void)state;
	assert_int_equal(stint_epoll_fds_count((uint32_t)getpid()), before + 1);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(epoll_ctl(epfd, EPOLL_CTL_ADD, pipes[0], &event), 0);
	assert_int_equal(stint_epoll_fds_read((uint32_t)getpid(), epfd, note_registration, &seen), 0);
	assert_int_equal(seen.seen, 1);
	assert_int_equal(seen.fd, pipes[0]);
	assert_true(seen.data == 0x123456789abcdef0);
	event.events = EPOLLOUT;
	assert_int_equal(epoll_ctl(epfd, EPOLL_CTL_ADD, pipes[1], &event), 0);
	seen.seen = 0;
	assert_int_equal(stint_epoll_fds_read((uint32_t)getpid(), epfd, note_registration, &seen),
			 -ECANCELED);
	close(epfd);
	assert_int_equal(stint_epoll_fds_read((uint32_t)getpid(), epfd, note_registration, &seen), -ENOENT);
	close(pipes[0]);
	close(pipes[1]);
}

/* A process that is gone for sure: it was ours, and its end was taken note of. */
static uint32_t pid_of_nobody(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return (uint32_t)pid;
}

static void a_process_that_is_gone_is_no_such_process(void **state)
{
	struct stint_unwinder *unwinder;
	uint32_t pid = pid_of_nobody();

	(void)state;
	assert_int_equal(stint_epoll_fds_count(pid), -ESRCH);
	assert_int_equal(stint_epoll_fds_read(pid, 3, note_registration, NULL), -ENOENT);
	assert_int_equal(stint_unwinder_new(&unwinder, pid), -ESRCH);
}

/* ---- ports that are listened on ---- */

static struct listened {
	uint16_t port;
	unsigned own, others;
} listened;

static void count_port(void *ctx, uint16_t port, bool own)
{
	(void)ctx;
	listened.own += port == listened.port && own;
	listened.others += port == listened.port && !own;
}

/* On a port of the kernel's choice, which is in `listened` from then on. */
static int listen_on_loopback(int family)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr_in *ipv4 = (struct sockaddr_in *)&address;
	socklen_t bytes = sizeof(address);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (family == AF_INET)
		*ipv4 = (struct sockaddr_in){.sin_family = AF_INET,
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, bytes) != 0) {
		print_message("skipped: no loopback of family %d\n", family);
		skip();
	}
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	listened = (struct listened){
		.port = ntohs(address.sin6_port)}; /* both families have it at the same place */
	return fd;
}

static void a_port_is_its_processs_own(void **state)
{
	const int families[] = {AF_INET, AF_INET6};

	(void)state;
	for (int i = 0; i < 2; i++) {
		int fd = listen_on_loopback(families[i]);

		stint_listeners_read((uint32_t)getpid(), count_port, NULL);
		assert_int_equal(listened.own, 1);
		assert_int_equal(listened.others, 0);
		close(fd);
	}
}

static void a_port_of_another_process_is_not_its_own(void **state)
{
	int fd = listen_on_loopback(AF_INET), closed[2], leave[2];
	pid_t child;
	char byte;

	(void)state;
	assert_int_equal(pipe(closed), 0);
	assert_int_equal(pipe(leave), 0);
	child = fork();
	if (child == 0) {
		close(fd);
		close(leave[1]);
		_exit(write(closed[1], "c", 1) != 1 || read(leave[0], &byte, 1) != 0);
	}
	assert_int_equal(read(closed[0], &byte, 1), 1);
	stint_listeners_read((uint32_t)child, count_port, NULL);
	close(leave[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(leave[0]);
	close(closed[0]);
	close(closed[1]);
	close(fd);
	assert_int_equal(listened.own, 0);
	assert_int_equal(listened.others, 1);
}

/* ---- names ---- */

static void system_calls_have_their_names(void **state)
{
	static const struct {
		uint32_t number;
		const char *name;
		bool has_fd;
	} calls[] = {
		{SYS_read, "read", true},
		{SYS_write, "write", true},
		{SYS_epoll_wait, "epoll_wait", true},
		{SYS_epoll_pwait, "epoll_pwait", true},
		{SYS_epoll_pwait2, "epoll_pwait2", true},
		{SYS_epoll_ctl, "epoll_ctl", true},
		{SYS_clock_nanosleep, "clock_nanosleep", false},
		{SYS_futex, "futex", false},
		{SYS_fsync, "fsync", true},
		{SYS_openat, "openat", true},
		{SYS_sendmsg, "sendmsg", true},
		{SYS_mmap, "mmap", false},
		{SYS_getrandom, "getrandom", false},
		{SYS_connect, "connect", true},
		{SYS_kill, "kill", false},
		{SYS_clock_gettime, "clock_gettime", false},
	};
	char name[24];

	(void)state;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		stint_syscall_name(calls[i].number, name, sizeof(name));
		assert_string_equal(name, calls[i].name);
		assert_int_equal(stint_syscall_has_fd(calls[i].number), calls[i].has_fd);
	}
}

static void an_unknown_system_call_has_its_number(void **state)
{
	char name[24];

	(void)state;
	stint_syscall_name(4000000000u, name, sizeof(name));
	assert_string_equal(name, "syscall_4000000000");
	assert_false(stint_syscall_has_fd(4000000000u));
	stint_syscall_name(SYS_clock_nanosleep, name, 6);
	assert_string_equal(name, "clock");
}

static void sockets_have_the_names_of_their_family(void **state)
{
	static const uint8_t v4[16] = {192, 0, 2, 1}, v6[16] = {[15] = 1};
	static const uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 7};
	static const uint8_t all[16] = {0x20, 1,   0xd, 0xb8, 255, 255, 255, 255,
					255,  255, 255, 255,  255, 255, 255, 255};
	char name[64];

	(void)state;
	stint_socket_name(name, sizeof(name), AF_INET, v4, 80);
	assert_string_equal(name, "192.0.2.1:80");
	stint_socket_name(name, sizeof(name), AF_INET6, v6, 65535);
	assert_string_equal(name, "[::1]:65535");
	stint_socket_name(name, sizeof(name), AF_INET6, mapped, 1);
	assert_string_equal(name, "10.0.0.7:1");
	stint_socket_name(name, sizeof(name), AF_INET6, all, 65535);
	assert_string_equal(name, "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
	stint_socket_name(name, sizeof(name), AF_UNIX, v4, 0);
	assert_string_equal(name, "family 1");
}

/* ---- conversion ---- */

static void the_parts_of_an_overrun_are_its_duration(void **state)
{
	static struct record_overrun record = {.duration_ns = 10 * MS,
					       .runnable_ns = 2 * MS,
					       .blocked_ns = 3 * MS};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	assert_int_equal(overrun.on_cpu_ns, 5 * MS);
	assert_int_equal(overrun.fd, -1);
}

static void lengths_in_a_record_are_bounded(void **state)
{
	static struct record_overrun record = {.syscalls_len = UINT32_MAX,
					       .segments_len = UINT32_MAX,
					       .touches_len = UINT32_MAX,
					       .ready_len = UINT32_MAX,
					       .duration_ns = 1};
	static const int32_t fds[2] = {3, 4};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	assert_int_equal(overrun.syscalls_len, STINT_PROBES_SYSCALLS);
	assert_int_equal(overrun.segments_len, STINT_PROBES_SEGMENTS);
	stint_convert_victims(&overrun, &record, fds, 2);
	assert_true(overrun.victims <= 2);
}

static void the_first_argument_is_a_descriptor_where_it_is_one(void **state)
{
	static struct record_overrun record = {.syscalls_len = 2, .syscall_count = 2};
	struct stint_probes_overrun overrun;

	(void)state;
	record.syscalls[0] = (struct record_syscall){.number = SYS_clock_nanosleep, .fd = 1};
	record.syscalls[1] = (struct record_syscall){.number = SYS_write, .fd = 1};
	stint_convert_overrun(&overrun, &record);
	assert_int_equal(overrun.syscalls[0].fd, -1);
	assert_int_equal(overrun.syscalls[1].fd, 1);
}

/* Descriptors 5, 6 and 7 are ready. 5 is read at 10 us, 6 at 6 ms, 7 at 6.1 ms; the iteration takes 6.2 ms. */
static void those_read_after_a_long_computation_are_its_victims(void **state)
{
	static struct record_overrun record = {
		.start_ns = 1000 * MS,
		.duration_ns = 6200000,
		.longest_start_ns = 1000 * MS + 12345,
		.longest_ns = 6 * MS - 12345 + 678, /* up to the very call that reads 6 */
		.touches_len = 3,
		.touches = {{10, 5}, {6000, 6}, {6100, 7}},
	};
	static const int32_t fds[] = {5, 6, 7};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 3);
	assert_int_equal(overrun.fd, 5);
	assert_int_equal(overrun.victims, 2);
	assert_in_range(overrun.blame_ns, 2 * 5980000, 2 * 6000000);
}

static void one_that_was_handled_before_is_no_victim(void **state)
{
	static struct record_overrun record = {
		.start_ns = 1000 * MS,
		.duration_ns = 6200000,
		.longest_start_ns = 1000 * MS + 100000,
		.longest_ns = 5900000,
		.touches_len = 3,
		.touches = {{10, 5}, {90, 6}, {6000, 7}},
	};
	static const int32_t fds[] = {5, 6, 7, -1};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 4);
	assert_int_equal(overrun.fd, 6);
	assert_int_equal(overrun.victims, 1);
	assert_in_range(overrun.blame_ns, 5900000, 5910000);
}

/* Five milliseconds of many short calls are as long for those who wait as one computation. */
static void a_handler_of_many_short_calls_is_blamed_for_all_of_them(void **state)
{
	static struct record_overrun record = {
		.start_ns = 1000 * MS,
		.duration_ns = 5200000,
		.longest_start_ns = 1000 * MS + 5100000,
		.longest_ns = 100000,
		.touches_len = 4,
		.touches = {{10, 5}, {20, 9}, {5010, 6}, {5100, 7}},
	};
	static const int32_t fds[] = {5, 6, 7};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 3);
	assert_int_equal(overrun.fd, 5);
	assert_int_equal(overrun.victims, 2);
	assert_int_equal(overrun.blame_ns, 2 * 5000000);
}

static void a_single_ready_descriptor_is_the_one_and_has_no_victims(void **state)
{
	static struct record_overrun record = {.start_ns = 1, .duration_ns = 5 * MS, .longest_ns = 5 * MS};
	static const int32_t fds[] = {8};
	struct stint_probes_overrun overrun;

	(void)state;
	stint_convert_overrun(&overrun, &record);
	stint_convert_victims(&overrun, &record, fds, 1);
	assert_int_equal(overrun.fd, 8);
	assert_int_equal(overrun.victims, 0);
	assert_int_equal(overrun.blame_ns, 0);
}

static uint64_t sum_of_stages(const struct stint_probes_stall *stall)
{
	return stall->ack_ns + stall->kernel_ns + stall->scheduler_ns + stall->loop_ns + stall->queue_ns;
}

static void stages_add_up_whichever_moments_were_seen(void **state)
{
	struct stint_probes_stall stall;

	(void)state;
	for (unsigned seen = 0; seen < 16; seen++) {
		struct record_stall record = {
			.start_ns = 100,
			.opened = 1,
			.cause_ns = seen & 1 ? 110 : 0,
			.raised_ns = seen & 2 ? 120 : 0,
			.on_cpu_ns = seen & 4 ? 130 : 0,
			.returned_ns = seen & 8 ? 140 : 0,
			.end_ns = 150,
			.sndbuf_bytes = 1048576,
		};

		stint_convert_stall(&stall, &record);
		assert_int_equal(stall.duration_ns, 50);
		assert_int_equal(sum_of_stages(&stall), 50);
		assert_int_equal(stall.cause_time_ns, record.cause_ns);
		assert_int_equal(stall.threshold_bytes, 699050);
	}
}

static void moments_out_of_order_do_not_wrap(void **state)
{
	struct record_stall record = {
		.start_ns = 100, .cause_ns = 90, .raised_ns = 130, .on_cpu_ns = 120, .end_ns = 110};
	struct stint_probes_stall stall;

	(void)state;
	stint_convert_stall(&stall, &record);
	assert_int_equal(stall.duration_ns, 30);
	assert_int_equal(sum_of_stages(&stall), 30);
}

/* Stages of 10 ns each but one, which is longer. */
static int cause_of(const struct record_stall *longer_by)
{
	struct stint_probes_stall stall;

	stint_convert_stall(&stall, longer_by);
	assert_int_equal(sum_of_stages(&stall), stall.duration_ns);
	return stall.cause;
}

static void the_cause_of_a_stall_is_its_longest_part(void **state)
{
	struct record_stall record = {.start_ns = 100,
				      .opened = 1,
				      .cause_ns = 130,
				      .raised_ns = 140,
				      .on_cpu_ns = 150,
				      .returned_ns = 160,
				      .end_ns = 170,
				      .limit_ns = {[RECORD_LIMIT_NETWORK] = 30}};

	(void)state;
	assert_int_equal(cause_of(&record), STINT_PROBES_LIMIT_NETWORK);
	record.on_cpu_ns = record.returned_ns = record.end_ns = 171;
	assert_int_equal(cause_of(&record), STINT_PROBES_STALL_RUNNABLE);
	record.on_cpu_ns = 150;
	record.returned_ns = 160;
	record.end_ns = 190; /* loop and queue are one part */
	assert_int_equal(cause_of(&record), STINT_PROBES_STALL_OWN_LOOP);
	record.raised_ns = record.on_cpu_ns = record.returned_ns = record.end_ns = 190;
	assert_int_equal(cause_of(&record), STINT_PROBES_LIMIT_HOST);
	record = (struct record_stall){.start_ns = 100, .end_ns = 100};
	assert_int_equal(cause_of(&record), STINT_PROBES_STALL_UNKNOWN);
}

/* Told of, and nobody came: the loop's, until the end. */
static void a_stall_that_ended_with_no_send_is_in_the_stage_that_it_had_come_to(void **state)
{
	struct record_stall record = {.start_ns = 100, .end_ns = 170, .ending = RECORD_OPEN};
	struct stint_probes_stall stall;

	(void)state;
	stint_convert_stall(&stall, &record);
	assert_int_equal(stall.ending, STINT_PROBES_OPEN);
	assert_int_equal(stall.ack_ns, 70);
	record.opened = 1;
	record.cause_ns = 110;
	record.raised_ns = 120;
	record.ending = RECORD_CLOSED;
	stint_convert_stall(&stall, &record);
	assert_int_equal(stall.ending, STINT_PROBES_CLOSED);
	assert_int_equal(stall.loop_ns, 50);
	record.returned_ns = 130;
	stint_convert_stall(&stall, &record);
	assert_int_equal(stall.queue_ns, 40);
}

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

	assert_int_equal(stint_unwinder_new(&unwinder, (uint32_t)getpid()), 0);
	return unwinder;
}

static void a_copied_stack_is_unwound_with_names(void **state)
{
	static struct captured captured;
	static struct stint_frame frames[64];
	struct stint_unwinder *unwinder = own_unwinder();
	bool complete, has_test = false;
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
	}
	for (int i = 4; i < len; i++)
		has_test |= strcmp(frames[i].name, __func__) == 0;
	assert_true(has_test);
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

static void a_stack_of_rubbish_is_no_stack(void **state)
{
	static unsigned char rubbish[16384];
	static struct stint_frame frames[256];
	struct stint_unwinder *unwinder = own_unwinder();
	struct stint_unwind_regs regs;
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

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_sides_have_the_same_histogram),
		cmocka_unit_test(both_sides_put_a_value_into_the_same_bucket),
		cmocka_unit_test(the_handler_is_where_the_stack_leaves_the_loops_own),
		cmocka_unit_test(the_handler_is_found_where_either_stack_is_cut),
		cmocka_unit_test(a_frame_without_a_name_is_passed_over),
		cmocka_unit_test(without_a_name_the_place_tells_functions_apart),
		cmocka_unit_test(time_in_the_loops_own_function_is_said_to_be),
		cmocka_unit_test(without_the_loops_stack_the_handler_is_what_main_called),
		cmocka_unit_test(a_loops_stack_that_is_cut_is_found_in_the_other),
		cmocka_unit_test(what_runs_before_main_is_no_handler),
		cmocka_unit_test(without_a_stack_the_handler_is_the_descriptor),
		cmocka_unit_test(the_handler_of_a_script_is_its_own_first_function),
		cmocka_unit_test(an_interpreter_is_no_handler_where_it_calls_a_library),
		cmocka_unit_test(a_long_handler_name_is_cut_and_terminated),
		cmocka_unit_test(names_of_cpp_are_demangled_without_parameters),
		cmocka_unit_test(a_rust_name_has_no_hash),
		cmocka_unit_test(what_is_not_mangled_stays),
		cmocka_unit_test(a_registration_is_parsed),
		cmocka_unit_test(a_line_that_is_no_registration_is_refused),
		cmocka_unit_test(registrations_of_this_process_are_read),
		cmocka_unit_test(a_process_that_is_gone_is_no_such_process),
		cmocka_unit_test(a_port_is_its_processs_own),
		cmocka_unit_test(a_port_of_another_process_is_not_its_own),
		cmocka_unit_test(system_calls_have_their_names),
		cmocka_unit_test(an_unknown_system_call_has_its_number),
		cmocka_unit_test(sockets_have_the_names_of_their_family),
		cmocka_unit_test(the_parts_of_an_overrun_are_its_duration),
		cmocka_unit_test(lengths_in_a_record_are_bounded),
		cmocka_unit_test(the_first_argument_is_a_descriptor_where_it_is_one),
		cmocka_unit_test(those_read_after_a_long_computation_are_its_victims),
		cmocka_unit_test(one_that_was_handled_before_is_no_victim),
		cmocka_unit_test(a_handler_of_many_short_calls_is_blamed_for_all_of_them),
		cmocka_unit_test(a_single_ready_descriptor_is_the_one_and_has_no_victims),
		cmocka_unit_test(stages_add_up_whichever_moments_were_seen),
		cmocka_unit_test(moments_out_of_order_do_not_wrap),
		cmocka_unit_test(the_cause_of_a_stall_is_its_longest_part),
		cmocka_unit_test(a_stall_that_ended_with_no_send_is_in_the_stage_that_it_had_come_to),
		cmocka_unit_test(a_copied_stack_is_unwound_with_names),
		cmocka_unit_test(a_stack_that_is_cut_is_said_to_be),
		cmocka_unit_test(a_stack_of_rubbish_is_no_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
