/* SPDX-License-Identifier: Apache-2.0 */
/* tf_queue: batches on their way to one branch. One producer (the pump), one consumer. Mutex + condition: taken per batch, never per
 * record. Bounded by bytes of the batches in it: a push is taken while they are below max_bytes, so the last one may pass it. An eventfd
 * is readable while the queue is not empty or is closed. */
#ifndef TF_QUEUE_H
#define TF_QUEUE_H

#include "tf_batch.h"

enum tf_overflow { TF_BLOCK, TF_DROP_OLDEST, TF_DROP_NEWEST };

struct tf_queue_stats {
	uint64_t routed, handed, queued, overflow;  /* records; routed == handed + queued + overflow */
	uint64_t bytes;                             /* queued */
};
struct tf_queue;
int tf_queue_open(size_t max_bytes, enum tf_overflow policy, struct tf_queue **out);    /* 0, -ENOMEM, -EMFILE */
/* Takes its own reference. 0; -EAGAIN: full under TF_BLOCK, nothing taken (nor counted); -EPIPE after close. Drops are counted. */
int tf_queue_push(struct tf_queue *q, struct tf_batch *b);
bool tf_queue_has_room(struct tf_queue *q);      /* would push take or drop? false only under TF_BLOCK */
/* Frees the oldest batch (when the pool is full): records dropped, 0 if empty. */
uint64_t tf_queue_drop_oldest(struct tf_queue *q);
/* The next batch (reference moves to the caller) or NULL; timeout_ms: 0 = now, < 0 = for ever. *ended is set when it is closed and
 * empty. */
struct tf_batch *tf_queue_pop(struct tf_queue *q, int timeout_ms, bool *ended);
int tf_queue_fd(const struct tf_queue *q);
void tf_queue_stats(struct tf_queue *q, struct tf_queue_stats *out);
void tf_queue_end(struct tf_queue *q);          /* no more pushes; what is queued can still be popped */
void tf_queue_close(struct tf_queue *q);        /* frees what is left */

#endif
