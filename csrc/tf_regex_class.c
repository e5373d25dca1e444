/* SPDX-License-Identifier: Apache-2.0 */
/* tf_regex: sets of bytes: [...], \d and its kin, [:alpha:] and its kin, and escapes of one byte. */
#include "tf_regex_impl.h"

static const struct {
	const char *name;
	const char *ranges; /* pairs of first and last */
} named[] = {
	{"alnum", "09AZaz"}, {"alpha", "AZaz"}, {"ascii", NULL}, {"blank", "\t\t  "}, {"cntrl", NULL}, {"digit", "09"}, {"graph", "!~"},
	{"lower", "az"}, {"print", " ~"}, {"punct", "!/:@[`{~"}, {"space", "\t\r  "}, {"upper", "AZ"}, {"word", "09AZaz__"}, {"xdigit", "09AFaf"},
};

void tf_regex_negate(struct re_bytes *b)
{
	for (int i = 0; i < 4; i++)
		b->w[i] = ~b->w[i];
}

void tf_regex_add_range(struct re_bytes *b, unsigned lo, unsigned hi, unsigned flags)
{
	for (unsigned c = lo; c <= hi; c++) {
		re_add(b, c);
		if (!(flags & TF_RE_ICASE))
			continue;
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
			re_add(b, c ^ 0x20);
	}
}

static void add_ranges(struct re_bytes *b, const char *ranges, bool negated, unsigned flags)
{
	struct re_bytes own = {{0}};

	for (; *ranges; ranges += 2)
		tf_regex_add_range(&own, (uint8_t)ranges[0], (uint8_t)ranges[1], flags);
	if (negated)
		tf_regex_negate(&own);
	for (int i = 0; i < 4; i++)
		b->w[i] |= own.w[i];
}

bool tf_regex_class_escape(struct re_parse *p, struct re_bytes *out)
{
	const unsigned letter = p->at + 1 < p->len ? p->text[p->at + 1] : 0;
	const char *ranges;

	switch (letter | 0x20) {
	case 'd':
		ranges = "09";
		break;
	case 'w':
		ranges = "09AZaz__";
		break;
	case 's':
		ranges = "\t\n\f\r  "; /* not \v */
		break;
	default:
		return false;
	}
	if (letter < 'A')
		return false;
	add_ranges(out, ranges, !(letter & 0x20), p->flags);
	p->at += 2;
	return true;
}

static int hex_digit(unsigned c)
{
	return c >= '0' && c <= '9' ? (int)c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (int)(c | 0x20) - 'a' + 10 : -1;
}

/* p->at is behind \x. */
static int hex_escape(struct re_parse *p, size_t begin)
{
	const bool braces = p->at < p->len && p->text[p->at] == '{';
	int value = 0, digits = 0;

	p->at += braces;
	while (p->at < p->len && hex_digit(p->text[p->at]) >= 0 && (braces || digits < 2)) {
		value = value * 16 + hex_digit(p->text[p->at++]);
		digits++;
		if (value > 0xff)
			return tf_regex_fail(p, -EINVAL, begin, "\\x{...} above ff is no byte: write the character itself");
	}
	if (!digits || (!braces && digits != 2) || (braces && (p->at == p->len || p->text[p->at] != '}')))
		return tf_regex_fail(p, -EINVAL, begin, "\\x needs two hexadecimal digits, or some in {}");
	p->at += braces;
	return value;
}

/* p->at is behind the first digit. \1 and so on are back references unless another octal digit follows. */
static int octal_escape(struct re_parse *p, size_t begin, unsigned c)
{
	const bool more = p->at < p->len && p->text[p->at] >= '0' && p->text[p->at] <= '7';
	int value = (int)c - '0';

	if (c != '0' && (c > '7' || !more))
		return tf_regex_fail(p, -ENOTSUP, begin, "\\%c refers back to a group, which no table can hold: write out what it may repeat", (char)c);
	for (int i = 0; i < 2 && p->at < p->len && p->text[p->at] >= '0' && p->text[p->at] <= '7'; i++)
		value = value * 8 + p->text[p->at++] - '0';
	if (value > 0xff)
		return tf_regex_fail(p, -EINVAL, begin, "an octal escape above 377 is no byte");
	return value;
}

