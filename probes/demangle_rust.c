/* SPDX-License-Identifier: MIT */
#include "probes/demangle_rust.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64

/* One symbol as it is read, and what it becomes. `failed`: it is not what it seemed, and all that follows does nothing. */
struct demangler {
	const char *symbol;
	size_t len, at;
	char *ret;
	size_t ret_bytes, ret_len;
	unsigned depth, silent; /* the latter: what is read is not written */
	bool failed;
};

/* ---- what is written ---- */

/* There is no more room: what is left is read, but nothing is followed for it. */
static bool is_full(const struct demangler *d)
{
	return d->ret_len + 1 >= d->ret_bytes;
}

static void put(struct demangler *d, const char *text, size_t len)
{
	if (d->silent || d->failed)
		return;
	if (len > d->ret_bytes - 1 - d->ret_len)
		len = d->ret_bytes - 1 - d->ret_len;
	memcpy(d->ret + d->ret_len, text, len);
	d->ret_len += len;
	d->ret[d->ret_len] = '\0';
}

static void put_string(struct demangler *d, const char *text)
{
	put(d, text, strlen(text));
}

/* ---- what is read ---- */

static char peek(const struct demangler *d)
{
	return !d->failed && d->at < d->len ? d->symbol[d->at] : '\0';
}

static bool take(struct demangler *d, char wanted)
{
	if (peek(d) != wanted || !wanted)
		return false;
	d->at++;
	return true;
}

static char next(struct demangler *d)
{
	char c = peek(d);

	if (c)
		d->at++;
	else
		d->failed = true;
	return c;
}

static uint64_t decimal(struct demangler *d)
{
	uint64_t number = 0;

	if (!isdigit((unsigned char)peek(d)))
		d->failed = true;
	if (take(d, '0'))
		return 0;
	while (isdigit((unsigned char)peek(d)) && number <= d->len)
		number = number * 10 + (uint64_t)(next(d) - '0');
	return number;
}

/* "_" is 0, "0_" 1. */
static uint64_t base62(struct demangler *d)
{
	uint64_t number = 0;

	if (take(d, '_'))
		return 0;
	while (!d->failed && !take(d, '_')) {
		char c = next(d);

		number *= 62;
		if (isdigit((unsigned char)c))
			number += (uint64_t)(c - '0');
		else if (islower((unsigned char)c))
			number += 10 + (uint64_t)(c - 'a');
		else if (isupper((unsigned char)c))
			number += 36 + (uint64_t)(c - 'A');
		else
			d->failed = true;
	}
	return number + 1;
}

static uint64_t optional_base62(struct demangler *d, char tag)
{
	return take(d, tag) ? base62(d) + 1 : 0;
}

/* Its bytes; what is not ASCII stays as it is written there. */
static const char *identifier(struct demangler *d, size_t *len)
{
	const char *name;

	*len = 0;
	take(d, 'u');
	*len = decimal(d);
	take(d, '_');
	if (d->failed || *len > d->len - d->at) {
		d->failed = true;
		*len = 0;
	}
	name = d->symbol + d->at;
	d->at += *len;
	return name;
}

static bool enter(struct demangler *d)
{
	if (++d->depth > DEPTH_MAX)
		d->failed = true;
	return !d->failed;
}

static void leave(struct demangler *d)
{
	d->depth--;
}

/* ---- v0 ---- */

static void read_path(struct demangler *d);
static void read_type(struct demangler *d);
static void read_const(struct demangler *d);

/* "B" and a number: as it stands there, which is before. Where nothing is written, nobody needs to know what that is. */
static void read_again(struct demangler *d, void (*read)(struct demangler *d))
{
	size_t from = d->at - 1, to = base62(d) + 2; /* behind "_R" */
	struct demangler back = *d;

	if (to >= from)
		d->failed = true;
	if (d->failed || d->silent || is_full(d) || !enter(d))
		return;
	back = *d;
	back.at = to;
	read(&back);
	d->ret_len = back.ret_len;
	d->failed = back.failed;
	leave(d);
}

/* Without what follows it: which one of the same name. */
static void read_identifier(struct demangler *d)
{
	const char *name;
	size_t len;

	optional_base62(d, 's');
	name = identifier(d, &len);
	put(d, name, len);
}

