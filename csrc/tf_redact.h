/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: cuts secrets out of the texts of a batch, before any branch sees it: *** stands where one was.
 *
 * What a secret is, rules say (tf_redact_rules.c): passwords, tokens and keys behind their names, credentials in URLs and headers, keys that
 * can be told by their shape; and the user's own patterns, whose whole match is one. A text that was judged before is known by a cache of
 * bounded size, so that the cost is one of distinct texts. What it says of a text depends on that text alone: replay of unredacted
 * records through it gives the same.
 *
 * Owned by the caller until tf_redact_close; used by one thread at a time. Nothing is allocated after open. */
#ifndef TF_REDACT_H
#define TF_REDACT_H

#include "tf_batch.h"

struct tf_redact;

struct tf_redact_stats {
	uint64_t rows;			/* rows that lost a secret */
	uint64_t plain;			/* texts whose bytes alone tell that there is no secret */
	uint64_t hits, misses;		/* of the others: those that were known, and that were judged */
	uint64_t bytes;			/* of memory held: rules, cache, scratch */
};

/* patterns: n expressions (tf_regex.h) beside the built-in rules. 0, -ENOMEM, or what tf_regex_compile says of pattern *which, with its
 * message and offset. */
int tf_redact_open(const char *const *patterns, size_t n, struct tf_redact **out, size_t *which, size_t *error_at, char *msg, size_t msg_size);

/* One text in place; what is left over is zeroed. argv: NUL parts arguments, and stays where it is. Returns the new length, at most n;
 * *found tells whether there was a secret. */
size_t tf_redact_text(struct tf_redact *r, uint8_t *text, size_t n, bool argv, bool *found);

/* All texts of a batch that is still its maker's alone: lengths, flags (TF_F_REDACTED) and bytes are written, full_len stays. Texts of EPOCH
 * and RULES rows are left alone, as are control group paths and bytes that are no text. Never fails: a text too long to be judged
 * becomes ***. */
void tf_redact_batch(struct tf_redact *r, struct tf_batch *b);

void tf_redact_stats(const struct tf_redact *r, struct tf_redact_stats *out);
void tf_redact_close(struct tf_redact *r);	/* NULL is fine */

#endif
