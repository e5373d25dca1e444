/* SPDX-License-Identifier: Apache-2.0 */
/* tf_layout_btf: compares the C table of fields with the BTF of a BPF object. A small reader of its own, because it must work
 * without libbpf and on damaged input: every offset, count and string is checked before use, and loops are bounded. */
#include "tf_layout.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	K_INT = 1, K_PTR, K_ARRAY, K_STRUCT, K_UNION, K_ENUM, K_FWD, K_TYPEDEF, K_VOLATILE, K_CONST, K_RESTRICT, K_FUNC,
	K_FUNC_PROTO, K_VAR, K_DATASEC, K_FLOAT, K_DECL_TAG, K_TYPE_TAG, K_ENUM64, K_END,
};
#define BTF_MAGIC 0xeb9f
#define MAX_CHAIN 32 /* typedef, const, ...: a longer chain is a circle */

struct btf_head { uint16_t magic; uint8_t version, flags; uint32_t hdr_len, type_off, type_len, str_off, str_len; };
struct btf_t { uint32_t name, info, size; };
struct btf_m { uint32_t name, type, bits; };
struct btf_a { uint32_t type, index_type, n; };

struct reader {
	const uint8_t *types;
	const char *strings;
	uint32_t type_len, str_len;
	uint32_t *at;           /* byte offset of type id, [n]; id 0 is void */
	uint32_t n;
	char *msg;
	size_t msg_size;
};

#define SAY(r, ...) ((void)((r)->msg_size ? snprintf((r)->msg, (r)->msg_size, __VA_ARGS__) : 0))

static int damaged(struct reader *r, const char *what)
{
	SAY(r, "BTF is damaged: %s (rebuild bpf/)", what);
	return -EBADMSG;
}

/* Bytes that follow a type, or UINT32_MAX for a kind we do not know. */
static uint64_t extra_bytes(uint32_t info)
{
	uint64_t n = info & 0xffff;

	switch ((info >> 24) & 0x1f) {
	case K_INT: case K_VAR: case K_DECL_TAG: return 4;
	case K_ARRAY: return 12;
	case K_STRUCT: case K_UNION: case K_DATASEC: case K_ENUM64: return n * 12;
	case K_ENUM: case K_FUNC_PROTO: return n * 8;
	case K_PTR: case K_FWD: case K_TYPEDEF: case K_VOLATILE: case K_CONST: case K_RESTRICT: case K_FUNC: case K_FLOAT:
	case K_TYPE_TAG: return 0;
	default: return UINT32_MAX;
	}
}

static int read_header(struct reader *r, const uint8_t *d, size_t size)
{
	struct btf_head h;

	if (size < sizeof(h))
		return damaged(r, "shorter than its header");
	memcpy(&h, d, sizeof(h));
	if (h.magic != BTF_MAGIC)
		return damaged(r, "wrong magic or byte order");
	if (h.version != 1)
		return damaged(r, "unknown version");
	if (h.hdr_len < sizeof(h) || h.hdr_len > size)
		return damaged(r, "header length out of range");
	uint64_t body = size - h.hdr_len;
	if ((uint64_t)h.type_off + h.type_len > body || (uint64_t)h.str_off + h.str_len > body || h.type_off % 4)
		return damaged(r, "sections reach past its end");
	r->types = d + h.hdr_len + h.type_off;
	r->type_len = h.type_len;
	r->strings = (const char *)d + h.hdr_len + h.str_off;
	r->str_len = h.str_len;
	if (!h.str_len || r->strings[0] || r->strings[h.str_len - 1])
		return damaged(r, "string section is not ended");
	return 0;
}

static struct btf_t type_at(const struct reader *r, uint32_t id)
{
	struct btf_t t;

	memcpy(&t, r->types + r->at[id], sizeof(t));
	return t;
}

static uint32_t kind_of(struct btf_t t) { return (t.info >> 24) & 0x1f; }

static const char *name_of(const struct reader *r, uint32_t off)
{
	return off < r->str_len ? r->strings + off : "";
}

static int index_types(struct reader *r)
{
	uint32_t pos = 0, cap = r->type_len / sizeof(struct btf_t) + 1;

	r->at = malloc(cap * sizeof(*r->at));
	if (!r->at) {
		SAY(r, "BTF cannot be read: out of memory");
		return -ENOMEM;
	}
	for (r->n = 1; pos < r->type_len; r->n++) {
		struct btf_t t;

		if (r->type_len - pos < sizeof(t))
			return damaged(r, "a type is cut off");
		memcpy(&t, r->types + pos, sizeof(t));
		uint64_t len = extra_bytes(t.info);
		if (len == UINT32_MAX)
			return damaged(r, "unknown kind of type");
		len += sizeof(t);
		if (len > r->type_len - pos || t.name >= r->str_len)
			return damaged(r, "a type reaches past its section");
		r->at[r->n] = pos;
		pos += (uint32_t)len;
	}
	return 0;
}

