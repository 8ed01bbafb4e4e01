/* SPDX-License-Identifier: MIT */
#ifndef STINT_PROBES_TAKER_H
#define STINT_PROBES_TAKER_H

/*
 * Takes records as they come out of the ring buffer: what each tells is completed by what else is known, and handed to the
 * callbacks. It decides what of an iteration is of a loop, and whose stack or page faults are looked at more closely.
 */

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "probes/before.h"
#include "probes/bpf_object.h"
#include "probes/known.h"
#include "probes/loops.h"
#include "probes/probes.h"
#include "probes/roles.h"
#include "probes/samplers.h"
#include "probes/unix_names.h"

struct stint_taker;

/* What it takes them with. All of it is the caller's, and must outlive it. */
struct stint_taker_means {
	const struct stint_probes_options *options; /* with their defaults */
	const struct stint_probes_callbacks *callbacks;
	void *ctx; /* theirs */
	struct stint_bpf *bpf;
	struct stint_known *known;
	struct stint_functions *functions; /* NULL: none are asked for */
	struct stint_samplers *samplers;
	struct stint_loops *loops;
	struct stint_before *before;
	struct stint_roles *roles;
	struct stint_unix_names *unix_names;
	bool samples_always; /* the stack of each thread with a loop, and not just where one was missing */
};

/* -ENOMEM. */
int stint_taker_new(struct stint_taker **ret, const struct stint_taker_means *means);

/* NULL is allowed. Returns NULL. */
struct stint_taker *stint_taker_free(struct stint_taker *taker);

/* Takes a record, aligned to 8 bytes. One that cannot be is counted as refused. */
void stint_taker_take(struct stint_taker *taker, const void *data, size_t bytes);

/* From now on no thread is looked at more closely. */
void stint_taker_stop(struct stint_taker *taker);

/* Adds what was lost here: `refused`, `stacks_cut` and `not_sampled`. */
void stint_taker_add_losses(const struct stint_taker *taker, struct stint_probes_losses *losses);

#endif
