// SPDX-License-Identifier: Apache-2.0
/* Damaged, cut, forged and hostile segments: never a crash, never a row that was not written, no more lost than what was damaged. */
#include "store_fixture.h"

#define FILE_NAME "segment-0000000001.tfseg"
enum { BLOCKS = 4 };

static struct tf_batch *want[BLOCKS];

struct outcome {
	bool got[BLOCKS];
	int n;
	struct tf_reader_stats s;
	bool opened;
};

/* Reads the store; every batch must be one of those written, in their order, once. */
static struct outcome read_store(int dir_fd)
{
	struct outcome o = { 0 };
	struct tf_segment_reader *r = NULL;
	struct tf_batch *b;
	int at = 0, rc = tf_segment_reader_open(dir_fd, &r);
	if (rc) {
		CHECK(rc == -EBADMSG || rc == -ENOENT);
		return o;
	}
	o.opened = true;
	while ((rc = tf_segment_reader_next(r, NULL, &b)) == 1) {
		while (at < BLOCKS && !same_batch(b, want[at]))
			at++;
		CHECK(at < BLOCKS);
		o.got[at++] = true;
		o.n++;
		tf_batch_unref(b);
	}
	CHECK(rc == 0);
	tf_segment_reader_stats(r, &o.s);
	tf_segment_reader_close(r);
	return o;
}

/* A segment of one epoch per block; -> its bytes, and where each frame ends. */
static uint8_t *make_segment(int dir_fd, size_t *size, size_t ends[BLOCKS])
{
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 1 });
	for (int i = 0; i < BLOCKS; i++) {
		if (!want[i])
			want[i] = random_batch((uint64_t)i + 1, 4);
		CHECK(tf_segment_writer_append(w, want[i]) == 0);
		CHECK(tf_segment_writer_flush(w, false) == 0);
		ends[i] = (size_t)written(w).bytes;
	}
	CHECK(tf_segment_writer_close(w) == 0);
	struct stat st;
	int fd = openat(dir_fd, FILE_NAME, O_RDONLY);
	CHECK(fd >= 0 && fstat(fd, &st) == 0);
	uint8_t *bytes = malloc((size_t)st.st_size);
	CHECK(read(fd, bytes, (size_t)st.st_size) == st.st_size);
	close(fd);
	*size = (size_t)st.st_size;
	CHECK(*size == ends[BLOCKS - 1]);
	return bytes;
}

static void put_file(int dir_fd, const uint8_t *bytes, size_t size)
{
	int fd = openat(dir_fd, FILE_NAME, O_WRONLY | O_CREAT, 0600);
	/* not O_TRUNC: some file systems then write everything to disk at close */
	CHECK(fd >= 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size && ftruncate(fd, (off_t)size) == 0);
	close(fd);
}

static void test_every_truncation_keeps_the_whole_blocks(int dir_fd, const uint8_t *bytes, size_t size, const size_t ends[BLOCKS])
{
	put_file(dir_fd, bytes, size);
	int fd = openat(dir_fd, FILE_NAME, O_WRONLY);
	for (size_t len = size; len-- > 0;) {
		int whole = 0;
		CHECK(ftruncate(fd, (off_t)len) == 0);
		if (len < TF_SEG_FIRST - 40 && len % 61) /* nothing but header there: every 61st will do */
			continue;
		for (int i = 0; i < BLOCKS; i++)
			whole += ends[i] <= len;
		struct outcome o = read_store(dir_fd);
		CHECK(o.n == whole);
		for (int i = 0; i < whole; i++)
			CHECK(o.got[i]);
		size_t before = whole ? ends[whole - 1] : TF_SEG_FIRST;
		CHECK(!o.opened || o.s.torn_bytes == (len > before ? len - before : 0));
	}
	close(fd);
}

/* Returns false when the flip went unnoticed, which is right only where a byte means nothing. */
static bool flip(int dir_fd, int fd, const uint8_t *bytes, size_t at, uint8_t with, const size_t ends[BLOCKS])
{
	uint8_t bad = bytes[at] ^ with;
	int hit = 0;
	CHECK(pwrite(fd, &bad, 1, (off_t)at) == 1);
	struct outcome o = read_store(dir_fd);
	CHECK(pwrite(fd, bytes + at, 1, (off_t)at) == 1);
	CHECK(o.opened);
	while (hit < BLOCKS && ends[hit] <= at)
		hit++;
	for (int i = 0; i < BLOCKS; i++)
		CHECK(o.got[i] || (at >= TF_SEG_FIRST && i == hit));
	if (at >= TF_SEG_FIRST && hit < BLOCKS - 1 && !o.got[hit])
		CHECK(o.s.corrupt_blocks == 1 && o.s.lost_rows == want[hit]->total && o.s.torn_bytes == 0);
	return o.s.corrupt_blocks || o.s.torn_bytes;
}

