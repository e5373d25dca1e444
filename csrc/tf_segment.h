/* SPDX-License-Identifier: Apache-2.0 */
/* tf_segment: the raw store: a directory of append-only segments; a block holds whole epochs, a pack of each domain (tf_pack.h).
 * Writer: one per store (lock file), one thread. Reader: any number, one thread each; sees what was complete when it looked. */
#ifndef TF_SEGMENT_H
#define TF_SEGMENT_H

#include "tf_batch.h"
#include "tf_codec.h"

#define TF_BLOCK_RAW_CAP (64u << 20)    /* bytes: a block never decodes to more; checked before memory is taken */

/* What stays; 0 = no such bound. Segments go whole and oldest first, as long as one of the bounds is passed. */
struct tf_keep {
	uint64_t age_ns;                /* ns: since a segment was last written to */
	uint64_t bytes;                 /* of all segments together */
	uint64_t free_bytes;            /* of the file system, to whoever writes */
	uint64_t spare;                 /* segments of this number and above stay whatever happens */
	bool look_only;                 /* says what would go */
};
/* What went: of one run, or since the store was made. */
struct tf_removed {
	uint64_t segments, rows, bytes; /* rows: as their headers say */
	uint64_t number;                /* of the last segment; 0 = none */
	int64_t until_ns;               /* ns, Unix time: all of its rows were before this */
};
/* Removes what need not stay. 0; -errno: what went before is in *run. */
int tf_segment_keep(int dir_fd, const struct tf_keep *k, int64_t now_unix_ns, struct tf_removed *run);
/* What went since the store was made: 0; -EBADMSG: nobody knows any more, -errno. */
int tf_segment_removed(int dir_fd, struct tf_removed *out);
/* Rows of one segment and the time of its newest (INT64_MIN: none), by the headers of its frames; 0 rows of what is no segment. */
int tf_segment_count(int dir_fd, uint64_t number, uint64_t *rows, int64_t *newest_ns);

struct tf_segment_writer;
struct tf_writer_opts {
	/* a block is closed at this many rows; 0 = 8192: a full epoch fills one, and then nothing is copied to wait */
	uint32_t block_rows;
	uint32_t block_ms;              /* or this long after its first epoch; 0 = 1000 */
	uint32_t sync_ms;               /* fdatasync at least this often while there is data; 0 = 1000 */
	uint64_t sync_bytes;            /* or after this many bytes; 0 = 8 MiB */
	uint64_t segment_bytes;         /* rotate at; 0 = 256 MiB */
	int level;                      /* zstd; 0 = 1 */
	struct tf_keep keep;            /* looked at when a segment is made, every minute, and when the disk is full; `spare` is the writer's own */
};
struct tf_writer_stats {
	uint64_t epochs, rows, blocks, segments;    /* written */
	uint64_t buffered_rows;                     /* in the open block */
	uint64_t raw_bytes, bytes;                  /* rows and text; on disk */
	uint64_t lost_io, lost_enospc, lost_memory; /* rows; appended == rows + buffered_rows + these three */
	uint64_t sync_failures;                     /* failed fdatasync; each ended its segment, what it had not confirmed was written again */
	uint64_t last_errno;                        /* of the last failure, 0 = none */
	uint64_t removed_segments, removed_rows;    /* by `keep` */
};
/* dir_fd: an open directory, checked by the caller (owner, mode); kept as a dup. o NULL = defaults.
 * 0, -EWOULDBLOCK (locked), -ELOOP (LOCK is a link or no file), -errno. */
int tf_segment_writer_open(int dir_fd, const struct tf_writer_opts *o, struct tf_segment_writer **out);
/* One epoch = one batch; its rows are copied or written before it returns.
 * A batch above 8 MiB comes back in parts of the same epoch id.
 * 0; -ECHILD in a forked child; -errno: rows were counted lost by cause, the next append may work again. */
