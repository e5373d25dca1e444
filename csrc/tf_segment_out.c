// SPDX-License-Identifier: Apache-2.0
/* tf_segment_out: the file side of the writer: make, write, sync, rotate, and what to do when one of them fails.
 *
 * Only write calls, never a mapping: a kill at any instruction then leaves a prefix of one write, which the reader knows as a torn tail.
 * A failed fsync is final for its descriptor: the kernel has dropped the dirty pages and a second fsync proves nothing. So the frames
 * since the last good sync are kept in memory, and are written again into a new segment that names the place where the old one ends. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tf_segment_impl.h"

#define NAME_TRIES 1000

int tf_seg_give(int dir_fd, int fd)
{
	struct stat st;
	if (geteuid() != 0)
		return 0;
	if (fstat(dir_fd, &st))
		return -errno;
	return st.st_uid == 0 || fchown(fd, st.st_uid, st.st_gid) == 0 ? 0 : -errno;
}

uint8_t *tf_seg_out_room(struct tf_seg_out *o, size_t size)
{
	size_t need = o->keep_len + size;
	if (need > o->keep_cap) {
		size_t cap = o->keep_cap ? o->keep_cap : 1u << 20;
		while (cap < need)
			cap += cap / 2;
		uint8_t *more = realloc(o->keep, cap);
		if (!more)
			return NULL;
		o->keep = more;
		o->keep_cap = cap;
	}
	return o->keep + o->keep_len;
}

static int write_all(int fd, const uint8_t *data, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENOSPC;
		data += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int fill(struct tf_seg_out *o, const struct tf_seg_head *head)
{
	uint8_t *area = malloc(TF_SEG_FIRST);
	if (!area)
		return -ENOMEM;
	int rc = tf_seg_build(head, area);
	if (!rc)
		rc = tf_seg_give(o->dir_fd, o->fd);
	if (!rc)
		rc = write_all(o->fd, area, TF_SEG_FIRST, 0);
	/* The directory too, or the file may be gone after a power loss, with everything that was synced into it. */
	if (!rc && (fdatasync(o->fd) || fsync(o->dir_fd)))
		rc = -errno;
	free(area);
	return rc;
}

