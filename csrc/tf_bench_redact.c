/* SPDX-License-Identifier: Apache-2.0 */
/* tf_bench: redaction over a batch of file rows, of whose paths a share was never seen before. */
#include "tf_bench.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES 64u /* room of a path */

struct tf_bench_redact {
	struct tf_redact *redact;
	struct tf_pool *pool;
	struct tf_batch *batch;
	uint32_t rows, known, every;
	bool plain;
	uint64_t fresh;
};

/* By hand: formatting would cost more than what is measured. */
static uint32_t put_fresh(uint8_t *text, uint64_t number, bool plain)
{
	static const char form[] = "/var/spool/app/00000000/part-of-it";

	memcpy(text, form, sizeof(form) - 1);
	text[11] = plain ? 'a' : 'A';
	for (unsigned i = 0; i < 8; i++, number /= 16)
		text[22 - i] = "0123456789abcdef"[number % 16];
	return sizeof(form) - 1;
}

/* Row i: one of `known` paths, or one that there never was. */
static void put_path(struct tf_bench_redact *b, uint32_t i)
{
	struct tf_rows *rows = &b->batch->dom[TF_FILE];
	uint8_t *text = rows->text + (size_t)i * TEXT_BYTES;
	const uint32_t which = (uint32_t)((i + 1) * 2654435761u) % b->known;
	struct tf_text t = {.offset = i * TEXT_BYTES};

	if (b->every && i % b->every == 0)
		t.len = put_fresh(text, b->fresh++, b->plain);
	else
		t.len = (uint32_t)snprintf((char *)text, TEXT_BYTES, "/usr/lib/%cpp/modules/%03u/file-%05u.so", b->plain ? 'a' : 'A', which % 97,
						  which);
	t.full_len = t.len;
	memcpy(rows->rows + (size_t)i * rows->row_size + offsetof(struct tf_file, path), &t, sizeof(t));
}

int tf_bench_redact_open(uint32_t rows, uint32_t known, uint32_t every, bool plain, struct tf_bench_redact **out)
{
	struct tf_bench_redact *b = calloc(1, sizeof(*b));
	struct tf_need need = {.rows = {[TF_FILE] = rows}, .text = {[TF_FILE] = rows * TEXT_BYTES}};
	size_t which, at;
	int rc = -ENOMEM;

	*out = NULL;
	if (!b)
		return rc;
	b->rows = rows;
	b->known = known;
	b->every = every;
	b->plain = plain;
	rc = tf_redact_open(NULL, 0, &b->redact, &which, &at, NULL, 0);
	if (!rc)
		rc = tf_pool_open(64u << 20, 64u << 20, &b->pool);
	if (!rc)
		rc = tf_batch_new(b->pool, &need, &b->batch);
	if (rc) {
		tf_bench_redact_close(b);
		return rc;
	}
	memset(b->batch->dom[TF_FILE].rows, 0, (size_t)rows * b->batch->dom[TF_FILE].row_size);
	b->batch->dom[TF_FILE].n = rows;
	b->batch->dom[TF_FILE].text_len = rows * TEXT_BYTES;
	for (uint32_t i = 0; i < rows; i++)
		put_path(b, i);
	*out = b;
	return 0;
}

void tf_bench_redact_run(struct tf_bench_redact *b, uint32_t rounds, struct tf_redact_stats *out)
{
	for (uint32_t r = 0; r < rounds; r++) {
		for (uint32_t i = 0; b->every && i < b->rows; i += b->every)
			put_path(b, i);
		tf_redact_batch(b->redact, b->batch);
	}
	tf_redact_stats(b->redact, out);
}

void tf_bench_redact_close(struct tf_bench_redact *b)
{
	if (!b)
		return;
	tf_batch_unref(b->batch);
	tf_pool_close(b->pool);
	tf_redact_close(b->redact);
	free(b);
}
