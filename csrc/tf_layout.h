/* SPDX-License-Identifier: Apache-2.0 */
/* tf_layout: the C view of every record, one line per field, as const data; and its comparison with the BTF of a BPF object.
 * Python builds dtypes from this table. Thread safe: const data. */
#ifndef TF_LAYOUT_H
#define TF_LAYOUT_H

#include "tf_base.h"

/* kind: 'u' unsigned, 'i' signed, 'f' float, 'S' char array, 'B' byte array, 'A' array of u8 (64-bit words), 'T' struct tf_text */
struct tf_field {
	const char *name;           /* as in numpy: "errno", "weight" */
	const char *c_name;         /* as in C: "errno_" */
	char kind;
	uint16_t offset, size;      /* bytes */
};
struct tf_record_layout {
	const char *struct_name;    /* "tf_process" */
	const char *domain_name;    /* "process" */
	uint8_t domain;             /* enum tf_type */
	uint16_t size;              /* bytes */
	uint16_t n_fields;          /* header's fields come first, flattened */
	const struct tf_field *fields;
};
extern const struct tf_record_layout tf_layouts[];
extern const size_t tf_layout_count;
const struct tf_record_layout *tf_layout_of(uint8_t domain);    /* NULL if none */

/* Compares every record that the BTF data describes with the C table (own small BTF reader: honours hdr_len, hostile input safe).
 * 0 if equal; -EBADMSG and a sentence such as "tf_header.pid: C u4 at 32, BTF u4 at 36 (rebuild bpf/)" in msg if not; -ENOENT and a
 * sentence when `required` (NULL-ended list of struct names) has one that BTF lacks. */
int tf_layout_check(const void *btf, size_t btf_size, const char *const *required, char *msg, size_t msg_size);

#endif
