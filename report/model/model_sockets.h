/* SPDX-License-Identifier: MIT */
#ifndef REPORT_MODEL_SOCKETS_H
#define REPORT_MODEL_SOCKETS_H

/* The part of loading a recording that is about sockets: stalls, moments, outcomes of ACKs, alarms. */

struct loader;

/* After the processes. */
void model_load_sockets(struct loader *loader);

struct model;

/* What model_load_sockets() has made. */
void model_free_sockets(struct model *model);

#endif
