/* SPDX-License-Identifier: Apache-2.0 */
/* tf_segment_impl: what the writer and the reader of segments share: the bytes on disk (docs/store-format.md) and how they are keyed.
 * Private to tf_segment_*.c. Numbers on disk are little endian, which every platform of this engine is. */
#ifndef TF_SEGMENT_IMPL_H
#define TF_SEGMENT_IMPL_H

#include "tf_pack.h"
#include "tf_segment.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "segments are little endian and are read without swapping");

#define TF_SEG_MAGIC "\x89TFSEG\r\n"
#define TF_SEG_VERSION 0x8001u       /* first draft of version 1, which takes its place when it is frozen */
#define TF_SEG_AREA 16384u           /* bytes: room of the header; a second copy follows, so that one bad byte costs no segment */
#define TF_SEG_FIRST (2 * TF_SEG_AREA) /* bytes: offset of the first frame */
#define TF_SEG_NAME_LEN 32
#define TF_LOCK_NAME "LOCK"

struct tf_seg_head {
	char magic[8];
	uint32_t version;
	uint32_t length;             /* bytes: of the header, layouts and CRC32C at its end included */
	uint8_t boot_id[16];
	uint8_t nonce[16];           /* random; keys marker and checksums of every frame */
	uint64_t run_id;             /* ns */
	uint64_t number;             /* of this segment, as in its name */
	int64_t created_ns;          /* ns: Unix time */
	uint64_t resumes_number;     /* id: segment whose end this one rewrites, because its device failed to sync */
	uint64_t resumes_at;         /* bytes: that segment ends here; 0 = none */
	uint32_t n_domains;          /* count: of tf_seg_domain that follow, each with its name and fields */
	uint32_t _pad0;
};
struct tf_seg_domain {
	uint8_t domain, name_len;
	uint16_t row_size, n_fields, _pad0;
};
struct tf_seg_field {
	char kind;                   /* as struct tf_field */
	uint8_t name_len;
	uint16_t offset, size;
};

struct tf_frame_head {
	uint8_t marker[16];          /* from the nonce: cannot be guessed by who can only name files */
	uint32_t length;             /* bytes: of the header: domain table and CRC32C included */
	uint32_t flags;              /* zero */
	uint64_t frame_no;           /* count: in this segment, from 0 */
	uint64_t rows_before;        /* count: rows of the frames before it: tells what a damaged one held */
	uint64_t payload_len;        /* bytes */
	uint64_t first_epoch, last_epoch;
	uint64_t ts_min, ts_max;     /* ns, boot time; min > max when there are no rows */
	int64_t unix_min, unix_max;  /* ns: the same as Unix time, by each epoch's offset */
	uint32_t n_epochs, n_domains, n_loss;
	uint32_t epochs_len;         /* bytes: compressed epoch table */
	uint64_t rows;               /* count: all domains */
};
struct tf_frame_domain {
	uint8_t domain;
	uint8_t filtered;            /* 1: a tf_frame_filter of it follows the table */
	uint16_t row_size;
	uint32_t rows;
	uint32_t pack_len;           /* bytes: its rows and texts (tf_pack.h) */
	uint32_t text;               /* bytes: of texts, when they come back */
	uint64_t kinds;              /* bits: subtypes; the last one: 63 and above */
	uint64_t cgroup_min, cgroup_max;
	uint32_t pid_min, pid_max;
	uint16_t port_min, port_max; /* of all its ports that are not 0; min > max: there are none */
	uint32_t _pad0;
};
/* Which values there may be: bit tf_index_bit(value, bits) of each value is set. */
struct tf_frame_filter {
	uint8_t pid[64], port[32], cgroup[16];
};
/* Then a tf_frame_filter for each domain that has one; CRC32C of the header, keyed; the payload (epoch table, then a pack of each domain);
 * then: */
struct tf_frame_foot {
	uint32_t payload_crc;        /* CRC32C of the payload, begun with the header's */
	uint32_t frame_len;          /* bytes: of the whole frame, foot included */
};
/* A line of the epoch table, then loss[n_loss] u8, then rows[n_domains] u4. */
struct tf_epoch_line {
	uint64_t epoch, watermark_ns;
	int64_t wall_offset_ns;
};

#define TF_FRAME_DOMAINS_MAX 64u
#define TF_FRAME_LOSS_MAX 64u
#define TF_FRAME_EPOCHS_MAX 65536u
#define TF_FRAME_HEAD_MAX \
	(sizeof(struct tf_frame_head) + TF_FRAME_DOMAINS_MAX * (sizeof(struct tf_frame_domain) + sizeof(struct tf_frame_filter)) + 4)

