/* SPDX-License-Identifier: MIT */
#include "report/show/json_writer.h"

#include <inttypes.h>

#include "report/show/escape.h"

static void put_comma(struct json *json)
{
	if (!json->first)
		buffer_string(json->out, ",");
	json->first = false;
}

static void put_key(struct json *json, const char *key)
{
	put_comma(json);
	if (key)
		buffer_printf(json->out, "\"%s\":", key);
}

void json_begin(struct json *json, const char *key, const char *bracket)
{
	put_key(json, key);
	buffer_string(json->out, bracket);
	json->first = true;
}

void json_end(struct json *json, const char *bracket)
{
	buffer_string(json->out, bracket);
	json->first = false;
}

void json_begin_row(struct json *json)
{
	put_comma(json);
	buffer_string(json->out, "\n{");
	json->first = true;
}

void json_null(struct json *json, const char *key)
{
	put_key(json, key);
	buffer_string(json->out, "null");
}

void json_number(struct json *json, const char *key, uint64_t value)
{
	put_key(json, key);
	if (value == UINT64_MAX)
		buffer_string(json->out, "null");
	else
		buffer_printf(json->out, "%" PRIu64, value);
}

void json_real(struct json *json, const char *key, double value, int digits)
{
	put_key(json, key);
	buffer_printf(json->out, "%.*f", digits, value);
}

void json_bool(struct json *json, const char *key, bool value)
{
	put_key(json, key);
	buffer_string(json->out, value ? "true" : "false");
}

void json_text(struct json *json, const char *key, const char *text)
{
	put_key(json, key);
	if (text)
		escape_json(json->out, text);
	else
		buffer_string(json->out, "null");
}
