// SPDX-License-Identifier: Apache-2.0
/* tf_elf_gz: the three zlib calls by which libbpf reads a kernel config, for plain files (see compat/zlib.h). */
#include "zlib.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct gzFile_s {
	FILE *stream;
};

gzFile gzopen(const char *path, const char *mode)
{
	gzFile file = malloc(sizeof(*file));
	int first, second;

	if (!file)
		return NULL;
	file->stream = fopen(path, mode);
	if (!file->stream)
		goto out;
	first = getc(file->stream);
	second = getc(file->stream);
	if ((first == 0x1f && second == 0x8b) || fseek(file->stream, 0, SEEK_SET)) {
		errno = EOPNOTSUPP; /* compressed */
		fclose(file->stream);
		goto out;
	}
	return file;
out:
	free(file);
	return NULL;
}

char *gzgets(gzFile file, char *buf, int len)
{
	return fgets(buf, len, file->stream);
}

int gzclose(gzFile file)
{
	int rc = fclose(file->stream);

	free(file);
	return rc;
}
