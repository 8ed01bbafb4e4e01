/* SPDX-License-Identifier: MIT */

/*
 * Two threads that are in one epoll set by turns, as servers have them: who is not wanted there sleeps on a futex. The set
 * has a pipe through which each command comes that is given on standard input; what blocks does so before that.
 *
 *	by_turns pool | pool_alone | schedulers | go | go_new | jetty
 *
 * pool: as MariaDB's. One waits in the set and hands each command to the other, which asks the set, in vain, and then
 * sleeps on a condition variable of its own. Given a lock or something inside, that asks once more, in vain, and waits for
 * a mutex, or on a condition variable that is not its own. pool_alone: nobody waits in the set, and the command is given
 * straight to it. schedulers: as Erlang's. Who finds a command in the set wakes the other, which waits there then, does
 * what it is told, and sleeps until it is woken. A lock is waited for on the same word, without a timeout; inside is a wait
 * with a timeout, deeper in the stack; at other, who found the command does not wake the other and sleeps nevertheless.
 *
 * jetty: the same, but they sleep, as Java's threads do whatever for, on one word of their own, in functions that are
 * called as those of its machine are; without work below one that is called as that of Jetty's is which is for that.
 *
 * go: the same, but for how they sleep: without a timeout, in functions that are called as those of Go's runtime are, and
 * for a lock on another word. go_new: one thread that, given a lock, sleeps as one without work does before that, and on
 * another word each time; given something to compute, it wakes whoever sleeps on the first word amid that, and sleeps there
 * after it; inside is a function called as asio's, which waits for a condition, and then for the lock that whoever brought
 * that keeps.
 */

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../helpers/subject_command.h"

#define SCHEDULERS 2
#define OFF_WAITER (-1)

static int epfd;
static int commands[2];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void spin_on_cpu(uint64_t ns)
{
	struct timespec ts;
	uint64_t end_ns = 0, now_ns;

	do {
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
		now_ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
		end_ns = end_ns ? end_ns : now_ns + ns;
	} while (now_ns < end_ns);
}

static void sleep_for(uint64_t ns)
{
	struct timespec ts = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

/*
 * While another one is blocked: twice as long as that is to be, as who is seen in its call may not have left its CPU yet.
 */
static void keep_blocked_for(uint64_t ns)
{
	sleep_for(2 * ns);
}

static void answer(void)
{
	struct subject_answer answer = {.tid = gettid(), .epfd = epfd, .fd = -1};

	if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer))
		exit(0); /* the test is gone */
}

static void read_command(int fd, struct subject_command *command)
{
	if (read(fd, command, sizeof(*command)) != sizeof(*command))
		exit(0);
}

/* "NUMBER ARGUMENTS ...", of the system call that a thread is in. */
static void read_call(pid_t tid, char *ret, int bytes)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	file = fopen(path, "r");
	if (!file || !fgets(ret, bytes, file))
		die(path);
	fclose(file);
}

static bool is_in_call(pid_t tid, int number)
{
	char line[256];

	read_call(tid, line, sizeof(line));
	return atoi(line) == number;
}

/* In a call of FUTEX_WAKE it has another's word. */
static bool sleeps_on(pid_t tid, const int *word)
{
	char line[256], expected[64];

	read_call(tid, line, sizeof(line));
	snprintf(expected, sizeof(expected), "%d %p ", SYS_futex, (const void *)word);
	return strncmp(line, expected, strlen(expected)) == 0;
}

static void await_call(pid_t tid, int number)
{
	while (!is_in_call(tid, number))
		sched_yield();
}

/* The compiler is to have it there whole. */
static inline void keep_in_frame(char *array)
{
	__asm__ volatile("" : : "r"(array) : "memory");
}

/* ---- the pool ---- */

struct worker {
	pthread_cond_t wanted;
	bool has_work;
	struct subject_command work;
	pid_t tid;
};

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct worker *pool_worker;
static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t elsewhere = PTHREAD_COND_INITIALIZER;
static bool is_done_elsewhere;
static bool is_held_up;

static void ask_in_vain(void)
{
	struct epoll_event event;

	while (epoll_wait(epfd, &event, 1, 0) != 0)
		;
}

static void wait_elsewhere(void)
{
	pthread_mutex_lock(&pool_lock);
	while (!is_done_elsewhere)
		pthread_cond_wait(&elsewhere, &pool_lock);
	is_done_elsewhere = false;
	pthread_mutex_unlock(&pool_lock);
}

static void end_elsewhere(void)
{
	pthread_mutex_lock(&pool_lock);
	is_done_elsewhere = true;
	pthread_cond_signal(&elsewhere);
	pthread_mutex_unlock(&pool_lock);
}

