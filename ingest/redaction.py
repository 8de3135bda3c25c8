"""Masks secrets and personal data in OTLP requests, before anything is stored.

A mask is as long as what it covers, so the protobuf framing stays as it is and nothing is encoded again. One
pass of Hyperscan over the whole request finds candidates; each is then located in its field and decided by an
exact check (`ingest.redaction_rules`), so that ids, numbers and lengths can not be touched.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Final

import hyperscan

from dimwatch import telemetry
from ingest.otlp.framing import Buffer, Items, Shape, Text, find_text, value_texts
from ingest.otlp.refusals import TooLargeError
from ingest.redaction_rules import RULES, Rule

MAX_CANDIDATES: Final = 200_000
"""Most candidates in one request: bounds the time that a hostile request can cost to under a second."""

_RULE_BITS: Final = 8
_STAR: Final = b"*"
_NINE: Final = b"9"


@dataclass(frozen=True, slots=True)
class Redacted:
    """A request after masking, and how much was masked by which rule."""

    body: bytes
    masked: Counter[str]


class Redactor:
    """Finds and masks; safe to share between threads. The first one of a process takes about 0.1 s to make."""

    def __init__(self) -> None:
        self._database = _database()
        self._local = threading.local()

    def redact(self, body: bytes, shape: Shape, items: Items | None = None) -> Redacted:
        """Mask in a protobuf message of type `shape`; `items` are where its items lie, if that is known.

        Raises TooLargeError, and InvalidError for a body with candidates and broken framing.
        """
        candidates = self._candidates(body)
        if not candidates:
            return Redacted(body, Counter())
        positions = sorted({end - 2 if rule.in_key else end - 1 for end, rule in candidates})
        texts = find_text(body, shape, positions, items)
        done_pairs: set[tuple[int, int]] = set()
        out = bytearray(body)
        masked: Counter[str] = Counter()
        for end, rule in candidates:
            text = texts.get(end - 2 if rule.in_key else end - 1)
            if text is None:
                continue
            if not rule.in_key:
                masked[rule.name] += _mask(out, rule, end - rule.length, text.start, text.end)
            elif text.is_key and text.pair and text.end == end - 1 and text.pair not in done_pairs:
                done_pairs.add(text.pair)
                masked[rule.name] += self._mask_value(out, rule, text, shape)
        for name, count in masked.items():
            if count:
                telemetry.REDACTED.labels(name).inc(count)
        return Redacted(bytes(out), +masked) if masked.total() else Redacted(body, Counter())

    def _mask_value(self, out: bytearray, rule: Rule, key: Text, shape: Shape) -> int:
        assert key.pair is not None
        pair = _key_value(shape)
        return sum(_mask(out, rule, start, start, end) for start, end in list(value_texts(out, *key.pair, pair)))

    def _candidates(self, body: bytes) -> list[tuple[int, Rule]]:
        """Places where an anchor ends, ascending."""
        found: list[int] = []

        def on_match(rule: int, _start: int, end: int, _flags: int, _context: object) -> bool | None:
            found.append(end << _RULE_BITS | rule)
            return True if len(found) > MAX_CANDIDATES else None

        scratch = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = hyperscan.Scratch(self._database)
        try:
            self._database.scan(body, match_event_handler=on_match, scratch=scratch)
        except hyperscan.ScanTerminated as error:
            raise TooLargeError(
                f"more than {MAX_CANDIDATES} possible secrets in one request; send smaller requests"
            ) from error
        found.sort()
        rule_of = (1 << _RULE_BITS) - 1
        return [(hit >> _RULE_BITS, RULES[hit & rule_of]) for hit in found]


@cache
def _database() -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[rule.anchor.encode() for rule in RULES],
        ids=list(range(len(RULES))),
        elements=len(RULES),
        flags=[hyperscan.HS_FLAG_DOTALL | (hyperscan.HS_FLAG_CASELESS if rule.caseless else 0) for rule in RULES],
    )
    return database


def _key_value(shape: Shape) -> Shape:
    """The KeyValue type of a request's schema: attributes of the resource of its first field."""
    resource = shape.messages[1].messages[1]
    return resource.messages[1]


def _mask(out: bytearray, rule: Rule, at: int, low: int, high: int) -> int:
    """Mask one candidate if its rule says so; return the number of masked places (0 or 1)."""
    span = rule.check(out, at, low, high)
    if span is None:
        return 0
    start, end = span
    while end < high and out[end] & 0xC0 == 0x80:  # never cut a character in two
        end += 1
    if end <= start:
        return 0
    out[start:end] = (_NINE if _is_json_number(out, start, end, low, high) else _STAR) * (end - start)
    return 1


def _is_json_number(out: Buffer, start: int, end: int, low: int, high: int) -> bool:
    """Whether digits stand where only a JSON number can, so that the mask has to be a number as well."""
    if not bytes(out[start:end]).isdigit():
        return False
    before = bytes(out[max(low, start - 8) : start]).rstrip()[-1:]
    after = bytes(out[end : min(high, end + 8)]).lstrip()[:1]
    return before in (b":", b"[", b",") and after in (b",", b"}", b"]")
