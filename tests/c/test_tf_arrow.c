/* SPDX-License-Identifier: Apache-2.0 */
/* Tables out of batches of random rows, cell by cell, in every domain; columns that nobody wants; parts that outlive their whole; UTF-8
 * against another decoder; and every allocation failing in turn. */
#include "arrow_fixture.h"

/* Room of the exact size, so that a sanitizer sees a step past either end. */
static void check_utf8(const uint8_t *text, size_t len)
{
	static uint8_t *exact[5], *to[5];
	char want[64];

	if (!exact[len]) {
		exact[len] = malloc(len);
		to[len] = malloc(4 * len);
	}
	memcpy(exact[len], text, len);
	size_t n = tf_arrow_utf8(exact[len], len, to[len]);
	CHECK(n == spell(text, len, want) && !memcmp(to[len], want, n));
}

static void test_utf8_is_kept_and_all_else_spelt(void)
{
	static const uint8_t edge[] = {0, '\\', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef,
				       0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
	enum { E = sizeof(edge) };

	for (unsigned i = 0; i < 0x10000; i++) {
		check_utf8((const uint8_t[]){i >> 8, i & 255}, 2);
		if (i < 256)
			check_utf8((const uint8_t[]){i}, 1);
	}
	for (unsigned i = 0; i < E * E * E * E; i++) {
		const uint8_t text[4] = {edge[i % E], edge[i / E % E], edge[i / E / E % E], edge[i / E / E / E]};

		check_utf8(text, 4);
		check_utf8(text, 3);
	}
	for (unsigned i = 0; i < 300000 * scale(20); i++) {
		uint64_t random = rng() | (i % 2 ? 0x808080c0u : 0); /* half of them may well be characters */

		check_utf8((const uint8_t *)&random, 3 + i % 2);
		check_utf8((const uint8_t *)&random, 4 - i % 2);
	}
	CHECK_EQ(tf_arrow_utf8(NULL, 0, NULL), 0);
}

/* --- plans and schemas --- */

static void test_a_plan_has_time_fields_and_what_the_batch_says(void)
{
	static const char *const last[] = {"boot_id", "run_id", "epoch", "severity"};
	struct tf_arrow_plan p;

	for (unsigned d = 1; d < 256; d++) {
		const struct tf_record_layout *l = tf_layout_of((uint8_t)d);
		size_t shown = 0;

		CHECK_EQ(tf_arrow_plan((uint8_t)d, &p), l ? 0 : -ENOENT);
		if (!l)
			continue;
		CHECK(p.domain == d && !strcmp(p.column[0].name, "time"));
		for (uint16_t i = 0; i < l->n_fields; i++)
			if (l->fields[i].name[0] != '_')
				CHECK(!strcmp(p.column[++shown].name, l->fields[i].name));
		for (size_t i = 0; i < 4; i++)
			if (i != 2 || d != TF_META) /* the epoch of a meta row is its own */
				CHECK(!strcmp(p.column[++shown].name, last[i]));
		CHECK_EQ(p.n, shown + 1);
	}
	CHECK(!tf_arrow_plan(TF_ARROW_EVENTS, &p) && p.n == 21 && !strcmp(p.column[16].name, "comm") && !strcmp(p.column[17].name, "boot_id"));
}

static const struct ArrowSchema *named(const struct ArrowSchema *s, const char *name)
{
	for (int64_t i = 0; i < s->n_children; i++)
		if (!strcmp(s->children[i]->name, name))
			return s->children[i];
	return NULL;
}

static void test_formats(void)
{
	static const struct {
		uint8_t domain;
		const char *name, *format, *item;
	} told[] = {{TF_PROCESS, "time", "tsn:UTC", NULL}, {TF_PROCESS, "ts_ns", "L", NULL}, {TF_PROCESS, "pid", "I", NULL}, {TF_PROCESS, "weight", "f", NULL},
		    {TF_PROCESS, "cpu", "S", NULL}, {TF_PROCESS, "type", "S", "u"}, {TF_PROCESS, "subtype", "S", "u"}, {TF_PROCESS, "comm", "u", NULL},
		    {TF_PROCESS, "signal", "s", NULL}, {TF_PROCESS, "exe", "u", NULL}, {TF_PROCESS, "args", "+l", "u"}, {TF_PROCESS, "boot_id", "S", "u"},
		    {TF_PROCESS, "run_id", "L", NULL}, {TF_PROCESS, "epoch", "L", NULL}, {TF_PROCESS, "severity", "C", NULL},
		    {TF_SYSCALL, "args", "+w:6", "L"}, {TF_SYSCALL, "ret", "l", NULL}, {TF_FILE, "errno", "i", NULL}, {TF_FILE, "data", "z", NULL},
		    {TF_NETWORK, "dest_ip", "u", NULL}, {TF_NETWORK, "family", "C", NULL}, {TF_META, "wall_offset_ns", "l", NULL}};
	struct tf_arrow_plan p;
	struct ArrowSchema s;

	for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
		CHECK(!tf_arrow_plan(told[i].domain, &p) && !tf_arrow_schema(&p, &s));
		CHECK(!strcmp(s.format, "+s") && s.n_children == p.n && !s.metadata && !s.dictionary);
		const struct ArrowSchema *c = named(&s, told[i].name), *item = c->dictionary ? c->dictionary : c->n_children ? c->children[0] : NULL;
		CHECK(!strcmp(c->format, told[i].format) && c->flags == ARROW_FLAG_NULLABLE && !item == !told[i].item);
		CHECK(!item || !strcmp(item->format, told[i].item));
		s.release(&s);
		CHECK(!s.release && !memory.live);
	}
}

