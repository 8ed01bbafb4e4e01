/* SPDX-License-Identifier: MIT */
#ifndef REPORT_SCHEMA_H
#define REPORT_SCHEMA_H

/* The text of schema.sql, NUL-terminated. */
extern const char report_schema_sql[];

#endif
