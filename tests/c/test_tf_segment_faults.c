// SPDX-License-Identifier: Apache-2.0
/* Failing disks: every write, sync and truncate of a run fails once or for ever, by each cause. The books always balance, what is
 * counted written can be read once and unchanged, and the writer goes on when the fault is over. */
#include "store_fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum op { PWRITE, FDATASYNC, FSYNC, FTRUNCATE, OPS };
enum { EPOCHS = 12 };

static struct {
	enum op op;
	int at, error; /* the at-th call of op fails with error; error 0: a write is cut short, then fails */
	bool for_ever;
	int calls[OPS];
	bool on, again;
} fault;

static bool due(enum op op)
{
	if (!fault.on || op != fault.op)
		return false;
	fault.calls[op]++;
	return fault.calls[op] == fault.at || (fault.for_ever && fault.calls[op] > fault.at);
}

/* These take the place of libc's in this program. */
ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	if (fault.on && fault.again) {
		fault.again = false;
		errno = ENOSPC;
		return -1;
	}
	if (due(PWRITE)) {
		if (!fault.error && len > 1) {
			fault.again = true;
			return syscall(SYS_pwrite64, fd, data, len / 2, at);
		}
		errno = fault.error ? fault.error : ENOSPC;
		return -1;
	}
	return syscall(SYS_pwrite64, fd, data, len, at);
}

static int simple(enum op op, long number, int fd, long arg)
{
	if (due(op)) {
		errno = fault.error ? fault.error : EIO;
		return -1;
	}
	return (int)syscall(number, fd, arg);
}

int fdatasync(int fd)
{
	return simple(FDATASYNC, SYS_fdatasync, fd, 0);
}

int fsync(int fd)
{
	return simple(FSYNC, SYS_fsync, fd, 0);
}

int ftruncate(int fd, off_t len)
{
	return simple(FTRUNCATE, SYS_ftruncate, fd, len);
}

static struct tf_batch *epochs[EPOCHS];

/* Rows read back; every epoch at most once, unchanged. */
static uint64_t rows_in_store(int dir_fd, bool seen[EPOCHS])
{
	struct tf_segment_reader *r;
	struct tf_batch *b;
	uint64_t rows = 0;
	memset(seen, 0, EPOCHS);
	if (tf_segment_reader_open(dir_fd, &r))
		return 0;
	while (tf_segment_reader_next(r, NULL, &b) == 1) {
		int i = (int)b->epoch - 1;
		CHECK(i >= 0 && i < EPOCHS && !seen[i] && same_batch(b, epochs[i]));
		seen[i] = true;
		rows += b->total;
		tf_batch_unref(b);
	}
	tf_segment_reader_close(r);
	return rows;
}

/* One run with the fault armed; false when it never struck. */
static bool run(int dir_fd)
{
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 1, .segment_bytes = TF_SEG_FIRST + 6000,
										 .sync_bytes = 3000 });
	struct tf_writer_stats s;
	bool seen[EPOCHS];
	uint64_t total = 0;
	memset(fault.calls, 0, sizeof(fault.calls));
	fault.again = false;
	fault.on = true;
	for (int i = 0; i < EPOCHS; i++) {
		total += epochs[i]->total;
		tf_segment_writer_append(w, epochs[i]);
		tf_segment_writer_flush(w, i % 5 == 4); /* forgets the pause after a failure */
		s = written(w);
		CHECK(s.rows + s.buffered_rows + s.lost_io + s.lost_enospc + s.lost_memory == total);
	}
	tf_segment_writer_flush(w, true);
	s = written(w);
	CHECK(s.rows + s.lost_io + s.lost_enospc == total && s.buffered_rows == 0);
	int struck = fault.calls[fault.op] >= fault.at;
	CHECK(struck || s.rows == total);
	CHECK(!struck || s.rows == total || s.last_errno);
	fault.on = false;
	/* a truncate that failed too may leave rows in the file that were given up: seen, though counted lost */
	uint64_t found = rows_in_store(dir_fd, seen);
	CHECK(found == s.rows);
	tf_segment_writer_close(w);
	if ((fault.op == FDATASYNC || fault.op == FSYNC) && fault.error == EIO && !fault.for_ever)
		CHECK(s.rows == total && s.sync_failures <= 1); /* written again: nothing is lost */
	if (!fault.for_ever)
		CHECK(EPOCHS - s.epochs <= 1); /* at most the block that was hit */
	empty_dir(dir_fd);
	return struck;
}

