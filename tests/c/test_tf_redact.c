/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: random texts of pieces that rules are about, in memory of exactly their length: the hint hides nothing from the rules, what is
 * left is as long as was said, the rest is zero, and the cache says what the judge says. Batches with hostile lengths. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tf_redact_impl.h"
#include "tf_redact_plain.h"

static struct tf_redact *open_all(const char *const *patterns, size_t n)
{
	struct tf_redact *r;
	size_t which, at;
	char msg[200];

	CHECK(!tf_redact_open(patterns, n, &r, &which, &at, msg, sizeof(msg)) && r);
	return r;
}

static const char *const pieces[] = {
	"password", "PASSWD", "db_pass", "pwd", "secret", "token", "api-key", "access_key", "private_key", "credentials", "passphrase", "=", ":", "=>", " = ",
	" ", " ", "\1", "\1", "\n", "'", "\"", "\\", "--", "-", "--pw", "--auth", "-p", "-P", "-a", "-w", "-u", "-U", "/p:", "a", "hunter2", "$X", "${X}", "$(x y)",
	"mysql", "mariadb-dump", "sshpass", "redis-cli", "docker login", "mongo", "ldapsearch", "unzip", "ipmitool", "7z", "xfreerdp", "smbclient", "curl", "http",
	"xh", "https://", "ftp://", "bob:", "@", "?", "&", "sig", "auth", "jwt", "hooks.slack.com/services/", "discord.com/api/webhooks/", "Authorization",
	"basic ", "bearer ", "Cookie:", "X-Api-Auth", "pass:", "abcdefghijklmnopqrstuvwxyz0123456789", "AKIA", "ASIA", "ABIA", "ACCA", "ABCDEFGHIJKLMNOP", "ghp_",
	"github_pat_", "glpat-", "xoxb-", "sk-", "sk_live_", "rk_test_", "AIza", "ya29.", "npm_", "pypi-", "hvs.", "SG.", "hf_", "dop_v1_", "AGE-SECRET-KEY-1",
	"1234567890:AA", "eyJ", ".", "$6$", "$2b$", "$argon2id$", "-----BEGIN RSA PRIVATE KEY-----", "-----END",
};

/* \1 stands for NUL. */
static size_t random_text(uint8_t *text, uint32_t most)
{
	const uint32_t want = rng_below(most);
	size_t n = 0;

	for (uint32_t i = 0; i < want; i++)
		for (const char *c = pieces[rng_below(sizeof(pieces) / sizeof(*pieces))]; *c; c++)
			text[n++] = *c == 1 ? 0 : (uint8_t)*c;
	return n;
}

static void test_random_texts(uint32_t rounds)
{
	struct tf_redact *cached = open_all(NULL, 0), *open = open_all(NULL, 0);
	struct tf_regex *all;
	uint32_t secrets = 0, hidden = 0;
	uint8_t text[2048], out[2048], *copy;

	CHECK(!tf_regex_compile("", 0, 0, &all, NULL, NULL, 0));
	tf_regex_close(open->judge.hint);
	open->judge.hint = all; /* every rule sees every text */
	for (uint32_t i = 0; i < rounds; i++) {
		const size_t n = random_text(text, 12), argv = rng_below(2);
		const ssize_t left = tf_redact_judge(&open->judge, text, n, argv, out);

		hidden += !tf_regex_search(cached->judge.hint, text, n);
		copy = malloc(n ? n : 1);
		CHECK(copy);
		for (int again = 0; again < 2; again++) {
			bool found;
			size_t got;

			memcpy(copy, text, n);
			got = tf_redact_text(cached, copy, n, argv, &found);
			CHECK(found == (left >= 0) && got == (found ? (size_t)left : n));
			CHECK(!memcmp(copy, found ? out : text, got));
			for (size_t k = got; k < n; k++)
				CHECK(!copy[k]);
		}
		secrets += left >= 0;
		free(copy);
	}
	printf("%u texts: %u with a secret, %u without a hint\n", rounds, secrets, hidden);
	CHECK(secrets > rounds / 8 && secrets < rounds / 10 * 9 && hidden > rounds / 100);
	tf_redact_close(cached);
	tf_redact_close(open);
}

static bool plain_sse(const uint8_t *s, uint32_t n, uint32_t room)
{
	return redact_plain_sse(s, n, room);
}

static RP_AVX2 bool plain_avx2(const uint8_t *s, uint32_t n, uint32_t room)
{
	return redact_plain_avx2(s, n, room);
}

static redact_plain_fn *const all_ways[] = {plain_avx2, plain_sse, redact_plain_never, NULL};

/* Those that this processor has; the last is redact_plain_never. */
static redact_plain_fn *const *ways(void)
{
	return all_ways + !redact_has_avx2();
}

