/* SPDX-License-Identifier: Apache-2.0 */
/* tf_globs: name patterns as a shell has them, compiled into struct tf_globs, which the gate in the kernel judges names by (bpf/include/
 * tf_admit.bpf.h). * is any bytes, ? one byte, [abc] [a-z] [!abc] one of a set; case counts; a [ without its ] stands for itself: exactly
 * what Python's fnmatch.fnmatchcase does with bytes. No memory is kept. Any thread. */
#ifndef TF_GLOBS_H
#define TF_GLOBS_H

#include "tf_base.h"

/* Adds nothing to what `out` had: it is written whole. 0, or -E2BIG: together the patterns have more than TF_GLOB_WORDS * 64 places (a
 * pattern takes one, and one for each byte it must eat). */
int tf_globs_compile(const char *const *patterns, size_t n, struct tf_globs *out);
/* How many places a pattern takes. */
size_t tf_globs_places(const char *pattern);
/* Whether the name, up to its first NUL or `len` bytes, matches one of the patterns: the steps that the kernel side takes. */
bool tf_globs_match(const struct tf_globs *g, const char *name, size_t len);

#endif
