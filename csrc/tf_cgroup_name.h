/* SPDX-License-Identifier: Apache-2.0 */
/* tf_cgroup_name: the path of a control group by its id, asked of the kernel: the id is the handle of its directory (kernfs, since 5.5).
 * Needs CAP_DAC_READ_SEARCH and the hierarchy to be mounted. One thread; a few system calls an answer, none of which waits for a disk. */
#ifndef TF_CGROUP_NAME_H
#define TF_CGROUP_NAME_H

#include "tf_base.h"

#define TF_CGROUP_PATH 4096	/* bytes: longest path that is told */

struct tf_cgroup_mount {
	int fd;			/* of the mount's directory; -1 = not mounted */
	char at[256];		/* where it is mounted */
	char root[256];		/* the control group that it shows there: "/", or a container's */
};
struct tf_cgroup_names {
	struct tf_cgroup_mount v2, v1;	/* v1: of the memory controller, else of pids: whose ids records carry with TF_F_CGROUP_V1 */
};

/* Looks for the mounts. mountinfo: "/proc/self/mountinfo", or a file like it. 0 also where nothing is mounted; -errno when the file cannot
 * be read. */
int tf_cgroup_names_open(struct tf_cgroup_names *n, const char *mountinfo);
/* Path of a control group in its hierarchy, without a NUL at its end. Its length; -ENOENT: there is no such mount, or no such group any
 * more; -EPERM; -ENAMETOOLONG. */
int tf_cgroup_name(const struct tf_cgroup_names *n, uint64_t id, bool v1, char path[TF_CGROUP_PATH]);
void tf_cgroup_names_close(struct tf_cgroup_names *n);

#endif
