/* SPDX-License-Identifier: MIT */
#ifndef REPORT_MODEL_ROLES_H
#define REPORT_MODEL_ROLES_H

/* The part of loading a recording that is about descriptors: their roles, and bad habits. */

struct loader;
struct model;

/* After the processes. */
void model_load_roles(struct loader *loader);

/* What model_load_roles() has made. */
void model_free_roles(struct model *model);

#endif
