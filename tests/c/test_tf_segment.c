// SPDX-License-Identifier: Apache-2.0
/* tf_segment without faults: epochs come back as they were, blocks and segments end where they should, one writer at a time. */
#include "store_fixture.h"
#include "tf_segment_source.h"

#include <signal.h>
#include <sys/wait.h>

/* Every epoch of the store, compared with `want` in order. */
static struct tf_reader_stats read_all(int dir_fd, struct tf_batch *const *want, size_t n)
{
	struct tf_segment_reader *r = NULL;
	struct tf_reader_stats s;
	struct tf_batch *b;
	size_t i = 0;
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	while (tf_segment_reader_next(r, NULL, &b) == 1) {
		CHECK(i < n && same_batch(b, want[i]));
		tf_batch_unref(b);
		i++;
	}
	CHECK(i == n);
	tf_segment_reader_stats(r, &s);
	CHECK(s.corrupt_blocks == 0 && s.lost_rows == 0 && s.torn_bytes == 0 && s.unknown_rows == 0);
	tf_segment_reader_close(r);
	return s;
}

static void free_all(struct tf_batch **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tf_batch_unref(list[i]);
}

static void test_every_epoch_comes_back_as_it_was(int dir_fd, struct tf_writer_opts o, uint32_t max_rows)
{
	enum { N = 60 };
	struct tf_batch *list[N];
	struct tf_segment_writer *w = writer_at(dir_fd, o);
	uint64_t rows = 0;
	for (int i = 0; i < N; i++) {
		list[i] = random_batch((uint64_t)i + 1, i % 7 == 3 ? 0 : max_rows);
		rows += list[i]->total;
		/* the writer copies: the rows may change afterwards */
		struct tf_batch *lent = NULL;
		CHECK(tf_batch_select(list[i], NULL, &lent) == 0);
		CHECK(tf_segment_writer_append(w, lent) == 0);
		for (int d = 0; d < TF_TYPE_MAX; d++)
			if (lent->dom[d].n)
				memset(lent->dom[d].rows, 0xee, (size_t)lent->dom[d].n * lent->dom[d].row_size);
		tf_batch_unref(lent);
		struct tf_writer_stats s = written(w);
		CHECK(s.rows + s.buffered_rows == rows && s.lost_io + s.lost_enospc + s.lost_memory == 0);
	}
	CHECK(tf_segment_writer_flush(w, true) == 0);
	struct tf_writer_stats s = written(w);
	CHECK(s.rows == rows && s.buffered_rows == 0 && s.epochs == N && s.blocks >= 1);
	CHECK(tf_segment_writer_close(w) == 0);
	struct tf_reader_stats r = read_all(dir_fd, list, N);
	CHECK(r.rows == rows && r.epochs == N && r.blocks == s.blocks && r.segments == s.segments);
	free_all(list, N);
	empty_dir(dir_fd);
}

static void test_a_restart_begins_a_new_segment(int dir_fd)
{
	struct tf_batch *list[3];
	for (int i = 0; i < 3; i++) {
		struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ 0 });
		list[i] = random_batch((uint64_t)i, 20);
		CHECK(tf_segment_writer_append(w, list[i]) == 0);
		CHECK(tf_segment_writer_close(w) == 0);
	}
	CHECK(read_all(dir_fd, list, 3).segments == 3);
	free_all(list, 3);
	empty_dir(dir_fd);
}

static void test_another_run_gets_its_own_segment(int dir_fd)
{
	struct tf_batch *list[4];
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ 0 });
	for (int i = 0; i < 4; i++) {
		list[i] = random_batch((uint64_t)i, 20);
		list[i]->run_id = i < 2 ? 1 : 2;
		CHECK(tf_segment_writer_append(w, list[i]) == 0);
	}
	CHECK(tf_segment_writer_close(w) == 0);
	CHECK(read_all(dir_fd, list, 4).segments == 2);
	free_all(list, 4);
	empty_dir(dir_fd);
}

