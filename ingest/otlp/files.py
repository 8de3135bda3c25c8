"""Recorded OTLP in files, for replay: the same checks and masks as live, in order of event time.

Two passes keep memory bounded: `index` reads every request once and keeps only where it is and when its events
were; `read` fetches one again. Understood are `.pb`, `.pb.gz` and `.grpc.pb` (one protobuf request; logs and
metrics are told by `.logs.pb` and `.metrics.pb`), `.json` and `.otlpjson` (one request), and `.jsonl` (one
request a line), each also with `.gz`. In a folder, a `.json` beside the protobuf file of the same name is taken
as a rendering of it and passed over.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

import orjson

from dimwatch.errors import DimwatchError, InvalidError
from ingest.otlp.admission import FUTURE_NS, Admitted, Limits, admit
from ingest.otlp.compression import decompress
from ingest.otlp.json_codec import to_protobuf
from ingest.otlp.refusals import TooLargeError
from ingest.otlp.signals import LOGS, METRICS, SIGNALS, TRACES, Signal
from ingest.redaction import Redactor

_KNOWN: Final = re.compile(r"\.(pb|json|otlpjson|jsonl)(\.gz)?\Z")
_IDS: Final = re.compile(r"(?!0{32})[0-9a-fA-F]{32}:(?!0{16})[0-9a-fA-F]{16}:(?:[0-9a-fA-F]{16})?\Z")
_LOGS_OR_METRICS: Final = re.compile(r"(?:\A|[._-])(logs|metrics)(?:\.\d+)?(?:\.grpc)?\.pb(?:\.gz)?\Z")
_OPEN_FILES: Final = 16
_FEW: Final = 1000
"""At most one request in so many is taken to be misdated."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One recorded request. `offset` is where its line starts, after decompression; times are 0 without events."""

    path: Path
    offset: int
    line: int
    signal: Signal
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A file, or a line of it, that could not be read."""

    path: Path
    line: int
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.message}"


@dataclass(slots=True)
class Index:
    """What was found: requests in order of event time, what could not be read, and what is not OTLP."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)


