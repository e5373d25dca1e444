/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of tf_object share: opening with everything on, a reader of its own that keeps every record, children that act. */
#ifndef OBJECT_FIXTURE_H
#define OBJECT_FIXTURE_H

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring_fixture.h"
#include "tf_object.h"

#define NOT_PERMITTED 77

/* Records kept by the reader, each with its text after the row. */
static struct {
	union any_row *row;
	uint32_t *len;
	size_t n, cap;
} kept;

static inline void keep(const uint8_t *payload, uint32_t len)
{
	CHECK(len <= TF_RECORD_CAP);
	if (kept.n == kept.cap) {
		kept.cap = kept.cap ? kept.cap * 2 : 256;
		kept.row = realloc(kept.row, kept.cap * sizeof(*kept.row));
		kept.len = realloc(kept.len, kept.cap * sizeof(*kept.len));
		CHECK(kept.row && kept.len);
	}
	memcpy(&kept.row[kept.n], payload, len);
	kept.len[kept.n++] = len;
}

static inline void forget_records(void) { kept.n = 0; }

/* Walks one ring to its end, record by record, and gives each to `each`; returns how many. */
static inline uint64_t read_ring(struct tf_ring *r, struct tf_lane_state *lane, void (*each)(const uint8_t *, uint32_t))
{
	uint64_t n = 0, producer;

	lane->wake_pending = 0;
	producer = tf_load_acquire(r->producer_pos);
	while (r->read < producer) {
		const uint8_t *at = r->data + (r->read & (r->size - 1));
		uint32_t head = tf_load_acquire((const uint32_t *)at), len = head & ~(TF_RING_BUSY | TF_RING_DISCARD);

		if (head & TF_RING_BUSY)
			break;
		if (!(head & TF_RING_DISCARD)) {
			each(at + TF_RING_HEADER, len);
			n++;
		}
		r->read += (len + TF_RING_HEADER + 7) & ~7ull;
	}
	tf_ring_publish(r);
	lane->read_pos = r->read;
	return n;
}

static inline uint64_t read_all(struct tf_source *s, void (*each)(const uint8_t *, uint32_t))
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < s->nrings * TF_LANES; i++)
		n += read_ring(&s->rings[i], &s->lanes[i], each);
	return n;
}

/* The first record of this kind about this process, from index *at on; NULL = none. */
static inline const union any_row *find_record(unsigned kind, uint32_t pid, size_t *at)
{
	for (; *at < kept.n; (*at)++) {
		const struct tf_header *h = &kept.row[*at].h;

		if (h->type == tf_kind_table[kind].type && h->subtype == tf_kind_table[kind].subtype && h->pid == pid)
			return &kept.row[(*at)++];
	}
	return NULL;
}

static inline const union any_row *only_record(unsigned kind, uint32_t pid)
{
	size_t at = 0;
	const union any_row *first = find_record(kind, pid, &at);

	if (!first)
		printf("no record of kind %s about %u\n", tf_kind_table[kind].name, pid);
	CHECK(first && !find_record(kind, pid, &at));
	return first;
}

static inline bool text_is(const union any_row *row, uint32_t row_size, const struct tf_text *t, const void *want, size_t len)
{
	bool same = t->len == len && t->full_len == len && !memcmp(row->bytes + row_size + t->offset, want, len);

	if (!same)
		printf("text is %u of %u bytes: %.*s\n", t->len, t->full_len, (int)t->len, row->bytes + row_size + t->offset);
	return same;
}

static inline void log_line(void *ctx, int level, const char *text)
{
	(void)ctx;
	if (level > 10 || getenv("TF_TEST_VERBOSE"))
		printf("log %d: %s\n", level, text);
}

static inline struct tf_object_opts all_on(void)
{
	struct tf_object_opts o = {.log = log_line, .bulk_bytes = 8u << 20};
	struct stat st;

	memset(o.kind_mask, 0xff, sizeof(o.kind_mask));
	CHECK(!stat("/proc/self/ns/net", &st));
	o.netns = (uint32_t)st.st_ino;
	return o;
}

/* Opens, or ends the test with 77 and the reason where this machine does not permit it. */
static inline struct tf_object *open_object(const struct tf_object_opts *opts)
{
	struct tf_object *o;
	char msg[512];
	int rc = tf_object_open(opts, &o, msg, sizeof(msg));

	if (rc == -EPERM || rc == -ENOTSUP) {
		printf("skipped: %s\n", msg);
		exit(NOT_PERMITTED);
	}
	if (rc)
		printf("open: %d %s\n", rc, msg);
	CHECK(!rc);
	return o;
}

static inline void attach_object(struct tf_object *o)
{
	char msg[512];
	int rc = tf_object_attach(o, msg, sizeof(msg));

	if (rc)
		printf("attach: %d %s\n", rc, msg);
	CHECK(!rc);
}

/* A network of our own, with its loopback up: nobody else's traffic. */
static inline void own_network(void)
{
	struct ifreq lo = {.ifr_name = "lo"};
	int fd;

	if (unshare(CLONE_NEWNET)) {
		printf("skipped: unshare(CLONE_NEWNET): %s\n", strerror(errno));
		exit(NOT_PERMITTED);
	}
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(fd >= 0 && !ioctl(fd, SIOCGIFFLAGS, &lo));
	lo.ifr_flags |= IFF_UP;
	CHECK(!ioctl(fd, SIOCSIFFLAGS, &lo));
	close(fd);
}

static inline int wait_for(pid_t pid)
{
	int status = 0;

	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

/* Descriptors of ours; with `match`, those whose target says so. */
static inline int count_fds(const char *match)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	int n = 0;

	CHECK(dir);
	while ((e = readdir(dir))) {
		char target[128] = "";

		if (readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1) > 0 && (!match || strstr(target, match)))
			n++;
	}
	closedir(dir);
	return n;
}

#endif
