/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_epoch: what ends an epoch: its losses, read as differences of the ledger, the rows of what was noted, and its EPOCH row. */
#include "tf_pump_impl.h"

#include <stdlib.h>

#define WALL_EVERY_NS 100000000u /* the offset to Unix time is read anew this often */

static size_t cells(const struct tf_pump *p)
{
	return (size_t)p->src->ncpu * TF_KIND_COUNT;
}

int tf_losses_open(struct tf_pump *p)
{
	struct tf_losses *l = &p->loss;
	size_t seqs = (size_t)p->src->ncpu * TF_LANES, entries = cells(p) * (TF_L_KERNEL_COUNT + 1 + TF_CUTS);

	l->prev = calloc(cells(p), sizeof(*l->prev));
	l->now = calloc(cells(p), sizeof(*l->now));
	l->prev_user = calloc(cells(p), sizeof(*l->prev_user));
	l->entries = calloc(entries, sizeof(*l->entries));
	l->tail = malloc(seqs * sizeof(struct tf_epoch_seq) + entries * sizeof(*l->entries));
	l->last_seq = calloc(seqs, sizeof(*l->last_seq));
	if (!l->prev || !l->now || !l->prev_user || !l->entries || !l->tail || !l->last_seq)
		return -ENOMEM;
	return 0;
}

void tf_losses_close(struct tf_losses *l)
{
	free(l->prev);
	free(l->now);
	free(l->prev_user);
	free(l->entries);
	free(l->tail);
	free(l->last_seq);
	memset(l, 0, sizeof(*l));
}

/* Nothing moves in a cell whose outcomes add up to what was seen until another record is seen. */
static bool settled(const uint64_t *prev, uint64_t seen)
{
	uint64_t sum = 0;

	if (prev[TF_L_SEEN] != seen)
		return false;
	for (unsigned c = TF_L_SUBMITTED; c < TF_L_KERNEL_COUNT; c++)
		sum += prev[c];
	return sum == seen;
}

static void add_entry(struct tf_losses *l, size_t cell, uint32_t cause, uint64_t count)
{
	const struct tf_kind_info *k = &tf_kind_table[cell % TF_KIND_COUNT];

	l->entries[l->n++] = (struct tf_epoch_loss){
		.count = count, .cpu = (uint16_t)(cell / TF_KIND_COUNT), .type = k->type, .subtype = k->subtype, .cause = cause};
}

static void collect_cell(struct tf_losses *l, size_t cell, const struct tf_ledger_cell *map)
{
	const uint64_t *prev = l->prev[cell];
	uint64_t *now = l->now[cell];

	memcpy(now, prev, sizeof(l->now[cell]));
	if (settled(prev, tf_load_relaxed(&map->c[TF_L_SEEN])))
		return;
	for (unsigned c = 0; c < TF_L_KERNEL_COUNT; c++) {
		now[c] = tf_load_relaxed(&map->c[c]);
		l->delta[c] += now[c] - prev[c];
		if (c != TF_L_SEEN && c != TF_L_SUBMITTED && now[c] != prev[c])
			add_entry(l, cell, c, now[c] - prev[c]);
	}
}

void tf_losses_collect(struct tf_pump *p)
{
	struct tf_losses *l = &p->loss;

	l->n = 0;
	memset(l->delta, 0, sizeof(l->delta));
	for (uint32_t cpu = 0; p->src->ledger && cpu < p->src->ncpu; cpu++)
		for (uint32_t k = 0; k < TF_KIND_COUNT; k++)
			collect_cell(l, (size_t)cpu * TF_KIND_COUNT + k, &p->src->ledger[(size_t)cpu * TF_KIND_MAX + k]);
}

/* The user side of a cell: consumed = bad + filtered + sampled + routed. */
static void collect_user_cell(struct tf_losses *l, size_t cell, const uint64_t *drained, const uint64_t *cuts)
{
	const uint64_t now[4] = {drained[0], drained[1], cuts[TF_CUT_FILTERED], cuts[TF_CUT_SAMPLED]};
	static const uint32_t causes[4] = {TF_L_CONSUMED, TF_L_U_BAD, TF_L_U_FILTERED, TF_L_U_SAMPLED};
	uint64_t *prev = l->prev_user[cell], grown[4];

	if (!memcmp(now, prev, sizeof(now)))
		return;
	for (unsigned i = 0; i < 4; i++) {
		grown[i] = now[i] - prev[i];
		l->delta[causes[i]] += grown[i];
		if (i && grown[i])
			add_entry(l, cell, causes[i], grown[i]);
	}
	l->delta[TF_L_CONSUMED] += grown[1]; /* the drain's first count is without bad ones */
	l->delta[TF_L_ROUTED] += grown[0] - grown[2] - grown[3];
	memcpy(prev, now, sizeof(now));
}

/* What the drain consumed and found bad, and stages left out, since the epoch before. */
static void collect_user(struct tf_pump *p)
{
	const uint64_t(*counts)[2] = tf_drain_counts(p->drain);

	for (size_t cell = 0; cell < cells(p); cell++) {
		size_t wide = cell / TF_KIND_COUNT * TF_KIND_MAX + cell % TF_KIND_COUNT;

		collect_user_cell(&p->loss, cell, counts[wide], p->cuts[wide]);
	}
}

