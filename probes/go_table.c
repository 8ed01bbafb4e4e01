/* SPDX-License-Identifier: MIT */
#include "probes/go_table.h"

#include <gelf.h>
#include <stddef.h>
#include <string.h>

#define MAGIC_1_16 0xfffffffau
#define MAGIC_1_18 0xfffffff0u
#define MAGIC_1_20 0xfffffff1u

#define WORD_BYTES 8 /* of a program on x86-64 */

/* No function has so many, however it was generated: 5,278 times in Go's own compiler. */
#define CHANGES_MAX (1 << 18)

/* A part of the file, to its end. What is asked for beyond is not there. */
struct part {
	const unsigned char *bytes;
	uint64_t len;
};

/* The parts of the table that begin at the offsets in its header. */
struct table {
	bool is_1_16;
	uint64_t text_start; /* what entries count from */
	uint64_t count;
	struct part names, units, files, values, functions;
};

static bool read_bytes(const struct part *part, uint64_t at, void *ret, size_t bytes)
{
	if (at > part->len || part->len - at < bytes)
		return false;
	memcpy(ret, part->bytes + at, bytes);
	return true;
}

static bool read_u32(const struct part *part, uint64_t at, uint32_t *ret)
{
	return read_bytes(part, at, ret, sizeof(*ret));
}

static bool read_u64(const struct part *part, uint64_t at, uint64_t *ret)
{
	return read_bytes(part, at, ret, sizeof(*ret));
}

static const char *read_string(const struct part *part, uint64_t at)
{
	if (at >= part->len || !memchr(part->bytes + at, '\0', part->len - at))
		return NULL;
	return (const char *)part->bytes + at;
}

static bool find_section(Elf *elf, const char *const *names, GElf_Shdr *ret, Elf_Scn **ret_section)
{
	size_t strings;

	if (!elf || elf_getshdrstrndx(elf, &strings) != 0)
		return false;
	for (Elf_Scn *section = elf_nextscn(elf, NULL); section; section = elf_nextscn(elf, section)) {
		const char *name;

		if (!gelf_getshdr(section, ret))
			continue;
		name = elf_strptr(elf, strings, ret->sh_name);
		for (size_t i = 0; name && names[i]; i++)
			if (strcmp(names[i], name) == 0) {
				*ret_section = section;
				return true;
			}
	}
	return false;
}

static bool part_at(const struct part *whole, uint64_t header_at, struct part *ret)
{
	uint64_t offset;

	if (!read_u64(whole, header_at, &offset) || offset > whole->len)
		return false;
	*ret = (struct part){whole->bytes + offset, whole->len - offset};
	return true;
}

/* Where entries count from; a program that may be loaded anywhere has that in its file by a relocation only. */
static bool read_text_start(Elf *elf, const struct part *whole, uint64_t *ret)
{
	static const char *const names[] = {".text", NULL};
	GElf_Shdr header;
	Elf_Scn *section;

	if (!read_u64(whole, 8 + 2 * WORD_BYTES, ret))
		return false;
	if (!*ret && find_section(elf, names, &header, &section))
		*ret = header.sh_addr;
	return *ret != 0;
}

/* "magic 0 0 quantum word-size", then words: counts, 1.18's start of the text, offsets of the parts. */
static bool open_table(Elf *elf, struct table *ret)
{
	static const char *const names[] = {".gopclntab", ".data.rel.ro.gopclntab", NULL};
	struct part whole;
	GElf_Shdr header;
	Elf_Scn *section;
	Elf_Data *data;
	uint64_t at;
	uint32_t magic;

	if (!find_section(elf, names, &header, &section) || header.sh_type == SHT_NOBITS)
		return false;
	data = elf_rawdata(section, NULL);
	if (!data || !data->d_buf)
		return false;
	whole = (struct part){data->d_buf, data->d_size};
	if (whole.len < 8 || whole.bytes[6] != 1 || whole.bytes[7] != WORD_BYTES ||
	    !read_u32(&whole, 0, &magic))
		return false;
	ret->is_1_16 = magic == MAGIC_1_16;
	ret->text_start = 0;
	if (!ret->is_1_16 &&
	    ((magic != MAGIC_1_18 && magic != MAGIC_1_20) || !read_text_start(elf, &whole, &ret->text_start)))
		return false;
	at = 8 + (ret->is_1_16 ? 2 : 3) * WORD_BYTES;
	return read_u64(&whole, 8, &ret->count) && part_at(&whole, at, &ret->names) &&
	       part_at(&whole, at + WORD_BYTES, &ret->units) &&
	       part_at(&whole, at + 2 * WORD_BYTES, &ret->files) &&
	       part_at(&whole, at + 3 * WORD_BYTES, &ret->values) &&
	       part_at(&whole, at + 4 * WORD_BYTES, &ret->functions);
}