static void test_a_huge_batch_comes_back_in_parts(int dir_fd)
{
	enum { N = 150000 };
	struct tf_need need = { .rows = { [TF_CPU] = N } };
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ 0 });
	struct tf_segment_reader *r;
	struct tf_batch *b, *p;
	uint64_t rows = 0, loss = 0;
	CHECK(tf_batch_new(NULL, &need, &b) == 0);
	for (uint64_t i = 0; i < N; i++) {
		struct tf_cpu row = { .h = { .ts_ns = i, .seq = i, .type = TF_CPU } };
		CHECK(tf_batch_append(b, TF_CPU, &row, NULL, 0) == 0);
	}
	b->epoch = 9;
	b->loss[3] = 5;
	CHECK(tf_segment_writer_append(w, b) == 0);
	CHECK(tf_segment_writer_close(w) == 0);
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	while (tf_segment_reader_next(r, NULL, &p) == 1) {
		const struct tf_rows *d = &p->dom[TF_CPU];
		CHECK(memcmp(d->rows, b->dom[TF_CPU].rows + rows * d->row_size, (size_t)d->n * d->row_size) == 0);
		CHECK(p->epoch == 9);
		rows += d->n;
		loss += p->loss[3];
		tf_batch_unref(p);
	}
	CHECK(rows == N && loss == 5);
	tf_segment_reader_close(r);
	tf_batch_unref(b);
	empty_dir(dir_fd);
}

static void test_time_closes_blocks_and_syncs(int dir_fd)
{
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ .block_ms = 50, .sync_ms = 50 });
	struct tf_batch *b = random_batch(1, 10);
	uint64_t now = tf_boot_ns();
	CHECK(tf_segment_writer_append(w, b) == 0);
	CHECK(tf_segment_writer_tick(w, now) == 0 && written(w).buffered_rows == b->total);
	CHECK(tf_segment_writer_tick(w, now + 200000000) == 0);
	CHECK(written(w).buffered_rows == 0 && written(w).rows == b->total);
	CHECK(tf_segment_writer_close(w) == 0);
	tf_batch_unref(b);
	empty_dir(dir_fd);
}

static void test_one_writer_at_a_time(int dir_fd)
{
	struct tf_writer_opts o = { 0 };
	struct tf_segment_writer *w = writer_at(dir_fd, o), *second = NULL;
	CHECK(tf_segment_writer_open(dir_fd, &o, &second) == -EWOULDBLOCK && !second);
	struct tf_batch *b = random_batch(1, 10);
	pid_t child = fork(); /* the child holds the descriptors but must neither write nor unlock */
	if (!child)
		_exit(tf_segment_writer_append(w, b) == -ECHILD && tf_segment_writer_close(w) == 0 ? 0 : 1);
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(tf_segment_writer_open(dir_fd, &o, &second) == -EWOULDBLOCK);
	CHECK(tf_segment_writer_append(w, b) == 0);
	child = fork();
	if (!child) {
		pause(); /* a child that lives on does not keep the store locked */
		_exit(0);
	}
	CHECK(tf_segment_writer_close(w) == 0);
	CHECK(tf_segment_writer_open(dir_fd, &o, &second) == 0);
	tf_segment_writer_close(second);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	CHECK(read_all(dir_fd, &b, 1).segments == 1);
	tf_batch_unref(b);
	empty_dir(dir_fd);
}