/* --- arrays --- */

/* As many buffers, children and dictionaries as the format asks for, and children of the length that follows from the parent. */
static void check_shape(const struct ArrowSchema *s, const struct ArrowArray *a)
{
	const char *f = s->format;
	bool list = !strcmp(f, "+l"), words = !strncmp(f, "+w:", 3), text = !strcmp(f, "u") || !strcmp(f, "z");

	CHECK(s->release && a->release && a->offset == 0 && a->n_children == s->n_children && !a->dictionary == !s->dictionary);
	CHECK_EQ(a->n_buffers, text ? 3 : words || !strcmp(f, "+s") ? 1 : 2);
	CHECK(!a->null_count || (a->null_count == a->length && a->buffers[0]));
	for (int64_t i = 1; i < a->n_buffers; i++)
		CHECK(a->buffers[i]);
	for (int64_t i = 0; i < a->n_children; i++) {
		check_shape(s->children[i], a->children[i]);
		CHECK_EQ(a->children[i]->length, list ? ((const int32_t *)a->buffers[1])[a->length] : words ? a->length * atoi(f + 3) : a->length);
	}
	if (a->dictionary)
		check_shape(s->dictionary, a->dictionary);
}

static void check_zeros(const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		CHECK(!((const uint8_t *)from)[i]);
}

/* All null, and yet with buffers that hold something for every row. */
static void check_null_column(const struct tf_arrow_column *c, const struct ArrowSchema *s, const struct ArrowArray *a)
{
	size_t n = (size_t)a->length, each = 8;

	CHECK(a->null_count == a->length);
	check_zeros(a->buffers[0], (n + 7) / 8);
	if (c->how == TF_ARROW_WORDS) {
		check_zeros(a->children[0]->buffers[1], n * c->size);
		return;
	}
	if (c->how == TF_ARROW_NUMBER)
		each = c->size;
	else if (s->format[0] == 'u' || s->format[0] == 'z' || s->format[0] == '+')
		each = 4, n++; /* offsets */
	else if (s->dictionary)
		each = 2;
	else if (c->how == TF_ARROW_SEVERITY)
		each = 1;
	check_zeros(a->buffers[1], n * each);
	CHECK(!s->dictionary || a->dictionary->length > 0); /* what index 0 finds */
}

static void check_column(const struct tf_arrow_column *c, const struct ArrowArray *a, size_t n)
{
	CHECK(a->length == (int64_t)n && a->null_count == 0);
	for (size_t i = 0; i < n; i++)
		check_cell(c, a, &places[i], i);
}

static void check_table(uint8_t domain, size_t n_batches, const bool *wanted)
{
	struct tf_arrow_plan p;
	struct ArrowSchema s;
	struct ArrowArray a;
	size_t n = all_places(domain, n_batches);

	CHECK(!tf_arrow_plan(domain, &p) && !tf_arrow_schema(&p, &s) && !tf_arrow_array(&p, n_batches ? some() : NULL, n_batches, wanted, &a));
	CHECK(a.length == (int64_t)n && a.n_children == p.n && a.null_count == 0);
	check_shape(&s, &a);
	for (uint16_t i = 0; i < p.n; i++)
		if (!wanted || wanted[i])
			check_column(&p.column[i], a.children[i], n);
		else
			check_null_column(&p.column[i], s.children[i], a.children[i]);
	s.release(&s);
	a.release(&a);
	CHECK(!s.release && !a.release && !memory.live);
}

