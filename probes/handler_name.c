/* SPDX-License-Identifier: MIT */
#include "probes/handler_name.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "probes/go_names.h"
#include "probes/java_names.h"
#include "probes/name_list.h"

/* The same function; where that is unknown, the same place in it. */
static bool same_function(const struct stint_frame *a, const struct stint_frame *b)
{
	if (a->function_start || b->function_start)
		return a->function_start == b->function_start;
	return a->pc == b->pc;
}

/* The frame at `depth` from the outermost. */
static const struct stint_frame *at_depth(const struct stint_frame *frames, size_t len, size_t depth)
{
	return &frames[len - 1 - depth];
}

static size_t common_depth(const struct stint_frame *loop, size_t loop_len, const struct stint_frame *overrun,
			   size_t overrun_len)
{
	size_t depth = 0;

	while (depth < loop_len && depth < overrun_len &&
	       same_function(at_depth(loop, loop_len, depth), at_depth(overrun, overrun_len, depth)))
		depth++;
	return depth;
}

/* A stack may be cut at its beginning: where in the other one does what is left of it begin? 0 if it does not. */
static size_t cut_begins(const struct stint_frame *cut, size_t cut_len, const struct stint_frame *other,
			 size_t other_len)
{
	for (size_t depth = 0; cut_len && depth < other_len; depth++)
		if (same_function(at_depth(cut, cut_len, 0), at_depth(other, other_len, depth)))
			return depth;
	return 0;
}

/* How many frames from the overrun's outermost are the loop's own. */
static size_t parting_depth(const struct stint_frame *loop, size_t loop_len,
			    const struct stint_frame *overrun, size_t overrun_len)
{
	size_t skipped = cut_begins(loop, loop_len, overrun, overrun_len), depth;

	depth = common_depth(loop, loop_len, overrun, overrun_len - skipped);
	if (depth)
		return depth + skipped;
	skipped = cut_begins(overrun, overrun_len, loop, loop_len);
	return common_depth(loop, loop_len - skipped, overrun, overrun_len);
}

/* Or what the kernel lends it, to tell the time by. */
static bool is_libc(const struct stint_frame *frame)
{
	return strncmp(frame->module, "libc.", 5) == 0 || strcmp(frame->module, "[vdso]") == 0;
}

static bool is_elsewhere(const struct stint_frame *frame, const struct stint_frame *loop)
{
	return *frame->module && *loop->module && !is_libc(frame) && !is_libc(loop) &&
	       strcmp(frame->module, loop->module) != 0;
}

/* Of CPython: PyEval_EvalCode, _PyObject_MakeTpCall, Py_BytesMain; but _Py_read() is what it calls. */
static bool is_interpreter(const struct stint_frame *frame)
{
	const char *name = frame->name + (frame->name[0] == '_');

	if (strncmp(name, "Py", 2) != 0)
		return false;
	return isupper((unsigned char)name[name[2] == '_' ? 3 : 2]);
}

/* A file of shared code, by its name. */
static bool is_library(const struct stint_frame *frame)
{
	const char *suffix = strstr(frame->module, ".so");

	return suffix && (suffix[3] == '\0' || suffix[3] == '.');
}

/* Of other programs that run scripts: what these export begins so. */
static bool runs_scripts(const struct stint_frame *frame)
{
	static const char *const beginnings[] = {"zend_", "php_", "Perl_", "perl_", "rb_",
						 "ruby_", "lua_", "luaV_", NULL};

	return stint_name_list_beginning(beginnings, frame->name) || is_interpreter(frame);
}

/*
 * Whether a library's loop comes back to the program below `depth`. Where it only comes to other libraries, it is as likely
 * that its own handlers call them (libm, of a server that is all in one library); and an interpreter is called back by the
 * same function for whatever is to be run.
 */
