/* SPDX-License-Identifier: MIT */

/* Names that the probes give: to handlers by their stacks, to mangled symbols, system calls and sockets. */

#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "frames_fixture.h"
#include "probes/convert.h"
#include "probes/demangle.h"
#include "probes/identity_name.h"
#include "probes/role_records.h"
#include "probes/socket_names.h"
#include "probes/syscall_names.h"

/* ---- handler names: frames are innermost first ---- */

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

static void a_stack_that_is_cut_below_the_loop_may_be_its_callers(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("run", 30), frame("main", 40)};
	struct stint_frame overrun[] = {frame("spin", 60), frame("parse", 70), frame("on_read", 50),
					frame("run", 30)};
	char name[32];

	(void)state;
	stint_handler_name(name, sizeof(name), loop, 3, overrun, 2, false, 3);
	assert_string_equal(name, "parse or its caller");
	stint_handler_name(name, 12, loop, 3, overrun, 2, false, 3);
	assert_string_equal(name, "parse");
	stint_handler_name(name, sizeof(name), loop, 3, overrun, 4, false, 3);
	assert_string_equal(name, "on_read");
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

static void a_function_without_a_symbol_is_the_same_at_another_place(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("app+0x1e", 30), frame("main", 40)};
	struct stint_frame overrun[] = {frame("app+0x1e", 30), frame("main", 40)};

	(void)state;
	loop[1].has_symbol = overrun[0].has_symbol = false;
	overrun[0].pc = loop[1].pc + 6;
	assert_string_equal(handler_of(loop, 3, overrun, 2, 3), "app+0x1e (the loop itself)");
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
	/* A thread's; glibc has both names for where it begins. */
	overrun[2] = frame("start_thread", 40);
	overrun[3] = frame("__clone3", 70);
	assert_string_equal(handler_of(NULL, 0, overrun, 4, 3), "begin");
	overrun[3] = frame("clone3", 70);
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
	ret.in_executable = *module != '[' && !strstr(module, ".so");
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
	assert_string_equal(handler_of(loop, 2, overrun + 2, 3, 3), "_hashlib.so+0x8792");
	overrun[2] = overrun[0];
	assert_string_equal(handler_of(loop, 2, overrun + 2, 3, 3), "PyIter_Send");
}

/* As a python with all its symbols has them. */
static void what_the_interpreter_calls_is_told_by_its_built_in_function(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("python3.11", "_PyEval_EvalFrameDefault", 20)};
	struct stint_frame overrun[] = {frame_in("libc.so.6", "clock_nanosleep", 70),
					frame_in("python3.11", "pysleep", 60),
					frame_in("python3.11", "time_sleep", 50),
					frame_in("python3.11", "cfunction_vectorcall_O", 40),
					frame_in("python3.11", "PyObject_Vectorcall", 35),
					frame_in("python3.11", "_PyEval_EvalFrameDefault", 20),
					frame_in("_asyncio.so", "task_step", 30),
					frame_in("python3.11", "cfunction_vectorcall_FASTCALL_KEYWORDS", 25),
					frame_in("python3.11", "_PyEval_EvalFrameDefault", 20)};

	(void)state;
	assert_string_equal(handler_of(loop, 2, overrun, 9, 3), "time_sleep");
	assert_string_equal(handler_of(loop, 2, overrun + 5, 4, 3), "_PyEval_EvalFrameDefault");
	overrun[1] = frame_in("_socket.so", "sock_recv", 60);
	assert_string_equal(handler_of(loop, 2, overrun, 9, 3), "sock_recv");
}

/* As Debian's python has them, of which only what it exports has a name. */
static void without_symbols_what_the_interpreter_calls_is_told_by_libc(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("python3.11", "_PyEval_EvalFrameDefault", 20)};
	struct stint_frame overrun[] = {frame_in("libc.so.6", "clock_nanosleep", 70),
					frame_in("python3.11", "python3.11+0x1d6440", 0),
					frame_in("python3.11", "_PyEval_EvalFrameDefault", 20),
					frame_in("_asyncio.so", "_asyncio.so+0x7db0", 0),
					frame_in("python3.11", "_PyEval_EvalFrameDefault", 20)};

	(void)state;
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "clock_nanosleep");
	overrun[0] = frame_in("libc.so.6", "malloc", 70); /* it makes objects all the time */
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "_PyEval_EvalFrameDefault");
	overrun[0] = frame_in("libc.so.6", "pthread_cond_timedwait", 70);
	overrun[1] = frame_in("python3.11", "PyEval_RestoreThread", 60);
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "PyEval_RestoreThread");
}

