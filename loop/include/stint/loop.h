/* SPDX-License-Identifier: MIT */
#ifndef STINT_LOOP_H
#define STINT_LOOP_H

/*
 * The reactor: one epoll loop per thread, every callback of which is timed under its handler's name.
 *
 * Functions return 0 or a negative errno; nothing is written through result parameters on failure; misuse
 * (NULL, a handler that does not exist, a callback missing) is -EINVAL. Destructors accept NULL and
 * return NULL. A loop and all that is on it belong to one thread: the one that calls stint_loop_run(). Another may make
 * the loop, and sources on it, before that one is started, and may free it once that one has been joined.
 *
 * Options begin with their size, which tells a newer library what an older program knows; all else may be left 0:
 *
 *	struct stint_listener_options options = {.size = sizeof(options), .reuse_port = true};
 *
 * Who frees what: sources are the library's memory, freed by their own function or, all that are left, by
 * stint_loop_free(); those that call back once (a connect, a child, a job) are gone with that call. `ctx` is always the
 * caller's. Freeing a source or the loop calls no callback of it, so nobody frees a `ctx` then: a program that frees
 * the loop while sources are on it keeps a list of its own of what they refer to. What the library was lent is given back
 * even then: posts (-ECANCELED) and pieces of a stream's queue (`release`).
 *
 * A callback ends by returning: a C++ exception or a longjmp() that leaves it takes the loop with it.
 *
 * Any callback may free, stop or change any source, its own included, and may stop or free the loop. What
 * is freed gets no more callbacks, not even for events that the poll had already returned. Pointers to
 * sources of a freed loop are invalid, as freeing the loop frees them.
 *
 * A child by fork() may free the loops and sources that it has from its parent (not where jobs or lookups by
 * threads are out: their threads are the parent's), which closes its own copies of the descriptors and takes nothing
 * from the parent, whose epoll set it shares. Nothing else can be done with them there: running the loop, or adding a
 * descriptor, is -ECHILD. It may make loops of its own.
 *
 * A handler is an index from stint_loop_handler(); 0 is "other" and always there. What that returns may be cast to
 * uint32_t and handed on without a look: its one error, -EINVAL, is no handler, and the functions that take one
 * return -EINVAL for it (a post has no such moment: it counts as "other"). Times are ns; points in time are of
 * CLOCK_MONOTONIC.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stint/api.h>
#include <stint/meter.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_loop;
struct stint_fd;
struct stint_timer;
struct stint_deferred;
struct stint_idle;
struct stint_listener;
struct stint_connect;

struct stint_loop_options {
	size_t size;               /* sizeof(struct stint_loop_options) */
	const char *name;          /* in reports; NULL: "loop". Copied. */
	struct stint_meter *meter; /* NULL: the process's; the loop takes a reference of its own */
	bool meter_off;            /* true: nothing is timed */
	uint32_t batch_limit;      /* most events of one poll; 0: 512, at most 65536 */
};

/* `options` NULL: all defaults. -EINVAL, -ENOMEM, -EMFILE, -ENFILE, or what the meter says. */
STINT_API int stint_loop_new(struct stint_loop **ret, const struct stint_loop_options *options);

/*
 * Frees the loop and every source on it. Descriptors that the library owns are closed. Inside a callback
 * it takes effect at once for all sources; stint_loop_run() then returns without touching the loop again.
 */
STINT_API struct stint_loop *stint_loop_free(struct stint_loop *loop);

/*
 * Runs until stint_loop_stop(), or until nothing is left that could call back: no descriptor, signal, child or mailbox
 * (but for those in the background: stint_fd_set_background()), no armed timer, no scheduled deferred, no started slice
 * or idle, no job that is out. Returns 0; -EBUSY inside a callback of the same loop; -ECHILD in a forked child; or what
 * epoll says.
 *
 * The contract, iteration by iteration:
 *  1. Changes to descriptors' events that callbacks made are told to the kernel.
 *  2. The poll waits: not at all if a deferred is scheduled, a slice or an idle started, or posts are left from
 *     the last iteration; else until the next timer is due, else without limit. A signal that interrupts it is a
 *     poll without events.
 *  3. Descriptors, and children that have ended, are dispatched in the order in which the kernel returned
 *     them, each at most once an iteration, with all its events together.
 *  4. Timers that were due when the poll returned are dispatched in the order of their deadlines (equal
 *     ones in no certain order). A timer started from here on waits for the next iteration, even if its
 *     deadline has passed, so timers cannot starve descriptors.
 *  5. Jobs that have come back from a pool by then (pool.h), in the order in which they came back.
 *  6. Deferred callbacks are dispatched in the order in which they were scheduled. One scheduled by a
 *     deferred callback waits for the next iteration, so they cannot starve the rest either.
 *     The posts of a mailbox (post.h) are dispatched among them, in the order in which they were posted, where
 *     the mailbox's wake-up, a descriptor of step 3, has put them: at most as many as the loop's batch_limit.
 *     The rest, and what is posted meanwhile, waits for the next iteration. Signals (signal.h) are posts: the
 *     loop's share one mailbox.
 *  7. Slices (slice.h), until their share of the iteration is used up.
 *  8. Idle callbacks are dispatched, each once, in the order in which they were started, if the poll returned
 *     no event, no timer was due, no deferred was scheduled and no slice started. One that is started by
 *     another waits for the next iteration.
 * A stop lets the iteration end first: no event of an edge-triggered descriptor is lost to it.
 */
