// SPDX-License-Identifier: Apache-2.0
/*
 * tf_elf: "minielf", a small read-only ELF64 reader with libelf's names, so that libbpf needs no libelf (see
 * compat/libelf.h for the promises).
 *
 * One rule keeps it safe: in_file() and in_data() judge every foreign offset and size before it is used, and headers are
 * copied out once, so that what was checked is what is used.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gelf.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TF_ELF_FILE_MAX ((size_t)256 << 20)  /* bytes: files are read, not mapped; a cut mapping would raise SIGBUS */
#define TF_ELF_NOBITS_MAX ((size_t)64 << 20) /* bytes: zeroes that a header alone can make us allocate */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define TF_ELF_DATA ELFDATA2LSB
#else
#define TF_ELF_DATA ELFDATA2MSB
#endif

struct tf_elf_scn {
	Elf *elf;
	size_t index;
	Elf64_Shdr shdr;
	Elf_Data data;
	bool has_data;
	void *zeroes; /* owned: what d_buf of an SHT_NOBITS section points to */
};

struct tf_elf {
	const unsigned char *image;
	size_t size;
	void *owned;  /* the image, when it is ours to free */
	Elf_Kind kind;
	int class;
	Elf64_Ehdr ehdr;
	size_t shnum, phnum, shstrndx;
	struct tf_elf_scn *scns; /* shnum of them */
};

/* The interface has no other way to say why: like errno, per thread, and only ever a constant text. */
static _Thread_local const char *last_error = "no error";

static void *fail(const char *why)
{
	last_error = why;
	return NULL;
}

static bool in_file(const Elf *elf, uint64_t offset, uint64_t size)
{
	return offset <= elf->size && size <= elf->size - offset;
}

static bool in_data(const Elf_Data *data, uint64_t offset, uint64_t size)
{
	return data && data->d_buf && offset <= data->d_size && size <= data->d_size - offset;
}

/* Copies `size` bytes at `offset` of a section, which need not be aligned there. */
static void *copy_out(const Elf_Data *data, uint64_t offset, size_t size, void *out)
{
	if (!out || !in_data(data, offset, size))
		return fail("entry outside its section");
	memcpy(out, (const char *)data->d_buf + offset, size);
	return out;
}

/* Reads the section headers; counts too large for the header's 16 bits stand in section 0. */
static bool load_sections(Elf *elf)
{
	const Elf64_Ehdr *ehdr = &elf->ehdr;
	Elf64_Shdr first;

	elf->phnum = ehdr->e_phnum;
	if (!ehdr->e_shoff) {
		if (elf->phnum == PN_XNUM)
			return fail("program header count without a section 0");
		return true;
	}
	if (ehdr->e_shentsize != sizeof(Elf64_Shdr))
		return fail("section headers of an unknown size");
	if (!in_file(elf, ehdr->e_shoff, sizeof(first)))
		return fail("section headers outside the file");
	memcpy(&first, elf->image + ehdr->e_shoff, sizeof(first));
	elf->shnum = ehdr->e_shnum ? ehdr->e_shnum : first.sh_size;
	elf->shstrndx = ehdr->e_shstrndx == SHN_XINDEX ? first.sh_link : ehdr->e_shstrndx;
	if (elf->phnum == PN_XNUM)
		elf->phnum = first.sh_info;
	if (elf->shnum > (elf->size - ehdr->e_shoff) / sizeof(Elf64_Shdr)) {
		elf->shnum = 0;
		return fail("section headers outside the file");
	}
	if (!elf->shnum)
		return true;
	elf->scns = calloc(elf->shnum, sizeof(*elf->scns));
	if (!elf->scns) {
		elf->shnum = 0;
		return fail("out of memory");
	}
	for (size_t i = 0; i < elf->shnum; i++) {
		elf->scns[i].elf = elf;
		elf->scns[i].index = i;
		memcpy(&elf->scns[i].shdr, elf->image + ehdr->e_shoff + i * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr));
	}
	return true;
}

