/* SPDX-License-Identifier: MIT */
#ifndef REPORT_ROLES_H
#define REPORT_ROLES_H

/* The sections on descriptors: by role, their events' way from the kernel to the program, and bad habits. */

#include "report/model/model.h"
#include "report/show/buffer.h"
#include "report/show/text_page.h"

/* Nothing is put where the recording has nothing on it. */
void roles_text(struct text_page *page);
void roles_html(struct buffer *out, const struct model *model);

/* What a headline says of a process' bad habits. False, and nothing, if it has none that cost enough. */
bool roles_words_habits(struct buffer *out, const struct model *model, const struct model_process *process);

/* How many loops wait in io_uring of whose requests nothing was told. */
size_t roles_untold_rings(const struct model *model);

#endif