STINT_API int stint_loop_run(struct stint_loop *loop);

/*
 * One iteration, whose poll waits at most `timeout_ns`. UINT64_MAX: as stint_loop_run(), so that with nothing left that
 * could call back there is none, and it returns 0 at once.
 */
STINT_API int stint_loop_iterate(struct stint_loop *loop, uint64_t timeout_ns);

/*
 * Makes stint_loop_run() return after this iteration; if it is not running, at once when it is called. Within
 * stint_loop_iterate(), which returns then anyway, it asks for nothing. The loop's thread alone: nothing wakes the loop.
 * From another thread, or a signal handler, post a callback that calls this (post.h).
 */
STINT_API int stint_loop_stop(struct stint_loop *loop);

/*
 * Start of the running dispatch; outside of one, the time now. 0 for NULL. Costs no clock read inside. Without a meter no
 * dispatch reads the clock: inside of any it is when the poll returned, and so are the delays of timers counted from then.
 */
STINT_API uint64_t stint_loop_now_ns(struct stint_loop *loop);

/* Registers or finds a handler by name: see stint_meter_handler(). 0 if the loop has no meter. -EINVAL: no name. */
STINT_API int stint_loop_handler(struct stint_loop *loop, const char *name, uint64_t budget_ns);

/*
 * The loop's account, for stint_meter_begin() and stint_meter_end() within a callback: a server that reads
 * a request in one handler names its routes so. Owned by the loop; NULL if it has no meter.
 */
STINT_API struct stint_meter_loop *stint_loop_account(struct stint_loop *loop);

/* ---- descriptors ---- */

/* The values of the kernel's EPOLLIN, EPOLLOUT, ..., so that events need no translation. */
#define STINT_READ   0x001u     /* data, end of file, or a connection to accept */
#define STINT_WRITE  0x004u     /* room to write */
#define STINT_ERROR  0x008u     /* EPOLLERR: always reported */
#define STINT_HANGUP 0x010u     /* EPOLLHUP: always reported */
#define STINT_EDGE   0x80000000 /* only for stint_fd_new(): report changes, not states */

typedef void (*stint_fd_callback)(struct stint_fd *source, uint32_t events, void *ctx);

/*
 * Watches `fd` for `events` (STINT_READ, STINT_WRITE; with STINT_EDGE edge-triggered). The descriptor stays
 * the caller's, who frees the source and then closes it (stint_fd_own() changes that).
 *
 * -EINVAL also for a descriptor that is not O_NONBLOCK: one blocking read would stop everyone. -EBADF;
 * -EEXIST: on this loop already; -EPERM: of a kind that epoll cannot watch (a regular file); -ENOSPC,
 * -ENOMEM.
 */
STINT_API int stint_fd_new(struct stint_fd **ret, struct stint_loop *loop, int fd, uint32_t events,
			   uint32_t handler, stint_fd_callback callback, void *ctx);

/* Stops watching; closes the descriptor only if owned. */
STINT_API struct stint_fd *stint_fd_free(struct stint_fd *source);

/*
 * Which events to report from now on; told to the kernel before the next poll. 0: only errors. -EINVAL.
 * With STINT_EDGE, a change has what is there reported anew, also one that is taken back before it was told.
 *
 * If the kernel refuses that, the descriptor was closed, though the source is still there: the source is called with
 * STINT_ERROR, once, and gets no events any more nor keeps the loop running. The same if its number, as another file's, is
 * watched by a new source. A close after which neither happens goes unnoticed, and the loop waits for a descriptor that is
 * not: so free the source first.
 */
STINT_API int stint_fd_set_events(struct stint_fd *source, uint32_t events);
STINT_API uint32_t stint_fd_events(const struct stint_fd *source);

/* Whether stint_fd_free() and stint_loop_free() close the descriptor. */
STINT_API int stint_fd_own(struct stint_fd *source, bool own);

