/* SPDX-License-Identifier: MIT */
#include "probes/idle_sleep.h"

#include <string.h>

#include "probes/name_list.h"

static bool begins_with(const char *name, const char *beginning)
{
	return strncmp(name, beginning, strlen(beginning)) == 0;
}

/* Of libc, std and parking_lot, by their names: who waits for a lock has something to do. */
static bool is_for_lock(const char *name)
{
	const char *mutex = strstr(name, "mutex");

	return mutex && strstr(mutex, "lock");
}

/*
 * Ways to sleep until another thread has news, whatever of: of libc, of the languages' libraries. Go's name of a function
 * in assembler ends by how it is called (".abi0").
 */
static bool is_way_to_sleep(const struct stint_frame *frame)
{
	static const char *const go[] = {"runtime.futex",      "runtime.futex.abi0",
					 "runtime.futexsleep", "runtime.notesleep",
					 "runtime.notetsleep", "runtime.notetsleep_internal",
					 "runtime.usleep",     "runtime.usleep.abi0",
					 "runtime.osyield",    NULL};
	static const char *const others[] = {"std::",
					     "<std::",
					     "core::",
					     "parking_lot::",
					     "parking_lot_core::",
					     "<parking_lot",
					     "boost::asio::detail::posix_event::",
					     "boost::asio::detail::conditionally_enabled_event::",
					     "asio::detail::posix_event::",
					     "asio::detail::conditionally_enabled_event::",
					     "Parker::park",
					     "Unsafe_Park",
					     "jdk.internal.misc.Unsafe.park()",
					     "sun.misc.Unsafe.park()",
					     "java.util.concurrent.",
					     "org.eclipse.jetty.util.BlockingArrayQueue.",
					     NULL};

	if (is_for_lock(frame->name))
		return false;
	return begins_with(frame->module, "libc.") ||
	       stint_name_list_has(go, frame->name, strlen(frame->name)) ||
	       stint_name_list_beginning(others, frame->name);
}

#define JETTY "org.eclipse.jetty.util.thread."

/* The same where that function is compiled into what calls it, by what it has called. */
static bool is_inlined_park(const char *name, const char *called)
{
	static const struct {
		const char *name, *called;
	} parks[] = {
		{JETTY "QueuedThreadPool$Runner.run()", "org.eclipse.jetty.util.BlockingArrayQueue."},
		{JETTY "ReservedThreadExecutor$ReservedThread.run()",
		 "java.util.concurrent.SynchronousQueue"},
		{"sun.nio.ch.EPollPort$EventHandlerTask.run()", "java.util.concurrent.ArrayBlockingQueue."},
	};

	for (size_t i = 0; i < sizeof(parks) / sizeof(parks[0]); i++)
		if (strcmp(name, parks[i].name) == 0 && begins_with(called, parks[i].called))
			return true;
	return false;
}

/* What else asio's scheduler has is called by handlers, as to post one. */
static bool runs_handlers(const char *name)
{
	static const char scheduler[] = "asio::detail::scheduler::";

	if (begins_with(name, "boost::"))
		name += strlen("boost::");
	if (!begins_with(name, scheduler))
		return false;
	name += strlen(scheduler);
	name += begins_with(name, "do_") ? strlen("do_") : 0;
	return begins_with(name, "run") || begins_with(name, "wait_one");
}

/*
 * Go: a thread that finds nothing to run (also while the collector has stopped all), that may run one goroutine only, or
 * that watches the others; and a goroutine's that is kept for signals. tokio: a worker that found no driver to wait for.
 * asio: the same of a thread in io_context::run() and the like, whose handlers are called by a function of their own in
 * between. Java: a worker of a pool that waits for a piece of work, by the function for just that.
 */
static bool is_park(const char *name)
{
	static const char *const names[] = {"runtime.stopm",
					    "runtime.mPark",
					    "runtime.stoplockedm",
					    "runtime.templateThread",
					    "runtime.sysmon",
					    "runtime.notetsleepg",
					    "java.util.concurrent.ForkJoinPool.awaitWork()",
					    "java.util.concurrent.ThreadPoolExecutor.getTask()",
					    JETTY "QueuedThreadPool$Runner.idleJobPoll()",
					    JETTY "ReservedThreadExecutor$ReservedThread.reservedWait()",
					    NULL};

	if (stint_name_list_has(names, name, strlen(name)))
		return true;
	if (begins_with(name, "tokio::runtime::"))
		return strstr(name, "::park::Inner::park") || strstr(name, "::park::Parker::park") ||
		       strstr(name, "::worker::Context::park");
	return runs_handlers(name);
}

bool stint_idle_sleep(const struct stint_frame *frames, size_t len)
{
	size_t at = 0;

	while (at < len && is_way_to_sleep(&frames[at]) && !is_park(frames[at].name))
		at++;
	if (at == 0 || at == len)
		return false;
	return is_park(frames[at].name) || is_inlined_park(frames[at].name, frames[at - 1].name);
}

bool stint_idle_sleep_is_park(const struct stint_frame *frames, size_t len)
{
	size_t at = 0;

	while (at < len && begins_with(frames[at].module, "libc."))
		at++;
	return at + 1 < len && strcmp(frames[at].name, "Parker::park") == 0 &&
	       strcmp(frames[at + 1].name, "Unsafe_Park") == 0;
}

bool stint_idle_sleep_is_condition(const struct stint_frame *frames, size_t len)
{
	for (size_t at = 0; at < len && begins_with(frames[at].module, "libc."); at++)
		if (begins_with(frames[at].name, "pthread_cond_"))
			return true;
	return false;
}
