/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_btf: the part of the kernel's BTF that our objects name, as a file in memory. libbpf looks every type that a program reads
 * through all of the kernel's types (130,000, 0.5 ms a type and object): most of what opening took once the verifier was quick. Of types
 * that are only pointed to nothing is kept (a relocation ends at a pointer), and of structures the members that our objects have a name for. */
#include "tf_object_impl.h"

#include <elf.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 8192u /* of a set of names; our objects have some 600 types and 1,000 members */

struct names {
	struct { const char *at; size_t len; } slot[SLOTS];
	size_t n;
};

/* Bytes that grow; NULL once memory ran out. */
struct bytes {
	uint8_t *at;
	size_t len, room;
};

struct cut {
	struct names types, members;
	const struct btf *from;
	uint32_t *id;           /* by id in the kernel: 0 = left out, else 1, then the id in the part */
	uint32_t *kept;         /* ids in the kernel, in the order found: their parts are looked at in turn */
	uint32_t n_kept, n;
	struct bytes part, strings;
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

static int add_name(struct names *set, const char *name, size_t len)
{
	const uint32_t at = find_slot(set, name, len);

	if (!len || set->slot[at].at)
		return 0;
	if (++set->n > SLOTS / 2)
		return -E2BIG;
	set->slot[at].at = name;
	set->slot[at].len = len;
	return 0;
}

/* What a relocation can start from. */
static bool is_root(const struct btf_type *t)
{
	return btf_is_composite(t) || btf_is_any_enum(t) || btf_is_typedef(t) || btf_is_int(t);
}

static int add_names(struct cut *c, const struct btf *btf)
{
	for (uint32_t i = 1; i < btf__type_cnt(btf); i++) {
		const struct btf_type *t = btf__type_by_id(btf, i);
		const char *name = btf__name_by_offset(btf, t->name_off);
		int rc = is_root(t) ? add_name(&c->types, name, plain_len(name)) : 0;

		for (uint32_t k = 0; !rc && btf_is_composite(t) && k < btf_vlen(t); k++) {
			name = btf__name_by_offset(btf, btf_members(t)[k].name_off);
			rc = add_name(&c->members, name, strlen(name));
		}
		if (rc)
			return rc;
	}
	return 0;
}

static void keep_type(struct cut *c, uint32_t id)
{
	if (id && id < c->n && !c->id[id]) {
		c->id[id] = 1;
		c->kept[c->n_kept++] = id;
	}
}

/* One without a name is looked into. */
static bool keeps_member(const struct cut *c, const struct btf_member *m)
{
	const char *name = btf__name_by_offset(c->from, m->name_off);

	return !m->name_off || c->members.slot[find_slot(&c->members, name, strlen(name))].at;
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
			if (keeps_member(c, &btf_members(t)[i]))
				keep_type(c, btf_members(t)[i].type);
	}
}

static void choose_types(struct cut *c)
{
	for (uint32_t i = 1; i < c->n; i++) {
		const struct btf_type *t = btf__type_by_id(c->from, i);
		const char *name;

		if (!is_root(t) || !t->name_off)
			continue;
		name = btf__name_by_offset(c->from, t->name_off);
		if (c->types.slot[find_slot(&c->types, name, plain_len(name))].at)
			keep_type(c, i);
	}
	for (uint32_t i = 0; i < c->n_kept; i++)
		keep_parts(c, btf__type_by_id(c->from, c->kept[i]));
	for (uint32_t i = 0; i < c->n_kept; i++)
		c->id[c->kept[i]] = i + 1;
}

static void put(struct bytes *b, const void *data, size_t len)
{
	if (b->len + len > b->room) {
		const size_t room = 2 * (b->room + len) + 4096;
		uint8_t *at = b->at || !b->room ? realloc(b->at, room) : NULL;

		if (!at)
			free(b->at);
		b->at = at;
		b->room = room;
	}
	if (b->at)
		memcpy(b->at + b->len, data, len);
	b->len += len;
}

static uint32_t put_name(struct cut *c, uint32_t name_off)
{
	const char *name = btf__name_by_offset(c->from, name_off);
	const uint32_t at = (uint32_t)c->strings.len;

	if (!name_off)
		return 0;
	put(&c->strings, name, strlen(name) + 1);
	return at;
}

static void put_members(struct cut *c, const struct btf_type *t)
{
	for (uint32_t i = 0; i < btf_vlen(t); i++) {
		struct btf_member m = btf_members(t)[i];

		if (!keeps_member(c, &m))
			continue;
		m.name_off = put_name(c, m.name_off);
		m.type = c->id[m.type];
		put(&c->part, &m, sizeof(m));
	}
}

