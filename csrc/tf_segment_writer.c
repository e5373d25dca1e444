// SPDX-License-Identifier: Apache-2.0
/* tf_segment_writer: gathers whole epochs into blocks, compresses them and hands the frames to tf_segment_out.
 *
 * Rows are copied only while a block waits for more: the epoch that fills the block is transposed where it lies, so under load, when
 * an epoch is a block, nothing is copied. Memory: 4 MiB of waiting rows, planes and texts of one block (at most 12 MiB each), and the
 * frames no sync has confirmed (8 MiB and one frame): below 64 MiB. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tf_segment_impl.h"

#define ARENA_BYTES (4u << 20)
#define BATCH_BYTES (8u << 20)       /* larger batches are written in parts */
#define SYNC_BYTES_MAX (8ull << 20)  /* bounds what is kept for a failed sync */
#define BACKOFF_MIN_NS 100000000ull
#define BACKOFF_MAX_NS 2000000000ull
#define KEEP_NS 60000000000ull       /* ns: between two looks at what need not stay */

struct tf_segment_writer {
	struct tf_writer_opts o;
	int dir_fd, lock_fd;
	pid_t pid;
	struct tf_seg_out out;
	struct tf_writer_stats s;    /* written with relaxed stores: stats() may be called by any thread */
	uint64_t rows_dropped_known; /* out.lost_rows already counted */
	uint64_t frames_dropped_known;
	uint64_t last_sync_ns, retry_at_ns, backoff_ns;
	uint64_t keep_at_ns, keep_number; /* when to look again; the segment written to at the last look */
	int backoff_rc;
	/* the open block */
	uint64_t opened_ns;
	uint8_t boot_id[16];
	uint64_t run_id;
	uint8_t *arena;              /* rows and texts that wait */
	size_t arena_used;
	struct tf_seg_block b;
};

static void add(uint64_t *counter, uint64_t n)
{
	tf_store_relaxed(counter, *counter + n);
}

/* ---- open, lock, close ---- */

