/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_IMAGE_H
#define STINT_PROBES_IMAGE_H

/*
 * What libdwfl knows of the files of programs that a process has mapped, and what was found out of addresses in them. To
 * read the symbols of a program takes some ms and some MB, of a large one a hundred times that. So processes that have the
 * same files at the same addresses, as workers have that were forked, have one image between them.
 *
 * One thread at a time for all images of a set.
 */

#include <elfutils/libdwfl.h>
#include <stdbool.h>
#include <stdint.h>

#include "probes/frame.h"

struct stint_image;
struct stint_images;

/* All images that are shared. -ENOMEM. */
int stint_images_new(struct stint_images **ret);

/* Whoever has an image of these has to have given it back. NULL is allowed. Returns NULL. */
struct stint_images *stint_images_free(struct stint_images *images);

/*
 * The image of a process as it is now: one that there is already, or a new one. `images` NULL: it is shared with nobody.
 * `callbacks` are those of a Dwfl that is attached to its state; their argument is the image. To be given back by
 * stint_image_release(). -ESRCH, -EACCES, -ENOMEM, -EIO.
 */
int stint_image_get(struct stint_image **ret, struct stint_images *images, uint32_t pid,
		    const Dwfl_Thread_Callbacks *callbacks);

/* By the process that it was got for. NULL is allowed. Returns NULL. */
struct stint_image *stint_image_release(struct stint_image *image, uint32_t pid);

/*
 * Looks at what the process has mapped by now. *image is another one afterwards if others share the one that it was, and
 * they differ. True: there may be names that were not known.
 */
bool stint_image_refresh(struct stint_image **image, uint32_t pid);

/*
 * For whom it is used from now on: the process whose files are opened, if it has them still, and what stint_image_user() is
 * to return to the callbacks.
 */
void stint_image_use(struct stint_image *image, uint32_t pid, void *user);
void *stint_image_user(const struct stint_image *image);

/* NULL: it was lost. */
Dwfl *stint_image_dwfl(const struct stint_image *image);

/* A file was cut short while it was read: what is left of the Dwfl is not fit to be used, nor to be freed. */
void stint_image_lose(struct stint_image *image);

/* The number that its Dwfl has for the process and its only thread. */
pid_t stint_image_pid(const struct stint_image *image);

/* Whether that is the path of the program's own file, and not of a library. */
bool stint_image_is_executable(const struct stint_image *image, const char *path);

/* The name that a file is shown by. Valid as long as `path` and the image. */
const char *stint_image_file_name(const struct stint_image *image, const char *path);

/* What was found out of an address; NULL: it was not kept. Forgotten as the image changes. */
const struct stint_frame *stint_image_kept(const struct stint_image *image, uint64_t at);

/* Keeps a copy, unless there is no memory. */
void stint_image_keep(struct stint_image *image, uint64_t at, const struct stint_frame *frame);

#endif
