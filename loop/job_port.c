/* SPDX-License-Identifier: MIT */
#include "jobs.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/*
 * Where jobs come back to a loop.
 *
 * The port is a stack without a lock: threads push, the loop takes all of it at once (so there is no ABA). Who
 * pushes onto an empty one wakes the loop; a burst wakes it once. The eventfd that it is woken by is watched
 * edge-triggered and never read, and its event has a tag that no source has, so it is no dispatch and
 * costs the dispatch of others nothing.
 *
 * A thread that has pushed the last job of a loop may still be about to write to the eventfd when the loop is
 * freed: whoever may have to write holds a reference to the port.
 */

struct job_port {
	struct stint_fd mark;       /* first, for its alignment: where the tag of the wake-up points */
	struct stint_job *returned; /* atomic */
	uint32_t references;        /* atomic */
	int wake;                   /* an eventfd */
};

static void port_release(struct job_port *port)
{
	if (__atomic_sub_fetch(&port->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	close(port->wake);
	free(port);
}

static void wake(struct job_port *port)
{
	const uint64_t one = 1;
	/* Cannot fail: the counter would have to reach 2^64, and it is no pipe. */
	ssize_t written = write(port->wake, &one, sizeof(one));

	(void)written;
}

/* Once the job is pushed, its loop may be done with it and free the port. */
void job_port_return(struct stint_job *job, enum stint_job_outcome outcome)
{
	struct job_port *port = job->port;
	struct stint_job *top = __atomic_load_n(&port->returned, __ATOMIC_RELAXED);
	bool held = false;

	job->outcome = outcome;
	do {
		if (!top && !held) {
			__atomic_fetch_add(&port->references, 1, __ATOMIC_RELAXED);
			held = true;
		}
		job->next = top;
	} while (!__atomic_compare_exchange_n(&port->returned, &top, job, true, __ATOMIC_RELEASE,
					      __ATOMIC_RELAXED));
	if (!top)
		wake(port);
	if (held)
		port_release(port);
}

/* ---- by the loop's thread ---- */

int job_port_watch(struct stint_loop *loop, int epoll)
{
	struct epoll_event event = {.events = EPOLLIN | (uint32_t)EPOLLET,
				    .data.u64 = (uintptr_t)&loop->port->mark};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, loop->port->wake, &event) < 0 ? -errno : 0;
}

int job_port_open(struct stint_loop *loop)
{
	struct job_port *port;
	int error;

	if (loop->port)
		return 0;
	port = aligned_alloc(64, (sizeof(*port) + 63) / 64 * 64);
	if (!port)
		return -ENOMEM;
	*port = (struct job_port){.mark.index = WAKE_INDEX, .mark.handler = NO_HANDLER, .references = 1};
	port->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (port->wake < 0) {
		error = -errno;
		free(port);
		return error;
	}
	loop->port = port;
	error = job_port_watch(loop, loop->epoll);
	if (error < 0)
		job_port_close(loop);
	return error;
}

void job_port_close(struct stint_loop *loop)
{
	if (loop->port)
		port_release(loop->port);
	loop->port = NULL;
}

uint32_t job_port_collect(struct stint_loop *loop)
{
	struct stint_job *job, *ordered = NULL, **end = &loop->jobs_returned;
	uint32_t count = 0;

	/* Looked at in every iteration, and mostly empty: a plain load is cheaper than an exchange. */
	if (!__atomic_load_n(&loop->port->returned, __ATOMIC_RELAXED))
		return 0;
	job = __atomic_exchange_n(&loop->port->returned, NULL, __ATOMIC_ACQUIRE);
	while (job) {
		struct stint_job *next = job->next;

		job->next = ordered;
		ordered = job;
		job = next;
		count++;
	}
	while (*end)
		end = &(*end)->next;
	*end = ordered;
	return count;
}

void job_port_await(struct stint_loop *loop)
{
	struct pollfd woken = {.fd = loop->port->wake, .events = POLLIN};
	uint64_t count;

	/* Whoever pushes from now on finds the stack empty, and so writes. */
	if (poll(&woken, 1, -1) > 0 && read(loop->port->wake, &count, sizeof(count)) < 0)
		return;
}
