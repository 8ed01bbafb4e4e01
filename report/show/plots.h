/* SPDX-License-Identifier: MIT */
#ifndef REPORT_PLOTS_H
#define REPORT_PLOTS_H

/*
 * Plots, drawn by gnuplot as SVG: first each is described, then all are drawn in one run. Gnuplot works in a
 * temporary directory of mode 0700 and is started without a shell.
 */

#include "report/model/model.h"
#include "report/model/pick.h"
#include "report/model/traces.h"
#include "report/show/buffer.h"

#define PLOTS_LIMIT 64

struct plots;

/* `titled`: each plot says in itself what it shows, for plots that stand alone. -ENOMEM. */
int plots_new(struct plots **ret, bool titled);
struct plots *plots_free(struct plots *plots);

/* These return the plot's number, or -1 if there is nothing to draw or no room. */
int plots_distribution(struct plots *plots, const struct pick_distribution *distribution);
int plots_overruns(struct plots *plots, const struct model *model);
/*
 * The longest stall of a traced socket and those around it, `cycles` in all; where its handshake was seen, its whole life.
 */
int plots_trace(struct plots *plots, const struct trace *trace, size_t cycles);

/* Draws all. On failure a negative errno, and why in `error`. */
int plots_draw(struct plots *plots, char *error, size_t error_size);

size_t plots_count(const struct plots *plots);
const char *plots_name(const struct plots *plots, int plot); /* a file name */

/* As a file of its own. */
void plots_put_file(const struct plots *plots, int plot, struct buffer *out);

/* As an element of an HTML page, with ids of its own and colours from the page's style. */
void plots_put_inline(const struct plots *plots, int plot, struct buffer *out);

#endif