int tf_segment_writer_append(struct tf_segment_writer *w, const struct tf_batch *b);
int tf_segment_writer_tick(struct tf_segment_writer *w, uint64_t now_boot_ns);  /* time-driven close of block and sync */
int tf_segment_writer_flush(struct tf_segment_writer *w, bool sync);
void tf_segment_writer_stats(const struct tf_segment_writer *w, struct tf_writer_stats *out);   /* any thread: relaxed counters */
/* In a forked child: closes its descriptors, so that the parent's lock ends with the parent's close. Frees nothing. */
void tf_segment_writer_forget(struct tf_segment_writer *w);
int tf_segment_writer_close(struct tf_segment_writer *w);       /* flush, sync, unlock, free; NULL is fine */

struct tf_segment_reader;
struct tf_reader_stats {
	uint64_t segments, blocks, epochs, rows;    /* read so far */
	uint64_t gone_segments;                     /* were there when the reader was opened, and had been removed when it came to them */
	uint64_t corrupt_blocks, lost_rows;         /* damaged and passed over; rows as the good header said */
	uint64_t unknown_rows;                      /* of domains or row sizes this build does not know */
	uint64_t torn_bytes;                        /* incomplete end of a segment: of the newest one, a block that is being written */
	uint64_t skipped_blocks;                    /* not read, because nothing in them is asked for */
	uint64_t foreign;                           /* files with a segment's name that are none: another format, link, FIFO; never followed */
};
/* 0, -ENOENT no segment, -EBADMSG none that this version can read, -errno */
int tf_segment_reader_open(int dir_fd, struct tf_segment_reader **out);
/* What a row must have to be asked for, as far as an index can tell: one of the values, unless there are none. */
#define TF_ASKED_MAX 16
struct tf_asked_values {
	uint32_t n;
	uint64_t value[TF_ASKED_MAX];
};
struct tf_asked {
	uint64_t kinds;                 /* bits: subtypes; the last one: 63 and above */
	struct tf_asked_values pid, cgroup, port;       /* port: one of its ports; never 0 */
};
/* What next() shall give; before the first next(). */
struct tf_reader_select {
	uint32_t domains;               /* bits: 1 << domain; 0 = all */
	uint32_t narrow;                /* bits: of these domains only blocks that may have a row as in asked[domain]; rows are not judged */
	struct tf_asked asked[TF_TYPE_MAX];
	/* bits: fields of tf_layout_of(domain)->fields that are wanted, others are zero; ts_ns always comes. some_fields false: all */
	bool some_fields;
	uint64_t fields[TF_TYPE_MAX][2];
	int64_t since_ns, until_ns;     /* ns, Unix time: rows in [since, until); both 0 = all */
	bool whole_epochs;              /* an epoch that has a row in the range comes whole (replay) */
};
void tf_segment_reader_select(struct tf_segment_reader *r, const struct tf_reader_select *s);
/* boot_id and run_id of the oldest segment that is ours. */
void tf_segment_reader_ids(const struct tf_segment_reader *r, uint8_t boot_id[16], uint64_t *run_id);
/* 1 = one epoch in *out, 0 = end, -errno (-ENOMEM: the same epoch again when the pool has room).
 * Damage is passed over and counted. */
int tf_segment_reader_next(struct tf_segment_reader *r, struct tf_pool *pool, struct tf_batch **out);
/* The header of the next frame, without reading its rows: 1, 0 = end, -errno. Not to be mixed with next(). */
struct tf_frame_info {
	uint64_t segment, frame_no, bytes;          /* number of the segment; bytes of the frame */
	uint64_t rows, domain_rows[TF_TYPE_MAX];
	uint64_t n_epochs, first_epoch, last_epoch;
	int64_t unix_min, unix_max;                 /* ns; min > max when there are no rows */
	uint8_t boot_id[16];
	uint64_t run_id;
};
int tf_segment_reader_frame(struct tf_segment_reader *r, struct tf_frame_info *out);
void tf_segment_reader_stats(const struct tf_segment_reader *r, struct tf_reader_stats *out);
void tf_segment_reader_close(struct tf_segment_reader *r);

#endif
