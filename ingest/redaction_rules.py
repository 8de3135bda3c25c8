"""What counts as a secret or as personal data.

Each rule has an *anchor*, a pattern that Hyperscan looks for in the whole request at once, and a *check* in
Python that decides, at each place the anchor was found, which bytes to mask. Anchors may find too much: they see
raw protobuf, where a string is preceded by its length, so they hold no word boundaries. Checks are exact and
see one text at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ingest.otlp.framing import Buffer

Span = tuple[int, int]
Check = Callable[[Buffer, int, int, int], Span | None]
"""(body, place of the anchor, start of the text, end of the text) -> bytes to mask."""

_WORD: Final = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_BACKSLASH: Final = 0x5C
_DIGITS: Final = re.compile(rb"[0-9]")
_LONGEST_VALUE: Final = 4_096
_LONGEST_KEY_BLOCK: Final = 32_768


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret. `length` is the anchor's, so that its start is known; 0 means that its end is used."""

    name: str
    anchor: str
    length: int
    check: Check
    caseless: bool = False
    in_key: bool = False
    """The anchor is the end of an attribute's key and the tag behind it; the check sees each text of the value."""


def starts_word(body: Buffer, at: int, low: int) -> bool:
    """Whether a word can start at `at`: also right behind a JSON escape (`\\n`, `\\u00e9`) or `%20`."""
    if at <= low or body[at - 1] not in _WORD:
        return True
    if at - 2 >= low and body[at - 2] == _BACKSLASH and body[at - 1] in b"nrtbf":
        return True
    if at - 6 >= low and body[at - 6] == _BACKSLASH and body[at - 5] in b"uU":
        return True
    return at - 3 >= low and body[at - 3] == 0x25


def behind_escape(body: Buffer, at: int, low: int) -> int:
    """Move `at` out of a JSON escape that it would cut in two, for text that still parses after masking."""
    if at > low and body[at - 1] == _BACKSLASH:
        return at + (5 if body[at : at + 1] == b"u" else 1)
    return at


def _ends_word(body: Buffer, at: int, high: int) -> bool:
    return at >= high or body[at] not in _WORD


_CHARSETS: Final = {
    "W": "[A-Za-z0-9_-]",
    "A": "[A-Za-z0-9]",
    "H": "[0-9a-fA-F]",
    "U": "[A-Z0-9]",
    "B": "[A-Za-z0-9_+/=.-]",
}


def _prefixed(name: str, prefix: str, charset: str, least: int) -> Rule:
    """A token that starts with a fixed prefix; the prefix stays readable."""
    chars = _CHARSETS[charset]
    whole = re.compile(f"{re.escape(prefix)}{chars}{{{least},}}".encode())
    keep = len(prefix)

    def check(body: Buffer, at: int, low: int, high: int) -> Span | None:
        match = whole.match(body, at, high)
        if match is None or at < low or not starts_word(body, at, low):
            return None
        if _DIGITS.search(body, at + keep, match.end()) is None:
            return None  # a word with hyphens, not a token
        return at + keep, match.end()

    return Rule(name, f"{re.escape(prefix)}{chars}{{{least}}}", keep + least, check)