/* ---- which function ---- */

/* The functions' part begins with pairs, by address: where a function begins, and where in this part its own data is. */
static bool read_pair(const struct table *table, uint64_t number, uint64_t *start, uint64_t *data_at)
{
	uint32_t start_short, data_short;

	if (table->is_1_16)
		return read_u64(&table->functions, number * 2 * WORD_BYTES, start) &&
		       read_u64(&table->functions, number * 2 * WORD_BYTES + WORD_BYTES, data_at);
	if (!read_u32(&table->functions, number * 8, &start_short) ||
	    !read_u32(&table->functions, number * 8 + 4, &data_short))
		return false;
	*start = table->text_start + start_short;
	*data_at = data_short;
	return true;
}

/* Behind the last pair is where the last function ends, as another's beginning. */
static bool is_before_end(const struct table *table, uint64_t at)
{
	uint32_t end_short;
	uint64_t end = 0;

	if (table->is_1_16)
		return read_u64(&table->functions, table->count * 2 * WORD_BYTES, &end) && at < end;
	return read_u32(&table->functions, table->count * 8, &end_short) &&
	       at < table->text_start + end_short;
}

static bool find_pair(const struct table *table, uint64_t at, uint64_t *start, uint64_t *data_at)
{
	uint64_t low = 0, high = table->count;

	if (!table->count || table->count > table->functions.len / 8 ||
	    !read_pair(table, 0, start, data_at) || at < *start || !is_before_end(table, at))
		return false;
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (!read_pair(table, middle, start, data_at))
			return false;
		if (*start <= at)
			low = middle;
		else
			high = middle;
	}
	return read_pair(table, low, start, data_at);
}

/* ---- file and line ---- */

/* Seven bits a byte, the lowest first, as in DWARF. */
static bool read_number(const struct part *part, uint64_t *at, uint32_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; shift < 32; shift += 7) {
		unsigned char byte;

		if (!read_bytes(part, *at, &byte, 1))
			return false;
		(*at)++;
		*ret |= (uint32_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

/*
 * A value that changes along the function: pairs of by how much, from -1 on and with its sign in the lowest bit, and for
 * how many bytes of code that holds; 0, where it is not the first, ends them.
 */
static bool value_at(const struct table *table, uint64_t values_at, uint64_t start, uint64_t at, int64_t *ret)
{
	uint64_t end = start;

	*ret = -1;
	for (uint32_t i = 0; i < CHANGES_MAX; i++) {
		uint32_t change, bytes;

		if (!read_number(&table->values, &values_at, &change) || (!change && i > 0) ||
		    !read_number(&table->values, &values_at, &bytes))
			return false;
		*ret += change & 1 ? ~(int64_t)(change >> 1) : (int64_t)(change >> 1);
		end += bytes;
		if (at < end)
			return true;
	}
	return false;
}

/* Of the function whose data is at `data_at`, behind its start: name, two more, then these offsets. */
static void find_line(const struct table *table, uint64_t data_at, uint64_t at, struct stint_go_function *ret)
{
	uint64_t fields_at = data_at + (table->is_1_16 ? WORD_BYTES : 4) + 4 * sizeof(uint32_t);
	uint32_t files_at, lines_at, unit, file_at;
	int64_t file, line;

	if (!read_u32(&table->functions, fields_at, &files_at) ||
	    !read_u32(&table->functions, fields_at + 4, &lines_at) ||
	    !read_u32(&table->functions, fields_at + 12, &unit) || !files_at || !lines_at)
		return;
	if (!value_at(table, files_at, ret->start, at, &file) ||
	    !value_at(table, lines_at, ret->start, at, &line) || file < 0 || line <= 0 || line > INT32_MAX)
		return;
	if (!read_u32(&table->units, ((uint64_t)unit + (uint64_t)file) * sizeof(uint32_t), &file_at))
		return;
	ret->file = read_string(&table->files, file_at);
	ret->line = ret->file ? (uint32_t)line : 0;
}

bool stint_go_function(Elf *elf, uint64_t at, struct stint_go_function *ret)
{
	struct table table;
	uint64_t data_at;
	uint32_t name_at;

	*ret = (struct stint_go_function){0};
	if (!open_table(elf, &table) || !find_pair(&table, at, &ret->start, &data_at) ||
	    !read_u32(&table.functions, data_at + (table.is_1_16 ? WORD_BYTES : 4), &name_at))
		return false;
	ret->name = read_string(&table.names, name_at);
	if (!ret->name || !*ret->name)
		return false;
	find_line(&table, data_at, at, ret);
	return true;
}
