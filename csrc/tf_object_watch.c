/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object_watch: has somebody else changed what decides about our records? Another process with the rights can write to our maps. */
#include "tf_object_impl.h"

#include <sched.h>

static uint32_t differs(bool is, const char *what, char *msg, size_t msg_size)
{
	if (is && msg_size && !msg[0])
		snprintf(msg, msg_size, "%s", what);
	return is;
}

/* The pump may be changing one right now: what differs is looked at again, once what we set is there for sure. */
static bool rate_differs(const struct tf_object *o, uint32_t kind)
{
	const uint64_t *rates = o->mapped[TF_M_RATES];

	for (int look = 0; look < 1000; look++)
		if (tf_load_acquire(&rates[kind]) == tf_load_relaxed(&o->kept.rates[kind]))
			return false;
	return true;
}

static bool rates_differ(const struct tf_object *o)
{
	for (uint32_t k = 0; k < TF_KIND_COUNT; k++)
		if (rate_differs(o, k))
			return true;
	return false;
}

/* As rate_differs; the pump may be in the middle of an entry. */
static bool history_differs(const struct tf_object *o, uint32_t kind)
{
	const struct tf_rate_history *history = o->mapped[TF_M_HISTORY];

	for (int look = 0; look < 1000; look++) {
		if (tf_crc32c(0, &history[kind], sizeof(history[kind])) == tf_load_acquire(&o->kept.history[kind]))
			return false;
		sched_yield();
	}
	return true;
}

static bool histories_differ(const struct tf_object *o)
{
	for (uint32_t k = 0; tf_draws_keys(o) && k < TF_KIND_COUNT; k++)
		if (history_differs(o, k))
			return true;
	return false;
}

static bool wants_differ(const struct tf_object *o)
{
	const uint32_t *wants = o->mapped[TF_M_SYS_WANTS]; /* of 8 bytes each */

	for (uint32_t nr = 0; wants && nr < TF_SYS_MAX; nr++)
		if (tf_load_relaxed(&wants[(size_t)nr * 2]) != o->kept.wants[nr])
			return true;
	return false;
}

static bool link_differs(const struct tf_program *p)
{
	struct bpf_link_info info = {0};
	__u32 len = sizeof(info);

	if (!p->link || p->info.state != TF_P_ATTACHED || !p->info.id)
		return false;
	return !bpf_link_get_info_by_fd(bpf_link__fd(p->link), &info, &len) && info.prog_id != p->info.id;
}

uint32_t tf_object_tampered(struct tf_object *o, char *msg, size_t msg_size)
{
	const struct tf_settings *settings = o->mapped[TF_M_SETTINGS];
	const struct tf_rule_slot *rules = (const struct tf_rule_slot *)o->mapped[TF_M_RULES] + (o->gen & (TF_RULE_SLOTS - 1));
	uint32_t n = 0;

	if (msg_size)
		msg[0] = 0;
	n += differs(tf_load_relaxed(&settings->gen) != o->gen, "the rule generation in map tf_settings is not the one we set", msg, msg_size);
	n += differs(o->gen && memcmp(rules, &o->kept.rules, sizeof(*rules)), "the rules in map tf_rules are not those we set", msg, msg_size);
	n += differs(settings->throttle_rate != o->kept.throttle_rate || settings->throttle_burst != o->kept.throttle_burst,
		     "the throttle in map tf_settings is not the one we set", msg, msg_size);
	n += differs(memcmp(settings->dir_bits, o->kept.dir_bits, sizeof(o->kept.dir_bits)),
		     "the paths in map tf_settings are not those we set", msg, msg_size);
	n += differs(rates_differ(o), "a sampling rate in map tf_rates is not the one we set", msg, msg_size);
	n += differs(histories_differ(o), "the rates in map tf_history, which keys are drawn by, are not those we set", msg, msg_size);
	n += differs(wants_differ(o), "the system calls in map tf_sys_wants are not those we set", msg, msg_size);
	for (size_t i = 0; i < o->n_programs; i++)
		n += differs(link_differs(&o->programs[i]), "a link of ours runs another program", msg, msg_size);
	return n;
}
