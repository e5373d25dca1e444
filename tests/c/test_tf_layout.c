/* SPDX-License-Identifier: Apache-2.0 */
/* The table of fields against the compiler, and against BTF: what a compiler wrote, what was mutated, what was damaged. */
#include <ctype.h>
#include <unistd.h>

#include "ring_fixture.h"
#include "tf_layout.h"

static const char *const ALL[] = {"tf_header", "tf_text", "tf_process", "tf_network", "tf_cpu", "tf_meta", NULL};

/* ---- the table itself ---- */

static void test_table(void)
{
	for (size_t i = 0; i < tf_layout_count; i++) {
		const struct tf_record_layout *l = &tf_layouts[i];
		const uint16_t *texts;
		uint32_t end = 0, n_texts = 0, fields = tf_text_fields(l->domain, &texts);

		CHECK(tf_layout_of(l->domain) == l && l->size == tf_row_size(l->domain));
		for (uint32_t f = 0; f < l->n_fields; f++) { /* no hole, no overlap, biggest first means no padding of the compiler's */
			CHECK_EQ(l->fields[f].offset, end);
			end += l->fields[f].size;
			if (l->fields[f].kind == 'T')
				CHECK(n_texts < fields && texts[n_texts++] == l->fields[f].offset);
		}
		CHECK(end == l->size && n_texts == fields);
		CHECK(!strcmp(l->fields[4].name, "pid") && l->fields[4].offset == offsetof(struct tf_header, pid));
	}
	CHECK(!tf_layout_of(TF_UNKNOWN) && !tf_layout_of(255));
	const struct tf_record_layout *n = tf_layout_of(TF_NETWORK);
	unsigned found = 0;
	for (uint32_t f = 0; f < n->n_fields; f++) {
		found += !strcmp(n->fields[f].c_name, "errno_") && !strcmp(n->fields[f].name, "errno") && n->fields[f].kind == 'i';
		found += !strcmp(n->fields[f].name, "dest_ip") && n->fields[f].kind == 'B' && n->fields[f].size == 16;
	}
	CHECK_EQ(found, 2);
}

/* ---- a BTF writer, so that no compiler is needed ---- */

struct blob {
	uint32_t types[4096], n_types;  /* words of the type section */
	uint32_t ids;
	char strings[8192];
	uint32_t n_strings;
	uint8_t bytes[65536];
	size_t size;
};

static uint32_t name(struct blob *b, const char *s)
{
	uint32_t at = b->n_strings;

	strcpy(b->strings + at, s);
	b->n_strings += (uint32_t)strlen(s) + 1;
	return at;
}

static uint32_t word(struct blob *b, uint32_t w)
{
	b->types[b->n_types] = w;
	return b->n_types++;
}

static uint32_t type(struct blob *b, const char *s, uint32_t kind, uint32_t vlen, uint32_t size)
{
	word(b, *s ? name(b, s) : 0);
	word(b, kind << 24 | vlen);
	word(b, size);
	return ++b->ids;
}

static uint32_t int_type(struct blob *b, const char *s, uint32_t size, uint32_t encoding)
{
	uint32_t id = type(b, s, 1, 0, size);

	word(b, encoding << 24 | size * 8);
	return id;
}

static uint32_t array_type(struct blob *b, uint32_t of, uint32_t n)
{
	uint32_t id = type(b, "", 3, 0, 0);

	word(b, of);
	word(b, of);
	word(b, n);
	return id;
}

struct types {
	uint32_t u[9], i[9], f, c, text, header; /* ids by size */
};

/* array: the type id when the field is an array. */
static void member(struct blob *b, const struct types *t, const struct tf_field *f, uint32_t array)
{
	uint32_t id = f->kind == 'u' ? t->u[f->size] : f->kind == 'i' ? t->i[f->size] : f->kind == 'f' ? t->f : t->text;

	word(b, name(b, f->c_name));
	word(b, array ? array : id);
	word(b, f->offset * 8u);
}

