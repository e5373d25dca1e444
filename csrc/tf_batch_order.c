/* SPDX-License-Identifier: Apache-2.0 */
/* tf_batch_order: the order of a batch's rows over all domains: (ts_ns, cpu, lane, seq). */
#include "tf_batch.h"

#include <stdlib.h>

struct key {
	uint64_t ts, cpu_lane, seq;
	uint32_t row;
	uint8_t domain;
};

static struct key key_of(const struct tf_batch *b, uint8_t d, uint32_t row)
{
	struct tf_header h;
	int kind;

	memcpy(&h, b->dom[d].rows + (size_t)row * b->dom[d].row_size, sizeof(h));
	kind = tf_kind_of(h.type, h.subtype);
	return (struct key){
		.ts = h.ts_ns,
		.cpu_lane = (uint64_t)h.cpu * TF_LANES + (kind < 0 ? (unsigned)TF_BULK : tf_kind_table[kind].lane),
		.seq = h.seq, .row = row, .domain = d,
	};
}

/* Total: rows that are equal in all four keep domain and place, so that live and replay agree. */
static int compare(const struct key *a, const struct key *b)
{
	if (a->ts != b->ts)
		return a->ts < b->ts ? -1 : 1;
	if (a->cpu_lane != b->cpu_lane)
		return a->cpu_lane < b->cpu_lane ? -1 : 1;
	if (a->seq != b->seq)
		return a->seq < b->seq ? -1 : 1;
	if (a->domain != b->domain)
		return a->domain < b->domain ? -1 : 1;
	return a->row < b->row ? -1 : a->row > b->row;
}

/* End of the run that starts at i: rows of one ring are nearly in order already, so runs are long. */
static size_t run_end(const struct key *k, size_t i, size_t n)
{
	for (i++; i < n && compare(&k[i - 1], &k[i]) <= 0; i++)
		;
	return i;
}

static void merge(const struct key *in, size_t a, size_t a_end, size_t b_end, struct key *out)
{
	size_t b = a_end, o = a;

	while (a < a_end && b < b_end)
		out[o++] = compare(&in[a], &in[b]) <= 0 ? in[a++] : in[b++];
	while (a < a_end)
		out[o++] = in[a++];
	while (b < b_end)
		out[o++] = in[b++];
}

/* Natural merge sort; the answer is in *k, spare memory in *spare. */
static void sort_keys(struct key **k, struct key **spare, size_t n)
{
	while (run_end(*k, 0, n) < n) {
		struct key *t;

		for (size_t i = 0, mid, end; i < n; i = end) {
			mid = run_end(*k, i, n);
			end = mid < n ? run_end(*k, mid, n) : n;
			merge(*k, i, mid, end, *spare);
		}
		t = *k;
		*k = *spare;
		*spare = t;
	}
}

static struct key key_at(const struct tf_batch *b, const uint8_t *domain, const uint32_t *row, size_t i)
{
	return key_of(b, domain[i], row[i]);
}

static void swap_at(uint8_t *domain, uint32_t *row, size_t i, size_t j)
{
	uint8_t d = domain[i];
	uint32_t r = row[i];

	domain[i] = domain[j];
	row[i] = row[j];
	domain[j] = d;
	row[j] = r;
}

/* Heap sort in the caller's arrays: slower, but needs no memory when there is none. */
static void sort_in_place(const struct tf_batch *b, uint8_t *domain, uint32_t *row, size_t n)
{
	size_t start = n / 2, end = n;

	while (end > 1) {
		if (start)
			start--;
		else
			swap_at(domain, row, 0, --end);
		for (size_t root = start, child; (child = 2 * root + 1) < end; root = child) {
			struct key big = key_at(b, domain, row, child), top = key_at(b, domain, row, root);

			if (child + 1 < end) {
				struct key next = key_at(b, domain, row, child + 1);

				if (compare(&big, &next) < 0) {
					big = next;
					child++;
				}
			}
			if (compare(&top, &big) >= 0)
				break;
			swap_at(domain, row, root, child);
		}
	}
}

void tf_batch_order(const struct tf_batch *b, uint8_t *domain, uint32_t *row)
{
	size_t n = b->total, at = 0;
	struct key *k = malloc(2 * n * sizeof(*k) + 1), *sorted = k, *spare = k ? k + n : NULL;

	for (uint8_t d = 0; d < TF_TYPE_MAX; d++)
		for (uint32_t i = 0; i < b->dom[d].n; i++, at++) {
			domain[at] = d;
			row[at] = i;
			if (k)
				k[at] = key_of(b, d, i);
		}
	if (!k) {
		sort_in_place(b, domain, row, n);
		return;
	}
	if (n)
		sort_keys(&sorted, &spare, n);
	for (size_t i = 0; i < n; i++) {
		domain[i] = sorted[i].domain;
		row[i] = sorted[i].row;
	}
	free(k);
}
