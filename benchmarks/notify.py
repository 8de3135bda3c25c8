"""`kill -9` of the notifier at random moments, with a receiver that fails: what is lost, doubled or not in the ledger?

    python -m benchmarks.notify --kills 100

The receiver verifies signatures and honours the idempotency key. It refuses some requests, drops the connection of
others, of some after it has taken them, and stalls. Every incident opens, is told, and is resolved.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from benchmarks.figures import Figure
from detectors.incidents.incident import Incident, Status
from dimwatch import records
from dimwatch.clock import SystemClock
from dimwatch.eventlog.base import TopicPartition
from dimwatch.eventlog.sqlite import SqliteEventLog
from tests.told_incidents import incident, record
from tests.webhook_receiver import SECRET, Got, Receiver, reply

PATIENCE_S = 400.0


@dataclass(slots=True)
class Result:
    """One run."""

    incidents: int
    kills: int
    requests: int
    repeated: int
    """Requests with a key that had been seen."""
    lost: list[str]
    """What was not told: incidents' events."""
    doubled: list[str]
    """What was told twice under different keys."""
    unrecorded: list[str]
    """Keys of which the receiver got more requests than the ledger has attempts."""
    forged: int
    delay_s: list[float] = field(default_factory=list)
    """From the incident to its first message, kills or not."""

    @property
    def good(self) -> bool:
        """Whether nothing was lost, doubled or left out of the ledger."""
        return not (self.lost or self.doubled or self.unrecorded or self.forged)


