/* SPDX-License-Identifier: MIT */

/* Programs whose language has a runtime that comes to the epoll set by several threads: Go's, tokio's; asio's, Java's. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "frames_fixture.h"
#include "probes/go_names.h"
#include "probes/idle_sleep.h"
#include "probes/java_names.h"

/* Innermost first, by their names; all of them of the program's own file, but libc's. */
static size_t stack_of(struct stint_frame *ret, const char *const *names)
{
	size_t len = 0;

	for (; names[len]; len++) {
		bool is_libc = strncmp(names[len], "libc:", 5) == 0;

		ret[len] = frame(names[len] + (is_libc ? 5 : 0), 100 * (len + 1));
		snprintf(ret[len].module, sizeof(ret[len].module), "%s", is_libc ? "libc.so.6" : "server");
		ret[len].in_executable = !is_libc;
	}
	return len;
}

static void assert_handler(const char *expected, const char *const *names)
{
	struct stint_frame loop[8], overrun[16];
	size_t loop_len =
		stack_of(loop, (const char *const[]){"runtime/internal/syscall.Syscall6", "runtime.netpoll",
						     "runtime.findRunnable", "runtime.schedule",
						     "runtime.park_m", "runtime.mcall", NULL});
	size_t len = stack_of(overrun, names);

	for (size_t i = 0; i < loop_len; i++)
		loop[i].function_start += 5000;
	assert_string_equal(handler_of(loop, loop_len, overrun, len, 3), expected);
}

/* ---- handlers ---- */

static void the_handler_of_a_go_program_is_its_first_function_that_is_not_gos(void **state)
{
	(void)state;
	assert_handler("main.main.func2",
		       (const char *const[]){"main.spin", "main.main.func2", "net/http.HandlerFunc.ServeHTTP",
					     "net/http.(*ServeMux).ServeHTTP", "net/http.(*conn).serve",
					     "net/http.(*Server).Serve.func3", "runtime.goexit.abi0", NULL});
	assert_handler("example.com/shop/cart.(*Server).Add",
		       (const char *const[]){"encoding/json.(*decodeState).object", "encoding/json.Unmarshal",
					     "example.com/shop/cart.(*Server).Add",
					     "github.com/go-chi/chi/v5.(*Mux).routeHTTP",
					     "net/http.(*conn).serve", "runtime.goexit", NULL});
}

static void where_there_is_none_it_is_what_comes_nearest(void **state)
{
	(void)state;
	assert_handler("github.com/gin-gonic/gin.(*Engine).ServeHTTP",
		       (const char *const[]){"github.com/gin-gonic/gin.(*Context).Next",
					     "github.com/gin-gonic/gin.(*Engine).ServeHTTP",
					     "net/http.(*conn).serve", "runtime.goexit", NULL});
	assert_handler("net/http.(*conn).serve",
		       (const char *const[]){"internal/poll.(*FD).Read", "net.(*conn).Read",
					     "net/http.(*conn).serve", "runtime.goexit", NULL});
	assert_handler("runtime.gcBgMarkWorker.func2",
		       (const char *const[]){"runtime.scanobject", "runtime.gcDrain",
					     "runtime.gcBgMarkWorker.func2", "runtime.systemstack.abi0",
					     NULL});
	assert_handler("C.deflate", (const char *const[]){"longest_match", "_cgo_05ae7e586edc_Cfunc_deflate",
							  "runtime.asmcgocall.abi0", NULL});
	assert_handler("runtime.gcenable.func1",
		       (const char *const[]){"runtime.unlock2", "runtime.bgsweep", "runtime.gcenable.func1",
					     "runtime.goexit", NULL});
}

/* As names with dots may be elsewhere. */
static void without_gos_runtime_a_name_is_no_go_programs(void **state)
{
	(void)state;
	assert_handler("net.deliver", (const char *const[]){"app.work", "net.deliver", NULL});
}

/* gcc's and clang's names of what they have made of a function `runtime`. */
static void a_copy_of_a_c_function_called_runtime_is_not_gos(void **state)
{
	static const char *const copies[] = {"runtime.constprop.0", "runtime.part.0", "runtime.isra.0.cold",
					     "runtime.cold",        "runtime.llvm.1", "runtime.lto_priv.0"};

	(void)state;
	for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++)
		assert_handler("handle_request",
			       (const char *const[]){"encode.isra.0", copies[i], "handle_request", NULL});
}