static bool calls_back(const struct stint_frame *frames, size_t len, size_t depth)
{
	bool comes_back = false;

	for (size_t at = 0; at < len; at++) {
		const struct stint_frame *frame = at_depth(frames, len, at);

		if (frame->in_executable && runs_scripts(frame))
			return false;
		comes_back |= frame->in_executable && at >= depth;
	}
	return comes_back;
}

/* The interpreter may be a library as well, and what it calls is no callback of a loop's (interpreted()). */
static bool dispatches(const struct stint_frame *frame, const struct stint_frame *loop)
{
	return strcmp(frame->module, loop->module) == 0 && !is_interpreter(frame);
}

/*
 * Where the stack leaves the file that the loop is in: what it calls there is the handler. If that file is a library that
 * calls the program back, what runs in it before is its dispatch, exported or not, as glib's g_main_context_dispatch(),
 * sd_event_dispatch() or dovecot's io_loop_call_io(), by whose name all handlers would be called. Else only what has no
 * name before. `len`: nowhere.
 */
static size_t leaves_file(const struct stint_frame *frames, size_t len, size_t depth)
{
	const struct stint_frame *loop = depth ? at_depth(frames, len, depth - 1) : NULL;
	bool is_called_back = loop && is_library(loop) && calls_back(frames, len, depth);

	for (size_t below = depth; loop && below < len; below++) {
		const struct stint_frame *frame = at_depth(frames, len, below);

		if (is_elsewhere(frame, loop))
			return below;
		if (frame->has_symbol && !(is_called_back && dispatches(frame, loop)))
			break;
	}
	return len;
}

/* In the handler's own file, or what it calls, as the loop's library, would be the handler. */
static const struct stint_frame *first_named_in_file(const struct stint_frame *frames, size_t len,
						     size_t depth)
{
	const struct stint_frame *first = at_depth(frames, len, depth);

	for (size_t below = depth; below < len; below++) {
		const struct stint_frame *frame = at_depth(frames, len, below);

		if (strcmp(frame->module, first->module) != 0)
			break;
		if (frame->has_symbol)
			return frame;
	}
	return first;
}

/* gio is called by glib, and calls the program: where it has no names, all that is read by it would be called alike. */
static const struct stint_frame *called_elsewhere(const struct stint_frame *frames, size_t len, size_t depth)
{
	const struct stint_frame *named = first_named_in_file(frames, len, depth);

	if (named->has_symbol || named->in_executable || !calls_back(frames, len, depth))
		return named;
	while (!at_depth(frames, len, depth)->in_executable)
		depth++;
	return first_named_in_file(frames, len, depth);
}

/*
 * The first function below `depth` that has a name: in stripped binaries static functions have none, and
 * what calls the handler (the loop's own dispatch) is often one of them. But libc handles no events: what called it does.
 */
static const struct stint_frame *first_named(const struct stint_frame *frames, size_t len, size_t depth)
{
	size_t elsewhere = leaves_file(frames, len, depth);

	if (elsewhere < len)
		return called_elsewhere(frames, len, elsewhere);
	for (size_t below = depth; below < len; below++) {
		const struct stint_frame *frame = at_depth(frames, len, below);

		if (frame->has_symbol)
			return below > depth && is_libc(frame) ? at_depth(frames, len, below - 1) : frame;
	}
	return at_depth(frames, len, depth);
}

/*
 * Between the wait and the handlers: of haproxy, nginx, libevent, libev, libuv and asio, where they are compiled into the
 * program.
 * What the compiler has made of a part of one (".part.0") is it, too.
 */
static bool is_known_dispatch(const struct stint_frame *frame)
{
	static const char *const names[] = {"process_runnable_tasks",
					    "run_tasks_from_lists",
					    "ngx_event_process_posted",
					    "ngx_event_expire_timers",
					    "event_process_active",
					    "event_process_active_single_queue",
					    "ev_invoke_pending",
					    "uv__async_io",
					    "uv__poll_io",
					    "uv__read",
					    "uv__server_io",
					    "uv__stream_io",
					    "uv__udp_io",
					    "uv__work_done",
					    "uv__run_timers",
					    NULL};

	static const char *const libraries[] = {"asio::detail::", "boost::asio::detail::", NULL};

	return stint_name_list_has(names, frame->name, strcspn(frame->name, ".")) ||
	       stint_name_list_beginning(libraries, frame->name);
}

