/* SPDX-License-Identifier: Apache-2.0 */
/* tf_log: messages of the engine's threads, kept until Python asks for them. Bounded: the oldest give way and are counted.
 * Thread safe (one mutex; nothing on the data path logs per record). */
#ifndef TF_LOG_H
#define TF_LOG_H

#include "tf_base.h"

#define TF_LOG_TEXT 480

struct tf_log;
struct tf_log_line {
	uint64_t ts_ns;             /* boot time */
	int level;                  /* TF_LOG_* */
	char text[TF_LOG_TEXT];
};
int tf_log_open(size_t lines, struct tf_log **out);     /* 0, -ENOMEM */
void tf_log_push(void *log, int level, const char *text); /* fits the log callbacks of tf_pump and tf_object */
bool tf_log_pop(struct tf_log *log, struct tf_log_line *out);
uint64_t tf_log_dropped(struct tf_log *log);
void tf_log_close(struct tf_log *log);

#endif