/* Judges the identification. What is no ELF64 at all stays a handle of kind or class NONE, as libelf's callers expect. */
static bool load_header(Elf *elf)
{
	const unsigned char *ident = elf->image;

	if (elf->size < EI_NIDENT || memcmp(ident, ELFMAG, SELFMAG) != 0)
		return true;
	if (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64)
		return fail("unknown ELF class");
	if (ident[EI_VERSION] != EV_CURRENT)
		return fail("unknown ELF version");
	elf->kind = ELF_K_ELF;
	elf->class = ident[EI_CLASS];
	if (elf->class != ELFCLASS64)
		return true;
	if (ident[EI_DATA] != TF_ELF_DATA)
		return fail("ELF file of foreign byte order");
	if (elf->size < sizeof(elf->ehdr))
		return fail("ELF header is cut off");
	memcpy(&elf->ehdr, elf->image, sizeof(elf->ehdr));
	return load_sections(elf);
}

/* Takes `owned` over, also when it fails. */
static Elf *open_image(const void *image, size_t size, void *owned)
{
	Elf *elf = calloc(1, sizeof(*elf));

	if (!elf) {
		free(owned);
		return fail("out of memory");
	}
	elf->image = image;
	elf->size = size;
	elf->owned = owned;
	elf->kind = ELF_K_NONE;
	elf->class = ELFCLASSNONE;
	if (!load_header(elf)) {
		elf_end(elf);
		return NULL;
	}
	return elf;
}

unsigned int elf_version(unsigned int version)
{
	return version == EV_NONE || version == EV_CURRENT ? EV_CURRENT : EV_NONE;
}

Elf *elf_begin(int fd, Elf_Cmd cmd, Elf *ref)
{
	struct stat st;
	size_t size, done = 0;
	char *image;

	if ((cmd != ELF_C_READ && cmd != ELF_C_READ_MMAP) || ref)
		return fail("only whole files can be read");
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return fail("not a regular file");
	if (st.st_size < 0 || (uint64_t)st.st_size > TF_ELF_FILE_MAX)
		return fail("file is larger than 256 MiB");
	size = (size_t)st.st_size;
	image = malloc(size ? size : 1);
	if (!image)
		return fail("out of memory");
	while (done < size) {
		ssize_t n = pread(fd, image + done, size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			free(image);
			return fail("file cannot be read");
		}
		if (n == 0)
			break; /* cut while being read: judge what is there */
		done += (size_t)n;
	}
	return open_image(image, done, image);
}

Elf *elf_memory(char *image, size_t size)
{
	char *copy;

	if (!image)
		return fail("no memory image");
	if ((uintptr_t)image % _Alignof(Elf64_Ehdr) == 0)
		return open_image(image, size, NULL);
	copy = malloc(size ? size : 1); /* libbpf reads records of sections in place: they must be aligned */
	if (!copy)
		return fail("out of memory");
	memcpy(copy, image, size);
	return open_image(copy, size, copy);
}

int elf_end(Elf *elf)
{
	if (!elf)
		return 0;
	for (size_t i = 0; i < elf->shnum; i++)
		free(elf->scns[i].zeroes);
	free(elf->scns);
	free(elf->owned);
	free(elf);
	return 0;
}

Elf_Kind elf_kind(Elf *elf)
{
	return elf ? elf->kind : ELF_K_NONE;
}

const char *elf_errmsg(int error)
{
	(void)error;
	return last_error;
}

static bool is_elf64(const Elf *elf)
{
	return elf && elf->class == ELFCLASS64;
}

static int count_out(const Elf *elf, size_t value, size_t *out)
{
	if (!is_elf64(elf) || !out) {
		fail("not an ELF64 file");
		return -1;
	}
	*out = value;
	return 0;
}

int elf_getshdrnum(Elf *elf, size_t *count)
{
	return count_out(elf, elf ? elf->shnum : 0, count);
}

int elf_getphdrnum(Elf *elf, size_t *count)
{
	return count_out(elf, elf ? elf->phnum : 0, count);
}