static void work_on(const struct subject_command *command)
{
	if (command->verb == SUBJECT_SPIN)
		spin_on_cpu(command->arg);
	if (command->verb == SUBJECT_LOCK || command->verb == SUBJECT_INSIDE) {
		__atomic_store_n(&is_held_up, true, __ATOMIC_SEQ_CST);
		ask_in_vain();
	}
	if (command->verb == SUBJECT_LOCK) {
		pthread_mutex_lock(&held_lock);
		pthread_mutex_unlock(&held_lock);
	}
	if (command->verb == SUBJECT_INSIDE)
		wait_elsewhere();
	answer();
}

static void *be_worker(void *ctx)
{
	struct worker self = {.wanted = PTHREAD_COND_INITIALIZER, .tid = gettid()};
	struct subject_command command;

	(void)ctx;
	__atomic_store_n(&pool_worker, &self, __ATOMIC_RELEASE);
	for (;;) {
		ask_in_vain();
		pthread_mutex_lock(&pool_lock);
		while (!self.has_work)
			pthread_cond_wait(&self.wanted, &pool_lock);
		command = self.work;
		self.has_work = false;
		pthread_mutex_unlock(&pool_lock);
		work_on(&command);
	}
	return NULL;
}

static void give_work(const struct subject_command *command)
{
	pthread_mutex_lock(&pool_lock);
	pool_worker->work = *command;
	pool_worker->has_work = true;
	pthread_cond_signal(&pool_worker->wanted);
	pthread_mutex_unlock(&pool_lock);
}

static void *be_listener(void *ctx)
{
	struct subject_command command;
	struct epoll_event event;

	for (;;) {
		if (epoll_wait(epfd, &event, 1, -1) != 1)
			continue;
		read_command(commands[0], &command);
		give_work(&command);
	}
	return ctx;
}

static void start(void *(*function)(void *), void *ctx)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, function, ctx) != 0)
		die("thread");
}

/* What it blocks for while the worker has the command already. */
static void hold_up(const struct subject_command *command)
{
	if (command->verb == SUBJECT_LOCK || command->verb == SUBJECT_INSIDE) {
		while (!__atomic_exchange_n(&is_held_up, false, __ATOMIC_SEQ_CST))
			sched_yield();
		await_call(pool_worker->tid, SYS_futex);
		keep_blocked_for(command->arg);
	}
	if (command->verb == SUBJECT_LOCK)
		pthread_mutex_unlock(&held_lock);
	if (command->verb == SUBJECT_INSIDE)
		end_elsewhere();
}

static void serve_by_pool(bool alone)
{
	struct subject_command command;

	start(be_worker, NULL);
	while (!__atomic_load_n(&pool_worker, __ATOMIC_ACQUIRE))
		sched_yield();
	if (!alone)
		start(be_listener, NULL);
	for (;;) {
		read_command(STDIN_FILENO, &command);
		if (command.verb == SUBJECT_BLOCK) {
			await_call(pool_worker->tid, SYS_futex);
			keep_blocked_for(command.arg);
		}
		if (command.verb == SUBJECT_LOCK)
			pthread_mutex_lock(&held_lock);
		if (alone)
			give_work(&command);
		else if (write(commands[1], &command, sizeof(command)) != sizeof(command))
			die("write");
		hold_up(&command);
	}
}

/* ---- the schedulers ---- */

struct scheduler {
	int word; /* OFF_WAITER: it sleeps */
	int lock; /* the same, for a lock */
	pid_t tid;
};

static struct scheduler schedulers[SCHEDULERS];
static bool has_poller;
static bool as_go;
static bool as_jetty;

static void wake_from(int *word)
{
	__atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void wake(struct scheduler *scheduler)
{
	wake_from(&scheduler->word);
}

/* In the frame of its caller, as what waits in the set is not. */
static inline __attribute__((always_inline)) void sleep_until_woken(struct scheduler *self,
								    const struct timespec *timeout)
{
	while (__atomic_load_n(&self->word, __ATOMIC_SEQ_CST) == OFF_WAITER)
		syscall(SYS_futex, &self->word, FUTEX_WAIT_PRIVATE, OFF_WAITER, timeout, NULL, 0);
}

static void sleep_on(int *word) __asm__("runtime.futexsleep");
static void sleep_without_work(struct scheduler *self) __asm__("runtime.stopm");
static void sleep_for_lock(struct scheduler *self) __asm__("runtime.lock2");

static __attribute__((noinline)) void sleep_on(int *word)
{
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) == OFF_WAITER)
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, OFF_WAITER, NULL, NULL, 0);
}

static __attribute__((noinline)) void sleep_without_work(struct scheduler *self)
{
	sleep_on(&self->word);
	__asm__ volatile(""); /* no tail call: it is to be in the stack */
}