/* Enumerators of both widths begin with their name. */
static void put_enumerators(struct cut *c, const struct btf_type *t)
{
	const size_t size = btf_is_enum(t) ? sizeof(struct btf_enum) : sizeof(struct btf_enum64);

	for (uint32_t i = 0; i < btf_vlen(t); i++) {
		struct btf_enum64 e;

		memcpy(&e, (const uint8_t *)(t + 1) + i * size, size);
		e.name_off = put_name(c, e.name_off);
		put(&c->part, &e, size);
	}
}

static void put_type(struct cut *c, const struct btf_type *t)
{
	struct btf_type head = *t;
	uint32_t vlen = btf_vlen(t);

	head.name_off = put_name(c, t->name_off);
	if (btf_is_ptr(t) || btf_is_mod(t) || btf_is_typedef(t))
		head.type = c->id[t->type];
	if (btf_is_composite(t)) {
		for (uint32_t i = vlen = 0; i < btf_vlen(t); i++)
			vlen += keeps_member(c, &btf_members(t)[i]);
		head.info = (t->info & ~0xffffu) | vlen;
	}
	if (btf_is_func_proto(t)) /* what a typedef may stand for; nothing is looked up in it */
		head = (struct btf_type){.info = BTF_KIND_FUNC_PROTO << 24};
	put(&c->part, &head, sizeof(head));
	if (btf_is_composite(t))
		put_members(c, t);
	else if (btf_is_any_enum(t))
		put_enumerators(c, t);
	else if (btf_is_int(t))
		put(&c->part, t + 1, sizeof(uint32_t));
	else if (btf_is_array(t))
		put(&c->part, &(struct btf_array){c->id[btf_array(t)->type], c->id[btf_array(t)->index_type], btf_array(t)->nelems},
		    sizeof(struct btf_array));
}

static int write_file(struct cut *c)
{
	struct btf_header *h;
	int fd;

	for (uint32_t i = 0; i < c->n_kept; i++)
		put_type(c, btf__type_by_id(c->from, c->kept[i]));
	if (!c->part.at || !c->strings.at)
		return -1;
	h = (struct btf_header *)c->part.at;
	h->type_len = h->str_off = (uint32_t)(c->part.len - sizeof(*h));
	h->str_len = (uint32_t)c->strings.len;
	put(&c->part, c->strings.at, c->strings.len);
	fd = c->part.at ? memfd_create("tf_core_btf", MFD_CLOEXEC) : -1;
	if (fd >= 0 && write(fd, c->part.at, c->part.len) != (ssize_t)c->part.len) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int cut_out(struct cut *c, const struct btf *vmlinux)
{
	const struct btf_header header = {.magic = BTF_MAGIC, .version = BTF_VERSION, .hdr_len = sizeof(header)};

	c->from = vmlinux;
	c->n = btf__type_cnt(vmlinux);
	c->id = calloc(c->n, sizeof(*c->id));
	c->kept = malloc(c->n * sizeof(*c->kept));
	if (!c->id || !c->kept)
		return -1;
	put(&c->part, &header, sizeof(header));
	put(&c->strings, "", 1);
	choose_types(c);
	return write_file(c);
}

/* The types of an object that was not opened: opening costs a descriptor for every map. */
static struct btf *types_of(const struct tf_blob *blob)
{
	const Elf64_Ehdr *elf = (const Elf64_Ehdr *)blob->data;
	const Elf64_Shdr *sections = (const Elf64_Shdr *)(blob->data + elf->e_shoff);
	const char *names = (const char *)blob->data + sections[elf->e_shstrndx].sh_offset;

	for (int i = 0; i < elf->e_shnum; i++)
		if (!strcmp(names + sections[i].sh_name, ".BTF"))
			return btf__new(blob->data + sections[i].sh_offset, (uint32_t)sections[i].sh_size);
	return NULL;
}

/* A descriptor of the file, or -1: then libbpf searches the whole, which takes longer and finds the same. */
int tf_core_btf(struct tf_object *o, const struct btf *vmlinux)
{
	struct cut *c = calloc(1, sizeof(*c));
	struct btf *types[TF_PARTS] = {0};
	int fd = -1, rc = c ? 0 : -ENOMEM;

	for (int part = 0; !rc && part < TF_PARTS; part++) {
		const struct tf_blob *blob = tf_part_blob(o, (enum tf_part_id)part);

		if (part != TF_PART_BASE && !tf_choose_of_part(o, (enum tf_part_id)part))
			continue;
		types[part] = blob ? types_of(blob) : NULL;
		rc = types[part] ? add_names(c, types[part]) : -ENOENT;
	}
	if (!rc)
		fd = cut_out(c, vmlinux);
	for (int part = 0; part < TF_PARTS; part++)
		btf__free(types[part]);
	if (c) {
		free(c->id);
		free(c->kept);
		free(c->part.at);
		free(c->strings.at);
	}
	free(c);
	return fd;
}

void tf_drop_core_btf(struct tf_object *o)
{
	if (o->core_fd >= 0)
		close(o->core_fd);
	o->core_fd = -1;
}