/*
 * A source in the background does not keep stint_loop_run() from returning, as with uv_unref(); it is called as ever while
 * the loop runs. For what serves the rest: a signal that ends the program, a mailbox for results. The same is there for
 * timers, kinds of timeouts, listeners, signals, mailboxes and children. New sources are in the foreground.
 *
 * One whose descriptor was closed (see stint_fd_set_events()) is in the background and stays there: 0, and nothing changes.
 * -EINVAL.
 */
STINT_API int stint_fd_set_background(struct stint_fd *source, bool background);

STINT_API int stint_fd_set_handler(struct stint_fd *source, uint32_t handler);
STINT_API int stint_fd_descriptor(const struct stint_fd *source); /* -EINVAL for NULL */

/* What it was made with. NULL for NULL, or when it or its loop is freed. */
STINT_API struct stint_loop *stint_fd_loop(const struct stint_fd *source);
STINT_API void *stint_fd_ctx(const struct stint_fd *source);

/* ---- timers ---- */

typedef void (*stint_timer_callback)(struct stint_timer *timer, void *ctx);

/*
 * Makes a timer that is not armed. 56 bytes, which the loop keeps for the next one when it is freed. From 37,000 timers
 * on their memory comes 2 MiB at a time, as a huge page where the kernel gives one: 0.3 ms for one call in 37,000.
 * One for each of many things, as a connection's timeout, is smaller and faster as a part of those: timeout.h.
 * -ENOMEM.
 */
STINT_API int stint_timer_new(struct stint_timer **ret, struct stint_loop *loop, uint32_t handler,
			      stint_timer_callback callback, void *ctx);
STINT_API struct stint_timer *stint_timer_free(struct stint_timer *timer);

/*
 * Arms it, or arms it anew: due `delay_ns` after stint_loop_now_ns(), then, if `period_ns` is not 0, every
 * `period_ns` on a grid that does not drift. Ticks that a late loop has missed are skipped; the grid stays.
 */
STINT_API int stint_timer_start(struct stint_timer *timer, uint64_t delay_ns, uint64_t period_ns);

/* The same with the first deadline as a point in time; one that has passed means as soon as possible. */
STINT_API int stint_timer_start_at(struct stint_timer *timer, uint64_t due_ns, uint64_t period_ns);

/* Disarms it. 0 also if it was not armed. */
STINT_API int stint_timer_stop(struct stint_timer *timer);

/* Whether it keeps the loop running while it is armed: see stint_fd_set_background(). -EINVAL. */
STINT_API int stint_timer_set_background(struct stint_timer *timer, bool background);

/* Next deadline; 0 if it is not armed. One of 0 is told as 1. */
STINT_API uint64_t stint_timer_due_ns(const struct stint_timer *timer);

/* What it was made with. NULL for NULL, or when it or its loop is freed. */
STINT_API struct stint_loop *stint_timer_loop(const struct stint_timer *timer);
STINT_API void *stint_timer_ctx(const struct stint_timer *timer);

/* ---- deferred callbacks ---- */

typedef void (*stint_deferred_callback)(struct stint_deferred *deferred, void *ctx);

/* Called once in step 6 of the iteration for each time that it is scheduled; scheduled twice, called once. */
STINT_API int stint_deferred_new(struct stint_deferred **ret, struct stint_loop *loop, uint32_t handler,
				 stint_deferred_callback callback, void *ctx);
STINT_API struct stint_deferred *stint_deferred_free(struct stint_deferred *deferred);
STINT_API int stint_deferred_schedule(struct stint_deferred *deferred);
STINT_API int stint_deferred_cancel(struct stint_deferred *deferred);

/* ---- idle callbacks ---- */

typedef void (*stint_idle_callback)(struct stint_idle *idle, void *ctx);

/*
 * Called once in step 8 of each iteration that had nothing else to do, from stint_idle_start() to stint_idle_stop(). While
 * one is started the poll never waits, so the loop takes a whole CPU. -EINVAL, -ENOMEM.
 */
STINT_API int stint_idle_new(struct stint_idle **ret, struct stint_loop *loop, uint32_t handler,
			     stint_idle_callback callback, void *ctx);
STINT_API struct stint_idle *stint_idle_free(struct stint_idle *idle);

/* 0 also if it is started, or stopped, already. */
STINT_API int stint_idle_start(struct stint_idle *idle);
STINT_API int stint_idle_stop(struct stint_idle *idle);

/* ---- listeners ---- */

/*
 * `fd` is a non-blocking, close-on-exec socket, owned by the callback: which makes a stream of it, or posts it to another
 * thread's loop (post.h) that does.
 */
