/* SPDX-License-Identifier: MIT */
#ifndef REPORT_JSON_WRITER_H
#define REPORT_JSON_WRITER_H

/*
 * JSON, member by member: each is put with the comma before it, which the begin of an object or array forgets.
 * `key` is a literal of the caller's, put as it is; NULL in arrays. Texts are escaped.
 */

#include <stdbool.h>
#include <stdint.h>

#include "report/show/buffer.h"

struct json {
	struct buffer *out;
	bool first; /* true to begin with */
};

/* `bracket` is "{" or "["; at the end "}" or "]". */
void json_begin(struct json *json, const char *key, const char *bracket);
void json_end(struct json *json, const char *bracket);

/* An object in an array, on a line of its own: for people with less and grep. */
void json_begin_row(struct json *json);

void json_null(struct json *json, const char *key);

/* UINT64_MAX, which stands for what is not known, is null. */
void json_number(struct json *json, const char *key, uint64_t value);
void json_real(struct json *json, const char *key, double value, int digits);
void json_bool(struct json *json, const char *key, bool value);

/* NULL is null. */
void json_text(struct json *json, const char *key, const char *text);

#endif