static void put_special(struct demangler *d, char kind, uint64_t number, const char *name, size_t len)
{
	char text[32];

	put_string(d, kind == 'C' ? "{closure" : kind == 'S' ? "{shim" : "{");
	if (kind != 'C' && kind != 'S')
		put(d, &kind, 1);
	if (len)
		put_string(d, ":");
	put(d, name, len);
	snprintf(text, sizeof(text), "#%llu}", (unsigned long long)number);
	put_string(d, text);
}

static void read_nested(struct demangler *d)
{
	char kind = next(d);
	const char *name;
	uint64_t number;
	size_t len;

	read_path(d);
	number = optional_base62(d, 's');
	name = identifier(d, &len);
	if (isupper((unsigned char)kind)) {
		put_string(d, "::");
		put_special(d, kind, number, name, len);
	} else if (len) {
		put_string(d, "::");
		put(d, name, len);
	}
}

/* Where the block stands: what it is for says more. */
static void skip_impl(struct demangler *d)
{
	d->silent++;
	optional_base62(d, 's');
	read_path(d);
	d->silent--;
}

static void read_impl(struct demangler *d, bool has_place, bool has_trait)
{
	if (has_place)
		skip_impl(d);
	put_string(d, "<");
	read_type(d);
	if (has_trait) {
		put_string(d, " as ");
		read_path(d);
	}
	put_string(d, ">");
}

static void skip_generic(struct demangler *d)
{
	if (take(d, 'L'))
		base62(d);
	else if (take(d, 'K'))
		read_const(d);
	else
		read_type(d);
}

static void read_generic(struct demangler *d)
{
	read_path(d);
	d->silent++;
	while (!d->failed && !take(d, 'E'))
		skip_generic(d);
	d->silent--;
}

static void read_path_of(struct demangler *d, char tag)
{
	switch (tag) {
	case 'C':
		read_identifier(d);
		return;
	case 'M':
		read_impl(d, true, false);
		return;
	case 'X':
		read_impl(d, true, true);
		return;
	case 'Y':
		read_impl(d, false, true);
		return;
	case 'N':
		read_nested(d);
		return;
	case 'I':
		read_generic(d);
		return;
	case 'B':
		read_again(d, read_path);
		return;
	default:
		d->failed = true;
	}
}

static void read_path(struct demangler *d)
{
	if (enter(d))
		read_path_of(d, next(d));
	leave(d);
}

static const char *basic_type(char tag)
{
	static const char *const names[26] = {
		"i8",    "bool", "char", "f64", "str",  "f32",  NULL,  "u8", "isize",
		"usize", NULL,   "i32",  "u32", "i128", "u128", "_",   NULL, NULL,
		"i16",   "u16",  "()",   "...", NULL,   "i64",  "u64", "!",
	};

	return islower((unsigned char)tag) ? names[tag - 'a'] : NULL;
}

static void read_types(struct demangler *d)
{
	for (bool first = true; !d->failed && !take(d, 'E'); first = false) {
		put_string(d, first ? "" : ", ");
		read_type(d);
	}
}

static void read_function(struct demangler *d)
{
	size_t len;

	optional_base62(d, 'G');
	if (take(d, 'U'))
		put_string(d, "unsafe ");
	if (take(d, 'K') && !take(d, 'C'))
		identifier(d, &len);
	put_string(d, "fn(");
	read_types(d);
	put_string(d, ")");
	d->silent++; /* what it returns */
	read_type(d);
	d->silent--;
}

/* The traits that it is. Types that belong to them are not said. */
static void read_dyn(struct demangler *d)
{
	put_string(d, "dyn ");
	optional_base62(d, 'G');
	for (bool first = true; !d->failed && !take(d, 'E'); first = false) {
		put_string(d, first ? "" : " + ");
		read_path(d);
		d->silent++;
		while (take(d, 'p')) {
			read_identifier(d);
			read_type(d);
		}
		d->silent--;
	}
	optional_base62(d, 'L');
}

static void read_array(struct demangler *d, bool has_length)
{
	put_string(d, "[");
	read_type(d);
	d->silent++;
	if (has_length)
		read_const(d);
	d->silent--;
	put_string(d, has_length ? "; _]" : "]");
}

static void read_pointer(struct demangler *d, char tag)
{
	if (tag == 'R' || tag == 'Q')
		optional_base62(d, 'L');
	put_string(d, tag == 'R' ? "&" : tag == 'Q' ? "&mut " : tag == 'P' ? "*const " : "*mut ");
	read_type(d);
}

