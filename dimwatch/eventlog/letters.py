"""Dead letters: records that a stage could not use, as they came, with where they came from and why.

A letter that was put back is marked by a record of its own on the same topic, in the same step, so that it is put back
once however often and wherever somebody asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from dimwatch import records
from dimwatch.clock import Clock
from dimwatch.errors import RetryableError
from dimwatch.eventlog.base import Consumer, EventLog, NewRecord, Record, TopicPartition

GROUP: Final = "dead_letters"
"""Who puts letters back. It commits no offsets, so that retention does not wait for it."""
_PLACE: Final = TopicPartition(records.DEAD_LETTERS, 0)
_READ_RECORDS: Final = 500
_READ_BYTES: Final = 16 << 20
_STEP_RECORDS: Final = 100
_STEP_BYTES: Final = 8 << 20
_JOIN_S: Final = 30.0
_REASON_CHARS: Final = 1_000
_OWN: Final = frozenset(
    {
        records.HEADER_REASON,
        records.HEADER_STAGE,
        records.HEADER_TOPIC,
        records.HEADER_PARTITION,
        records.HEADER_OFFSET,
        records.HEADER_REPLAYED,
    }
)

Origin = tuple[str, int, int]
"""Topic, partition and offset."""


def dead_letter(record: Record, stage: str, reason: str, now_ns: int) -> NewRecord:
    """What to append to `dead_letters` instead of using a record."""
    headers = {
        **{name: value for name, value in record.headers.items() if name not in _OWN},
        records.HEADER_STAGE: stage,
        records.HEADER_REASON: reason[:_REASON_CHARS],
        records.HEADER_TOPIC: record.topic,
        records.HEADER_PARTITION: str(record.partition),
        records.HEADER_OFFSET: str(record.offset),
    }
    return NewRecord(record.value, now_ns, record.key, headers)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter, and whether it was put back."""

    record: Record
    replayed: bool = False

    @property
    def number(self) -> int:
        """What people call it."""
        return self.record.offset

    @property
    def reason(self) -> str:
        """In full."""
        return self.record.headers.get(records.HEADER_REASON, "")

    @property
    def kind(self) -> str:
        """The reason in short: what stands before its colon."""
        return self.reason.partition(":")[0][:60]

    @property
    def stage(self) -> str:
        """Who gave it up; "" where that was not noted."""
        return self.record.headers.get(records.HEADER_STAGE, "")

    @property
    def topic(self) -> str:
        """Where it came from; "" where that was not noted."""
        return self.record.headers.get(records.HEADER_TOPIC, "")

    @property
    def origin(self) -> Origin | None:
        """The record that it is; None where that was not noted."""
        headers = self.record.headers
        try:
            return self.topic, int(headers[records.HEADER_PARTITION]), int(headers[records.HEADER_OFFSET])
        except (KeyError, ValueError):
            return None


Chosen = Callable[[Letter], bool]


def letters(log: EventLog) -> Iterator[Letter]:
    """All letters that are kept when this is called, oldest first. Reads the topic twice, so that it needs little
    memory. What comes in the meantime (letters that were put back and are no better) does not belong to them."""
    marks, origins, end = _marks(log)
    for record in _records(log):
        if record.offset >= end:
            return
        if records.HEADER_REPLAYED not in record.headers:
            letter = Letter(record)
            done = record.offset in marks or letter.origin in origins
            yield Letter(record, replayed=done)


@dataclass(slots=True)
class Replayed:
    """What became of the letters that were chosen."""

    put_back: int = 0
    before: int = 0
    """Had been put back already."""
    unknown: int = 0
    """Nobody noted where they came from."""