static __attribute__((noinline)) void sleep_for_lock(struct scheduler *self)
{
	sleep_on(&self->lock);
	__asm__ volatile("");
}

/* clang does it by itself. */
#ifdef __clang__
#define QUOTED(name) name
#else
#define QUOTED(name) "\"" name "\""
#endif

static void park(struct scheduler *self) __asm__("_ZN6Parker4parkEbl");
static void park_by_machine(struct scheduler *self) __asm__("Unsafe_Park");
static void wait_as_reserve(struct scheduler *self) __asm__(
	QUOTED("org.eclipse.jetty.util.thread.ReservedThreadExecutor$ReservedThread.reservedWait()"));

static __attribute__((noinline)) void park(struct scheduler *self)
{
	while (__atomic_load_n(&self->word, __ATOMIC_SEQ_CST) == OFF_WAITER)
		syscall(SYS_futex, &self->word, FUTEX_WAIT_BITSET_PRIVATE, OFF_WAITER, NULL, NULL,
			FUTEX_BITSET_MATCH_ANY);
}

static __attribute__((noinline)) void park_by_machine(struct scheduler *self)
{
	park(self);
	__asm__ volatile("# by the machine");
}

static __attribute__((noinline)) void park_deeper(struct scheduler *self)
{
	char deeper[2048];

	keep_in_frame(deeper);
	park_by_machine(self);
	keep_in_frame(deeper);
}

static __attribute__((noinline)) void wait_as_reserve(struct scheduler *self)
{
	park_by_machine(self);
	__asm__ volatile("# without work");
}

static void be_off(struct scheduler *self)
{
	__atomic_store_n(&self->word, OFF_WAITER, __ATOMIC_SEQ_CST);
}

static void leave_set(struct scheduler *next)
{
	__atomic_store_n(&has_poller, false, __ATOMIC_SEQ_CST);
	if (next)
		wake(next);
}

static __attribute__((noinline)) void wait_in_set(void)
{
	struct epoll_event events[64];

	while (epoll_wait(epfd, events, 64, -1) < 0 && errno == EINTR)
		;
}

static __attribute__((noinline)) void sleep_deeper(struct scheduler *self)
{
	char deeper[2048];
	const struct timespec minute = {60, 0};

	keep_in_frame(deeper);
	sleep_until_woken(self, &minute);
	keep_in_frame(deeper);
}

static __attribute__((noinline)) void do_scheduled(struct scheduler *self,
						   const struct subject_command *command)
{
	if (command->verb == SUBJECT_SPIN)
		spin_on_cpu(command->arg);
	if (command->verb == SUBJECT_LOCK && as_go)
		sleep_for_lock(self);
	else if (command->verb == SUBJECT_LOCK && as_jetty)
		park_deeper(self);
	else if (command->verb == SUBJECT_LOCK)
		sleep_until_woken(self, NULL);
	if (command->verb == SUBJECT_INSIDE)
		sleep_deeper(self);
}

static void *be_scheduler(void *ctx)
{
	struct scheduler *self = ctx, *other = &schedulers[self == schedulers];
	const struct timespec minute = {60, 0};
	struct subject_command command;

	__atomic_store_n(&self->tid, gettid(), __ATOMIC_RELEASE);
	for (;;) {
		be_off(self);
		if (__atomic_exchange_n(&has_poller, true, __ATOMIC_SEQ_CST)) {
			if (as_go)
				sleep_without_work(self);
			else if (as_jetty)
				wait_as_reserve(self);
			else
				sleep_until_woken(self, &minute);
			continue;
		}
		wait_in_set();
		read_command(commands[0], &command);
		if (command.verb == SUBJECT_OTHER) {
			sleep_until_woken(self, &minute);
			answer();
			leave_set(NULL);
			continue;
		}
		leave_set(other);
		do_scheduled(self, &command);
		answer();
	}
	return NULL;
}

/* ---- one whose sleeps have not been seen before ---- */

#define NEW_WORDS 1024

static int new_words[NEW_WORDS];
static size_t new_words_used;

static void sleep_at(int *word, uint64_t ns) __asm__("runtime.notesleep");
static void sleep_without_work_at(int *word, uint64_t ns) __asm__("runtime.mPark");
static void sleep_for_lock_at(int *word, uint64_t ns) __asm__("runtime.lockWithRank");

static int *new_word(void)
{
	return &new_words[1 + new_words_used++ % (NEW_WORDS - 1)];
}

static __attribute__((noinline)) void sleep_at(int *word, uint64_t ns)
{
	struct timespec timeout = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, &timeout, NULL, 0);
}

