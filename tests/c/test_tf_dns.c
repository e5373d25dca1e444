/* SPDX-License-Identifier: Apache-2.0 */
/* tf_dns, tf_refine: messages that end, loop or lie where they must not; each in memory of exactly its length, so that a sanitizer
 * sees a byte too far. What right text is, tests/test_dns_text.py tells by a slow decoder. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tf_dns.h"
#include "tf_refine.h"

/* Decodes a copy of exactly len bytes into a buffer of exactly the bytes that measuring told; both must agree. */
static struct tf_dns_result decode(const void *message, uint32_t len, bool answers, uint8_t *text)
{
	uint8_t *copy = malloc(len ? len : 1), *out = malloc(TF_DNS_TEXT_CAP);
	struct tf_dns_result measured, r;

	CHECK(copy && out);
	memcpy(copy, message, len);
	memset(out, 0xee, TF_DNS_TEXT_CAP);
	tf_dns_decode(copy, len, answers, NULL, &measured);
	tf_dns_decode(copy, len, answers, out, &r);
	CHECK(measured.len == r.len && measured.full_len == r.full_len && measured.type == r.type && measured.rcode == r.rcode);
	CHECK(r.len <= r.full_len && r.len <= TF_DNS_TEXT_CAP);
	if (text)
		memcpy(text, out, r.len);
	free(copy);
	free(out);
	return r;
}

static void expect(const void *message, uint32_t len, bool answers, const char *text, uint32_t n, bool whole)
{
	uint8_t got[TF_DNS_TEXT_CAP];
	struct tf_dns_result r = decode(message, len, answers, got);

	CHECK(r.len == n && !memcmp(got, text, n) && r.whole == whole);
}

static const uint8_t answer[] =
	"\0\7\x81\x80\0\1\0\3\0\0\0\0" "\3www\3a.b\2\\\x01\0\0\1\0\1"
	"\xc0\x0c\0\5\0\1\0\0\0\1\0\6\3cdn\xc0\x10"
	"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc0\0\2\x21"
	"\xc0\x0c\0\x1c\0\1\0\0\0\1\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x05";
static const char answer_text[] = "www.a\\.b.\\\\\\001\0cdn.a\\.b.\\\\\\001\000192.0.2.33\0002001:db8::5";

static void test_text(void)
{
	const char loop[] = "\0\0\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", forward[] = "\0\0\1\0\0\1\0\0\0\0\0\0\xc0\x10\0\1\0\1\0";
	const char root[] = "\0\0\1\0\0\1\0\0\0\0\0\0\0\0\2\0\1", two[] = "\0\0\1\0\0\1\0\0\0\0\0\0\1x\xc0\x0c\0\1\0\1";
	const uint32_t len = sizeof(answer) - 1;

	expect(answer, len, true, answer_text, sizeof(answer_text) - 1, true);
	expect(answer, len, false, answer_text, 15, true);
	expect(root, sizeof(root) - 1, false, ".", 1, true);
	expect(loop, sizeof(loop) - 1, false, "", 0, false);
	expect(forward, sizeof(forward) - 1, false, "", 0, false);
	expect(two, sizeof(two) - 1, false, "", 0, false); /* a name that goes on in itself */
	CHECK(decode(answer, len, true, NULL).type == 1);
}

/* Every cut of a message gives a beginning of its text, and says that it is cut. */
static void test_cuts(void)
{
	uint8_t got[TF_DNS_TEXT_CAP];

	for (uint32_t len = 0; len < sizeof(answer) - 1; len++) {
		struct tf_dns_result r = decode(answer, len, true, got);

		CHECK(!r.whole && r.len < sizeof(answer_text) - 1 && !memcmp(got, answer_text, r.len));
	}
}

/* Every single byte replaced by every value, and random bytes behind a header that promises much. */
static void test_hostile(uint32_t rounds)
{
	uint8_t m[512];

	for (uint32_t at = 0; at < sizeof(answer) - 1; at++)
		for (uint32_t value = 0; value < 256; value++) {
			memcpy(m, answer, sizeof(answer) - 1);
			m[at] = (uint8_t)value;
			decode(m, sizeof(answer) - 1, true, NULL);
		}
	for (uint32_t i = 0; i < rounds; i++) {
		uint32_t len = rng_below(sizeof(m) + 1), mode = rng_below(3);

		for (uint32_t k = 0; k < len; k++)
			m[k] = (uint8_t)(mode == 0 ? rng_below(256) : mode == 1 ? "\xc0\x0c\0\1"[rng_below(4)] : rng_below(4) ? rng_below(6) : 0xc0);
		if (len > 8) {
			m[4] = m[6] = 0;
			m[5] = (uint8_t)(1 + rng_below(3));
			m[7] = (uint8_t)rng_below(256);
		}
		decode(m, len, rng_below(2), NULL);
	}
}

/* Answers that all point at one long name: more text than is kept, cut between two of them. */
static void test_cap(void)
{
	uint8_t m[512] = "\0\0\x81\x80\0\1\0\x0f\0\0\0\0", got[TF_DNS_TEXT_CAP];
	struct tf_dns_result r;
	uint32_t at = 12;

	for (uint32_t label = 0; label < 4; label++, at += 62) {
		m[at] = 61;
		memset(m + at + 1, 1 + (int)label, 61);
	}
	m[at] = 0;
	memcpy(m + at + 1, "\0\1\0\1", 4);
	at += 5;
	for (uint32_t i = 0; i < 15; i++, at += 14)
		memcpy(m + at, "\xc0\x0c\0\5\0\1\0\0\0\1\0\2\xc0\x0c", 14);
	r = decode(m, at, true, got);
	CHECK(r.full_len == 16 * (61 * 4 * 4 + 3) + 15 && r.whole);
	CHECK(r.len == 2 * (61 * 4 * 4 + 3) + 1 && !memchr(got, 0, 61 * 4 * 4 + 3));
}

static void test_rows(void)
{
	struct tf_network row = {.name = {.offset = 2, .len = sizeof(answer) - 1, .full_len = 700}};
	uint8_t tail[2 + sizeof(answer) - 1], out[TF_DNS_TEXT_CAP];
	uint32_t n;

	memcpy(tail + 2, answer, sizeof(answer) - 1);
	tail[2 + 3] |= 3;
	CHECK(tf_refine_is_raw(TF_K_NETWORK_DNS) && tf_refine_is_raw(TF_K_NETWORK_DNS_QUERY) && !tf_refine_is_raw(TF_K_NETWORK_CLOSE));
	n = tf_refine_size(TF_K_NETWORK_DNS, (uint8_t *)&row, tail);
	CHECK(n == sizeof(answer_text) - 1);
	CHECK(tf_refine(TF_K_NETWORK_DNS, (uint8_t *)&row, tail, out, n) == n && !memcmp(out, answer_text, n));
	CHECK(row.name.offset == 0 && row.name.len == n && row.name.full_len == n && row.dns_type == 1 && row.dns_rcode == 3 && !row.h.flags);
	row.name = (struct tf_text){.offset = 2, .len = sizeof(answer) - 1};
	CHECK(tf_refine(TF_K_NETWORK_DNS, (uint8_t *)&row, tail, out, 5) == 5); /* less room than it was measured: cut, and said */
	CHECK(row.name.len == 5 && row.name.full_len == n && row.h.flags == TF_F_TRUNCATED);
}

int main(void)
{
	test_text();
	test_cuts();
	test_hostile((uint32_t)(300000 * scale(66)));
	test_cap();
	test_rows();
	return 0;
}