_PREFIXED: Final = (
    ("openai_style_key", "sk-", "W", 16),
    ("stripe_key", "sk_live_", "A", 10), ("stripe_key", "sk_test_", "A", 10),
    ("stripe_key", "rk_live_", "A", 10), ("stripe_key", "rk_test_", "A", 10), ("stripe_key", "whsec_", "A", 16),
    ("aws_key", "AKIA", "U", 16), ("aws_key", "ASIA", "U", 16),
    ("github_token", "ghp_", "A", 20), ("github_token", "gho_", "A", 20), ("github_token", "ghu_", "A", 20),
    ("github_token", "ghs_", "A", 20), ("github_token", "ghr_", "A", 20), ("github_token", "github_pat_", "W", 20),
    ("gitlab_token", "glpat-", "W", 16), ("gitlab_token", "gldt-", "W", 16), ("gitlab_token", "glrt-", "W", 16),
    ("slack_token", "xoxb-", "W", 10), ("slack_token", "xoxp-", "W", 10), ("slack_token", "xoxa-", "W", 10),
    ("slack_token", "xoxe-", "W", 10), ("slack_token", "xoxs-", "W", 10), ("slack_token", "xoxr-", "W", 10),
    ("slack_token", "xoxc-", "W", 10), ("slack_token", "xoxd-", "W", 10), ("slack_token", "xapp-", "W", 16),
    ("slack_webhook", "hooks.slack.com/services/", "B", 16),
    ("discord_webhook", "discord.com/api/webhooks/", "B", 20),
    ("google_key", "AIza", "W", 30), ("google_key", "ya29.", "W", 20), ("google_key", "GOCSPX-", "W", 20),
    ("huggingface_token", "hf_", "A", 24), ("groq_key", "gsk_", "A", 24), ("xai_key", "xai-", "A", 24),
    ("replicate_token", "r8_", "A", 24), ("perplexity_key", "pplx-", "A", 24), ("nvidia_key", "nvapi-", "W", 24),
    ("fireworks_key", "fw_", "A", 20), ("tavily_key", "tvly-", "W", 16), ("langsmith_key", "lsv2_", "W", 24),
    ("pinecone_key", "pcsk_", "W", 20), ("e2b_key", "e2b_", "H", 24), ("cerebras_key", "csk-", "A", 24),
    ("sendgrid_key", "SG.", "B", 30), ("npm_token", "npm_", "A", 24), ("pypi_token", "pypi-AgE", "W", 24),
    ("digitalocean_token", "dop_v1_", "H", 24), ("databricks_token", "dapi", "H", 32),
    ("notion_token", "ntn_", "A", 24), ("linear_key", "lin_api_", "A", 24), ("shopify_token", "shpat_", "H", 24),
    ("vault_token", "hvs.", "W", 24), ("supabase_token", "sbp_", "H", 24), ("mailgun_key", "key-", "H", 32),
    ("newrelic_key", "NRAK-", "U", 20), ("sentry_token", "sntrys_", "B", 24), ("grafana_token", "glsa_", "W", 24),
    ("atlassian_token", "ATATT3x", "B", 24), ("age_key", "AGE-SECRET-KEY-1", "U", 24),
    ("azure_key", "AccountKey=", "B", 24), ("azure_key", "SharedAccessKey=", "B", 24),
)  # fmt: skip

# --- tokens with a structure -------------------------------------------------------------------------------

_JWT: Final = re.compile(rb"eyJ[A-Za-z0-9_-]{6,}\.eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?")
_BEARER: Final = re.compile(rb"(?i)bearer(?: +|%20|\\u0020)([A-Za-z0-9._~+/=-]{8,})")
_BEGIN_KEY: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----")
_URL_USER: Final = re.compile(rb"(:(?:\\*/){2}[^\s/:@\"'<>\\]*:)([^\s/@\"'<>]+)\Z")


def _jwt(body: Buffer, at: int, low: int, high: int) -> Span | None:
    start = body.rfind(b"eyJ", max(low, at - _LONGEST_VALUE), at)
    match = _JWT.match(body, start, high) if start >= 0 else None
    return (start + 3, match.end()) if match and match.end() > at else None


def _bearer(body: Buffer, at: int, low: int, high: int) -> Span | None:
    match = _BEARER.match(body, at, high)
    if match is None or at < low:
        return None
    start, end = match.span(1)
    is_word = _DIGITS.search(body, start, end) is None and end - start < 24
    return None if is_word else (start, end)


def _private_key(body: Buffer, at: int, low: int, high: int) -> Span | None:
    begin = body.rfind(b"-----BEGIN ", max(low, at - 64), at)
    match = _BEGIN_KEY.match(body, begin, high) if begin >= 0 else None
    if match is None:
        return None
    end = body.find(b"-----END", match.end(), min(high, match.end() + _LONGEST_KEY_BLOCK))
    return match.end(), end if end >= 0 else min(high, match.end() + _LONGEST_KEY_BLOCK)


