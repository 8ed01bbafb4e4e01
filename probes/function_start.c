/* SPDX-License-Identifier: MIT */
#include "probes/function_start.h"

#include <stdlib.h>
#include <string.h>

#include <elfutils/libdw.h>
#include <gelf.h>

/*
 * .eh_frame_hdr, as the Linux Standard Base describes it: four bytes of version and encodings, where .eh_frame is, how
 * many entries there are, and these, sorted. GNU ld, gold and lld write them in one encoding only, which is the one that
 * is read here: numbers of four bytes, those in the table relative to the header.
 */
#define VERSION      1
#define UDATA4       0x03 /* DW_EH_PE_udata4 */
#define SIZE_MASK    0x0f
#define SDATA4       0x0b /* DW_EH_PE_sdata4 */
#define DATAREL_DATA 0x3b /* DW_EH_PE_datarel | DW_EH_PE_sdata4 */

struct header {
	unsigned char version;
	unsigned char frame_encoding;
	unsigned char count_encoding;
	unsigned char table_encoding;
	int32_t frame;
	uint32_t count;
};

struct entry {
	int32_t start; /* from the header's own address */
	int32_t fde;
};

struct index {
	uint64_t address; /* of the header, in the file's own terms */
	const unsigned char *entries;
	size_t entries_len;
};

static bool find_segment(Elf *elf, GElf_Phdr *ret)
{
	size_t count;

	if (elf_getphdrnum(elf, &count) != 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (gelf_getphdr(elf, (int)i, ret) && ret->p_type == PT_GNU_EH_FRAME)
			return true;
	return false;
}

static bool is_readable(const struct header *header)
{
	unsigned char frame_bytes = header->frame_encoding & SIZE_MASK;

	return header->version == VERSION && (frame_bytes == UDATA4 || frame_bytes == SDATA4) &&
	       header->count_encoding == UDATA4 && header->table_encoding == DATAREL_DATA;
}

static bool read_index(Elf *elf, struct index *ret)
{
	struct header header;
	GElf_Phdr segment;
	Elf_Data *data;

	if (!find_segment(elf, &segment) || segment.p_filesz < sizeof(header))
		return false;
	/* libelf keeps it for the next time, and checks that it is within the file. */
	data = elf_getdata_rawchunk(elf, (int64_t)segment.p_offset, segment.p_filesz, ELF_T_BYTE);
	if (!data || data->d_size < sizeof(header))
		return false;
	memcpy(&header, data->d_buf, sizeof(header));
	if (!is_readable(&header) || header.count > (data->d_size - sizeof(header)) / sizeof(struct entry))
		return false;
	ret->address = segment.p_vaddr;
	ret->entries = (const unsigned char *)data->d_buf + sizeof(header);
	ret->entries_len = header.count;
	return true;
}

static uint64_t start_of(const struct index *index, size_t i)
{
	struct entry entry;

	memcpy(&entry, index->entries + i * sizeof(entry), sizeof(entry)); /* aligned to four bytes at best */
	return index->address + (uint64_t)(int64_t)entry.start;
}

/* The last one that begins at or before `address`. */
static bool search(const struct index *index, uint64_t address, uint64_t *ret)
{
	size_t low = 0, high = index->entries_len;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (start_of(index, middle) <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return false;
	*ret = start_of(index, low - 1);
	return *ret <= address; /* of a table that is not sorted, anything may be found */
}

/* The index tells where functions begin, not where they end. */
static bool is_covered(Dwfl_Module *module, uint64_t at)
{
	Dwarf_Frame *frame;
	Dwarf_Addr bias;
	Dwarf_CFI *cfi = dwfl_module_eh_cfi(module, &bias);

	if (!cfi || dwarf_cfi_addrframe(cfi, at - bias, &frame) != 0)
		return false;
	free(frame);
	return true;
}

bool stint_function_start(Dwfl_Module *module, uint64_t at, uint64_t *ret)
{
	GElf_Addr bias;
	Elf *elf = dwfl_module_getelf(module, &bias);
	struct index index;
	uint64_t start;

	if (!elf || !is_covered(module, at) || !read_index(elf, &index) || !search(&index, at - bias, &start))
		return false;
	*ret = start + bias;
	return true;
}