/* Follows typedefs and qualifiers; 0 when the id is void, out of range or the chain is a circle. */
static uint32_t resolve(const struct reader *r, uint32_t id)
{
	for (int i = 0; i < MAX_CHAIN && id > 0 && id < r->n; i++) {
		struct btf_t t = type_at(r, id);

		switch (kind_of(t)) {
		case K_TYPEDEF: case K_VOLATILE: case K_CONST: case K_RESTRICT: case K_TYPE_TAG: id = t.size; break;
		default: return id;
		}
	}
	return 0;
}

struct shape {
	char kind;              /* as tf_field.kind; others for what no record has */
	uint32_t size;
};

static struct shape shape_of_int(const struct reader *r, uint32_t id, struct btf_t t)
{
	uint32_t data;

	memcpy(&data, r->types + r->at[id] + sizeof(t), 4);
	if ((data & 0xff) != t.size * 8ull || ((data >> 16) & 0xff))
		return (struct shape){'b', t.size}; /* an old-style bit field */
	return (struct shape){data >> 24 & 1 ? 'i' : 'u', t.size};
}

static struct shape shape_of(const struct reader *r, uint32_t id)
{
	struct btf_t t, e;
	struct btf_a a;

	id = resolve(r, id);
	if (!id)
		return (struct shape){'?', 0};
	t = type_at(r, id);
	switch (kind_of(t)) {
	case K_INT: return shape_of_int(r, id, t);
	case K_FLOAT: return (struct shape){'f', t.size};
	case K_ENUM: case K_ENUM64: return (struct shape){'e', t.size};
	case K_PTR: return (struct shape){'p', 8};
	case K_UNION: return (struct shape){'U', t.size};
	case K_STRUCT: return (struct shape){strcmp(name_of(r, t.name), "tf_text") ? 's' : 'T', t.size};
	case K_ARRAY: break;
	default: return (struct shape){'?', 0};
	}
	memcpy(&a, r->types + r->at[id] + sizeof(t), sizeof(a));
	id = resolve(r, a.type);
	if (!id)
		return (struct shape){'?', 0};
	e = type_at(r, id);
	/* clang and gcc disagree on the encoding of char: its name tells */
	if (kind_of(e) != K_INT || e.size != 1)
		return (struct shape){kind_of(e) == K_INT && e.size == 8 ? 'A' : '?', a.n * 8};
	return (struct shape){strcmp(name_of(r, e.name), "char") ? 'B' : 'S', a.n};
}

/* What BTF should say of one C struct. Header fields of a row are checked with the header itself. */
struct expect {
	const char *name;
	const struct tf_field *fields;
	uint32_t n, size;
	bool row;               /* its first member is the header */
};

static const struct tf_field text_fields[] = {
	{"offset", "offset", 'u', offsetof(struct tf_text, offset), 4},
	{"len", "len", 'u', offsetof(struct tf_text, len), 4},
	{"full_len", "full_len", 'u', offsetof(struct tf_text, full_len), 4},
};

static uint32_t header_fields(const struct tf_record_layout *l)
{
	uint32_t n = 0;

	while (n < l->n_fields && l->fields[n].offset < sizeof(struct tf_header))
		n++;
	return n;
}

/* number: 0 = tf_text, 1 = tf_header, then the rows. */
static bool expected(size_t number, struct expect *x)
{
	const struct tf_record_layout *l;
	uint32_t head;

	if (number >= tf_layout_count + 2)
		return false;
	l = &tf_layouts[number < 2 ? 0 : number - 2];
	head = header_fields(l);
	if (number == 0)
		*x = (struct expect){"tf_text", text_fields, 3, sizeof(struct tf_text), false};
	else if (number == 1)
		*x = (struct expect){"tf_header", l->fields, head, sizeof(struct tf_header), false};
	else
		*x = (struct expect){l->struct_name, l->fields + head, l->n_fields - head, l->size, true};
	return true;
}

static struct btf_m member_at(const struct reader *r, uint32_t id, uint32_t i)
{
	struct btf_m m;

	memcpy(&m, r->types + r->at[id] + sizeof(struct btf_t) + i * sizeof(m), sizeof(m));
	return m;
}

