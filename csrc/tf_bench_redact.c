/* SPDX-License-Identifier: Apache-2.0 */
/* tf_bench: redaction over a batch of file rows, of whose paths a share was never seen before. */
#include "tf_bench.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXT_BYTES 128u /* room of a path */

/* Paths as programs open them: 14 to 92 bytes, one in eight of more than a window (of what an import of numpy, a compiler and a shell
 * open, one in twelve is). */
static const char *const forms[] = {
	"/proc/%u/status",
	"/etc/app.d/%05u.conf",
	"/usr/share/zoneinfo/Europe/City_%u",
	"/usr/lib/x86_64-linux-gnu/libcrypto-%05u.so.3",
	"/sys/fs/cgroup/system.slice/worker-%05u.service/memory.current",
	"/usr/lib/python3/dist-packages/module_%05u/__init__.py",
	"/home/user/work/project/node_modules/some-package/dist/esm/internal/observable/chunk%05u.js",
	"/usr/lib/app/modules/%05u/README.md",
};

struct tf_bench_redact {
	struct tf_redact *redact;
	struct tf_pool *pool;
	struct tf_batch *batch;
	uint32_t rows, known, every;
	bool plain;
	uint64_t fresh;
};

/* Row i: one of `known` paths, or one that there never was. A path that is not plain has a % in it, as those of URLs have. */
static void put_path(struct tf_bench_redact *b, uint32_t i)
{
	struct tf_rows *rows = &b->batch->dom[TF_FILE];
	char *text = (char *)rows->text + (size_t)i * TEXT_BYTES;
	const uint32_t which = (uint32_t)((i + 1) * 2654435761u) % b->known, form = which % (sizeof(forms) / sizeof(*forms));
	struct tf_text t = {.offset = i * TEXT_BYTES};

	t.len = (uint32_t)snprintf(text, TEXT_BYTES, forms[form], which);
	if (!b->plain)
		text[5] = '%';
	t.full_len = t.len;
	memcpy(rows->rows + (size_t)i * rows->row_size + offsetof(struct tf_file, path), &t, sizeof(t));
}

/* By hand: formatting would cost more than what is measured. */
static void renew_path(struct tf_bench_redact *b, uint32_t i)
{
	char *end = (char *)b->batch->dom[TF_FILE].text + (size_t)i * TEXT_BYTES + 14;
	uint64_t number = b->fresh++;

	for (unsigned k = 0; k < 8; k++, number /= 16)
		*--end = "0123456789abcdef"[number % 16];
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
			renew_path(b, i);
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