/* What a way calls plain without a look at the rules holds nothing that any rule finds, whatever lies behind it. */
static void test_plain_texts(redact_plain_fn *is_plain, uint32_t rounds)
{
	static const char *const mild[] = {"/usr/lib", "/var/log/", "python3", "-", "_", ".", "x86_64-linux-gnu", ".com/", ".com", "site-packages", "0123456789",
					   "README", "Makefile", "O", "/"};
	struct tf_redact *r = open_all(NULL, 0);
	uint8_t text[2048], out[2048], window[REDACT_PLAIN_MAX];

	uint32_t plain = 0, secrets = 0;

	for (uint32_t i = 0; i < rounds; i++) {
		size_t n = random_text(text, 3);

		for (unsigned k = rng_below(5); k; k--)
			for (const char *c = mild[rng_below(sizeof(mild) / sizeof(*mild))]; *c; c++)
				text[n++] = (uint8_t)*c;
		if (n > sizeof(window))
			continue;
		memset(window, 'A' + (int)rng_below(26), sizeof(window));
		memcpy(window, text, n);
		if (tf_redact_judge(&r->judge, text, n, false, out) >= 0) {
			CHECK(!is_plain(window, (uint32_t)n, sizeof(window)));
			secrets++;
		}
		plain += is_plain(window, (uint32_t)n, sizeof(window));
		if (n < REDACT_PLAIN_WINDOW)
			CHECK(!is_plain(window, (uint32_t)n, REDACT_PLAIN_WINDOW - 1)); /* might read what is not its own */
	}
	printf("%u texts: %u plain, %u with a secret\n", rounds, plain, secrets);
	CHECK(secrets > rounds / 100 && (is_plain == redact_plain_never ? !plain : plain > rounds / 8));
	tf_redact_close(r);
}

static bool slow_word(uint32_t c)
{
	return (c >= '0' && c <= '9') || (c >= '@' && c < 128) || c == '-';
}

/* Whether a shape's beginning that ends at s[i] stands there. */
static bool slow_beginning(const uint8_t *s, uint32_t i)
{
	static const char *const ends[] = {"at-", "sk-", "pi-", "x?-", "h?_", "at_", "ve_", "st_", "pm_", "v1_", "29.", "vs.", "SG."};

	for (size_t k = 0; i > 1 && k < sizeof(ends) / sizeof(*ends); k++)
		if (s[i - 2] == (uint8_t)ends[k][0] && (ends[k][1] == '?' || s[i - 1] == (uint8_t)ends[k][1]) && s[i] == (uint8_t)ends[k][2])
			return true;
	return false;
}

/* What a text must be made of to be plain, byte by byte. */
static bool slowly_plain(const uint8_t *s, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t c = s[i];
		uint32_t run = 0;

		if (c <= ' ' || (c > ' ' && c < '-') || (c >= ':' && c <= '?'))
			return false;
		for (uint32_t k = i; k < n && slow_word(s[k]); k++)
			run++;
		if (i && (run >= 16 || (run >= 10 && i > 4 && slow_word(s[i - 2]) && slow_word(s[i - 3]) && slow_word(s[i - 4]) && slow_word(s[i - 5]) && slow_word(s[i - 1]))) && slow_beginning(s, i - 1))
			return false;
		if ((c == 'A' && run >= 16) || (c == 'J' && run >= 8 && i > 1 && s[i - 2] == 'e' && s[i - 1] == 'y'))
			return false;
		if (c == '.' && i + 5 <= n && !memcmp(s + i, ".com/", 5))
			return false;
	}
	return n <= REDACT_PLAIN_MAX;
}

/* All ways say of each text what the slow one says. */
static void test_ways_agree(uint32_t rounds)
{
	static const char bytes[] = "abcdefghijklmnopqrstuvwxyz0123456789//////-_.MNO{`~Z@[";
	static const char *const parts[] = {".com/", "ghp_", "hf_", "pat_", "live_", "npm_", "v1_", "glpat-", "sk-", "pypi-", "xoxb-", "ya29.", "hvs.", "SG.", "eyJ",
					    "A", "AKIA", "abcdefghi", "0123456789", "abcdefghijklmnopqrs"};
	uint8_t text[REDACT_PLAIN_MAX + 32];
	uint32_t plain = 0;

	for (uint32_t i = 0; i < rounds; i++) {
		const uint32_t n = 1 + rng_below(rng_below(2) ? 64 : sizeof(text));
		bool wanted;

		for (uint32_t k = 0; k < sizeof(text); k++)
			text[k] = (uint8_t)bytes[rng_below(sizeof(bytes) - 1)];
		if (!rng_below(3))
			text[rng_below(n)] = (uint8_t)rng_below(256);
		for (uint32_t k = rng_below(3), at = rng_below(n); k; k--)
			for (const char *c = parts[rng_below(sizeof(parts) / sizeof(*parts))]; *c && at < n; c++)
				text[at++] = (uint8_t)*c;
		wanted = slowly_plain(text, n);
		plain += wanted;
		for (redact_plain_fn *const *way = ways(); *way != redact_plain_never; way++)
			CHECK((*way)(text, n, sizeof(text)) == wanted);
	}
	printf("%u texts by hand: %u plain\n", rounds, plain);
	CHECK(plain > rounds / 10 && plain < rounds - rounds / 10);
}

