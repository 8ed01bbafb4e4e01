/* SPDX-License-Identifier: MIT */
#include "probes/image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "probes/debug_files.h"
#include "probes/live_thread.h"
#include "probes/mapped_files.h"
#include "probes/modules.h"

/*
 * What was found out of an address. libdwfl goes through all symbols of a module for each: some ms in a program as large
 * as node, where stacks have the same addresses over and over.
 */
#define NAMES_KEPT      2048 /* a power of two */
#define NAMES_KEPT_BITS 11

_Static_assert(NAMES_KEPT == 1 << NAMES_KEPT_BITS, "the top bits of the hash");

struct kept_name {
	uint64_t at;
	struct stint_frame frame;
};

struct stint_image {
	struct stint_images *images; /* NULL: it is not shared */
	struct stint_image *next;
	const Dwfl_Thread_Callbacks *callbacks;
	uint32_t *users; /* by their pids, one as often as it has it */
	uint32_t users_len;
	char *files; /* what it is of, as stint_mapped_files() has it; NULL: not known, and so nobody else's */
	Dwfl *dwfl;  /* NULL: lost to a file that was cut short while it was read */
	pid_t pid;   /* as the Dwfl has it */
	uint32_t user_pid;
	void *user;
	bool is_of_here; /* the paths of its files are what they are from here */
	Elf *self;       /* this program's file */
	int self_fd;
	struct kept_name *kept[NAMES_KEPT];
	char exe[512];     /* the path that the program's own mappings bear */
	char exe_name[64]; /* the name it was started by, "" if it is that file's own */
};

struct stint_images {
	struct stint_image *first;
};

int stint_images_new(struct stint_images **ret)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : -ENOMEM;
}

struct stint_images *stint_images_free(struct stint_images *images)
{
	free(images);
	return NULL;
}

/* ---- the files of a process, for libdwfl ---- */

/* 0, or a negative errno: -ENOENT if it has none any more, as one that has ended, also while nobody has waited for it. */
static int root_of(uint32_t pid, struct stat *ret)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/root/", stint_live_thread(pid));
	return stat(path, ret) == 0 ? 0 : -errno;
}

static bool is_of_here(uint32_t pid)
{
	struct stat theirs, ours;

	if (stint_module_in_our_mounts(pid))
		return true;
	return root_of(pid, &theirs) == 0 && stat("/", &ours) == 0 && theirs.st_dev == ours.st_dev &&
	       theirs.st_ino == ours.st_ino;
}

/* It has neither memory nor a root any more, but here its files may be as they were. */
static bool is_gone_from_here(const struct stint_image *image, uint32_t pid)
{
	struct stat root;

	return image->is_of_here && root_of(pid, &root) == -ENOENT;
}

static bool has_files_of(uint32_t pid, const struct stint_image *image)
{
	char *files = stint_mapped_files(pid);
	bool is_same = files && strcmp(files, image->files) == 0;

	free(files);
	return is_same;
}

/*
 * Whose files are opened. libdwfl opens each once, and remembers of which it could not: so if the one that it is used for
 * is gone, or is another program by now, another user's.
 */
static uint32_t choose_owner(const struct stint_image *image)
{
	if (!image->files || image->users_len < 2 || has_files_of(image->user_pid, image))
		return image->user_pid;
	for (uint32_t i = 0; i < image->users_len; i++)
		if (image->users[i] != image->user_pid && has_files_of(image->users[i], image))
			return image->users[i];
	return image->user_pid;
}

/* libdwfl takes what bears such a name from that process's memory, as it does the vDSO. */
static int find_in_memory(Dwfl_Module *module, void **userdata, uint32_t pid, Dwarf_Addr base,
			  char **file_name, Elf **elf)
{
	char name[32];

	snprintf(name, sizeof(name), "[vdso: %" PRIu32 "]", stint_live_thread(pid));
	return dwfl_linux_proc_find_elf(module, userdata, name, base, file_name, elf);
}

/*
 * As libdwfl's own does, but in the process's mount namespace, where the same path may be another file: what cannot be
 * opened there is not looked for here, unless the process is gone, and saw it as it is seen from here.
 */
