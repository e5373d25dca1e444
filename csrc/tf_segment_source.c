// SPDX-License-Identifier: Apache-2.0
/* tf_segment_source: a segment reader behind the face of a tf_source. */
#include "tf_segment_source.h"

#include <stdlib.h>

struct store_source {
	struct tf_source source;
	struct tf_segment_reader *reader;
};

static int next(void *self, struct tf_pool *pool, struct tf_batch **out)
{
	struct store_source *s = self;
	return tf_segment_reader_next(s->reader, pool, out);
}

static void close_source(void *self)
{
	struct store_source *s = self;
	tf_segment_reader_close(s->reader);
	free(s);
}

int tf_segment_source_open(int dir_fd, const struct tf_reader_select *sel, struct tf_source **out)
{
	struct store_source *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	int rc = tf_segment_reader_open(dir_fd, &s->reader);
	if (rc) {
		free(s);
		return rc;
	}
	if (sel)
		tf_segment_reader_select(s->reader, sel);
	s->source.name = "store";
	s->source.self = s;
	s->source.ncpu = 1; /* how many there were is not recorded; nothing here is indexed by them */
	s->source.next = next;
	s->source.close = close_source;
	tf_segment_reader_ids(s->reader, s->source.boot_id, &s->source.run_id);
	*out = &s->source;
	return 0;
}