static void functions_of_a_go_program_are_told_by_their_packages(void **state)
{
	(void)state;
	assert_int_equal(stint_go_owner("runtime.findRunnable"), STINT_GO_RUNTIME);
	assert_int_equal(stint_go_owner("runtime/internal/syscall.EpollWait"), STINT_GO_RUNTIME);
	assert_int_equal(stint_go_owner("net/http.(*conn).serve"), STINT_GO_LIBRARY);
	assert_int_equal(stint_go_owner("vendor/golang.org/x/net/http2/hpack.(*Decoder).Write"),
			 STINT_GO_LIBRARY);
	assert_int_equal(stint_go_owner("golang.org/x/net/http2.(*serverConn).serve"), STINT_GO_FRAMEWORK);
	assert_int_equal(stint_go_owner("main.main"), STINT_GO_PROGRAM);
	assert_int_equal(stint_go_owner("nets/http.Serve"), STINT_GO_PROGRAM);
	assert_int_equal(stint_go_owner("go.etcd.io/etcd/server.Serve"), STINT_GO_PROGRAM);
	assert_int_equal(stint_go_owner("main.Map[encoding/json.Number]"), STINT_GO_PROGRAM);
	assert_int_equal(stint_go_owner("slices.SortFunc[example.com/shop.Item]"), STINT_GO_LIBRARY);
}

static void a_stack_of_gos_begins_where_it_is_changed_to(void **state)
{
	(void)state;
	assert_true(stint_go_begins_stack("runtime.goexit"));
	assert_true(stint_go_begins_stack("runtime.goexit.abi0"));
	assert_true(stint_go_begins_stack("runtime.mcall"));
	assert_true(stint_go_begins_stack("runtime.mstart.abi0"));
	assert_false(stint_go_begins_stack("runtime.mstart1"));
	assert_false(stint_go_begins_stack("runtime.goexit0"));
	assert_false(stint_go_begins_stack("goexit"));
}

static void who_calls_what_changes_stacks_is_not_known(void **state)
{
	(void)state;
	assert_true(stint_go_changes_stack("runtime.systemstack.abi0"));
	assert_true(stint_go_changes_stack("runtime.systemstack"));
	assert_true(stint_go_changes_stack("time.now"));
	assert_false(stint_go_changes_stack("runtime.systemstack_switch"));
	assert_false(stint_go_changes_stack("time.nowhere"));
}

/*
 * Innermost first; the outermost two are the loop's. What was made at run time, and is in no module, has a "*" before it.
 */
static void assert_java_handler(const char *expected, const char *const *names)
{
	struct stint_frame loop[3], overrun[16];
	size_t len = 0;

	for (; names[len]; len++) {
		bool is_made = names[len][0] == '*';

		overrun[len] = frame(names[len] + is_made, 100 * (len + 1));
		snprintf(overrun[len].module, sizeof(overrun[len].module), "%s", is_made ? "" : "libjvm.so");
		overrun[len].has_symbol = strncmp(overrun[len].name, "0x", 2) != 0;
	}
	loop[0] = frame("epoll_wait", 7777);
	loop[1] = overrun[len - 2];
	loop[2] = overrun[len - 1];
	assert_string_equal(handler_of(loop, 3, overrun, len, 3), expected);
}

static void the_handler_of_a_java_program_is_its_first_method_that_is_not_javas(void **state)
{
	(void)state;
	assert_java_handler("shop.Till$Serve.channelRead0()",
			    (const char *const[]){"JVM_Sleep", "*java.lang.Thread.sleep()",
						  "*shop.Till.wait()", "*shop.Till$Serve.channelRead0()",
						  "*Interpreter",
						  "*io.netty.channel.nio.NioEventLoop.processSelectedKeys()",
						  "*io.netty.channel.nio.NioEventLoop.run()",
						  "JavaCalls::call_helper", NULL});
	/* That is not compiled, or was not when the map was written. */
	assert_java_handler("Shop.sell()",
			    (const char *const[]){"*Shop.sell()", "*0x7f2065461e2d", "*Interpreter",
						  "JavaCalls::call_helper", NULL});
}

