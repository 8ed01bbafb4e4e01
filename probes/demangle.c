/* SPDX-License-Identifier: MIT */
#include "probes/demangle.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probes/demangle_rust.h"

/* Of libstdc++, by the Itanium C++ ABI, which gives it C linkage; its header is for C++ only. */
char *__cxa_demangle(const char *mangled, char *buffer, size_t *length, int *status);

/* Symbols come from the files of others, and a short one may stand for a name of any length. */
#define MANGLED_BYTES   1024
#define DEMANGLED_BYTES 65536
#define REFERENCES      (MANGLED_BYTES / 2)
#define EXPANDED_BYTES  (16u << 20)

static bool ends_in(const char *name, size_t len, const char *end)
{
	size_t end_len = strlen(end);

	return len > end_len && memcmp(name + len - end_len, end, end_len) == 0;
}

/* Without what a member function says of its object, behind its parameters. */
static size_t without_qualifiers(const char *name, size_t len)
{
	static const char *const qualifiers[] = {" &&", " &", " const", " volatile"};

	for (size_t i = 0; i < sizeof(qualifiers) / sizeof(*qualifiers); i++)
		if (ends_in(name, len, qualifiers[i]))
			len -= strlen(qualifiers[i]);
	return len;
}

/* Where the list of parameters begins that `name` ends with; its end if there is none. */
static size_t parameters_begin(const char *name, size_t len)
{
	size_t depth = 0, at = without_qualifiers(name, len);

	if (at == 0 || name[at - 1] != ')')
		return len;
	while (at > 0) {
		at--;
		if (name[at] == ')')
			depth++;
		if (name[at] == '(' && --depth == 0)
			break;
	}
	return depth == 0 && at > 0 ? at : len;
}

/* Where the name itself begins: before it a template's function has its result, and a space that is in no brackets. */
static size_t name_begins(const char *name, size_t len)
{
	static const char operator_word[] = "operator", inner[] = " const::";
	size_t depth = 0, begin = 0;

	for (size_t at = 0; at < len; at++) {
		if (strncmp(name + at, operator_word, sizeof(operator_word) - 1) == 0)
			return begin;
		if (strchr("(<{[", name[at]))
			depth++;
		if (strchr(")>}]", name[at]) && depth > 0)
			depth--;
		if (name[at] == ' ' && depth == 0 && strncmp(name + at, inner, sizeof(inner) - 1) != 0)
			begin = at + 1;
	}
	return begin;
}

/* "{lambda(int)#2}" is "{lambda#2}", and what a pointer to it calls ("::_FUN") is it. Returns how long it is now. */
static size_t shorten_lambdas(char *name, size_t len)
{
	static const char begin[] = "{lambda(", caller[] = "::_FUN";
	char *at = name, *end;

	name[len] = '\0';
	while ((at = strstr(at, begin))) {
		size_t depth = 1;

		at += sizeof(begin) - 2;
		for (end = at + 1; *end && depth; end++)
			depth += (*end == '(') - (*end == ')');
		memmove(at, end, strlen(end) + 1);
	}
	len = strlen(name);
	return ends_in(name, len, caller) ? len - (sizeof(caller) - 1) : len;
}

/*
 * References ("S1_", "T_") stand for what was said before, with the references in that: a name of 300 bytes can become
 * gigabytes. What one stands for is no longer than all that comes before the first one to it, which bounds the whole.
 */
static bool may_explode(const char *mangled)
{
	uint64_t before_first[2][REFERENCES] = {{0}}, bytes = 1;

	while (*mangled && bytes <= EXPANDED_BYTES) {
		int kind = *mangled == 'T';
		char *end = NULL;
		unsigned long number = 0;

		bytes += 4; /* a letter may stand for a type, or an operator */
		if (*mangled++ != 'S' && !kind)
			continue;
		if (isalnum((unsigned char)*mangled))
			number = 1 + strtoul(mangled, &end, 36);
		if (*(end ? end : mangled) != '_' || number >= REFERENCES)
			continue;
		if (!before_first[kind][number])
			before_first[kind][number] = bytes;
		bytes += before_first[kind][number];
	}
	return bytes > EXPANDED_BYTES;
}

void stint_demangle(char *ret, size_t ret_bytes, const char *symbol, size_t symbol_len)
{
	char mangled[MANGLED_BYTES], *name = NULL;
	size_t len = strnlen(symbol, symbol_len), begin;
	int status = -1;

	if (stint_demangle_rust(ret, ret_bytes, symbol, len))
		return;
	if (len < sizeof(mangled) && len > 2 && memcmp(symbol, "_Z", 2) == 0) {
		memcpy(mangled, symbol, len);
		mangled[len] = '\0';
		mangled[strcspn(mangled, ".")] =
			'\0'; /* a part of it that the compiler made: ".cold", ".isra.0" */
		if (!may_explode(mangled))
			name = __cxa_demangle(mangled, NULL, NULL, &status);
	}
	if (!name || status != 0 || strnlen(name, DEMANGLED_BYTES) == DEMANGLED_BYTES) {
		snprintf(ret, ret_bytes, "%.*s", (int)len, symbol);
		free(name);
		return;
	}
	len = parameters_begin(name, strlen(name));
	len = shorten_lambdas(name, len);
	begin = name_begins(name, len);
	snprintf(ret, ret_bytes, "%.*s", (int)(len - begin), name + begin);
	free(name);
}
