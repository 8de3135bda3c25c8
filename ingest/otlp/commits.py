"""Requests that are ready at the same time are appended together.

A record has its price: at the brokers, in the eventlog, and for every reader. Many senders send a few spans at a time;
while one append is on its way, what they send is gathered, and becomes one record a partition instead of one a request.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dimwatch import records
from dimwatch.errors import InvalidError
from dimwatch.eventlog.base import NewRecord
from ingest.otlp.admission import Admitted, Piece
from ingest.otlp.outline import PIECE_BYTES
from ingest.otlp.signals import Signal

_GROUP_BYTES: Final = 8 * 1024 * 1024
"""Most bytes that are appended at once; one larger request still passes."""
_HEADERS: Final = {records.HEADER_TENANT: "", records.HEADER_ADMITTED: "1"}
_APART_S: Final = 0.02
"""Appends follow each other no faster while several senders are at work: each has a price of its own."""
_ALONE: Final = 4
"""After so many appends of one request, there is one sender: it waits for each answer, and is not held up."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that is ready to be stored."""

    signal: Signal
    now_ns: int
    admitted: Admitted

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(len(piece.body) for piece in self.admitted.pieces)


Told = Callable[[Exception | None], None]
"""Called when a request is durable, or with the reason why it is not."""


class Commits:
    """Hands requests to `append`, in the order in which they came, on a thread of its own."""

    def __init__(self, append: Callable[[Sequence[Prepared]], None]) -> None:
        self._append = append
        self._waiting: deque[tuple[Prepared, Told]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, prepared: Prepared, told: Told) -> None:
        """Append it with the next group; `told` is called on the thread that appends."""
        with self._wake:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="append", daemon=True)
                self._thread.start()
            self._waiting.append((prepared, told))
            self._wake.notify()

    def close(self) -> None:
        """Append what waits. Idempotent."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        alone = _ALONE
        while group := self._take():
            began = time.monotonic()
            self._commit(group)
            alone = alone + 1 if len(group) == 1 else 0
            if alone < _ALONE:
                time.sleep(max(0.0, began + _APART_S - time.monotonic()))

    def _commit(self, group: Sequence[tuple[Prepared, Told]]) -> None:
        error: Exception | None = None
        try:
            self._append([prepared for prepared, _ in group])
        except InvalidError as raised:
            if len(group) > 1:  # only some of them may be
                for one in group:
                    self._commit([one])
                return
            error = raised
        except Exception as raised:
            error = raised
        for _, told in group:
            told(error)

    def _take(self) -> list[tuple[Prepared, Told]]:
        """Wait for requests and take all that fit in one group; none when closed and drained."""
        group: list[tuple[Prepared, Told]] = []
        size = 0
        with self._wake:
            while not self._waiting and not self._closed:
                self._wake.wait()
            while self._waiting:
                size += self._waiting[0][0].size
                if group and size > _GROUP_BYTES:
                    break
                group.append(self._waiting.popleft())
        return group


def together(group: Iterable[Prepared]) -> dict[str, list[NewRecord]]:
    """The records of requests by topic: those of a partition in as few as `PIECE_BYTES` allow, in their order."""
    drafts: dict[str, list[_Draft]] = {}
    open_: dict[tuple[str, int | None, bytes], _Draft] = {}
    for prepared in group:
        topic = prepared.signal.topic
        for piece in prepared.admitted.pieces:
            # What has no partition goes to that of its key.
            place = topic, piece.partition, b"" if piece.partition is not None else piece.key
            draft = open_.get(place)
            if draft is None or draft.size + len(piece.body) > PIECE_BYTES:
                draft = open_[place] = _Draft(piece)
                drafts.setdefault(topic, []).append(draft)
            draft.bodies.append(piece.body)  # requests one behind the other are one request, as protobuf merges
            draft.size += len(piece.body)
            draft.now_ns = max(draft.now_ns, prepared.now_ns)
    return {topic: [draft.record() for draft in found] for topic, found in drafts.items()}


@dataclass(slots=True)
class _Draft:
    """A record to be."""

    first: Piece
    bodies: list[bytes] = field(default_factory=list)
    size: int = 0
    now_ns: int = 0

    def record(self) -> NewRecord:
        value = self.bodies[0] if len(self.bodies) == 1 else b"".join(self.bodies)
        return NewRecord(value, self.now_ns, self.first.key, _HEADERS, self.first.partition)
