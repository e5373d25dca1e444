/* SPDX-License-Identifier: Apache-2.0 */
/* tf_log: a ring of text lines under a mutex. Relies on tf_base for the clock. */
#include "tf_log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct tf_log {
	pthread_mutex_t lock;
	size_t cap, head, n;        /* head: oldest */
	uint64_t dropped;
	struct tf_log_line lines[];
};

int tf_log_open(size_t lines, struct tf_log **out)
{
	struct tf_log *log = calloc(1, sizeof(*log) + lines * sizeof(log->lines[0]));

	if (!log)
		return -ENOMEM;
	log->cap = lines;
	pthread_mutex_init(&log->lock, NULL);
	*out = log;
	return 0;
}

void tf_log_push(void *ctx, int level, const char *text)
{
	struct tf_log *log = ctx;

	if (!log)
		return;
	pthread_mutex_lock(&log->lock);
	if (log->n == log->cap) {
		log->head = (log->head + 1) % log->cap;
		log->n--;
		log->dropped++;
	}
	struct tf_log_line *line = &log->lines[(log->head + log->n) % log->cap];

	line->ts_ns = tf_boot_ns();
	line->level = level;
	snprintf(line->text, sizeof(line->text), "%s", text);
	for (size_t len = strlen(line->text); len && line->text[len - 1] == '\n';)
		line->text[--len] = 0;
	log->n++;
	pthread_mutex_unlock(&log->lock);
}

bool tf_log_pop(struct tf_log *log, struct tf_log_line *out)
{
	bool got = false;

	pthread_mutex_lock(&log->lock);
	if (log->n) {
		*out = log->lines[log->head];
		log->head = (log->head + 1) % log->cap;
		log->n--;
		got = true;
	}
	pthread_mutex_unlock(&log->lock);
	return got;
}

uint64_t tf_log_dropped(struct tf_log *log)
{
	pthread_mutex_lock(&log->lock);
	uint64_t dropped = log->dropped;

	pthread_mutex_unlock(&log->lock);
	return dropped;
}

void tf_log_close(struct tf_log *log)
{
	if (!log)
		return;
	pthread_mutex_destroy(&log->lock);
	free(log);
}