def _url_password(body: Buffer, at: int, low: int, high: int) -> Span | None:
    window = max(low, at - 1 - 320)
    match = _URL_USER.search(bytes(body[window : at - 1]))
    return (window + match.start(2), window + match.end(2)) if match else None


# --- fields whose name says that they are secret ------------------------------------------------------------

_STRONG: Final = (
    "pass(?:word|wd|phrase|code)|pwd|api[_.-]?key|access[_.-]?key|private[_.-]?key|account[_.-]?key"
    "|secret[_.-]?(?:access[_.-]?)?key|encryption[_.-]?key|signing[_.-]?key|client[_.-]?secret"
    "|(?:auth|access|refresh|session|bot|bearer|api)[_.-]?token|authorization|set-cookie|x-auth-token"
)
_WEAK: Final = "token|secret|credentials?|cookie|auth|sig"
"""Words that also have harmless meanings: the value must look random."""
_WEAK_KEY_OF_VALUE: Final = re.compile(rb"(?i)(?:" + _WEAK.encode() + rb")[\\\"' \t]*[:=]\Z")
_STRONG_KEY_OF_VALUE: Final = re.compile(rb"(?i)(?:" + _STRONG.encode() + rb")[\\\"' \t]*[:=,>]\Z")

_GAP: Final = re.compile(rb">?[ \t]{0,16}(\\*)([\"'])?(?:(?:Bearer|Basic|Token|Bot)(?: +|%20))?", re.I)
_BARE: Final = re.compile(rb"[^\s\"'&;,<>()\[\]{}\\]{1,512}")
_HARMLESS: Final = re.compile(
    rb"(?i)\A(?:none|null|nil|true|false|undefined|str(?:ing)?|u?int(?:eger)?|number|bool(?:ean)?|object|array|any"
    rb"|bytes|text|required|optional|missing|invalid|incorrect|wrong|expired|empty|hidden|redacted|changed|reset"
    rb"|protected|unauthorized|bearer|basic|token|secret|password|\*+|x+|\.+|\$.*|%.*|<.*|[a-z_]+(?:\.[a-z_]+)+"
    rb"|(?:your|my|the)[_-].*|/.*)\Z"
)
_LOOKS_RANDOM: Final = re.compile(rb"\A(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9._~+/=%-]{16,}\Z")


def _closing_quote(body: Buffer, quote: bytes, level: int, start: int, high: int) -> int:
    """Where a quoted value ends whose quotes carry `level` backslashes (JSON inside JSON inside ...)."""
    limit = min(high, start + _LONGEST_VALUE)
    at = start
    while (at := body.find(quote, at, limit)) >= 0:
        slashes = 0
        while at - slashes > start and body[at - slashes - 1] == _BACKSLASH:
            slashes += 1
        if slashes % (2 * (level + 1)) == level:
            return at - level
        at += 1
    return limit


def _secret_field(body: Buffer, at: int, low: int, high: int) -> Span | None:
    window = bytes(body[max(low, at - 48) : at])
    strong = _STRONG_KEY_OF_VALUE.search(window) is not None
    if not strong and _WEAK_KEY_OF_VALUE.search(window) is None:
        return None
    gap = _GAP.match(body, at, high)
    if gap is None:
        return None
    start, quote = gap.end(), gap[2]
    if quote is not None:
        end = _closing_quote(body, bytes(quote), len(gap[1]), start, high)
    else:
        bare = None if gap[1] else _BARE.match(body, start, high)
        if bare is None or body[bare.end() : bare.end() + 1] in (b"(", b"["):
            return None  # nothing, or code that fetches the secret from elsewhere
        end = bare.end()
    value = bytes(body[start:end])
    if not value or _HARMLESS.match(value) or (not strong and not _LOOKS_RANDOM.match(value)):
        return None
    return start, end


def _flag(body: Buffer, at: int, low: int, high: int) -> Span | None:
    bare = _BARE.match(body, at, high)
    return bare.span() if bare and not _HARMLESS.match(bare[0]) else None


def _whole_value(body: Buffer, _at: int, low: int, high: int) -> Span | None:
    return None if _HARMLESS.match(bytes(body[low:high])) else (low, high)


