/* SPDX-License-Identifier: Apache-2.0 */
/* tf_sysno: the table of tf_sysno.h as data, for names and numbers of system calls in user space. */
#include "tf_base.h"

#define ROW(id, x86, arm) {.name = #id, .x86_64 = x86, .arm64 = arm},
const struct tf_sysno_info tf_sysno_table[] = {TF_SYSCALLS(ROW)};
#undef ROW
const size_t tf_sysno_count = sizeof(tf_sysno_table) / sizeof(tf_sysno_table[0]);
