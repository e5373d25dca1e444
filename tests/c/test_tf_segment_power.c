/* SPDX-License-Identifier: Apache-2.0 */
/* Power loss: what a run of the writer asked of the disk is noted, and every state in which the disk may be afterwards is built and read.
 *
 * Promised is what a sync confirmed: before the last fdatasync of a file its bytes, before the last fsync of the directory its name. Of what
 * came later any sectors of 512 bytes may be there and others not, the size may be the old or the new one with zeros between, and a file
 * may not be there at all. Whatever the state: it opens, what was confirmed is there unchanged, and nothing is there that was never written. */
#include "store_fixture.h"

#include <sys/syscall.h>

#define SECTOR 512u
#define FILES_MAX 16
#define OPS_MAX 512
#define EXACT 9u             /* so many sectors in doubt are tried in all ways */
enum { EPOCHS = 14 };

enum kind { CREATE, WRITE, SYNC, SYNC_DIR, TRUNCATE, CONFIRM };
static struct op {
	enum kind kind;
	int file;
	uint64_t at, len;
	uint8_t *data;
} ops[OPS_MAX];
static int n_ops, n_files, fd_of[FILES_MAX], confirmed;
static char name_of[FILES_MAX][TF_SEG_NAME_LEN];
static bool noting, fail_sync;

static int file_of(int fd)
{
	for (int i = n_files - 1; i >= 0; i--)
		if (fd_of[i] == fd)
			return i;
	return -1;
}

static void note(enum kind kind, int file, uint64_t at, const void *data, uint64_t len)
{
	CHECK(n_ops < OPS_MAX);
	struct op *o = &ops[n_ops++];
	*o = (struct op){ kind, file, at, len, NULL };
	if (data) {
		o->data = malloc(len + 1);
		memcpy(o->data, data, len);
	}
}

/* These take the place of libc's in this program. */
int openat(int dir_fd, const char *name, int flags, ...)
{
	__builtin_va_list more;
	__builtin_va_start(more, flags);
	mode_t mode = flags & O_CREAT ? (mode_t)__builtin_va_arg(more, int) : 0;
	__builtin_va_end(more);
	int fd = (int)syscall(SYS_openat, dir_fd, name, flags, mode);
	uint64_t number;
	if (noting && fd >= 0 && flags & O_CREAT && tf_seg_parse_name(name, &number)) {
		CHECK(n_files < FILES_MAX);
		for (int i = 0; i < n_files; i++)
			if (fd_of[i] == fd)
				fd_of[i] = -1; /* closed since */
		snprintf(name_of[n_files], sizeof(name_of[0]), "%s", name);
		fd_of[n_files++] = fd;
		note(CREATE, n_files - 1, 0, NULL, 0);
	}
	return fd;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	ssize_t n = syscall(SYS_pwrite64, fd, data, len, at);
	if (noting && n > 0 && file_of(fd) >= 0)
		note(WRITE, file_of(fd), (uint64_t)at, data, (uint64_t)n);
	return n;
}

int fdatasync(int fd)
{
	if (noting && fail_sync) {
		fail_sync = false;
		errno = EIO;
		return -1;
	}
	if (noting && file_of(fd) >= 0)
		note(SYNC, file_of(fd), 0, NULL, 0);
	return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
	if (noting)
		note(file_of(fd) >= 0 ? SYNC : SYNC_DIR, file_of(fd), 0, NULL, 0);
	return (int)syscall(SYS_fsync, fd);
}

int ftruncate(int fd, off_t len)
{
	if (noting && file_of(fd) >= 0)
		note(TRUNCATE, file_of(fd), (uint64_t)len, NULL, 0);
	return (int)syscall(SYS_ftruncate, fd, len);
}

/* --- the run --- */

static struct tf_batch *epochs[EPOCHS];

