// SPDX-License-Identifier: Apache-2.0
/*
 * Tests of minielf (csrc/tf_elf.c). Without arguments: malformed versions of every embedded BPF object and of this very
 * program. With arguments, for tests/test_elf.py:
 *
 *     dump FILE                   what the reader sees, a line each, to compare with an independent reader
 *     fuzz FILE SEED COUNT        FILE cut at every length, header bytes changed, COUNT random changes
 *     libbpf FILE SEED COUNT      the same changes through libbpf's own users of the reader
 *     func FILE NAME              file offset of a function, through libbpf
 *
 * Each image lies in a block of exactly its size, so that a sanitizer sees the first byte too far.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gelf.h"
#include "zlib.h"

#include "btf.h"
#include "libbpf.h"
#include "check.h"
#include "tf_blobs.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

long elf_find_func_offset_from_file(const char *binary_path, const char *name); /* libbpf_internal.h */

typedef void visit_fn(const unsigned char *image, size_t size);

static volatile unsigned int sink;
static unsigned long cases;

/* Reads every byte; through the library, where a sanitizer checks the whole range at once. */
static int (*volatile compare)(const void *, const void *, size_t) = memcmp;

static void touch(const void *data, size_t size)
{
	if (size)
		sink += (unsigned int)compare(data, data, size);
}

/* A text is given only when it ends inside its own section, not just inside the file. */
static void touch_text(Elf *elf, size_t index, size_t offset)
{
	const char *text = elf_strptr(elf, index, offset);
	Elf_Data *data = elf_rawdata(elf_getscn(elf, index), NULL);

	if (!text)
		return;
	CHECK(data && text == (char *)data->d_buf + offset);
	CHECK(strlen(text) < data->d_size - offset);
}

static void walk_symbols(Elf *elf, const Elf64_Shdr *shdr, Elf_Data *data)
{
	GElf_Sym sym;
	GElf_Shdr place;
	size_t count = data->d_size / shdr->sh_entsize; /* as libbpf does: must never divide by 0 */

	for (size_t i = 0; i <= count; i++) {
		if (!gelf_getsym(data, (int)i, &sym))
			continue;
		touch_text(elf, shdr->sh_link, sym.st_name);
		if (gelf_getshdr(elf_getscn(elf, sym.st_shndx), &place))
			touch(&place, sizeof(place));
	}
	touch(data->d_buf, data->d_size);
	if (data->d_size) /* libbpf reads them in place */
		sink += (unsigned int)((Elf64_Sym *)data->d_buf)[count - 1].st_value;
}

/* The loop of libbpf's elf_get_vername, which trusts vd_next. */
static void walk_versions(Elf *elf, const Elf64_Shdr *shdr, Elf_Data *data)
{
	GElf_Verdef def;
	GElf_Verdaux aux;
	int offset = 0;

	while (gelf_getverdef(data, offset, &def)) {
		if (gelf_getverdaux(data, offset + (int)def.vd_aux, &aux))
			touch_text(elf, shdr->sh_link, aux.vda_name);
		if (!def.vd_next)
			break;
		offset += (int)def.vd_next;
	}
}

static void walk_notes(Elf_Data *data)
{
	GElf_Nhdr note;
	size_t name, desc, at = 0, next;

	while ((next = gelf_getnote(data, at, &note, &name, &desc)) > 0) {
		CHECK(next > at && next <= data->d_size);
		touch((char *)data->d_buf + name, note.n_namesz);
		touch((char *)data->d_buf + desc, note.n_descsz);
		at = next;
	}
}

static void walk_section(Elf *elf, Elf_Scn *scn, size_t names)
{
	Elf64_Shdr *shdr = elf64_getshdr(scn);
	Elf_Data *raw = elf_rawdata(scn, NULL), *data = elf_getdata(scn, NULL);
	GElf_Versym version;

	CHECK(shdr && elf_getscn(elf, elf_ndxscn(scn)) == scn);
	CHECK(!elf_getdata(scn, raw ? raw : (Elf_Data *)&version));
	touch_text(elf, names, shdr->sh_name);
	CHECK(elf_errmsg(-1)[0]);
	if (!data)
		return;
	CHECK(raw == data);
	touch(data->d_buf, shdr->sh_type == SHT_NOBITS && data->d_size > 64 ? 64 : data->d_size);
	if (shdr->sh_type == SHT_SYMTAB || shdr->sh_type == SHT_DYNSYM)
		walk_symbols(elf, shdr, data);
	for (int i = -1; shdr->sh_type == SHT_GNU_versym && i < 64; i++)
		gelf_getversym(data, i, &version);
	walk_versions(elf, shdr, data); /* whatever the type: the functions must not trust it */
	walk_notes(data);
}