class Recordings:
    """Reads recorded requests. Not safe to share between threads; use as a context manager."""

    def __init__(self, limits: Limits, max_bytes: int, redactor: Redactor | None = None) -> None:
        self._limits = limits
        self._max_bytes = max_bytes
        self._redactor = redactor
        self._lines: OrderedDict[Path, IO[bytes]] = OrderedDict()

    def __enter__(self) -> Recordings:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._lines.values():
            handle.close()
        self._lines.clear()

    def index(self, paths: Iterable[Path], on_file: Callable[[Path], None] | None = None) -> Index:
        """First pass over files and folders (recursive, sorted). Never raises for what it reads."""
        index = Index()
        for path, listed in _files(paths):
            if listed and _is_rendering(path):
                index.skipped.append(path)
                continue
            if on_file is not None:
                on_file(path)
            self._index_file(path, index)
        index.entries.sort(key=_order)
        self._bound_future(index)
        return index

    def read(self, entry: Entry) -> Admitted:
        """Second pass: one request, checked and masked. Raises InvalidError if the file has changed since."""
        try:
            if _is_lines(entry.path):
                handle = self._line_handle(entry.path)
                handle.seek(entry.offset)
                body = to_protobuf(self._read_line(handle), entry.signal)
            else:
                body = self._unpacked(entry.path, self._content(entry.path), entry.signal)
        except (OSError, EOFError, zlib.error) as error:
            raise InvalidError(f"{entry.path} can not be read any more: {error}") from error
        return admit(body, entry.signal, self._limits, self._redactor)

    def _bound_future(self, index: Index) -> None:
        """Live, a span that is dated a day ahead of the clock is refused. Here the present is the end of the recording;
        a few requests that are further ahead than that of all others do not move it."""
        entries = index.entries
        dated = sum(entry.last_ns > 0 for entry in entries)
        for at in range(len(entries) - dated // _FEW, len(entries)):
            present_ns = entries[at - 1].last_ns
            if entries[at].last_ns - present_ns > FUTURE_NS:
                self._limits = replace(self._limits, latest_ns=present_ns + FUTURE_NS)
                entries[at:] = [self._timed_again(entry) for entry in entries[at:]]
                entries.sort(key=_order)
                break

    def _timed_again(self, entry: Entry) -> Entry:
        try:
            admitted = self.read(entry)
        except DimwatchError:
            return entry  # who reads it is told
        return replace(entry, first_ns=admitted.first_ns, last_ns=admitted.last_ns)

    def _index_file(self, path: Path, index: Index) -> None:
        try:
            if _is_lines(path):
                self._index_lines(path, index)
                return
            signal = self._signal(path)
            if signal is None:
                index.skipped.append(path)
                return
            content = self._content(path)
            body = self._unpacked(path, content, signal)
            index.entries.append(self._entry(path, 0, 0, signal, body))
        except (DimwatchError, OSError, EOFError, zlib.error) as error:
            index.problems.append(Problem(path, 0, _message(error)))

    def _index_lines(self, path: Path, index: Index) -> None:
        found = 0
        with _open(path) as handle:
            number = 0
            while True:
                offset = handle.tell()
                number += 1
                try:
                    line = self._read_line(handle)
                    if not line:
                        break
                    if not line.strip():
                        continue
                    times = _span_times(line, self._limits)
                    if times is not None:
                        found += 1
                        index.entries.append(Entry(path, offset, number, TRACES, *times))
                        continue
                    signal = _signal_of_json(line)
                    if signal is not None:
                        found += 1
                        entry = self._entry(path, offset, number, signal, to_protobuf(line, signal))
                        index.entries.append(entry)
                except InvalidError as error:
                    found += 1
                    index.problems.append(Problem(path, number, _message(error)))
        if not found:
            index.skipped.append(path)

    def _entry(self, path: Path, offset: int, line: int, signal: Signal, body: bytes) -> Entry:
        admitted = admit(body, signal, self._limits)
        return Entry(path, offset, line, signal, admitted.first_ns, admitted.last_ns)

    def _signal(self, path: Path) -> Signal | None:
        """The signal of a file with one request; None when it is JSON but not OTLP."""
        if _is_protobuf(path):
            match = _LOGS_OR_METRICS.search(path.name)
            return TRACES if match is None else LOGS if match[1] == "logs" else METRICS
        return _signal_of_json(self._content(path))

    def _unpacked(self, path: Path, content: bytes, signal: Signal) -> bytes:
        """One request in protobuf."""
        return _unframed(content, self._max_bytes) if _is_protobuf(path) else to_protobuf(content, signal)

    def _content(self, path: Path) -> bytes:
        with path.open("rb") as handle:
            content = handle.read(self._max_bytes + 1)
        if len(content) > self._max_bytes:
            raise TooLargeError(f"over {self._max_bytes} bytes (receiver.max_decompressed)")
        return decompress(content, "gzip" if path.suffix == ".gz" else "identity", self._max_bytes)

    def _read_line(self, handle: IO[bytes]) -> bytes:
        line = handle.readline(self._max_bytes + 1)
        if len(line) <= self._max_bytes:
            return line
        while line and not line.endswith(b"\n"):  # step over the rest of it
            line = handle.readline(1 << 20)
        raise TooLargeError(f"a line over {self._max_bytes} bytes (receiver.max_decompressed)")

    def _line_handle(self, path: Path) -> IO[bytes]:
        handle = self._lines.pop(path, None) or _open(path)
        self._lines[path] = handle
        if len(self._lines) > _OPEN_FILES:
            self._lines.popitem(last=False)[1].close()
        return handle


def _order(entry: Entry) -> tuple[int, int]:
    """In which requests were sent: an exporter sends a span when it has ended."""
    return entry.last_ns, entry.first_ns


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """Files to read, and whether they were found in a folder (or else named)."""
    for path in paths:
        if path.is_dir():
            for found in sorted(path.rglob("*")):
                if _KNOWN.search(found.name) and found.is_file():
                    yield found, True
        else:
            yield path, False


def _is_rendering(path: Path) -> bool:
    """Whether a JSON file only shows what a file beside it holds."""
    if not path.name.endswith(".json"):
        return False
    stem = path.name.removesuffix(".json").removesuffix(".decoded")
    names = (f"{stem}.pb", f"{stem}.pb.gz", f"{stem}.grpc.pb", *([stem] if _KNOWN.search(stem) else []))
    return any((path.parent / name).is_file() for name in names)


def _is_lines(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".jsonl")


def _is_protobuf(path: Path) -> bool:
    return not path.name.removesuffix(".gz").endswith((".json", ".otlpjson"))


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _signal_of_json(content: bytes) -> Signal | None:
    """Which request a JSON text is; None if it is another kind of JSON. Raises InvalidError if it is no JSON."""
    wanted = [signal for signal in SIGNALS if f'"{signal.json_key}"'.encode() in content]
    try:
        tree = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidError(f"malformed JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    if not isinstance(tree, dict):
        return None
    return next((signal for signal in wanted if signal.json_key in tree), None)


def _span_times(content: bytes, limits: Limits) -> tuple[int, int] | None:
    """The first and the last time of a JSON request of spans that are as they should be, the same that admission
    finds. None for anything that needs a closer look."""
    first, last, items = limits.latest_ns, 0, 0
    try:
        for resource in orjson.loads(content)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
                    ids = _IDS.match(f"{span['traceId']}:{span['spanId']}:{span.get('parentSpanId', '')}")
                    if ids is None or not limits.earliest_ns <= start <= end <= limits.latest_ns:
                        return None
                    first, last, items = min(first, start), max(last, end), items + 1
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return (first, last) if 0 < items <= limits.max_items else None


def _unframed(content: bytes, limit: int) -> bytes:
    """A gRPC message without its five bytes of framing, if it has them."""
    if len(content) < 5 or content[0] > 1 or int.from_bytes(content[1:5]) != len(content) - 5:
        return content
    return decompress(content[5:], "gzip" if content[0] else "identity", limit)


def _message(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
