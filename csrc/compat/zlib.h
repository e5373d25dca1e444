/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zlib.h: the three calls by which libbpf reads a kernel config, for plain text files only.
 *
 * A compressed /proc/config.gz is refused (gzopen gives NULL): hand its text to bpf_object_open_opts.kconfig instead.
 */
#ifndef TF_COMPAT_ZLIB_H
#define TF_COMPAT_ZLIB_H

typedef struct gzFile_s *gzFile;

gzFile gzopen(const char *path, const char *mode); /* NULL: cannot open, or compressed */
char *gzgets(gzFile file, char *buf, int len);
int gzclose(gzFile file);

#endif