static void test_foreign_files_are_counted_and_never_followed(int dir_fd)
{
	struct tf_segment_reader *r = NULL;
	struct tf_reader_stats s;
	struct tf_writer_opts o = { 0 };
	struct tf_segment_writer *w = NULL;
	CHECK(tf_segment_reader_open(dir_fd, &r) == -ENOENT);
	close(openat(dir_fd, "segment-1.tfseg", O_CREAT | O_WRONLY, 0600)); /* not our spelling: not even looked at */
	CHECK(tf_segment_reader_open(dir_fd, &r) == -ENOENT);
	CHECK(symlinkat("/etc/passwd", dir_fd, "segment-0000000001.tfseg") == 0);
	CHECK(mkfifoat(dir_fd, "segment-0000000002.tfseg", 0600) == 0);
	CHECK(mkdirat(dir_fd, "segment-0000000003.tfseg", 0700) == 0);
	int fd = openat(dir_fd, "segment-0000000004.tfseg", O_CREAT | O_WRONLY, 0600);
	CHECK(write(fd, "#!/bin/sh\n", 10) == 10);
	close(fd);
	CHECK(tf_segment_reader_open(dir_fd, &r) == -EBADMSG);
	struct tf_batch *b = random_batch(1, 10), *got;
	w = writer_at(dir_fd, o);
	CHECK(tf_segment_writer_append(w, b) == 0 && tf_segment_writer_close(w) == 0);
	CHECK(faccessat(dir_fd, "segment-0000000005.tfseg", F_OK, 0) == 0);
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	CHECK(tf_segment_reader_next(r, NULL, &got) == 1 && same_batch(got, b));
	tf_batch_unref(got);
	CHECK(tf_segment_reader_next(r, NULL, &got) == 0);
	tf_segment_reader_stats(r, &s);
	CHECK(s.foreign == 4 && s.segments == 1);
	tf_segment_reader_close(r);
	tf_batch_unref(b);
	unlinkat(dir_fd, "segment-0000000003.tfseg", AT_REMOVEDIR);
	empty_dir(dir_fd);
	CHECK(symlinkat("/tmp/tf-elsewhere", dir_fd, "LOCK") == 0);
	CHECK(tf_segment_writer_open(dir_fd, &o, &w) == -ELOOP && access("/tmp/tf-elsewhere", F_OK) != 0);
	empty_dir(dir_fd);
	CHECK(mkfifoat(dir_fd, "LOCK", 0600) == 0);
	CHECK(tf_segment_writer_open(dir_fd, &o, &w) == -ELOOP);
	empty_dir(dir_fd);
}

static void test_modes_are_private(int dir_fd)
{
	struct stat st;
	mode_t before = umask(0);
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ 0 });
	struct tf_batch *b = random_batch(1, 10);
	CHECK(tf_segment_writer_append(w, b) == 0 && tf_segment_writer_close(w) == 0);
	CHECK(fstatat(dir_fd, "LOCK", &st, 0) == 0 && (st.st_mode & 07777) == 0600);
	CHECK(fstatat(dir_fd, "segment-0000000001.tfseg", &st, 0) == 0 && (st.st_mode & 07777) == 0600);
	umask(before);
	tf_batch_unref(b);
	empty_dir(dir_fd);
}

static void test_selection_by_domain_and_time(int dir_fd)
{
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 30 });
	struct tf_segment_reader *r;
	struct tf_batch *b, *got;
	const int64_t wall = 1700000000000000000;
	uint64_t cpu_rows = 0, inside = 0, seen = 0, whole = 0, in_range = 0;
	struct tf_reader_select sel[3] = { { .domains = 1u << TF_CPU }, { .since_ns = wall + 10000002, .until_ns = wall + 20000003 } };
	for (uint64_t e = 1; e <= 40; e++) {
		b = random_batch(e, 10); /* rows at wall + e ms + 0, 1, 2... ns */
		CHECK(tf_segment_writer_append(w, b) == 0);
		cpu_rows += b->dom[TF_CPU].n;
		bool any = false;
		for (int d = 0; d < TF_TYPE_MAX; d++)
			for (uint32_t i = 0; i < b->dom[d].n; i++) {
				uint64_t at = e * 1000000 + i;
				inside += at >= 10000002 && at < 20000003;
				any |= at >= 10000002 && at < 20000003;
			}
		whole += any ? b->total : 0;
		tf_batch_unref(b);
	}
	CHECK(tf_segment_writer_close(w) == 0);
	sel[2] = sel[1];
	sel[2].whole_epochs = true;
	for (int k = 0; k < 3; k++) {
		CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
		tf_segment_reader_select(r, &sel[k]);
		for (seen = 0; tf_segment_reader_next(r, NULL, &got) == 1; tf_batch_unref(got)) {
			seen += got->total;
			in_range += k == 0 && got->total != got->dom[TF_CPU].n;
		}
		CHECK(seen == (k == 0 ? cpu_rows : k == 1 ? inside : whole));
		tf_segment_reader_close(r);
	}
	CHECK(in_range == 0 && inside > 0 && whole > inside);
	empty_dir(dir_fd);
}

