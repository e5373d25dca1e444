/* SPDX-License-Identifier: Apache-2.0 */
/* tf_facts_find: answers about the subject of a row: what the row itself says first, then what was learned. */
#include "tf_facts.h"

/* What an exec row says of the process that it is about. */
static bool own_text(const struct tf_rows *r, uint8_t domain, const uint8_t *row, enum tf_fact fact, struct tf_fact_text *out)
{
	static const uint16_t at[TF_FACT_COUNT] = {
		[TF_FACT_PROCESS_EXE] = offsetof(struct tf_process, exe), [TF_FACT_PROCESS_ARGS] = offsetof(struct tf_process, args),
		[TF_FACT_PROCESS_CWD] = offsetof(struct tf_process, cwd)};
	struct tf_text t;

	if (domain != TF_PROCESS || !at[fact] || row[offsetof(struct tf_header, subtype)] != tf_kind_table[TF_K_PROCESS_EXEC].subtype)
		return false;
	memcpy(&t, row + at[fact], sizeof(t));
	if (t.offset > r->text_len || t.len > r->text_len - t.offset)
		t = (struct tf_text){0};
	*out = (struct tf_fact_text){t.len ? r->text + t.offset : (const uint8_t *)"", t.len};
	return true;
}

uint32_t tf_facts_find(const struct tf_facts *f, const struct tf_rows *r, uint8_t domain, const uint8_t *row, enum tf_fact fact,
		       struct tf_fact_text out[TF_FACT_DEPTH])
{
	(void)f;
	return own_text(r, domain, row, fact, out);
}

uint32_t tf_facts_line(const struct tf_facts *f, uint8_t domain, const uint8_t *row, uint32_t pids[TF_FACT_DEPTH + 1])
{
	struct tf_header h;

	(void)f;
	(void)domain;
	memcpy(&h, row, sizeof(h));
	pids[0] = h.pid;
	pids[1] = h.ppid;
	return h.pid ? 1 + !!h.ppid : 0;
}