/* What such a one calls, if that has a name, and is more than its own use of libc; else it. */
static const struct stint_frame *past_dispatch(const struct stint_frame *frames, size_t len,
					       const struct stint_frame *named)
{
	while (named > frames && is_known_dispatch(named)) {
		const struct stint_frame *next = first_named(frames, len, (size_t)(frames + len - named));

		if (is_libc(next) || !next->has_symbol)
			break;
		named = next;
	}
	return named;
}

/* What runs before main(), which may have been left by a jump to another function and be in no stack. */
static bool is_start(const struct stint_frame *frame)
{
	const char *name = frame->name + (strncmp(frame->name, "__clone", 7) == 0 ? 2 : 0);

	return strcmp(name, "_start") == 0 || strncmp(name, "__libc_start_", 13) == 0 ||
	       strcmp(name, "clone") == 0 || strcmp(name, "clone3") == 0 || strcmp(name, "start_thread") == 0;
}

/* The depth of what main() called or, without one, of the first function that is none of those before it. */
static size_t below_main(const struct stint_frame *frames, size_t len)
{
	for (size_t depth = 0; depth + 1 < len; depth++)
		if (strcmp(at_depth(frames, len, depth)->name, "main") == 0)
			return depth + 1;
	for (size_t depth = 0; depth < len; depth++)
		if (!is_start(at_depth(frames, len, depth)))
			return depth;
	return 0;
}

/* ---- where the program is not what the machine runs ---- */

/* Names of node's perf map: "JS:*render /srv/app.js:3:19", of its own library "JS:^emit node:events:471:44". */
static bool is_script(const struct stint_frame *frame)
{
	return strncmp(frame->name, "JS:", 3) == 0;
}

static const struct stint_frame *first_script(const struct stint_frame *frames, size_t len, size_t depth)
{
	const struct stint_frame *first = NULL;

	for (size_t below = depth; below < len; below++) {
		const struct stint_frame *frame = at_depth(frames, len, below);

		if (!is_script(frame))
			continue;
		if (!strstr(frame->name, " node:"))
			return frame;
		first = first ? first : frame;
	}
	return first;
}

static bool has_interpreter(const struct stint_frame *frames, size_t len, size_t depth)
{
	while (depth < len && !is_interpreter(at_depth(frames, len, depth)))
		depth++;
	return depth < len;
}

/* What it calls its own built-in functions by. */
static bool is_way_to_call(const struct stint_frame *frame)
{
	static const char *const ways[] = {"cfunction_", "method_",     "slot_",  "wrap_", "type_call",
					   "object_",    "vectorcall_", "descr_", NULL};

	return stint_name_list_beginning(ways, frame->name) != NULL;
}

/* The depth of the last function of Python's own that runs: what it called is below. `depth` if none is. */
static size_t last_evaluated(const struct stint_frame *frames, size_t len, size_t depth)
{
	size_t last = depth;

	for (size_t below = depth; below < len; below++)
		if (strcmp(at_depth(frames, len, below)->name, "_PyEval_EvalFrameDefault") == 0)
			last = below;
	return last;
}

/* What the interpreter itself uses of libc all the time. */
static bool is_of_memory(const struct stint_frame *frame)
{
	static const char *const beginnings[] = {"mem",     "__mem", "str",   "__str", "malloc",  "calloc",
						 "realloc", "free",  "cfree", "_int_", "__libc_", NULL};

	return stint_name_list_beginning(beginnings, frame->name) != NULL;
}

