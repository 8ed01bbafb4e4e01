/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_GO_NAMES_H
#define STINT_PROBES_GO_NAMES_H

/*
 * Whose a function of a Go program is, by its package: "net/http.(*conn).serve" is of Go's own library,
 * "github.com/go-chi/chi/v5.(*Mux).ServeHTTP" of one that calls the program's handlers, "main.main.func2" the program's.
 */

#include <stdbool.h>

enum stint_go_owner {
	STINT_GO_RUNTIME, /* the language: its scheduler, memory, and entry points */
	STINT_GO_LIBRARY, /* what comes with it */
	STINT_GO_FRAMEWORK,
	STINT_GO_PROGRAM, /* or a library that is not known */
};

enum stint_go_owner stint_go_owner(const char *name);

/*
 * Whether nothing called it: the first function of a goroutine, or of what a thread does between them, for which it changes
 * to a stack of its own. What unwinding finds beyond that is chance.
 */
bool stint_go_begins_stack(const char *name);

/*
 * Whether it goes on with another stack of the thread, where there is more room: for the runtime, the kernel's clock, or C.
 * Who called it is in the stack that it left, of which there is no copy.
 */
bool stint_go_changes_stack(const char *name);

#endif
