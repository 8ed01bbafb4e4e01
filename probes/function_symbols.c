/* SPDX-License-Identifier: MIT */
#include "probes/function_symbols.h"

#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probes/debug_files.h"
#include "probes/demangle.h"
#include "probes/file_fault.h"
#include "probes/live_thread.h"
#include "probes/modules.h"

#define PLACES_MAX  8 /* of a name that there is several times */
#define NEAR_MAX    4
#define NAME_BYTES  128
#define SHORT_BYTES 4 /* names shorter than this are like too many others */

/* A name that was asked for, taken apart. */
struct wanted {
	char module[64]; /* "" : the program itself */
	char name[NAME_BYTES];
	bool has_address;
	uint64_t address;
};

/* What the symbol tables of a file have on it. */
struct search {
	const struct wanted *wanted;
	uint64_t bias;
	bool demangle;
	uint64_t places[PLACES_MAX];
	size_t places_len;
	char found[NAME_BYTES]; /* the name of the first */
	size_t functions;       /* symbols of functions at all */
	bool is_import, is_indirect;
	char near[NEAR_MAX][NAME_BYTES];
	size_t near_len;
};

static int say(char *why, size_t why_bytes, int err, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static int say(char *why, size_t why_bytes, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, why_bytes, format, args);
	va_end(args);
	return err;
}

/* ---- the name ---- */

/* C++ has "::" in names, so the module ends at a colon that stands alone. */
static const char *module_end(const char *text)
{
	for (const char *at = text; *at; at++) {
		if (*at != ':')
			continue;
		if (at[1] != ':')
			return at;
		at++;
	}
	return NULL;
}

static bool take_apart(struct wanted *ret, const char *text)
{
	const char *colon = module_end(text), *name = colon ? colon + 1 : text, *at = strstr(name, "@0x");
	size_t len = at ? (size_t)(at - name) : strlen(name);
	char *end;

	memset(ret, 0, sizeof(*ret));
	if (colon && (colon == text || (size_t)(colon - text) >= sizeof(ret->module)))
		return false;
	if (len == 0 || len >= sizeof(ret->name))
		return false;
	snprintf(ret->module, sizeof(ret->module), "%.*s", colon ? (int)(colon - text) : 0, text);
	snprintf(ret->name, sizeof(ret->name), "%.*s", (int)len, name);
	if (!at)
		return true;
	ret->has_address = true;
	ret->address = strtoull(at + 1, &end, 16);
	return *end == '\0';
}

/* ---- the file ---- */

static bool is_module(const char *file, const char *module)
{
	size_t len = strlen(module);

	return strncmp(file, module, len) == 0 && (!file[len] || strncmp(file + len, ".so", 3) == 0);
}

/* The mapping that holds the library's code tells its path; that file is opened by the mapping itself. */
static int open_library(uint32_t pid, const char *module, char *path, size_t path_bytes)
{
	char maps[64], line[PATH_MAX + 128], found[PATH_MAX] = "";
	uint64_t start, found_start = 0;
	FILE *file;

	snprintf(maps, sizeof(maps), "/proc/%" PRIu32 "/maps", stint_live_thread(pid));
	file = fopen(maps, "re");
	if (!file)
		return errno == ENOENT ? -ESRCH : -errno;
	while (!*found && fgets(line, sizeof(line), file)) {
		char executable;
		int at = 0;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%" SCNx64 "-%*x %*c%*c%c%*c %*x %*s %*u %n", &start, &executable, &at) <
			    2 ||
		    !at || executable != 'x' || line[at] != '/' ||
		    !is_module(stint_module_base_name(line + at), module))
			continue;
		snprintf(found, sizeof(found), "%s", line + at);
		found_start = start;
	}
	fclose(file);
	return *found ? stint_module_open(pid, found_start, found, path, path_bytes) : -ENOENT;
}

