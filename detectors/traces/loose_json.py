"""Reads text that is almost JSON: JSON that was cut off, Python reprs, and the `toString` of Java records.

Instrumentations print objects where they should serialise them, and exporters cut attributes at a length
limit. Both still say which tool was called and what came back, so both are read as far as they go.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

CUT: Final = "\ue000"
"""Marks what the end of the document cut off: the last character of a string, the last item of a list, a key of an
object (a private-use character, never in real text)."""

CLASS: Final = "__class__"
"""The key under which a printed object keeps the name of its class."""

_MAX_CHARACTERS: Final = 1 << 20
_MAX_VALUES: Final = 50_000
_MAX_DEPTH: Final = 48
_MAX_ANGLE: Final = 2_000

_SPACE = re.compile(r"[\s\ufeff]*")
_STRING = {
    '"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL),
    "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*", re.DOTALL),
}
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_SIMPLE_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+|Infinity|inf\b)")
_WORD = re.compile(r"[A-Za-z_$][\w.$]*")
_PREFIXED_STRING = re.compile(r"[bBuUrR]{1,2}(?=['\"])")
_KEY = re.compile(r"([A-Za-z_]\w*)\s*=(?!=)")
_ENUM = re.compile(r"<[\w.]+: (?=['\"\d-])")
_ANGLE = re.compile(r"[<>]")
_BARE = re.compile(r"[^,\[\](){}=\n]+")
_CONSTANTS: Final[dict[str, Any]] = {
    "true": True, "True": True, "false": False, "False": False, "null": None, "None": None,
    "undefined": None, "NaN": None, "nan": None, "inf": None, "Infinity": None,
}  # fmt: skip
_CUT_MARK = re.compile(
    r"(?:\.{3}|…)?\s*[\[(<]{1,3}\s*(?:\d+ \w+ )?(?:truncated|cut|omitted)[^\])>]{0,40}[\])>]{1,3}\s*$"
    r"|(?:\.{3}|…)\s*$",
    re.IGNORECASE,
)
_OBJECT = re.compile(r"[A-Z][\w.]*\(\s*(?:\)|[A-Za-z_]\w*\s*=)|[A-Z]\w*\s?[\[{]\s*\w+\s?=(?!=)")
_PAIRS = re.compile(r"[A-Za-z_]\w*=(?:['\"\[{<\d-]|None|True|False|[A-Z]\w*\()")
_OPENING = frozenset("{[(")


class Parsed(NamedTuple):
    """What could be read; `cut` says that the text ended before the value did."""

    value: Any
    cut: bool


class _MalformedError(Exception):
    """The text is not a value, not even the beginning of one."""


def is_loose(text: str) -> bool:
    """Say whether it is worth parsing: the text begins as a container or a printed object does."""
    start = _SPACE.match(text).end()  # type: ignore[union-attr]
    return text[start : start + 1] in _OPENING or bool(_OBJECT.match(text, start) or _PAIRS.match(text, start))


def parse_loose(text: str) -> Parsed | None:
    """Parse almost-JSON. None for prose and for anything whose syntax breaks before its end.

    Objects become dicts with their class under `CLASS`, leading underscores of fields dropped. A string
    that was cut keeps its beginning, marked with `CUT`; a number or word that was cut is left out.
    """
    shortened = len(text) > _MAX_CHARACTERS
    if shortened:
        text = text[:_MAX_CHARACTERS]
    if not is_loose(text):
        return None
    try:
        value, cut = _read(text)
        if cut and (mark := _CUT_MARK.search(text, max(0, len(text) - 80))):
            value, cut = _read(text[: mark.start()])
    except _MalformedError:
        mark = _CUT_MARK.search(text, max(0, len(text) - 80))
        if mark is None:
            return None
        try:
            value, cut = _read(text[: mark.start()])
        except _MalformedError:
            return None
    return Parsed(value, cut or shortened)


def _read(text: str) -> tuple[Any, bool]:
    parser = _Parser(text)
    if _PAIRS.match(text, parser.position):
        return parser.pairs(""), parser.cut
    values = [parser.value(0, bare=False)]
    while not parser.cut and parser.more():
        if parser.text[parser.position] not in _OPENING:
            raise _MalformedError
        values.append(parser.value(0, bare=False))  # one document a line
    return (values[0] if len(values) == 1 else values), parser.cut


def without_cuts(value: Any) -> Any:
    """The value with the marks of what was cut taken out."""
    if type(value) is str:
        return value.rstrip(CUT)
    if type(value) is dict:
        return {key: without_cuts(inner) for key, inner in value.items() if key != CUT}
    if type(value) is list:
        return [without_cuts(inner) for inner in value if inner != CUT]
    return value


_NOTHING: Final = object()


class _Parser:
    __slots__ = ("cut", "length", "position", "text", "values")

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = len(text)
        self.position = 0
        self.cut = False
        self.values = 0
        self.more()

    def more(self) -> bool:
        """Skip white space and say whether anything is left."""
        position = self.position
        if position >= self.length:
            return False
        if self.text[position] > " " and self.text[position] < "\x7f":
            return True
        self.position = _SPACE.match(self.text, position).end()  # type: ignore[union-attr]
        return self.position < self.length

    def ended(self) -> bool:
        """Say whether the text ended inside a value."""
        return self.cut

    def value(self, depth: int, *, bare: bool) -> Any:
        """Read one value; `bare` allows unquoted words, as Java records print them."""
        self.values += 1
        if depth > _MAX_DEPTH or self.values > _MAX_VALUES:
            raise _MalformedError
        if not self.more():
            self.cut = True
            return _NOTHING
        text, position = self.text, self.position
        first = text[position]
        if bare and first in ",)]}":
            return ""
        if first in "\"'":
            return self.string(first)
        if first == "{":
            return self.mapping(depth)
        if first in "[(":
            return self.sequence(depth, "]" if first == "[" else ")", bare=bare)
        if first == "<":
            return self.angle(depth)
        if (first not in "Ii" and not first.isalpha()) or text.startswith(("Infinity", "inf"), position):
            if number := _NUMBER.match(text, position):
                return self.number(number, bare=bare)
        elif first in "bBuUrR" and (prefix := _PREFIXED_STRING.match(text, position)):
            self.position = prefix.end()
            return self.string(text[self.position])
        return self.word(depth, bare=bare)

    def string(self, quote: str) -> str:
        start = self.position + 1
        end = _STRING[quote].match(self.text, start).end()  # type: ignore[union-attr]
        raw = self.text[start:end]
        if end >= len(self.text) or self.text[end] != quote:
            self.cut = True
            self.position = len(self.text)
            raw += CUT
        else:
            self.position = end + 1
        if "\\" in raw:
            raw = _ESCAPE.sub(_unescape, raw)
            if "\ud800" <= max(raw, default="") <= "\udfff":
                raw = raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return raw

    def number(self, match: re.Match[str], *, bare: bool) -> Any:
        self.position = match.end()
        if self.position == len(self.text):
            self.cut = True
            return _NOTHING
        if bare and self.text[self.position] not in ",)]} \n":  # 2024-01-01, 3fa9…: not a number
            self.position = match.start()
            return self.bare()
        digits = match.group().replace("_", "")
        try:
            return int(digits) if digits.lstrip("+-").isdigit() and len(digits) < 400 else float(digits)
        except (ValueError, OverflowError):
            return None

    def bare(self) -> str:
        match = _BARE.match(self.text, self.position)
        if match is None:
            raise _MalformedError
        self.position = match.end()
        if self.position == len(self.text):
            self.cut = True
        return match.group().strip()

    def word(self, depth: int, *, bare: bool) -> Any:
        match = _WORD.match(self.text, self.position)
        if match is None:
            raise _MalformedError
        word = match.group()
        end = match.end()
        following = self.text[end : end + 1]
        if not following:
            self.position = end
            if word in _CONSTANTS:
                return _CONSTANTS[word]
            self.cut = True
            return _NOTHING
        if following == "(":
            self.position = end + 1
            return self.fields(word, ")", depth)
        if following in "[{" or (following == " " and self.text[end + 1 : end + 2] in ("[", "{")):
            opening = end if following in "[{" else end + 1
            self.position = opening + 1
            return self.fields(word, "]" if self.text[opening] == "[" else "}", depth)
        self.position = end
        if word in _CONSTANTS:
            return _CONSTANTS[word]
        if bare or "." in word:  # an enum member: ChatRole.USER
            self.position = match.start()
            return self.bare()
        raise _MalformedError

    def sequence(self, depth: int, close: str, *, bare: bool) -> list[Any]:
        self.position += 1
        out: list[Any] = []
        while self.more():
            character = self.text[self.position]
            if character == close:
                self.position += 1
                return out
            if character == ",":
                self.position += 1
                continue
            value = self.value(depth + 1, bare=bare)
            if value is not _NOTHING:
                out.append(value)
            if self.cut:
                break
        self.cut = True
        out.append(CUT)
        return out

    def mapping(self, depth: int) -> Any:
        self.position += 1
        out: dict[str, Any] = {}
        while self.more():
            character = self.text[self.position]
            if character == "}":
                self.position += 1
                return out
            if character == ",":
                self.position += 1
                continue
            name = self.key(depth)
            if self.ended() or not self.more():
                break
            if self.text[self.position] in ":=":
                self.position += 1
                value = self.value(depth + 1, bare=self.text[self.position - 1] == "=")
                if value is not _NOTHING:
                    out[name] = value
                if self.cut:
                    break
            elif self.text[self.position] in ",}":  # a set
                out[name] = None
            else:
                raise _MalformedError
        self.cut = True
        out[CUT] = True
        return out

    def key(self, depth: int) -> str:
        if word := _WORD.match(self.text, self.position):
            self.position = word.end()
            return word.group()
        key = self.value(depth + 1, bare=False)
        return key if isinstance(key, str) else str(key)

    def fields(self, class_name: str, close: str, depth: int) -> dict[str, Any]:
        """Read `name=value, …)` after a class name."""
        out: dict[str, Any] = {CLASS: class_name}
        while self.more():
            character = self.text[self.position]
            if character == close:
                self.position += 1
                return out
            if character == ",":
                self.position += 1
                continue
            key = _KEY.match(self.text, self.position)
            if key is not None:
                self.position = key.end()
            value = self.value(depth + 1, bare=close != ")")
            if value is not _NOTHING:
                if key is not None:
                    out[key.group(1).lstrip("_")] = value
                else:
                    out.setdefault("__args__", []).append(value)
            if self.cut:
                break
        self.cut = True
        out[CUT] = True
        return out

    def pairs(self, class_name: str) -> dict[str, Any]:
        """Read `name='x' description='y' …`, as pydantic prints a model."""
        out: dict[str, Any] = {CLASS: class_name}
        while self.more():
            key = _KEY.match(self.text, self.position)
            if key is None:
                raise _MalformedError
            self.position = key.end()
            value = self.value(1, bare=False)
            if value is _NOTHING or (self.cut and not isinstance(value, str | list | dict)):
                break
            out[key.group(1).lstrip("_")] = value
            if self.cut:
                break
        if self.cut:
            out[CUT] = True
        return out

    def angle(self, depth: int) -> Any:
        """Read `<Role.USER: 'user'>` as its value, and pass over `<function f at 0x7f…>`."""
        enum = _ENUM.match(self.text, self.position)
        if enum is not None:
            self.position = enum.end()
            value = self.value(depth + 1, bare=False)
            if self.cut or not self.more():
                self.cut = True
                return value
            if self.text[self.position] == ">":
                self.position += 1
                return value
            raise _MalformedError
        level = 0
        limit = min(len(self.text), self.position + _MAX_ANGLE)
        for match in _ANGLE.finditer(self.text, self.position, limit):
            level += 1 if match.group() == "<" else -1
            if level == 0:
                self.position = match.end()
                return None
        if limit == len(self.text):
            self.position = limit
            self.cut = True
            return _NOTHING
        raise _MalformedError


def _unescape(match: re.Match[str]) -> str:
    escape = match.group(1)
    if len(escape) > 1:
        code = int(escape[1:], 16)
        return chr(code) if code < 0x110000 else "\ufffd"
    if escape == CUT:
        return CUT
    return _SIMPLE_ESCAPES.get(escape, escape)