static int find_elf(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base, char **file_name,
		    Elf **elf)
{
	const struct stint_image *image = *userdata;
	char path[PATH_MAX];
	uint32_t pid;
	int fd;

	if (!image || *name != '/')
		return dwfl_linux_proc_find_elf(module, userdata, name, base, file_name, elf);
	pid = choose_owner(image);
	fd = stint_module_open(pid, base, name, path, sizeof(path));
	if (fd == -EINVAL)
		return -1;
	if (fd < 0 && is_gone_from_here(image, pid))
		return dwfl_linux_proc_find_elf(module, userdata, name, base, file_name, elf);
	if (fd < 0)
		return find_in_memory(module, userdata, pid, base, file_name, elf);
	*file_name = strdup(path);
	return fd;
}

static bool is_vdso(const char *path)
{
	return strncmp(path, "[vdso", 5) == 0; /* libdwfl has the pid in it */
}

/* So that find_elf() knows whose they are. The vDSO is in the memory of this process alone, which others outlive. */
static int take_module(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base, void *ctx)
{
	GElf_Addr bias;

	(void)base;
	*userdata = ctx;
	if (is_vdso(name))
		(void)dwfl_module_getelf(module, &bias);
	return DWARF_CB_OK;
}

/*
 * Of another user's process, CAP_SYS_PTRACE opens the mappings, but not the file that says where its vDSO is, which
 * libdwfl insists on: so its functions have no names then.
 */
static int report_maps(const struct stint_image *image, pid_t live)
{
	char path[64];
	FILE *maps;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)live);
	maps = fopen(path, "re");
	if (!maps)
		return errno;
	err = dwfl_linux_proc_maps_report(image->dwfl, maps);
	fclose(maps);
	return err;
}

static void forget_names(struct stint_image *image)
{
	for (size_t i = 0; i < NAMES_KEPT; i++) {
		free(image->kept[i]);
		image->kept[i] = NULL;
	}
}

static int report_modules(struct stint_image *image)
{
	pid_t live = (pid_t)stint_live_thread(image->user_pid);
	int err;

	forget_names(image);
	dwfl_report_begin(image->dwfl);
	err = dwfl_linux_proc_report(image->dwfl, live);
	if (err == EACCES)
		err = report_maps(image, live);
	if (dwfl_report_end(image->dwfl, NULL, NULL) != 0 && !err)
		err = -1;
	(void)dwfl_getmodules(image->dwfl, take_module, image, 0);
	return err > 0 ? -err : err < 0 ? -EIO : 0;
}

/*
 * Which registers there are, libdwfl takes from an ELF file; left to itself, from the first module that it finds,
 * whatever that is, and ends us by an assertion if it makes no sense of it. This program's own is of the right kind.
 */
static int attach(struct stint_image *image)
{
	if (elf_version(EV_CURRENT) == EV_NONE)
		return -EIO;
	image->self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (image->self_fd < 0)
		return -errno;
	image->self = elf_begin(image->self_fd, ELF_C_READ, NULL);
	if (!image->self || !dwfl_attach_state(image->dwfl, image->self, image->pid, image->callbacks, image))
		return -EIO;
	return 0;
}

/* ---- which there are ---- */

static struct stint_image *destroy(struct stint_image *image)
{
	if (!image)
		return NULL;
	dwfl_end(image->dwfl);
	forget_names(image);
	elf_end(image->self);
	if (image->self_fd >= 0)
		close(image->self_fd);
	free(image->files);
	free(image->users);
	free(image);
	return NULL;
}

static int add_user(struct stint_image *image, uint32_t pid)
{
	uint32_t *larger = reallocarray(image->users, image->users_len + 1, sizeof(*image->users));

	if (!larger)
		return -ENOMEM;
	image->users = larger;
	image->users[image->users_len++] = pid;
	return 0;
}

static void drop_user(struct stint_image *image, uint32_t pid)
{
	uint32_t at = 0;

	while (at + 1 < image->users_len && image->users[at] != pid)
		at++;
	image->users[at] = image->users[--image->users_len];
}

struct stint_image *stint_image_release(struct stint_image *image, uint32_t pid)
{
	struct stint_image **at;

	if (!image)
		return NULL;
	drop_user(image, pid);
	if (image->users_len)
		return NULL;
	if (image->images) {
		for (at = &image->images->first; *at != image;)
			at = &(*at)->next;
		*at = image->next;
	}
	return destroy(image);
}

static struct stint_image *find(const struct stint_images *images, const struct stint_image *like)
{
	struct stint_image *image = images && like->files ? images->first : NULL;

