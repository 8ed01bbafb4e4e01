/* SPDX-License-Identifier: MIT */
#ifndef REPORT_VERDICT_WORDS_H
#define REPORT_VERDICT_WORDS_H

/* The verdict on an overrun in plain words. `overrun->verdict` is never NULL here. */

#include "report/model/late.h"
#include "report/show/words.h"

extern const char *const verdict_names[MODEL_VERDICTS];     /* "user", "kernel", ... */
extern const char *const iteration_names[MODEL_SYSTEM + 1]; /* NULL, "one slow handler", ... */

/* "computing in user space 92 %", "blocked in futex 98 % on lock at 0x7f.., woken by worker (pid 7)" */
void verdict_words_cause(struct buffer *out, words_escape escape, const struct model_overrun *overrun);

/* "user 9.10 ms, kernel 1.20 ms, ...; one slow handler". Parts of 0 are left out, but for user, kernel and blocked. */
void verdict_words_parts(struct buffer *out, const struct model_verdict *verdict);

/* "behind: cc1 (pid 7) 40.1 ms, ..."; nothing if it hardly waited. */
void verdict_words_rivals(struct buffer *out, words_escape escape, const struct model_verdict *verdict);

/* "page faults: 128 read from disk, 2,001 others; blocked in them 4.00 ms"; nothing if there were few. */
void verdict_words_faults(struct buffer *out, const struct model_verdict *verdict);

/* "~in all waited: fd 7 (tcp ...) 5.10 ms, ..."; nothing if nobody was. */
void verdict_words_victims(struct buffer *out, words_escape escape, const struct model_verdict *verdict);

/* What overruns mostly were, by the name of the part, with its share: "runnable 92 %". Nothing if nothing is known. */
void verdict_words_mostly(struct buffer *out, const struct late *late);

#endif
