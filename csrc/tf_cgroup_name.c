/* SPDX-License-Identifier: Apache-2.0 */
/* tf_cgroup_name: open_by_handle_at on the hierarchy's mount, and where that descriptor points to. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "tf_cgroup_name.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HANDLE_KERNFS 0xfe	/* FILEID_KERNFS of linux/exportfs.h */

/* The comma separated words have this one. */
static bool has_word(const char *words, const char *word)
{
	const size_t len = strlen(word);

	for (const char *p = words; (p = strstr(p, word)); p += len)
		if ((p == words || p[-1] == ',') && (!p[len] || p[len] == ',' || p[len] == '\n'))
			return true;
	return false;
}

static void take_mount(struct tf_cgroup_mount *m, const char *at, const char *root)
{
	const int fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (m->fd >= 0)
		close(m->fd);
	m->fd = fd;
	snprintf(m->at, sizeof(m->at), "%s", at);
	snprintf(m->root, sizeof(m->root), "%s", root);
}

/* "36 25 0:31 ROOT AT rw,... - TYPE SOURCE OPTIONS" */
static void read_line(struct tf_cgroup_names *n, const char *line, bool *has_memory)
{
	char root[256], at[256], type[16], options[256];
	const char *rest = strstr(line, " - ");

	if (!rest || sscanf(line, "%*s %*s %*s %255s %255s", root, at) != 2 || sscanf(rest, " - %15s %*s %255s", type, options) != 2)
		return;
	if (strchr(at, '\\') || strchr(root, '\\'))
		return; /* a space in it, escaped: nobody mounts them so */
	if (!strcmp(type, "cgroup2") && n->v2.fd < 0)
		take_mount(&n->v2, at, root);
	if (strcmp(type, "cgroup") != 0)
		return;
	if (has_word(options, "memory") && !*has_memory) {
		*has_memory = true;
		take_mount(&n->v1, at, root);
	} else if (has_word(options, "pids") && !*has_memory && n->v1.fd < 0) {
		take_mount(&n->v1, at, root);
	}
}

int tf_cgroup_names_open(struct tf_cgroup_names *n, const char *mountinfo)
{
	bool has_memory = false;
	size_t size = 0;
	char *line = NULL;
	FILE *f;

	*n = (struct tf_cgroup_names){.v2.fd = -1, .v1.fd = -1};
	f = fopen(mountinfo, "re");
	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0)
		read_line(n, line, &has_memory);
	free(line);
	fclose(f);
	return 0;
}

/* Joins what the mount shows and the path below it. */
static int join(const struct tf_cgroup_mount *m, const char *full, size_t len, char path[TF_CGROUP_PATH])
{
	const char *root = strcmp(m->root, "/") ? m->root : "";
	const size_t at = strlen(m->at), root_len = strlen(root);

	if (len < at || memcmp(full, m->at, at) != 0 || (len > at && full[at] != '/'))
		return -ENOENT;
	full += at;
	len -= at;
	if (root_len + len == 0) {
		path[0] = '/';
		return 1;
	}
	if (root_len + len > TF_CGROUP_PATH)
		return -ENAMETOOLONG;
	memcpy(path, root, root_len);
	memcpy(path + root_len, full, len);
	return (int)(root_len + len);
}

int tf_cgroup_name(const struct tf_cgroup_names *n, uint64_t id, bool v1, char path[TF_CGROUP_PATH])
{
	const struct tf_cgroup_mount *m = v1 ? &n->v1 : &n->v2;
	union {
		struct file_handle h;
		uint8_t bytes[sizeof(struct file_handle) + sizeof(id)];
	} handle = {.h = {.handle_bytes = sizeof(id), .handle_type = HANDLE_KERNFS}};
	char full[TF_CGROUP_PATH + sizeof(m->at)], link[40];
	ssize_t len;
	int fd;

	if (m->fd < 0)
		return -ENOENT;
	memcpy(handle.h.f_handle, &id, sizeof(id));
	fd = open_by_handle_at(m->fd, &handle.h, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ESTALE ? -ENOENT : -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, full, sizeof(full));
	if (len < 0)
		len = -errno;
	close(fd);
	if (len < 0)
		return (int)len;
	return len == sizeof(full) ? -ENAMETOOLONG : join(m, full, (size_t)len, path);
}

void tf_cgroup_names_close(struct tf_cgroup_names *n)
{
	if (n->v2.fd >= 0)
		close(n->v2.fd);
	if (n->v1.fd >= 0)
		close(n->v1.fd);
	n->v2.fd = n->v1.fd = -1;
}
