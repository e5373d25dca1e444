/* SPDX-License-Identifier: Apache-2.0 */
/* tf_psi: triggers of pressure stall information (Documentation/accounting/psi.rst). */
#include "tf_psi.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first line: "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345" */
static int read_total(const char *path, uint64_t *total_us)
{
	unsigned long long total = 0;
	FILE *f = fopen(path, "re");
	char line[256];
	int rc = -EIO;

	if (!f)
		return -errno;
	if (fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, "total=");

		rc = !strncmp(line, "some ", 5) && at && sscanf(at, "total=%llu", &total) == 1 ? 0 : -EBADMSG;
	} else if (errno) {
		rc = -errno;
	}
	fclose(f);
	*total_us = total;
	return rc;
}

/* A control group is named by its directory's inode, as in every record. /proc/pressure is nobody's. */
static uint64_t group_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[256];
	struct stat st;

	if (!slash || !strncmp(path, "/proc/", 6))
		return 0;
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
	return stat(dir, &st) ? 0 : st.st_ino;
}

int tf_psi_open(struct tf_psi *p, const char *path, uint64_t stall_us, uint64_t window_us)
{
	char trigger[64];
	int rc, n;

	p->fd = -1;
	n = snprintf(p->path, sizeof(p->path), "%s", path);
	if (n < 0 || (size_t)n >= sizeof(p->path))
		return -ENAMETOOLONG;
	p->group = group_of(path);
	rc = read_total(path, &p->total_us);
	if (rc)
		return rc;
	p->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (p->fd < 0)
		return -errno;
	n = snprintf(trigger, sizeof(trigger), "some %llu %llu", (unsigned long long)stall_us, (unsigned long long)window_us);
	if (write(p->fd, trigger, (size_t)n + 1) >= 0)
		return 0;
	rc = -errno;
	tf_psi_close(p);
	return rc;
}

int tf_psi_poll(struct tf_psi *p, uint64_t *stalled_ns)
{
	struct pollfd fd = {.fd = p->fd, .events = POLLPRI};
	uint64_t total;
	int rc;

	*stalled_ns = 0;
	if (p->fd < 0 || poll(&fd, 1, 0) <= 0)
		return 0;
	if (fd.revents & POLLERR) /* the control group is gone */
		return -ENODEV;
	if (!(fd.revents & POLLPRI))
		return 0;
	rc = read_total(p->path, &total);
	if (rc)
		return rc;
	*stalled_ns = (total - p->total_us) * 1000;
	p->total_us = total;
	return 1;
}

void tf_psi_close(struct tf_psi *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}