static void test_source_gives_batches_and_identity(int dir_fd)
{
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ 0 });
	struct tf_batch *b = random_batch(1, 10), *got;
	struct tf_source *s = NULL;
	CHECK(tf_segment_source_open(dir_fd, NULL, &s) == -ENOENT);
	CHECK(tf_segment_writer_append(w, b) == 0 && tf_segment_writer_close(w) == 0);
	CHECK(tf_segment_source_open(dir_fd, NULL, &s) == 0);
	CHECK(strcmp(s->name, "store") == 0 && s->run_id == 42 && s->boot_id[15] == 7 && !s->rings);
	CHECK(s->next(s->self, NULL, &got) == 1 && same_batch(got, b));
	tf_batch_unref(got);
	CHECK(s->next(s->self, NULL, &got) == 0);
	s->close(s->self);
	tf_batch_unref(b);
	empty_dir(dir_fd);
}

static void test_a_full_pool_loses_no_epoch(int dir_fd)
{
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ 0 });
	struct tf_batch *b = random_batch(1, 500), *first, *second;
	struct tf_segment_reader *r;
	struct tf_pool *pool;
	CHECK(tf_segment_writer_append(w, b) == 0 && tf_segment_writer_append(w, b) == 0 && tf_segment_writer_close(w) == 0);
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	CHECK(tf_segment_reader_next(r, NULL, &first) == 1);
	size_t room = first->arena_size * 3 / 2;
	tf_batch_unref(first);
	tf_segment_reader_close(r);
	CHECK(tf_pool_open(room, room, &pool) == 0);
	CHECK(tf_segment_reader_open(dir_fd, &r) == 0);
	CHECK(tf_segment_reader_next(r, pool, &first) == 1);
	CHECK(tf_segment_reader_next(r, pool, &second) == -ENOMEM);
	tf_batch_unref(first);
	CHECK(tf_segment_reader_next(r, pool, &second) == 1 && same_batch(second, b));
	tf_batch_unref(second);
	CHECK(tf_segment_reader_next(r, pool, &second) == 0);
	tf_segment_reader_close(r);
	tf_pool_close(pool);
	tf_batch_unref(b);
	empty_dir(dir_fd);
}

int main(void)
{
	char path[64];
	int dir_fd = scratch_dir(path);
	test_every_epoch_comes_back_as_it_was(dir_fd, (struct tf_writer_opts){ 0 }, 50);
	test_every_epoch_comes_back_as_it_was(dir_fd, (struct tf_writer_opts){ .block_rows = 1 }, 5);
	test_every_epoch_comes_back_as_it_was(dir_fd, (struct tf_writer_opts){ .block_rows = 300, .segment_bytes = 60000, .level = 3 }, 100);
	test_every_epoch_comes_back_as_it_was(dir_fd, (struct tf_writer_opts){ .block_rows = 1u << 30, .block_ms = 60000 }, 2000);
	test_a_restart_begins_a_new_segment(dir_fd);
	test_another_run_gets_its_own_segment(dir_fd);
	test_a_huge_batch_comes_back_in_parts(dir_fd);
	test_time_closes_blocks_and_syncs(dir_fd);
	test_one_writer_at_a_time(dir_fd);
	test_foreign_files_are_counted_and_never_followed(dir_fd);
	test_modes_are_private(dir_fd);
	test_selection_by_domain_and_time(dir_fd);
	test_source_gives_batches_and_identity(dir_fd);
	test_a_full_pool_loses_no_epoch(dir_fd);
	drop_dir(dir_fd, path);
	return 0;
}