static void test_cells_equal_rows(void)
{
	static const bool none[TF_ARROW_COLUMNS_MAX];
	bool half[TF_ARROW_COLUMNS_MAX];

	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		if (d != TF_ARROW_EVENTS && !tf_layout_of(d))
			continue;
		for (size_t n = 0; n <= BATCHES; n++) {
			for (size_t i = 0; i < TF_ARROW_COLUMNS_MAX; i++)
				half[i] = rng_below(2);
			check_table(d, n, NULL);
			check_table(d, n, none);
			check_table(d, n, half);
		}
	}
}

static void test_there_may_be_a_boot_for_every_batch(void)
{
	for (unsigned i = 0; i < MANY; i++)
		batches[i] = random_batch(2 * i, 1, TEXT);
	check_table(TF_ARROW_EVENTS, MANY, NULL);
	check_table(TF_META, MANY, NULL);
	for (unsigned i = 0; i < MANY; i++)
		tf_batch_unref(batches[i]);
}

static void test_names_are_listed_once(void)
{
	static const char *const columns[] = {"type", "subtype", "boot_id"};
	struct tf_arrow_plan p;
	struct ArrowArray a;
	uint8_t boot[16];

	memcpy(boot, batches[BATCHES - 1]->boot_id, 16);
	memcpy(batches[BATCHES - 1]->boot_id, batches[0]->boot_id, 16); /* a boot, another one, and the first again */
	CHECK(!tf_arrow_plan(TF_ARROW_EVENTS, &p) && !tf_arrow_array(&p, some(), BATCHES, NULL, &a));
	for (size_t c = 0; c < 3; c++)
		for (uint16_t i = 0; i < p.n; i++) {
			const struct ArrowArray *names = a.children[i]->dictionary;

			for (int64_t j = 0; !strcmp(p.column[i].name, columns[c]) && j < names->length; j++)
				for (int64_t k = 0; k < j; k++) {
					size_t one, other;
					const uint8_t *x = text_in(names, j, &one), *y = text_in(names, k, &other);

					if (one == other && !memcmp(x, y, one)) {
						printf("%s: %.*s is there twice\n", columns[c], (int)one, x);
						CHECK(!"names are listed once: pandas takes no others");
					}
				}
		}
	a.release(&a);
	memcpy(batches[BATCHES - 1]->boot_id, boot, 16);
}

/* As the specification has it: a part is taken out by copying its struct and clearing release in the old place. */
static struct ArrowArray taken(struct ArrowArray *from)
{
	struct ArrowArray out = *from;

	CHECK(from->release);
	from->release = NULL;
	return out;
}

static void test_parts_outlive_their_whole_in_any_order(void)
{
	struct tf_arrow_plan p;
	struct ArrowArray a, part[TF_ARROW_COLUMNS_MAX];
	struct ArrowSchema s, field[TF_ARROW_COLUMNS_MAX];

	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		if (tf_arrow_plan(d, &p))
			continue;
		size_t n = all_places(d, BATCHES), order[TF_ARROW_COLUMNS_MAX];
		bool only[TF_ARROW_COLUMNS_MAX];

		CHECK(!tf_arrow_schema(&p, &s) && !tf_arrow_array(&p, some(), BATCHES, NULL, &a));
		for (uint16_t i = 0; i < p.n; i++) {
			only[i] = rng_below(3);
			order[i] = i;
			if (only[i]) {
				part[i] = taken(a.children[i]);
				field[i] = *s.children[i], s.children[i]->release = NULL;
			}
		}
		a.release(&a);
		s.release(&s);
		for (size_t i = p.n, j; i-- > 1;) {
			size_t swap = order[i];

			j = rng_below((uint32_t)i + 1), order[i] = order[j], order[j] = swap;
		}
		for (uint16_t k = 0; k < p.n; k++) {
			size_t i = order[k];

			if (!only[i])
				continue;
			CHECK(!strcmp(field[i].name, p.column[i].name));
			check_shape(&field[i], &part[i]);
			check_column(&p.column[i], &part[i], n);
			field[i].release(&field[i]);
			part[i].release(&part[i]);
			CHECK(!part[i].release && !field[i].release);
		}
		CHECK(!memory.live);
	}
}

