/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_paths: directories and files that the configuration names, put into the kernel's sets: by (device, inode), found by a BPF
 * program in our own descriptor, since stat(2) tells other device numbers on overlayfs and btrfs; and by text, for paths that only user
 * memory tells. */
#include "tf_object_impl.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* What is open there, or (name not 0) that name in it. */
static int add_dir(struct tf_object *o, uint32_t bits, const char *path, uint32_t name)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(o->parts[TF_PART_BASE], "tf_add_dir");
	uint64_t args[3] = {0, bits, name};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = args, .ctx_size_in = sizeof(args));
	int fd = open(path, O_PATH | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	args[0] = (uint64_t)fd;
	rc = bpf_prog_test_run_opts(bpf_program__fd(prog), &opts);
	close(fd);
	memcpy(o->kept.dir_bits, ((struct tf_settings *)o->mapped[TF_M_SETTINGS])->dir_bits, sizeof(o->kept.dir_bits));
	return rc ? rc : (int)opts.retval;
}

/* splitmix64's finalizer; partner: tf_mix, tf_bits_of_name in bpf/include. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static uint32_t name_hash(const char *name)
{
	uint64_t words[TF_NAME_HASHED / 8] = {0}, hash = 0;

	memcpy(words, name, strnlen(name, TF_NAME_HASHED - 1));
	for (size_t i = 0; i < TF_NAME_HASHED / 8; i++)
		hash = mix(hash ^ words[i]);
	return (uint32_t)hash | 1;
}

/* A sensitive path is its name too, in the directory that has it: whichever file is put there. No directory: nothing to add. */
static int add_name(struct tf_object *o, uint32_t bits, const char *path)
{
	char *folder = strdup(path), *slash;
	int rc = 0;

	if (!folder)
		return -ENOMEM;
	for (size_t n = strlen(folder); n > 1 && folder[n - 1] == '/'; n--)
		folder[n - 1] = 0;
	slash = strrchr(folder, '/');
	if (slash[1]) {
		*slash = 0;
		rc = add_dir(o, bits, *folder ? folder : "/", name_hash(slash + 1));
		rc = rc ? rc : add_dir(o, TF_S_BESIDE, *folder ? folder : "/", 0);
	}
	free(folder);
	return rc == -ENOENT ? 0 : rc;
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
	if (!rc && bits & TF_S_SENSITIVE)
		rc = add_name(o, TF_S_SENSITIVE, path);
	if (!rc && bits & TF_S_SENSITIVE && real && strcmp(real, path))
		rc = add_name(o, TF_S_SENSITIVE, real);
	free(real);
	return rc ? rc : add_dir(o, bits, path, 0);
}
