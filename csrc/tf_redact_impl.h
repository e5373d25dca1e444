/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact_impl: what the files of tf_redact share: tf_redact.c (a text), _batch, _plain (texts without a
 * secret), _rules (what a secret is), _find (where one is), _cache. */
#ifndef TF_REDACT_IMPL_H
#define TF_REDACT_IMPL_H

#include "tf_redact.h"
#include "tf_regex.h"

#define REDACT_TEXT_CAP 65536u		/* bytes of a text that is judged; records hold less (TF_TAIL_CAP) */
#define REDACT_MAX_PATTERNS 64

/* --- rules --- */

/* What may follow behind a rule's prefix and is then secret. */
enum redact_value {
	RV_WHOLE,			/* the match itself is the secret */
	RV_BEHIND,			/* the same, but for a byte before it that is no part of it */
	RV_WORD,			/* a word of a shell, quoted or not */
	RV_NOT_PATH,			/* the same, but nothing that begins with / */
	RV_NOT_OPTION,			/* the same, but nothing that begins with - */
	RV_LINE,			/* all up to a quote or the end of line or argument */
	RV_QUERY,			/* all up to & or the end of a URL */
	RV_USERINFO,			/* all up to the @ of a URL */
	RV_LONG_USERINFO,		/* the same, of 20 bytes and more */
	RV_LONG,			/* 20 bytes and more of what tokens are made of */
	RV_SHAPE,			/* a key that tells by its own beginning what it is */
	RV_PEM,				/* the body of a key */
	RV_COUNT,
};

struct redact_rule {
	const char *gate;		/* must match somewhere; NULL = nothing must */
	const char *prefix;		/* what stands before the secret */
	const char *except;		/* what must not match where the prefix begins; NULL = nothing */
	enum redact_value value;
	bool whole_argument;		/* a prefix that begins an argument, or crosses into one, takes all of it */
};

extern const struct redact_rule tf_redact_rules[];
extern const size_t tf_redact_n_rules;
extern const char *const tf_redact_values[RV_COUNT];
extern const char tf_redact_hint[];		/* matches every text in which a rule finds something */
extern const char tf_redact_reference[];	/* $NAME, ${NAME}, $(command): no secret but where one is */

struct redact_compiled {
	struct tf_regex *gate, *prefix, *except;
	enum redact_value value;
	bool whole_argument;
};

struct redact_judge {
	struct redact_compiled rule[32];
	struct tf_regex *value[RV_COUNT], *hint, *reference;
	struct tf_regex *user[REDACT_MAX_PATTERNS];
	size_t n_rules, n_user, bytes;
	uint64_t begins[REDACT_TEXT_CAP / 64 + 1];
	uint8_t secret[REDACT_TEXT_CAP];	/* of a byte of the text: it is part of a secret */
};

/* Compiles all; as tf_redact_open. */
int tf_redact_judge_open(struct redact_judge *j, const char *const *patterns, size_t n, size_t *which, size_t *error_at, char *msg, size_t msg_size);
void tf_redact_judge_close(struct redact_judge *j);
/* Writes the text without its secrets to out (room for n). Returns its length, or -1: there is no secret, out is not written. */
ssize_t tf_redact_judge(struct redact_judge *j, const uint8_t *s, size_t n, bool argv, uint8_t *out);

/* --- cache: text -> nothing in it, or what is left of it. The oldest go first; order and size alone decide, no clock. --- */

#define CACHE_LOG (1u << 20)		/* bytes of texts */
#define CACHE_SETS 4096u		/* of 4 places: as many as texts of 64 bytes */
#define CACHE_TEXT_MAX (CACHE_LOG / 16)

/* Places of one set: which of them has a tag is asked of all at once, for a branch could not be foreseen. */
struct cache_set {
	uint32_t tag[4];		/* of the hash; 0 = empty */
	uint32_t at[4];			/* in all that was ever written; its place in the log is that modulo CACHE_LOG */
	uint32_t len[4];		/* of the text | CACHE_* */
	uint32_t _pad[4];
};
#define CACHE_ARGV 0x80000000u
#define CACHE_FOUND 0x40000000u		/* behind the text, at the next multiple of 4: length and bytes of what is left of it */

struct redact_cache {
	struct cache_set set[CACHE_SETS];
	uint32_t head;			/* bytes ever written; cleared is the cache when that passes 32 bits */
	uint8_t log[CACHE_LOG];
};

struct cache_key {
	uint64_t hash;
	const uint8_t *text;
	uint32_t len;			/* | CACHE_ARGV */
};

struct tf_redact {
	struct redact_judge judge;
	uint64_t rows, plain, hits, misses;
	uint8_t out[REDACT_TEXT_CAP];
	struct redact_cache cache __attribute__((aligned(64)));
};

