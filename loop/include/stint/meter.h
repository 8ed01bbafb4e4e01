/* SPDX-License-Identifier: MIT */
#ifndef STINT_METER_H
#define STINT_METER_H

/*
 * The meter: names the handlers of an event loop and times their dispatches.
 *
 * A process has one meter; every loop of it (one per thread) has an account with it. The reactor of
 * loop.h opens both by itself. A program on another loop (libev, libuv, libevent, its own) does:
 *
 *	stint_meter_new(&meter, NULL);
 *	stint_meter_loop_new(&account, meter, "main");
 *	int handler = stint_meter_handler(meter, "client.read", 0);
 *	...
 *	stint_meter_begin(account, handler, fd);	// in the callback
 *	...work...
 *	stint_meter_end(account);
 *
 * and, where its loop has hooks around the poll, stint_meter_poll_begin() and stint_meter_poll_end().
 *
 * Words: *service* is how long a dispatch ran. *Wait* is from when the event was known to be ready to the
 * start of its handler: for a descriptor from the return of the poll, which is a lower bound, since the
 * kernel knew earlier. An *overrun* is a dispatch longer than its handler's budget. *Blame* is the delay
 * that a dispatch inflicted on others: its service time, once for each event that was ready behind it
 * (its *victims*).
 *
 * Price: a begin and an end are two clock reads and two records, 30 to 40 ns in all; 57 KB for each
 * handler that a loop has dispatched, backed at its first dispatch.
 *
 * Functions return 0 (or an index) or a negative errno. Unless it says otherwise, a function on an
 * account belongs to the thread that runs that loop; those on the meter may be called from any thread.
 */

#include <stddef.h>
#include <stdint.h>
#include <stint/api.h>

#ifdef __cplusplus
extern "C" {
#endif

struct stint_meter;
struct stint_meter_loop;

#define STINT_BUDGET_DEFAULT_NS 1000000u

struct stint_meter_options {
	size_t size;            /* sizeof(struct stint_meter_options) */
	const char *directory;  /* NULL: stint_runtime_dir(). Copied. */
	uint64_t budget_ns;     /* of handlers that name none; 0: STINT_BUDGET_DEFAULT_NS */
	uint32_t handler_limit; /* 0: 128, at most 65535; "other" is one of them */
	uint32_t loop_limit;    /* 0: 16, at most 1024 */
	uint32_t overrun_slots; /* 0: 1024, at most 65536 */
	uint32_t socket_slots;  /* 0: 4096, at most 65536 */
};

/*
 * Where meters of this user live: $STINT_DIR, else $XDG_RUNTIME_DIR/stint, else /run/stint for root, else
 * /tmp/stint-UID. Writes the path into `ret` of `size` bytes; it need not exist. -ENAMETOOLONG if it does
 * not fit, -EINVAL for a NULL.
 */
STINT_API int stint_runtime_dir(char *ret, size_t size);

/*
 * Gets the meter of this process, making it if there is none: `options` (NULL: all defaults) count for
 * the call that makes it. Every call is to be matched by one stint_meter_free().
 *
 * If the file cannot be made, the meter works on memory of its own, invisible to `stint`, and
 * stint_meter_file_error() says why. After a fork the child's meter is a private copy: nothing it does
 * shows in the parent's file.
 *
 * Processes that end without stint_meter_free() leave their files. The call that makes the file removes such ones of this
 * user, looking at 256 at most: those whose lock (flock()) nobody holds, and of whose pid no process runs.
 *
 * -EINVAL: bad options (size, limits). -ENOMEM.
 */
STINT_API int stint_meter_new(struct stint_meter **ret, const struct stint_meter_options *options);

/* Gives it back; the last one removes the file. NULL is allowed. Returns NULL. */
STINT_API struct stint_meter *stint_meter_free(struct stint_meter *meter);

/* 0 if the meter has its file, else the negative errno that kept it from being made. */
STINT_API int stint_meter_file_error(const struct stint_meter *meter);

/* The file's path, owned by the meter; NULL if there is no file. */
STINT_API const char *stint_meter_path(const struct stint_meter *meter);

/* The meter's figures in the layout of meter_file.h, for programs that want to read their own. */
STINT_API const void *stint_meter_data(const struct stint_meter *meter, size_t *bytes);

/*
 * Registers a handler by name (copied; cut to STINT_METER_NAME_BYTES - 1 bytes), or finds it if the name
 * is known. `budget_ns` 0: the meter's default; for a known name, a budget other than 0 replaces the old
 * one, which loops that run take notice of within 0.1 s. Returns its index, which is 0 ("other") if the table is
 * full. -EINVAL: no name.
 */
STINT_API int stint_meter_handler(struct stint_meter *meter, const char *name, uint64_t budget_ns);

/* Budget of a handler in ns, 0 if there is no such handler. */
STINT_API uint64_t stint_meter_budget_ns(const struct stint_meter *meter, uint32_t handler);

/*
 * Opens an account for the loop that the calling thread runs. `name` (copied) may be NULL: "loop".
 * Beyond the meter's loop limit, or where the file system has no room for its figures, the account works, but on private
 * memory, and is counted as refused. -EINVAL, -ENOMEM, or what else fallocate() says.
 */
STINT_API int stint_meter_loop_new(struct stint_meter_loop **ret, struct stint_meter *meter,
				   const char *name);

/* Closes it. Its figures stay in the file, marked as closed. NULL is allowed. Returns NULL. */
STINT_API struct stint_meter_loop *stint_meter_loop_free(struct stint_meter_loop *account);

/*
 * A dispatch of `handler` begins and ends; `fd` -1 if it has no descriptor. They nest, up to
 * STINT_METER_DEPTH: a dispatch inside of a dispatch is the inner handler's time and not the outer one's,
 * so that a server can name its routes apart from the read that they came by.
 *
 * begin: -EINVAL: no such handler; -EOVERFLOW: too deep (nothing began then). end: -EINVAL: nothing that
 * the caller began is open.
 */
#define STINT_METER_DEPTH 8
STINT_API int stint_meter_begin(struct stint_meter_loop *account, uint32_t handler, int fd);
STINT_API int stint_meter_end(struct stint_meter_loop *account);

/*
 * The loop is about to wait; the wait has returned `events` ready events (0 for a timeout). With these,
 * the account knows iterations, utilization, waits, and who delayed whom. A library that counts timers that are due among
 * its events (libev, libevent) may give that: they wait for each other, too. A loop that cannot tell how many (libuv) gives
 * STINT_METER_EVENTS_UNKNOWN, every time: no batch is counted then, and `stint` shows batches, blame and victims as not
 * known. Not for accounts of the reactor, which calls them itself.
 */
#define STINT_METER_EVENTS_UNKNOWN UINT32_MAX
STINT_API int stint_meter_poll_begin(struct stint_meter_loop *account);
STINT_API int stint_meter_poll_end(struct stint_meter_loop *account, uint32_t events);

/* Reads the account's clock: ns of CLOCK_MONOTONIC, never going backwards. 0 for NULL. */
STINT_API uint64_t stint_meter_now_ns(struct stint_meter_loop *account);

#ifdef __cplusplus
}
#endif

#endif