int tf_regex_byte_escape(struct re_parse *p)
{
	static const char letters[] = "a\af\fn\nr\rt\tv\v";
	const size_t begin = p->at;
	unsigned c;

	if (p->at + 1 >= p->len)
		return tf_regex_fail(p, -EINVAL, begin, "the pattern ends in a backslash: \\\\ is a backslash");
	c = p->text[p->at + 1];
	p->at += 2;
	if (c >= '0' && c <= '9')
		return octal_escape(p, begin, c);
	if (c == 'x')
		return hex_escape(p, begin);
	if (c < 0x80 && !(re_is_word(c) && c != '_'))
		return (int)c;
	for (const char *l = letters; *l; l += 2)
		if ((uint8_t)*l == c)
			return (uint8_t)l[1];
	if (c == 'p' || c == 'P')
		return tf_regex_fail(p, -ENOTSUP, begin, "\\%c is about Unicode, subjects are bytes: use [[:alpha:]] and its kin", (char)c);
	if (c == 'k')
		return tf_regex_fail(p, -ENOTSUP, begin, "\\k refers back to a group, which no table can hold: write out what it may repeat");
	if (c >= 0x80)
		return tf_regex_fail(p, -EINVAL, begin, "a backslash before a byte outside ASCII means nothing: leave it out");
	return tf_regex_fail(p, -EINVAL, begin, "\\%c means nothing: \\\\%c is a backslash and %c", (char)c, (char)c, (char)c);
}

/* [:name:] at p->at. 1 and its end passed; 0 when it is not one; -errno. */
static int named_class(struct re_parse *p, struct re_bytes *out)
{
	const char *text = (const char *)p->text + p->at;
	const size_t left = p->len - p->at;
	size_t end = 2;
	bool not;

	if (left < 4 || text[0] != '[' || text[1] != ':')
		return 0;
	while (end + 1 < left && !(text[end] == ':' && text[end + 1] == ']'))
		end++;
	if (end + 1 >= left)
		return 0;
	not = text[2] == '^';
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
		const size_t len = strlen(named[i].name);
		struct re_bytes own = {{0}};

		if (len != end - 2 - not || memcmp(named[i].name, text + 2 + not, len))
			continue;
		if (named[i].ranges) {
			add_ranges(out, named[i].ranges, not, p->flags);
		} else { /* ascii, cntrl: with NUL, which ends a list of ranges */
			tf_regex_add_range(&own, 0, named[i].name[0] == 'a' ? 0x7f : 0x1f, p->flags);
			re_add(&own, 0x7f);
			if (not)
				tf_regex_negate(&own);
			for (int k = 0; k < 4; k++)
				out->w[k] |= own.w[k];
		}
		p->at += end + 2;
		return 1;
	}
	return tf_regex_fail(p, -EINVAL, p->at, "no such class of characters: [:alpha:], [:digit:], [:alnum:], [:space:], [:punct:] and so on");
}

/* One byte inside [...]: itself or by an escape. */
static int bracket_byte(struct re_parse *p)
{
	const unsigned c = p->text[p->at];

	if (c == '\\')
		return tf_regex_byte_escape(p);
	if (c >= 0xc2 && c < 0xf5 && p->at + 1 < p->len && (p->text[p->at + 1] & 0xc0) == 0x80)
		return tf_regex_fail(p, -EINVAL, p->at, "[...] is a set of bytes, this character is several: write (x|y), or \\xHH for a byte");
	p->at++;
	return (int)c;
}

int tf_regex_bracket(struct re_parse *p, struct re_bytes *out)
{
	const size_t begin = p->at - 1;
	const bool not = p->at < p->len && p->text[p->at] == '^';
	int lo, hi, rc;

	p->at += not;
	for (bool first = true; p->at < p->len && (first || p->text[p->at] != ']'); first = false) {
		const size_t at = p->at;

		rc = named_class(p, out);
		if (rc < 0)
			return rc;
		if (rc || (p->text[at] == '\\' && tf_regex_class_escape(p, out)))
			continue;
		lo = hi = bracket_byte(p);
		if (lo >= 0 && p->at + 1 < p->len && p->text[p->at] == '-' && p->text[p->at + 1] != ']') {
			p->at++;
			hi = bracket_byte(p);
		}
		if (lo < 0 || hi < 0)
			return lo < 0 ? lo : hi;
		if (hi < lo)
			return tf_regex_fail(p, -EINVAL, at, "the range runs backwards: its first byte is the smaller one");
		tf_regex_add_range(out, (unsigned)lo, (unsigned)hi, p->flags);
	}
	if (p->at >= p->len)
		return tf_regex_fail(p, -EINVAL, begin, "this [ has no ]: \\[ is a bracket");
	p->at++;
	if (not)
		tf_regex_negate(out);
	return 0;
}