/* The loop's own stack was not to be had: select()'s sets of descriptors are on it, and it was cut. */
static void where_the_interpreter_began_is_no_handler(void **state)
{
	struct stint_frame overrun[] = {frame_in("libc.so.6", "clock_nanosleep", 70),
					frame_in("python3.11", "python3.11+0x1d6440", 0),
					frame_in("python3.11", "_PyEval_EvalFrameDefault", 20),
					frame_in("python3.11", "python3.11+0x2a0000", 0),
					frame_in("python3.11", "Py_BytesMain", 30),
					frame_in("libc.so.6", "__libc_start_call_main", 40)};

	(void)state;
	assert_string_equal(handler_of(NULL, 0, overrun, 6, -1), "clock_nanosleep");
}

/* uvloop: the loop is in a library without symbols, which calls the interpreter. */
static void what_a_library_without_names_runs_is_told_by_what_that_calls(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("loop.so", "loop.so+0x99000", 0),
				     frame_in("python3.11", "_PyEval_EvalFrameDefault", 20)};
	struct stint_frame overrun[] = {frame_in("libc.so.6", "wait4", 70),
					frame_in("python3.11", "python3.11+0x288820", 0),
					frame_in("python3.11", "_PyEval_EvalFrameDefault", 20),
					frame_in("python3.11", "PyObject_Call", 60),
					frame_in("loop.so", "loop.so+0x108510", 0),
					frame_in("loop.so", "loop.so+0x99000", 0),
					frame_in("python3.11", "_PyEval_EvalFrameDefault", 20)};

	(void)state;
	overrun[4].function_start = 100;
	overrun[5].function_start = loop[1].function_start = 110;
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "wait4");
	/* It comes back from the wait, and another thread has the interpreter's lock. */
	overrun[1] = frame_in("python3.11", "PyEval_RestoreThread", 60);
	overrun[2] = overrun[3] = frame_in("python3.11", "PyGILState_Ensure", 65);
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "PyEval_RestoreThread");
	/* That computes in the library itself. */
	assert_string_equal(handler_of(loop, 3, overrun + 4, 3, 3), "loop.so+0x108510");
}

/* As memcached has them, on libevent. */
static void libc_is_no_handler(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("libevent.so", "event_base_loop", 20)};
	struct stint_frame overrun[] = {frame_in("libc.so.6", "read", 50),
					frame_in("memcached", "memcached+0xd14e", 0),
					frame_in("libevent.so", "libevent.so+0x215a4", 0),
					frame_in("libevent.so", "event_base_loop", 20)};

	(void)state;
	assert_string_equal(handler_of(loop, 2, overrun, 4, 3), "memcached+0xd14e");
	overrun[2] = overrun[0];
	assert_string_equal(handler_of(loop, 2, overrun + 2, 2, 3), "read");
	overrun[0] = frame_in("[vdso]", "__vdso_clock_gettime", 70);
	overrun[2] = frame_in("libevent.so", "libevent.so+0x215a4", 0);
	assert_string_equal(handler_of(loop, 2, overrun, 4, 3), "memcached+0xd14e");
}

/* As gio has them, whose answers are callbacks of glib's, and call the program's. */
static void what_another_library_calls_is_the_handler_where_that_has_no_name(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "poll", 10),
				     frame_in("libglib.so", "g_main_loop_run", 20),
				     frame_in("server", "main", 30)};
	struct stint_frame overrun[] = {frame_in("libc.so.6", "clock_nanosleep", 90),
					frame_in("server", "on_read", 80),
					frame_in("libgio.so", "libgio.so+0x7ca50", 0),
					frame_in("libgio.so", "libgio.so+0x7af80", 0),
					frame_in("libglib.so", "g_main_context_dispatch", 40),
					frame_in("libglib.so", "g_main_loop_run", 20),
					frame_in("server", "main", 30)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "on_read");
	overrun[2] = frame_in("libgio.so", "g_task_return_now", 70);
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "g_task_return_now");
	overrun[2] = frame_in("libgio.so", "libgio.so+0x7ca50", 0);
	overrun[1] = frame_in("server", "server+0x1f0", 0);
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "server+0x1f0");
}