# --- personal data --------------------------------------------------------------------------------------------

_LOCAL: Final = re.compile(rb"[A-Za-z0-9._%+-]+\Z")
_DOMAIN: Final = re.compile(rb"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])")
_CARD: Final = re.compile(
    rb"(?:[0-9]{13,19}|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|3[47][0-9]{2}([ -])[0-9]{6}\2[0-9]{5})"
    rb"(?![0-9A-Za-z_]|\.[0-9])"
)
_CARD_ISSUER: Final = re.compile(
    rb"\A(?:4(?:.{12}|.{15}|.{18})|(?:5[1-5]|222[1-9]|22[3-9].|2[3-6]..|27[01].|2720)(?=.*\Z)|3[47].{13}"
    rb"|3(?:0[0-5]|[68].).{11}|(?:6011|65..|64[4-9].).{12}|35[2-8].{13}|62.{14,17})"
)
_SSN: Final = re.compile(rb"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9A-Za-z_-])")
_PHONE: Final = re.compile(
    rb"(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}([-.]))[2-9][0-9]{2}(?(1)\1|[-. ])[0-9]{4}(?![0-9A-Za-z_-]|\.[0-9])"
)
_PHONE_ABROAD: Final = re.compile(rb"\+[1-9][0-9]{0,3}(?:[ .()-]{0,2}[0-9]){7,14}(?![0-9A-Za-z_])")
_IBAN_LENGTHS: Final = {
    b"AD": 24, b"AE": 23, b"AT": 20, b"BE": 16, b"BG": 22, b"CH": 21, b"CY": 28, b"CZ": 24, b"DE": 22, b"DK": 18,
    b"EE": 20, b"ES": 24, b"FI": 18, b"FR": 27, b"GB": 22, b"GR": 27, b"HR": 21, b"HU": 28, b"IE": 22, b"IL": 23,
    b"IS": 26, b"IT": 27, b"LI": 21, b"LT": 20, b"LU": 20, b"LV": 21, b"MC": 27, b"MT": 31, b"NL": 18, b"NO": 15,
    b"PL": 28, b"PT": 25, b"RO": 24, b"SA": 24, b"SE": 24, b"SI": 19, b"SK": 24, b"SM": 27, b"TR": 26, b"UA": 29,
}  # fmt: skip


def _email(body: Buffer, at: int, low: int, high: int) -> Span | None:
    sign = at + 1
    window = max(low, sign - 64)
    local = _LOCAL.search(bytes(body[window:sign]))
    domain = _DOMAIN.match(body, sign + 1, high)
    if local is None or domain is None or local[0] == b"git":
        return None
    start = behind_escape(body, window + local.start(), low)
    return (start, domain.end()) if start < sign else None


def _luhn(digits: bytes) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = digit - 48
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _card(body: Buffer, at: int, low: int, high: int) -> Span | None:
    match = _CARD.match(body, at, high)
    if match is None or at < low or not starts_word(body, at, low):
        return None
    if at - 2 >= low and body[at - 1] == 0x2E and body[at - 2] in b"0123456789":
        return None  # the decimals of a number
    digits = re.sub(rb"[ -]", b"", match[0])
    if _CARD_ISSUER.match(digits) is None or len(set(digits)) < 2 or not _luhn(digits):
        return None
    if digits[:1] in b"25" and len(digits) != 16:
        return None
    return match.span()


def _exact(pattern: re.Pattern[bytes], *, not_after: bytes = b"") -> Check:
    def check(body: Buffer, at: int, low: int, high: int) -> Span | None:
        match = pattern.match(body, at, high)
        if match is None or at < low or not starts_word(body, at, low):
            return None
        return None if at > low and body[at - 1] in not_after else match.span()

    return check


def _phone_abroad(body: Buffer, at: int, low: int, high: int) -> Span | None:
    match = _PHONE_ABROAD.match(body, at, high)
    if match is None or at < low or not starts_word(body, at, low):
        return None
    digits = sum(48 <= byte <= 57 for byte in match[0])
    return match.span() if 8 <= digits <= 15 and (digits >= 10 or digits < len(match[0]) - 1) else None


