/* SPDX-License-Identifier: MIT */

/*
 * One loop on raw epoll whose handler is late in the way it is told: each way has a cause that is known. Beside it runs
 * a thread named "holder", which has what the handler has to wait for.
 *
 *	late [DIRECTORY]    where its files are made: on a file system that is not in memory, for page faults from disk
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_command.h"

#define READ_BYTES    (4u << 20)
#define FILE_BYTES    (8u << 20)
#define PAGE_BYTES    4096u
#define PAGES_AT_ONCE 8192u
#define HUGE_BYTES    (2u << 20)

pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;

static int epfd;
static int lock_file, other_lock_file, cold_file, zero;
static int slow_pipe[2];
static char fifo[256];
static int orders[2], ready[2]; /* to the holder, and from it: it has it now */

struct order {
	uint32_t verb;
	uint64_t ns;
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void sleep_for(uint64_t ns)
{
	struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
}

/* ---- the holder ---- */

static void open_fifo(int flags)
{
	int fd = open(fifo, flags | O_CLOEXEC);

	if (fd < 0 || close(fd) < 0)
		die(fifo);
}

static void hold(const struct order *order)
{
	if (order->verb == SUBJECT_LOCK)
		pthread_mutex_lock(&known_lock);
	if (order->verb == SUBJECT_FLOCK && flock(other_lock_file, LOCK_EX) < 0)
		die("flock");
	if (write(ready[1], "x", 1) != 1)
		die("ready");
	sleep_for(order->ns);
	if (order->verb == SUBJECT_LOCK)
		pthread_mutex_unlock(&known_lock);
	if (order->verb == SUBJECT_FLOCK && flock(other_lock_file, LOCK_UN) < 0)
		die("flock");
	if (order->verb == SUBJECT_PIPE && write(slow_pipe[1], "x", 1) != 1)
		die("pipe");
	if (order->verb == SUBJECT_START)
		open_fifo(O_WRONLY);
}

static void *run_holder(void *ctx)
{
	struct order order;

	(void)ctx;
	prctl(PR_SET_NAME, "holder");
	while (read(orders[0], &order, sizeof(order)) == sizeof(order))
		hold(&order);
	return NULL;
}

static void have_it_held(uint32_t verb, uint64_t ns)
{
	struct order order = {.verb = verb, .ns = ns};
	char byte;

	if (write(orders[1], &order, sizeof(order)) != sizeof(order) || read(ready[0], &byte, 1) != 1)
		die("order");
}

/* ---- the ways of being late; not inlined, as tests look for them in stacks ---- */

static __attribute__((noinline)) void compute_in_user_space(uint64_t ns)
{
	uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	volatile unsigned counter = 0;

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns)
		for (unsigned i = 0; i < 50000; i++)
			counter = counter + i;
}

static __attribute__((noinline)) void compute_in_the_kernel(uint64_t ns)
{
	uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	static char bytes[READ_BYTES];

	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns)
		if (read(zero, bytes, sizeof(bytes)) != sizeof(bytes))
			die("/dev/zero");
}

static __attribute__((noinline)) void wait_for_the_lock(uint64_t ns)
{
	have_it_held(SUBJECT_LOCK, ns);
	pthread_mutex_lock(&known_lock);
	pthread_mutex_unlock(&known_lock);
}

static __attribute__((noinline)) int wait_for_the_file(uint64_t ns)
{
	have_it_held(SUBJECT_FLOCK, ns);
	if (flock(lock_file, LOCK_EX) < 0 || flock(lock_file, LOCK_UN) < 0)
		die("flock");
	return lock_file;
}

static __attribute__((noinline)) int wait_for_the_pipe(uint64_t ns)
{
	char byte;

	have_it_held(SUBJECT_PIPE, ns);
	if (read(slow_pipe[0], &byte, 1) != 1)
		die("pipe");
	return slow_pipe[0];
}