static void run(int dir_fd, bool with_failure)
{
	struct tf_segment_writer *w;
	noting = true;
	n_ops = n_files = 0;
	w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 1, .segment_bytes = TF_SEG_FIRST + 9000, .sync_bytes = 1u << 20 });
	for (int i = 0; i < EPOCHS; i++) {
		CHECK(tf_segment_writer_append(w, epochs[i]) == 0);
		fail_sync = with_failure && i == 6; /* what no sync confirmed is written again, into a new segment */
		if (i % 3 == 0) {
			CHECK(tf_segment_writer_flush(w, true) == 0);
			note(CONFIRM, -1, (uint64_t)i + 1, NULL, 0);
		}
	}
	CHECK(tf_segment_writer_close(w) == 0);
	note(CONFIRM, -1, EPOCHS, NULL, 0);
	noting = false;
}

/* --- states --- */

struct file {
	uint8_t *bytes;
	uint64_t len, cap;
	bool named;                  /* for certain */
	bool made;
};
static struct file disk[FILES_MAX];

/* A sector of a write that no sync has confirmed. */
struct doubt {
	const struct op *op;
	uint64_t from, len;          /* bytes of the write */
};
static struct doubt doubts[4096];
static uint32_t n_doubts;

static void put(struct file *f, uint64_t at, const uint8_t *data, uint64_t len)
{
	if (!f->bytes || at + len > f->cap) {
		f->cap = 2 * (at + len) + SECTOR;
		f->bytes = realloc(f->bytes, f->cap);
		CHECK(f->bytes);
	}
	if (at > f->len)
		memset(f->bytes + f->len, 0, at - f->len);
	memcpy(f->bytes + at, data, len);
	f->len = at + len > f->len ? at + len : f->len;
}

static bool synced_later(const struct op *o, int end)
{
	for (const struct op *p = o + 1; p < ops + end; p++)
		if (p->kind == SYNC && p->file == o->file)
			return true;
	return false;
}

/* What is certain after the first `end` operations, and what is not. */
static void settle(int end)
{
	n_doubts = 0;
	confirmed = 0;
	for (int i = 0; i < FILES_MAX; i++)
		disk[i].len = disk[i].named = disk[i].made = 0;
	for (const struct op *o = ops; o < ops + end; o++) {
		if (o->kind == CREATE)
			disk[o->file].made = true;
		if (o->kind == SYNC_DIR)
			for (int i = 0; i < n_files; i++)
				disk[i].named |= disk[i].made;
		if (o->kind == CONFIRM)
			confirmed = (int)o->at;
		if (o->kind == TRUNCATE)
			disk[o->file].len = o->at < disk[o->file].len ? o->at : disk[o->file].len;
		if (o->kind != WRITE)
			continue;
		if (synced_later(o, end)) {
			put(&disk[o->file], o->at, o->data, o->len);
			continue;
		}
		for (uint64_t at = 0; at < o->len;) {
			uint64_t len = SECTOR - (o->at + at) % SECTOR;
			len = len < o->len - at ? len : o->len - at;
			CHECK(n_doubts < 4096);
			doubts[n_doubts++] = (struct doubt){ o, at, len };
			at += len;
		}
	}
}

static void put_file(int dir_fd, const char *name, const struct file *f)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0 && (uint64_t)write(fd, f->bytes, f->len) == f->len);
	close(fd);
}

static uint64_t states, lost_beyond;

static void read_state(int dir_fd)
{
	struct tf_segment_reader *r;
	struct tf_batch *b;
	bool seen[EPOCHS] = { false };
	int last = -1, rc = tf_segment_reader_open(dir_fd, &r);
	states++;
	if (rc) {
		CHECK((rc == -ENOENT || rc == -EBADMSG) && !confirmed);
		return;
	}
	while ((rc = tf_segment_reader_next(r, NULL, &b)) == 1) {
		int i = (int)b->epoch - 1;
		CHECK(i > last && i < EPOCHS && same_batch(b, epochs[i]));
		last = i;
		seen[i] = true;
		tf_batch_unref(b);
	}
	CHECK(rc == 0);
	tf_segment_reader_close(r);
	for (int i = 0; i < confirmed; i++)
		CHECK(seen[i]);
	for (int i = confirmed; i < last; i++)
		lost_beyond += !seen[i];
}

static bool in_doubt(int file)
{
	for (uint32_t k = 0; k < n_doubts; k++)
		if (doubts[k].op->file == file)
			return true;
	return !disk[file].named;
}