_Static_assert(sizeof(struct tf_seg_head) == 96, "store files depend on it");
_Static_assert(sizeof(struct tf_frame_head) == 120, "store files depend on it");
_Static_assert(sizeof(struct tf_frame_domain) == 56 && sizeof(struct tf_frame_filter) == 112, "store files depend on it");
_Static_assert(sizeof(struct tf_seg_field) == 6 && sizeof(struct tf_seg_domain) == 8, "store files depend on it");

static inline size_t tf_frame_head_len(uint32_t n_domains, uint32_t n_filters)
{
	return sizeof(struct tf_frame_head) + n_domains * sizeof(struct tf_frame_domain) + n_filters * sizeof(struct tf_frame_filter) + 4;
}
static inline size_t tf_epoch_line_len(uint32_t n_loss, uint32_t n_domains)
{
	return sizeof(struct tf_epoch_line) + 8 * (size_t)n_loss + 4 * (size_t)n_domains;
}

/* "segment-0000000001.tfseg" <-> 1. parse: false when the name is not one of ours. */
void tf_seg_name(uint64_t number, char name[TF_SEG_NAME_LEN]);
bool tf_seg_parse_name(const char *name, uint64_t *number);
/* Both copies of the header into area[TF_SEG_FIRST]; the caller filled boot_id, nonce, run_id, number, created_ns, resumes_*. */
int tf_seg_build(const struct tf_seg_head *head, uint8_t *area);
/* Finds the good copy in what was read: its offset; -ENOENT: not ours (no magic), -EBADMSG: ours but both copies damaged, -EPROTO: newer
 * version. */
ssize_t tf_seg_check(const uint8_t *area, size_t len);
void tf_seg_marker(const uint8_t nonce[16], uint8_t marker[16]);
/* Fills marker, numbers and checksums of a frame that is complete but for them. */
void tf_frame_seal(uint8_t *frame, const uint8_t nonce[16], const uint8_t marker[16], uint64_t frame_no, uint64_t rows_before);
size_t tf_frame_len(const struct tf_frame_head *h);
/* Header of h->length bytes at h, checked against its keyed CRC, its own sums and the caps. 0, -EBADMSG. */
int tf_frame_check(const struct tf_frame_head *h, const uint8_t nonce[16], const uint8_t marker[16]);
static inline const struct tf_frame_domain *tf_frame_domains(const struct tf_frame_head *h)
{
	return (const struct tf_frame_domain *)(h + 1);
}
static inline uint32_t tf_index_bit(uint64_t value, uint32_t bits)
{
	return (uint32_t)((value * 0x9e3779b97f4a7c15u) >> 32) % bits;
}
/* What the rows of one epoch add to the index of their domain (tf_segment_index.c); filter NULL: none is kept. */
void tf_index_open(struct tf_frame_domain *d);
void tf_index_add(struct tf_frame_domain *d, struct tf_frame_filter *filter, const uint8_t *rows, uint32_t n);
/* Whether a row that is asked for may be in the block: false is certain. */
bool tf_index_may_match(const struct tf_frame_head *h, const struct tf_reader_select *sel);
/* Numbers of all files in the directory that are named like segments, sorted; the list is to be freed. 0, -errno. */
int tf_seg_list(int dir_fd, uint64_t **list, size_t *n);

/* A block on its way to a frame (tf_segment_encode.c). */
#define TF_HELD_MAX 1024u            /* epochs in a block */
struct tf_held_rows {
	const uint8_t *rows, *text;
	uint32_t n, text_len;
};
struct tf_held_epoch {
	struct tf_epoch_line line;
	uint64_t ts_min, ts_max;     /* of its rows; min > max when there are none */
	uint64_t loss[TF_L_COUNT];
	struct tf_held_rows dom[TF_TYPE_MAX];
};
struct tf_seg_block {
	struct tf_pack *pack;
	uint32_t n_held;
	uint64_t rows, raw_bytes;
	uint32_t row_size[TF_TYPE_MAX];
	uint8_t *gather;             /* the epoch table */
	size_t gather_cap;
	struct tf_pack_rows rows_of[TF_HELD_MAX];    /* of the domain at hand */
	struct tf_held_epoch held[TF_HELD_MAX];
};
struct tf_seg_out;
/* The block as a frame at tf_seg_out's room, but for what tf_frame_seal fills. Its length; -ENOMEM, -ENOSPC. */
ssize_t tf_seg_block_encode(struct tf_seg_block *b, struct tf_seg_out *out);