static int take_lock(struct tf_segment_writer *w)
{
	struct stat st;
	/* O_NONBLOCK: a planted FIFO must not stop us. The lock dies with the descriptor, so a crash leaves none behind. */
	w->lock_fd = openat(w->dir_fd, TF_LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (w->lock_fd < 0)
		return -errno;
	if (fstat(w->lock_fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return -ELOOP;
	if (flock(w->lock_fd, LOCK_EX | LOCK_NB))
		return -errno;
	return tf_seg_give(w->dir_fd, w->lock_fd);
}

static int start(struct tf_segment_writer *w)
{
	uint64_t *list;
	size_t n;
	int rc = take_lock(w);
	if (!rc)
		rc = tf_pack_open(w->o.level, &w->b.pack);
	if (!rc && !(w->arena = aligned_alloc(64, ARENA_BYTES)))
		rc = -ENOMEM;
	if (!rc)
		rc = tf_seg_list(w->dir_fd, &list, &n);
	if (rc)
		return rc;
	w->out.number = n ? list[n - 1] : 0; /* a file of an earlier run is never appended to: its tail may be torn */
	free(list);
	struct tf_removed gone;
	if (tf_segment_removed(w->dir_fd, &gone) == 0 && gone.number > w->out.number)
		w->out.number = gone.number; /* nor is a number used again */
	return 0;
}

static void defaults(struct tf_writer_opts *o)
{
	o->block_rows = o->block_rows ? o->block_rows : 8192;
	o->block_ms = o->block_ms ? o->block_ms : 1000;
	o->sync_ms = o->sync_ms ? o->sync_ms : 1000;
	o->sync_bytes = o->sync_bytes && o->sync_bytes < SYNC_BYTES_MAX ? o->sync_bytes : SYNC_BYTES_MAX;
	o->segment_bytes = o->segment_bytes ? o->segment_bytes : 256ull << 20;
	o->level = o->level ? o->level : 1;
}

static void release(struct tf_segment_writer *w)
{
	if (w->lock_fd >= 0)
		close(w->lock_fd);
	if (w->dir_fd >= 0)
		close(w->dir_fd);
	tf_pack_close(w->b.pack);
	free(w->arena);
	free(w->b.gather);
	free(w->out.keep);
	free(w);
}

int tf_segment_writer_open(int dir_fd, const struct tf_writer_opts *o, struct tf_segment_writer **out)
{
	struct tf_segment_writer *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	if (o)
		w->o = *o;
	defaults(&w->o);
	w->lock_fd = w->out.fd = -1;
	w->pid = getpid();
	w->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	int rc = w->dir_fd < 0 ? -errno : start(w);
	if (rc) {
		release(w);
		return rc;
	}
	w->out.dir_fd = w->dir_fd;
	w->out.segment_bytes = w->o.segment_bytes;
	w->last_sync_ns = tf_boot_ns();
	*out = w;
	return 0;
}

/* ---- blocks ---- */

static void count_given_up(struct tf_segment_writer *w)
{
	uint64_t rows = w->out.lost_rows - w->rows_dropped_known, frames = w->out.lost_frames - w->frames_dropped_known;
	w->rows_dropped_known += rows;
	w->frames_dropped_known += frames;
	tf_store_relaxed(&w->s.rows, w->s.rows - rows);
	tf_store_relaxed(&w->s.blocks, w->s.blocks - frames);
	add(&w->s.lost_io, rows);
	tf_store_relaxed(&w->s.segments, w->out.segments);
	tf_store_relaxed(&w->s.bytes, w->out.bytes);
	tf_store_relaxed(&w->s.sync_failures, w->out.sync_failures);
}

static bool is_full(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
}

static void count_lost(struct tf_segment_writer *w, uint64_t rows, int rc)
{
	add(is_full(rc) ? &w->s.lost_enospc : rc == -ENOMEM ? &w->s.lost_memory : &w->s.lost_io, rows);
}

/* Removes what need not stay: by the clock, at a new segment, and at once when the disk is full. A failure leaves more than is wanted. */
static void keep(struct tf_segment_writer *w, uint64_t now, bool full)
{
	struct tf_keep k = w->o.keep;
	struct tf_removed run;
	if (!k.age_ns && !k.bytes && !k.free_bytes)
		return;
	if (!full && now < w->keep_at_ns && w->out.number == w->keep_number)
		return;
	k.spare = w->out.fd >= 0 ? w->out.number : w->out.number + 1;
	int rc = tf_segment_keep(w->dir_fd, &k, (int64_t)now + tf_wall_offset_ns(), &run);
	w->keep_at_ns = now + KEEP_NS;
	w->keep_number = w->out.number;
	add(&w->s.removed_segments, run.segments);
	add(&w->s.removed_rows, run.rows);
	if (rc)
		tf_store_relaxed(&w->s.last_errno, (uint64_t)-rc);
}

/* A full or failing disk is asked again after a pause that grows, so that it costs no compression and no system calls. */
static int put_block(struct tf_segment_writer *w, uint64_t now)
{
	if (w->backoff_ns && now < w->retry_at_ns)
		return w->backoff_rc;
	keep(w, now, w->backoff_ns && is_full(w->backoff_rc));
	ssize_t len = tf_seg_block_encode(&w->b, &w->out);
	int rc = len < 0 ? (int)len : tf_seg_out_put(&w->out, (size_t)len, w->b.rows, w->boot_id, w->run_id);
	count_given_up(w);
	if (rc == 0 || rc == -ENOMEM || rc == -E2BIG || rc == -EINVAL) {    /* the disk did nothing wrong */
		w->backoff_ns = 0;
		return rc;
	}
	w->backoff_ns = w->backoff_ns ? 2 * w->backoff_ns : BACKOFF_MIN_NS;
	if (w->backoff_ns > BACKOFF_MAX_NS)
		w->backoff_ns = BACKOFF_MAX_NS;
	w->retry_at_ns = now + w->backoff_ns;
	w->backoff_rc = rc;
	return rc;
}

static int close_block(struct tf_segment_writer *w, uint64_t now)
{
	if (!w->b.n_held)
		return 0;
	int rc = put_block(w, now);
	if (rc) {
		tf_store_relaxed(&w->s.last_errno, (uint64_t)-rc);
		count_lost(w, w->b.rows, rc);
	} else {
		add(&w->s.rows, w->b.rows);
		add(&w->s.epochs, w->b.n_held);
		add(&w->s.blocks, 1);
		add(&w->s.raw_bytes, w->b.raw_bytes);
	}
	w->b.n_held = 0;
	w->b.rows = w->b.raw_bytes = 0;
	w->arena_used = 0;
	tf_store_relaxed(&w->s.buffered_rows, 0);
	return rc;
}

static int sync_now(struct tf_segment_writer *w, uint64_t now)
{
	int rc = tf_seg_out_sync(&w->out);
	w->last_sync_ns = now;
	count_given_up(w);
	if (rc)
		tf_store_relaxed(&w->s.last_errno, (uint64_t)-rc);
	return rc;
}

static size_t raw_size(const struct tf_batch *b)
{
	size_t raw = 0;
	for (int d = 0; d < TF_TYPE_MAX; d++)
		raw += (size_t)b->dom[d].n * b->dom[d].row_size + b->dom[d].text_len;
	return raw;
}

/* Now, while the rows are still in the cache: at the close of the block this walk would fetch all of them again. */
static void time_range(const struct tf_rows *r, struct tf_held_epoch *h)
{
	const uint8_t *row = r->rows;
	uint64_t lo = h->ts_min, hi = h->ts_max;
	for (uint32_t i = 0; i < r->n; i++, row += r->row_size) {
		uint64_t ts;
		memcpy(&ts, row, sizeof(ts));
		lo = ts < lo ? ts : lo;
		hi = ts > hi ? ts : hi;
	}
	h->ts_min = lo;
	h->ts_max = hi;
}

static void hold(struct tf_segment_writer *w, const struct tf_batch *b, size_t raw, uint64_t now)
{
	struct tf_held_epoch *h = &w->b.held[w->b.n_held];
	if (!w->b.n_held) {
		w->opened_ns = now;
		w->run_id = b->run_id;
		memcpy(w->boot_id, b->boot_id, sizeof(w->boot_id));
	}
	h->line = (struct tf_epoch_line){ b->epoch, b->watermark_ns, b->wall_offset_ns };
	memcpy(h->loss, b->loss, sizeof(h->loss));
	h->ts_min = UINT64_MAX;
	h->ts_max = 0;
	for (int d = 0; d < TF_TYPE_MAX; d++) {
		const struct tf_rows *r = &b->dom[d];
		h->dom[d] = (struct tf_held_rows){ r->rows, r->text, r->n, r->text_len };
		time_range(r, h);
		if (r->n || r->text_len)
			w->b.row_size[d] = r->row_size;
		w->b.rows += r->n;
	}
	w->b.n_held++;
	w->b.raw_bytes += raw;
	tf_store_relaxed(&w->s.buffered_rows, w->b.rows);
}

/* The caller's batch is his again after append: what waits is copied. */
static void copy_last(struct tf_segment_writer *w)
{
	struct tf_held_epoch *h = &w->b.held[w->b.n_held - 1];
	for (int d = 0; d < TF_TYPE_MAX; d++) {
		size_t rows = (size_t)h->dom[d].n * w->b.row_size[d], text = h->dom[d].text_len;
		uint8_t *to = w->arena + w->arena_used;
		if (rows)
			memcpy(to, h->dom[d].rows, rows);
		if (text)
			memcpy(to + rows, h->dom[d].text, text);
		h->dom[d].rows = to;
		h->dom[d].text = to + rows;
		w->arena_used += rows + text;
	}
}

static int append_whole(struct tf_segment_writer *w, const struct tf_batch *b, size_t raw)
{
	uint64_t now = tf_boot_ns();
	int rc = 0, rc_sync = 0;
	if (w->b.n_held && (w->run_id != b->run_id || memcmp(w->boot_id, b->boot_id, sizeof(w->boot_id)) != 0))
		rc = close_block(w, now);
	hold(w, b, raw, now);
	bool full = w->b.rows >= w->o.block_rows || w->arena_used + raw > ARENA_BYTES || w->b.n_held == TF_HELD_MAX;
	if (full || now - w->opened_ns >= w->o.block_ms * 1000000ull) {
		int now_rc = close_block(w, now);
		rc = rc ? rc : now_rc;
	} else {
		copy_last(w);
	}
	if (w->out.off - w->out.synced >= w->o.sync_bytes)
		rc_sync = sync_now(w, now);
	return rc ? rc : rc_sync;
}

/* Bits for the rows first..last-1, counted over all domains. */
static void mark(const struct tf_batch *b, uint64_t first, uint64_t last, uint64_t *words, const uint64_t *mask[TF_TYPE_MAX])
{
	uint64_t at = 0;
	for (int d = 0; d < TF_TYPE_MAX; d++) {
		mask[d] = words;
		for (uint32_t i = 0; i < b->dom[d].n; i++, at++)
			if (at >= first && at < last)
				words[i / 64] |= 1ull << (i % 64);
		words += b->dom[d].n / 64 + 1;
	}
}

static int part(const struct tf_batch *b, uint64_t first, uint64_t last, struct tf_batch **out)
{
	const uint64_t *mask[TF_TYPE_MAX];
	uint64_t *words = calloc(b->total / 64 + 2 * TF_TYPE_MAX, sizeof(*words));
	if (!words)
		return -ENOMEM;
	mark(b, first, last, words, mask);
	int rc = tf_batch_select(b, mask, out);
	free(words);
	return rc;
}

/* Halves until the parts fit: a batch that a program put together may be of any size. The loss goes with the first part. */
static int append_any(struct tf_segment_writer *w, const struct tf_batch *b)
{
	size_t raw = raw_size(b);
	uint64_t total = 0;
	int rc = 0;
	for (int d = 0; d < TF_TYPE_MAX; d++)
		total += b->dom[d].n;
	if (raw <= BATCH_BYTES)
		return append_whole(w, b, raw);
	if (total < 2) {
		add(&w->s.lost_memory, total);
		return -E2BIG;
	}
	for (int half = 0; half < 2; half++) {
		uint64_t first = half ? total / 2 : 0, last = half ? total : total / 2;
		struct tf_batch *p = NULL;
		int part_rc = part(b, first, last, &p);
		if (part_rc) {
			add(&w->s.lost_memory, last - first);
		} else {
			if (half)
				memset(p->loss, 0, sizeof(p->loss));
			part_rc = append_any(w, p);
			tf_batch_unref(p);
		}
		rc = rc ? rc : part_rc;
	}
	return rc;
}

int tf_segment_writer_append(struct tf_segment_writer *w, const struct tf_batch *b)
{
	if (getpid() != w->pid)
		return -ECHILD; /* a forked child shares the descriptor: its writes would tear the parent's frames */
	return append_any(w, b);
}

int tf_segment_writer_tick(struct tf_segment_writer *w, uint64_t now)
{
	int rc = 0, rc_sync = 0;
	if (getpid() != w->pid)
		return -ECHILD;
	if (w->b.n_held && now >= w->opened_ns + w->o.block_ms * 1000000ull)
		rc = close_block(w, now);
	if (w->out.off != w->out.synced && now >= w->last_sync_ns + w->o.sync_ms * 1000000ull)
		rc_sync = sync_now(w, now);
	keep(w, now, false);
	return rc ? rc : rc_sync;
}

int tf_segment_writer_flush(struct tf_segment_writer *w, bool sync)
{
	if (getpid() != w->pid)
		return -ECHILD;
	uint64_t now = tf_boot_ns();
	w->retry_at_ns = 0; /* asked for: try, whatever failed before */
	int rc = close_block(w, now), rc_sync = sync ? sync_now(w, now) : 0;
	return rc ? rc : rc_sync;
}

void tf_segment_writer_stats(const struct tf_segment_writer *w, struct tf_writer_stats *out)
{
	const uint64_t *from = (const uint64_t *)&w->s;
	uint64_t *to = (uint64_t *)out;
	for (size_t i = 0; i < sizeof(*out) / sizeof(*to); i++)
		to[i] = tf_load_relaxed(&from[i]);
}

void tf_segment_writer_forget(struct tf_segment_writer *w)
{
	close(w->lock_fd);
	close(w->dir_fd);
	if (w->out.fd >= 0)
		close(w->out.fd);
	w->lock_fd = w->dir_fd = w->out.fd = -1;
}

int tf_segment_writer_close(struct tf_segment_writer *w)
{
	int rc = 0;
	if (!w)
		return 0;
	if (getpid() == w->pid) {
		rc = tf_segment_writer_flush(w, true);
		int rc_close = tf_seg_out_close(&w->out);
		rc = rc ? rc : rc_close;
		flock(w->lock_fd, LOCK_UN); /* not by close alone: a forked child still holds the descriptor */
	} else if (w->out.fd >= 0) {
		close(w->out.fd);
	}
	release(w);
	return rc;
}