static void walk(Elf *elf)
{
	size_t shnum = 0, phnum = 0, names = 0, seen = 0;
	GElf_Ehdr ehdr;
	GElf_Phdr phdr;

	if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &ehdr)) {
		CHECK(!elf || elf_getshdrnum(elf, &shnum) != 0 || gelf_getclass(elf) == ELFCLASS64);
		return;
	}
	CHECK(elf64_getehdr(elf) && elf_getshdrnum(elf, &shnum) == 0 && elf_getphdrnum(elf, &phnum) == 0);
	CHECK(elf_getshdrstrndx(elf, &names) == 0);
	for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn)) != NULL; seen++)
		walk_section(elf, scn, names);
	CHECK(seen == (shnum ? shnum - 1 : 0));
	CHECK(!elf_getscn(elf, shnum) && !gelf_getphdr(elf, -1, &phdr) && !gelf_getphdr(elf, (int)phnum, &phdr));
	for (size_t i = 0; i < phnum && i < 70000; i++)
		gelf_getphdr(elf, (int)i, &phdr);
}

/* One case: from memory always, from a file now and then, since it differs only in how the bytes come in. */
static void visit_reader(const unsigned char *image, size_t size)
{
	char *block = malloc(size ? size : 1);
	Elf *elf;

	CHECK(block);
	memcpy(block, image, size);
	elf = elf_memory(block, size);
	walk(elf);
	elf_end(elf);
	free(block);
	if (cases++ % 64 == 0) {
		int fd = memfd_create("elf", MFD_CLOEXEC);

		CHECK(fd >= 0 && write(fd, image, size) == (ssize_t)size);
		elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
		walk(elf);
		elf_end(elf);
		close(fd);
	}
}

static void visit_libbpf(const unsigned char *image, size_t size)
{
	char *block = malloc(size ? size : 1);
	struct bpf_object *object;

	CHECK(block);
	memcpy(block, image, size);
	object = bpf_object__open_mem(block, size, NULL);
	bpf_object__close(object);
	free(block);
	cases++;
}

static unsigned int next_random(void)
{
	return (unsigned int)(rng() >> 16);
}

static void change_byte(unsigned char *image, size_t size, size_t at, visit_fn *visit)
{
	static const unsigned char masks[] = { 0x01, 0x80, 0xff };
	unsigned char old = image[at];

	for (size_t i = 0; i < sizeof(masks); i++) {
		image[at] = old ^ masks[i];
		visit(image, size);
	}
	image[at] = 0;
	visit(image, size);
	image[at] = 0xff;
	visit(image, size);
	image[at] = old;
}

/* Random: 1 to 4 changes of a byte, or of a whole aligned word to a telling value. */
static void change_randomly(unsigned char *image, unsigned char *work, size_t size, visit_fn *visit)
{
	static const unsigned long long telling[] = { 0, 1, 7, 0x40, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
						      0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff };

	memcpy(work, image, size);
	for (unsigned int n = 1 + next_random() % 4; n; n--) {
		size_t at = next_random() % size;

		if (next_random() % 2 && size >= 8) {
			at = next_random() % (size / 8) * 8;
			memcpy(work + at, &telling[next_random() % 11], next_random() % 2 ? 8 : 4);
		} else {
			work[at] = (unsigned char)next_random();
		}
	}
	visit(work, size);
}

static void torture(unsigned char *image, size_t size, unsigned long count, visit_fn *visit, bool cut)
{
	unsigned char *work = malloc(size);
	Elf64_Ehdr ehdr;

	CHECK(work && size >= sizeof(ehdr));
	memcpy(&ehdr, image, sizeof(ehdr));
	visit(image, size);
	for (size_t length = 0; cut && length < size; length++)
		visit(image, length);
	for (size_t at = 0; at < sizeof(ehdr); at++)
		change_byte(image, size, at, visit);
	/* The embedded objects are large and many: there every seventh byte of the table, which meets every field. */
	for (size_t at = ehdr.e_shoff, n = 0; at < size && n < ehdr.e_shnum * sizeof(Elf64_Shdr) && n < 8192; at += cut ? 1 : 7, n += cut ? 1 : 7)
		change_byte(image, size, at, visit);
	for (unsigned long i = 0; i < count; i++)
		change_randomly(image, work, size, visit);
	free(work);
}