static void test_every_flipped_byte_costs_its_block_alone(int dir_fd, const uint8_t *bytes, size_t size, const size_t ends[BLOCKS])
{
	struct tf_seg_head h;
	memcpy(&h, bytes, sizeof(h));
	put_file(dir_fd, bytes, size);
	int fd = openat(dir_fd, FILE_NAME, O_WRONLY);
	for (size_t at = 0; at < size; at++) {
		bool first_copy = at < h.length, frame = at >= TF_SEG_FIRST;
		if (!frame && !(first_copy && (at < 200 || at % 7 == 0)) && at % 97)
			continue;
		bool seen = flip(dir_fd, fd, bytes, at, (uint8_t)(1u << rng_below(8)), ends);
		CHECK(seen == (first_copy || frame));
	}
	close(fd);
}

static void test_random_damage_never_makes_rows_up(int dir_fd, const uint8_t *bytes, size_t size)
{
	uint8_t *bad = malloc(2 * size);
	for (int round = 0; round < 3000; round++) {
		size_t len = size;
		memcpy(bad, bytes, size);
		for (uint32_t k = 0; k < 1 + rng_below(3); k++) {
			size_t at = TF_SEG_FIRST + rng_below((uint32_t)(len - TF_SEG_FIRST)), n = 1 + rng_below((uint32_t)(len - at));
			switch (rng_below(5)) {
			case 0: memset(bad + at, 0, n); break;
			case 1: memmove(bad + at, bad + TF_SEG_FIRST, n < len - TF_SEG_FIRST ? n : 1); break; /* frames copied to a later place */
			case 2: memmove(bad + at, bad + at + n, len - at - n); len -= n; break;               /* a piece cut out */
			case 3: bad[at] ^= (uint8_t)(1 + rng_below(255)); break;
			default: if (len + n <= 2 * size) { memmove(bad + at + n, bad + at, len - at); len += n; } break; /* a piece twice */
			}
			if (len <= TF_SEG_FIRST)
				break;
		}
		put_file(dir_fd, bad, len);
		read_store(dir_fd);
	}
	free(bad);
}

static void test_a_copied_frame_is_not_a_second_one(int dir_fd, const uint8_t *bytes, size_t size, const size_t ends[BLOCKS])
{
	size_t frame = ends[0] - TF_SEG_FIRST;
	uint8_t *more = malloc(size + frame);
	memcpy(more, bytes, size);
	memcpy(more + size, bytes + TF_SEG_FIRST, frame);
	put_file(dir_fd, more, size + frame);
	struct outcome o = read_store(dir_fd);
	CHECK(o.n == BLOCKS && o.s.torn_bytes == frame);
	free(more);
}

/* Rows whose text is whole frames of another segment, in a block whose header is then damaged: the search meets them. */
static void test_planted_frames_are_not_accepted(int dir_fd, const uint8_t *bytes, size_t size)
{
	struct tf_need need = { .rows = { [TF_PROCESS] = 2 }, .text = { [TF_PROCESS] = (uint32_t)(2 * size) } };
	struct tf_process row = { .h = { .type = TF_PROCESS } };
	struct tf_batch *b, *mine = random_batch(77, 4), *got;
	struct tf_segment_reader *r;
	struct tf_reader_stats s;
	empty_dir(dir_fd);
	CHECK(tf_batch_new(NULL, &need, &b) == 0);
	row.args.len = row.args.full_len = (uint32_t)(size - TF_SEG_FIRST);
	CHECK(tf_batch_append(b, TF_PROCESS, &row, bytes + TF_SEG_FIRST, row.args.len) == 0);
	b->run_id = mine->run_id;
	memcpy(b->boot_id, mine->boot_id, sizeof(b->boot_id));
	/* level -100: zstd leaves literals as they are, so that the planted bytes reach the disk in plain */
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 1, .level = -100 });
	CHECK(tf_segment_writer_append(w, b) == 0 && tf_segment_writer_append(w, mine) == 0 && tf_segment_writer_close(w) == 0);
	int fd = openat(dir_fd, FILE_NAME, O_RDWR);
	uint8_t file[65536 + 65536];
	ssize_t len = pread(fd, file, sizeof(file), 0);
	CHECK(len > 0 && len < (ssize_t)sizeof(file));
	CHECK(memmem(file + TF_SEG_FIRST, (size_t)len - TF_SEG_FIRST, bytes + TF_SEG_FIRST, 16 + 16)); /* they are there */
	file[TF_SEG_FIRST + 40] ^= 1;
	CHECK(pwrite(fd, file, (size_t)len, 0) == len);
	close(fd);
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	CHECK(tf_segment_reader_next(r, NULL, &got) == 1 && same_batch(got, mine));
	tf_batch_unref(got);
	CHECK(tf_segment_reader_next(r, NULL, &got) == 0);
	tf_segment_reader_stats(r, &s);
	CHECK(s.corrupt_blocks == 1 && s.lost_rows == 1 && s.torn_bytes == 0);
	tf_segment_reader_close(r);
	tf_batch_unref(b);
	tf_batch_unref(mine);
	empty_dir(dir_fd);
}