/* How telling a frame below the interpreter is, as what that called: of equals, the first is taken. */
enum called {
	CALLED_NOTHING = 0,
	CALLED_LIBC, /* all that a python without symbols, as Debian's, shows of its built-in functions */
	CALLED_UNNAMED, /* in a library without symbols, as Debian's of Python's own modules: which one is known */
	CALLED_BUILTIN,
	CALLED_LIBRARY,
};

static enum called how_telling(const struct stint_frame *frame, const struct stint_frame *interpreter)
{
	/* The interpreter's lock: one of few of its functions that are no matter of how it is built. */
	if (strcmp(frame->name, "PyEval_RestoreThread") == 0)
		return CALLED_BUILTIN;
	if (!*frame->module || is_interpreter(frame))
		return CALLED_NOTHING;
	if (is_libc(frame))
		return frame->has_symbol && !is_of_memory(frame) ? CALLED_LIBC : CALLED_NOTHING;
	if (strcmp(frame->module, interpreter->module) != 0)
		return frame->has_symbol ? CALLED_LIBRARY : CALLED_UNNAMED;
	return frame->has_symbol && !is_way_to_call(frame) ? CALLED_BUILTIN : CALLED_NOTHING;
}

/*
 * What the interpreter called at last: the first function in a library that is neither its own nor libc, else the
 * first of its built-in ones ("time_sleep"). NULL if nothing of the kind is there.
 */
static const struct stint_frame *called_at_last(const struct stint_frame *frames, size_t len, size_t depth)
{
	const struct stint_frame *interpreter = NULL, *called = NULL;
	enum called most = CALLED_NOTHING;

	for (size_t below = last_evaluated(frames, len, depth); below < len; below++) {
		const struct stint_frame *frame = at_depth(frames, len, below);
		enum called telling = interpreter ? how_telling(frame, interpreter) : CALLED_NOTHING;

		if (is_interpreter(frame))
			interpreter = frame;
		if (telling <= most)
			continue;
		most = telling;
		called = frame;
	}
	return called;
}

/* How well it is compiled ('~', '^', '*') makes no other function of it; one without a name has its place. */
static void write_script(char *ret, size_t ret_bytes, const char *name)
{
	name += strlen("JS:");
	name += strspn(name, "~^*+ ");
	snprintf(ret, ret_bytes, "JS:%s", name);
}

/* `named` is what the stack leaves the loop's own by; the interpreter may be just before that. */
static const struct stint_frame *interpreted(const struct stint_frame *frames, size_t len, size_t depth,
					     const struct stint_frame *named)
{
	size_t from = depth ? depth - 1 : 0, evaluated = last_evaluated(frames, len, from);
	const struct stint_frame *called = called_at_last(frames, len, from);

	if (called)
		return called;
	return evaluated > from ? at_depth(frames, len, evaluated) : named;
}

/* ---- where the loop is compiled into the program, and calls what it runs by ways of the language's ---- */

/* The crate that a name of Rust's is of: "tokio::park", "<&mut tokio::Task as core::Future>::poll"; "T as" is none. */
static const char *crate_of(const char *name, size_t *len)
{
	static const char *const before[] = {"<", "&", "*const ", "*mut ", "mut ", "dyn ", "[", "(", NULL};
	const char *skipped;

	while ((skipped = stint_name_list_beginning(before, name)))
		name += strlen(skipped);
	*len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
	if (strncmp(name + *len, "::", 2) != 0)
		*len = 0;
	return name;
}

