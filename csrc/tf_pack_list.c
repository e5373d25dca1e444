/* SPDX-License-Identifier: Apache-2.0 */
/* tf_pack_list: the different texts of a field: an open hash table under a random key. */
#include "tf_pack_impl.h"

#include <stdlib.h>

#define SLOTS_MIN 1024u

void *tf_pack_room(void **buffer, size_t *cap, size_t need)
{
	if (need > *cap || !*buffer) {
		free(*buffer);
		need = (need + need / 4 + 4095) & ~(size_t)4095;
		*buffer = aligned_alloc(4096, need ? need : 4096);
		*cap = *buffer ? need : 0;
	}
	return *buffer;
}

void tf_pack_list_free(struct tf_pack_list *l)
{
	free(l->entry);
	free(l->text);
	free(l->slot);
}

void tf_pack_list_reset(struct tf_pack_list *l)
{
	l->n = 0;
	l->text_len = 0;
	if (l->slot)
		memset(l->slot, 0, l->n_slots * sizeof(*l->slot));
}

static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 p = (unsigned __int128)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* Sixteen bytes a multiplication, keyed on both sides. */
static uint64_t hash_of(const uint64_t key[2], const uint8_t *text, uint32_t len, uint32_t full_len)
{
	uint64_t h = key[0] ^ len, a, b;

	for (; len > 16; len -= 16, text += 16) {
		memcpy(&a, text, 8);
		memcpy(&b, text + 8, 8);
		h = mix(a ^ key[1], b ^ h);
	}
	a = b = 0;
	if (len > 8) {
		memcpy(&a, text, 8);
		memcpy(&b, text + len - 8, 8);
	} else {
		memcpy(&a, text, len);
	}
	h = mix(a ^ key[1], b ^ h);
	return mix(h ^ full_len, key[0] ^ 0x9e3779b97f4a7c15u);
}

static int grow_slots(struct tf_pack_list *l)
{
	uint32_t n = l->n_slots ? 2 * l->n_slots : SLOTS_MIN;
	uint32_t *slot = calloc(n, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	for (uint32_t i = 0; i < l->n; i++) {
		const struct tf_pack_entry *e = &l->entry[i];
		uint32_t at = (uint32_t)hash_of(l->key, l->text + e->at, e->len, e->full_len) & (n - 1);

		while (slot[at])
			at = (at + 1) & (n - 1);
		slot[at] = i + 1;
	}
	free(l->slot);
	l->slot = slot;
	l->n_slots = n;
	return 0;
}

static int add_entry(struct tf_pack_list *l, const struct tf_pack_entry *e, const uint8_t *text)
{
	if (l->n == l->cap) {
		uint32_t cap = l->cap ? 2 * l->cap : 256;
		struct tf_pack_entry *entry = realloc(l->entry, cap * sizeof(*entry));

		if (!entry)
			return -ENOMEM;
		l->entry = entry;
		l->cap = cap;
	}
	if (l->text_len + e->len > l->text_cap || !l->text) {
		size_t cap = 2 * (l->text_len + e->len) + 4096;
		uint8_t *more = realloc(l->text, cap);

		if (!more)
			return -ENOMEM;
		l->text = more;
		l->text_cap = cap;
	}
	l->entry[l->n] = *e;
	l->entry[l->n++].at = l->text_len;
	memcpy(l->text + l->text_len, text, e->len);
	l->text_len += e->len;
	return 0;
}

int64_t tf_pack_list_find(struct tf_pack_list *l, const uint8_t *text, uint32_t len, uint32_t full_len)
{
	uint64_t h = hash_of(l->key, text, len, full_len);
	struct tf_pack_entry new = {.hash_low = (uint32_t)(h >> 32), .len = len, .full_len = full_len};
	uint32_t at;

	if (l->n >= l->n_slots / 2 && grow_slots(l))
		return -ENOMEM;
	for (at = (uint32_t)h & (l->n_slots - 1); l->slot[at]; at = (at + 1) & (l->n_slots - 1)) {
		const struct tf_pack_entry *e = &l->entry[l->slot[at] - 1];

		if (e->hash_low == new.hash_low && e->len == len && e->full_len == full_len && !memcmp(l->text + e->at, text, len))
			return l->slot[at];
	}
	if (add_entry(l, &new, text))
		return -ENOMEM;
	l->slot[at] = l->n;
	return l->n;
}