/* The child shares this one's memory until it is another program, which waits for that: it opens the FIFO before. */
static __attribute__((noinline)) void start_a_process(uint64_t ns)
{
	char *arguments[] = {(char *)(uintptr_t) "true", NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;

	have_it_held(SUBJECT_START, ns);
	if (posix_spawn_file_actions_init(&actions) != 0 ||
	    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, fifo, O_RDONLY, 0) != 0 ||
	    posix_spawn(&pid, "/bin/true", &actions, NULL, arguments, NULL) != 0)
		die("posix_spawn");
	posix_spawn_file_actions_destroy(&actions);
	waitpid(pid, NULL, 0);
}

/* Returns how many of its page faults had to be read. */
static __attribute__((noinline)) uint64_t read_cold_pages(void)
{
	volatile const char *bytes = mmap(NULL, FILE_BYTES, PROT_READ, MAP_SHARED, cold_file, 0);
	struct rusage before, after;
	char sum = 0;

	if (bytes == MAP_FAILED)
		die("mmap");
	madvise((void *)(uintptr_t)bytes, FILE_BYTES, MADV_RANDOM);
	getrusage(RUSAGE_THREAD, &before);
	for (size_t at = 0; at < FILE_BYTES; at += 16 * PAGE_BYTES)
		sum = (char)(sum + bytes[at]);
	getrusage(RUSAGE_THREAD, &after);
	munmap((void *)(uintptr_t)bytes, FILE_BYTES);
	return (uint64_t)(after.ru_majflt - before.ru_majflt) + (sum == 1);
}

static __attribute__((noinline)) int send_cold_file(void)
{
	int sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
	off_t at = 0;

	if (sink < 0 || posix_fadvise(cold_file, 0, 0, POSIX_FADV_DONTNEED) != 0)
		die("cold file");
	while (at < FILE_BYTES)
		if (sendfile(sink, cold_file, &at, (size_t)(FILE_BYTES - at)) <= 0)
			die("sendfile");
	close(sink);
	return sink;
}

static uint64_t in_ns(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_usec * 1000u;
}