static void write_struct(struct blob *b, struct types *t, const char *s, const struct tf_field *f, uint32_t n, uint32_t size, bool row)
{
	uint32_t arrays[64] = {0};

	for (uint32_t i = 0; i < n; i++)
		if (f[i].kind == 'A')
			arrays[i] = array_type(b, t->u[8], f[i].size / 8);
		else if (f[i].kind == 'S' || f[i].kind == 'B')
			arrays[i] = array_type(b, f[i].kind == 'S' ? t->c : t->u[1], f[i].size);
	type(b, s, 4, n + row, size);
	if (row) {
		word(b, name(b, "h"));
		word(b, t->header);
		word(b, 0);
	}
	for (uint32_t i = 0; i < n; i++)
		member(b, t, &f[i], arrays[i]);
}

static const struct tf_field TEXT[] = {{"offset", "offset", 'u', 0, 4}, {"len", "len", 'u', 4, 4}, {"full_len", "full_len", 'u', 8, 4}};

/* hdr_extra: bytes that a later version adds to the header; gap: bytes between the sections. */
static void finish(struct blob *b, uint32_t hdr_extra, uint32_t gap)
{
	uint32_t head[6] = {0xeb9f | 1 << 16, 24 + hdr_extra, gap, b->n_types * 4, gap + b->n_types * 4 + gap, b->n_strings};

	memset(b->bytes, 0xee, sizeof(b->bytes));
	memcpy(b->bytes, head, sizeof(head));
	memcpy(b->bytes + head[1] + head[2], b->types, head[3]);
	memcpy(b->bytes + head[1] + head[4], b->strings, head[5]);
	b->size = head[1] + head[4] + head[5];
}

static void write_all(struct blob *b, uint32_t hdr_extra, uint32_t gap)
{
	struct types t = {0};
	const struct tf_record_layout *l = tf_layouts;

	memset(b, 0, sizeof(*b));
	b->n_strings = 1;
	for (uint32_t size = 1; size <= 8; size *= 2) {
		uint32_t id = int_type(b, size == 1 ? "unsigned char" : "unsigned int", size, 0);

		t.i[size] = int_type(b, "int", size, 1);
		t.u[size] = type(b, "__u", 8, 0, id); /* a typedef, as in the header */
	}
	t.f = type(b, "float", 16, 0, 4);
	t.c = int_type(b, "char", 1, 1);
	t.text = b->ids + 1;
	write_struct(b, &t, "tf_text", TEXT, 3, 12, false);
	uint32_t head = 0;
	while (l->fields[head].offset < sizeof(struct tf_header))
		head++;
	write_struct(b, &t, "tf_header", l->fields, head, 80, false);
	t.header = b->ids;
	for (size_t i = 0; i < tf_layout_count; i++)
		write_struct(b, &t, tf_layouts[i].struct_name, tf_layouts[i].fields + head, tf_layouts[i].n_fields - head, tf_layouts[i].size, true);
	finish(b, hdr_extra, gap);
}

static int check(const void *btf, size_t size, const char *const *required, char msg[200])
{
	uint8_t *exact = malloc(size + 1); /* so that a read past the end is seen by the sanitizer */
	int rc;

	CHECK(exact);
	memcpy(exact, btf, size);
	exact = realloc(exact, size ? size : 1);
	memset(msg, 'x', 200);
	rc = tf_layout_check(exact, size, required, msg, 200);
	free(exact);
	CHECK(memchr(msg, 0, 200) && (rc == 0) == (msg[0] == 0));
	CHECK(rc == 0 || rc == -EBADMSG || rc == -ENOENT);
	for (const char *p = msg; *p; p++)
		CHECK(isprint((unsigned char)*p));
	return rc;
}

static void expect(const void *btf, size_t size, const char *const *required, int rc, const char *want)
{
	char msg[200];
	int got = check(btf, size, required, msg);

	if (got != rc || (want && strcmp(msg, want))) {
		printf("got %d \"%s\", wanted %d \"%s\"\n", got, msg, rc, want ? want : "");
		exit(1);
	}
}

/* Word index of a member (its name word) of a struct, by names. */
static uint32_t *find_member(struct blob *b, const char *s)
{
	for (uint32_t i = 2; i + 2 < b->n_types; i++)
		if (b->types[i] && b->types[i] < b->n_strings && !strcmp(b->strings + b->types[i], s))
			return b->types + i;
	CHECK(!"no such member");
	return NULL;
}