/* Member of a struct: shape and byte offset; a bit field comes out as 'b'. */
static struct shape member_shape(const struct reader *r, struct btf_t t, struct btf_m m, uint32_t *offset)
{
	struct shape s = shape_of(r, m.type);
	uint32_t bits = t.info >> 31 ? m.bits & 0xffffff : m.bits;

	*offset = bits / 8;
	if (bits % 8 || (t.info >> 31 && m.bits >> 24))
		s.kind = 'b';
	return s;
}

static int check_field(struct reader *r, const struct expect *x, uint32_t id, const struct tf_field *f)
{
	struct btf_t t = type_at(r, id);

	for (uint32_t i = 0; i < (t.info & 0xffff); i++) {
		struct btf_m m = member_at(r, id, i);
		uint32_t offset;

		if (strcmp(name_of(r, m.name), f->c_name))
			continue;
		struct shape s = member_shape(r, t, m, &offset);
		if (s.kind == f->kind && s.size == f->size && offset == f->offset)
			return 0;
		SAY(r, "%s.%s: C %c%u at %u, BTF %c%u at %u (rebuild bpf/)", x->name, f->c_name, f->kind, f->size, f->offset,
		    s.kind, s.size, offset);
		return -EBADMSG;
	}
	SAY(r, "%s.%s: C %c%u at %u, not in BTF (rebuild bpf/)", x->name, f->c_name, f->kind, f->size, f->offset);
	return -EBADMSG;
}

/* A foreign name may hold anything: only what could be a C name is shown. */
static void safe_name(const char *in, char out[48])
{
	size_t n = 0;

	for (; *in && n < 47; in++)
		out[n++] = (*in >= '0' && *in <= '9') || (*in >= 'a' && *in <= 'z') || (*in >= 'A' && *in <= 'Z') || *in == '_' ? *in : '?';
	out[n] = 0;
}

static bool known_member(const struct expect *x, const char *name)
{
	if (x->row && !strcmp(name, "h"))
		return true;
	for (uint32_t i = 0; i < x->n; i++)
		if (!strcmp(x->fields[i].c_name, name))
			return true;
	return false;
}

static int check_extra(struct reader *r, const struct expect *x, uint32_t id)
{
	struct btf_t t = type_at(r, id);

	for (uint32_t i = 0; i < (t.info & 0xffff); i++) {
		struct btf_m m = member_at(r, id, i);
		uint32_t offset;
		char name[48];

		if (known_member(x, name_of(r, m.name)))
			continue;
		struct shape s = member_shape(r, t, m, &offset);
		safe_name(name_of(r, m.name), name);
		SAY(r, "%s.%s: not in C, BTF %c%u at %u (rebuild bpf/)", x->name, name, s.kind, s.size, offset);
		return -EBADMSG;
	}
	return 0;
}

static int check_struct(struct reader *r, const struct expect *x, uint32_t id)
{
	static const struct tf_field head = {"h", "h", 's', 0, sizeof(struct tf_header)};
	struct btf_t t = type_at(r, id);
	int rc = x->row ? check_field(r, x, id, &head) : 0;

	for (uint32_t i = 0; !rc && i < x->n; i++)
		rc = check_field(r, x, id, &x->fields[i]);
	if (!rc)
		rc = check_extra(r, x, id);
	if (!rc && t.size != x->size) {
		SAY(r, "%s: C %u bytes, BTF %u bytes (rebuild bpf/)", x->name, x->size, t.size);
		rc = -EBADMSG;
	}
	return rc;
}

static int check_required(struct reader *r, const char *const *required)
{
	for (; required && *required; required++) {
		uint32_t id = 1;

		while (id < r->n && (kind_of(type_at(r, id)) != K_STRUCT || strcmp(name_of(r, type_at(r, id).name), *required)))
			id++;
		if (id == r->n) {
			SAY(r, "%s: not in the BTF of this object (add TF_KEEP_BTF to its source and rebuild bpf/)", *required);
			return -ENOENT;
		}
	}
	return 0;
}

int tf_layout_check(const void *btf, size_t btf_size, const char *const *required, char *msg, size_t msg_size)
{
	struct reader r = {.msg = msg, .msg_size = msg_size};
	struct expect x;
	int rc;

	if (msg_size)
		msg[0] = 0;
	rc = read_header(&r, btf, btf_size);
	if (!rc)
		rc = index_types(&r);
	for (size_t number = 0; !rc && expected(number, &x); number++)
		for (uint32_t id = 1; !rc && id < r.n; id++)
			if (kind_of(type_at(&r, id)) == K_STRUCT && !strcmp(name_of(&r, type_at(&r, id).name), x.name))
				rc = check_struct(&r, &x, id);
	if (!rc)
		rc = check_required(&r, required);
	free(r.at);
	return rc;
}