/* As pgbouncer has them, on libevent: one callback, whatever it is in. */
static void what_a_loop_in_a_library_calls_is_the_handler_without_a_name_too(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("libevent.so", "event_base_loop", 20)};
	struct stint_frame overrun[] = {frame_in("libc.so.6", "recv", 60),
					frame_in("pgbouncer", "pgbouncer+0x366e0", 0),
					frame_in("pgbouncer", "pgbouncer+0x24130", 0),
					frame_in("libevent.so", "libevent.so+0x20fd0", 0),
					frame_in("libevent.so", "event_base_loop", 20)};

	(void)state;
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "pgbouncer+0x24130");
	overrun[1] = frame_in("libevent.so", "event_del_nolock_", 70);
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "pgbouncer+0x24130");
	overrun[1] = frame_in("pgbouncer", "sbuf_flush", 80);
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "sbuf_flush");
	overrun[1] = frame_in("libssl.so", "SSL_read", 90);
	overrun[3] = overrun[2]; /* with nothing of the library's own between the two */
	assert_string_equal(handler_of(loop, 2, overrun, 5, 3), "pgbouncer+0x24130");
}

/* As dovecot has them: what it dispatches by is exported. */
static void a_librarys_dispatch_is_no_handler_though_it_has_a_name(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("libdovecot.so.0.0.0", "io_loop_handler_run_internal", 20),
				     frame_in("imap", "main", 30)};
	struct stint_frame overrun[] = {frame_in("libc.so.6", "memmove", 80),
					frame_in("libdovecot.so.0.0.0", "uni_utf8_to_titlecase", 70),
					frame_in("imap", "command_exec", 60),
					frame_in("imap", "imap+0x25720", 0),
					frame_in("libdovecot.so.0.0.0", "io_loop_call_io", 50),
					frame_in("libdovecot.so.0.0.0", "io_loop_handler_run_internal", 20),
					frame_in("imap", "main", 30)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "command_exec");
	/* What the library does for itself has its name. */
	overrun[2] = overrun[3] = overrun[4];
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "io_loop_call_io");
	/* A program has functions of its own, and they are its handlers, whatever library they call. */
	loop[1] = overrun[5] = frame_in("server", "run", 20);
	overrun[4] = frame_in("server", "on_read", 50);
	overrun[3] = frame_in("libssl.so.3", "SSL_read", 60);
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "on_read");
}

/* As glib and systemd have them: what is called may have no name, and call the library in its turn. */
static void a_loop_in_a_library_calls_the_program_back(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "ppoll", 10),
				     frame_in("libglib-2.0.so.0.7400.6", "g_main_loop_run", 20),
				     frame_in("daemon", "main", 30)};
	struct stint_frame overrun[] = {frame_in("libm.so.6", "pow", 90),
					frame_in("libglib-2.0.so.0.7400.6", "g_list_sort", 80),
					frame_in("daemon", "on_request", 70),
					frame_in("libglib-2.0.so.0.7400.6", "libglib-2.0.so.0.7400.6+0x54c20",
						 0),
					frame_in("libglib-2.0.so.0.7400.6", "g_main_context_dispatch", 50),
					frame_in("libglib-2.0.so.0.7400.6", "g_main_loop_run", 20),
					frame_in("daemon", "main", 30)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "on_request");
	overrun[2] = frame_in("daemon", "daemon+0x2540", 0);
	assert_string_equal(handler_of(loop, 3, overrun, 7, 3), "daemon+0x2540");
}

/* As libnode has them, and whatever else is a server in one library: what it calls is not called by its loop. */
static void the_handlers_of_a_server_in_a_library_have_their_names(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("libsrv.so", "srv_run", 20), frame_in("server", "main", 30)};
	struct stint_frame overrun[] = {frame_in("libm.so.6", "libm.so.6+0x1c20", 0),
					frame_in("libm.so.6", "pow", 60),
					frame_in("libsrv.so", "handle_get", 50),
					frame_in("libsrv.so", "srv_run", 20), frame_in("server", "main", 30)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 5, 3), "handle_get");
	/* Nor does a name in another library make a callback of it. */
	overrun[0] = overrun[1] = frame_in("libssl.so.3", "SSL_read", 60);
	assert_string_equal(handler_of(loop, 3, overrun, 5, 3), "handle_get");
	/* Without a name of its own there is nothing to tell it by. */
	overrun[2] = frame_in("libsrv.so", "libsrv.so+0x1120", 0);
	assert_string_equal(handler_of(loop, 3, overrun, 5, 3), "SSL_read");
}

