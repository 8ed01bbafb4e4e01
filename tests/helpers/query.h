/* SPDX-License-Identifier: MIT */
#ifndef QUERY_H
#define QUERY_H

/* Asks a recording by SQL, as its users do. */

#include <stddef.h>
#include <stdint.h>

/* The first column of the first row. Each fails the test if the recording cannot be opened or asked. */
int64_t query_number(const char *path, const char *sql);
void query_text(const char *path, const char *sql, char *ret, size_t size);

/* Waits until that number is at least `least`, as a recorder writes it. */
void query_until(const char *path, const char *sql, int64_t least);

#endif
