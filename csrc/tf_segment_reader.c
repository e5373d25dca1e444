// SPDX-License-Identifier: Apache-2.0
/* tf_segment_reader: segments in the order of their numbers, their frames, and the way past damage.
 *
 * A good header says how long its frame is and how many rows came before it, so a bad payload costs that frame alone, and after a bad
 * header, found again by the keyed marker, the next good one tells how many rows were passed over. Reads only: no file is followed,
 * waited on or changed. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE                  /* memmem */
#endif
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tf_segment_impl.h"

#define WINDOW 65536u

union frame_head {
	struct tf_frame_head h;
	uint8_t bytes[TF_FRAME_HEAD_MAX];
};

struct tf_segment_reader {
	int dir_fd, fd;              /* fd -1: the next segment is to be opened */
	uint64_t *numbers;
	size_t n, next;
	struct tf_reader_select sel;
	struct tf_reader_stats s;
	uint8_t boot_id[16];         /* of the oldest segment that is ours */
	uint64_t run_id;
	/* the open segment */
	struct tf_seg_head head;
	uint8_t marker[16];
	struct tf_seg_moves plan[TF_TYPE_MAX];
	uint64_t off, end;           /* bytes: next frame; where the file ended when it was opened */
	uint64_t frame_no, rows;     /* what the next frame's header must say, if nothing is missing */
	uint8_t *area;               /* TF_SEG_FIRST bytes: header of a segment; also the window of the search */
	/* the open block */
	union frame_head frame;
	uint8_t *payload;
	size_t payload_cap;
	struct tf_seg_decoded block;
};

