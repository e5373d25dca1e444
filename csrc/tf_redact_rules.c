/* SPDX-License-Identifier: Apache-2.0 */
/* tf_redact: what a secret is. A rule is a prefix and the kind of text that is secret behind it; \x00 parts arguments. docs/redaction.md
 * tells users; tests/test_redaction.py has a secret for every rule, and what must be left alone. A rule that finds what tf_redact_hint
 * does not match never gets to see it. */
#include "tf_redact_impl.h"

#define SPACE "[\\s\\x00]"
#define COMMAND "(?:^|[\\s\\x00/;&|(`\"'])"		/* what may stand before the name of a program */
#define QUOTE "\\\\*[\"']?"				/* of JSON, or of JSON in a shell */
/* Pieces of a shell's word. A quote that is not closed reaches to the end of the argument. */
#define PIECE "(?:\"(?:[^\"\\\\\\x00]|\\\\.)*(?:\"|$)|'[^'\\x00]*(?:'|$)|\\\\.|[^\\s\\x00\"'&;|<>\\\\])"
#define QUOTED_END "(?:[^\\s\\x00\"'&;|<>\\\\,)}\\]]" PIECE "*)?"	/* behind a quote that was first: of JSON no more */
#define WORD_BUT(c) \
	"(?:(?:\"(?:[^\"\\\\\\x00" c "]|\\\\.)(?:[^\"\\\\\\x00]|\\\\.)*(?:\"|$)|'[^'\\x00" c "][^'\\x00]*(?:'|$))" QUOTED_END \
	"|(?:\\\\.|[^\\s\\x00\"'&;|<>\\\\" c "])" PIECE "*)"

/* Names whose value is secret, whatever stands before them: DB_PASSWORD, client-secret, githubToken. */
#define NAMES "(?:passw(?:or)?d|passwort|pass[_-]?phrase|secret|token|(?:api|access|secret|account|shared|auth|session|storage|master|encryption)[_-]?key)"
/* Names whose value may be a path, which says nothing: PWD=/root, --private-key=/etc/key. */
#define PATH_NAMES "(?:(?:^|[^a-z])(?:pass|pwd)|(?:private|signing|license)[_-]?key|credentials?)"

const struct redact_rule tf_redact_rules[] = {
	/* name=value, name = value, "name": value */
	{NULL, "(?i)" NAMES QUOTE "(?::?=|\\s*=>\\s*|\\s+:?=\\s*)", NULL, RV_WORD, true},
	{NULL, "(?i)" PATH_NAMES QUOTE "(?::?=|\\s*=>\\s*|\\s+:?=\\s*)", NULL, RV_NOT_PATH, true},
	{NULL, "(?i)(?:^|[^/])(?:" NAMES "|" PATH_NAMES ")" QUOTE "\\s*:\\s*", NULL, RV_NOT_PATH, true},
	/* --name value */
	{NULL,
	 "(?i)(?:^|[\\s\\x00\"'])--?(?:[a-z0-9]+[_-])*(?:" NAMES "|pass|pwd?|pw|cookie|client[_-]?secret)" SPACE "+",
	 "(?i)(?:^|[\\s\\x00\"'])--?(?:(?:no|ask|prompt|use|with|without|skip|disable|enable|show|reset|require|change|allow|force|check|verify)[_-]"
	 "|secret" SPACE ")", /* --secret of container tools is a name */
	 RV_NOT_OPTION, true},
	/* options of programs that name none */
	{COMMAND "(?:mysql|mariadb)[a-z-]*" SPACE, SPACE "-p", NULL, RV_WORD, true},
	{NULL, COMMAND "sshpass" SPACE "+-p" SPACE "*", NULL, RV_NOT_OPTION, true},
	{COMMAND "redis-cli" SPACE, SPACE "-a" SPACE "+", NULL, RV_NOT_OPTION, true},
	{COMMAND "(?:(?:docker|podman|nerdctl|helm|skopeo|buildah|oc|az)" SPACE "+(?:registry" SPACE "+)?login|mongo[a-z]*)" SPACE, SPACE "-p" SPACE "*",
	 NULL, RV_NOT_OPTION, true},
	{COMMAND "ldap(?:search|modify|add|delete|passwd|whoami|compare|exop)" SPACE, SPACE "-w" SPACE "*", NULL, RV_NOT_OPTION, true},
	{COMMAND "(?:un)?zip" SPACE "|" COMMAND "(?:zipcloak|ipmitool)" SPACE, SPACE "-P" SPACE "*", NULL, RV_NOT_OPTION, true},
	{COMMAND "7z[ar]?" SPACE, SPACE "-p", NULL, RV_WORD, true},
	{COMMAND "x?freerdp[0-9]?" SPACE, SPACE "/p:", NULL, RV_WORD, true},
	{COMMAND "(?:smb|rpc|cifs)[a-z]*" SPACE, SPACE "(?:-U" SPACE "*|--user=)[^\\s\\x00%]+%", NULL, RV_WORD, true},
	{COMMAND "curl" SPACE, SPACE "(?:-[A-Za-z]*[uU]" SPACE "*|--(?:proxy-)?user(?:" SPACE "+|=))[^\\s\\x00:\"'/]+:", NULL, RV_WORD, true},
	{COMMAND "curl" SPACE, SPACE "(?:-[A-Za-z]*[uU]" SPACE "*|--(?:proxy-)?user(?:" SPACE "+|=))[\"'][^\\x00:\"']+:", NULL, RV_LINE, true},
	{COMMAND "(?:https?|xhs?)" SPACE, SPACE "(?:-a" SPACE "*|--auth(?:" SPACE "+|=))[^\\s\\x00:\"']+:", NULL, RV_WORD, true},
	/* URLs */
	{NULL, "(?i)[a-z][a-z0-9+.-]*://[^\\s\\x00/?#@:\"']*:", NULL, RV_USERINFO, false},
	{NULL, "(?i)https?://", NULL, RV_LONG_USERINFO, false},
	{NULL, "(?i)[?&](?:sig|key|auth|jwt|pass|pwd|[a-z0-9_.-]*(?:token|secret|signature|credential))=", NULL, RV_QUERY, false},
	{NULL, "hooks\\.slack\\.com/(?:services|workflows)/|discord(?:app)?\\.com/api/webhooks/", NULL, RV_LONG, false},
	/* headers */
	{NULL, "(?i)authorization" QUOTE "\\s*[:=]\\s*" QUOTE "(?:(?:basic|bearer|token|digest|negotiate|ntlm|apikey|aws4-hmac-sha256)\\s+)?", NULL,
	 RV_LINE, false},
	{NULL, "(?i)bearer(?:\\s+|%20)", NULL, RV_LONG, false},
	{NULL, "(?i)cookie:\\s*", NULL, RV_LINE, false},
	{NULL, "(?i)\\bx-[a-z0-9-]*(?:token|key|secret|signature|password|auth)" QUOTE "\\s*:\\s*", NULL, RV_LINE, false},
	/* shapes */
	/* a prefix of its own, which is found from its end: what only begins like one must not be walked again and again */
	{"eyJ", "(?:^|[^A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}\\.eyJ[A-Za-z0-9_-]{8,}(?:\\.[A-Za-z0-9_-]*)*", NULL, RV_BEHIND, false},
	{"AKIA|ASIA|ABIA|ACCA|gh[pousr]_|github_pat_|glpat-|xox|sk-|k_live_|k_test_|AIza|ya29|npm_|pypi-|hvs\\.|SG\\.|hf_|dop_v1_|AGE-|:AA|\\$",
	 "^|[^A-Za-z0-9]", NULL, RV_SHAPE, false},
	{NULL, "-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----", NULL, RV_PEM, false},
	{NULL, "(?:^|[\\s\\x00=])pass:", NULL, RV_WORD, true}, /* openssl -passin pass:word */
};
const size_t tf_redact_n_rules = sizeof(tf_redact_rules) / sizeof(tf_redact_rules[0]);