static void test_every_failing_call_is_survived_and_counted(int dir_fd)
{
	static const int errors[OPS][5] = { [PWRITE] = { ENOSPC, EDQUOT, EFBIG, EIO, 0 }, [FDATASYNC] = { EIO, ENOSPC }, [FSYNC] = { EIO },
					    [FTRUNCATE] = { EIO } };
	for (int op = 0; op < OPS; op++)
		for (int e = 0; e < 5 && (e == 0 || errors[op][e] || op == PWRITE); e++)
			for (int for_ever = 0; for_ever < 2; for_ever++)
				for (int at = 1;; at++) {
					fault.op = (enum op)op, fault.at = at, fault.error = errors[op][e], fault.for_ever = for_ever;
					if (!run(dir_fd)) {
						CHECK(at > 2 || op == FTRUNCATE); /* the loop did reach the calls */
						break;
					}
				}
}

/* A write fails and so does the truncate behind it: the garbage is passed over. */
static void test_a_failed_truncate_leaves_a_tail_that_is_passed_over(int dir_fd)
{
	bool seen[EPOCHS];
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 1 });
	CHECK(tf_segment_writer_append(w, epochs[0]) == 0);
	memset(fault.calls, 0, sizeof(fault.calls));
	fault.op = FTRUNCATE, fault.at = 1, fault.error = EIO, fault.for_ever = true, fault.on = true;
	fault.again = true; /* the next write fails with ENOSPC */
	CHECK(tf_segment_writer_append(w, epochs[1]) == -ENOSPC);
	fault.on = false;
	CHECK(tf_segment_writer_append(w, epochs[2]) == -ENOSPC); /* the pause after a failure */
	CHECK(tf_segment_writer_flush(w, true) == 0);
	CHECK(tf_segment_writer_append(w, epochs[3]) == 0);
	struct tf_writer_stats s = written(w);
	CHECK(s.lost_enospc == epochs[1]->total + epochs[2]->total && s.rows == epochs[0]->total + epochs[3]->total);
	CHECK(rows_in_store(dir_fd, seen) == s.rows && seen[0] && seen[3]);
	tf_segment_writer_close(w);
	empty_dir(dir_fd);
}

static void test_a_file_that_may_not_grow_is_followed_by_another(int dir_fd)
{
	struct rlimit old, small;
	bool seen[EPOCHS];
	uint64_t total = 0;
	signal(SIGXFSZ, SIG_IGN);
	CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
	small = old;
	small.rlim_cur = TF_SEG_FIRST + 4000;
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 1 });
	CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
	for (int i = 0; i < EPOCHS; i++) {
		CHECK(tf_segment_writer_append(w, epochs[i]) == 0);
		total += epochs[i]->total;
	}
	CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
	CHECK(written(w).segments > 1 && written(w).rows == total);
	CHECK(rows_in_store(dir_fd, seen) == total);
	tf_segment_writer_close(w);
	empty_dir(dir_fd);
}

/* In a process and mount namespace of its own. */
static int fill_a_small_disk(const char *path)
{
	bool seen[EPOCHS];
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("tf", path, "tmpfs", 0, "size=128k"))
		return 77;
	int dir_fd = open(path, O_RDONLY | O_DIRECTORY);
	struct tf_segment_writer *w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 1 });
	uint64_t appended = 0, tried = 0;
	while (!written(w).lost_enospc && tried++ < 100000) {
		struct tf_batch *b = random_batch(100000 + tried, 30);
		tf_segment_writer_append(w, b);
		appended += b->total;
		tf_batch_unref(b);
	}
	struct tf_writer_stats s = written(w);
	CHECK(s.lost_enospc > 0 && s.rows > 0 && s.rows + s.lost_enospc == appended);
	tf_segment_writer_close(w);
	unlinkat(dir_fd, "segment-0000000001.tfseg", 0);
	w = writer_at(dir_fd, (struct tf_writer_opts){ .block_rows = 1 });
	CHECK(tf_segment_writer_append(w, epochs[0]) == 0);
	CHECK(tf_segment_writer_close(w) == 0);
	CHECK(rows_in_store(dir_fd, seen) == epochs[0]->total);
	return 0;
}

static void test_a_full_disk_is_counted_and_recovers(const char *path)
{
	fflush(stdout);
	pid_t child = fork();
	if (!child)
		_exit(fill_a_small_disk(path));
	int status;
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		puts("no right to mount a small disk: the full disk was only simulated");
	else
		CHECK(WEXITSTATUS(status) == 0);
}

int main(void)
{
	char path[64];
	int dir_fd = scratch_dir(path);
	for (int i = 0; i < EPOCHS; i++) {
		do {
			tf_batch_unref(epochs[i]);
			epochs[i] = random_batch((uint64_t)i + 1, 6);
		} while (!epochs[i]->total);
	}
	test_every_failing_call_is_survived_and_counted(dir_fd);
	test_a_failed_truncate_leaves_a_tail_that_is_passed_over(dir_fd);
	test_a_file_that_may_not_grow_is_followed_by_another(dir_fd);
	test_a_full_disk_is_counted_and_recovers(path);
	for (int i = 0; i < EPOCHS; i++)
		tf_batch_unref(epochs[i]);
	drop_dir(dir_fd, path);
	return 0;
}