/* As swoole has them: the program is an interpreter, by which all handlers would have its way to call. */
static void a_library_that_calls_an_interpreter_back_is_the_handler(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("swoole.so", "swoole::ReactorEpoll::wait", 20),
				     frame_in("php8.2", "execute_ex", 30), frame_in("php8.2", "main", 40)};
	struct stint_frame overrun[] = {frame_in("php8.2", "php8.2+0x20", 0),
					frame_in("php8.2", "zend_call_function", 70),
					frame_in("swoole.so", "php_swoole_onReceive", 60),
					frame_in("swoole.so", "swoole::ReactorEpoll::wait", 20),
					frame_in("php8.2", "execute_ex", 30),
					frame_in("php8.2", "main", 40)};

	(void)state;
	assert_string_equal(handler_of(loop, 4, overrun, 6, 3), "php_swoole_onReceive");
	overrun[1] = frame_in("php8.2", "php8.2+0x40", 0);
	overrun[4] = loop[2] = frame_in("php8.2", "zend_execute", 30);
	assert_string_equal(handler_of(loop, 4, overrun, 6, 3), "php_swoole_onReceive");
}

/* Of a Java server without a perf map, what the interpreter asked the clock by would have been the handler. */
static void what_unnamed_code_calls_is_no_handler(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("0x7fbbe8edf000", 0)};
	struct stint_frame overrun[] = {frame("os::javaTimeNanos", 60), frame("0x7fbbe8edfbef", 0)};
	struct stint_frame below[] = {frame("os::javaTimeNanos", 60), frame("0x7fbbe8edfbef", 0),
				      frame("run", 30), frame("main", 40)};
	struct stint_frame whole[] = {frame("epoll_wait", 10), frame("run", 30), frame("main", 40)};

	(void)state;
	overrun[1].pc = 0x7fbbe8edfbef;
	assert_string_equal(handler_of(loop, 2, overrun, 2, 5), "unnamed code (JIT?)");
	assert_string_equal(handler_of(whole, 3, below, 4, 5), "unnamed code (JIT?)");
}

/* As haproxy has them. */
static void what_a_known_dispatch_calls_is_the_handler(void **state)
{
	struct stint_frame loop[] = {frame_in("libc.so.6", "epoll_wait", 10),
				     frame_in("haproxy", "haproxy+0x37960", 20),
				     frame_in("haproxy", "run_poll_loop", 30)};
	struct stint_frame overrun[] = {frame_in("haproxy", "http_process_req_common", 80),
					frame_in("haproxy", "process_stream", 70),
					frame_in("haproxy", "run_tasks_from_lists", 60),
					frame_in("haproxy", "process_runnable_tasks.part.0", 50),
					frame_in("haproxy", "run_poll_loop", 30)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 5, 3), "process_stream");
	assert_string_equal(handler_of(loop, 3, overrun + 2, 3, 3), "run_tasks_from_lists");
	overrun[1] = frame_in("libc.so.6", "clock_gettime", 90);
	assert_string_equal(handler_of(loop, 3, overrun + 1, 4, 3), "run_tasks_from_lists");
}

/* A callback that was compiled into asio's function that calls it has only that one's name. */
static void what_asio_calls_is_the_handler(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("asio::detail::epoll_reactor::run", 20),
				     frame("asio::detail::scheduler::run", 30), frame("main", 40)};
	struct stint_frame overrun[] = {
		frame("session::on_read", 70),
		frame("boost::asio::detail::reactive_socket_recv_op<...>::do_complete", 60),
		frame("asio::detail::scheduler::run", 30),
		frame("main", 40),
	};

	(void)state;
	assert_string_equal(handler_of(loop, 4, overrun, 4, 3), "session::on_read");
	assert_string_equal(handler_of(loop, 4, overrun + 1, 3, 3), overrun[1].name);
}

static void what_a_rust_runtime_runs_is_the_handler(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("tokio::runtime::io::Driver::turn", 20),
				     frame("tokio::runtime::enter", 30), frame("main", 40)};
	struct stint_frame overrun[] = {
		frame("clock_nanosleep", 100),
		frame("std::thread::sleep", 90),
		frame("app::fetch", 80),
		frame("app::serve::{{closure}}", 70),
		frame("<core::future::PollFn<F> as core::future::Future>::poll", 60),
		frame("tokio::runtime::task::core::Core<T,S>::poll", 50),
		frame("tokio::runtime::enter", 30),
		frame("main", 40),
	};

	(void)state;
	assert_string_equal(handler_of(loop, 4, overrun, 8, 3), "app::serve::{{closure}}");
}

