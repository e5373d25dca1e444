/* SPDX-License-Identifier: Apache-2.0 */
/* tf_arrow_impl: between tf_arrow.c, tf_arrow_fill.c and tf_arrow_text.c. */
#ifndef TF_ARROW_IMPL_H
#define TF_ARROW_IMPL_H

#include "tf_arrow.h"

struct tf_arrow_part {
	const struct tf_batch *batch;
	const struct tf_rows *rows;
	uint8_t domain;
};
struct tf_arrow_parts {
	struct tf_arrow_part *part;
	size_t n;
	uint64_t rows;               /* count: of all parts */
};

/* A schema with children that are to be made; all of it is its own, so that a consumer may take out a part and free the rest. 0, -ENOMEM
 * (what there is can be released). */
int tf_arrow_make_schema(struct ArrowSchema *s, const char *name, const char *format, bool nullable, size_t n_children);
/* An array without buffers yet, which its own release() frees at any time from now on, whatever else fails. 0, -ENOMEM (of the children:
 * what there is can be released). */
int tf_arrow_make(struct ArrowArray *a, int64_t length, int n_buffers, size_t n_children);
void *tf_arrow_buffer(struct ArrowArray *a, int i, size_t size);    /* zeros; NULL: no memory */
void tf_arrow_give(struct ArrowArray *a, int i, void *mem);         /* hands over malloc'ed memory as buffer i */
/* A column as an array; what is not wanted is null. Of a wanted column of plain numbers only the room is made. 0, -ENOMEM, -E2BIG. */
int tf_arrow_fill(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, bool wanted, struct ArrowArray *a);
/* The columns of plain numbers, all at once: a row is read while it is in cache. */
void tf_arrow_numbers(const struct tf_arrow_plan *p, const struct tf_arrow_parts *parts, const bool *wanted, struct ArrowArray *table);

/* Columns of texts and addresses, of lists of texts, and of names. 0, -ENOMEM, -E2BIG. */
int tf_arrow_texts(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a);
int tf_arrow_lists(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a);
int tf_arrow_names(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a);
const struct tf_field *tf_arrow_field(uint8_t domain, const char *name);    /* NULL: the domain has none of that name */

#endif
