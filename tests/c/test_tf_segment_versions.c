// SPDX-License-Identifier: Apache-2.0
/* Segments of builds whose records differ: a field more, a field less, fields moved, a domain that is not known here. */
#include "store_fixture.h"
#include "tf_layout.h"

#define FUTURE_DOMAIN 15
enum { ROWS = 5 };

static uint8_t *put(uint8_t *at, const void *data, size_t len)
{
	memcpy(at, data, len);
	return at + len;
}

static uint8_t *put_field(uint8_t *at, const char *name, char kind, uint16_t offset, uint16_t size)
{
	struct tf_seg_field f = { kind, (uint8_t)strlen(name), offset, size };
	return put(put(at, &f, sizeof(f)), name, f.name_len);
}

static uint8_t *put_domain(uint8_t *at, uint8_t domain, const char *name, uint16_t row_size, uint16_t n_fields)
{
	struct tf_seg_domain d = { domain, (uint8_t)strlen(name), row_size, n_fields, 0 };
	return put(put(at, &d, sizeof(d)), name, d.name_len);
}

/* cpu as of a build with 16 bytes more: all fields 8 bytes further, one of another size, the last one of another name. */
static uint16_t other_cpu(struct tf_field out[TF_PACK_FIELDS_MAX])
{
	const struct tf_record_layout *l = tf_layout_of(TF_CPU);
	uint16_t n = 0;
	out[n++] = (struct tf_field){ "newer", "newer", 'u', 0, 8 };
	for (uint16_t i = 0; i < l->n_fields; i++) {
		struct tf_field f = l->fields[i];
		f.offset = (uint16_t)(f.offset + 8);
		if (i + 1 == l->n_fields)
			f.name = "gone";
		if (strcmp(f.name, "minor_faults") == 0) {
			f.size = 2;
			out[n++] = f;
			f = (struct tf_field){ "filler", "filler", 'u', (uint16_t)(f.offset + 2), 2 };
		}
		out[n++] = f;
	}
	out[n++] = (struct tf_field){ "more", "more", 'u', (uint16_t)(l->size + 8), 8 };
	return n;
}

static uint8_t *put_other_cpu(uint8_t *at)
{
	struct tf_field fields[TF_PACK_FIELDS_MAX];
	uint16_t n = other_cpu(fields);
	at = put_domain(at, TF_CPU, "cpu", (uint16_t)(tf_layout_of(TF_CPU)->size + 16), n);
	for (uint16_t i = 0; i < n; i++)
		at = put_field(at, fields[i].name, fields[i].kind, fields[i].offset, fields[i].size);
	return at;
}

static size_t build_head(uint8_t *area, struct tf_seg_head *h)
{
	memset(area, 0, TF_SEG_FIRST);
	h->n_domains = 2;
	uint8_t *at = put_other_cpu(area + sizeof(*h));
	at = put_domain(at, FUTURE_DOMAIN, "future", 80, 1);
	at = put_field(at, "ts_ns", 'u', 0, 8);
	h->length = (uint32_t)(at - area) + 4;
	memcpy(area, h, sizeof(*h));
	uint32_t crc = tf_crc32c(0, area, h->length - 4);
	memcpy(at, &crc, 4);
	memcpy(area + TF_SEG_AREA, area, h->length);
	return TF_SEG_FIRST;
}

/* Rows of a shape of its own as a pack at `at`. */
static uint8_t *put_pack(struct tf_frame_domain *d, const struct tf_field *fields, uint32_t n_fields, const uint8_t *rows, uint8_t *at)
{
	struct tf_pack *p;
	struct tf_pack_shape shape = { fields, n_fields, d->row_size };
	struct tf_pack_rows epoch = { .rows = rows, .n = ROWS };
	CHECK(tf_pack_open(1, &p) == 0);
	ssize_t len = tf_pack_encode(p, &shape, &epoch, 1, 0, false, at, 16384);
	CHECK(len > 0);
	tf_pack_close(p);
	d->pack_len = (uint32_t)len;
	return at + len;
}