static inline uint64_t redact_load(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The n < 16 bytes at s in two words, none read twice from outside. */
static inline void redact_tail(const uint8_t *s, size_t n, uint64_t *a, uint64_t *b)
{
	uint32_t lo, hi;

	if (n >= 8) {
		*a = redact_load(s);
		*b = redact_load(s + n - 8);
	} else if (n >= 4) {
		memcpy(&lo, s, 4);
		memcpy(&hi, s + n - 4, 4);
		*a = lo;
		*b = hi;
	} else {
		*a = n ? (uint64_t)s[0] << 16 | (uint64_t)s[n / 2] << 8 | s[n - 1] : 0;
		*b = 0;
	}
}

/* One step of a hash: the processor's CRC where there is one (an instruction for 8 bytes), else a multiplication. */
static inline uint64_t redact_step(uint64_t h, uint64_t v)
{
#ifdef __SSE4_2__
	return __builtin_ia32_crc32di(h, v);
#else
	const unsigned __int128 x = (unsigned __int128)(h ^ 0xa0761d6478bd642full) * (v ^ 0xe7037ed1a0b428dbull);

	return (uint64_t)x ^ (uint64_t)(x >> 64);
#endif
}

/* Spreads texts over the cache. Who chooses texts that collide makes them be judged again, nothing more. */
static inline uint64_t redact_hash(const uint8_t *s, size_t n, uint64_t seed)
{
	uint64_t g = seed ^ n, h = ~n, a, b;

	if (tf_unlikely(n < 16)) {
		redact_tail(s, n, &a, &b);
	} else {
		for (size_t i = 0; i + 16 < n; i += 16) {
			g = redact_step(g, redact_load(s + i));
			h = redact_step(h, redact_load(s + i + 8));
		}
		a = redact_load(s + n - 16);
		b = redact_load(s + n - 8);
	}
	return (redact_step(g, a) << 32 ^ redact_step(h, b)) * 0x9e3779b97f4a7c15ull;
}

typedef uint64_t redact_16 __attribute__((vector_size(16), aligned(1), may_alias));

/* memcmp of texts: no call, and of each length few branches. */
static inline bool redact_same(const uint8_t *x, const uint8_t *y, size_t n)
{
	uint64_t a, b, c, d;
	redact_16 differ;

	if (tf_unlikely(n < 16)) {
		redact_tail(x, n, &a, &b);
		redact_tail(y, n, &c, &d);
		return a == c && b == d;
	}
	differ = *(const redact_16 *)(const void *)(x + n - 16) ^ *(const redact_16 *)(const void *)(y + n - 16);
	for (size_t i = 0; i + 16 < n; i += 16)
		differ |= *(const redact_16 *)(const void *)(x + i) ^ *(const redact_16 *)(const void *)(y + i);
	return !(differ[0] | differ[1]);
}

/* Whether the log still has the text of a place. */
static inline bool redact_alive(const struct redact_cache *c, const struct cache_set *s, unsigned i)
{
	return c->head - s->at[i] <= CACHE_LOG;
}

/* The upper bits of a product are its best. */
static inline uint32_t redact_set(uint64_t hash)
{
	return (uint32_t)(hash >> 40) % CACHE_SETS;
}

/* Which places of a set have this tag: a bit each. */
static inline unsigned redact_places(const struct cache_set *s, uint64_t hash)
{
	const uint32_t tag = (uint32_t)hash | 1;

	return (s->tag[0] == tag) | (s->tag[1] == tag) << 1 | (s->tag[2] == tag) << 2 | (s->tag[3] == tag) << 3;
}

/* The text in the log, and what its place says of its length; NULL = not known. */
static inline const uint8_t *redact_known(const struct redact_cache *c, const struct cache_key *k, uint32_t *len)
{
	const struct cache_set *s = &c->set[redact_set(k->hash)];

	for (unsigned found = redact_places(s, k->hash); found; found &= found - 1) {
		const unsigned i = (unsigned)__builtin_ctz(found);

		const uint8_t *text = c->log + s->at[i] % CACHE_LOG;

		*len = s->len[i];
		if ((*len & ~CACHE_FOUND) == k->len && redact_alive(c, s, i) && redact_same(text, k->text, k->len & ~CACHE_ARGV))
			return text;
	}
	return NULL;
}

/* Remembers a text and, unless left < 0, what is left of it. */
void tf_redact_remember(struct redact_cache *c, const struct cache_key *k, const uint8_t *out, ssize_t left);
/* What is left of the text of n bytes at `text` in the log, which is known with CACHE_FOUND. */
uint32_t tf_redact_left(const uint8_t *text, uint32_t n, const uint8_t **bytes);

#endif
