/* SPDX-License-Identifier: Apache-2.0 */
/* tf_facts_text: texts of facts, each kept once and counted: a thousand children of one shell share its path. */
#include "tf_facts_impl.h"

#include <stdlib.h>

static uint32_t hash_of(const uint8_t *p, uint32_t len)
{
	return tf_crc32c(0, p, len);
}

struct tf_fact_string *tf_fact_string_get(struct tf_facts *f, const uint8_t *p, uint32_t len)
{
	const uint32_t hash = hash_of(p, len);
	struct tf_fact_string **at = &f->strings[hash & f->string_mask], *s;

	for (s = *at; s; s = s->next)
		if (s->hash == hash && s->len == len && !memcmp(s->bytes, p, len)) {
			s->refs++;
			return s;
		}
	s = malloc(sizeof(*s) + len);
	if (!s)
		return NULL;
	*s = (struct tf_fact_string){.next = *at, .refs = 1, .len = len, .hash = hash};
	memcpy(s->bytes, p, len);
	*at = s;
	f->s.text_bytes += sizeof(*s) + len;
	return s;
}

void tf_fact_string_drop(struct tf_facts *f, struct tf_fact_string *s)
{
	struct tf_fact_string **at;

	if (!s || --s->refs)
		return;
	for (at = &f->strings[s->hash & f->string_mask]; *at != s; at = &(*at)->next)
		;
	*at = s->next;
	f->s.text_bytes -= sizeof(*s) + s->len;
	free(s);
}