/* More texts than the log holds, again and again: all are judged rightly, and the newest are known. */
static void test_cache_goes_round(void)
{
	struct tf_redact *r = open_all(NULL, 0);
	struct tf_redact_stats before, after;
	uint8_t text[2048];
	bool found;

	for (uint32_t lap = 0; lap < 3; lap++)
		for (uint32_t i = 0; i < 1000; i++) {
			const size_t n = (size_t)snprintf((char *)text, sizeof(text), "%*u token=%04u", (int)(i * 2), i, i);
			const size_t left = tf_redact_text(r, text, n, false, &found);

			CHECK(found && left == n - 1 && !memcmp(text + left - 10, " token=***", 10));
		}
	tf_redact_stats(r, &before);
	CHECK(before.misses > 1000 && before.hits + before.misses == 3000);
	tf_redact_text(r, (uint8_t *)memcpy(text, "new", 3), 3, false, &found);
	tf_redact_text(r, text, 3, false, &found);
	tf_redact_text(r, text, 3, true, &found); /* arguments are judged apart */
	tf_redact_stats(r, &after);
	CHECK(after.hits == before.hits + 1 && after.misses == before.misses + 2 && after.bytes == before.bytes);
	tf_redact_close(r);
}

/* A text longer than any record's is not judged: it goes. */
static void test_too_long(void)
{
	struct tf_redact *r = open_all(NULL, 0);
	const size_t n = REDACT_TEXT_CAP + 1;
	uint8_t *text = malloc(n);
	bool found;

	CHECK(text);
	memset(text, 'a', n);
	CHECK(tf_redact_text(r, text, n - 1, false, &found) == n - 1 && !found);
	CHECK(tf_redact_text(r, text, n, false, &found) == 3 && found && !memcmp(text, "***", 4));
	free(text);
	tf_redact_close(r);
}

static void test_batches(void)
{
	struct tf_need need = {.rows = {[TF_FILE] = 4}, .text = {[TF_FILE] = 64}};
	struct tf_redact *r = open_all(NULL, 0);
	struct tf_file row = {.h = {.type = TF_FILE}, .count = 1};
	struct tf_redact_stats s;
	struct tf_pool *pool;
	struct tf_batch *b;

	CHECK(!tf_pool_open(1 << 20, 1 << 20, &pool) && !tf_batch_new(pool, &need, &b));
	row.path = (struct tf_text){0, 10, 99};
	row.new_path = (struct tf_text){60, 0xffffffff, 0};	/* lies beyond the area: left alone */
	row.data = (struct tf_text){0xffffffff, 4, 4};
	memcpy(b->dom[TF_FILE].rows, &row, sizeof(row));
	memcpy(b->dom[TF_FILE].text, "pwd=abcdef", 10);
	b->dom[TF_FILE].n = 1;
	b->dom[TF_FILE].text_len = 64;
	tf_redact_batch(r, b);
	memcpy(&row, b->dom[TF_FILE].rows, sizeof(row));
	CHECK(row.path.len == 7 && row.path.full_len == 99 && row.h.flags == TF_F_REDACTED);
	CHECK(!memcmp(b->dom[TF_FILE].text, "pwd=***\0\0\0", 10) && row.new_path.len == 0xffffffff);
	tf_redact_stats(r, &s);
	CHECK(s.rows == 1 && s.misses == 1 && !s.hits);
	tf_batch_unref(b);
	tf_pool_close(pool);
	tf_redact_close(r);
}

static void test_patterns(void)
{
	const char *many[REDACT_MAX_PATTERNS + 1], *wrong[] = {"a", "b", "(c"};
	struct tf_redact *r;
	size_t which, at;
	char msg[200];

	for (size_t i = 0; i <= REDACT_MAX_PATTERNS; i++)
		many[i] = "x+";
	CHECK(tf_redact_open(many, REDACT_MAX_PATTERNS + 1, &r, &which, &at, msg, sizeof(msg)) == -E2BIG && !r);
	CHECK(!tf_redact_open(many, REDACT_MAX_PATTERNS, &r, &which, &at, msg, sizeof(msg)));
	tf_redact_close(r);
	CHECK(tf_redact_open(wrong, 3, &r, &which, &at, msg, sizeof(msg)) == -EINVAL && !r && which == 2 && at == 0 && *msg);
	tf_redact_close(NULL);
}

int main(void)
{
	test_random_texts((uint32_t)(50000 * scale(100)));
	for (redact_plain_fn *const *way = ways(); *way; way++)
		test_plain_texts(*way, 200000);
	test_ways_agree(1000000);
	test_cache_goes_round();
	test_too_long();
	test_batches();
	test_patterns();
	return 0;
}