static bool texts_inside(const struct tf_batch *b)
{
	for (uint8_t d = 0; d < TF_TYPE_MAX; d++) {
		const uint16_t *fields;
		uint32_t n = tf_text_fields(d, &fields);
		for (uint32_t i = 0; i < b->dom[d].n; i++)
			for (uint32_t k = 0; k < n; k++) {
				struct tf_text t;
				memcpy(&t, b->dom[d].rows + (size_t)i * b->dom[d].row_size + fields[k], sizeof(t));
				if ((uint64_t)t.offset + t.len > b->dom[d].text_len)
					return false;
			}
	}
	return true;
}

/* A file whose checksums are right and whose contents lie: made by somebody who holds the key. */
static void test_hostile_headers_with_good_checksums(int dir_fd, const uint8_t *bytes, size_t size)
{
	uint8_t *bad = malloc(size), marker[16];
	struct tf_seg_head seg;
	memcpy(&seg, bytes, sizeof(seg));
	tf_seg_marker(seg.nonce, marker);
	for (int round = 0; round < 20000; round++) {
		struct tf_segment_reader *r;
		struct tf_frame_head h;
		struct tf_batch *b;
		uint8_t *frame = bad + TF_SEG_FIRST;
		memcpy(bad, bytes, size);
		memcpy(&h, frame, sizeof(h));
		uint32_t head = h.length - 4, fields = head - 40;
		for (uint32_t k = 0; k < 1 + rng_below(2); k++)
			frame[40 + rng_below(fields)] = rng_below(2) ? (uint8_t)rng() : (uint8_t)(0xff * rng_below(2));
		memcpy(&h, frame, sizeof(h));
		if (h.payload_len > size - TF_SEG_FIRST - 8 - h.length)
			continue; /* sealing would leave the buffer */
		tf_frame_seal(frame, seg.nonce, marker, 0, 0);
		put_file(dir_fd, bad, size);
		CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
		int rc;
		while ((rc = tf_segment_reader_next(r, NULL, &b)) == 1) {
			CHECK(texts_inside(b));
			tf_batch_unref(b);
		}
		CHECK(rc == 0);
		tf_segment_reader_close(r);
	}
	free(bad);
}

static void test_a_text_outside_its_area_becomes_empty(int dir_fd)
{
	struct tf_need need = { .rows = { [TF_PROCESS] = 1 }, .text = { [TF_PROCESS] = 8 } };
	struct tf_process row = { .h = { .type = TF_PROCESS }, .exe = { 0, 4, 4 } };
	struct tf_batch *b, *got;
	struct tf_segment_reader *r;
	empty_dir(dir_fd);
	CHECK(tf_batch_new(NULL, &need, &b) == 0 && tf_batch_append(b, TF_PROCESS, &row, "/bin", 4) == 0);
	struct tf_process *held = (struct tf_process *)b->dom[TF_PROCESS].rows;
	held->args = (struct tf_text){ UINT32_MAX, UINT32_MAX, 7 };
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ 0 });
	CHECK(tf_segment_writer_append(w, b) == 0 && tf_segment_writer_close(w) == 0);
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0 && tf_segment_reader_next(r, NULL, &got) == 1);
	const struct tf_process *p = (const struct tf_process *)got->dom[TF_PROCESS].rows;
	CHECK(p->exe.len == 4 && p->args.len == 0 && p->args.offset == 0 && p->args.full_len == 7 && p->h.flags & TF_F_PARTIAL);
	tf_batch_unref(got);
	tf_batch_unref(b);
	tf_segment_reader_close(r);
	empty_dir(dir_fd);
}

int main(void)
{
	char path[64];
	size_t size, ends[BLOCKS];
	int dir_fd = scratch_dir(path);
	uint8_t *bytes = make_segment(dir_fd, &size, ends);
	CHECK(read_store(dir_fd).n == BLOCKS);
	test_every_truncation_keeps_the_whole_blocks(dir_fd, bytes, size, ends);
	test_every_flipped_byte_costs_its_block_alone(dir_fd, bytes, size, ends);
	test_random_damage_never_makes_rows_up(dir_fd, bytes, size);
	test_a_copied_frame_is_not_a_second_one(dir_fd, bytes, size, ends);
	test_hostile_headers_with_good_checksums(dir_fd, bytes, size);
	test_planted_frames_are_not_accepted(dir_fd, bytes, size);
	test_a_text_outside_its_area_becomes_empty(dir_fd);
	for (int i = 0; i < BLOCKS; i++)
		tf_batch_unref(want[i]);
	free(bytes);
	drop_dir(dir_fd, path);
	return 0;
}
