/* SPDX-License-Identifier: Apache-2.0 */
/* tf_arrow_fill: the columns of numbers, and which kind of column is filled where. Relies on tf_columns for plain numbers. */
#include "tf_arrow_impl.h"
#include "tf_columns.h"
#include "tf_layout.h"

#include <stdlib.h>

#define FAILED_SEVERITY 3    /* an operation that failed is at least a warning */

const struct tf_field *tf_arrow_field(uint8_t domain, const char *name)
{
	const struct tf_record_layout *l = tf_layout_of(domain);

	for (uint16_t i = 0; l && i < l->n_fields; i++)
		if (!strcmp(l->fields[i].name, name))
			return &l->fields[i];
	return NULL;
}

static int fill_words(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a)
{
	int64_t words = c->size / 8;
	int err = tf_arrow_make(a, (int64_t)parts->rows, 1, 1);
	uint8_t *to;

	if (!err)
		err = tf_arrow_make(a->children[0], (int64_t)parts->rows * words, 2, 0);
	to = err ? NULL : tf_arrow_buffer(a->children[0], 1, parts->rows * c->size);
	if (!to)
		return -ENOMEM;
	for (size_t p = 0; p < parts->n; p++) {
		const struct tf_rows *r = parts->part[p].rows;
		struct tf_column one = {.offset = c->offset, .size = c->size, .dst = to};

		tf_columns_split(r->rows, r->n, r->row_size, &one, 1);
		to += (size_t)r->n * c->size;
	}
	return 0;
}

/* u8 or i8 that the batch says, or the row's time by the batch's clock. */
static int fill_of_batch(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a)
{
	int err = tf_arrow_make(a, (int64_t)parts->rows, 2, 0);
	uint64_t *to = err ? NULL : tf_arrow_buffer(a, 1, parts->rows * sizeof(*to));

	if (!to)
		return -ENOMEM;
	for (size_t p = 0; p < parts->n; p++) {
		const struct tf_batch *b = parts->part[p].batch;
		const struct tf_rows *r = parts->part[p].rows;
		const uint8_t *row = r->rows;

		for (uint32_t i = 0; i < r->n; i++, row += r->row_size)
			*to++ = c->how == TF_ARROW_TIME ? ((const struct tf_header *)row)->ts_ns + (uint64_t)b->wall_offset_ns :
				c->how == TF_ARROW_RUN ? b->run_id : b->epoch;
	}
	return 0;
}

/* As RecordBatch.severity(). */
static int fill_severity(const struct tf_arrow_parts *parts, struct ArrowArray *a)
{
	int err = tf_arrow_make(a, (int64_t)parts->rows, 2, 0);
	uint8_t *to = err ? NULL : tf_arrow_buffer(a, 1, parts->rows);

	if (!to)
		return -ENOMEM;
	for (size_t p = 0; p < parts->n; p++) {
		const struct tf_rows *r = parts->part[p].rows;
		uint8_t domain = parts->part[p].domain;
		const struct tf_field *f = tf_arrow_field(domain, domain == TF_PROCESS ? "signal" : "errno");
		const uint8_t *row = r->rows;

		for (uint32_t i = 0; i < r->n; i++, row += r->row_size) {
			uint8_t subtype = ((const struct tf_header *)row)->subtype;
			int kind = tf_kind_of(domain, subtype);
			uint8_t severity = kind < 0 ? 1 : tf_kind_table[kind].severity;
			uint32_t failed = 0;

			if (f && (domain != TF_PROCESS || kind == TF_K_PROCESS_EXIT))
				memcpy(&failed, row + f->offset, f->size);
			*to++ = failed && severity < FAILED_SEVERITY ? FAILED_SEVERITY : severity;
		}
	}
	return 0;
}

