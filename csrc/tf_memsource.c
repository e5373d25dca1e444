/* SPDX-License-Identifier: Apache-2.0 */
/* tf_memsource: in-memory rings as a source. Relies on tf_memring for the producer's protocol; keeps the kernel half of the ledger. */
#include "tf_memsource.h"

#include <stdlib.h>

struct tf_memsource {
	struct tf_source source;
	struct tf_memring *mem;         /* [ncpu * TF_LANES] */
	struct tf_ring *rings;          /* consumer sides, handed to the pump */
};

static void close_source(void *self)
{
	struct tf_memsource *m = self;

	for (uint32_t i = 0; m->mem && i < m->source.ncpu * TF_LANES; i++)
		tf_memring_close(&m->mem[i]);
	free(m->mem);
	free(m->rings);
	free(m->source.ledger);
	free(m->source.cpus);
	free(m->source.lanes);
	free(m->source.settings);
	free(m);
}

int tf_memsource_open(uint32_t ncpu, uint64_t bulk_bytes, uint64_t critical_bytes, struct tf_memsource **out)
{
	struct tf_memsource *m = calloc(1, sizeof(*m));
	int err = -ENOMEM;

	if (!m)
		return err;
	struct tf_source *s = &m->source;

	s->name = "memory";
	s->self = m;
	s->ncpu = s->nrings = ncpu;
	s->close = close_source;
	s->run_id = tf_boot_ns();
	(void)tf_boot_id(s->boot_id); /* zero where there is none: nothing here depends on it */
	m->mem = calloc(ncpu * TF_LANES, sizeof(*m->mem));
	m->rings = calloc(ncpu * TF_LANES, sizeof(*m->rings));
	s->ledger = calloc((size_t)ncpu * TF_KIND_MAX, sizeof(*s->ledger));
	s->cpus = calloc(ncpu, sizeof(*s->cpus));
	s->lanes = calloc(ncpu * TF_LANES, sizeof(*s->lanes));
	s->settings = calloc(1, sizeof(*s->settings));
	if (!m->mem || !m->rings || !s->ledger || !s->cpus || !s->lanes || !s->settings)
		goto fail;
	for (uint32_t i = 0; i < ncpu * TF_LANES; i++) {
		err = tf_memring_open(&m->mem[i], i % TF_LANES == TF_CRITICAL ? critical_bytes : bulk_bytes);
		if (err)
			goto fail;
		m->rings[i] = m->mem[i].ring;
	}
	s->rings = m->rings;
	*out = m;
	return 0;
fail:
	close_source(m);
	return err;
}

struct tf_source *tf_memsource_source(struct tf_memsource *m)
{
	return &m->source;
}

struct tf_memring *tf_memsource_ring(struct tf_memsource *m, uint32_t cpu, uint32_t lane)
{
	return cpu < m->source.ncpu && lane < TF_LANES ? &m->mem[cpu * TF_LANES + lane] : NULL;
}

uint64_t tf_memsource_fill(struct tf_memsource *m, uint32_t cpu, uint32_t kind, const void *row, uint32_t len, uint64_t n,
			   bool stop_on_full)
{
	uint32_t lane = tf_kind_table[kind].lane;
	struct tf_memring *ring = &m->mem[cpu * TF_LANES + lane];
	struct tf_ledger_cell *cell = &m->source.ledger[(size_t)cpu * TF_KIND_MAX + kind];
	__u64 *seq = &m->source.cpus[cpu].seq[lane];
	uint64_t sent = 0;

	for (uint64_t i = 0; i < n; i++) {
		/* one writer per cell and cpu; relaxed atomics because the pump reads them meanwhile */
		tf_store_relaxed(&cell->c[TF_L_SEEN], cell->c[TF_L_SEEN] + 1);
		uint64_t number = *seq + 1;
		uint8_t *to = tf_memring_reserve(ring, len);

		tf_store_relaxed(seq, number);
		if (!to) {
			tf_store_relaxed(&cell->c[TF_L_K_RING_FULL], cell->c[TF_L_K_RING_FULL] + 1);
			if (stop_on_full)
				break;
			continue;
		}
		memcpy(to, row, len);
		struct tf_header *h = (struct tf_header *)to;

		h->ts_ns = tf_boot_ns();
		h->seq = number;
		h->cpu = (uint16_t)cpu;
		tf_memring_commit(ring, to, false);
		tf_store_relaxed(&cell->c[TF_L_SUBMITTED], cell->c[TF_L_SUBMITTED] + 1);
		sent++;
	}
	return sent;
}

int tf_memsource_raw(struct tf_memsource *m, uint32_t cpu, uint32_t lane, const void *bytes, uint32_t len)
{
	struct tf_memring *ring = tf_memsource_ring(m, cpu, lane);

	if (!ring)
		return -EINVAL;
	void *to = tf_memring_reserve(ring, len);

	if (!to)
		return -ENOSPC;
	memcpy(to, bytes, len);
	tf_memring_commit(ring, to, false);
	return 0;
}