class _Site:
    """An eventlog, a receiver, and a notifier that is started again whenever it was killed."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.clock = SystemClock()
        self.log = SqliteEventLog(folder / "eventlog" / "eventlog.sqlite", max_bytes=1 << 30)
        self._folder = folder
        target = {"name": "hook", "type": "webhook", "url": f"{receiver.url}/hook", "secrets": SECRET}
        given = {
            "DATA": str(folder),
            "TELEMETRY__HEALTH_PORT": "0",
            "TELEMETRY__LOG_FORMAT": "json",
            "NOTIFY__TARGETS": json.dumps([target]),
            "NOTIFY__ALLOW_PRIVATE": "127.0.0.1",
            "NOTIFY__WAIT_S": "0",
            "NOTIFY__TIMEOUT_S": "1",
        }
        self._environment = os.environ | {f"DIMWATCH_{name}": value for name, value in given.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self.ended: set[str] = set()

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "dimwatch", "notifier", "--config", os.devnull]
        with (self._folder / "notifier.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(90)

    def tell(self, one: Incident) -> None:
        self.log.append({records.INCIDENTS: [record(one, at_ns=self.clock.now_ns())]})

    def ledger(self) -> list[dict[str, object]]:
        """Each attempt in its last version."""
        found: dict[str, dict[str, object]] = {}
        reader = self.log.reader([TopicPartition(records.DELIVERIES)])
        while batch := reader.poll(max_records=1000, max_bytes=1 << 26, timeout_s=0.0):
            for one in batch:
                for row in records.decode(one.value).to_pylist():
                    if row["version"] >= found.get(row["id"], row)["version"]:
                        found[row["id"]] = row
        reader.close()
        return list(found.values())


def run(folder: Path, *, kills: int, seed: int = 1, between_s: tuple[float, float] = (0.1, 1.5)) -> Result:
    """Kill the notifier so often, each time up to so many seconds after it began to send, and compare in the end."""
    rng = random.Random(seed)
    with Receiver() as receiver:
        receiver.answer = _unreliable(receiver, rng)
        site = _Site(folder, receiver)
        opened: dict[str, float] = {}
        try:
            for number in range(kills + 1):
                site.start()
                asked = len(receiver.requests)
                for _ in range(rng.randint(1, 3)):
                    one = incident(f"i{len(opened)}", site.clock.now_ns())
                    opened[one.id] = time.monotonic()
                    site.tell(one)
                _resolve_told(site, receiver)
                _wait(lambda asked=asked: len(receiver.requests) > asked, "it does not send")  # type: ignore[misc]
                if number < kills:
                    time.sleep(rng.uniform(*between_s))
                    site.end()
            receiver.answer = receiver.accept
            _wait(lambda: _all_told(site, receiver, list(opened)), "not everything was told")
            site.end(signal.SIGTERM)
        finally:
            site.end()
        result = _compare(site, receiver, opened, kills)
        site.log.close()
    return result


def _unreliable(receiver: Receiver, rng: random.Random) -> Callable[[BaseHTTPRequestHandler, Got, int], None]:
    def answer(handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        mood = rng.random()
        if mood < 0.10:
            reply(handler, 503, b"busy")
        elif mood < 0.18:
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif mood < 0.21:
            time.sleep(1.2)
        elif mood < 0.30:
            receiver.keep(got)  # it has it, and nobody hears so
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            receiver.accept(handler, got, number)

    return answer


def _events(receiver: Receiver) -> Counter[tuple[str, str]]:
    """By incident and event, messages of different keys."""
    told: Counter[tuple[str, str]] = Counter()
    for got in list(receiver.accepted.values()):
        document = got.json
        for one in document["data"]["incidents"]:
            told[one["id"], document["type"]] += 1
    return told


def _resolve_told(site: _Site, receiver: Receiver) -> None:
    """End incidents that somebody has been told of."""
    told = _events(receiver)
    for id_, event in list(told):
        if event == "incident.trigger" and id_ not in site.ended:
            site.ended.add(id_)
            now_ns = site.clock.now_ns()
            site.tell(incident(id_, now_ns, status=Status.RESOLVED, resolved_ns=now_ns, version=2))


def _all_told(site: _Site, receiver: Receiver, ids: list[str]) -> bool:
    _resolve_told(site, receiver)
    told = _events(receiver)
    return all(told[id_, f"incident.{event}"] for id_ in ids for event in ("trigger", "resolve"))


def _compare(site: _Site, receiver: Receiver, opened: dict[str, float], kills: int) -> Result:
    told = _events(receiver)
    wanted = [(id_, f"incident.{event}") for id_ in opened for event in ("trigger", "resolve")]
    asked = Counter(got.key for got in receiver.requests)
    recorded = Counter(str(row["idempotency_key"]) for row in site.ledger() if row["attempt"])
    first: dict[str, float] = {}
    for got in receiver.accepted.values():
        for one in got.json["data"]["incidents"]:
            first.setdefault(one["id"], got.at)
    return Result(
        len(opened),
        kills,
        len(receiver.requests),
        len(receiver.requests) - len(asked),
        [f"{id_} {event}" for id_, event in wanted if not told[id_, event]],
        [f"{id_} {event}" for (id_, event), count in told.items() if count > 1],
        [key for key, count in asked.items() if recorded[key] < count],
        receiver.forged,
        sorted(at - opened[id_] for id_, at in first.items()),
    )


def _wait(until: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def table(result: Result) -> str:
    """The result for people."""
    delay = result.delay_s
    return "\n".join(
        (
            f"incidents   {result.incidents:>6,}, each opened and resolved; {result.kills} kills",
            f"requests    {result.requests:>6,}, {result.repeated:,} of them with a key that had been seen",
            f"lost        {len(result.lost):>6,} messages",
            f"doubled     {len(result.doubled):>6,} messages, to a receiver that honours the key",
            f"unrecorded  {len(result.unrecorded):>6,} messages with more requests than rows of the ledger",
            f"forged      {result.forged:>6,} signatures that did not verify",
            f"delay       {delay[len(delay) // 2]:>6.1f} s in the median until told, {delay[-1]:.1f} at most",
        )
    )


def figures(result: Result) -> list[Figure]:
    """The result for machines."""
    return [
        Figure("notify_kills", result.kills, "kills"),
        Figure("notify_messages_lost", len(result.lost), "messages"),
        Figure("notify_messages_doubled", len(result.doubled), "messages"),
        Figure("notify_attempts_unrecorded", len(result.unrecorded), "messages"),
        Figure("notify_delay_median", result.delay_s[len(result.delay_s) // 2], "s"),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notify", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dimwatch-notify-") as folder:
        result = run(Path(folder), kills=given.kills, seed=given.seed)
    print(table(result))
    for figure in figures(result):
        print(figure.json())
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