static void test_written(void)
{
	static struct blob b;
	static const char *const more[] = {"tf_cpu", "tf_gone", NULL};

	write_all(&b, 0, 0);
	expect(b.bytes, b.size, ALL, 0, "");
	expect(b.bytes, b.size, NULL, 0, "");
	expect(b.bytes, b.size, more, -ENOENT, "tf_gone: not in the BTF of this object (add TF_KEEP_BTF to its source and rebuild bpf/)");
	write_all(&b, 8, 16);
	expect(b.bytes, b.size, ALL, 0, "");
	find_member(&b, "ppid")[2] += 32;
	finish(&b, 0, 0);
	expect(b.bytes, b.size, ALL, -EBADMSG, "tf_header.ppid: C u4 at 40, BTF u4 at 44 (rebuild bpf/)");
	write_all(&b, 0, 0);
	find_member(&b, "exit_code")[1] = find_member(&b, "old_uid")[1];
	finish(&b, 0, 0);
	expect(b.bytes, b.size, ALL, -EBADMSG, "tf_process.exit_code: C i2 at 124, BTF u4 at 124 (rebuild bpf/)");
	write_all(&b, 0, 0);
	b.strings[*find_member(&b, "rss")] = 'R';
	finish(&b, 0, 0);
	expect(b.bytes, b.size, ALL, -EBADMSG, "tf_memory.rss: C u8 at 104, not in BTF (rebuild bpf/)");
	write_all(&b, 0, 0);
	find_member(&b, "tf_text")[2] = 16;
	finish(&b, 0, 0);
	expect(b.bytes, b.size, ALL, -EBADMSG, "tf_text: C 12 bytes, BTF 16 bytes (rebuild bpf/)");
	write_all(&b, 0, 0);
	find_member(&b, "weight")[1] = find_member(&b, "gid")[1];
	finish(&b, 0, 0);
	expect(b.bytes, b.size, ALL, -EBADMSG, "tf_header.weight: C f4 at 52, BTF u4 at 52 (rebuild bpf/)");
}

static void test_damaged(uint64_t flips)
{
	static struct blob b;
	static uint8_t copy[sizeof(b.bytes)];
	char msg[200];

	write_all(&b, 0, 0);
	for (size_t size = 0; size < b.size; size++)
		CHECK(check(b.bytes, size, ALL, msg) != 0);
	for (uint64_t i = 0; i < flips; i++) {
		memcpy(copy, b.bytes, b.size);
		for (uint32_t n = 1 + rng_below(4); n; n--)
			copy[rng_below(2) ? rng_below((uint32_t)b.size) : rng_below(64)] = (uint8_t)(rng_below(2) ? rng() : 1u << rng_below(8));
		check(copy, rng_below(3) ? b.size : rng_below((uint32_t)b.size + 1), rng_below(2) ? ALL : NULL, msg);
	}
	/* typedefs in a circle */
	write_all(&b, 0, 0);
	for (uint32_t i = 0; i + 2 < b.n_types; i++)
		if (b.types[i + 1] == 8u << 24)
			b.types[i + 2] = 3; /* the first typedef itself */
	finish(&b, 0, 0);
	CHECK(check(b.bytes, b.size, ALL, msg) == -EBADMSG);
	CHECK(tf_layout_check(b.bytes, b.size, ALL, NULL, 0) == -EBADMSG);
}

/* ---- BTF as gcc writes it, of the real header and of mutated ones ---- */

static char scratch[] = "/tmp/tf-layout-XXXXXX";