typedef void (*stint_listener_callback)(struct stint_listener *listener, int fd, const struct sockaddr *peer,
					socklen_t peer_bytes, void *ctx);

struct stint_listener_options {
	size_t size;     /* sizeof(struct stint_listener_options) */
	int backlog;     /* 0: SOMAXCONN */
	bool reuse_port; /* SO_REUSEPORT, for one listener per loop */
	bool ipv6_only; /* IPV6_V6ONLY: no IPv4 connections to an IPv6 address; false: as the system has it */
	bool own_path;  /* the file of a unix socket is the listener's: see below */
};

/*
 * `own_path`: a socket's file that is in the way is removed, if nobody accepts there (a connection is refused); and the
 * listener's own is removed when it is freed, if it is still there, wherever the process has gone by then. Its directory
 * must be readable, and is held open: a lock on it has those who begin there at the same time do so in turn, which may
 * take 0.1 s. Not for a socket that goes on in another process.
 *
 * Binds, listens and accepts. SO_REUSEADDR is set. `options` may be NULL. While the process is out of
 * descriptors or memory, accepting pauses for 100 ms at a time: connections wait in the backlog, nothing
 * spins. -EINVAL, -EADDRINUSE, -EACCES and whatever socket(), bind() and listen() say. -EINVAL also for `own_path`
 * without a path.
 */
STINT_API int stint_listener_new(struct stint_listener **ret, struct stint_loop *loop,
				 const struct sockaddr *address, socklen_t address_bytes,
				 const struct stint_listener_options *options, uint32_t handler,
				 stint_listener_callback callback, void *ctx);
STINT_API struct stint_listener *stint_listener_free(struct stint_listener *listener);

/*
 * Accepts from `fd`, a stream socket that listens already (from socket activation, or from the process before this one),
 * and owns it from then on; on failure it stays the caller's. -EINVAL: it does not listen, or is not O_NONBLOCK; -EBADF,
 * -ENOTSOCK, -EPROTOTYPE, -ENOMEM, and those of stint_fd_new().
 */
STINT_API int stint_listener_adopt(struct stint_listener **ret, struct stint_loop *loop, int fd,
				   uint32_t handler, stint_listener_callback callback, void *ctx);

/*
 * Accepts no more, from within its callback too, or again: connections wait in the backlog, as with a limit of them. A
 * paused listener still keeps stint_loop_run() from returning. 0 also if it is so already.
 */
STINT_API int stint_listener_pause(struct stint_listener *listener);
STINT_API int stint_listener_resume(struct stint_listener *listener);
STINT_API int stint_listener_set_background(struct stint_listener *listener, bool background);

/* The port of an IPv4 or IPv6 listener (of use when it was bound to port 0), or a negative errno. */
STINT_API int stint_listener_port(const struct stint_listener *listener);

/*
 * It stays the listener's. For a restart that refuses nobody, a new process is given it, which adopts it
 * (posix_spawn_file_actions_adddup2() takes close-on-exec off the copy); once it says that it does, the listener is freed
 * here, which closes this process's descriptor alone, and the connections there are end in their own time. -EINVAL for
 * NULL.
 */
STINT_API int stint_listener_descriptor(const struct stint_listener *listener);

/* How often accepting paused for want of descriptors or memory. */
STINT_API uint64_t stint_listener_pauses(const struct stint_listener *listener);

/*
 * 0, or the negative errno with which accepting has ended, of a socket that is none to accept from any more (-EINVAL: it
 * was shut down). Nobody is told; stint_listener_resume() has it tried again.
 */
STINT_API int stint_listener_error(const struct stint_listener *listener);

/* ---- connecting ---- */

/* `error` 0 and a connected non-blocking socket that the callback owns, or a negative errno and -1. */
typedef void (*stint_connect_callback)(int error, int fd, void *ctx);

/*
 * Connects to a numeric address. The callback is called once, from the loop and never from within this
 * call, also for failures that are known at once. The handle is dead when the callback is called.
 * `timeout_ns` 0: the kernel's own limit; on expiry the error is -ETIMEDOUT.
 * What there is no socket for fails in this call: -EMFILE, -ENFILE, -EAFNOSUPPORT and what else socket() says. -EINVAL,
 * -ENOMEM, and those of stint_fd_new().
 */
STINT_API int stint_connect_new(struct stint_connect **ret, struct stint_loop *loop,
				const struct sockaddr *address, socklen_t address_bytes, uint64_t timeout_ns,
				uint32_t handler, stint_connect_callback callback, void *ctx);

/* Gives up: the callback will not be called. */
STINT_API struct stint_connect *stint_connect_free(struct stint_connect *connect);

#ifdef __cplusplus
}
#endif

#endif
