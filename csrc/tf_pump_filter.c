/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_filter: the filter stage: what the gate could not judge is judged here, by the filter of the generation that each row carries,
 * before anybody shares the batch. What is left out is counted u_filtered. */
#include "tf_pump_impl.h"

#include <stdlib.h>

static void drop_entry(struct tf_stage_filter *e)
{
	tf_filter_scratch_close(e->scratch);
	tf_filter_unref(e->filter);
	free(e->hits);
	memset(e, 0, sizeof(*e));
}

/* The entry of a generation: a ring, so that rows of older generations which are still in the rings find theirs. */
static struct tf_stage_filter *entry_of(struct tf_pump *p, uint16_t gen)
{
	uint32_t wanted = p->src->gate ? gen : p->filters.newest;
	struct tf_stage_filter *e = &p->filters.at[wanted % TF_STAGE_FILTERS];

	return e->filter && (uint16_t)e->gen == (uint16_t)wanted ? e : NULL;
}

int tf_pump_set_filter(struct tf_pump *p, uint32_t gen, struct tf_filter *f)
{
	struct tf_stage_filter fresh = {.gen = gen};
	const size_t words = p->o.rows_per_domain / 64 + 1;
	int rc = 0;

	if (!p->drain)
		return f ? -EINVAL : 0; /* a recording: it was filtered when it was made */
	if (f) {
		fresh.filter = tf_filter_ref(f);
		fresh.hits = calloc(tf_filter_rules(f) + 1, sizeof(*fresh.hits));
		rc = fresh.hits ? tf_filter_scratch_open(f, &fresh.scratch) : -ENOMEM;
	}
	tf_pump_lock(p);
	if (!rc && f && !p->filters.bits) {
		p->filters.bits = calloc(2 * words, sizeof(*p->filters.bits));
		rc = p->filters.bits ? 0 : -ENOMEM;
	}
	if (!rc && f && tf_filter_needs_facts(f) && !p->filters.facts) {
		rc = tf_facts_open(NULL, &p->filters.facts);
		tf_cgroups_ask_again(p);
	}
	if (!rc) {
		drop_entry(&p->filters.at[gen % TF_STAGE_FILTERS]);
		p->filters.at[gen % TF_STAGE_FILTERS] = fresh;
		p->filters.newest = gen;
		if (f && !p->filters.used) {
			p->filters.used = true;
			p->n_stages++;
		}
	}
	tf_pump_unlock(p);
	if (rc)
		drop_entry(&fresh);
	return rc;
}

size_t tf_pump_filter_counts(struct tf_pump *p, uint64_t *judged, uint64_t *kept, uint64_t *hits, size_t n)
{
	const struct tf_stage_filter *e;
	size_t rules = 0;

	tf_pump_lock(p);
	e = &p->filters.at[p->filters.newest % TF_STAGE_FILTERS];
	*judged = e->judged;
	*kept = e->kept;
	if (e->filter)
		rules = tf_filter_rules(e->filter);
	for (size_t i = 0; i < n && i < rules; i++)
		hits[i] = e->hits[i];
	tf_pump_unlock(p);
	return rules;
}

void tf_filters_close(struct tf_pump *p)
{
	for (unsigned i = 0; i < TF_STAGE_FILTERS; i++)
		drop_entry(&p->filters.at[i]);
	tf_facts_close(p->filters.facts);
	free(p->filters.bits);
	memset(&p->filters, 0, sizeof(p->filters));
}

static uint16_t gen_of(const struct tf_rows *r, uint32_t i)
{
	uint16_t gen;

	memcpy(&gen, r->rows + (size_t)i * r->row_size + offsetof(struct tf_header, gen), sizeof(gen));
	return gen;
}

static uint32_t count_bits(const uint64_t *bits, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t w = 0; w < (n + 63) / 64; w++)
		sum += (uint32_t)__builtin_popcountll(bits[w]);
	return sum;
}

static void set_all(uint64_t *bits, uint32_t n)
{
	memset(bits, 0xff, (n + 63) / 64 * sizeof(*bits));
	if (n % 64)
		bits[n / 64] = ~0ull >> (64 - n % 64);
}

/* Judges n rows from `first` on, which are of one generation, into bits (from bit 0 on). */
static void judge(struct tf_pump *p, struct tf_stage_filter *e, const struct tf_rows *all, uint8_t domain, uint32_t first, uint32_t n,
		  uint64_t *bits)
{
	struct tf_rows part = *all;

	part.rows += (size_t)first * part.row_size;
	part.n = n;
	set_all(bits, n);
	if (!e)
		return;
	if (tf_filter_run(e->filter, e->scratch, p->filters.facts, &part, domain, bits, tf_filter_rules(e->filter) ? e->hits : NULL))
		tf_pump_log(p, TF_LOG_WARNING, "a filter could not be run on a domain: its rows are kept; this is a bug");
	e->judged += n;
	e->kept += count_bits(bits, n);
}

/* A run of rows of one generation; with a change of rules in the batch there are several. */
static uint32_t run_end(const struct tf_rows *r, uint32_t at)
{
	uint16_t gen = gen_of(r, at);

	while (++at < r->n && gen_of(r, at) == gen)
		;
	return at;
}

static void or_bits(uint64_t *to, uint32_t at, const uint64_t *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		to[(at + i) / 64] |= (from[i / 64] >> (i % 64) & 1) << ((at + i) % 64);
}

/* Bits of a domain's rows that stay; the second half of the scratch is for the runs. */
static void judge_domain(struct tf_pump *p, const struct tf_rows *r, uint8_t domain, size_t words)
{
	uint64_t *bits = p->filters.bits, *run = bits + words;
	uint32_t at = 0, end = p->src->gate ? run_end(r, 0) : r->n;

	if (end == r->n) {
		judge(p, entry_of(p, gen_of(r, 0)), r, domain, 0, r->n, bits);
		return;
	}
	memset(bits, 0, words * sizeof(*bits));
	for (; at < r->n; at = end) {
		end = run_end(r, at);
		judge(p, entry_of(p, gen_of(r, at)), r, domain, at, end - at, run);
		or_bits(bits, at, run, end - at);
	}
}

static void count_dropped(struct tf_pump *p, const struct tf_rows *r, const uint64_t *bits)
{
	for (uint32_t w = 0; w < (r->n + 63) / 64; w++) {
		uint64_t out = ~bits[w];

		if (r->n - w * 64 < 64)
			out &= ~0ull >> (64 - (r->n - w * 64));
		for (; out; out &= out - 1) {
			const uint8_t *row = r->rows + ((size_t)w * 64 + (uint32_t)__builtin_ctzll(out)) * r->row_size;
			int kind = tf_kind_of(row[offsetof(struct tf_header, type)], row[offsetof(struct tf_header, subtype)]);
			uint16_t cpu;

			memcpy(&cpu, row + offsetof(struct tf_header, cpu), sizeof(cpu));
			p->cuts[(size_t)cpu * TF_KIND_MAX + (uint32_t)kind][TF_CUT_FILTERED]++; /* both were checked by the drain */
		}
	}
}

void tf_filter_batch(struct tf_pump *p, struct tf_batch *b)
{
	struct tf_stage_filters *s = &p->filters;

	if (!s->used)
		return;
	if (s->facts)
		tf_facts_learn(s->facts, b);
	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		struct tf_rows *r = &b->dom[d];

		if (!r->n || d == TF_META)
			continue;
		judge_domain(p, r, d, (r->n + 63) / 64);
		if (count_bits(s->bits, r->n) == r->n)
			continue;
		count_dropped(p, r, s->bits);
		tf_batch_keep(b, d, s->bits);
	}
}