/* Copies bpf/include/tf_event.h with one text replaced; false when the header is not found from here. */
static bool copy_header(const char *from, const char *to)
{
	char path[512], out[600];
	static char text[65536];
	size_t dir = strlen(__FILE__) - strlen("tests/c/test_tf_layout.c");
	FILE *f;

	snprintf(path, sizeof(path), "%.*sbpf/include/tf_event.h", (int)dir, __FILE__);
	snprintf(out, sizeof(out), "%s/tf_event.h", scratch);
	f = fopen(path, "r");
	if (!f)
		return false;
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	char *at = strstr(text, from);
	CHECK(at);
	f = fopen(out, "w");
	CHECK(f && fprintf(f, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0 && !fclose(f));
	return true;
}

static size_t section(const char *path, const char *wanted, uint8_t *out, size_t cap)
{
	static uint8_t d[1 << 20];
	FILE *f = fopen(path, "r");
	uint64_t off;
	uint16_t n, names;

	CHECK(f);
	size_t len = fread(d, 1, sizeof(d), f);
	fclose(f);
	CHECK(len > 64 && !memcmp(d, "\177ELF\2\1", 6));
	memcpy(&off, d + 40, 8);
	memcpy(&n, d + 60, 2);
	memcpy(&names, d + 62, 2);
	for (unsigned i = 0; i < n; i++) {
		uint64_t at, size, strings;
		uint32_t nm;

		memcpy(&nm, d + off + i * 64, 4);
		memcpy(&at, d + off + i * 64 + 24, 8);
		memcpy(&size, d + off + i * 64 + 32, 8);
		memcpy(&strings, d + off + names * 64u + 24, 8);
		if (strcmp((char *)d + strings + nm, wanted) || size > cap)
			continue;
		memcpy(out, d + at, size);
		return size;
	}
	return 0;
}

/* BTF bytes of the header in scratch, 0 when this machine's compiler does not write BTF. */
static size_t compile(uint8_t *out, size_t cap)
{
	char command[900], object[600];

	snprintf(object, sizeof(object), "%s/a.o", scratch);
	snprintf(command, sizeof(command),
		 "cd %s && printf '#include <linux/types.h>\\n#define _Static_assert(a, b) struct tf_unused\\n#include \"tf_event.h\"\\n"
		 "struct tf_process p; struct tf_network n; struct tf_cpu c; struct tf_meta m;\\n' >a.c && "
		 "gcc -I. -gbtf -c a.c -o a.o >log 2>&1", scratch);
	return system(command) ? 0 : section(object, ".BTF", out, cap);
}

static void test_compiled(void)
{
	static const struct { const char *from, *to, *message; } mutants[] = {
		{"", "", ""},
		{"__u32 pid;", "__u32 sneaky; __u32 pid;", "tf_header.pid: C u4 at 32, BTF u4 at 36 (rebuild bpf/)"},
		{"__u32 uid;", "__s32 uid;", "tf_header.uid: C u4 at 44, BTF i4 at 44 (rebuild bpf/)"},
		{"char  comm[TF_COMM_LEN];", "__u8  comm[TF_COMM_LEN];", "tf_header.comm: C S16 at 64, BTF B16 at 64 (rebuild bpf/)"},
		{"char  comm[TF_COMM_LEN];", "char  comm[20];", "tf_header.comm: C S16 at 64, BTF S20 at 64 (rebuild bpf/)"},
		{"__u64 cookie;", "__u64 cooky;", "tf_network.cookie: C u8 at 80, not in BTF (rebuild bpf/)"},
		{"struct tf_text data;     /* bytes: argv", "struct tf_text data; __u64 extra; /* bytes: argv",
		 "tf_meta.extra: not in C, BTF u8 at 184 (rebuild bpf/)"},
		{"__u8  state; ", "__u8  state:4; ", "tf_network.state: C u1 at 169, BTF b1 at 169 (rebuild bpf/)"},
		{"float weight;", "__u32 weight;", "tf_header.weight: C f4 at 52, BTF u4 at 52 (rebuild bpf/)"},
	};
	static uint8_t btf[1 << 20];
	char command[100];
	size_t size;

	CHECK(mkdtemp(scratch));
	for (size_t i = 0; i < sizeof(mutants) / sizeof(mutants[0]); i++) {
		if (!copy_header(mutants[i].from, mutants[i].to) || !(size = compile(btf, sizeof(btf)))) {
			CHECK(i == 0); /* a compiler that can do the first can do all */
			puts("note: no gcc that writes BTF, or not run from the sources: only the written BTF was checked");
			break;
		}
		expect(btf, size, ALL, i ? -EBADMSG : 0, mutants[i].message);
	}
	snprintf(command, sizeof(command), "rm -rf %s", scratch);
	CHECK(!system(command));
}

int main(void)
{
	test_table();
	test_written();
	test_damaged(20000 * scale(20));
	test_compiled();
	puts("ok");
	return 0;
}
