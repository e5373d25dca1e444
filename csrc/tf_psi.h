/* SPDX-License-Identifier: Apache-2.0 */
/* tf_psi: a threshold of the kernel's pressure stall information: /proc/pressure/memory, or memory.pressure of a control group. The kernel
 * watches; we ask without waiting whether it was passed. One thread. No globals. */
#ifndef TF_PSI_H
#define TF_PSI_H

#include "tf_base.h"

struct tf_psi {
	int fd;                         /* the trigger lives as long as this; -1 = none */
	uint64_t total_us;              /* stalled since boot, when last asked */
	uint64_t group;                 /* id of the control group whose file it is; 0 = of the machine */
	char path[256];
};
/* Sets a trigger: some task stalled for stall_us within any window_us. 0; -ENOENT (no such file: the kernel measures no pressure),
 * -EOPNOTSUPP (measuring is switched off), -EINVAL (without CAP_SYS_RESOURCE a window must be a multiple of 2 s), -errno. */
int tf_psi_open(struct tf_psi *p, const char *path, uint64_t stall_us, uint64_t window_us);
/* 1 = the threshold was passed since the last call: *stalled_ns is the stall time since then. 0 = not; -errno. */
int tf_psi_poll(struct tf_psi *p, uint64_t *stalled_ns);
void tf_psi_close(struct tf_psi *p);    /* fine twice */

#endif
