/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pump_cgroup: control groups that rows name for the first time: their paths, as FACT_CGROUP rows of the same epoch, so that a replay
 * knows what was known live. Sources that cannot tell paths have none. */
#include "tf_pump_impl.h"

#include "tf_cgroup_name.h"
#include "tf_container_id.h"

#include <stdlib.h>

#define SETS 512u	/* of ids that were asked about; 8 each, the one asked longest ago goes */
#define WAYS 8u
#define AN_EPOCH 64u	/* facts: more wait for their next row */
#define TEXT_EACH 384u	/* bytes set aside; paths are shorter or, rarely, take another's */

struct tf_cgroups {
	uint64_t id[SETS][WAYS];	/* id << 1 | v1; 0 = free */
	uint8_t next[SETS];
};

int tf_cgroups_open(struct tf_pump *p)
{
	if (!p->src->cgroup_path)
		return 0;
	p->facts.cgroups = calloc(1, sizeof(*p->facts.cgroups));
	return p->facts.cgroups ? 0 : -ENOMEM;
}

void tf_cgroups_need(struct tf_pump *p, struct tf_need *need)
{
	uint64_t rows = 0;

	for (unsigned d = 0; p->facts.cgroups && d < TF_TYPE_MAX; d++)
		rows += need->rows[d];
	rows = rows < AN_EPOCH ? rows : AN_EPOCH;
	need->rows[TF_META] += (uint32_t)rows;
	need->text[TF_META] += (uint32_t)rows * TEXT_EACH;
	p->facts.rows = (uint32_t)rows;
	p->facts.text = (uint32_t)rows * TEXT_EACH;
}

static bool is_known(const struct tf_cgroups *c, uint64_t key)
{
	const uint64_t *ids = c->id[(key * 0x9e3779b97f4a7c15u) >> 55];

	for (unsigned i = 0; i < WAYS; i++)
		if (ids[i] == key)
			return true;
	return false;
}
_Static_assert(SETS == 1u << 9, "the hash keeps 9 bits");

static void remember(struct tf_cgroups *c, uint64_t key)
{
	const uint64_t set = (key * 0x9e3779b97f4a7c15u) >> 55;

	c->id[set][c->next[set]++ % WAYS] = key;
}

static void add_fact(struct tf_pump *p, struct tf_batch *b, uint64_t id, bool v1, const char *path, uint32_t len, struct tf_container_name name)
{
	struct tf_meta row = {
		.h = {.ts_ns = tf_boot_ns(), .seq = p->epoch + 1, .weight = 1, .type = TF_META, .flags = v1 ? TF_F_CGROUP_V1 : 0,
		      .subtype = tf_kind_table[TF_K_META_FACT_CGROUP].subtype},
		.epoch = p->epoch + 1, .object_id = id, .value = name.runtime,
		.path = {0, len, len}, .path2 = {name.offset, name.len, name.len}};

	if (tf_batch_append(b, TF_META, &row, path, len))
		tf_pump_log(p, TF_LOG_WARNING, "a FACT row did not fit its epoch: this is a bug of tf_cgroups_need");
	else
		p->facts.added++;
}

/* False: there is no room left, the id is asked about at its next row. */
static bool tell(struct tf_pump *p, struct tf_batch *b, uint64_t id, bool v1)
{
	char path[TF_CGROUP_PATH];
	struct tf_container_name name;
	int len;

	if (!p->facts.rows)
		return false;
	p->facts.rows--;
	len = p->src->cgroup_path(p->src->self, id, v1, path);
	if (len <= 0)
		return true; /* gone already, or not ours to see: asked once */
	name = tf_container_id((const uint8_t *)path, (size_t)len);
	if ((uint32_t)len + name.len > p->facts.text)
		return false;
	p->facts.text -= (uint32_t)len + name.len;
	add_fact(p, b, id, v1, path, (uint32_t)len, name);
	return true;
}

void tf_cgroups_add(struct tf_pump *p, struct tf_batch *b)
{
	uint64_t last = 0;

	p->facts.added = 0;
	for (unsigned d = 0; p->facts.cgroups && d < TF_TYPE_MAX; d++) {
		const struct tf_rows *r = &b->dom[d];

		for (uint32_t i = 0, n = r->n; i < n; i++) { /* n: FACT rows come behind those of meta */
			const uint8_t *row = r->rows + (size_t)i * r->row_size;
			uint64_t id, key;
			uint16_t flags;

			memcpy(&id, row + offsetof(struct tf_header, cgroup_id), sizeof(id));
			memcpy(&flags, row + offsetof(struct tf_header, flags), sizeof(flags));
			key = id << 1 | !!(flags & TF_F_CGROUP_V1);
			if (key == last || !id)
				continue;
			last = key;
			if (!is_known(p->facts.cgroups, key) && tell(p, b, id, key & 1))
				remember(p->facts.cgroups, key);
		}
	}
}

void tf_cgroups_ask_again(struct tf_pump *p)
{
	if (p->facts.cgroups)
		memset(p->facts.cgroups, 0, sizeof(*p->facts.cgroups));
}

void tf_cgroups_close(struct tf_pump *p)
{
	free(p->facts.cgroups);
	p->facts.cgroups = NULL;
}