static void test_items_and_names_outlive_their_column(void)
{
	struct tf_arrow_plan p;
	struct ArrowArray a;

	CHECK(!tf_arrow_plan(TF_PROCESS, &p) && !tf_arrow_array(&p, some(), BATCHES, NULL, &a));
	for (uint16_t i = 0; i < p.n; i++) {
		struct ArrowArray *c = a.children[i], *inner = c->dictionary ? c->dictionary : c->n_children ? c->children[0] : NULL, part;
		size_t len;

		if (!inner)
			continue;
		part = taken(inner);
		c->release(c);
		CHECK(part.length > 0);
		for (int64_t j = 0; j < part.length; j++)
			text_in(&part, j, &len);
		part.release(&part);
	}
	a.release(&a);
	CHECK(!memory.live);
}

/* --- what fails --- */

static void check_every_allocation_failing(const struct tf_arrow_plan *p, const bool *wanted, bool schema, bool for_ever)
{
	for (long at = 1;; at++) {
		struct ArrowArray a = {0};
		struct ArrowSchema s = {0};
		int rc;

		memory.calls = 0, memory.fail_at = at, memory.for_ever = for_ever;
		rc = schema ? tf_arrow_schema(p, &s) : tf_arrow_array(p, some(), 4, wanted, &a);
		memory.fail_at = 0;
		if (!rc) {
			CHECK(memory.calls < at && at > p->n); /* the loop did reach the columns */
			schema ? s.release(&s) : a.release(&a);
			CHECK(!memory.live);
			return;
		}
		CHECK(rc == -ENOMEM && memory.calls >= at && !a.release && !s.release && !memory.live);
	}
}

static void test_every_failing_allocation_is_told_and_leaks_nothing(void)
{
	static const bool none[TF_ARROW_COLUMNS_MAX];
	struct tf_arrow_plan p;

	for (uint8_t d = 0; d < TF_TYPE_MAX; d++)
		for (int for_ever = 0; for_ever < 2 && !tf_arrow_plan(d, &p); for_ever++) {
			check_every_allocation_failing(&p, NULL, false, for_ever);
			check_every_allocation_failing(&p, none, false, for_ever);
			check_every_allocation_failing(&p, NULL, true, for_ever);
		}
}

/* Texts of 512 MiB whose spelling may take four times as much, and bytes of 2 GiB. No such memory is needed: they are pages of zeros. */
static void test_a_column_of_two_gib_is_refused(void)
{
	const size_t size = (size_t)2 << 30, quarter = (size_t)512 << 20;
	uint8_t *text = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct tf_file row = {.path = {0, (uint32_t)quarter, 0}, .data = {0, (uint32_t)size, 0}};
	struct tf_batch b = {.dom = {[TF_FILE] = {.rows = (uint8_t *)&row, .n = 1, .row_size = sizeof(row), .text = text, .text_len = (uint32_t)size}}};
	const struct tf_batch *one = &b;
	static const char *const names[] = {"path", "data"};
	struct tf_arrow_plan p;

	CHECK(text != MAP_FAILED && !tf_arrow_plan(TF_FILE, &p));
	text[quarter / 2] = 0xff;
	for (size_t k = 0; k < 2; k++) {
		bool wanted[TF_ARROW_COLUMNS_MAX] = {false};
		struct ArrowArray a = {0};

		for (uint16_t i = 0; i < p.n; i++)
			wanted[i] = !strcmp(p.column[i].name, names[k]);
		CHECK(tf_arrow_array(&p, &one, 1, wanted, &a) == -E2BIG && !a.release && !memory.live);
	}
	munmap(text, size);
}

int main(void)
{
	static const uint32_t most[BATCHES] = {3, ROWS, 0, 1, ROWS};

	test_utf8_is_kept_and_all_else_spelt();
	test_a_plan_has_time_fields_and_what_the_batch_says();
	test_formats();
	for (uint64_t round = 0; round < scale(20); round++) {
		for (unsigned i = 0; i < BATCHES; i++)
			batches[i] = random_batch(i, most[i], TEXT);
		test_cells_equal_rows();
		test_parts_outlive_their_whole_in_any_order();
		test_items_and_names_outlive_their_column();
		test_every_failing_allocation_is_told_and_leaks_nothing();
		test_names_are_listed_once();
		for (unsigned i = 0; i < BATCHES; i++)
			tf_batch_unref(batches[i]);
	}
	test_there_may_be_a_boot_for_every_batch();
	test_a_column_of_two_gib_is_refused();
	puts("ok");
	return 0;
}