/* Files about which nothing is in doubt: the same in all states of this moment. */
static void build_certain(int dir_fd)
{
	empty_dir(dir_fd);
	for (int i = 0; i < n_files; i++)
		if (disk[i].made && !in_doubt(i))
			put_file(dir_fd, name_of[i], &disk[i]);
}

/* One state: bit i of `there` says that doubt i reached the disk; names and sizes in doubt as they come. */
static void build(int dir_fd, const uint64_t *there)
{
	for (int i = 0; i < n_files; i++) {
		struct file f = { 0 };
		if (!disk[i].made || !in_doubt(i))
			continue;
		unlinkat(dir_fd, name_of[i], 0);
		if (!disk[i].named && rng_below(2))
			continue;
		put(&f, 0, disk[i].bytes ? disk[i].bytes : (const uint8_t *)"", disk[i].len);
		for (uint32_t k = 0; k < n_doubts; k++) {
			const struct doubt *d = &doubts[k];
			if (d->op->file == i && there[k / 64] >> k % 64 & 1)
				put(&f, d->op->at + d->from, d->op->data + d->from, d->len);
			else if (d->op->file == i && rng_below(4) == 0 && d->op->at + d->from >= f.len) {
				uint8_t zeros[SECTOR] = { 0 }; /* the size came, the bytes did not */
				put(&f, d->op->at + d->from, zeros, d->len);
			}
		}
		put_file(dir_fd, name_of[i], &f);
		free(f.bytes);
	}
	read_state(dir_fd);
}

static void crash_after(int dir_fd, int end, uint32_t tries)
{
	uint64_t there[64];
	settle(end);
	build_certain(dir_fd);
	if (n_doubts <= EXACT) {
		for (uint32_t set = 0; set < 1u << n_doubts; set++) {
			there[0] = set;
			build(dir_fd, there);
		}
		return;
	}
	for (uint32_t t = 0; t < tries; t++) {
		/* none, all, a prefix, all but one, most, half, few */
		for (uint32_t i = 0; i < 64; i++)
			there[i] = t % 7 == 0 ? 0 : t % 7 == 1 || t % 7 == 2 || t % 7 == 3 ? UINT64_MAX : t % 7 == 4 ? rng() | rng() : t % 7 == 5 ? rng() : rng() & rng();
		if (t % 7 == 2)
			for (uint32_t k = rng_below(n_doubts); k < n_doubts; k++)
				there[k / 64] &= ~(1ull << k % 64);
		if (t % 7 == 3) {
			uint32_t k = rng_below(n_doubts);
			there[k / 64] &= ~(1ull << k % 64);
		}
		build(dir_fd, there);
	}
}

int main(void)
{
	char path[64];
	int dir_fd = scratch_dir(path);
	uint64_t wanted = scale(50) * 200000;
#ifdef __SANITIZE_ADDRESS__
	wanted /= 20;
#endif
	for (int i = 0; i < EPOCHS; i++)
		epochs[i] = random_batch((uint64_t)i + 1, 6);
	for (int failure = 0; failure < 2; failure++) {
		empty_dir(dir_fd);
		run(dir_fd, failure);
		CHECK(n_files >= 4); /* three rotations */
		uint64_t first = states;
		for (uint32_t tries = 14; states - first < wanted / 2; tries = (uint32_t)(wanted / 2 / (uint64_t)n_ops + 1))
			for (int end = 0; end <= n_ops && states - first < wanted / 2 + 2000; end++)
				crash_after(dir_fd, end, tries);
		for (int i = 0; i < n_ops; i++)
			free(ops[i].data);
	}
	CHECK(states >= wanted && lost_beyond > 0);
	printf("%llu states after %d operations on %d files: all open, nothing confirmed is lost\n", (unsigned long long)states, n_ops, n_files);
	for (int i = 0; i < FILES_MAX; i++)
		free(disk[i].bytes);
	for (int i = 0; i < EPOCHS; i++)
		tf_batch_unref(epochs[i]);
	drop_dir(dir_fd, path);
	return 0;
}