static unsigned char *load(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rbe");
	unsigned char *image;
	long end;

	CHECK(file && !fseek(file, 0, SEEK_END));
	end = ftell(file);
	CHECK(end > 0);
	rewind(file);
	image = malloc((size_t)end);
	CHECK(image && fread(image, 1, (size_t)end, file) == (size_t)end);
	fclose(file);
	*size = (size_t)end;
	return image;
}

static void dump(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf *elf = elf_begin(fd, ELF_C_READ, NULL);
	size_t names, phnum;
	Elf_Scn *scn = NULL;

	CHECK(elf && !elf_getshdrstrndx(elf, &names) && !elf_getphdrnum(elf, &phnum));
	while ((scn = elf_nextscn(elf, scn))) {
		Elf64_Shdr *shdr = elf64_getshdr(scn);
		Elf_Data *data = elf_getdata(scn, NULL);
		unsigned long long sum = 0;
		GElf_Sym sym;

		CHECK(data && data->d_size == shdr->sh_size);
		for (size_t i = 0; shdr->sh_type != SHT_NOBITS && i < data->d_size; i++)
			sum += ((unsigned char *)data->d_buf)[i];
		printf("section %zu %u %llu %llu %llu %s\n", elf_ndxscn(scn), shdr->sh_type, (unsigned long long)shdr->sh_offset,
		       (unsigned long long)shdr->sh_size, sum, elf_strptr(elf, names, shdr->sh_name));
		if (shdr->sh_type != SHT_SYMTAB && shdr->sh_type != SHT_DYNSYM)
			continue;
		for (int i = 0; gelf_getsym(data, i, &sym); i++)
			printf("symbol %zu %d %llu %llu %u %u %s\n", elf_ndxscn(scn), i, (unsigned long long)sym.st_value,
			       (unsigned long long)sym.st_size, sym.st_info, sym.st_shndx, elf_strptr(elf, shdr->sh_link, sym.st_name));
	}
	for (size_t i = 0; i < phnum; i++) {
		GElf_Phdr phdr;

		CHECK(gelf_getphdr(elf, (int)i, &phdr));
		printf("segment %zu %u %llu %llu\n", i, phdr.p_type, (unsigned long long)phdr.p_offset, (unsigned long long)phdr.p_memsz);
	}
	elf_end(elf);
	close(fd);
}

static void small_cases(void)
{
	char nothing[1] = { 0 }, text[8];
	const char path[] = "/proc/self/status";
	gzFile file = gzopen(path, "re");

	CHECK(elf_version(EV_CURRENT) == EV_CURRENT && elf_version(77) == EV_NONE);
	CHECK(!elf_memory(NULL, 0) && !elf_begin(-1, ELF_C_READ, NULL) && elf_end(NULL) == 0);
	CHECK(elf_kind(NULL) == ELF_K_NONE && gelf_getclass(NULL) == ELFCLASSNONE && elf_ndxscn(NULL) == SHN_UNDEF);
	CHECK(!elf_getdata(NULL, NULL) && !elf_rawdata(NULL, NULL) && !elf_getscn(NULL, 0) && !elf_nextscn(NULL, NULL));
	Elf *elf = elf_memory(nothing, 0);
	CHECK(elf && elf_kind(elf) == ELF_K_NONE && !elf_strptr(elf, 0, 0));
	elf_end(elf);
	CHECK(file && gzgets(file, text, sizeof(text)) && !strncmp(text, "Name:", 5) && !gzclose(file));
	CHECK(!gzopen("/nonexistent", "re"));
}

int main(int argc, char **argv)
{
	unsigned long count = 20000 * scale(100);
	size_t size;
	unsigned char *image;

	libbpf_set_print(NULL);
	if (argc == 3 && !strcmp(argv[1], "dump")) {
		dump(argv[2]);
		return 0;
	}
	if (argc == 4 && !strcmp(argv[1], "func")) {
		printf("%ld\n", elf_find_func_offset_from_file(argv[2], argv[3]));
		return 0;
	}
	if (argc == 5) {
		rng_state += strtoull(argv[3], NULL, 0);
		image = load(argv[2], &size);
		torture(image, size, strtoul(argv[4], NULL, 0), strcmp(argv[1], "libbpf") ? visit_reader : visit_libbpf, true);
		free(image);
	} else {
		small_cases();
		for (size_t i = 0; i < tf_blob_count; i++) {
			image = malloc(tf_blobs[i].size);
			CHECK(image && (size_t)tf_blobs[i].data % 16 == 0);
			memcpy(image, tf_blobs[i].data, tf_blobs[i].size);
			torture(image, tf_blobs[i].size, count / (tf_blob_count * 4), visit_reader, false);
			free(image);
		}
	}
	printf("%lu cases\n", cases);
	return 0;
}
