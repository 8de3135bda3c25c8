"""What is still to be delivered: one message at a time to a target, the newest about each matter, until it arrives."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import xxhash

from detectors.notify.page import Event, Page
from dimwatch.clock import NS_PER_SECOND

FIRST_WAIT_S: Final = 2.0
LONGEST_WAIT_S: Final = 1800.0
FAILURES_IN_A_ROW: Final = 5
"""After so many failures a target is left alone for a while: its circuit is open."""
SHORTEST_REST_S: Final = 30.0
LONGEST_REST_S: Final = 600.0


class Outcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """The target could not be reached, or said that it is in trouble."""
    REFUSED = "refused"
    """The target works and does not want this message."""
    GONE = "gone"
    """The target says that there is nothing any more, now and later."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt."""

    outcome: Outcome
    status: int | None = None
    error: str = ""
    duration_ns: int = 0
    retry_after_s: float = 0.0

    @classmethod
    def said(cls, error: str, outcome: Outcome = Outcome.FAILED) -> Result:
        """One without an answer of the target."""
        return cls(outcome, error=error)

    @classmethod
    def cut_short(cls) -> Result:
        """Of an attempt during which the notifier ended: it may have arrived or not."""
        return cls.said("the notifier ended meanwhile")


@dataclass(slots=True)
class Message:
    """One message to one target."""

    key: str
    """The idempotency key."""
    target: str
    route: str
    group: str
    page: Page
    created_ns: int
    next_ns: int
    attempts: int = 0
    started_ns: int = 0
    """Of the attempt that is under way."""
    sending: bool = False

    @property
    def event(self) -> Event:
        return self.page.event

    def json(self) -> dict[str, Any]:
        """For the state."""
        parts = {name: getattr(self, name) for name in Message.__slots__}
        return {**parts, "page": self.page.json()}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Message:
        """Undo `json`."""
        return cls(**{**state, "page": Page.of(state["page"])})


@dataclass(slots=True)
class Circuit:
    """Whether a target is worth an attempt."""

    failures: int = 0
    until_ns: int = 0

    @property
    def broken(self) -> bool:
        """Whether it failed so often that it gets one message at a time, after a rest."""
        return self.failures >= FAILURES_IN_A_ROW

    def open(self, now_ns: int) -> bool:
        """Whether it is left alone now."""
        return self.broken and now_ns < self.until_ns

    def failed(self, now_ns: int, salt: str) -> None:
        self.failures += 1
        rest_s = min(SHORTEST_REST_S * 2.0 ** min(self.failures - FAILURES_IN_A_ROW, 20), LONGEST_REST_S)
        self.until_ns = now_ns + int(rest_s * _jitter(salt, self.failures) * NS_PER_SECOND)


def wait_ns(key: str, attempts: int) -> int:
    """How long to wait after so many attempts: doubled each time, up to half an hour, less up to a half."""
    longest_s = min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 30), LONGEST_WAIT_S)
    return int(longest_s * _jitter(key, attempts) * NS_PER_SECOND)


def _inherit(newer: Message, older: Message) -> None:
    """What nobody was told yet is no update of it."""
    if older.event.wakes and newer.event in (Event.UPDATE, Event.REPEAT):
        newer.page = replace(newer.page, event=older.event)


def _jitter(salt: str, number: int) -> float:
    """From a half to one: different for every message and attempt, and the same on every replay."""
    return 0.5 + (xxhash.xxh3_64_intdigest(f"{salt}\x1f{number}".encode()) % 1000) / 2000


class Outbox:
    """All messages that have not arrived. Of one group and target there are two at most: one on its way, one after."""

    def __init__(self, give_up_ns: int) -> None:
        self._give_up_ns = give_up_ns
        self.messages: dict[str, Message] = {}
        """By key, in the order in which they were written."""
        self.circuits: dict[str, Circuit] = {}

    def put(self, message: Message) -> Message | None:
        """Add a message. Returns the one about the same that it takes the place of, because nobody has got it yet."""
        old = next((m for m in self._about(message) if not m.sending), None)
        if old is not None:
            del self.messages[old.key]
            _inherit(message, old)
        self.messages[message.key] = message
        return old

    def undelivered(self, target: str, group: str) -> bool:
        """Whether a message about a group has not arrived."""
        return any(m.target == target and m.group == group for m in self.messages.values())

    def due(self, now_ns: int, most: int) -> list[Message]:
        """The messages to send now, at most one a target and `most` in all: from here on they are on their way."""
        busy = {message.target for message in self.messages.values() if message.sending}
        found: list[Message] = []
        for message in self.messages.values():
            if len(busy) >= most:
                break
            if message.target in busy or message.next_ns > now_ns or self._circuit(message.target).open(now_ns):
                continue
            busy.add(message.target)
            message.sending, message.started_ns = True, now_ns
            message.attempts += 1
            message.next_ns = now_ns + wait_ns(message.key, message.attempts)
            found.append(message)
        return found

    def finish(self, key: str, result: Result, now_ns: int) -> str:
        """Take note of how an attempt ended; returns the state of the message."""
        message = self.messages[key]
        message.sending = False
        circuit = self._circuit(message.target)
        if result.outcome is Outcome.FAILED:
            circuit.failed(now_ns, message.target)
        elif circuit.failures:
            # It is back: what waits for it goes out now, one after the other.
            circuit.failures = 0
            for other in self.messages.values():
                if other.target == message.target:
                    other.next_ns = min(other.next_ns, now_ns)
        state = self._state_after(message, result, now_ns)
        if state != "retrying":
            del self.messages[key]
        return state

    def remove(self, target: str, group: str) -> list[Message]:
        """Forget what nobody has to know any more, but for what is on its way."""
        found = [m for m in self.messages.values() if (m.target, m.group) == (target, group) and not m.sending]
        for message in found:
            del self.messages[message.key]
        return found

    def next_ns(self) -> int | None:
        """When there is something to do again."""
        waiting = (m for m in self.messages.values() if not m.sending)
        return min((max(m.next_ns, self._rest_until(m.target)) for m in waiting), default=None)

    def cut_short(self) -> list[Message]:
        """After a restart: what was on its way, and may have arrived or not. It goes out again with the same key."""
        found = [message for message in self.messages.values() if message.sending]
        for message in found:
            message.sending = False
        return found

    def keep(self, targets: Collection[str]) -> list[Message]:
        """Forget messages and circuits of other targets. Returns those messages."""
        self.circuits = {name: circuit for name, circuit in self.circuits.items() if name in targets}
        lost = [message for message in self.messages.values() if message.target not in targets]
        for message in lost:
            del self.messages[message.key]
        return lost

    def _state_after(self, message: Message, result: Result, now_ns: int) -> str:
        if result.outcome is Outcome.DELIVERED:
            return "delivered"
        newer = next((other for other in self._about(message) if other is not message), None)
        if newer is not None:
            _inherit(newer, message)
            return "superseded"
        if result.outcome is Outcome.GONE or now_ns - message.created_ns > self._give_up_ns:
            return "given_up"
        message.next_ns = now_ns + max(
            wait_ns(message.key, message.attempts), int(result.retry_after_s * NS_PER_SECOND)
        )
        return "retrying"

    def _about(self, message: Message) -> Iterator[Message]:
        same = (message.target, message.group)
        return (other for other in self.messages.values() if (other.target, other.group) == same)

    def _circuit(self, target: str) -> Circuit:
        return self.circuits.setdefault(target, Circuit())

    def _rest_until(self, target: str) -> int:
        circuit = self._circuit(target)
        return circuit.until_ns if circuit.broken else 0