/* Of the language, or of what a server's loop and protocol are made of: they run what is asked for, and ask for nothing. */
static bool is_rust_runtime(const struct stint_frame *frame)
{
	static const char *const crates[] = {"core",
					     "std",
					     "alloc",
					     "tokio",
					     "tokio_util",
					     "mio",
					     "async_io",
					     "async_std",
					     "async_executor",
					     "async_global_executor",
					     "async_task",
					     "smol",
					     "futures",
					     "futures_core",
					     "futures_util",
					     "futures_lite",
					     "futures_executor",
					     "parking",
					     "parking_lot",
					     "parking_lot_core",
					     "polling",
					     "hyper",
					     "hyper_util",
					     "h2",
					     "http_body",
					     "tower",
					     "tower_http",
					     "tower_service",
					     "axum",
					     "axum_core",
					     "warp",
					     "tonic",
					     "actix_rt",
					     "actix_server",
					     "actix_http",
					     "actix_web",
					     "actix_service",
					     "tracing",
					     NULL};
	size_t len;
	const char *crate = crate_of(frame->name, &len);

	if (stint_name_list_has(crates, crate, len))
		return true;
	/* "<T as ...>", where the older mangling does not tell what T is, and what the linker wants of it. */
	return strncmp(frame->name, "<T as ", 6) == 0 || strncmp(frame->name, "__rust", 6) == 0;
}

/* C++ may have a namespace of such a name: nearly every stack of Rust's begins by the first of these. */
static bool has_rust(const struct stint_frame *frames, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (strstr(frames[i].name, "__rust_begin_short_backtrace") ||
		    strncmp(frames[i].name, "tokio::runtime::", 16) == 0)
			return true;
	return false;
}

/* Whom the runtime runs, if that is in the stack. */
static const struct stint_frame *run_by_rust(const struct stint_frame *frames, size_t len, size_t depth,
					     const struct stint_frame *named)
{
	for (size_t below = depth; below < len; below++) {
		const struct stint_frame *frame = at_depth(frames, len, below);

		if (strstr(frame->name, "::") && !is_rust_runtime(frame))
			return frame;
	}
	return named;
}

/* What C compilers call a copy, or a part, of a function begins so behind a dot. */
static bool is_compilers_part(const char *rest)
{
	static const char *const parts[] = {"cold", "constprop", "isra", "llvm", "lto_priv", "part", NULL};

	return stint_name_list_has(parts, rest, strcspn(rest, "."));
}

/* No other language's names have a dot there; and whatever a Go program does begins by its runtime. */
static bool has_go(const struct stint_frame *frames, size_t len)
{
	static const char package[] = "runtime.";
	size_t package_len = strlen(package);

	for (size_t i = 0; i < len; i++)
		if (frames[i].in_executable && strncmp(frames[i].name, package, package_len) == 0 &&
		    !is_compilers_part(frames[i].name + package_len))
			return true;
	return false;
}

/*
 * A function of C's as a Go program calls it: "C.deflate", for "_cgo_05ae7e586edc_Cfunc_deflate", of which a part changes.
 */
static void write_function(char *ret, size_t ret_bytes, const char *name)
{
	static const char before[] = "_Cfunc_";
	const char *function = strncmp(name, "_cgo_", 5) == 0 ? strstr(name, before) : NULL;

	if (function)
		snprintf(ret, ret_bytes, "C.%s", function + strlen(before));
	else
		snprintf(ret, ret_bytes, "%s", name);
}

/* The program's first function, else the first of what comes nearest to that; `named` where all is the runtime's. */
static const struct stint_frame *run_by_go(const struct stint_frame *frames, size_t len, size_t depth,
					   const struct stint_frame *named)
{
	enum stint_go_owner nearest = STINT_GO_RUNTIME;

	/* Of the collector's, all begin by the same one. */
	while (named > frames && (stint_go_begins_stack(named->name) || stint_go_changes_stack(named->name)))
		named--;
	for (size_t below = depth; below < len; below++) {
		const struct stint_frame *frame = at_depth(frames, len, below);
		enum stint_go_owner owner = frame->has_symbol && strchr(frame->name, '.')
						    ? stint_go_owner(frame->name)
						    : STINT_GO_RUNTIME;

		if (owner <= nearest)
			continue;
		nearest = owner;
		named = frame;
	}
	return named;
}

