/* SPDX-License-Identifier: Apache-2.0 */
/* tf_arrow: rows of batches as tables in Arrow's C data interface: numbers as they are; names, addresses and texts as UTF-8.
 * Everything handed out is a copy with memory of its own, freed by its release callback, on any thread. Thread safe: no state. */
#ifndef TF_ARROW_H
#define TF_ARROW_H

#include "tf_batch.h"

/* Laid down by Arrow's specification: others read these structs, and may have declared them already. */
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4
struct ArrowSchema {
	const char *format;
	const char *name;
	const char *metadata;
	int64_t flags;
	int64_t n_children;
	struct ArrowSchema **children;
	struct ArrowSchema *dictionary;
	void (*release)(struct ArrowSchema *);
	void *private_data;
};
struct ArrowArray {
	int64_t length;
	int64_t null_count;
	int64_t offset;
	int64_t n_buffers;
	int64_t n_children;
	const void **buffers;
	struct ArrowArray **children;
	struct ArrowArray *dictionary;
	void (*release)(struct ArrowArray *);
	void *private_data;
};
#endif
#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
	int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
	int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
	const char *(*get_last_error)(struct ArrowArrayStream *);
	void (*release)(struct ArrowArrayStream *);
	void *private_data;
};
#endif

enum tf_arrow_how {
	TF_ARROW_NUMBER,            /* u1 .. u8, i1 .. i8, f4, f8 */
	TF_ARROW_WORDS,             /* array of u8: fixed size list */
	TF_ARROW_CHARS,             /* characters up to the trailing NULs: utf8 */
	TF_ARROW_TEXT,              /* tf_text: utf8 */
	TF_ARROW_PARTS,             /* tf_text with NULs between its parts: list of utf8 */
	TF_ARROW_BYTES,             /* tf_text: binary */
	TF_ARROW_ADDRESS,           /* 16 bytes: utf8, empty when there is none */
	TF_ARROW_TYPE,              /* the three of names: dictionary of utf8 */
	TF_ARROW_SUBTYPE,
	TF_ARROW_BOOT,
	TF_ARROW_TIME,              /* ts_ns by the clock of its batch: timestamp[ns, UTC] */
	TF_ARROW_RUN, TF_ARROW_EPOCH, /* of the batch: u8 */
	TF_ARROW_SEVERITY,          /* u1 */
};
struct tf_arrow_column {
	const char *name;
	uint8_t how;                /* enum tf_arrow_how */
	char kind;                  /* of the field, as struct tf_field; 0 = not a field */
	uint16_t offset, size;      /* bytes: of the field in the row */
};
#define TF_ARROW_COLUMNS_MAX 56
#define TF_ARROW_EVENTS 0            /* instead of a domain: the common fields of all of them but meta */
struct tf_arrow_plan {
	uint8_t domain;
	uint16_t n;
	struct tf_arrow_column column[TF_ARROW_COLUMNS_MAX];
};
/* The columns of a domain: time, the fields of a row, then boot_id, run_id, epoch and severity. 0, -ENOENT: no such domain. */
int tf_arrow_plan(uint8_t domain, struct tf_arrow_plan *out);
int tf_arrow_schema(const struct tf_arrow_plan *p, struct ArrowSchema *out);    /* 0, -ENOMEM */
/* The rows of that domain in these batches, in order, as one array of structs. A column that is not `wanted` is all null and costs
 * next to nothing; wanted = NULL: all. Bytes that are not UTF-8 become \xNN. 0; -ENOMEM; -E2BIG: 2 GiB in a column of texts,
 * or 65,536 names. Then *out is zero. */
int tf_arrow_array(const struct tf_arrow_plan *p, const struct tf_batch *const *batches, size_t n, const bool *wanted,
		   struct ArrowArray *out);
/* Appends text to to[], which has room for 4 * len bytes, with what is not UTF-8 as \xNN. Returns how many bytes. */
size_t tf_arrow_utf8(const uint8_t *text, size_t len, uint8_t *to);

#endif
