/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_yard: see the header. */
#include "tf_object_yard.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "libbpf.h"
#include "tf_blobs.h"
#include "tf_ring.h"

#define LINKS 4

struct tf_yard {
	struct bpf_object *object;
	struct bpf_link *links[LINKS];
	struct tf_ring ring;
};

static int load(struct tf_yard *y)
{
	const struct tf_blob *blob = tf_yard_blobs;
	struct bpf_map *map;
	int rc;

	while (blob->name && strcmp(blob->name, "yard"))
		blob++;
	if (!blob->name)
		return -ENOENT;
	y->object = bpf_object__open_mem(blob->data, blob->size, NULL);
	if (!y->object)
		return errno ? -errno : -EINVAL;
	rc = bpf_object__load(y->object);
	if (rc)
		return rc;
	map = bpf_object__find_map_by_name(y->object, "tf_yard_ring");
	return map ? tf_ring_open(&y->ring, bpf_map__fd(map), bpf_map__max_entries(map)) : -ENOENT;
}

int tf_yard_open(struct tf_yard **out)
{
	struct tf_yard *y = calloc(1, sizeof(*y));
	int rc;

	if (!y)
		return -ENOMEM;
	rc = load(y);
	if (rc) {
		tf_yard_close(y);
		return rc;
	}
	*out = y;
	return 0;
}

int tf_yard_attach(struct tf_yard *y, const char *program)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(y->object, program);

	if (!prog)
		return -ENOENT;
	for (int i = 0; i < LINKS; i++) {
		if (y->links[i])
			continue;
		y->links[i] = bpf_program__attach(prog);
		return y->links[i] ? 0 : errno ? -errno : -EINVAL;
	}
	return -ENOSPC;
}

void tf_yard_detach(struct tf_yard *y)
{
	for (int i = 0; i < LINKS; i++) {
		bpf_link__destroy(y->links[i]);
		y->links[i] = NULL;
	}
}

void tf_yard_reset(struct tf_yard *y)
{
	y->ring.read = tf_load_acquire(y->ring.producer_pos); /* partner: the release in reserve */
	tf_ring_publish(&y->ring);
}

uint64_t tf_yard_records(const struct tf_yard *y)
{
	return tf_load_acquire(y->ring.producer_pos); /* partner: the release in reserve */
}

void tf_yard_close(struct tf_yard *y)
{
	if (!y)
		return;
	tf_yard_detach(y);
	tf_ring_close(&y->ring);
	bpf_object__close(y->object);
	free(y);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t tf_yard_work(enum tf_yard_work work, const char *path, uint64_t n)
{
	uint64_t began = now_ns();

	for (uint64_t i = 0; i < n; i++) {
		int fd;

		switch (work) {
		case TF_Y_RENAME:
			prctl(PR_SET_NAME, i & 1 ? "tapio-yard-1" : "tapio-yard-0");
			break;
		case TF_Y_GETPPID:
			syscall(SYS_getppid);
			break;
		case TF_Y_OPEN:
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				return -errno;
			close(fd);
			break;
		}
	}
	return (int64_t)(now_ns() - began);
}