/* One block, one epoch: ROWS rows of each of the two domains. */
static size_t build_frame(uint8_t *frame, const struct tf_seg_head *seg, const uint8_t *cpu_rows, uint32_t cpu_size,
			  const uint8_t *future_rows)
{
	struct tf_codec *c;
	struct tf_frame_domain d[2] = { { .domain = TF_CPU, .row_size = (uint16_t)cpu_size, .rows = ROWS }, { .domain = FUTURE_DOMAIN,
													      .row_size = 80, .rows = ROWS } };
	struct tf_frame_head h = { .length = (uint32_t)tf_frame_head_len(2, 0), .n_epochs = 1, .n_domains = 2, .n_loss = 30, .rows = 2 * ROWS,
				   .first_epoch = 1, .last_epoch = 1 };
	uint8_t table[24 + 30 * 8 + 8] = { 0 }, *at = frame + h.length, marker[16];
	uint64_t epoch = 1;
	uint32_t counts[2] = { ROWS, ROWS };
	struct tf_field fields[TF_PACK_FIELDS_MAX], future = { .kind = 'S', .size = 80 };
	uint32_t n = other_cpu(fields);
	if (cpu_size != tf_layout_of(TF_CPU)->size + 16u) {
		fields[0].size = (uint16_t)cpu_size;
		n = 1;
	}
	memcpy(table, &epoch, 8);
	memset(table + 24, 9, 30 * 8); /* more ledger columns than this build has */
	memcpy(table + 24 + 30 * 8, counts, sizeof(counts));
	CHECK(tf_codec_open(1, &c) == 0);
	h.epochs_len = (uint32_t)tf_codec_encode_bytes(c, table, sizeof(table), at, 4096);
	tf_codec_close(c);
	at = put_pack(&d[0], fields, n, cpu_rows, at + h.epochs_len);
	at = put_pack(&d[1], &future, 1, future_rows, at);
	h.payload_len = (uint64_t)(at - frame) - h.length;
	memcpy(frame, &h, sizeof(h));
	memcpy(frame + sizeof(h), d, sizeof(d));
	tf_seg_marker(seg->nonce, marker);
	tf_frame_seal(frame, seg->nonce, marker, 0, 0);
	return tf_frame_len(&h);
}

static void write_segment(int dir_fd, uint32_t version, const uint8_t *cpu_rows, uint32_t cpu_size)
{
	static uint8_t file[TF_SEG_FIRST + 65536];
	uint8_t future[ROWS * 80] = { 1, 2, 3 };
	struct tf_seg_head h = { .version = version, .number = 1, .nonce = { 1, 2, 3 } };
	memcpy(h.magic, TF_SEG_MAGIC, 8);
	size_t len = build_head(file, &h);
	len += build_frame(file + len, &h, cpu_rows, cpu_size, future);
	int fd = openat(dir_fd, "segment-0000000001.tfseg", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && write(fd, file, len) == (ssize_t)len);
	close(fd);
}

static void test_fields_are_found_by_name_and_the_rest_is_zero(int dir_fd)
{
	struct tf_cpu mine[ROWS], want;
	uint8_t theirs[ROWS][sizeof(want) + 16];
	struct tf_segment_reader *r;
	struct tf_reader_stats s;
	struct tf_batch *b;
	for (int i = 0; i < ROWS; i++) {
		for (size_t k = 0; k < sizeof(mine[i]); k++)
			((uint8_t *)&mine[i])[k] = (uint8_t)rng();
		memset(theirs[i], 0xaa, sizeof(theirs[i]));
		memcpy(theirs[i] + 8, &mine[i], sizeof(mine[i]));
	}
	write_segment(dir_fd, TF_SEG_VERSION, theirs[0], sizeof(theirs[0]));
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	CHECK(tf_segment_reader_next(r, NULL, &b) == 1);
	CHECK(b->total == ROWS && b->dom[TF_CPU].n == ROWS && b->epoch == 1 && b->loss[TF_L_COUNT - 1] == 0x0909090909090909);
	for (int i = 0; i < ROWS; i++) {
		want = mine[i];
		want.minor_faults = 0; /* another size there */
		want._pad0 = 0;        /* not there: the last field of the layout */
		CHECK(memcmp(b->dom[TF_CPU].rows + (size_t)i * sizeof(want), &want, sizeof(want)) == 0);
	}
	tf_batch_unref(b);
	CHECK(tf_segment_reader_next(r, NULL, &b) == 0);
	tf_segment_reader_stats(r, &s);
	CHECK(s.unknown_rows == ROWS && s.rows == ROWS && s.corrupt_blocks == 0);
	tf_segment_reader_close(r);
}

static void test_a_row_size_that_the_header_does_not_tell_is_unknown(int dir_fd)
{
	uint8_t rows[ROWS * 96] = { 0 };
	struct tf_segment_reader *r;
	struct tf_reader_stats s;
	struct tf_batch *b;
	write_segment(dir_fd, TF_SEG_VERSION, rows, 96);
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	CHECK(tf_segment_reader_next(r, NULL, &b) == 1 && b->total == 0);
	tf_batch_unref(b);
	tf_segment_reader_stats(r, &s);
	CHECK(s.unknown_rows == 2 * ROWS);
	tf_segment_reader_close(r);
}

static void test_a_newer_version_is_not_opened(int dir_fd)
{
	uint8_t rows[ROWS * 96] = { 0 };
	struct tf_segment_reader *r;
	write_segment(dir_fd, TF_SEG_VERSION + 1, rows, 96);
	CHECK(tf_segment_reader_open(dir_fd, &r) == -EBADMSG);
}

