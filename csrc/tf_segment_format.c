// SPDX-License-Identifier: Apache-2.0
/* tf_segment_format: bytes of a segment: names, header with the layout of every domain, keyed marker and checksums of frames. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tf_layout.h"
#include "tf_segment_impl.h"

void tf_seg_name(uint64_t number, char name[TF_SEG_NAME_LEN])
{
	snprintf(name, TF_SEG_NAME_LEN, "segment-%010u.tfseg", (unsigned)number);
}

bool tf_seg_parse_name(const char *name, uint64_t *number)
{
	unsigned n;
	char again[TF_SEG_NAME_LEN];
	if (sscanf(name, "segment-%10u", &n) != 1)
		return false;
	tf_seg_name(n, again); /* signs, blanks and other spellings of the same number are not ours */
	*number = n;
	return strcmp(name, again) == 0;
}

static uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

/* SipHash-2-4 of one 8-byte word: a keyed function that shows nothing of its key. Source: Aumasson, Bernstein 2012. */
static uint64_t siphash8(const uint64_t key[2], uint64_t word)
{
	uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u };
	const uint64_t words[3] = { word, 8ull << 56, 0xff };
	for (int i = 0; i < 3; i++) {
		if (i < 2)
			v[3] ^= words[i];
		else
			v[2] ^= words[i];
		for (int round = 0; round < (i < 2 ? 2 : 4); round++) {
			v[0] += v[1], v[2] += v[3];
			v[1] = rotl(v[1], 13) ^ v[0], v[3] = rotl(v[3], 16) ^ v[2];
			v[0] = rotl(v[0], 32);
			v[2] += v[1], v[0] += v[3];
			v[1] = rotl(v[1], 17) ^ v[2], v[3] = rotl(v[3], 21) ^ v[0];
			v[2] = rotl(v[2], 32);
		}
		if (i < 2)
			v[0] ^= words[i];
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void tf_seg_marker(const uint8_t nonce[16], uint8_t marker[16])
{
	uint64_t key[2], half[2];
	memcpy(key, nonce, sizeof(key));
	half[0] = siphash8(key, 0x656d617266746600u); /* "\0ftframe": marker, first half */
	half[1] = siphash8(key, 0x656d617266746601u);
	memcpy(marker, half, sizeof(half));
}

static uint8_t *put(uint8_t *at, const uint8_t *end, const void *data, size_t len)
{
	if (!at || (size_t)(end - at) < len)
		return NULL;
	memcpy(at, data, len);
	return at + len;
}

static uint8_t *put_layout(uint8_t *at, const uint8_t *end, const struct tf_record_layout *l)
{
	struct tf_seg_domain d = { .domain = l->domain, .name_len = (uint8_t)strlen(l->domain_name), .row_size = l->size,
				   .n_fields = l->n_fields };
	at = put(at, end, &d, sizeof(d));
	at = put(at, end, l->domain_name, d.name_len);
	for (uint16_t i = 0; i < l->n_fields; i++) {
		const struct tf_field *f = &l->fields[i];
		struct tf_seg_field s = { .kind = f->kind, .name_len = (uint8_t)strlen(f->name), .offset = f->offset, .size = f->size };
		at = put(at, end, &s, sizeof(s));
		at = put(at, end, f->name, s.name_len);
	}
	return at;
}

int tf_seg_build(const struct tf_seg_head *head, uint8_t *area)
{
	struct tf_seg_head h = *head;
	const uint8_t *end = area + TF_SEG_AREA - 4;
	memcpy(h.magic, TF_SEG_MAGIC, sizeof(h.magic));
	h.version = TF_SEG_VERSION;
	h.n_domains = (uint32_t)tf_layout_count;
	memset(area, 0, TF_SEG_FIRST);
	uint8_t *at = area + sizeof(h);
	for (size_t i = 0; i < tf_layout_count; i++)
		at = put_layout(at, end, &tf_layouts[i]);
	if (!at)
		return -E2BIG;
	h.length = (uint32_t)(at - area) + 4;
	memcpy(area, &h, sizeof(h));
	uint32_t crc = tf_crc32c(0, area, h.length - 4);
	memcpy(at, &crc, sizeof(crc));
	memcpy(area + TF_SEG_AREA, area, h.length);
	return 0;
}

ssize_t tf_seg_check(const uint8_t *area, size_t len)
{
	ssize_t answer = -ENOENT;
	for (size_t at = 0; at <= TF_SEG_AREA; at += TF_SEG_AREA) {
		struct tf_seg_head h;
		uint32_t crc;
		if (len < at + sizeof(h))
			break;
		memcpy(&h, area + at, sizeof(h));
		if (memcmp(h.magic, TF_SEG_MAGIC, sizeof(h.magic)) != 0)
			continue;
		answer = -EBADMSG;
		if (h.length < sizeof(h) + 4 || h.length > TF_SEG_AREA || at + h.length > len)
			continue;
		memcpy(&crc, area + at + h.length - 4, sizeof(crc));
		if (crc != tf_crc32c(0, area + at, h.length - 4))
			continue;
		return h.version == TF_SEG_VERSION ? (ssize_t)at : -EPROTO;
	}
	return answer;
}

size_t tf_frame_len(const struct tf_frame_head *h)
{
	return h->length + (size_t)h->payload_len + sizeof(struct tf_frame_foot);
}

static uint32_t keyed_crc(const struct tf_frame_head *h, const uint8_t nonce[16])
{
	return tf_crc32c(tf_crc32c(0, nonce, 16), h, h->length - 4);
}

void tf_frame_seal(uint8_t *frame, const uint8_t nonce[16], const uint8_t marker[16], uint64_t frame_no, uint64_t rows_before)
{
	struct tf_frame_head h;
	memcpy(&h, frame, sizeof(h));
	memcpy(h.marker, marker, sizeof(h.marker));
	h.frame_no = frame_no;
	h.rows_before = rows_before;
	memcpy(frame, &h, sizeof(h));
	uint32_t crc = tf_crc32c(tf_crc32c(0, nonce, 16), frame, h.length - 4);
	memcpy(frame + h.length - 4, &crc, sizeof(crc));
	struct tf_frame_foot foot = { tf_crc32c(crc, frame + h.length, (size_t)h.payload_len), (uint32_t)tf_frame_len(&h) };
	memcpy(frame + h.length + h.payload_len, &foot, sizeof(foot));
}

int tf_frame_check(const struct tf_frame_head *h, const uint8_t nonce[16], const uint8_t marker[16])
{
	uint32_t crc, n_filters = 0;
	if (memcmp(h->marker, marker, 16) != 0 || h->n_domains > TF_FRAME_DOMAINS_MAX || h->length < tf_frame_head_len(h->n_domains, 0) ||
	    h->length > tf_frame_head_len(h->n_domains, h->n_domains))
		return -EBADMSG;
	memcpy(&crc, (const uint8_t *)h + h->length - 4, sizeof(crc));
	if (crc != keyed_crc(h, nonce))
		return -EBADMSG;
	if (h->flags || h->n_epochs == 0 || h->n_epochs > TF_FRAME_EPOCHS_MAX || h->n_loss > TF_FRAME_LOSS_MAX)
		return -EBADMSG;
	uint64_t raw = h->n_epochs * (uint64_t)tf_epoch_line_len(h->n_loss, h->n_domains), packed = h->epochs_len, rows = 0;
	const struct tf_frame_domain *d = tf_frame_domains(h);
	for (uint32_t i = 0; i < h->n_domains; i++) {
		raw += (uint64_t)d[i].rows * d[i].row_size + d[i].text;
		packed += d[i].pack_len;
		rows += d[i].rows;
		n_filters += d[i].filtered != 0;
		if (d[i].filtered > 1 || (d[i].rows == 0) != (d[i].pack_len == 0))
			return -EBADMSG;
	}
	if (h->length != tf_frame_head_len(h->n_domains, n_filters))
		return -EBADMSG;
	/* Sums of at most 64 products below 2^49: no overflow. */
	if (raw > TF_BLOCK_RAW_CAP || packed != h->payload_len || rows != h->rows || packed > 2ull * TF_BLOCK_RAW_CAP)
		return -EBADMSG;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static int collect(DIR *dir, uint64_t **list, size_t *n)
{
	size_t cap = 0;
	struct dirent *e;
	while (errno = 0, (e = readdir(dir)) != NULL) {
		uint64_t number;
		if (!tf_seg_parse_name(e->d_name, &number))
			continue;
		if (*n == cap) {
			cap = cap ? 2 * cap : 64;
			uint64_t *more = realloc(*list, cap * sizeof(**list));
			if (!more)
				return -ENOMEM;
			*list = more;
		}
		(*list)[(*n)++] = number;
	}
	return -errno;
}

int tf_seg_list(int dir_fd, uint64_t **list, size_t *n)
{
	*list = NULL;
	*n = 0;
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* its own position: dir_fd's belongs to the caller */
	if (fd < 0)
		return -errno;
	DIR *dir = fdopendir(fd);
	if (!dir) {
		int rc = -errno;
		close(fd);
		return rc;
	}
	int rc = collect(dir, list, n);
	closedir(dir);
	if (rc) {
		free(*list);
		*list = NULL;
		*n = 0;
		return rc;
	}
	if (*n)
		qsort(*list, *n, sizeof(**list), by_number);
	return 0;
}
