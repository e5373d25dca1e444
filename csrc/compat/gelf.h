/* SPDX-License-Identifier: Apache-2.0 */
/* gelf.h: the part of libelf's class-independent interface that libbpf calls; here every class is ELF64. See libelf.h. */
#ifndef TF_COMPAT_GELF_H
#define TF_COMPAT_GELF_H

#include "libelf.h"

typedef Elf64_Ehdr GElf_Ehdr;
typedef Elf64_Shdr GElf_Shdr;
typedef Elf64_Phdr GElf_Phdr;
typedef Elf64_Sym GElf_Sym;
typedef Elf64_Rel GElf_Rel;
typedef Elf64_Nhdr GElf_Nhdr;
typedef Elf64_Versym GElf_Versym;
typedef Elf64_Verdef GElf_Verdef;
typedef Elf64_Verdaux GElf_Verdaux;

#define GELF_ST_BIND(info) ELF64_ST_BIND(info)
#define GELF_ST_TYPE(info) ELF64_ST_TYPE(info)

/* Each fills *out and returns it, or returns NULL: what was asked for is not there, or reaches outside its section. */
int gelf_getclass(Elf *elf);
GElf_Ehdr *gelf_getehdr(Elf *elf, GElf_Ehdr *out);
GElf_Shdr *gelf_getshdr(Elf_Scn *scn, GElf_Shdr *out);
GElf_Phdr *gelf_getphdr(Elf *elf, int index, GElf_Phdr *out);
GElf_Sym *gelf_getsym(Elf_Data *data, int index, GElf_Sym *out);
GElf_Versym *gelf_getversym(Elf_Data *data, int index, GElf_Versym *out);
GElf_Verdef *gelf_getverdef(Elf_Data *data, int offset, GElf_Verdef *out);
GElf_Verdaux *gelf_getverdaux(Elf_Data *data, int offset, GElf_Verdaux *out);
/* Returns the offset of the next note, or 0 when there is no whole note at `offset`. */
size_t gelf_getnote(Elf_Data *data, size_t offset, GElf_Nhdr *out, size_t *name_offset, size_t *desc_offset);

#endif