static int make_file(struct tf_seg_out *o, char name[TF_SEG_NAME_LEN])
{
	for (int i = 0; i < NAME_TRIES; i++) {
		if (o->number >= UINT32_MAX)
			return -EOVERFLOW;
		tf_seg_name(++o->number, name);
		o->fd = openat(o->dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (o->fd >= 0)
			return 0;
		if (errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

static int create_once(struct tf_seg_out *o, uint64_t resumes_number, uint64_t resumes_at)
{
	char name[TF_SEG_NAME_LEN];
	struct timespec now;
	struct tf_seg_head head = { .run_id = o->run_id, .resumes_number = resumes_number, .resumes_at = resumes_at };
	if (getrandom(o->nonce, sizeof(o->nonce), 0) != (ssize_t)sizeof(o->nonce))
		return -EAGAIN;
	int rc = make_file(o, name);
	if (rc)
		return rc;
	clock_gettime(CLOCK_REALTIME, &now);
	head.created_ns = now.tv_sec * 1000000000ll + now.tv_nsec;
	head.number = o->number;
	memcpy(head.boot_id, o->boot_id, sizeof(head.boot_id));
	memcpy(head.nonce, o->nonce, sizeof(head.nonce));
	rc = fill(o, &head);
	if (rc) {
		unlinkat(o->dir_fd, name, 0);
		close(o->fd);
		o->fd = -1;
		o->number--; /* the name is free again */
		return rc;
	}
	tf_seg_marker(o->nonce, o->marker);
	o->off = o->synced = TF_SEG_FIRST;
	o->frame_no = o->rows_before = 0;
	o->segments++;
	o->bytes += TF_SEG_FIRST;
	return 0;
}

/* A new file is worth a second try where a failed sync ended the first: nothing depends on its descriptor yet. */
static int create(struct tf_seg_out *o, uint64_t resumes_number, uint64_t resumes_at)
{
	int rc = create_once(o, resumes_number, resumes_at);
	return rc == -EIO ? create_once(o, resumes_number, resumes_at) : rc;
}

static void forget_kept(struct tf_seg_out *o)
{
	o->keep_len = 0;
	o->keep_rows = o->keep_frames = 0;
}

/* New keys for the kept frames: the old ones belong to the old segment. */
static void reseal_kept(struct tf_seg_out *o)
{
	for (size_t at = 0; at < o->keep_len;) {
		struct tf_frame_head h;
		memcpy(&h, o->keep + at, sizeof(h));
		tf_frame_seal(o->keep + at, o->nonce, o->marker, o->frame_no++, o->rows_before);
		o->rows_before += h.rows;
		at += tf_frame_len(&h);
	}
}

static int rewrite_kept(struct tf_seg_out *o, uint64_t resumes_number, uint64_t resumes_at)
{
	int rc = create(o, resumes_number, resumes_at);
	if (rc)
		return rc;
	reseal_kept(o);
	rc = write_all(o->fd, o->keep, o->keep_len, o->off);
	if (!rc && fdatasync(o->fd))
		rc = -errno;
	if (!rc) {
		o->off = o->synced = o->off + o->keep_len;
		o->bytes += o->keep_len;
		return 0;
	}
	(void)!ftruncate(o->fd, TF_SEG_FIRST);
	close(o->fd);
	o->fd = -1;
	return rc;
}

/* The descriptor cannot be trusted any more: what it has not confirmed goes into a new segment, or is given up. */
static int abandon(struct tf_seg_out *o)
{
	uint64_t number = o->number, at = o->synced;
	int rc = 0;
	(void)!ftruncate(o->fd, (off_t)at); /* may fail as well: the new segment's header says where this one ends */
	close(o->fd);
	o->fd = -1;
	if (o->keep_len)
		rc = rewrite_kept(o, number, at);
	if (rc) {
		o->lost_rows += o->keep_rows;
		o->lost_frames += o->keep_frames;
	}
	forget_kept(o);
	return rc;
}

int tf_seg_out_sync(struct tf_seg_out *o)
{
	if (o->fd < 0 || o->off == o->synced)
		return 0;
	if (fdatasync(o->fd)) {
		o->sync_failures++;
		return abandon(o);
	}
	o->synced = o->off;
	forget_kept(o);
	return 0;
}

int tf_seg_out_close(struct tf_seg_out *o)
{
	int rc = tf_seg_out_sync(o);
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
	return rc;
}

/* Writes the frame at `frame`, or leaves the file as it was. */
static int write_frame(struct tf_seg_out *o, uint8_t *frame, size_t len)
{
	int rc = o->fd < 0 ? create(o, 0, 0) : 0;
	if (rc)
		return rc;
	tf_frame_seal(frame, o->nonce, o->marker, o->frame_no, o->rows_before);
	rc = write_all(o->fd, frame, len, o->off);
	if (!rc)
		return 0;
	bool full = rc == -ENOSPC || rc == -EDQUOT || rc == -EFBIG;
	if (ftruncate(o->fd, (off_t)o->off) || !full)
		abandon(o); /* its outcome is in lost_rows */
	return rc;
}

int tf_seg_out_put(struct tf_seg_out *o, size_t len, uint64_t rows, const uint8_t boot_id[16], uint64_t run_id)
{
	uint8_t *frame = o->keep + o->keep_len;
	bool other_run = run_id != o->run_id || memcmp(boot_id, o->boot_id, 16) != 0;
	if (o->fd >= 0 && (other_run || (o->off > TF_SEG_FIRST && o->off + len > o->segment_bytes)))
		tf_seg_out_close(o);
	if (other_run) {
		memcpy(o->boot_id, boot_id, 16);
		o->run_id = run_id;
	}
	int rc = write_frame(o, frame, len);
	if (rc == -EFBIG && o->off > TF_SEG_FIRST) {
		tf_seg_out_close(o); /* this file may not grow, a new one may */
		rc = write_frame(o, frame, len);
	}
	if (rc)
		return rc;
	memmove(o->keep + o->keep_len, frame, len); /* after a rotation nothing is kept before it */
	o->keep_len += len;
	o->keep_rows += rows;
	o->keep_frames++;
	o->off += len;
	o->bytes += len;
	o->frame_no++;
	o->rows_before += rows;
	return 0;
}