/* Rows of no bytes cost a file nothing, and this build's have 120 each: what they would become is bounded, too. */
static void test_rows_that_grow_beyond_the_cap_are_damage(int dir_fd)
{
	static uint8_t file[TF_SEG_FIRST + 4096];
	struct tf_seg_head h = { .version = TF_SEG_VERSION, .number = 1, .nonce = { 1 }, .n_domains = 1 };
	struct tf_frame_domain d = { .domain = TF_CPU, .rows = 8000000, .pack_len = 2 };
	struct tf_frame_head f = { .length = (uint32_t)tf_frame_head_len(1, 0), .n_epochs = 1, .n_domains = 1, .rows = d.rows };
	struct tf_segment_reader *r;
	struct tf_reader_stats s;
	struct tf_batch *b;
	struct tf_codec *c;
	uint8_t table[24 + 4] = { 0 }, marker[16];
	memcpy(h.magic, TF_SEG_MAGIC, 8);
	memcpy(table + 24, &d.rows, 4);
	uint8_t *at = put_domain(file + sizeof(h), TF_CPU, "cpu", 0, 0);
	h.length = (uint32_t)(at - file) + 4;
	memcpy(file, &h, sizeof(h));
	uint32_t crc = tf_crc32c(0, file, h.length - 4);
	memcpy(at, &crc, 4);
	CHECK(tf_codec_open(1, &c) == 0);
	uint8_t *frame = file + TF_SEG_FIRST;
	at = frame + f.length;
	f.epochs_len = (uint32_t)tf_codec_encode_bytes(c, table, sizeof(table), at, 1024);
	at += f.epochs_len;
	ssize_t nothing = tf_codec_encode_bytes(c, table, 0, at + 2, 64); /* joined: form, length, an empty frame */
	CHECK(nothing > 0 && nothing < 128);
	at[0] = 0;
	at[1] = (uint8_t)nothing;
	d.pack_len = 2 + (uint32_t)nothing;
	at += d.pack_len;
	tf_codec_close(c);
	f.payload_len = (uint64_t)(at - frame) - f.length;
	memcpy(frame, &f, sizeof(f));
	memcpy(frame + sizeof(f), &d, sizeof(d));
	tf_seg_marker(h.nonce, marker);
	tf_frame_seal(frame, h.nonce, marker, 0, 0);
	int fd = openat(dir_fd, "segment-0000000001.tfseg", O_WRONLY | O_CREAT | O_TRUNC, 0600);
	size_t len = TF_SEG_FIRST + tf_frame_len(&f);
	CHECK(fd >= 0 && write(fd, file, len) == (ssize_t)len);
	close(fd);
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	CHECK(tf_segment_reader_next(r, NULL, &b) == 0);
	tf_segment_reader_stats(r, &s);
	CHECK(s.corrupt_blocks == 1 && s.lost_rows == d.rows);
	tf_segment_reader_close(r);
}

/* Layouts that lie, under a good checksum. */
static void test_hostile_layouts_are_survived(int dir_fd)
{
	static uint8_t area[TF_SEG_FIRST];
	struct tf_seg_moves plan[TF_TYPE_MAX];
	struct tf_seg_head h = { .nonce = { 1 } };
	memcpy(h.magic, TF_SEG_MAGIC, 8);
	(void)dir_fd;
	for (int round = 0; round < 20000; round++) {
		h.n_domains = 2;
		build_head(area, &h);
		for (int k = 0; k < 1 + round % 4; k++)
			area[sizeof(h) + rng_below(h.length - sizeof(h) - 4)] = (uint8_t)rng();
		uint32_t n = rng_below(4) ? 2 : UINT32_MAX;
		memcpy(area + offsetof(struct tf_seg_head, n_domains), &n, 4);
		uint8_t *exact = malloc(h.length);
		memcpy(exact, area, h.length);
		tf_seg_plan(exact, plan);
		for (int d = 0; d < TF_TYPE_MAX; d++)
			for (int m = 0; m < plan[d].n && plan[d].known; m++)
				CHECK(plan[d].move[m].from + plan[d].move[m].len <= plan[d].src_size &&
				      plan[d].move[m].to + plan[d].move[m].len <= (int)tf_row_size((uint8_t)d));
		free(exact);
	}
}

int main(void)
{
	char path[64];
	int dir_fd = scratch_dir(path);
	test_fields_are_found_by_name_and_the_rest_is_zero(dir_fd);
	test_a_row_size_that_the_header_does_not_tell_is_unknown(dir_fd);
	test_a_newer_version_is_not_opened(dir_fd);
	test_rows_that_grow_beyond_the_cap_are_damage(dir_fd);
	test_hostile_layouts_are_survived(dir_fd);
	drop_dir(dir_fd, path);
	return 0;
}
