/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_kernel_btf: the kernel's types, read once and indexed by name, for all parts. libbpf reads and checks them anew for every
 * object (130,000 types, 5 ms) and walks through all of them for every hook that a program names (0.3 ms).
 *
 * The linker's --wrap puts these functions in the place of libbpf's, in our calls and in libbpf's own; whoever loads takes a reference,
 * whoever frees gives it back. A shared libbpf calls its own and is as slow as it is. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "btf.h"

struct btf *__real_btf__load_vmlinux_btf(void);
void __real_btf__free(struct btf *btf);
__s32 __real_btf__find_by_name_kind(const struct btf *btf, const char *name, __u32 kind);
struct btf *__wrap_btf__load_vmlinux_btf(void);
void __wrap_btf__free(struct btf *btf);
__s32 __wrap_btf__find_by_name_kind(const struct btf *btf, const char *name, __u32 kind);

static struct {
	pthread_mutex_t lock;
	struct btf *btf;
	unsigned int refs;
	__u32 *slots;           /* ids by hash of their names, in the order of ids where names are the same; NULL = no memory for it */
	__u32 mask;
} kernel = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __u32 hash(const char *name)
{
	__u32 h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h ^ h >> 15;
}

static void make_index(void)
{
	const __u32 n = btf__type_cnt(kernel.btf);
	__u32 size = 1;

	while (size < 2 * n)
		size *= 2;
	kernel.mask = size - 1;
	kernel.slots = calloc(size, sizeof(*kernel.slots));
	for (__u32 id = 1; kernel.slots && id < n; id++) {
		const struct btf_type *t = btf__type_by_id(kernel.btf, id);
		__u32 at;

		if (!t->name_off)
			continue;
		for (at = hash(btf__name_by_offset(kernel.btf, t->name_off)) & kernel.mask; kernel.slots[at]; at = (at + 1) & kernel.mask)
			;
		kernel.slots[at] = id;
	}
}

struct btf *__wrap_btf__load_vmlinux_btf(void)
{
	struct btf *btf;

	pthread_mutex_lock(&kernel.lock);
	if (!kernel.btf) {
		kernel.btf = __real_btf__load_vmlinux_btf();
		if (kernel.btf)
			make_index();
	}
	btf = kernel.btf;
	kernel.refs += btf != NULL;
	pthread_mutex_unlock(&kernel.lock);
	return btf;
}

void __wrap_btf__free(struct btf *btf)
{
	bool last = true;

	pthread_mutex_lock(&kernel.lock);
	if (btf && btf == kernel.btf) {
		last = !--kernel.refs;
		if (last) {
			free(kernel.slots);
			kernel.slots = NULL;
			kernel.btf = NULL;
		}
	}
	pthread_mutex_unlock(&kernel.lock);
	if (last)
		__real_btf__free(btf);
}

/* Who asks holds a reference, so that what is read here stays. */
__s32 __wrap_btf__find_by_name_kind(const struct btf *btf, const char *name, __u32 kind)
{
	if (!btf || btf != kernel.btf || !kernel.slots || kind == BTF_KIND_UNKN || !strcmp(name, "void"))
		return __real_btf__find_by_name_kind(btf, name, kind);
	for (__u32 at = hash(name) & kernel.mask; kernel.slots[at]; at = (at + 1) & kernel.mask) {
		const struct btf_type *t = btf__type_by_id(btf, kernel.slots[at]);

		if (btf_kind(t) == kind && !strcmp(btf__name_by_offset(btf, t->name_off), name))
			return (__s32)kernel.slots[at];
	}
	errno = ENOENT;
	return -ENOENT;
}