def _iban(body: Buffer, at: int, low: int, high: int) -> Span | None:
    if at < low or not starts_word(body, at, low):
        return None
    wanted = _IBAN_LENGTHS.get(bytes(body[at : at + 2]))
    if wanted is None:
        return None
    end = at
    for _ in range(wanted):  # groups of four may be set apart by spaces, and words may follow
        if body[end : end + 1] == b" ":
            end += 1
        end += 1
    if end > high or not _ends_word(body, end, high):
        return None
    compact = bytes(body[at:end]).replace(b" ", b"")
    if len(compact) != wanted or not compact.isalnum() or compact != compact.upper():
        return None
    number = "".join(str(int(chr(char), 36)) for char in compact[4:] + compact[:4])
    return (at, end) if int(number) % 97 == 1 else None


_NOT_DIGIT: Final = r"(?:[^0-9]|[^ -~][0-9])"
"""What may stand before a number; a digit behind an unprintable byte is a string's length."""

RULES: Final = (
    Rule("url_password", r":(?:\\*/){2}[^\s/:@\"'<>\\]*:[^\s/@\"'<>]+@", 0, _url_password),
    *(_prefixed(*row) for row in _PREFIXED),
    Rule("jwt", r"\.eyJ[A-Za-z0-9_-]{6}", 10, _jwt),
    Rule("bearer_token", r"bearer [A-Za-z0-9._~+/=-]{8}", 15, _bearer, caseless=True),
    Rule("bearer_token", r"bearer%20[A-Za-z0-9._~+/=-]{8}", 17, _bearer, caseless=True),
    Rule("private_key", r"PRIVATE KEY(?: BLOCK)?-----", 0, _private_key),
    Rule("secret_field", rf"(?:{_STRONG}|{_WEAK})[\\\"' \t]*[:=]", 0, _secret_field, caseless=True),
    Rule(
        "secret_field",
        r"(?:authorization|x-api-key|api-key|set-cookie|x-auth-token)\\*[\"'],",
        0,
        _secret_field,
        caseless=True,
    ),
    Rule("secret_field", r"<pass(?:word|wd)>", 0, _secret_field, caseless=True),
    Rule("secret_flag", r"--(?:password|passwd|token|api-key|secret) ", 0, _flag, caseless=True),
    Rule("secret_attribute", rf"(?:{_STRONG}|cookie)\x12", 0, _whole_value, caseless=True, in_key=True),
    Rule("email", r"[A-Za-z0-9_%+.-]@[A-Za-z0-9]", 3, _email),
    Rule("credit_card", _NOT_DIGIT + "[2-6][0-9]{12}", 13, _card),
    Rule("credit_card", r"[2-6][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}", 19, _card),
    Rule("credit_card", r"3[47][0-9]{2}[ -][0-9]{6}[ -][0-9]{5}", 17, _card),
    # A pattern that begins with letters is found by them; all countries in one would be tried at every byte.
    *(Rule("iban", f"{country.decode()}[0-9]{{2}}[A-Z0-9]{{8}}", 12, _iban) for country in _IBAN_LENGTHS),
    *(
        Rule("iban", f"{country.decode()}[0-9]{{2}} [A-Z0-9]{{4}} [A-Z0-9]{{4}}", 14, _iban)
        for country in _IBAN_LENGTHS
    ),
    Rule("ssn", r"[0-9]{3}-[0-9]{2}-[0-9]{4}", 11, _exact(_SSN, not_after=b"-")),
    Rule("phone", r"[2-9][0-9]{2}[-.][2-9][0-9]{2}[-.][0-9]{4}", 12, _exact(_PHONE, not_after=b"-.")),
    Rule("phone", r"\([2-9][0-9]{2}\)[2-9][0-9]{2}[-. ][0-9]{4}", 13, _exact(_PHONE)),
    Rule("phone", r"\([2-9][0-9]{2}\) [2-9][0-9]{2}[-. ][0-9]{4}", 14, _exact(_PHONE)),
    Rule("phone", r"\+[1-9][0-9 ().-]{7}", 9, _phone_abroad),
)