int elf_getshdrstrndx(Elf *elf, size_t *index)
{
	return count_out(elf, elf ? elf->shstrndx : 0, index);
}

Elf_Scn *elf_getscn(Elf *elf, size_t index)
{
	if (!elf || index >= elf->shnum)
		return fail("no such section");
	return &elf->scns[index];
}

Elf_Scn *elf_nextscn(Elf *elf, Elf_Scn *scn)
{
	size_t next = scn ? scn->index + 1 : 1;

	if (!elf || next >= elf->shnum)
		return NULL; /* the end, no error */
	return &elf->scns[next];
}

size_t elf_ndxscn(Elf_Scn *scn)
{
	return scn ? scn->index : SHN_UNDEF;
}

/* Size of one record of a table section, 0 for what is no table. Callers walk these in place. */
static size_t entry_size(uint32_t type)
{
	switch (type) {
	case SHT_SYMTAB:
	case SHT_DYNSYM:
		return sizeof(Elf64_Sym);
	case SHT_REL:
		return sizeof(Elf64_Rel);
	case SHT_RELA:
		return sizeof(Elf64_Rela);
	case SHT_GNU_versym:
		return sizeof(Elf64_Versym);
	default:
		return 0;
	}
}

static size_t entry_align(uint32_t type)
{
	return type == SHT_GNU_versym ? _Alignof(Elf64_Versym) : _Alignof(Elf64_Sym);
}

/* NOBITS has a size and no bytes: give real zeroes, since libbpf reads some sections by name without asking the type. */
static bool load_zeroes(struct tf_elf_scn *scn, Elf_Data *data)
{
	if (scn->shdr.sh_size > TF_ELF_NOBITS_MAX)
		return fail("zero-filled section is larger than 64 MiB");
	scn->zeroes = calloc(1, scn->shdr.sh_size ? scn->shdr.sh_size : 1);
	if (!scn->zeroes)
		return fail("out of memory");
	data->d_buf = scn->zeroes;
	return true;
}

Elf_Data *elf_rawdata(Elf_Scn *scn, Elf_Data *data)
{
	const Elf64_Shdr *shdr;
	Elf_Data fresh = { .d_type = ELF_T_BYTE, .d_version = EV_CURRENT };

	if (!scn || data)
		return fail("no such section");
	if (scn->has_data)
		return &scn->data;
	shdr = &scn->shdr;
	fresh.d_align = shdr->sh_addralign;
	fresh.d_size = shdr->sh_size;
	if (shdr->sh_type == SHT_NULL) {
		fresh.d_size = 0;
	} else if (shdr->sh_type == SHT_NOBITS) {
		if (!load_zeroes(scn, &fresh))
			return NULL;
	} else if (!in_file(scn->elf, shdr->sh_offset, shdr->sh_size)) {
		return fail("section outside the file");
	} else {
		fresh.d_buf = (void *)(uintptr_t)(scn->elf->image + shdr->sh_offset);
	}
	scn->data = fresh;
	scn->has_data = true;
	return &scn->data;
}

Elf_Data *elf_getdata(Elf_Scn *scn, Elf_Data *data)
{
	Elf_Data *raw = elf_rawdata(scn, data);
	size_t size = raw ? entry_size(scn->shdr.sh_type) : 0;

	if (!size)
		return raw;
	/* libbpf divides by sh_entsize and walks the records where they lie. */
	if (scn->shdr.sh_entsize != size || raw->d_size % size)
		return fail("table section with records of an unknown size");
	if ((uintptr_t)raw->d_buf % entry_align(scn->shdr.sh_type))
		return fail("table section is not aligned");
	return raw;
}

char *elf_strptr(Elf *elf, size_t index, size_t offset)
{
	Elf_Scn *scn = elf_getscn(elf, index);
	Elf_Data *data = scn && scn->shdr.sh_type == SHT_STRTAB ? elf_rawdata(scn, NULL) : NULL;
	char *text;

	if (!data)
		return fail("no such string section");
	if (offset >= data->d_size)
		return fail("text outside its section");
	text = (char *)data->d_buf + offset;
	if (!memchr(text, 0, data->d_size - offset))
		return fail("text without an end");
	return text;
}