static __attribute__((noinline)) void touch_new_pages(uint64_t pages)
{
	volatile char *bytes =
		mmap(NULL, pages * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (bytes == MAP_FAILED)
		die("mmap");
	madvise((void *)(uintptr_t)bytes, pages * PAGE_BYTES, MADV_NOHUGEPAGE);
	for (uint64_t i = 0; i < pages; i++)
		bytes[i * PAGE_BYTES] = 1;
	munmap((void *)(uintptr_t)bytes, pages * PAGE_BYTES);
}

/* A huge one, at a place where there may be such; or as many others as there are in it. */
static __attribute__((noinline)) void touch_new_huge_page(void)
{
	char *bytes = mmap(NULL, 2 * HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile char *page = bytes + HUGE_BYTES - (uintptr_t)bytes % HUGE_BYTES;

	if (bytes == MAP_FAILED)
		die("mmap");
	madvise((void *)(uintptr_t)page, HUGE_BYTES, MADV_HUGEPAGE);
	for (size_t at = 0; at < HUGE_BYTES; at += PAGE_BYTES)
		page[at] = 1;
	munmap(bytes, 2 * HUGE_BYTES);
}

static void make_pages(struct subject_answer *answer, uint64_t ns, bool huge)
{
	uint64_t end_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	struct rusage before, after;

	if (getrusage(RUSAGE_THREAD, &before) != 0)
		die("getrusage");
	while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < end_ns) {
		if (huge)
			touch_new_huge_page();
		else
			touch_new_pages(PAGES_AT_ONCE);
		answer->cpu_ns += huge ? 0 : PAGES_AT_ONCE;
	}
	if (getrusage(RUSAGE_THREAD, &after) != 0)
		die("getrusage");
	if (huge)
		answer->cpu_ns = (uint64_t)(after.ru_minflt - before.ru_minflt);
	answer->user_ns = in_ns(after.ru_utime) - in_ns(before.ru_utime);
	answer->kernel_ns = in_ns(after.ru_stime) - in_ns(before.ru_stime);
}

static __attribute__((noinline)) void stop(uint64_t times)
{
	do
		raise(SIGSTOP);
	while (times && --times);
}

static __attribute__((noinline)) void make_calls(uint64_t calls)
{
	while (calls--)
		syscall(SYS_getppid);
}

static void pin(uint64_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((int)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("sched_setaffinity");
}

static struct subject_answer carry_out(const struct subject_command *command)
{
	struct subject_answer answer = {.tid = gettid(), .epfd = epfd, .fd = -1};

	if (command->verb == SUBJECT_PIN)
		pin(command->arg);
	else if (command->verb == SUBJECT_SPIN)
		compute_in_user_space(command->arg);
	else if (command->verb == SUBJECT_KERNEL)
		compute_in_the_kernel(command->arg);
	else if (command->verb == SUBJECT_BLOCK)
		sleep_for(command->arg);
	else if (command->verb == SUBJECT_LOCK)
		wait_for_the_lock(command->arg);
	else if (command->verb == SUBJECT_FLOCK)
		answer.fd = wait_for_the_file(command->arg);
	else if (command->verb == SUBJECT_PIPE)
		answer.fd = wait_for_the_pipe(command->arg);
	else if (command->verb == SUBJECT_START)
		start_a_process(command->arg);
	else if (command->verb == SUBJECT_SEND_COLD)
		answer.fd = send_cold_file();
	else if (command->verb == SUBJECT_COLD)
		answer.cpu_ns = read_cold_pages();
	else if (command->verb == SUBJECT_PAGES)
		make_pages(&answer, command->arg, false);
	else if (command->verb == SUBJECT_HUGE_PAGES)
		make_pages(&answer, command->arg, true);
	else if (command->verb == SUBJECT_STOP)
		stop(command->arg);
	else if (command->verb == SUBJECT_CALLS)
		make_calls(command->arg);
	return answer;
}

static __attribute__((noinline)) void on_command(void)
{
	struct subject_command command;
	struct subject_answer answer;

	if (read(STDIN_FILENO, &command, sizeof(command)) != sizeof(command))
		exit(0);
	answer = carry_out(&command);
	if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer))
		exit(0); /* the test is gone */
}

static int open_file(const char *directory, const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	return fd;
}

static void fill_cold_file(void)
{
	static char page[PAGE_BYTES] = "x";

	for (size_t at = 0; at < FILE_BYTES; at += sizeof(page))
		if (write(cold_file, page, sizeof(page)) != sizeof(page))
			die("write");
	/* Out of memory, as far as the file system has it elsewhere. */
	if (fsync(cold_file) < 0 || posix_fadvise(cold_file, 0, 0, POSIX_FADV_DONTNEED) != 0)
		die("fsync");
}

int main(int argc, char **argv)
{
	const char *directory = argc > 1 ? argv[1] : "/tmp";
	struct epoll_event event = {.events = EPOLLIN};
	pthread_t holder;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	lock_file = open_file(directory, "lock");
	other_lock_file = open_file(directory, "lock");
	cold_file = open_file(directory, "cold");
	snprintf(fifo, sizeof(fifo), "%s/fifo", directory);
	if (mkfifo(fifo, 0600) < 0 && errno != EEXIST)
		die(fifo);
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0 || zero < 0 || pipe(slow_pipe) < 0 || pipe(orders) < 0 || pipe(ready) < 0 ||
	    pthread_create(&holder, NULL, run_holder, NULL) != 0)
		die("start");
	fill_cold_file();
	if (epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
		die("epoll_ctl");
	for (;;) {
		if (epoll_wait(epfd, &event, 1, -1) == 1)
			on_command();
		else if (errno != EINTR)
			die("epoll_wait");
	}
}