void tf_arrow_numbers(const struct tf_arrow_plan *p, const struct tf_arrow_parts *parts, const bool *wanted, struct ArrowArray *table)
{
	struct tf_column column[TF_ARROW_COLUMNS_MAX];
	size_t n = 0;

	for (uint16_t i = 0; i < p->n; i++) {
		const struct tf_arrow_column *c = &p->column[i];

		if (c->how == TF_ARROW_NUMBER && (!wanted || wanted[i]))
			column[n++] = (struct tf_column){.offset = c->offset, .size = c->size, .dst = (void *)table->children[i]->buffers[1]};
	}
	for (size_t k = 0; k < parts->n; k++) {
		const struct tf_rows *r = parts->part[k].rows;

		tf_columns_split(r->rows, r->n, r->row_size, column, n);
		for (size_t i = 0; i < n; i++)
			column[i].dst += (size_t)r->n * column[i].size;
	}
}

/* --- any column --- */

/* All null. Buffers are there nevertheless, full of zeros: not every consumer looks at the null count first. */
static int fill_null(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, struct ArrowArray *a)
{
	static const uint8_t width[] = {[TF_ARROW_CHARS] = 4, [TF_ARROW_TEXT] = 4, [TF_ARROW_PARTS] = 4, [TF_ARROW_BYTES] = 4,
		[TF_ARROW_ADDRESS] = 4, [TF_ARROW_TYPE] = 2, [TF_ARROW_SUBTYPE] = 2, [TF_ARROW_BOOT] = 2, [TF_ARROW_TIME] = 8,
		[TF_ARROW_RUN] = 8, [TF_ARROW_EPOCH] = 8, [TF_ARROW_SEVERITY] = 1};
	bool names = c->how == TF_ARROW_TYPE || c->how == TF_ARROW_SUBTYPE || c->how == TF_ARROW_BOOT;
	bool text = width[c->how] == 4 && c->how != TF_ARROW_PARTS, list = c->how == TF_ARROW_PARTS, words = c->how == TF_ARROW_WORDS;
	size_t each = c->how == TF_ARROW_NUMBER ? c->size : width[c->how];
	int err = tf_arrow_make(a, (int64_t)parts->rows, text ? 3 : words ? 1 : 2, list || words);

	if (err)
		return err;
	a->null_count = (int64_t)parts->rows;
	if (!tf_arrow_buffer(a, 0, (parts->rows + 7) / 8) || (!words && !tf_arrow_buffer(a, 1, (parts->rows + 1) * each)) ||
	    (text && !tf_arrow_buffer(a, 2, 1)))
		return -ENOMEM;
	if (words) {
		struct ArrowArray *item = a->children[0];

		err = tf_arrow_make(item, (int64_t)parts->rows * (c->size / 8), 2, 0);
		return err || !tf_arrow_buffer(item, 1, parts->rows * c->size) ? -ENOMEM : 0;
	}
	if (names && !(a->dictionary = calloc(1, sizeof(*a->dictionary))))
		return -ENOMEM;
	if (names || list) {
		struct ArrowArray *item = names ? a->dictionary : a->children[0];

		err = tf_arrow_make(item, names, 3, 0);      /* an index of 0 finds something */
		return err || !tf_arrow_buffer(item, 1, 8) || !tf_arrow_buffer(item, 2, 1) ? -ENOMEM : 0;
	}
	return 0;
}

int tf_arrow_fill(const struct tf_arrow_column *c, const struct tf_arrow_parts *parts, bool wanted, struct ArrowArray *a)
{
	int err;

	if (!wanted)
		return fill_null(c, parts, a);
	switch (c->how) {
	case TF_ARROW_NUMBER:
		err = tf_arrow_make(a, (int64_t)parts->rows, 2, 0);
		return err || !tf_arrow_buffer(a, 1, parts->rows * c->size) ? -ENOMEM : 0;
	case TF_ARROW_WORDS: return fill_words(c, parts, a);
	case TF_ARROW_PARTS: return tf_arrow_lists(c, parts, a);
	case TF_ARROW_TYPE:
	case TF_ARROW_SUBTYPE:
	case TF_ARROW_BOOT: return tf_arrow_names(c, parts, a);
	case TF_ARROW_TIME:
	case TF_ARROW_RUN:
	case TF_ARROW_EPOCH: return fill_of_batch(c, parts, a);
	case TF_ARROW_SEVERITY: return fill_severity(parts, a);
	}
	return tf_arrow_texts(c, parts, a);
}
