/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_notes: what waits to be told by the next epoch: changes of rules and of rates, and what the throttle refused. */
#include "tf_pump_impl.h"

#include <stdlib.h>

struct tf_pump_note *tf_note_new(uint32_t kind, uint64_t object_id, uint64_t value, uint32_t len)
{
	struct tf_pump_note *note = malloc(sizeof(*note) + len);

	if (!note)
		return NULL;
	*note = (struct tf_pump_note){.subtype = tf_kind_table[kind].subtype, .object_id = object_id, .value = value, .len = len};
	return note;
}

void tf_note_push(struct tf_pump *p, struct tf_pump_note *note)
{
	*p->notes_end = note;
	p->notes_end = &note->next;
	p->n_notes++;
	p->notes_len += note->len;
}

void tf_notes_free(struct tf_pump *p)
{
	while (p->notes) {
		struct tf_pump_note *note = p->notes;

		p->notes = note->next;
		free(note);
	}
	p->notes_end = &p->notes;
	p->n_notes = p->notes_len = 0;
}

int tf_pump_note_rules(struct tf_pump *p, uint32_t gen, const char *text, size_t len)
{
	struct tf_pump_note *note;

	if (len > 1u << 20)
		return -E2BIG;
	note = tf_note_new(TF_K_META_RULES, 0, 0, (uint32_t)len);
	if (!note)
		return -ENOMEM;
	note->gen = gen;
	memcpy(note->data, text, len);
	tf_pump_lock(p);
	tf_note_push(p, note);
	tf_pump_unlock(p);
	return 0;
}

enum tf_drawn tf_drawn_by(const struct tf_pump *p, uint32_t kind)
{
	if (p->src->by_process[kind / 64] >> (kind % 64) & 1)
		return TF_DRAWN_BY_PROCESS;
	return p->src->by_connection[kind / 64] >> (kind % 64) & 1 ? TF_DRAWN_BY_CONNECTION : TF_DRAWN_ALONE;
}

static struct tf_pump_note *rate_note(const struct tf_pump *p, uint32_t kind, uint32_t threshold, uint64_t since_ns)
{
	const char *name = tf_kind_table[kind].name;
	struct tf_pump_note *note = tf_note_new(TF_K_META_RATE, kind, threshold == TF_RATE_ALL ? 1ull << 32 : threshold, (uint32_t)strlen(name));

	if (!note)
		return NULL;
	note->ts_ns = since_ns;
	note->gen = p->src->settings ? tf_load_relaxed(&p->src->settings->gen) : 0;
	note->cause = tf_drawn_by(p, kind);
	memcpy(note->data, name, note->len);
	return note;
}

void tf_rates_tell(struct tf_pump *p)
{
	for (uint32_t k = 0; p->drain && p->epoch && k < TF_KIND_COUNT; k++) {
		struct tf_pump_note *note = p->sampling.since_ns[k] ? rate_note(p, k, p->sampling.now[k], p->sampling.since_ns[k]) : NULL;

		if (note)
			tf_note_push(p, note);
	}
}

int tf_rate_change(struct tf_pump *p, uint32_t kind, uint32_t threshold, uint64_t since_ns)
{
	struct tf_pump_note *note = rate_note(p, kind, threshold, since_ns);
	const uint32_t bits = tf_weight_bits(threshold);
	int rc = 0;

	if (!note)
		return -ENOMEM;
	if (p->src->set_rate)
		rc = p->src->set_rate(p->src->self, kind, threshold, bits, since_ns);
	else
		p->sampling.sampler.rates[kind] = TF_RATE(threshold, bits);
	if (rc) {
		free(note);
		return rc;
	}
	p->sampling.now[kind] = threshold;
	p->sampling.since_ns[kind] = since_ns;
	p->s.rate_changes++;
	tf_note_push(p, note);
	return 0;
}
