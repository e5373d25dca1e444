/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tf_blobs: the BPF objects of bpf/, embedded by the build (build/tf_blobs.c, tf_yard_blobs.c, generated), without DWARF.
 *
 * Read-only data with static life: free of locks, any thread. Data is aligned to 16 bytes, as libbpf's BTF and ELF
 * readers want it. Not there in a build with TF_NO_BPF.
 */
#ifndef TF_BLOBS_H
#define TF_BLOBS_H

#include <stddef.h>

struct tf_blob {
	const char *name;          /* text: file stem, such as "process" for bpf/process.bpf.c */
	const unsigned char *data; /* bytes: the ELF object */
	size_t size;               /* bytes */
};

extern const struct tf_blob tf_blobs[]; /* tf_blob_count rows, sorted by name, then one with name NULL */
extern const size_t tf_blob_count;
extern const struct tf_blob tf_yard_blobs[]; /* the same for the yardstick programs (tf_object_yard.h), which the others do without */
extern const size_t tf_yard_blob_count;

#endif