/* The file a writer is writing, and the frames in it that no sync has confirmed yet (tf_segment_out.c). */
struct tf_seg_out {
	int dir_fd, fd;              /* fd -1: the next frame opens a segment */
	uint64_t number;             /* of the last segment made or seen */
	uint64_t segment_bytes;
	uint8_t boot_id[16], nonce[16], marker[16];
	uint64_t run_id;
	uint64_t off, synced;        /* bytes: end of the last good frame; what the last good sync covered */
	uint64_t frame_no, rows_before;
	uint8_t *keep;               /* the file's bytes from `synced` to `off`, then the frame being built */
	size_t keep_cap, keep_len;
	uint64_t keep_rows, keep_frames;
	uint64_t segments, bytes;    /* made, written */
	uint64_t lost_rows, lost_frames; /* were written, then given up because they could neither be synced nor rewritten */
	uint64_t sync_failures;
};
/* Room for a frame of at most `size` bytes, valid until the next call; NULL: no memory. */
uint8_t *tf_seg_out_room(struct tf_seg_out *o, size_t size);
/* Writes the frame that was built there. 0; -errno: it is not in the file, which is as it was. */
int tf_seg_out_put(struct tf_seg_out *o, size_t len, uint64_t rows, const uint8_t boot_id[16], uint64_t run_id);
int tf_seg_out_sync(struct tf_seg_out *o);  /* 0, or -errno when rows were lost (lost_rows) */
int tf_seg_out_close(struct tf_seg_out *o); /* sync and close the file; the struct can be used again */
/* Gives a file made under sudo to the owner of the directory. */
int tf_seg_give(int dir_fd, int fd);

/* How rows of a file become rows of this build, per domain number (tf_segment_decode.c). */
#define TF_MOVES_MAX 96u
struct tf_seg_moves {
	bool known;                  /* both the file and this build describe the domain */
	bool same;                   /* rows are equal byte for byte */
	uint16_t src_size, n;
	struct { uint16_t from, to, len; } move[TF_MOVES_MAX]; /* fields of the same name, kind and size; the rest is zero */
	/* fields of the file, and the place of each among this build's; TF_PACK_FIELDS_MAX: none */
	uint16_t n_fields;
	struct tf_field field[TF_PACK_FIELDS_MAX];
	uint8_t mine[TF_PACK_FIELDS_MAX];
};
/* Out of a header that tf_seg_check found good, whose lengths are still not trusted. */
void tf_seg_plan(const uint8_t *head, struct tf_seg_moves plan[TF_TYPE_MAX]);

/* One decoded block. */
struct tf_seg_decoded {
	struct tf_pack *pack;
	struct tf_frame_head head;
	struct tf_frame_domain dom[TF_FRAME_DOMAINS_MAX];
	bool wanted[TF_FRAME_DOMAINS_MAX]; /* rows and text of these are in `raw` */
	size_t rows_at[TF_FRAME_DOMAINS_MAX], text_at[TF_FRAME_DOMAINS_MAX]; /* bytes: of the next epoch's, in raw */
	uint32_t next_epoch;
	uint8_t *raw;                /* epoch table, then rows and text of each wanted domain */
	size_t raw_cap;
	uint32_t *texts;             /* bytes: of each epoch's texts, domain by domain; then rows of the domain at hand */
	size_t texts_cap;
	uint64_t unknown_rows;       /* of this block */
};
/* payload: checked by its CRC. 0; -EBADMSG: contradicts its header, -ENOMEM. */
int tf_seg_decode(struct tf_seg_decoded *b, const struct tf_seg_moves plan[TF_TYPE_MAX], const struct tf_reader_select *sel,
		  const uint8_t *payload);
/* The next epoch as a batch: 1, 0 = no more, -ENOMEM (nothing consumed). */
int tf_seg_next_epoch(struct tf_seg_decoded *b, const struct tf_seg_moves plan[TF_TYPE_MAX], struct tf_pool *pool, struct tf_batch **out);
void tf_seg_unread_epoch(struct tf_seg_decoded *b); /* the epoch given last comes again */
/* Keeps the rows of `*io` inside the range: 1, 0 = none left (freed), -ENOMEM (nothing done). */
int tf_seg_trim(struct tf_batch **io, const struct tf_reader_select *sel);

#endif
