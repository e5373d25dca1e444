/* SPDX-License-Identifier: Apache-2.0 */
/* tf_segment_source: a raw store as a source of batches for a pump (replay). One thread; close (once) frees reader and source. */
#ifndef TF_SEGMENT_SOURCE_H
#define TF_SEGMENT_SOURCE_H

#include "tf_segment.h"
#include "tf_source.h"

/* sel may be NULL. The source's name is "store"; it has no rings, its ncpu is 1. 0, or what tf_segment_reader_open answers. */
int tf_segment_source_open(int dir_fd, const struct tf_reader_select *sel, struct tf_source **out);

#endif