const char *const tf_redact_values[RV_COUNT] = {
	[RV_WORD] = WORD_BUT(""),
	[RV_NOT_PATH] = WORD_BUT("/"),
	[RV_NOT_OPTION] = WORD_BUT("-"),
	[RV_LINE] = "[^\\x00\"'\\r\\n]+",
	[RV_QUERY] = "[^\\s\\x00\"'&#;<>|]+",
	[RV_USERINFO] = "[^\\s\\x00/?#\"']+@",
	[RV_LONG_USERINFO] = "[A-Za-z0-9._%~+=-]{20,}(?::[^\\s\\x00/?#@\"']*)?@",
	[RV_LONG] = "[A-Za-z0-9._~+/=%-]{20,}",
	[RV_SHAPE] =
		"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}"
		"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}"
		"|xox[abeoprs]-[A-Za-z0-9-]{10,}|sk-[A-Za-z0-9_-]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
		"|AIza[A-Za-z0-9_-]{35}|ya29\\.[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{32,}"
		"|hvs\\.[A-Za-z0-9_-]{20,}|SG\\.[A-Za-z0-9_-]{16,}\\.[A-Za-z0-9_-]{16,}|hf_[A-Za-z0-9]{30,}|dop_v1_[a-f0-9]{64}"
		"|AGE-SECRET-KEY-1[A-Z0-9]{50,}|(?:bot)?[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"
		"|\\$(?:1|2[abxy]?|5|6|7|y|gy|sha1|argon2(?:id|i|d))\\$[./A-Za-z0-9$,=+_-]{12,}",
	[RV_PEM] = "(?:[^\\x00-]|-[^\\x00-])+",
};

/* Literals alone, so that its table stays small. */
const char tf_redact_hint[] =
	"(?i:pass|pwd|secret|token|key|credential|authorization|bearer|cookie|-pw|auth[=:\"' \\\\]|://|sig=|jwt=|signature|mysql|mariadb|redis-cli"
	"|login|mongo|ldap|zip|ipmitool|7z|freerdp|smb|rpc|cifs|(?:curl|https?|xhs?)[\\s\\x00])"
	"|AKIA|ASIA|ABIA|ACCA|gh[pousr]_|github_pat_|glpat-|xox|sk-|k_(?:live|test)_|AIza|ya29|npm_|pypi-|hvs\\.|SG\\.|hf_|dop_v1_|AGE-|:AA|eyJ|PRIVATE KEY"
	"|hooks\\.slack|webhooks|\\$(?:[125-7]|y|gy|sha1|argon2)";

const char tf_redact_reference[] = "\"?\\$(?:\\w+|\\{[^}]*\\}|\\([^)]*\\))\"?";
