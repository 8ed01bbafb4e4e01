/* SPDX-License-Identifier: MIT */
#include "probes/go_names.h"

#include <stddef.h>
#include <string.h>

#include "probes/name_list.h"

/*
 * The first part of its package's path: "net" of "net/http.(*conn).serve", all of "go.uber.org/zap.New" before the slash.
 * What is in brackets are types.
 */
static size_t first_part_len(const char *name)
{
	size_t len = strcspn(name, "([{/");

	return name[len] == '/' ? len : strcspn(name, ".:([{");
}

/* Of what comes with Go, it is no domain. */
static bool is_library(const char *name)
{
	static const char *const firsts[] = {
		"archive",  "bufio",   "bytes",   "cmp",      "compress", "container", "context", "crypto",
		"database", "debug",   "embed",   "encoding", "errors",   "expvar",    "flag",    "fmt",
		"go",       "hash",    "html",    "image",    "index",    "internal",  "io",      "iter",
		"log",      "maps",    "math",    "mime",     "net",      "os",        "path",    "plugin",
		"reflect",  "regexp",  "runtime", "slices",   "sort",     "strconv",   "strings", "structs",
		"sync",     "syscall", "testing", "text",     "time",     "type",      "unicode", "unique",
		"unsafe",   "vendor",  "weak",    NULL};

	return stint_name_list_has(firsts, name, first_part_len(name));
}

/* Without what is behind it of a function in assembler, called by the stack as all functions were once. */
static size_t name_len(const char *name)
{
	size_t len = strlen(name);

	return len > 5 && strcmp(name + len - 5, ".abi0") == 0 ? len - 5 : len;
}

bool stint_go_begins_stack(const char *name)
{
	static const char *const names[] = {"runtime.goexit", "runtime.mcall", "runtime.mstart",
					    "runtime.rt0_go", NULL};

	return stint_name_list_has(names, name, name_len(name));
}

bool stint_go_changes_stack(const char *name)
{
	static const char *const names[] = {"runtime.asmcgocall", "runtime.nanotime1", "runtime.systemstack",
					    "runtime.walltime",   "time.now",          NULL};

	return stint_name_list_has(names, name, name_len(name));
}

enum stint_go_owner stint_go_owner(const char *name)
{
	static const char *const runtime[] = {"runtime.", "runtime/", "internal/runtime/", NULL};
	static const char *const frameworks[] = {"github.com/gin-gonic/gin.",
						 "github.com/go-chi/chi",
						 "github.com/gofiber/fiber",
						 "github.com/gorilla/",
						 "github.com/julienschmidt/httprouter.",
						 "github.com/labstack/echo",
						 "github.com/panjf2000/gnet",
						 "github.com/valyala/fasthttp",
						 "golang.org/x/",
						 "google.golang.org/grpc",
						 NULL};

	if (stint_name_list_beginning(runtime, name))
		return STINT_GO_RUNTIME;
	if (is_library(name))
		return STINT_GO_LIBRARY;
	return stint_name_list_beginning(frameworks, name) ? STINT_GO_FRAMEWORK : STINT_GO_PROGRAM;
}