def replay(log: EventLog, clock: Clock, chosen: Chosen) -> Replayed:
    """Put letters back to the topic and partition that they came from, each once, and mark them.

    Record and mark are one step: after a crash or an error, calling again goes on with the rest. Raises RetryableError
    when the log can not be written to, or while somebody else puts letters back.
    """
    result = Replayed()
    consumer = log.consumer(GROUP, [records.DEAD_LETTERS])
    with closing(consumer):
        _join(consumer)
        step = _Step(log, clock)
        seen: set[Origin] = set()
        for letter in letters(log):
            if not chosen(letter):
                continue
            if letter.replayed or letter.origin in seen:
                result.before += 1
            elif not letter.topic:
                result.unknown += 1
            else:
                if letter.origin is not None:
                    seen.add(letter.origin)
                step.add(letter)
                result.put_back += 1
            if step.full:
                step.commit(consumer)
        step.commit(consumer)
    return result


class _Step:
    """Letters that are put back and marked together."""

    def __init__(self, log: EventLog, clock: Clock) -> None:
        self._log, self._clock = log, clock
        self._outputs: dict[str, list[NewRecord]] = {}
        self._count = self._bytes = 0

    @property
    def full(self) -> bool:
        return self._count >= _STEP_RECORDS or self._bytes >= _STEP_BYTES

    def add(self, letter: Letter) -> None:
        now_ns = self._clock.now_ns()
        record, origin = letter.record, letter.origin
        headers = {name: value for name, value in record.headers.items() if name not in _OWN}
        partition = origin[1] if origin is not None and origin[1] < self._log.partitions(letter.topic) else None
        # Its time is now: stages go by the time of records, and that does not run backwards.
        back = NewRecord(record.value, now_ns, record.key, headers, partition)
        named = {name: value for name, value in record.headers.items() if name in _OWN}
        mark = NewRecord(b"", now_ns, headers={**named, records.HEADER_REPLAYED: str(letter.number)})
        self._outputs.setdefault(letter.topic, []).append(back)
        self._outputs.setdefault(records.DEAD_LETTERS, []).append(mark)
        self._count += 1
        self._bytes += len(record.value)

    def commit(self, consumer: Consumer) -> None:
        if self._outputs:
            consumer.commit({}, self._outputs)
        self._outputs, self._count, self._bytes = {}, 0, 0


def _join(consumer: Consumer) -> None:
    deadline = time.monotonic() + _JOIN_S
    while _PLACE not in consumer.assignment():
        consumer.poll(max_records=1, max_bytes=1, timeout_s=0.2)
        if time.monotonic() > deadline:
            raise RetryableError("somebody else is putting dead letters back: try again when that is done")


def _records(log: EventLog) -> Iterator[Record]:
    with closing(log.reader([_PLACE])) as reader:
        while batch := reader.poll(max_records=_READ_RECORDS, max_bytes=_READ_BYTES, timeout_s=0.0):
            yield from batch


def _marks(log: EventLog) -> tuple[set[int], set[Origin], int]:
    """What was put back: numbers of letters, and what they were; and where the topic ended."""
    numbers: set[int] = set()
    origins: set[Origin] = set()
    end = 0
    for record in _records(log):
        end = record.offset + 1
        if records.HEADER_REPLAYED in record.headers:
            numbers.add(int(record.headers[records.HEADER_REPLAYED]))
            if (origin := Letter(record).origin) is not None:
                origins.add(origin)
    return numbers, origins, end


@dataclass(slots=True)
class Summary:
    """Letters of one reason, stage and topic."""

    reason: str
    stage: str
    topic: str
    first_ns: int
    last_ns: int = 0
    letters: int = 0
    replayed: int = 0
    bytes: int = 0
    newest: int = 0
    """Number of the newest, to be shown."""


def summarised(found: Iterable[Letter]) -> list[Summary]:
    """Letters by reason, stage and topic, the most first."""
    groups: dict[tuple[str, str, str], Summary] = {}
    for letter in found:
        key = (letter.kind, letter.stage, letter.topic)
        group = groups.setdefault(key, Summary(*key, first_ns=letter.record.timestamp_ns))
        group.letters += 1
        group.replayed += letter.replayed
        group.bytes += len(letter.record.value)
        group.first_ns = min(group.first_ns, letter.record.timestamp_ns)
        group.last_ns = max(group.last_ns, letter.record.timestamp_ns)
        group.newest = letter.number
    return sorted(groups.values(), key=lambda group: (-group.letters, group.reason, group.topic))
