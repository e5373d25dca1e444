/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libelf.h: the part of the libelf interface that libbpf calls, answered by csrc/tf_elf.c ("minielf").
 *
 * Read only, ELF64 of this machine's byte order; other files open as ELF_K_NONE or with an error. A handle owns its
 * memory (elf_begin) or borrows the caller's, which must then stay as it is (elf_memory); everything handed out lives
 * until elf_end. One thread per handle. Every offset and size is checked: a malformed file gives errors, never a stray read.
 */
#ifndef TF_COMPAT_LIBELF_H
#define TF_COMPAT_LIBELF_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { ELF_C_NULL, ELF_C_READ, ELF_C_READ_MMAP } Elf_Cmd;
typedef enum { ELF_K_NONE, ELF_K_AR, ELF_K_COFF, ELF_K_ELF } Elf_Kind;
typedef enum { ELF_T_BYTE } Elf_Type;

typedef struct tf_elf Elf;
typedef struct tf_elf_scn Elf_Scn;

typedef struct {
	void *d_buf;          /* bytes: the section; zeroes for SHT_NOBITS. Never to be written */
	Elf_Type d_type;      /* always ELF_T_BYTE: nothing is converted */
	unsigned int d_version;
	size_t d_size;        /* bytes */
	int64_t d_off;        /* bytes: 0, the section comes in one piece */
	size_t d_align;       /* bytes: the section's alignment */
} Elf_Data;

unsigned int elf_version(unsigned int version);
Elf *elf_begin(int fd, Elf_Cmd cmd, Elf *ref);       /* reads the whole file; NULL on error */
Elf *elf_memory(char *image, size_t size);           /* NULL on error */
int elf_end(Elf *elf);                               /* NULL is fine; returns 0 */
Elf_Kind elf_kind(Elf *elf);
const char *elf_errmsg(int error);                   /* this thread's last error, whatever the number */

int elf_getshdrnum(Elf *elf, size_t *count);         /* 0, or -1 */
int elf_getphdrnum(Elf *elf, size_t *count);         /* 0, or -1 */
int elf_getshdrstrndx(Elf *elf, size_t *index);      /* 0, or -1 */

Elf_Scn *elf_getscn(Elf *elf, size_t index);         /* NULL if there is none */
Elf_Scn *elf_nextscn(Elf *elf, Elf_Scn *scn);        /* first after the null section for NULL; NULL at the end */
size_t elf_ndxscn(Elf_Scn *scn);
Elf_Data *elf_getdata(Elf_Scn *scn, Elf_Data *data); /* NULL on error, and for a second piece */
Elf_Data *elf_rawdata(Elf_Scn *scn, Elf_Data *data);
char *elf_strptr(Elf *elf, size_t index, size_t offset); /* NULL unless the text ends inside its section */

Elf64_Ehdr *elf64_getehdr(Elf *elf);
Elf64_Shdr *elf64_getshdr(Elf_Scn *scn);

#endif