static void where_there_is_none_it_is_what_comes_nearest_of_java(void **state)
{
	(void)state;
	assert_java_handler("io.netty.channel.nio.NioEventLoop.runAllTasks()",
			    (const char *const[]){"*java.util.HashMap.get()", "*Interpreter",
						  "*io.netty.channel.nio.NioEventLoop.runAllTasks()",
						  "*io.netty.channel.nio.NioEventLoop.run()",
						  "JavaCalls::call_helper", NULL});
	assert_java_handler("unnamed code (JIT?)",
			    (const char *const[]){"JVM_Sleep", "*java.lang.Thread.sleep()", "*0x7f2065461e2d",
						  "*Interpreter", "JavaCalls::call_helper", NULL});
}

static void methods_of_java_are_told_by_their_packages(void **state)
{
	(void)state;
	assert_int_equal(stint_java_owner("java.util.HashMap.get()"), STINT_JAVA_LIBRARY);
	assert_int_equal(stint_java_owner("sun.nio.ch.EPoll.wait()"), STINT_JAVA_LIBRARY);
	assert_int_equal(stint_java_owner("org.eclipse.jetty.server.Server.handle()"), STINT_JAVA_FRAMEWORK);
	assert_int_equal(stint_java_owner("org.eclipse.jgit.Repo.open()"), STINT_JAVA_PROGRAM);
	assert_int_equal(stint_java_owner("javascript.Engine.run()"), STINT_JAVA_PROGRAM);
	assert_int_equal(stint_java_owner("Interpreter"), STINT_JAVA_NONE);
	assert_int_equal(stint_java_owner("void Shop.sell(int)"), STINT_JAVA_NONE);
	assert_int_equal(stint_java_owner("operator()"), STINT_JAVA_NONE);
	assert_int_equal(stint_java_owner("()"), STINT_JAVA_NONE);
}

/* ---- sleeps ---- */

static bool is_idle(const char *const *names)
{
	struct stint_frame frames[16];

	return stint_idle_sleep(frames, stack_of(frames, names));
}

static void a_go_thread_that_finds_nothing_to_run_sleeps_idly(void **state)
{
	(void)state;
	assert_true(
		is_idle((const char *const[]){"runtime.futex.abi0", "runtime.futexsleep", "runtime.notesleep",
					      "runtime.stopm", "runtime.findRunnable", "runtime.schedule",
					      "runtime.park_m", "runtime.mcall", NULL}));
	assert_true(
		is_idle((const char *const[]){"runtime.usleep", "runtime.sysmon", "runtime.mstart1", NULL}));
}

static void one_that_waits_for_a_lock_of_the_runtimes_does_not(void **state)
{
	(void)state;
	assert_false(is_idle((const char *const[]){"runtime.futex", "runtime.futexsleep", "runtime.lock2",
						   "runtime.findRunnable", "runtime.schedule", NULL}));
	assert_false(is_idle((const char *const[]){"runtime.futex", "runtime.futexsleep",
						   "runtime.notetsleep_internal", "runtime.notetsleep",
						   "runtime.stopTheWorldWithSema", NULL}));
}

static void a_worker_of_tokios_that_is_parked_sleeps_idly(void **state)
{
	(void)state;
	assert_true(is_idle((const char *const[]){
		"libc:syscall", "std::sys::unix::futex::futex_wait", "std::sync::condvar::Condvar::wait",
		"tokio::runtime::scheduler::multi_thread::park::Inner::park_condvar",
		"tokio::runtime::scheduler::multi_thread::worker::Context::park_timeout",
		"tokio::runtime::scheduler::multi_thread::worker::Context::run", NULL}));
}

/* That is what must not be done, and is to be told. */
static void a_task_of_tokios_that_blocks_does_not(void **state)
{
	(void)state;
	assert_false(
		is_idle((const char *const[]){"libc:syscall", "std::sys::unix::futex::futex_wait",
					      "std::sync::mpmc::Receiver<T>::recv", "app::serve::{{closure}}",
					      "tokio::runtime::park::CachedParkThread::block_on", NULL}));
	assert_false(is_idle((const char *const[]){"app::work", "tokio::runtime::park::Inner::park", NULL}));
}

static void a_thread_of_asios_without_work_sleeps_idly(void **state)
{
	(void)state;
	assert_true(is_idle(
		(const char *const[]){"libc:pthread_cond_wait", "boost::asio::detail::posix_event::wait<...>",
				      "boost::asio::detail::scheduler::run(std::error_code&)", NULL}));
	assert_false(is_idle((const char *const[]){"libc:pthread_cond_wait", "std::condition_variable::wait",
						   "session::on_read(unsigned long)",
						   "boost::asio::detail::scheduler::run(std::error_code&)",
						   NULL}));
}