static __attribute__((noinline)) void sleep_without_work_at(int *word, uint64_t ns)
{
	sleep_at(word, ns);
	__asm__ volatile("# without work"); /* no tail call, nor the same function as the next */
}

static __attribute__((noinline)) void sleep_for_lock_at(int *word, uint64_t ns)
{
	sleep_at(word, ns);
	__asm__ volatile("# for a lock");
}

/* As asio's: it waits for a condition, and when that is there, for the lock again. */
static void run_handlers(uint64_t ns) __asm__("_ZN4asio6detail9scheduler3runEv");

static void *have_it_and_keep_the_lock(void *ctx)
{
	pthread_mutex_lock(&pool_lock);
	is_done_elsewhere = true;
	pthread_cond_signal(&elsewhere);
	sleep_for(*(const uint64_t *)ctx);
	pthread_mutex_unlock(&pool_lock);
	return NULL;
}

static __attribute__((noinline)) void run_handlers(uint64_t ns)
{
	pthread_t thread;

	pthread_mutex_lock(&pool_lock);
	if (pthread_create(&thread, NULL, have_it_and_keep_the_lock, &ns) != 0)
		die("thread");
	while (!is_done_elsewhere)
		pthread_cond_wait(&elsewhere, &pool_lock);
	is_done_elsewhere = false;
	pthread_mutex_unlock(&pool_lock);
	pthread_join(thread, NULL);
}

static __attribute__((noinline)) void do_about_sleeps(const struct subject_command *command)
{
	if (command->verb == SUBJECT_INSIDE)
		run_handlers(2 * command->arg);
	if (command->verb == SUBJECT_LOCK) {
		sleep_without_work_at(new_word(), 2 * command->arg);
		sleep_for_lock_at(new_word(), command->arg);
	}
	if (command->verb != SUBJECT_SPIN)
		return;
	spin_on_cpu(command->arg);
	wake_from(&new_words[0]);
	spin_on_cpu(command->arg);
	sleep_without_work_at(&new_words[0], 4 * command->arg);
}

static void serve_anew(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct subject_command command;

	if (epoll_ctl(epfd, EPOLL_CTL_ADD, STDIN_FILENO, &event) != 0)
		die("epoll_ctl");
	for (;;) {
		wait_in_set();
		read_command(STDIN_FILENO, &command);
		do_about_sleeps(&command);
		answer();
	}
}

/* ---- two by turns ---- */

/* Who waits in the set, once the other is off. */
static struct scheduler *await_poller(void)
{
	for (;;) {
		for (int i = 0; i < SCHEDULERS; i++)
			if (is_in_call(schedulers[i].tid, SYS_epoll_wait) &&
			    sleeps_on(schedulers[!i].tid, &schedulers[!i].word))
				return &schedulers[i];
		sched_yield();
	}
}

static void serve_by_schedulers(void)
{
	struct subject_command command;
	struct scheduler *poller;

	for (int i = 0; i < SCHEDULERS; i++) {
		start(be_scheduler, &schedulers[i]);
		while (!__atomic_load_n(&schedulers[i].tid, __ATOMIC_ACQUIRE))
			sched_yield();
	}
	for (;;) {
		read_command(STDIN_FILENO, &command);
		poller = await_poller();
		if (command.verb == SUBJECT_BLOCK)
			sleep_for(command.arg);
		if (command.verb == SUBJECT_LOCK)
			__atomic_store_n(&poller->lock, OFF_WAITER, __ATOMIC_SEQ_CST);
		if (write(commands[1], &command, sizeof(command)) != sizeof(command))
			die("write");
		if (command.verb != SUBJECT_LOCK && command.verb != SUBJECT_INSIDE &&
		    command.verb != SUBJECT_OTHER)
			continue;
		while (!sleeps_on(poller->tid,
				  as_go && command.verb == SUBJECT_LOCK ? &poller->lock : &poller->word))
			sched_yield();
		keep_blocked_for(command.arg);
		wake(poller);
		wake_from(&poller->lock);
	}
}

int main(int argc, char **argv)
{
	const char *manner = argc > 1 ? argv[1] : "";
	struct epoll_event event = {.events = EPOLLIN};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (epfd < 0 || pipe(commands) != 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, commands[0], &event) != 0)
		die("epoll");
	if (strcmp(manner, "pool") == 0 || strcmp(manner, "pool_alone") == 0)
		serve_by_pool(manner[4] != '\0');
	if (strcmp(manner, "go_new") == 0)
		serve_anew();
	as_go = strcmp(manner, "go") == 0;
	as_jetty = strcmp(manner, "jetty") == 0;
	if (as_go || as_jetty || strcmp(manner, "schedulers") == 0)
		serve_by_schedulers();
	return 2;
}
