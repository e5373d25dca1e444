/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_paths: directories and files that the configuration names, put into the kernel's sets: by (device, inode), found by a BPF program
 * in our own descriptor, since stat(2) tells other device numbers on overlayfs and btrfs; and by text, for paths that only user memory tells. */
#include "tf_object_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int add_dir(struct tf_object *o, uint32_t bits, const char *path)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(o->parts[TF_PART_BASE], "tf_add_dir");
	uint64_t args[2] = {0, bits};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = args, .ctx_size_in = sizeof(args));
	int fd = open(path, O_PATH | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	args[0] = (uint64_t)fd;
	rc = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);
	close(fd);
	return rc ? rc : (int)opts.retval;
}

#define FILE_SETS (TF_S_MONITOR | TF_S_EXCLUDE)

/* "/a/" and "/a\0": the directory and what lies below, but not "/ab". A lookup finds the longest prefix only, so a path takes over what its
 * nearest ancestor stands for, where it does not say otherwise itself. */
static int add_prefix(struct tf_object *o, uint32_t bits, const char *path)
{
	const size_t len = strlen(path) - (path[strlen(path) - 1] == '/');
	static const char ends[2] = {'/', 0};
	int rc = 0;

	if (len + 1 > TF_PREFIX_LEN)
		return -ENAMETOOLONG;
	for (int i = 0; !rc && i < 2; i++) {
		struct tf_prefix_key key = {.bits = (uint32_t)(len + 1) * 8};
		uint32_t all = bits, old;

		memcpy(key.text, path, len);
		key.text[len] = ends[i];
		if (!bpf_map_lookup_elem(o->map_fd[TF_M_PREFIXES], &key, &old))
			all |= bits & FILE_SETS ? old & ~FILE_SETS : old;
		rc = bpf_map_update_elem(o->map_fd[TF_M_PREFIXES], &key, &all, BPF_ANY);
	}
	return rc;
}

int tf_object_set_paths(struct tf_object *o, uint32_t bits, const char *path)
{
	char *real;
	int rc;

	if (path[0] != '/')
		return -EINVAL;
	rc = add_prefix(o, bits, path);
	real = rc ? NULL : realpath(path, NULL);
	if (real && strcmp(real, path))
		rc = add_prefix(o, bits, real);
	free(real);
	return rc ? rc : add_dir(o, bits, path);
}
