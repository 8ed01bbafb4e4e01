/* SPDX-License-Identifier: MIT */
#ifndef FAULTS_FIXTURE_H
#define FAULTS_FIXTURE_H

/*
 * Faults on demand: the n-th allocation, or the n-th system call of a kind, made by what is linked into the test
 * program fails. The linker sends those calls here (--wrap, set in the Makefile for the tests that include this), so
 * it works beside a sanitizer, which has an allocator of its own. What libc allocates for itself is let alone.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum fault { FAULT_NONE, FAULT_MEMORY, FAULT_DESCRIPTOR, FAULT_REGISTRATION, FAULT_THREAD };

static struct {
	enum fault kind;
	int error;       /* errno of the call that fails; memory is always ENOMEM */
	int64_t left;    /* calls of the kind until the one that fails; atomic */
	bool lasts;      /* and all after it do */
	uint32_t struck; /* how many have failed; atomic */
	int64_t live;    /* allocations that have not been freed; atomic */
} faults;

/* From now on the `n`-th call of a kind fails, counted from 1. */
static void faults_arm(enum fault kind, int error, int64_t n)
{
	faults.kind = kind;
	faults.error = error;
	__atomic_store_n(&faults.struck, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&faults.left, n, __ATOMIC_RELEASE);
}

/* Whether a fault has struck since it was armed. */
static bool faults_disarm(void)
{
	faults.lasts = false;
	__atomic_store_n(&faults.left, 0, __ATOMIC_RELEASE);
	return __atomic_load_n(&faults.struck, __ATOMIC_RELAXED) > 0;
}

/* Whether this call is the one. Any thread. */
static bool faults_strike(enum fault kind)
{
	bool is_due;

	if (faults.kind != kind)
		return false;
	is_due = __atomic_load_n(&faults.left, __ATOMIC_ACQUIRE) > 0 &&
		 __atomic_sub_fetch(&faults.left, 1, __ATOMIC_ACQ_REL) == 0;
	if (!is_due && !(faults.lasts && __atomic_load_n(&faults.struck, __ATOMIC_RELAXED) > 0))
		return false;
	__atomic_fetch_add(&faults.struck, 1, __ATOMIC_RELAXED);
	errno = kind == FAULT_MEMORY ? ENOMEM : faults.error;
	return true;
}

static void *faults_counted(void *memory)
{
	if (memory)
		__atomic_fetch_add(&faults.live, 1, __ATOMIC_RELAXED);
	return memory;
}

/* ---- memory ---- */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_reallocarray(void *memory, size_t count, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *memory);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t limit);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_reallocarray(void *memory, size_t count, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void __wrap_free(void *memory);
int __wrap_asprintf(char **ret, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t limit);

void *__wrap_malloc(size_t bytes)
{
	return faults_strike(FAULT_MEMORY) ? NULL : faults_counted(__real_malloc(bytes));
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return faults_strike(FAULT_MEMORY) ? NULL : faults_counted(__real_calloc(count, bytes));
}

void *__wrap_realloc(void *memory, size_t bytes)
{
	void *moved = faults_strike(FAULT_MEMORY) ? NULL : __real_realloc(memory, bytes);

	return memory ? moved : faults_counted(moved);
}

void *__wrap_reallocarray(void *memory, size_t count, size_t bytes)
{
	void *moved = faults_strike(FAULT_MEMORY) ? NULL : __real_reallocarray(memory, count, bytes);

	return memory ? moved : faults_counted(moved);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
	return faults_strike(FAULT_MEMORY) ? NULL : faults_counted(__real_aligned_alloc(alignment, bytes));
}

/* What it makes is freed by free(), and so must be counted. */
int __wrap_asprintf(char **ret, const char *format, ...)
{
	va_list arguments;
	int length;

	if (faults_strike(FAULT_MEMORY))
		return -1;
	va_start(arguments, format);
	length = vasprintf(ret, format, arguments);
	va_end(arguments);
	if (length >= 0)
		faults_counted(*ret);
	return length;
}

char *__wrap_strdup(const char *text)
{
	return faults_strike(FAULT_MEMORY) ? NULL : faults_counted(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t limit)
{
	return faults_strike(FAULT_MEMORY) ? NULL : faults_counted(__real_strndup(text, limit));
}

void __wrap_free(void *memory)
{
	if (memory)
		__atomic_fetch_sub(&faults.live, 1, __ATOMIC_RELAXED);
	__real_free(memory);
}

/* ---- descriptors ---- */

int __real_socket(int domain, int type, int protocol);
int __real_accept4(int fd, struct sockaddr *peer, socklen_t *bytes, int flags);
int __real_epoll_create1(int flags);
int __real_eventfd(unsigned value, int flags);
int __real_open(const char *path, int flags, ...);
int __real_openat(int directory, const char *path, int flags, ...);
long __real_syscall(long number, ...);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *bytes, int flags);
int __wrap_epoll_create1(int flags);
int __wrap_eventfd(unsigned value, int flags);
int __wrap_open(const char *path, int flags, ...);
int __wrap_openat(int directory, const char *path, int flags, ...);
long __wrap_syscall(long number, ...);

int __wrap_socket(int domain, int type, int protocol)
{
	return faults_strike(FAULT_DESCRIPTOR) ? -1 : __real_socket(domain, type, protocol);
}

int __wrap_accept4(int fd, struct sockaddr *peer, socklen_t *bytes, int flags)
{
	return faults_strike(FAULT_DESCRIPTOR) ? -1 : __real_accept4(fd, peer, bytes, flags);
}

int __wrap_epoll_create1(int flags)
{
	return faults_strike(FAULT_DESCRIPTOR) ? -1 : __real_epoll_create1(flags);
}

int __wrap_eventfd(unsigned value, int flags)
{
	return faults_strike(FAULT_DESCRIPTOR) ? -1 : __real_eventfd(value, flags);
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list arguments;
	int mode;

	va_start(arguments, flags);
	mode = flags & O_CREAT ? va_arg(arguments, int) : 0;
	va_end(arguments);
	return faults_strike(FAULT_DESCRIPTOR) ? -1 : __real_open(path, flags, mode);
}

int __wrap_openat(int directory, const char *path, int flags, ...)
{
	va_list arguments;
	int mode;

	va_start(arguments, flags);
	mode = flags & O_CREAT ? va_arg(arguments, int) : 0;
	va_end(arguments);
	return faults_strike(FAULT_DESCRIPTOR) ? -1 : __real_openat(directory, path, flags, mode);
}

/* All of a system call's six arguments are handed on, as the real one does, whether the caller gave them or not. */
long __wrap_syscall(long number, ...)
{
	va_list arguments;
	long argument[6];

	va_start(arguments, number);
	for (int i = 0; i < 6; i++)
		argument[i] = va_arg(arguments, long);
	va_end(arguments);
	if (number == SYS_pidfd_open && faults_strike(FAULT_DESCRIPTOR))
		return -1;
	return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4],
			      argument[5]);
}

/* ---- registrations and threads ---- */

int __real_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
			  void *ctx);
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
			  void *ctx);

/* Only what adds needs the kernel's memory; taking away and changing do not. */
int __wrap_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	if (operation == EPOLL_CTL_ADD && faults_strike(FAULT_REGISTRATION))
		return -1;
	return __real_epoll_ctl(epoll, operation, fd, event);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
			  void *ctx)
{
	return faults_strike(FAULT_THREAD) ? EAGAIN : __real_pthread_create(thread, attributes, run, ctx);
}

#endif