static void where_a_rust_runtime_runs_nothing_of_the_programs_it_is_the_handler(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("tokio::runtime::enter", 30),
				     frame("main", 40)};
	struct stint_frame overrun[] = {frame("syscall", 100), frame("<std::sync::Condvar>::wait", 90),
					frame("tokio::runtime::park", 50), frame("tokio::runtime::enter", 30),
					frame("main", 40)};

	(void)state;
	assert_string_equal(handler_of(loop, 3, overrun, 5, 3), "tokio::runtime::park");
}

/* tokio's own waits are of another crate, if it is built with "full"; smol's tasks are called by one, too. */
static void what_a_rust_runtime_is_made_of_is_no_handler(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("tokio::runtime::enter", 30),
				     frame("main", 40)};
	struct stint_frame parked[] = {
		frame("syscall", 100),
		frame("parking_lot_core::thread_parker::imp::ThreadParker::park", 90),
		frame("parking_lot::condvar::Condvar::wait_until_internal", 80),
		frame("tokio::runtime::park", 50),
		frame("tokio::runtime::enter", 30),
		frame("main", 40),
	};
	struct stint_frame smol[] = {frame("epoll_wait", 10), frame("async_io::driver::block_on", 30),
				     frame("std::sys::backtrace::__rust_begin_short_backtrace", 40)};
	struct stint_frame task[] = {
		frame("app::serve::{{closure}}", 70),
		frame("async_task::raw::RawTask<F,T,S,M>::run", 60),
		frame("<async_executor::Executor>::run::{closure#0}", 50),
		frame("async_io::driver::block_on", 30),
		frame("std::sys::backtrace::__rust_begin_short_backtrace", 40),
	};

	(void)state;
	assert_string_equal(handler_of(loop, 3, parked, 6, 3), "tokio::runtime::park");
	assert_string_equal(handler_of(smol, 3, task, 5, 3), "app::serve::{{closure}}");
}

/* A namespace may be called as a crate is. */
static void what_looks_like_a_crate_in_cpp_is_the_handler(void **state)
{
	struct stint_frame loop[] = {frame("epoll_wait", 10), frame("main", 40)};
	struct stint_frame overrun[] = {frame("app::work", 60), frame("core::on_read", 50),
					frame("main", 40)};

	(void)state;
	assert_string_equal(handler_of(loop, 2, overrun, 3, 3), "core::on_read");
}

static void without_a_stack_the_handler_is_the_descriptor(void **state)
{
	(void)state;
	assert_string_equal(handler_of(NULL, 0, NULL, 0, 7), "fd 7");
	assert_string_equal(handler_of(NULL, 0, NULL, 0, -1), "unknown");
}