Elf64_Ehdr *elf64_getehdr(Elf *elf)
{
	return is_elf64(elf) ? &elf->ehdr : fail("not an ELF64 file");
}

Elf64_Shdr *elf64_getshdr(Elf_Scn *scn)
{
	return scn ? &scn->shdr : fail("no such section");
}

int gelf_getclass(Elf *elf)
{
	return elf ? elf->class : ELFCLASSNONE;
}

GElf_Ehdr *gelf_getehdr(Elf *elf, GElf_Ehdr *out)
{
	if (!is_elf64(elf) || !out)
		return fail("not an ELF64 file");
	*out = elf->ehdr;
	return out;
}

GElf_Shdr *gelf_getshdr(Elf_Scn *scn, GElf_Shdr *out)
{
	if (!scn || !out)
		return fail("no such section");
	*out = scn->shdr;
	return out;
}

GElf_Phdr *gelf_getphdr(Elf *elf, int index, GElf_Phdr *out)
{
	uint64_t offset;

	if (!is_elf64(elf) || !out || index < 0 || (size_t)index >= elf->phnum)
		return fail("no such program header");
	if (elf->ehdr.e_phentsize != sizeof(*out))
		return fail("program headers of an unknown size");
	if (elf->ehdr.e_phoff > elf->size)
		return fail("program headers outside the file");
	offset = elf->ehdr.e_phoff + (uint64_t)index * sizeof(*out); /* both small: cannot wrap */
	if (!in_file(elf, offset, sizeof(*out)))
		return fail("program headers outside the file");
	memcpy(out, elf->image + offset, sizeof(*out));
	return out;
}

GElf_Sym *gelf_getsym(Elf_Data *data, int index, GElf_Sym *out)
{
	return index < 0 ? fail("no such symbol") : copy_out(data, (uint64_t)index * sizeof(*out), sizeof(*out), out);
}

GElf_Versym *gelf_getversym(Elf_Data *data, int index, GElf_Versym *out)
{
	return index < 0 ? fail("no such version") : copy_out(data, (uint64_t)index * sizeof(*out), sizeof(*out), out);
}

/* The caller adds vd_next and vd_aux to an int without looking: both are checked here, so its walk goes up and ends. */
GElf_Verdef *gelf_getverdef(Elf_Data *data, int offset, GElf_Verdef *out)
{
	if (offset < 0 || !copy_out(data, (uint64_t)offset, sizeof(*out), out))
		return fail("no such version definition");
	if (data->d_size > INT_MAX || !in_data(data, (uint64_t)offset + out->vd_next, 0) ||
	    !in_data(data, (uint64_t)offset + out->vd_aux, 0))
		return fail("version definition points outside its section");
	return out;
}

GElf_Verdaux *gelf_getverdaux(Elf_Data *data, int offset, GElf_Verdaux *out)
{
	return offset < 0 ? fail("no such version name") : copy_out(data, (uint64_t)offset, sizeof(*out), out);
}

size_t gelf_getnote(Elf_Data *data, size_t offset, GElf_Nhdr *out, size_t *name_offset, size_t *desc_offset)
{
	uint64_t align = data && data->d_align == 8 ? 8 : 4;
	uint64_t name = (uint64_t)offset + sizeof(*out), desc, next;

	if (!copy_out(data, offset, sizeof(*out), out))
		return 0;
	desc = (name + out->n_namesz + align - 1) & ~(align - 1);
	next = (desc + out->n_descsz + align - 1) & ~(align - 1);
	if (!in_data(data, name, out->n_namesz) || !in_data(data, desc, out->n_descsz)) {
		fail("note reaches outside its section");
		return 0;
	}
	*name_offset = name;
	*desc_offset = desc;
	/* The last note may lack its padding. */
	return next < data->d_size ? next : data->d_size;
}
