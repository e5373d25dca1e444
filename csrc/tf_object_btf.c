/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_btf: the part of the kernel's BTF that our objects name, as a file in memory. libbpf looks every type that a program reads
 * through all of the kernel's types (130,000, 0.5 ms a type and object): most of what opening took once the verifier was quick. Of types
 * that are only pointed to nothing is kept: a relocation ends at a pointer. */
#include "tf_object_impl.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 8192u /* of the set of names; our objects have some 600 */

struct names {
	struct { const char *at; size_t len; } slot[SLOTS];
	size_t n;
};

struct cut {
	const struct btf *from;
	struct btf *to;
	uint32_t *id;           /* by id in the kernel: 0 = left out, else 1, then the id in `to` */
	uint32_t *stack;        /* ids whose parts are still to be looked at */
	uint32_t n_stack, n;
};

/* Length without a flavour: "file" of "file___v618", as libbpf has it. */
static size_t plain_len(const char *name)
{
	const size_t n = strlen(name);

	for (size_t i = n < 5 ? 0 : n - 4; i-- > 0;)
		if (name[i] != '_' && !strncmp(name + i + 1, "___", 3) && name[i + 4] != '_')
			return i + 1;
	return n;
}

static uint32_t find_slot(const struct names *set, const char *name, size_t len)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 16777619u;
	for (h %= SLOTS; set->slot[h].at && (set->slot[h].len != len || memcmp(set->slot[h].at, name, len)); h = (h + 1) % SLOTS)
		;
	return h;
}

/* What a relocation can start from. */
static bool is_root(const struct btf_type *t)
{
	return btf_is_composite(t) || btf_is_any_enum(t) || btf_is_typedef(t) || btf_is_int(t);
}

static int add_names(struct names *set, const struct btf *btf)
{
	for (uint32_t i = 1; i < btf__type_cnt(btf); i++) {
		const struct btf_type *t = btf__type_by_id(btf, i);
		const char *name = btf__name_by_offset(btf, t->name_off);
		size_t len = plain_len(name);
		uint32_t at;

		if (!is_root(t) || !len)
			continue;
		at = find_slot(set, name, len);
		if (set->slot[at].at)
			continue;
		if (++set->n > SLOTS / 2)
			return -E2BIG;
		set->slot[at].at = name;
		set->slot[at].len = len;
	}
	return 0;
}

static void keep_type(struct cut *c, uint32_t id)
{
	if (id && id < c->n && !c->id[id]) {
		c->id[id] = 1;
		c->stack[c->n_stack++] = id;
	}
}

/* What a type consists of: all that an offset or a size in it depends on. */
static void keep_parts(struct cut *c, const struct btf_type *t)
{
	if (btf_is_mod(t) || btf_is_typedef(t)) {
		keep_type(c, t->type);
	} else if (btf_is_array(t)) {
		keep_type(c, btf_array(t)->type);
		keep_type(c, btf_array(t)->index_type);
	} else if (btf_is_composite(t)) {
		for (uint32_t i = 0; i < btf_vlen(t); i++)
			keep_type(c, btf_members(t)[i].type);
	}
}

static void choose_types(struct cut *c, const struct names *set)
{
	for (uint32_t i = 1; i < c->n; i++) {
		const struct btf_type *t = btf__type_by_id(c->from, i);
		const char *name;

		if (!is_root(t) || !t->name_off)
			continue;
		name = btf__name_by_offset(c->from, t->name_off);
		if (set->slot[find_slot(set, name, plain_len(name))].at)
			keep_type(c, i);
	}
	while (c->n_stack)
		keep_parts(c, btf__type_by_id(c->from, c->stack[--c->n_stack]));
}

static void rename_parts(const struct cut *c, struct btf_type *t)
{
	if (btf_is_ptr(t) || btf_is_mod(t) || btf_is_typedef(t)) {
		t->type = c->id[t->type];
	} else if (btf_is_array(t)) {
		btf_array(t)->type = c->id[btf_array(t)->type];
		btf_array(t)->index_type = c->id[btf_array(t)->index_type];
	} else if (btf_is_composite(t)) {
		for (uint32_t i = 0; i < btf_vlen(t); i++)
			btf_members(t)[i].type = c->id[btf_members(t)[i].type];
	}
}

static int copy_types(struct cut *c)
{
	for (uint32_t i = 1; i < c->n; i++) {
		int id = c->id[i] ? btf__add_type(c->to, c->from, btf__type_by_id(c->from, i)) : 0;

		if (id < 0)
			return id;
		c->id[i] = (uint32_t)id;
	}
	for (uint32_t i = 1; i < btf__type_cnt(c->to); i++)
		rename_parts(c, (struct btf_type *)(uintptr_t)btf__type_by_id(c->to, i));
	return 0;
}

static int write_file(const struct btf *btf)
{
	uint32_t size = 0;
	const void *data = btf__raw_data(btf, &size);
	int fd = data ? memfd_create("tf_core_btf", MFD_CLOEXEC) : -1;

	if (fd >= 0 && write(fd, data, size) != (ssize_t)size) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int cut_out(const struct btf *vmlinux, const struct names *set)
{
	struct cut c = {.from = vmlinux, .to = btf__new_empty(), .n = btf__type_cnt(vmlinux)};
	int fd = -1;

	c.id = calloc(c.n, sizeof(*c.id));
	c.stack = calloc(c.n, sizeof(*c.stack));
	if (c.to && c.id && c.stack) {
		choose_types(&c, set);
		if (!copy_types(&c))
			fd = write_file(c.to);
	}
	btf__free(c.to);
	free(c.id);
	free(c.stack);
	return fd;
}

/* A descriptor of the file, or -1: then libbpf searches the whole, which takes longer and finds the same. */
int tf_core_btf(struct tf_object *o, const struct btf *vmlinux)
{
	struct names *set = calloc(1, sizeof(*set));
	struct bpf_object *opened[TF_PARTS] = {0};
	int fd = -1, rc = set ? 0 : -ENOMEM;

	for (int part = TF_PART_BASE + 1; !rc && part < TF_PARTS; part++) {
		if (!tf_choose_of_part(o, (enum tf_part_id)part))
			continue;
		opened[part] = tf_part_types(o, (enum tf_part_id)part);
		rc = opened[part] ? add_names(set, bpf_object__btf(opened[part])) : -ENOENT;
	}
	if (!rc)
		fd = cut_out(vmlinux, set);
	for (int part = 0; part < TF_PARTS; part++)
		bpf_object__close(opened[part]);
	free(set);
	return fd;
}