/* Writes the tail of an EPOCH row; returns how many tf_epoch_seq there are. */
static uint32_t build_tail(struct tf_pump *p)
{
	const uint64_t *seq = tf_drain_last_seq(p->drain);
	struct tf_losses *l = &p->loss;
	uint32_t n = 0;

	for (uint32_t i = 0; i < p->src->ncpu * TF_LANES; i++) {
		struct tf_epoch_seq e = {.last_seq = seq[i], .cpu = i / TF_LANES, .lane = i % TF_LANES};

		if (seq[i] == l->last_seq[i])
			continue;
		l->last_seq[i] = seq[i];
		memcpy(l->tail + n++ * sizeof(e), &e, sizeof(e));
	}
	memcpy(l->tail + n * sizeof(struct tf_epoch_seq), l->entries, l->n * sizeof(*l->entries));
	return n;
}

/* Cells that the stages may still leave something out of, in this pass. */
static uint64_t cut_cells(const struct tf_pump *p, const struct tf_need *need)
{
	uint64_t rows = 0;

	for (uint8_t d = 0; d < TF_TYPE_MAX; d++)
		rows += need->rows[d];
	return p->n_stages * (rows < cells(p) ? rows : cells(p));
}

void tf_epoch_need(struct tf_pump *p, const struct tf_drain_result *r, struct tf_need *need)
{
	uint64_t user_cells = (r->bad < cells(p) ? r->bad : cells(p)) + cut_cells(p, need);

	need->rows[TF_META] += 1 + p->n_notes;
	need->text[TF_META] += p->notes_len + p->src->ncpu * TF_LANES * (uint32_t)sizeof(struct tf_epoch_seq) +
			       (uint32_t)((p->loss.n + user_cells) * sizeof(struct tf_epoch_loss));
}

static struct tf_meta meta_row(struct tf_pump *p, uint8_t subtype, uint32_t gen, uint32_t data_len)
{
	return (struct tf_meta){
		.h = {.ts_ns = p->last_epoch_ns, .seq = p->epoch, .weight = 1, .type = TF_META, .subtype = subtype, .gen = (uint16_t)gen},
		.epoch = p->epoch, .rules = gen, .data = {.len = data_len, .full_len = data_len},
	};
}

static void add_notes(struct tf_pump *p, struct tf_batch *b)
{
	for (const struct tf_pump_note *n = p->notes; n; n = n->next) {
		struct tf_meta row = meta_row(p, n->subtype, n->gen, n->len);

		row.h.ts_ns = n->ts_ns ? n->ts_ns : row.h.ts_ns;
		row.object_id = n->object_id;
		row.value = n->value;
		row.cause = n->cause;
		row.n_losses = n->n_losses;
		if (tf_batch_append(b, TF_META, &row, n->data, n->len))
			tf_pump_log(p, TF_LOG_WARNING, "a note did not fit its epoch: this is a bug of tf_epoch_need");
	}
	tf_notes_free(p);
}

static void read_wall_clock(struct tf_pump *p, uint64_t now)
{
	if (p->wall_read_ns && now - p->wall_read_ns < WALL_EVERY_NS)
		return;
	p->wall_offset_ns = tf_wall_offset_ns();
	p->wall_read_ns = now;
}

static void add_epoch(struct tf_pump *p, struct tf_batch *b, uint32_t records)
{
	uint32_t gen = p->src->settings ? tf_load_relaxed(&p->src->settings->gen) : 0;
	uint32_t n_seq = build_tail(p);
	uint32_t len = n_seq * (uint32_t)sizeof(struct tf_epoch_seq) + p->loss.n * (uint32_t)sizeof(struct tf_epoch_loss);
	struct tf_meta row = meta_row(p, tf_kind_table[TF_K_META_EPOCH].subtype, gen, len);

	row.watermark_ns = p->watermark_ns;
	row.wall_offset_ns = p->wall_offset_ns;
	row.count = records;
	row.n_seqs = n_seq;
	row.n_losses = p->loss.n;
	if (tf_batch_append(b, TF_META, &row, p->loss.tail, len))
		tf_pump_log(p, TF_LOG_WARNING, "an EPOCH row did not fit its batch: this is a bug of tf_epoch_need");
}

void tf_epoch_close(struct tf_pump *p, struct tf_batch *b)
{
	uint32_t records = (uint32_t)b->total - p->facts.added;
	void *was = p->loss.prev;

	p->epoch++;
	p->last_epoch_ns = tf_boot_ns();
	read_wall_clock(p, p->last_epoch_ns);
	collect_user(p);
	add_notes(p, b);
	add_epoch(p, b, records);
	p->loss.prev = p->loss.now;
	p->loss.now = was;
	b->epoch = p->epoch;
	b->watermark_ns = p->watermark_ns;
	b->wall_offset_ns = p->wall_offset_ns;
	b->run_id = p->src->run_id;
	memcpy(b->boot_id, p->src->boot_id, sizeof(b->boot_id));
	memcpy(b->loss, p->loss.delta, sizeof(b->loss));
}
