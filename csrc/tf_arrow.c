/* SPDX-License-Identifier: Apache-2.0 */
/* tf_arrow: which columns a table has, its schema, and how arrays are put together and freed. Columns are filled in tf_arrow_fill.c
 * and tf_arrow_text.c. */
#include "tf_arrow_impl.h"
#include "tf_layout.h"

#include <stdio.h>
#include <stdlib.h>

static void put(struct tf_arrow_plan *p, const char *name, int how, const struct tf_field *f)
{
	struct tf_arrow_column *c = &p->column[p->n];

	for (uint16_t i = 0; i < p->n; i++)
		if (!strcmp(p->column[i].name, name))
			return;                 /* meta has an epoch of its own, which is the batch's */
	if (p->n == TF_ARROW_COLUMNS_MAX) {
		tf_assert(!"TF_ARROW_COLUMNS_MAX is too small");
		return;
	}
	*c = (struct tf_arrow_column){.name = name, .how = how};
	if (f) {
		c->kind = f->kind;
		c->offset = f->offset;
		c->size = f->size;
	}
	p->n++;
}

static int how_of(uint8_t domain, const struct tf_field *f)
{
	switch (f->kind) {
	case 'S': return TF_ARROW_CHARS;
	case 'A': return TF_ARROW_WORDS;
	case 'B': return TF_ARROW_ADDRESS;
	case 'T':
		if (domain == TF_PROCESS && !strcmp(f->name, "args"))
			return TF_ARROW_PARTS;
		return strcmp(f->name, "data") ? TF_ARROW_TEXT : TF_ARROW_BYTES;
	}
	if (f->offset == offsetof(struct tf_header, type))
		return TF_ARROW_TYPE;
	return f->offset == offsetof(struct tf_header, subtype) ? TF_ARROW_SUBTYPE : TF_ARROW_NUMBER;
}

int tf_arrow_plan(uint8_t domain, struct tf_arrow_plan *out)
{
	/* every domain begins with the header: any of them can tell the common fields */
	const struct tf_record_layout *l = tf_layout_of(domain == TF_ARROW_EVENTS ? TF_CPU : domain);

	if (!l)
		return -ENOENT;
	memset(out, 0, sizeof(*out));
	out->domain = domain;
	put(out, "time", TF_ARROW_TIME, NULL);
	for (uint16_t i = 0; i < l->n_fields; i++) {
		const struct tf_field *f = &l->fields[i];

		if (f->name[0] != '_' && (domain != TF_ARROW_EVENTS || f->offset < sizeof(struct tf_header)))
			put(out, f->name, how_of(domain, f), f);
	}
	put(out, "boot_id", TF_ARROW_BOOT, NULL);
	put(out, "run_id", TF_ARROW_RUN, NULL);
	put(out, "epoch", TF_ARROW_EPOCH, NULL);
	put(out, "severity", TF_ARROW_SEVERITY, NULL);
	return 0;
}

/* --- schema --- */

static void release_schema(struct ArrowSchema *s)
{
	for (int64_t i = 0; i < s->n_children; i++) {
		if (s->children[i]->release)
			s->children[i]->release(s->children[i]);
		free(s->children[i]);
	}
	free(s->children);
	if (s->dictionary) {
		if (s->dictionary->release)
			s->dictionary->release(s->dictionary);
		free(s->dictionary);
	}
	free((char *)s->name);
	free((char *)s->format);
	free((char *)s->metadata);
	s->release = NULL;
}

int tf_arrow_make_schema(struct ArrowSchema *s, const char *name, const char *format, bool nullable, size_t n_children)
{
	memset(s, 0, sizeof(*s));
	s->release = release_schema;
	s->flags = nullable ? ARROW_FLAG_NULLABLE : 0;
	s->name = strdup(name);
	s->format = strdup(format);
	if (!s->name || !s->format)
		return -ENOMEM;
	if (n_children && !(s->children = calloc(n_children, sizeof(*s->children))))
		return -ENOMEM;
	for (; n_children; n_children--) {
		struct ArrowSchema *child = calloc(1, sizeof(*child));

		if (!child)
			return -ENOMEM;
		s->children[s->n_children++] = child;
	}
	return 0;
}

static const char *number_format(char kind, uint16_t size)
{
	static const char *const unsigned_[9] = {[1] = "C", [2] = "S", [4] = "I", [8] = "L"};
	static const char *const signed_[9] = {[1] = "c", [2] = "s", [4] = "i", [8] = "l"};

	if (kind == 'f')
		return size == 4 ? "f" : "g";
	return kind == 'i' ? signed_[size] : unsigned_[size];
}

