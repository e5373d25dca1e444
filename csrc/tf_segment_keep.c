// SPDX-License-Identifier: Apache-2.0
/* tf_segment_keep: which segments go when there are too many, and what is remembered of them.
 *
 * Segments go whole, oldest first, so that one line says what is missing: everything up to a segment and a time. That line is on disk
 * before a file goes. A reader that has a segment open keeps it; one that comes too late passes on to the next. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tf_segment_impl.h"

#define NAME "REMOVED"
#define NAME_NEW "REMOVED.new"
#define MAGIC "\x89TFGONE\n"

struct note {
	char magic[8];
	struct tf_removed r;
	uint32_t crc, _pad0;         /* CRC32C of what is before it */
};
_Static_assert(sizeof(struct note) == 56, "store files depend on it");

int tf_segment_removed(int dir_fd, struct tf_removed *out)
{
	struct note n;
	memset(out, 0, sizeof(*out));
	int fd = openat(dir_fd, NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	ssize_t got = pread(fd, &n, sizeof(n), 0);
	int rc = got < 0 ? -errno : 0;
	close(fd);
	if (rc)
		return rc;
	if (got != sizeof(n) || memcmp(n.magic, MAGIC, 8) != 0 || n.crc != tf_crc32c(0, &n, offsetof(struct note, crc)))
		return -EBADMSG;
	*out = n.r;
	return 0;
}

/* All or nothing, and on disk when it returns. */
static int remember(int dir_fd, const struct tf_removed *r)
{
	struct note n = { .r = *r };
	memcpy(n.magic, MAGIC, 8);
	n.crc = tf_crc32c(0, &n, offsetof(struct note, crc));
	unlinkat(dir_fd, NAME_NEW, 0);
	int fd = openat(dir_fd, NAME_NEW, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int rc = tf_seg_give(dir_fd, fd);
	ssize_t put = rc ? 0 : pwrite(fd, &n, sizeof(n), 0);
	if (!rc && put != (ssize_t)sizeof(n))
		rc = put < 0 ? -errno : -ENOSPC;
	if (!rc && fdatasync(fd))
		rc = -errno;
	close(fd);
	if (!rc && renameat(dir_fd, NAME_NEW, dir_fd, NAME))
		rc = -errno;
	if (!rc && fsync(dir_fd))
		rc = -errno;
	if (rc)
		unlinkat(dir_fd, NAME_NEW, 0);
	return rc;
}

struct held {
	uint64_t number, bytes;
	int64_t changed_ns;          /* ns, Unix time: nothing in it is newer */
};

static bool look_at(int dir_fd, uint64_t number, struct held *h)
{
	char name[TF_SEG_NAME_LEN];
	struct stat st;
	tf_seg_name(number, name);
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
		return false;       /* gone, or none of ours: never counted, never removed */
	*h = (struct held){ number, (uint64_t)st.st_size, st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec };
	return true;
}

/* Bytes that are free to whoever writes here; UINT64_MAX where that cannot be told. */
static uint64_t free_bytes(int dir_fd)
{
	struct statvfs v;
	return fstatvfs(dir_fd, &v) ? UINT64_MAX : (uint64_t)v.f_bavail * v.f_frsize;
}

static bool too_old(const struct tf_keep *k, const struct held *h, int64_t now_ns)
{
	return k->age_ns && h->changed_ns < now_ns && (uint64_t)(now_ns - h->changed_ns) > k->age_ns;
}

static int remove_one(int dir_fd, const struct held *h, struct tf_removed *total, uint64_t *rows)
{
	char name[TF_SEG_NAME_LEN];
	struct tf_removed with = *total;
	int64_t newest;
	int rc = tf_segment_count(dir_fd, h->number, rows, &newest);
	if (rc)
		return rc;
	/* Counted once: after a crash between the two steps the file is still there, and in the line already. */
	if (h->number > total->number) {
		with.number = h->number;
		with.segments++;
		with.rows += *rows;
		with.bytes += h->bytes;
		with.until_ns = newest >= with.until_ns ? newest + 1 : with.until_ns;
		rc = remember(dir_fd, &with);
		if (rc)
			return rc;
		*total = with;
	}
	tf_seg_name(h->number, name);
	return unlinkat(dir_fd, name, 0) && errno != ENOENT ? -errno : 0;
}

static int go_through(int dir_fd, const struct tf_keep *k, const uint64_t *list, size_t n, int64_t now_ns, struct tf_removed *total,
		      struct tf_removed *run)
{
	uint64_t bytes = 0, free_now = k->free_bytes ? free_bytes(dir_fd) : UINT64_MAX;
	struct held h;
	for (size_t i = 0; i < n; i++)
		bytes += look_at(dir_fd, list[i], &h) ? h.bytes : 0;
	for (size_t i = 0; i < n && list[i] < k->spare; i++) {
		uint64_t rows;
		int64_t newest;
		if (!look_at(dir_fd, list[i], &h))
			continue;
		if (!too_old(k, &h, now_ns) && !(k->bytes && bytes > k->bytes) && free_now >= k->free_bytes)
			break;
		int rc = k->look_only ? tf_segment_count(dir_fd, h.number, &rows, &newest) : remove_one(dir_fd, &h, total, &rows);
		if (rc)
			return rc;
		run->segments++;
		run->rows += rows;
		run->bytes += h.bytes;
		run->number = h.number;
		run->until_ns = k->look_only ? (newest >= run->until_ns ? newest + 1 : run->until_ns) : total->until_ns;
		bytes -= h.bytes;
		/* asked again: what is freed need not be what the file had, and others write too */
		if (k->free_bytes)
			free_now = k->look_only ? free_now + h.bytes : free_bytes(dir_fd);
	}
	return 0;
}

int tf_segment_keep(int dir_fd, const struct tf_keep *k, int64_t now_ns, struct tf_removed *run)
{
	struct tf_removed total;
	uint64_t *list;
	size_t n;
	memset(run, 0, sizeof(*run));
	int rc = tf_segment_removed(dir_fd, &total);
	if (rc && rc != -EBADMSG) /* a line that cannot be read is begun anew */
		return rc;
	rc = tf_seg_list(dir_fd, &list, &n);
	if (rc)
		return rc;
	rc = go_through(dir_fd, k, list, n, now_ns, &total, run);
	free(list);
	return rc;
}