/* The program's first method, else the first of what comes nearest to that. NULL: there is none. */
static const struct stint_frame *first_method(const struct stint_frame *frames, size_t len, size_t depth,
					      enum stint_java_owner *owner)
{
	const struct stint_frame *first = NULL;

	*owner = STINT_JAVA_NONE;
	for (size_t below = depth; below < len; below++) {
		const struct stint_frame *frame = at_depth(frames, len, below);
		enum stint_java_owner whose =
			*frame->module ? STINT_JAVA_NONE : stint_java_owner(frame->name);

		if (whose <= *owner)
			continue;
		*owner = whose;
		first = frame;
	}
	return first;
}

static bool has_own_method(const struct stint_frame *frames, size_t len, size_t depth)
{
	enum stint_java_owner owner;

	return first_method(frames, len, depth, &owner) && owner == STINT_JAVA_PROGRAM;
}

static void write_name(char *ret, size_t ret_bytes, const struct stint_frame *frames, size_t len,
		       size_t depth)
{
	enum stint_java_owner owner;
	const struct stint_frame *method = first_method(frames, len, depth, &owner);
	const struct stint_frame *script = first_script(frames, len, depth);
	const struct stint_frame *named = past_dispatch(frames, len, first_named(frames, len, depth));

	if (script) {
		write_script(ret, ret_bytes, script->name);
		return;
	}
	if (method)
		named = method;
	if (is_interpreter(named) || (depth && is_interpreter(at_depth(frames, len, depth - 1))) ||
	    (!named->has_symbol && has_interpreter(frames, len, depth)))
		named = interpreted(frames, len, depth, named);
	if (is_rust_runtime(named) && has_rust(frames, len))
		named = run_by_rust(frames, len, depth, named);
	if (has_go(frames, len))
		named = run_by_go(frames, len, depth, named);
	write_function(ret, ret_bytes, named->name);
}

/*
 * Code made at run time, of which no perf map tells: who called it, unwinding does not find out, and what it calls, as the
 * runtime's clock, is no handler.
 */
static bool is_unnamed_code(const struct stint_frame *frames, size_t len, size_t depth)
{
	const struct stint_frame *frame = at_depth(frames, len, depth);

	return !*frame->module && !frame->has_symbol && strncmp(frame->name, "0x", 2) == 0 &&
	       !first_script(frames, len, depth) && !has_own_method(frames, len, depth);
}

static void write_name_of_cut(char *ret, size_t ret_bytes, const struct stint_frame *frames, size_t len)
{
	static const char suffix[] = " or its caller";
	size_t name_len;

	write_name(ret, ret_bytes, frames, len, 0);
	name_len = strlen(ret);
	if (name_len + sizeof(suffix) <= ret_bytes)
		memcpy(ret + name_len, suffix, sizeof(suffix));
}

void stint_handler_name(char *ret, size_t ret_bytes, const struct stint_frame *loop, size_t loop_len,
			const struct stint_frame *overrun, size_t overrun_len, bool complete, int fd)
{
	size_t depth = parting_depth(loop, loop_len, overrun, overrun_len);

	if (!overrun_len && fd >= 0)
		snprintf(ret, ret_bytes, "fd %d", fd);
	else if (!overrun_len)
		snprintf(ret, ret_bytes, "unknown");
	else if (depth < overrun_len && is_unnamed_code(overrun, overrun_len, depth))
		snprintf(ret, ret_bytes, "unnamed code (JIT?)");
	else if (!depth && !complete)
		write_name_of_cut(ret, ret_bytes, overrun, overrun_len);
	else if (!depth)
		write_name(ret, ret_bytes, overrun, overrun_len, below_main(overrun, overrun_len));
	else if (depth == overrun_len)
		snprintf(ret, ret_bytes, "%s (the loop itself)",
			 at_depth(overrun, overrun_len, depth - 1)->name);
	else
		write_name(ret, ret_bytes, overrun, overrun_len, depth);
}