static void read_type_of(struct demangler *d, char tag)
{
	switch (tag) {
	case 'A':
	case 'S':
		read_array(d, tag == 'A');
		return;
	case 'T':
		put_string(d, "(");
		read_types(d);
		put_string(d, ")");
		return;
	case 'R':
	case 'Q':
	case 'P':
	case 'O':
		read_pointer(d, tag);
		return;
	case 'F':
		read_function(d);
		return;
	case 'D':
		read_dyn(d);
		return;
	case 'B':
		read_again(d, read_type);
		return;
	default:
		read_path_of(d, tag);
	}
}

static void read_type(struct demangler *d)
{
	const char *basic;
	char tag;

	if (enter(d)) {
		tag = next(d);
		basic = basic_type(tag);
		if (basic)
			put_string(d, basic);
		else
			read_type_of(d, tag);
	}
	leave(d);
}

/* Numbers only, as lengths are; they are never written. */
static void read_const(struct demangler *d)
{
	if (take(d, 'p'))
		return;
	if (take(d, 'B')) {
		base62(d);
		return;
	}
	if (!basic_type(next(d)))
		d->failed = true;
	take(d, 'n');
	while (isxdigit((unsigned char)peek(d)))
		next(d);
	if (!take(d, '_'))
		d->failed = true;
}

/* What may follow: the crate that it was made in, and what the compiler and the linker added. */
static bool is_end(const struct demangler *d)
{
	char c = peek(d);

	return d->at == d->len || c == '.' || c == '$' || isupper((unsigned char)c);
}

static bool demangle_v0(struct demangler *d)
{
	if (d->len < 3 || memcmp(d->symbol, "_R", 2) != 0 || isdigit((unsigned char)d->symbol[2]))
		return false;
	d->at = 2;
	read_path(d);
	return !d->failed && is_end(d);
}

/* ---- the one that looks like C++ ---- */

static bool is_hash(const char *name, size_t len)
{
	return len == 17 && name[0] == 'h' && strspn(name + 1, "0123456789abcdef") >= 16;
}

/* "$LT$", "$u7b$": characters that C++ has not; `len`: of what there is at `name`. How many bytes it took; 0: none. */
static size_t escaped(const char *name, size_t len, char *c)
{
	static const struct {
		const char *code;
		char is;
	} codes[] = {{"$SP$", '@'}, {"$BP$", '*'}, {"$RF$", '&'}, {"$LT$", '<'},
		     {"$GT$", '>'}, {"$LP$", '('}, {"$RP$", ')'}, {"$C$", ','}};
	char digits[3] = {0};
	unsigned long value;

	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		size_t code_len = strlen(codes[i].code);

		*c = codes[i].is;
		if (len >= code_len && memcmp(name, codes[i].code, code_len) == 0)
			return code_len;
	}
	if (len < 5 || memcmp(name, "$u", 2) != 0 || name[4] != '$')
		return 0;
	memcpy(digits, name + 2, 2);
	value = strtoul(digits, NULL, 16);
	*c = (char)value;
	return value >= ' ' && value <= '~' ? 5 : 0;
}

static void put_escaped(struct demangler *d, const char *name, size_t len)
{
	size_t bytes;
	char c;

	if (len > 1 && name[0] == '_' && name[1] == '$')
		name++, len--;
	for (size_t at = 0; at < len; at += bytes) {
		bytes = escaped(name + at, len - at, &c);
		if (bytes) {
			put(d, &c, 1);
		} else if (len - at > 1 && memcmp(name + at, "..", 2) == 0) {
			put_string(d, "::");
			bytes = 2;
		} else {
			put(d, name + at, 1);
			bytes = 1;
		}
	}
}

/* Its last part is a hash; before that are one or more. */
static bool demangle_legacy(struct demangler *d)
{
	bool first = true;
	const char *name;
	size_t len;

	if (d->len < 4 || memcmp(d->symbol, "_ZN", 3) != 0)
		return false;
	for (d->at = 3;; first = false) {
		len = decimal(d);
		if (d->failed || len > d->len - d->at)
			return false;
		name = d->symbol + d->at;
		d->at += len;
		if (peek(d) == 'E')
			return is_hash(name, len) && !first;
		put_string(d, first ? "" : "::");
		put_escaped(d, name, len);
	}
}

bool stint_demangle_rust(char *ret, size_t ret_bytes, const char *symbol, size_t len)
{
	struct demangler d = {.symbol = symbol, .len = len, .ret = ret, .ret_bytes = ret_bytes};

	if (ret_bytes == 0)
		return false;
	return demangle_v0(&d) || demangle_legacy(&d);
}
