/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_JAVA_NAMES_H
#define STINT_PROBES_JAVA_NAMES_H

/*
 * Methods of Java, as HotSpot's perf map has them ("void com.example.Shop.sell(int)", by `jcmd PID Compiler.perfmap`), and
 * whose they are, by their package.
 */

#include <stdbool.h>

enum stint_java_owner {
	STINT_JAVA_NONE,    /* no method of Java's */
	STINT_JAVA_LIBRARY, /* what comes with Java */
	STINT_JAVA_FRAMEWORK,
	STINT_JAVA_PROGRAM, /* or a library that is not known */
};

/* Makes such a name "com.example.Shop.sell()", in its place, and leaves others as they are. */
void stint_java_shorten(char *name);

/* Of a name that was made so. */
enum stint_java_owner stint_java_owner(const char *name);

#endif