static int column_schema(const struct tf_arrow_column *c, struct ArrowSchema *s)
{
	char words[16];
	int err;

	switch (c->how) {
	case TF_ARROW_NUMBER: return tf_arrow_make_schema(s, c->name, number_format(c->kind, c->size), true, 0);
	case TF_ARROW_RUN:
	case TF_ARROW_EPOCH: return tf_arrow_make_schema(s, c->name, "L", true, 0);
	case TF_ARROW_SEVERITY: return tf_arrow_make_schema(s, c->name, "C", true, 0);
	case TF_ARROW_TIME: return tf_arrow_make_schema(s, c->name, "tsn:UTC", true, 0);
	case TF_ARROW_BYTES: return tf_arrow_make_schema(s, c->name, "z", true, 0);
	case TF_ARROW_PARTS:
		err = tf_arrow_make_schema(s, c->name, "+l", true, 1);
		return err ? err : tf_arrow_make_schema(s->children[0], "item", "u", true, 0);
	case TF_ARROW_WORDS:
		snprintf(words, sizeof(words), "+w:%d", c->size / 8);
		err = tf_arrow_make_schema(s, c->name, words, true, 1);
		return err ? err : tf_arrow_make_schema(s->children[0], "item", "L", true, 0);
	case TF_ARROW_TYPE:
	case TF_ARROW_SUBTYPE:
	case TF_ARROW_BOOT:
		err = tf_arrow_make_schema(s, c->name, "S", true, 0);
		if (err)
			return err;
		s->dictionary = calloc(1, sizeof(*s->dictionary));
		return s->dictionary ? tf_arrow_make_schema(s->dictionary, "", "u", true, 0) : -ENOMEM;
	}
	return tf_arrow_make_schema(s, c->name, "u", true, 0);
}

int tf_arrow_schema(const struct tf_arrow_plan *p, struct ArrowSchema *out)
{
	int err = tf_arrow_make_schema(out, "", "+s", false, p->n);

	for (uint16_t i = 0; i < p->n && !err; i++)
		err = column_schema(&p->column[i], out->children[i]);
	if (err && out->release)
		out->release(out);
	return err;
}

/* --- arrays --- */

struct own {
	const void *buffers[3];
	void *mem[3];
};

static void release_array(struct ArrowArray *a)
{
	struct own *own = a->private_data;

	for (int64_t i = 0; i < a->n_children; i++) {
		if (a->children[i]->release)
			a->children[i]->release(a->children[i]);
		free(a->children[i]);
	}
	free(a->children);
	if (a->dictionary) {
		if (a->dictionary->release)
			a->dictionary->release(a->dictionary);
		free(a->dictionary);
	}
	for (int i = 0; i < 3; i++)
		free(own->mem[i]);
	free(own);
	a->release = NULL;
}

int tf_arrow_make(struct ArrowArray *a, int64_t length, int n_buffers, size_t n_children)
{
	struct own *own = calloc(1, sizeof(*own));

	if (!own)
		return -ENOMEM;
	*a = (struct ArrowArray){.length = length, .n_buffers = n_buffers, .buffers = own->buffers, .release = release_array, .private_data = own};
	if (n_children && !(a->children = calloc(n_children, sizeof(*a->children))))
		return -ENOMEM;
	for (; n_children; n_children--) {
		struct ArrowArray *child = calloc(1, sizeof(*child));

		if (!child)
			return -ENOMEM;
		a->children[a->n_children++] = child;
	}
	return 0;
}

void *tf_arrow_buffer(struct ArrowArray *a, int i, size_t size)
{
	struct own *own = a->private_data;

	own->mem[i] = calloc(1, size ? size : 1);
	own->buffers[i] = own->mem[i];
	return own->mem[i];
}

void tf_arrow_give(struct ArrowArray *a, int i, void *mem)
{
	struct own *own = a->private_data;

	own->mem[i] = mem;
	own->buffers[i] = mem;
}

/* Rows of the plan's domain, batch by batch; for events, of each domain. */
static size_t parts_of(const struct tf_arrow_plan *p, const struct tf_batch *const *batches, size_t n, struct tf_arrow_part *out)
{
	size_t found = 0;

	for (size_t i = 0; i < n; i++)
		for (uint8_t d = 1; d < TF_TYPE_MAX; d++) {
			const struct tf_rows *r = &batches[i]->dom[d];

			if (r->n && (p->domain == TF_ARROW_EVENTS ? d != TF_META && tf_row_size(d) : d == p->domain))
				out[found++] = (struct tf_arrow_part){.batch = batches[i], .rows = r, .domain = d};
		}
	return found;
}

int tf_arrow_array(const struct tf_arrow_plan *p, const struct tf_batch *const *batches, size_t n, const bool *wanted,
		   struct ArrowArray *out)
{
	struct tf_arrow_parts parts = {0};
	int err;

	memset(out, 0, sizeof(*out));
	parts.part = malloc((n * TF_TYPE_MAX + 1) * sizeof(*parts.part));
	if (!parts.part)
		return -ENOMEM;
	parts.n = parts_of(p, batches, n, parts.part);
	for (size_t i = 0; i < parts.n; i++)
		parts.rows += parts.part[i].rows->n;
	err = tf_arrow_make(out, (int64_t)parts.rows, 1, p->n);
	for (uint16_t i = 0; i < p->n && !err; i++)
		err = tf_arrow_fill(&p->column[i], &parts, !wanted || wanted[i], out->children[i]);
	if (!err)
		tf_arrow_numbers(p, &parts, wanted, out);
	free(parts.part);
	if (err && out->release)
		out->release(out);
	return err;
}