/* It keeps a handler from going on, or the next one from being found. */
static void one_that_waits_for_a_lock_of_asios_does_not(void **state)
{
	(void)state;
	assert_false(is_idle((const char *const[]){"libc:__lll_lock_wait", "libc:__pthread_mutex_lock",
						   "asio::detail::scheduler::post_immediate_completion",
						   "handler", "asio::detail::executor_op<...>::do_complete",
						   "asio::detail::scheduler::do_run_one", NULL}));
	assert_false(is_idle((const char *const[]){"libc:__lll_lock_wait", "libc:__pthread_mutex_lock",
						   "asio::detail::scheduler::do_run_one",
						   "asio::detail::scheduler::run", NULL}));
	assert_false(is_idle((const char *const[]){"libc:__lll_lock_wait", "libc:__pthread_mutex_cond_lock",
						   "libc:pthread_cond_wait", "asio::detail::scheduler::run",
						   NULL}));
}

/* As where a handler ends the threads of a pool. */
static void what_waits_elsewhere_in_asios_scheduler_is_no_idle_sleep(void **state)
{
	(void)state;
	assert_false(is_idle((const char *const[]){"libc:pthread_join", "asio::detail::scheduler::shutdown",
						   "asio::execution_context::shutdown", "on_quit", NULL}));
}

static void a_worker_that_waits_for_a_lock_of_tokios_does_not(void **state)
{
	(void)state;
	assert_false(is_idle((
		const char *const[]){"libc:syscall", "std::sys::sync::mutex::futex::Mutex::lock_contended",
				     "tokio::runtime::scheduler::multi_thread::worker::Context::park_timeout",
				     NULL}));
}

static bool is_condition(const char *const *names)
{
	struct stint_frame frames[16];

	return stint_idle_sleep_is_condition(frames, stack_of(frames, names));
}

static void a_condition_variable_of_libcs_is_known(void **state)
{
	(void)state;
	assert_true(is_condition((const char *const[]){"libc:__futex_abstimed_wait_common",
						       "libc:pthread_cond_wait",
						       "asio::detail::scheduler::run", NULL}));
	assert_false(
		is_condition((const char *const[]){"libc:syscall", "std::sync::condvar::Condvar::wait",
						   "tokio::runtime::park", "libc:pthread_cond_wait", NULL}));
}

static void a_thread_of_javas_that_waits_for_a_piece_of_work_sleeps_idly(void **state)
{
	(void)state;
	assert_true(is_idle((const char *const[]){
		"libc:pthread_cond_timedwait", "Parker::park", "Unsafe_Park",
		"jdk.internal.misc.Unsafe.park()", "java.util.concurrent.SynchronousQueue.poll()",
		"org.eclipse.jetty.util.thread.ReservedThreadExecutor$ReservedThread.reservedWait()", NULL}));
	assert_true(
		is_idle((const char *const[]){"libc:pthread_cond_wait", "Parker::park", "Unsafe_Park",
					      "jdk.internal.misc.Unsafe.park()",
					      "java.util.concurrent.LinkedBlockingQueue.take()",
					      "java.util.concurrent.ThreadPoolExecutor.getTask()",
					      "java.util.concurrent.ThreadPoolExecutor.runWorker()", NULL}));
	assert_true(is_idle((const char *const[]){
		"libc:pthread_cond_timedwait", "Parker::park", "Unsafe_Park",
		"jdk.internal.misc.Unsafe.park()", "java.util.concurrent.locks.LockSupport.parkNanos()",
		"java.util.concurrent.SynchronousQueue$TransferStack.transfer()",
		"org.eclipse.jetty.util.thread.ReservedThreadExecutor$ReservedThread.run()", NULL}));
	assert_true(is_idle((const char *const[]){"libc:pthread_cond_wait", "Parker::park", "Unsafe_Park",
						  "jdk.internal.misc.Unsafe.park()",
						  "java.util.concurrent.ArrayBlockingQueue.take()",
						  "sun.nio.ch.EPollPort$EventHandlerTask.run()", NULL}));
}

