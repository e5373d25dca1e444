/* SPDX-License-Identifier: Apache-2.0 */
/* tf_sample: the draw in user space. */
#include "tf_sample.h"

uint32_t tf_weight_bits(uint32_t threshold)
{
	float weight = threshold == TF_RATE_ALL ? 1.0f : (float)(4294967296.0 / threshold);
	uint32_t bits;

	memcpy(&bits, &weight, sizeof(bits));
	return bits;
}

uint32_t tf_threshold_of(double p)
{
	double t = p * 4294967296.0 + 0.5;

	return t >= 4294967295.0 ? TF_RATE_ALL : t < 1 ? 1 : (uint32_t)t;
}

/* splitmix64's finalizer, as in tf_admit.bpf.h. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* What all draws of a cpu and kind share. */
static uint64_t stream(uint64_t seed, uint32_t cpu, uint32_t kind)
{
	return mix(seed ^ (uint64_t)cpu << 40 ^ (uint64_t)kind << 56);
}

static bool draws(uint64_t key, uint64_t number, uint32_t threshold)
{
	return (uint32_t)(mix(key ^ number) >> 32) < threshold;
}

bool tf_sample_draws(uint64_t seed, uint32_t cpu, uint32_t kind, uint64_t number, uint32_t threshold)
{
	return draws(stream(seed, cpu, kind), number, threshold);
}

void tf_sampler_init(struct tf_sampler *s, uint64_t seed)
{
	s->seed = seed;
	for (uint32_t k = 0; k < TF_KIND_MAX; k++)
		s->rates[k] = TF_RATE(TF_RATE_ALL, TF_WEIGHT_ONE);
}

bool tf_sampler_thins(const struct tf_sampler *s, uint8_t domain)
{
	for (uint32_t k = 0; k < TF_KIND_COUNT; k++)
		if (tf_kind_table[k].type == domain && s->rates[k] >> 32 != TF_RATE_ALL)
			return true;
	return false;
}

/* Neighbours are mostly of one cpu and kind: what hangs on these is found once a run. */
struct run {
	uint64_t key, dropped;
	size_t cell;
	uint32_t threshold, place;      /* place: cpu << 16 | subtype */
	float weight;
};

static void begin_run(const struct tf_sampler *s, uint8_t domain, const struct tf_header *h, struct run *run)
{
	uint32_t kind = (uint32_t)tf_kind_of(domain, h->subtype), bits = (uint32_t)s->rates[kind];

	run->place = (uint32_t)h->cpu << 16 | h->subtype;
	run->cell = (size_t)h->cpu * TF_KIND_MAX + kind;
	run->key = stream(s->seed, h->cpu, kind);
	run->threshold = s->rates[kind] >> 32;
	run->dropped = 0;
	memcpy(&run->weight, &bits, sizeof(bits));
}

uint32_t tf_sample_rows(const struct tf_sampler *s, const struct tf_rows *r, uint8_t domain, uint64_t *keep, uint64_t *dropped,
			size_t stride)
{
	struct run run = {.place = UINT32_MAX};
	uint32_t kept = 0;

	for (uint32_t i = 0; i < r->n; i += 64) {
		uint32_t end = r->n - i < 64 ? r->n - i : 64;
		uint64_t word = 0;

		for (uint32_t j = 0; j < end; j++) {
			struct tf_header *h = (struct tf_header *)(void *)(r->rows + (size_t)(i + j) * r->row_size);
			uint64_t stays;

			if (tf_unlikely(((uint32_t)h->cpu << 16 | h->subtype) != run.place)) {
				dropped[run.cell * stride] += run.dropped;
				begin_run(s, domain, h, &run);
			}
			stays = (run.threshold == TF_RATE_ALL) | draws(run.key, h->seq, run.threshold);
			h->weight *= run.weight;
			word |= stays << j;
			run.dropped += !stays;
		}
		keep[i / 64] = word;
		kept += (uint32_t)__builtin_popcountll(word);
	}
	dropped[run.cell * stride] += run.dropped;
	return kept;
}