static void a_long_handler_name_is_cut_and_terminated(void **state)
{
	struct stint_frame overrun = {.function_start = 1, .has_symbol = true};
	char name[8];

	(void)state;
	memset(overrun.name, 'x', sizeof(overrun.name) - 1);
	stint_handler_name(name, sizeof(name), NULL, 0, &overrun, 1, true, -1);
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

/* As node has one: what a lambda takes says no more of it than what a function takes. */
static void a_lambda_of_cpp_is_told_without_parameters(void **state)
{
	(void)state;
	assert_demangled(
		"_ZZN4node15LibuvStreamWrap9ReadStartEvENUlP11uv_stream_slPK8uv_buf_tE0_4_FUNES2_lS5_",
		"node::LibuvStreamWrap::ReadStart()::{lambda#2}");
	assert_demangled("_ZZ3fooiENKUlPFvvEE_clES0_", "foo(int)::{lambda#1}::operator()");
}

static void a_rust_name_has_no_hash(void **state)
{
	(void)state;
	assert_demangled("_ZN5tokio7runtime4park17h0123456789abcdefE", "tokio::runtime::park");
	assert_demangled("_ZN5tokio7runtime4park17h0123456789abcdefE.llvm.123", "tokio::runtime::park");
}

/* As `c++filt` has it. */
static void characters_that_cpp_has_not_are_in_a_rust_name(void **state)
{
	(void)state;
	assert_demangled("_ZN2tk5serve28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
			 "tk::serve::{{closure}}");
	assert_demangled(
		"_ZN4core3ops8function6FnOnce40call_once$u7b$$u7b$vtable.shim$u7d$$u7d$17hc1cb742bb9ddb4ddE",
		"core::ops::function::FnOnce::call_once{{vtable.shim}}");
	assert_demangled("_ZN50_$LT$$RF$T$u20$as$u20$core..fmt..Debug$C$$u3c$$GT$3fmt17h0123456789abcdefE",
			 "<&T as core::fmt::Debug,<>::fmt");
}

/* As `c++filt` has it, but for hashes of crates, and what fills in generic parameters. */
static void a_rust_name_of_the_new_mangling_is_read(void **state)
{
	(void)state;
	assert_demangled("_RNvNtNtCsjrHSEGnQ3l9_3std6thread9functions5sleep",
			 "std::thread::functions::sleep");
	assert_demangled("_RNvNvMs0_NtNtNtCsjrHSEGnQ3l9_3std3sys6thread4unixNtB7_6Thread3new12thread_start",
			 "<std::sys::thread::unix::Thread>::new::thread_start");
	assert_demangled("_RNvMNtNtNtNtCsjrHSEGnQ3l9_3std3sys4sync7condvar5futexNtB2_7Condvar4wait",
			 "<std::sys::sync::condvar::futex::Condvar>::wait");
	assert_demangled("_RNCNvCs1_2tk5serve0", "tk::serve::{closure#0}");
	assert_demangled("_RNCNvCs1_2tk5serves_0Cs2_5other", "tk::serve::{closure#1}");
	assert_demangled("_RNvXs_Cs1_2tkINtB4_3BoxjENtB4_4Draw4draw.llvm.1", "<tk::Box as tk::Draw>::draw");
	assert_demangled("_RINvCs1_2tk4callNCNvB2_4main0jEB2_", "tk::call");
	assert_demangled("_RNvYRShNtCs1_2tk4Draw4draw", "<&[u8] as tk::Draw>::draw");
	assert_demangled("_RNSNvCs1_2tk4call6vtable", "tk::call::{shim:vtable#0}");
}

static void what_is_not_quite_a_rust_name_stays(void **state)
{
	(void)state;
	assert_demangled("_R", "_R");
	assert_demangled("_RNvCs1_2tk", "_RNvCs1_2tk");
	assert_demangled("_RNvCs1_99tk5serve", "_RNvCs1_99tk5serve");
	assert_demangled("_RNvB_5serve", "_RNvB_5serve"); /* itself */
	assert_demangled("_ZN17h0123456789abcdefE", "h0123456789abcdef");
	assert_demangled("_ZN2tk5serve17h01", "_ZN2tk5serve17h01");
}

/* What stands for something before stands for twice as much each time: as much is written as there is room for. */
static void a_rust_name_that_doubles_itself_is_cut(void **state)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	char symbol[512], name[32];
	size_t at = (size_t)snprintf(symbol, sizeof(symbol), "_RNvYT"), first = at;

	(void)state;
	at += (size_t)snprintf(symbol + at, sizeof(symbol) - at, "ThE");
	for (size_t next = at; first - 2 < 36;
	     first = next, next = at) /* positions are counted from behind "_R" */
		at += (size_t)snprintf(symbol + at, sizeof(symbol) - at, "TB%c_B%c_E", digits[first - 3],
				       digits[first - 3]);
	snprintf(symbol + at, sizeof(symbol) - at, "ENtCs1_1a1b1c");
	stint_demangle(name, sizeof(name), symbol, strlen(symbol));
	assert_string_equal(name, "<((u8), ((u8), (u8)), (((u8), (");
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

/* Of a file, only its number leads to the name. */
static void what_was_noted_of_a_descriptor_has_a_name(void **state)
{
	struct record_identity noted = {
		.fd = 7,
		.state = RECORD_IDENTITY_NOTED,
		.kind = ROLE_CLIENTS,
		.addresses = {.family = AF_INET,
			      .local_port = 80,
			      .remote_port = 4242,
			      .local = {10, 0, 0, 1},
			      .remote = {10, 0, 0, 2}},
	};
	char name[96] = "";

	(void)state;
	assert_true(stint_identity_name(&noted, name, sizeof(name)));
	assert_string_equal(name, "tcp 10.0.0.1:80 > 10.0.0.2:4242");
	noted.kind = ROLE_LISTENER;
	assert_true(stint_identity_name(&noted, name, sizeof(name)));
	assert_string_equal(name, "tcp 10.0.0.1:80, listening");
	noted.kind = ROLE_EVENTFD;
	assert_true(stint_identity_name(&noted, name, sizeof(name)));
	assert_string_equal(name, "eventfd");
	noted.kind = ROLE_FILE;
	assert_false(stint_identity_name(&noted, name, sizeof(name)));
	noted.kind = UINT16_MAX;
	assert_false(stint_identity_name(&noted, name, sizeof(name)));
	noted.kind = ROLE_EVENTFD;
	noted.state = RECORD_IDENTITY_GONE;
	assert_false(stint_identity_name(&noted, name, sizeof(name)));
	assert_string_equal(name, "eventfd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_handler_is_where_the_stack_leaves_the_loops_own),
		cmocka_unit_test(the_handler_is_found_where_either_stack_is_cut),
		cmocka_unit_test(a_stack_that_is_cut_below_the_loop_may_be_its_callers),
		cmocka_unit_test(a_frame_without_a_name_is_passed_over),
		cmocka_unit_test(without_a_name_the_place_tells_functions_apart),
		cmocka_unit_test(a_function_without_a_symbol_is_the_same_at_another_place),
		cmocka_unit_test(time_in_the_loops_own_function_is_said_to_be),
		cmocka_unit_test(without_the_loops_stack_the_handler_is_what_main_called),
		cmocka_unit_test(a_loops_stack_that_is_cut_is_found_in_the_other),
		cmocka_unit_test(what_runs_before_main_is_no_handler),
		cmocka_unit_test(what_the_interpreter_calls_is_told_by_its_built_in_function),
		cmocka_unit_test(without_symbols_what_the_interpreter_calls_is_told_by_libc),
		cmocka_unit_test(where_the_interpreter_began_is_no_handler),
		cmocka_unit_test(what_a_library_without_names_runs_is_told_by_what_that_calls),
		cmocka_unit_test(libc_is_no_handler),
		cmocka_unit_test(what_another_library_calls_is_the_handler_where_that_has_no_name),
		cmocka_unit_test(what_a_loop_in_a_library_calls_is_the_handler_without_a_name_too),
		cmocka_unit_test(a_librarys_dispatch_is_no_handler_though_it_has_a_name),
		cmocka_unit_test(a_loop_in_a_library_calls_the_program_back),
		cmocka_unit_test(the_handlers_of_a_server_in_a_library_have_their_names),
		cmocka_unit_test(a_library_that_calls_an_interpreter_back_is_the_handler),
		cmocka_unit_test(what_unnamed_code_calls_is_no_handler),
		cmocka_unit_test(what_a_known_dispatch_calls_is_the_handler),
		cmocka_unit_test(what_asio_calls_is_the_handler),
		cmocka_unit_test(what_a_rust_runtime_runs_is_the_handler),
		cmocka_unit_test(where_a_rust_runtime_runs_nothing_of_the_programs_it_is_the_handler),
		cmocka_unit_test(what_a_rust_runtime_is_made_of_is_no_handler),
		cmocka_unit_test(what_looks_like_a_crate_in_cpp_is_the_handler),
		cmocka_unit_test(without_a_stack_the_handler_is_the_descriptor),
		cmocka_unit_test(the_handler_of_a_script_is_its_own_first_function),
		cmocka_unit_test(an_interpreter_is_no_handler_where_it_calls_a_library),
		cmocka_unit_test(a_long_handler_name_is_cut_and_terminated),
		cmocka_unit_test(names_of_cpp_are_demangled_without_parameters),
		cmocka_unit_test(a_lambda_of_cpp_is_told_without_parameters),
		cmocka_unit_test(a_rust_name_has_no_hash),
		cmocka_unit_test(characters_that_cpp_has_not_are_in_a_rust_name),
		cmocka_unit_test(a_rust_name_of_the_new_mangling_is_read),
		cmocka_unit_test(what_is_not_quite_a_rust_name_stays),
		cmocka_unit_test(a_rust_name_that_doubles_itself_is_cut),
		cmocka_unit_test(what_is_not_mangled_stays),
		cmocka_unit_test(system_calls_have_their_names),
		cmocka_unit_test(an_unknown_system_call_has_its_number),
		cmocka_unit_test(sockets_have_the_names_of_their_family),
		cmocka_unit_test(what_was_noted_of_a_descriptor_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
