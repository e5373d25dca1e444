/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_kernel_btf: the kernel's types, read once and indexed by name, for all parts. libbpf reads and checks them anew for every
 * object (130,000 types, 5 ms) and walks through all of them for every hook that a program names (0.3 ms). Only names that may be asked for
 * are in the index: another is searched by libbpf.
 *
 * The linker's --wrap puts these functions in the place of libbpf's, in our calls and in libbpf's own; whoever loads takes a reference,
 * whoever frees gives it back. A shared libbpf calls its own and is as slow as it is. */
#include "tf_object_specs.h"

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
	__u64 expected[1024];   /* bits, by the first two bytes of a function's name */
} kernel = {.lock = PTHREAD_MUTEX_INITIALIZER};

static __u32 hash(const char *name)
{
	__u32 h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h ^ h >> 15;
}

/* Whether functions that begin like this one are indexed: half of all names are functions, and few begin like one that we hook. */
static bool is_expected(const char *name)
{
	const __u32 bit = (__u32)(unsigned char)name[0] << 8 | (unsigned char)name[1];

	return kernel.expected[bit / 64] >> (bit % 64) & 1;
}

static void expect(const char *name)
{
	const __u32 bit = (__u32)(unsigned char)name[0] << 8 | (unsigned char)name[1];

	kernel.expected[bit / 64] |= 1ull << (bit % 64);
}

static void expect_hooks(void)
{
	expect("bpf_"); /* what stands for LSM hooks and iterators */
	for (size_t t = 0; tf_spec_tables[t]; t++)
		for (size_t i = 0; i < tf_spec_tables[t]->n; i++) {
			const char *at = strchr(tf_spec_tables[t]->at[i].hook, '/');

			if (at)
				expect(at + 1);
		}
}

/* Names that programs are hooked to, and structures: nothing else is looked up by name. */
static bool is_indexed(__u32 kind, const char *name)
{
	return kind == BTF_KIND_FUNC ? is_expected(name) : kind == BTF_KIND_TYPEDEF || kind == BTF_KIND_STRUCT;
}

static void make_index(void)
{
	const __u32 n = btf__type_cnt(kernel.btf);
	__u32 size = 1;

	while (size < 2 * n)
		size *= 2;
	kernel.mask = size - 1;
	kernel.slots = calloc(size, sizeof(*kernel.slots));
	expect_hooks();
	for (__u32 id = 1; kernel.slots && id < n; id++) {
		const struct btf_type *t = btf__type_by_id(kernel.btf, id);
		const char *name = t->name_off ? btf__name_by_offset(kernel.btf, t->name_off) : NULL;
		__u32 at;

		if (!name || !is_indexed(btf_kind(t), name))
			continue;
		for (at = hash(name) & kernel.mask; kernel.slots[at]; at = (at + 1) & kernel.mask)
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
	if (!btf || btf != kernel.btf || !kernel.slots || !name[0] || !is_indexed(kind, name))
		return __real_btf__find_by_name_kind(btf, name, kind);
	for (__u32 at = hash(name) & kernel.mask; kernel.slots[at]; at = (at + 1) & kernel.mask) {
		const struct btf_type *t = btf__type_by_id(btf, kernel.slots[at]);

		if (btf_kind(t) == kind && !strcmp(btf__name_by_offset(btf, t->name_off), name))
			return (__s32)kernel.slots[at];
	}
	errno = ENOENT;
	return -ENOENT;
}
