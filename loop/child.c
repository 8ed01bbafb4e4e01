/* SPDX-License-Identifier: MIT */
#include "reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <stint/child.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Children: a pidfd is readable when its process has ended; it is then waited for through the same descriptor. While
 * another process traces it, its end is that one's to see first, and it cannot be waited for; when it is let go, the
 * pidfd's waiters are woken again. Hence edge-triggered: meanwhile it stays readable.
 */

struct stint_child {
	struct object object; /* first: it is what is freed */
	struct stint_fd *source;
	stint_child_callback callback;
	void *ctx;
	pid_t pid;
	bool freed;
};

/* PIDFD_NONBLOCK, which glibc's header has only since 2.36. */
static int open_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* glibc's waitid() leaves out the last argument of the kernel's. Returns 0 or a negative errno. */
static int wait_for(int pidfd, int options, siginfo_t *info, struct rusage *usage)
{
	long result;

	info->si_pid = 0;
	do {
		result = syscall(SYS_waitid, P_PIDFD, pidfd, info, WEXITED | WNOHANG | options, usage);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

static uint64_t timeval_ns(const struct timeval *time)
{
	return (uint64_t)time->tv_sec * 1000000000u + (uint64_t)time->tv_usec * 1000u;
}

static void destroy(struct object *object)
{
	struct stint_child *child = (struct stint_child *)object;

	stint_fd_free(child->source);
	child->freed = true;
	loop_bury(object);
}

/* Everything is taken down first: the callback may free the loop. */
static void on_end(struct stint_fd *source, uint32_t events, void *ctx)
{
	struct stint_child *child = ctx;
	stint_child_callback callback = child->callback;
	void *callback_ctx = child->ctx;
	struct stint_child_exit end = {.pid = child->pid};
	struct rusage usage = {0};
	siginfo_t info;

	(void)events;
	/* Its number may be another file's by now, be it one of another child. */
	end.error = source->registered ? wait_for(stint_fd_descriptor(source), 0, &info, &usage) : -EBADF;
	if (end.error == 0 && info.si_pid == 0)
		return; /* not yet: somebody traces it */
	if (end.error == 0) {
		end.signalled = info.si_code != CLD_EXITED;
		end.core_dumped = info.si_code == CLD_DUMPED;
		end.status = info.si_status;
		end.user_ns = timeval_ns(&usage.ru_utime);
		end.system_ns = timeval_ns(&usage.ru_stime);
		end.max_rss_bytes = (uint64_t)usage.ru_maxrss * 1024;
	}
	destroy(&child->object);
	callback(&end, callback_ctx);
}

int stint_child_new(struct stint_child **ret, struct stint_loop *loop, pid_t pid, uint32_t handler,
		    stint_child_callback callback, void *ctx)
{
	struct stint_child *child;
	siginfo_t info;
	int fd, error;

	if (!ret || !loop || loop->dead || pid <= 0 || !callback || !loop_handler_valid(loop, handler))
		return -EINVAL;
	fd = open_pidfd(pid);
	if (fd < 0)
		return fd;
	error = wait_for(fd, WNOWAIT, &info, NULL); /* says only whether it is a child of ours */
	child = error < 0 ? NULL : calloc(1, sizeof(*child));
	if (!child) {
		close(fd);
		return error < 0 ? error : -ENOMEM;
	}
	child->pid = pid;
	child->callback = callback;
	child->ctx = ctx;
	error = stint_fd_new(&child->source, loop, fd, STINT_READ | STINT_EDGE, handler, on_end, child);
	if (error < 0) {
		close(fd);
		free(child);
		return error;
	}
	stint_fd_own(child->source, true);
	loop_add_object(loop, &child->object, destroy);
	*ret = child;
	return 0;
}

struct stint_child *stint_child_free(struct stint_child *child)
{
	if (child && !child->freed)
		destroy(&child->object);
	return NULL;
}

int stint_child_set_background(struct stint_child *child, bool background)
{
	return child && !child->freed ? stint_fd_set_background(child->source, background) : -EINVAL;
}

int stint_child_kill(struct stint_child *child, int number)
{
	if (!child || child->freed)
		return -EINVAL;
	return syscall(SYS_pidfd_send_signal, stint_fd_descriptor(child->source), number, NULL, 0) < 0
		       ? -errno
		       : 0;
}

pid_t stint_child_pid(const struct stint_child *child)
{
	return child && !child->freed ? child->pid : -EINVAL;
}