/* Its name is the one that it was started by: redis-server, which is a link to another. */
static int open_program(uint32_t pid, char *path, size_t path_bytes, char *name, size_t name_bytes)
{
	char exe[64];
	int fd;

	snprintf(exe, sizeof(exe), "/proc/%" PRIu32 "/exe", stint_live_thread(pid));
	fd = open(exe, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	stint_module_alias(pid, path, path_bytes, name, name_bytes);
	if (!*name)
		snprintf(name, name_bytes, "%s", stint_module_base_name(path));
	return fd;
}

/* ---- its symbols ---- */

static bool is_near(const char *name, const char *wanted)
{
	return strlen(wanted) >= SHORT_BYTES && strcasestr(name, wanted) != NULL;
}

static void keep_near(struct search *search, const char *name, size_t len)
{
	for (size_t i = 0; i < search->near_len; i++)
		if (strncmp(search->near[i], name, len) == 0 && !search->near[i][len])
			return;
	if (search->near_len < NEAR_MAX && len < NAME_BYTES)
		snprintf(search->near[search->near_len++], NAME_BYTES, "%.*s", (int)len, name);
}

static void keep_place(struct search *search, uint64_t address, const char *name, size_t len)
{
	if (search->wanted->has_address && address != search->wanted->address)
		return;
	for (size_t i = 0; i < search->places_len; i++)
		if (search->places[i] == address)
			return;
	if (search->places_len == 0)
		snprintf(search->found, sizeof(search->found), "%.*s", (int)len, name);
	if (search->places_len < PLACES_MAX)
		search->places[search->places_len++] = address;
}

static bool is_wanted(const struct search *search, const char *name, size_t len)
{
	char readable[1024];

	if (!search->demangle)
		return strlen(search->wanted->name) == len && memcmp(name, search->wanted->name, len) == 0;
	if (strncmp(name, "_Z", 2) != 0 || memchr(name, '.', len))
		return false; /* a part of a function is not the function */
	stint_demangle(readable, sizeof(readable), name, len);
	return strcmp(readable, search->wanted->name) == 0;
}

static void look_at_symbol(struct search *search, const char *name, const GElf_Sym *symbol, GElf_Addr address,
			   GElf_Word section)
{
	/* "main@@GLIBC_2.34": behind it is a version. */
	size_t len = strcspn(name, "@");
	int type = GELF_ST_TYPE(symbol->st_info);

	if (type != STT_FUNC && type != STT_GNU_IFUNC && !(type == STT_NOTYPE && section == SHN_UNDEF))
		return;
	if (section != SHN_UNDEF)
		search->functions++;
	if (!is_wanted(search, name, len)) {
		if (!search->demangle && section != SHN_UNDEF && is_near(name, search->wanted->name))
			keep_near(search, name, len);
		return;
	}
	if (section == SHN_UNDEF)
		search->is_import = true;
	else if (type == STT_GNU_IFUNC)
		search->is_indirect = true;
	else
		keep_place(search, address - search->bias, name, len);
}

static void look_at_symbols(struct search *search, Dwfl_Module *module)
{
	int count = dwfl_module_getsymtab(module);

	for (int i = 0; i < count; i++) {
		GElf_Addr address = 0;
		GElf_Word section = SHN_UNDEF;
		GElf_Sym symbol;
		const char *name =
			dwfl_module_getsym_info(module, i, &symbol, &address, &section, NULL, NULL);

		if (name && *name)
			look_at_symbol(search, name, &symbol, address, section);
	}
}

/* ---- the place ---- */

/* Goroutines have stacks that are moved, and a return address in them that is not Go's ends the program. */
static bool is_go(Elf *elf)
{
	size_t names;
	Elf_Scn *section = NULL;

	if (elf_getshdrstrndx(elf, &names) != 0)
		return false;
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		const char *name =
			gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;

		if (name && (strcmp(name, ".gopclntab") == 0 || strcmp(name, ".go.buildinfo") == 0))
			return true;
	}
	return false;
}

/* Where the file has what it wants executed at that address. */
static bool find_offset(Elf *elf, uint64_t address, uint64_t *ret)
{
	size_t count;

	if (elf_getphdrnum(elf, &count) != 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr header;

		if (!gelf_getphdr(elf, (int)i, &header) || header.p_type != PT_LOAD ||
		    !(header.p_flags & PF_X))
			continue;
		if (address < header.p_vaddr || address - header.p_vaddr >= header.p_filesz)
			continue;
		*ret = address - header.p_vaddr + header.p_offset;
		return true;
	}
	return false;
}

static int explain_none(const struct search *search, const char *module, char *why, size_t why_bytes)
{
	const char *name = search->wanted->name;
	size_t len;

	if (search->is_import && !search->is_indirect)
		return say(why, why_bytes, -ENOENT,
			   "%s only calls '%s', which is in a library: ask for LIBRARY:%s", module, name,
			   name);
	if (search->is_indirect)
		return say(
			why, why_bytes, -ENOENT,
			"'%s' of %s is one of several, chosen as it is loaded: ask for that by its own name",
			name, module);
	if (search->functions == 0)
		return say(why, why_bytes, -ENOENT,
			   "%s has no symbols of functions (stripped), and so no '%s'", module, name);
	say(why, why_bytes, 0, "'%s' was not found in %s (inlined, or another name?)", name, module);
	for (size_t i = 0; i < search->near_len; i++) {
		len = strlen(why);
		snprintf(why + len, why_bytes - len, "%s %s", i ? "," : "; there is", search->near[i]);
	}
	return -ENOENT;
}