	while (image && (!image->dwfl || !image->files || strcmp(image->files, like->files) != 0 ||
			 strcmp(image->exe_name, like->exe_name) != 0))
		image = image->next;
	return image;
}

static int open_image(struct stint_image *image)
{
	static const Dwfl_Callbacks files = {
		.find_elf = find_elf,
		.find_debuginfo = stint_find_debuginfo,
		.debuginfo_path = &stint_debug_path,
	};
	int err;

	image->is_of_here = is_of_here(image->user_pid);
	image->dwfl = dwfl_begin(&files);
	if (!image->dwfl)
		return -ENOMEM;
	err = report_modules(image);
	/* A process that is ending has no memory, so no auxiliary vector, and libdwfl calls that ENOEXEC. */
	if (err == -ENOENT || err == -ENOEXEC)
		err = -ESRCH;
	return err ? err : attach(image);
}

int stint_image_get(struct stint_image **ret, struct stint_images *images, uint32_t pid,
		    const Dwfl_Thread_Callbacks *callbacks)
{
	struct stint_image *image = calloc(1, sizeof(*image));
	int err;

	if (!image)
		return -ENOMEM;
	image->pid = (pid_t)pid;
	image->user_pid = pid;
	image->callbacks = callbacks;
	image->self_fd = -1;
	image->files = stint_mapped_files(pid);
	stint_module_alias(pid, image->exe, sizeof(image->exe), image->exe_name, sizeof(image->exe_name));
	*ret = find(images, image);
	if (*ret) {
		destroy(image);
		err = add_user(*ret, pid);
		*ret = err ? NULL : *ret;
		return err;
	}
	err = add_user(image, pid);
	if (!err)
		err = open_image(image);
	if (err) {
		*ret = destroy(image);
		return err;
	}
	image->images = images;
	if (images) {
		image->next = images->first;
		images->first = image;
	}
	*ret = image;
	return 0;
}

/* Alone with it, what was read of the files that are mapped still is kept. */
static bool report_anew(struct stint_image *image, char *files)
{
	free(image->files);
	image->files = files;
	if (report_modules(image) == 0)
		return true;
	/* It has ended meanwhile. What libdwfl has now is of nobody else, whatever that one has. */
	free(image->files);
	image->files = NULL;
	return false;
}

bool stint_image_refresh(struct stint_image **image, uint32_t pid)
{
	struct stint_image *before = *image, *now;
	char *files = stint_mapped_files(pid);
	bool is_same = !files || (before->files && strcmp(files, before->files) == 0);

	if (is_same) {
		free(files);
		return false;
	}
	if (before->users_len == 1)
		return report_anew(before, files);
	free(files);
	if (stint_image_get(&now, before->images, pid, before->callbacks) != 0)
		return false;
	stint_image_release(before, pid);
	*image = now;
	return true;
}

/* ---- the use of one ---- */

void stint_image_use(struct stint_image *image, uint32_t pid, void *user)
{
	image->user_pid = pid;
	image->user = user;
}

void *stint_image_user(const struct stint_image *image)
{
	return image->user;
}

Dwfl *stint_image_dwfl(const struct stint_image *image)
{
	return image->dwfl;
}

void stint_image_lose(struct stint_image *image)
{
	image->dwfl = NULL;
}

pid_t stint_image_pid(const struct stint_image *image)
{
	return image->pid;
}

bool stint_image_is_executable(const struct stint_image *image, const char *path)
{
	return strcmp(path, image->exe) == 0;
}

const char *stint_image_file_name(const struct stint_image *image, const char *path)
{
	if (is_vdso(path))
		return "[vdso]";
	if (*image->exe_name && stint_image_is_executable(image, path))
		return image->exe_name;
	return stint_module_base_name(path);
}

static uint32_t kept_slot(uint64_t at)
{
	return (uint32_t)((at * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - NAMES_KEPT_BITS));
}

const struct stint_frame *stint_image_kept(const struct stint_image *image, uint64_t at)
{
	const struct kept_name *kept = image->kept[kept_slot(at)];

	return kept && kept->at == at ? &kept->frame : NULL;
}

void stint_image_keep(struct stint_image *image, uint64_t at, const struct stint_frame *frame)
{
	struct kept_name **kept = &image->kept[kept_slot(at)];

	if (!*kept)
		*kept = malloc(sizeof(**kept));
	if (*kept)
		**kept = (struct kept_name){at, *frame};
}
