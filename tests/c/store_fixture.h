/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the store share: a scratch directory, batches of random rows and texts, and their comparison. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "tf_segment_impl.h"

/* A new empty directory; -> an open descriptor, its name in `path`. */
static inline int scratch_dir(char path[64])
{
	snprintf(path, 64, "%s/tf-store-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	CHECK(mkdtemp(path));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	return fd;
}

static inline void empty_dir(int dir_fd)
{
	DIR *dir = fdopendir(openat(dir_fd, ".", O_RDONLY | O_DIRECTORY));
	CHECK(dir);
	struct dirent *e;
	while ((e = readdir(dir)))
		if (e->d_name[0] != '.')
			unlinkat(dir_fd, e->d_name, 0);
	closedir(dir);
}

static inline void drop_dir(int dir_fd, const char *path)
{
	empty_dir(dir_fd);
	close(dir_fd);
	CHECK(rmdir(path) == 0);
}

static const uint8_t DOMAINS[] = { TF_PROCESS, TF_NETWORK, TF_CPU, TF_META };

/* A row whose numbers are anything, extremes among them; ts_ns stays where Unix time does not overflow. */
static inline void random_row(uint8_t domain, uint8_t *row, uint8_t *text, uint32_t *text_len, uint64_t ts_ns)
{
	uint32_t size = tf_row_size(domain);
	const uint16_t *fields;
	for (uint32_t i = 0; i < size; i += 8) {
		uint64_t word = rng_below(4) == 0 ? 0 : rng_below(8) == 0 ? UINT64_MAX : rng();
		memcpy(row + i, &word, size - i < 8 ? size - i : 8);
	}
	struct tf_header *h = (struct tf_header *)row;
	h->ts_ns = ts_ns;
	h->type = domain;
	*text_len = 0;
	uint32_t n = tf_text_fields(domain, &fields);
	for (uint32_t k = 0; k < n; k++) {
		struct tf_text t = { *text_len, rng_below(3) ? rng_below(40) : 0, 0 };
		t.full_len = t.len + rng_below(3);
		for (uint32_t i = 0; i < t.len; i++)
			text[*text_len + i] = (uint8_t)rng();
		*text_len += t.len;
		memcpy(row + fields[k], &t, sizeof(t));
	}
}

/* One epoch with up to max_rows rows in each domain. */
static inline struct tf_batch *random_batch(uint64_t epoch, uint32_t max_rows)
{
	struct tf_need need = { 0 };
	struct tf_batch *b;
	for (size_t i = 0; i < sizeof(DOMAINS); i++) {
		need.rows[DOMAINS[i]] = max_rows ? rng_below(max_rows + 1) : 0;
		need.text[DOMAINS[i]] = need.rows[DOMAINS[i]] * 3 * 40;
	}
	CHECK(tf_batch_new(NULL, &need, &b) == 0);
	for (size_t i = 0; i < sizeof(DOMAINS); i++) {
		for (uint32_t k = 0; k < need.rows[DOMAINS[i]]; k++) {
			uint8_t row[256] __attribute__((aligned(8))), text[3 * 40];
			uint32_t len;
			random_row(DOMAINS[i], row, text, &len, epoch * 1000000 + k);
			CHECK(tf_batch_append(b, DOMAINS[i], row, text, len) == 0);
		}
	}
	b->epoch = epoch;
	b->watermark_ns = epoch * 1000000;
	b->wall_offset_ns = 1700000000000000000;
	b->run_id = 42;
	memset(b->boot_id, 7, sizeof(b->boot_id));
	for (int i = 0; i < TF_L_COUNT; i++)
		b->loss[i] = epoch * 100 + (uint64_t)i;
	return b;
}

static inline bool same_batch(const struct tf_batch *a, const struct tf_batch *b)
{
	if (a->total != b->total || a->epoch != b->epoch || a->watermark_ns != b->watermark_ns || a->wall_offset_ns != b->wall_offset_ns)
		return false;
	if (a->run_id != b->run_id || memcmp(a->boot_id, b->boot_id, 16) != 0 || memcmp(a->loss, b->loss, sizeof(a->loss)) != 0)
		return false;
	for (int d = 0; d < TF_TYPE_MAX; d++) {
		const struct tf_rows *x = &a->dom[d], *y = &b->dom[d];
		if (x->n != y->n || x->text_len != y->text_len)
			return false;
		if (x->n && memcmp(x->rows, y->rows, (size_t)x->n * x->row_size) != 0)
			return false;
		if (x->text_len && memcmp(x->text, y->text, x->text_len) != 0)
			return false;
	}
	return true;
}

static inline struct tf_segment_writer *writer_at(int dir_fd, struct tf_writer_opts o)
{
	struct tf_segment_writer *w = NULL;
	CHECK(tf_segment_writer_open(dir_fd, &o, &w) == 0);
	return w;
}

static inline struct tf_writer_stats written(const struct tf_segment_writer *w)
{
	struct tf_writer_stats s;
	tf_segment_writer_stats(w, &s);
	return s;
}

#endif