static int explain_several(const struct search *search, const char *module, char *why, size_t why_bytes)
{
	size_t len;

	say(why, why_bytes, 0, "there is more than one '%s' in %s: ask for", search->wanted->name, module);
	for (size_t i = 0; i < search->places_len; i++) {
		len = strlen(why);
		snprintf(why + len, why_bytes - len, "%s %s@0x%" PRIx64, i ? " or" : "", search->wanted->name,
			 search->places[i]);
	}
	return -ENOENT;
}

static int settle(struct stint_function_site *ret, const struct search *search, Elf *elf, char *why,
		  size_t why_bytes)
{
	/* Of memcpy() an old version may be a function, and the one that is called one of several. */
	if (search->places_len == 0 || search->is_indirect)
		return explain_none(search, ret->module, why, why_bytes);
	if (search->places_len > 1)
		return explain_several(search, ret->module, why, why_bytes);
	if (is_go(elf))
		return say(why, why_bytes, -ENOENT,
			   "%s is a Go program, which moves its stacks: a probe at a return would end it",
			   ret->module);
	ret->address = search->places[0];
	snprintf(ret->function, sizeof(ret->function), "%s", search->found);
	if (!find_offset(elf, ret->address, &ret->offset) ||
	    pread(ret->fd, ret->code, sizeof(ret->code), (off_t)ret->offset) != sizeof(ret->code))
		return say(why, why_bytes, -ENOENT,
			   "'%s' at 0x%" PRIx64 " of %s is not in code that is loaded", search->wanted->name,
			   ret->address, ret->module);
	return 0;
}

/* A file that is looked at: what stint_file_fault_guard() is given. */
struct look {
	struct stint_function_site *site;
	const struct wanted *wanted;
	const char *path;
	Dwfl *dwfl;
	char *why;
	size_t why_bytes;
	int err;
};

static int look_at_module(const struct look *look, Dwfl_Module *module)
{
	struct search search = {.wanted = look->wanted};
	GElf_Addr bias = 0;
	Elf *elf = module ? dwfl_module_getelf(module, &bias) : NULL;

	if (!elf)
		return say(look->why, look->why_bytes, -ENOENT, "%s cannot be read: %s", look->site->module,
			   dwfl_errmsg(-1));
	search.bias = bias;
	look_at_symbols(&search, module);
	if (search.places_len == 0 && search.functions > 0) {
		search.demangle = true;
		look_at_symbols(&search, module);
	}
	return settle(look->site, &search, elf, look->why, look->why_bytes);
}

static void look_at_file(void *ctx)
{
	static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_build_id_find_elf,
						 .find_debuginfo = stint_find_debuginfo,
						 .debuginfo_path = &stint_debug_path};
	struct look *look = ctx;
	int copy = fcntl(look->site->fd, F_DUPFD_CLOEXEC, 0);
	Dwfl_Module *module;

	look->dwfl = dwfl_begin(&callbacks);
	if (copy < 0 || !look->dwfl) {
		look->err = say(look->why, look->why_bytes, -ENOMEM, "out of memory or of descriptors");
		if (copy >= 0)
			close(copy);
		return;
	}
	module = dwfl_report_elf(look->dwfl, look->site->module, look->path, copy, 0, true);
	if (!module)
		close(copy);
	dwfl_report_end(look->dwfl, NULL, NULL);
	look->err = look_at_module(look, module);
}

int stint_function_find(struct stint_function_site *ret, uint32_t pid, const char *text, char *why,
			size_t why_bytes)
{
	char path[PATH_MAX] = "";
	struct wanted wanted;
	struct look look = {.site = ret, .wanted = &wanted, .path = path, .why = why, .why_bytes = why_bytes};

	memset(ret, 0, sizeof(*ret));
	ret->fd = -1;
	if (!take_apart(&wanted, text))
		return say(why, why_bytes, -ENOENT, "'%s' is not NAME, MODULE:NAME or NAME@0xADDRESS", text);
	ret->fd = *wanted.module ? open_library(pid, wanted.module, path, sizeof(path))
				 : open_program(pid, path, sizeof(path), ret->module, sizeof(ret->module));
	if (ret->fd == -ENOENT)
		return say(why, why_bytes, -ENOENT, "process %" PRIu32 " has no library '%s' mapped", pid,
			   wanted.module);
	if (ret->fd < 0)
		return say(why, why_bytes, ret->fd, "the files of process %" PRIu32 " cannot be read: %s",
			   pid, strerror(-ret->fd));
	if (*wanted.module)
		snprintf(ret->module, sizeof(ret->module), "%s", stint_module_base_name(path));
	if (stint_file_fault_guard(look_at_file, &look))
		dwfl_end(look.dwfl);
	else /* what libdwfl holds then is not fit to be freed */
		look.err = say(why, why_bytes, -ENOENT, "%s was cut short while it was read", ret->module);
	if (look.err) {
		close(ret->fd);
		ret->fd = -1;
	}
	return look.err;
}
