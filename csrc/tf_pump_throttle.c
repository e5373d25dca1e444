/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_throttle: THROTTLE rows: which cgroups the kernel's buckets refused records of, and how many of each kind. Their sum is the
 * ledger's k_throttled once the rings are empty. Relies on map tf_throttled being in our memory. */
#include "tf_pump_impl.h"

#include <stdlib.h>

#define LOOK_EVERY_NS 100000000u
#define IDLE_LOOKS 600u /* an entry that has not grown for so many looks that found something is given back */

int tf_throttle_open(struct tf_pump *p)
{
	if (!p->src->throttled)
		return 0;
	p->told.count = calloc(TF_THROTTLED, sizeof(*p->told.count));
	return p->told.count ? 0 : -ENOMEM;
}

void tf_throttle_close(struct tf_pump *p)
{
	free(p->told.count);
	p->told.count = NULL;
}

static uint64_t refused_in_all(const struct tf_pump *p)
{
	uint64_t sum = 0;

	for (uint32_t cpu = 0; cpu < p->src->ncpu; cpu++)
		for (uint32_t k = 0; k < TF_KIND_COUNT; k++)
			sum += tf_load_relaxed(&p->src->ledger[(size_t)cpu * TF_KIND_MAX + k].c[TF_L_K_THROTTLED]);
	return sum;
}

/* What an entry grew by, as the tail of its row. */
static uint32_t grown(const struct tf_throttled *entry, const uint64_t *told, struct tf_epoch_loss *out, uint64_t *sum)
{
	uint32_t n = 0;

	for (uint32_t k = 0; k < TF_KIND_COUNT; k++) {
		uint64_t more = tf_load_relaxed(&entry->count[k]) - told[k];

		if (!more)
			continue;
		out[n++] = (struct tf_epoch_loss){.count = more, .cpu = UINT16_MAX, .type = tf_kind_table[k].type,
						  .subtype = tf_kind_table[k].subtype, .cause = TF_L_K_THROTTLED};
		*sum += more;
	}
	return n;
}

static bool tell(struct tf_pump *p, uint32_t i, const struct tf_epoch_loss *losses, uint32_t n, uint64_t sum)
{
	struct tf_pump_note *note = tf_note_new(TF_K_META_THROTTLE, tf_load_relaxed(&p->src->throttled[i].cgroup_id), sum,
						n * (uint32_t)sizeof(*losses));

	if (!note)
		return false; /* the next look tells it */
	note->cause = TF_L_K_THROTTLED;
	note->n_losses = n;
	memcpy(note->data, losses, note->len);
	tf_note_push(p, note);
	for (uint32_t j = 0; j < n; j++)
		p->told.count[i][tf_kind_of(losses[j].type, losses[j].subtype)] += losses[j].count;
	return true;
}

/* A cgroup that has been good for long leaves its place to others. A record of its that is being refused right now may be told under the
 * name of who takes the place; the sum stays right, because counts are never reset. */
static void note_idle(struct tf_pump *p, uint32_t i)
{
	struct tf_throttled *entry = &p->src->throttled[i];

	if (!i || !tf_load_relaxed(&entry->cgroup_id) || ++p->told.idle[i] < IDLE_LOOKS)
		return;
	p->told.idle[i] = 0;
	tf_store_relaxed(&entry->cgroup_id, 0ull);
}

void tf_throttle_look(struct tf_pump *p, bool force)
{
	struct tf_epoch_loss losses[TF_KIND_COUNT];
	uint64_t now = tf_boot_ns(), total;

	if (!p->told.count)
		return;
	p->told.active |= p->src->settings && tf_load_relaxed(&p->src->settings->throttle_rate);
	if (!force && (!p->told.active || now - p->told.looked_ns < LOOK_EVERY_NS))
		return;
	p->told.looked_ns = now;
	total = refused_in_all(p);
	if (total == p->told.total && !force)
		return;
	p->told.total = total;
	for (uint32_t i = 0; i < TF_THROTTLED; i++) {
		uint64_t sum = 0;
		uint32_t n = grown(&p->src->throttled[i], p->told.count[i], losses, &sum);

		if (!n)
			note_idle(p, i);
		else if (tell(p, i, losses, n, sum))
			p->told.idle[i] = 0;
	}
}