/* Reads up to len bytes: how many, or -errno. */
static ssize_t read_at(int fd, void *dst, size_t len, uint64_t at)
{
	size_t got = 0;
	while (got < len) {
		ssize_t n = pread(fd, (uint8_t *)dst + got, len - got, (off_t)(at + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* ---- segments ---- */

/* A regular file of ours: its descriptor, header in r->area at *at. -ENOENT gone, -ELOOP foreign, -EBADMSG damaged, -EPROTO newer,
 * -errno. */
static int open_file(struct tf_segment_reader *r, uint64_t number, size_t *at, uint64_t *size)
{
	char name[TF_SEG_NAME_LEN];
	struct stat st;
	tf_seg_name(number, name);
	int fd = openat(r->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errno == ENXIO ? -ELOOP : -errno; /* ENXIO: a socket */
	ssize_t rc = fstat(fd, &st) ? -errno : 0;
	if (!rc && !S_ISREG(st.st_mode))
		rc = -ELOOP;
	if (!rc)
		rc = read_at(fd, r->area, TF_SEG_FIRST, 0);
	if (rc >= 0) {
		size_t got = (size_t)rc;
		rc = tf_seg_check(r->area, got);
		/* Cut before the header was whole: a crash or damage, told from a foreign file by what is left of the magic. */
		if (rc == -ENOENT)
			rc = got < sizeof(struct tf_seg_head) && memcmp(r->area, TF_SEG_MAGIC, got < 8 ? got : 8) == 0 ? -EBADMSG : -ELOOP;
	}
	if (rc < 0) {
		close(fd);
		return (int)rc;
	}
	*at = (size_t)rc;
	*size = (uint64_t)st.st_size;
	return fd;
}

/* Where the file ends that the reader has just opened: its successor may have rewritten the end of it. */
static int limit_by_successor(struct tf_segment_reader *r)
{
	for (size_t i = r->next; i < r->n; i++) {
		struct tf_seg_head h;
		size_t at;
		uint64_t size;
		int fd = open_file(r, r->numbers[i], &at, &size);
		if (fd < 0)
			continue;
		close(fd);
		memcpy(&h, r->area + at, sizeof(h));
		if (h.resumes_at >= TF_SEG_FIRST && h.resumes_number == r->head.number && h.resumes_at < r->end)
			r->end = h.resumes_at;
		return 0;
	}
	return 0;
}

/* Opens the next segment that is ours: 1, 0 = none left, -errno. */
static int open_segment(struct tf_segment_reader *r)
{
	while (r->next < r->n) {
		size_t at;
		uint64_t size;
		int fd = open_file(r, r->numbers[r->next++], &at, &size);
		if (fd == -ENOENT) {
			r->s.gone_segments++; /* since the directory was read */
			continue;
		}
		if (fd == -ELOOP || fd == -EPROTO) {
			r->s.foreign++;
			continue;
		}
		if (fd == -EBADMSG) {
			r->s.corrupt_blocks++;
			continue;
		}
		if (fd < 0)
			return fd;
		memcpy(&r->head, r->area + at, sizeof(r->head));
		r->s.corrupt_blocks += at != 0; /* the first copy of the header is damaged; nothing is lost */
		tf_seg_plan(r->area + at, r->plan);
		tf_seg_marker(r->head.nonce, r->marker);
		r->fd = fd;
		r->off = TF_SEG_FIRST;
		r->end = size;
		r->frame_no = r->rows = 0;
		r->s.segments++;
		return limit_by_successor(r), 1;
	}
	return 0;
}

static void close_segment(struct tf_segment_reader *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

/* ---- frames ---- */

/* Header at `at` into f: 1 good, 0 not one, -errno. */
static int read_head(struct tf_segment_reader *r, uint64_t at, union frame_head *f)
{
	ssize_t got = read_at(r->fd, f->bytes, sizeof(f->bytes) < r->end - at ? sizeof(f->bytes) : (size_t)(r->end - at), at);
	if (got < 0)
		return (int)got;
	if ((size_t)got < sizeof(f->h) || f->h.length > (size_t)got)
		return 0;
	if (tf_frame_check(&f->h, r->head.nonce, r->marker))
		return 0;
	/* Never backwards: a frame that was copied to a later place is not a second one. */
	return f->h.frame_no >= r->frame_no && f->h.rows_before >= r->rows;
}

/* The next good header at or after r->off + 1: 1 (r->off is there), 0 none, -errno. */
static int resync(struct tf_segment_reader *r, union frame_head *f)
{
	uint64_t at = r->off + 1;
	while (at + sizeof(r->marker) <= r->end) {
		size_t want = r->end - at < WINDOW ? (size_t)(r->end - at) : WINDOW;
		ssize_t got = read_at(r->fd, r->payload, want, at);
		if (got < (ssize_t)sizeof(r->marker))
			return got < 0 ? (int)got : 0;
		const uint8_t *hit = memmem(r->payload, (size_t)got, r->marker, sizeof(r->marker));
		if (!hit) {
			at += (uint64_t)got - sizeof(r->marker) + 1;
			continue;
		}
		at += (uint64_t)(hit - r->payload);
		int rc = read_head(r, at, f);
		if (rc) {
			r->off = rc > 0 ? at : r->off;
			return rc;
		}
		at++;
	}
	return 0;
}

static bool is_newest(const struct tf_segment_reader *r)
{
	return r->next >= r->n;
}

static int payload_room(struct tf_segment_reader *r, size_t need)
{
	need = need < WINDOW ? WINDOW : need;
	if (need <= r->payload_cap)
		return 0;
	free(r->payload);
	r->payload = malloc(need);
	r->payload_cap = r->payload ? need : 0;
	return r->payload ? 0 : -ENOMEM;
}

/* The end of a segment that is not a frame. */
static int torn(struct tf_segment_reader *r)
{
	r->s.torn_bytes += r->end - r->off;
	close_segment(r);
	return 0;
}

/* Next good header of the open segment into r->frame: 1, 0 = segment done, -errno. Counts what is missing before it. */
static int next_in_segment(struct tf_segment_reader *r)
{
	int rc = payload_room(r, 0);
	if (rc)
		return rc;
	if (r->off >= r->end) {
		close_segment(r);
		return 0;
	}
	rc = read_head(r, r->off, &r->frame);
	if (rc == 0)
		rc = resync(r, &r->frame);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return torn(r);
	const struct tf_frame_head *h = &r->frame.h;
	r->s.corrupt_blocks += h->frame_no - r->frame_no;
	r->s.lost_rows += h->rows_before - r->rows;
	r->frame_no = h->frame_no + 1;
	r->rows = h->rows_before + h->rows;
	if (tf_frame_len(h) > r->end - r->off) {
		/* Being written just now, if it is the newest; else its rows are gone. */
		r->s.lost_rows += is_newest(r) ? 0 : h->rows;
		return torn(r);
	}
	r->off += tf_frame_len(h);
	return 1;
}

static int next_frame(struct tf_segment_reader *r)
{
	for (;;) {
		int rc = r->fd < 0 ? open_segment(r) : 1;
		if (rc <= 0)
			return rc;
		rc = next_in_segment(r);
		if (rc)
			return rc;
	}
}

static bool outside(const struct tf_segment_reader *r)
{
	const struct tf_frame_head *h = &r->frame.h;
	if (!r->sel.since_ns && !r->sel.until_ns)
		return false;
	return h->unix_min > h->unix_max || h->unix_max < r->sel.since_ns || h->unix_min >= r->sel.until_ns;
}

static int read_payload(struct tf_segment_reader *r)
{
	const struct tf_frame_head *h = &r->frame.h;
	size_t len = (size_t)h->payload_len + sizeof(struct tf_frame_foot);
	struct tf_frame_foot foot;
	uint32_t head_crc;
	int rc = payload_room(r, len);
	if (rc)
		return rc;
	ssize_t got = read_at(r->fd, r->payload, len, r->off - len);
	if (got < 0)
		return got == -EIO ? -EBADMSG : (int)got; /* a bad sector costs its block */
	if ((size_t)got < len)
		return -EBADMSG;
	memcpy(&foot, r->payload + h->payload_len, sizeof(foot));
	memcpy(&head_crc, r->frame.bytes + h->length - 4, sizeof(head_crc));
	if (foot.frame_len != tf_frame_len(h) || foot.payload_crc != tf_crc32c(head_crc, r->payload, (size_t)h->payload_len))
		return -EBADMSG;
	return 0;
}

/* The next block that is good and wanted: 1, 0 = end, -errno. */
static int next_block(struct tf_segment_reader *r)
{
	for (;;) {
		int rc = next_frame(r);
		if (rc <= 0)
			return rc;
		if (outside(r) || (r->sel.narrow && !tf_index_may_match(&r->frame.h, &r->sel))) {
			r->s.skipped_blocks++;
			continue;
		}
		rc = read_payload(r);
		r->block.head = r->frame.h;
		memcpy(r->block.dom, tf_frame_domains(&r->frame.h), r->frame.h.n_domains * sizeof(r->block.dom[0]));
		if (!rc)
			rc = tf_seg_decode(&r->block, r->plan, &r->sel, r->payload);
		if (rc == -EBADMSG) {
			r->block.next_epoch = r->block.head.n_epochs;
			r->s.corrupt_blocks++;
			r->s.lost_rows += r->frame.h.rows;
			continue;
		}
		if (rc) {
			r->block.next_epoch = r->block.head.n_epochs;
			r->off -= tf_frame_len(&r->frame.h); /* no memory, or the device: the same block again next time */
			r->frame_no = r->frame.h.frame_no;
			r->rows = r->frame.h.rows_before;
			return rc;
		}
		r->s.blocks++;
		r->s.unknown_rows += r->block.unknown_rows;
		return 1;
	}
}

int tf_segment_reader_next(struct tf_segment_reader *r, struct tf_pool *pool, struct tf_batch **out)
{
	for (;;) {
		int rc = tf_seg_next_epoch(&r->block, r->plan, pool, out);
		if (rc < 0)
			return rc;
		if (rc == 0) {
			rc = next_block(r);
			if (rc <= 0)
				return rc;
			continue;
		}
		memcpy((*out)->boot_id, r->head.boot_id, sizeof((*out)->boot_id));
		(*out)->run_id = r->head.run_id;
		if (r->sel.since_ns || r->sel.until_ns)
			rc = tf_seg_trim(out, &r->sel);
		if (rc < 0) {
			tf_seg_unread_epoch(&r->block);
			tf_batch_unref(*out);
			*out = NULL;
			return rc;
		}
		if (rc == 0)
			continue;
		r->s.epochs++;
		r->s.rows += (*out)->total;
		return 1;
	}
}

int tf_segment_reader_frame(struct tf_segment_reader *r, struct tf_frame_info *out)
{
	int rc = next_frame(r);
	if (rc <= 0)
		return rc;
	const struct tf_frame_head *h = &r->frame.h;
	*out = (struct tf_frame_info){
		.segment = r->head.number, .frame_no = h->frame_no, .bytes = tf_frame_len(h), .rows = h->rows, .n_epochs = h->n_epochs,
		.first_epoch = h->first_epoch, .last_epoch = h->last_epoch, .unix_min = h->unix_min, .unix_max = h->unix_max,
		.run_id = r->head.run_id,
	};
	memcpy(out->boot_id, r->head.boot_id, sizeof(out->boot_id));
	for (uint32_t i = 0; i < h->n_domains; i++) {
		const struct tf_frame_domain *d = &tf_frame_domains(h)[i];
		if (d->domain < TF_TYPE_MAX && r->plan[d->domain].known)
			out->domain_rows[d->domain] += d->rows;
		else
			r->s.unknown_rows += d->rows;
	}
	r->s.blocks++;
	r->s.epochs += h->n_epochs;
	r->s.rows += h->rows;
	return 1;
}

/* ---- open, select, close ---- */

/* All segments, or one. */
static int begin(struct tf_segment_reader *r, uint64_t only)
{
	int rc = tf_pack_open(1, &r->block.pack);
	if (!rc && !(r->area = malloc(TF_SEG_FIRST)))
		rc = -ENOMEM;
	if (!rc)
		rc = tf_seg_list(r->dir_fd, &r->numbers, &r->n);
	if (rc)
		return rc;
	while (only && r->next < r->n && r->numbers[r->next] < only)
		r->next++;
	if (r->next >= r->n || (only && r->numbers[r->next] != only))
		return -ENOENT;
	rc = open_segment(r);
	if (rc == 0 || (rc > 0 && only && r->head.number != only))
		rc = r->s.corrupt_blocks || r->s.foreign ? -EBADMSG : -ENOENT;
	return rc < 0 ? rc : 0;
}

static int open_reader(int dir_fd, uint64_t only, struct tf_segment_reader **out)
{
	struct tf_segment_reader *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->fd = -1;
	r->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	int rc = r->dir_fd < 0 ? -errno : begin(r, only);
	if (rc) {
		tf_segment_reader_close(r);
		return rc;
	}
	memcpy(r->boot_id, r->head.boot_id, sizeof(r->boot_id));
	r->run_id = r->head.run_id;
	*out = r;
	return 0;
}

int tf_segment_reader_open(int dir_fd, struct tf_segment_reader **out)
{
	return open_reader(dir_fd, 0, out);
}

int tf_segment_count(int dir_fd, uint64_t number, uint64_t *rows, int64_t *newest_ns)
{
	struct tf_segment_reader *r;
	int rc = open_reader(dir_fd, number, &r);
	*rows = 0;
	*newest_ns = INT64_MIN;
	if (rc)
		return rc == -ENOENT || rc == -EBADMSG ? 0 : rc;
	while (r->fd >= 0 && (rc = next_in_segment(r)) > 0) {
		const struct tf_frame_head *h = &r->frame.h;
		*rows += h->rows;
		if (h->unix_min <= h->unix_max && h->unix_max > *newest_ns)
			*newest_ns = h->unix_max;
	}
	tf_segment_reader_close(r);
	return rc;
}

void tf_segment_reader_select(struct tf_segment_reader *r, const struct tf_reader_select *s)
{
	r->sel = *s;
	if (r->sel.since_ns && !r->sel.until_ns)
		r->sel.until_ns = INT64_MAX;
}

void tf_segment_reader_ids(const struct tf_segment_reader *r, uint8_t boot_id[16], uint64_t *run_id)
{
	memcpy(boot_id, r->boot_id, sizeof(r->boot_id));
	*run_id = r->run_id;
}

void tf_segment_reader_stats(const struct tf_segment_reader *r, struct tf_reader_stats *out)
{
	*out = r->s;
}

void tf_segment_reader_close(struct tf_segment_reader *r)
{
	if (!r)
		return;
	close_segment(r);
	if (r->dir_fd >= 0)
		close(r->dir_fd);
	tf_pack_close(r->block.pack);
	free(r->block.raw);
	free(r->block.texts);
	free(r->payload);
	free(r->area);
	free(r->numbers);
	free(r);
}