static void one_that_waits_for_a_lock_or_an_answer_does_not(void **state)
{
	(void)state;
	assert_false(is_idle(
		(const char *const[]){"libc:pthread_cond_wait", "Parker::park", "Unsafe_Park",
				      "jdk.internal.misc.Unsafe.park()",
				      "java.util.concurrent.locks.ReentrantLock.lock()", "shop.Till.sell()",
				      "java.util.concurrent.ThreadPoolExecutor.runWorker()", NULL}));
	assert_false(is_idle((const char *const[]){"libc:pthread_cond_wait", "Parker::park", "Unsafe_Park",
						   "jdk.internal.misc.Unsafe.park()",
						   "java.util.concurrent.FutureTask.get()",
						   "sun.nio.ch.EPollPort$EventHandlerTask.run()", NULL}));
	/* What is not compiled may be the program's. */
	assert_false(is_idle(
		(const char *const[]){"libc:pthread_cond_timedwait", "Parker::park", "Unsafe_Park",
				      "Interpreter",
				      "org.eclipse.jetty.util.thread.QueuedThreadPool$Runner.run()", NULL}));
}

static bool is_parked(const char *const *names)
{
	struct stint_frame frames[16];

	return stint_idle_sleep_is_park(frames, stack_of(frames, names));
}

static void what_javas_machine_parks_is_known(void **state)
{
	(void)state;
	assert_true(is_parked((const char *const[]){"libc:pthread_cond_wait", "Parker::park", "Unsafe_Park",
						    "0x7f2065461e2d", NULL}));
	assert_false(is_parked((const char *const[]){"libc:pthread_cond_wait", "os::PlatformEvent::park",
						     "ObjectMonitor::enter", NULL}));
	assert_false(is_parked((const char *const[]){"libc:pthread_cond_wait", "Parker::park", NULL}));
}

static void a_stack_without_names_is_no_idle_sleep(void **state)
{
	(void)state;
	assert_false(is_idle(
		(const char *const[]){"libc:pthread_cond_wait", "server+0x1234", "server+0x99", NULL}));
	assert_false(is_idle((const char *const[]){"libc:pthread_cond_wait", NULL}));
	assert_false(is_idle((const char *const[]){NULL}));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_handler_of_a_go_program_is_its_first_function_that_is_not_gos),
		cmocka_unit_test(where_there_is_none_it_is_what_comes_nearest),
		cmocka_unit_test(without_gos_runtime_a_name_is_no_go_programs),
		cmocka_unit_test(a_copy_of_a_c_function_called_runtime_is_not_gos),
		cmocka_unit_test(functions_of_a_go_program_are_told_by_their_packages),
		cmocka_unit_test(a_stack_of_gos_begins_where_it_is_changed_to),
		cmocka_unit_test(who_calls_what_changes_stacks_is_not_known),
		cmocka_unit_test(the_handler_of_a_java_program_is_its_first_method_that_is_not_javas),
		cmocka_unit_test(where_there_is_none_it_is_what_comes_nearest_of_java),
		cmocka_unit_test(methods_of_java_are_told_by_their_packages),
		cmocka_unit_test(a_go_thread_that_finds_nothing_to_run_sleeps_idly),
		cmocka_unit_test(one_that_waits_for_a_lock_of_the_runtimes_does_not),
		cmocka_unit_test(a_worker_of_tokios_that_is_parked_sleeps_idly),
		cmocka_unit_test(a_task_of_tokios_that_blocks_does_not),
		cmocka_unit_test(a_thread_of_asios_without_work_sleeps_idly),
		cmocka_unit_test(one_that_waits_for_a_lock_of_asios_does_not),
		cmocka_unit_test(what_waits_elsewhere_in_asios_scheduler_is_no_idle_sleep),
		cmocka_unit_test(a_worker_that_waits_for_a_lock_of_tokios_does_not),
		cmocka_unit_test(a_condition_variable_of_libcs_is_known),
		cmocka_unit_test(a_thread_of_javas_that_waits_for_a_piece_of_work_sleeps_idly),
		cmocka_unit_test(one_that_waits_for_a_lock_or_an_answer_does_not),
		cmocka_unit_test(what_javas_machine_parks_is_known),
		cmocka_unit_test(a_stack_without_names_is_no_idle_sleep),
	};

	return cmocka_run_group_tests_name("runtimes", tests, NULL, NULL);
}
