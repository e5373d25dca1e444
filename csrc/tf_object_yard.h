/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_yard: yardstick programs (bpf/yard.bpf.c) and the work that runs a hook many times, for the benchmark `hooks`. One thread. */
#ifndef TF_OBJECT_YARD_H
#define TF_OBJECT_YARD_H

#include "tf_base.h"

struct tf_yard;
/* Loads them all, attaches none. 0 or -errno. */
int tf_yard_open(struct tf_yard **out);
int tf_yard_attach(struct tf_yard *y, const char *program);     /* -ENOENT: no such program */
void tf_yard_detach(struct tf_yard *y);                         /* all of them */
void tf_yard_reset(struct tf_yard *y);                          /* throws away what is in the ring */
uint64_t tf_yard_records(const struct tf_yard *y);              /* bytes produced so far: proof that it sent */
void tf_yard_close(struct tf_yard *y);

enum tf_yard_work {
	TF_Y_RENAME,            /* prctl(PR_SET_NAME), two names in turn */
	TF_Y_GETPPID,
	TF_Y_OPEN,              /* open and close of a path */
};
/* Does it n times on the calling thread; ns of wall time in all, or -errno. */
int64_t tf_yard_work(enum tf_yard_work work, const char *path, uint64_t n);

#endif
