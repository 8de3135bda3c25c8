"""OTLP over HTTP at a rate that is stepped up, until what receives it does not keep up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import httpx

from dimwatch.clock import SystemClock
from dimwatch.simulate.load import LoadPool

SPANS_A_REQUEST: Final = 512
_SENDERS: Final = 4
_IN_TIME: Final = 0.97
"""Of what is wanted."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was acknowledged at one rate."""

    wanted: float
    spans: int
    seconds: float

    @property
    def rate(self) -> float:
        """Spans acknowledged a second."""
        return self.spans / self.seconds

    @property
    def in_time(self) -> bool:
        """Was as much acknowledged as was wanted?"""
        return self.rate >= _IN_TIME * self.wanted


class Round(Protocol):
    """What came of one rate; its text is for people."""

    @property
    def sent(self) -> Sent:
        """What was acknowledged."""
        ...

    @property
    def sustained(self) -> bool:
        """Did everything keep up?"""
        ...


R = TypeVar("R", bound=Round)


def step_up(rates: Sequence[float], go: Callable[[float], R]) -> tuple[R | None, int]:
    """Go on to the next rate while one is sustained: the last that was, and the spans acknowledged in all."""
    best, spans = None, 0
    for rate in rates:
        result = go(rate)
        spans += result.sent.spans
        print(result, file=sys.stderr)
        if not result.sustained:
            break
        best = result
    return best, spans


def send(
    address: str,
    load: LoadPool,
    rate: float,
    seconds: float,
    *,
    headers: Mapping[str, str] | None = None,
    refused: list[str] | None = None,
) -> Sent:
    """Send `rate` spans a second for a while, a request again where it is told to come later; wait for all answers.

    Raises httpx.HTTPError for any other answer than OK. With `refused`, such answers are put there, and their spans are
    not acknowledged.
    """

    def deliver(body: bytes, spans: int) -> int:
        try:
            return post(client, address, body, spans, headers or {})
        except httpx.HTTPError as error:
            if refused is None:
                raise
            refused.append(str(error).partition("\n")[0] or type(error).__name__)
            return 0

    acknowledged = due = 0
    with httpx.Client(limits=httpx.Limits(max_connections=_SENDERS)) as client, ThreadPoolExecutor(_SENDERS) as pool:
        started = time.monotonic()
        pending: list[Future[int]] = []
        while (elapsed := time.monotonic() - started) < seconds:
            if due > elapsed * rate or len(pending) > 4 * _SENDERS:
                time.sleep(0.002)
            else:
                body, spans = load.request(SystemClock().now_ns())
                pending.append(pool.submit(deliver, body, spans))
                due += spans
            over = {future for future in pending if future.done()}  # looked at once: it may be over a moment later
            acknowledged += sum(future.result() for future in over)
            pending = [future for future in pending if future not in over]
        acknowledged += sum(future.result() for future in pending)
        return Sent(rate, acknowledged, time.monotonic() - started)


def post(client: httpx.Client, address: str, body: bytes, spans: int, headers: Mapping[str, str]) -> int:
    """Send a request until it is accepted; return its spans. Raises httpx.HTTPError when it is refused for good."""
    headers = {"content-type": "application/x-protobuf", **headers}
    while True:
        answer = client.post(f"{address}/v1/traces", content=body, headers=headers, timeout=30.0)
        if answer.status_code not in (429, 503):
            answer.raise_for_status()
            return spans
        time.sleep(float(answer.headers.get("retry-after", "1")))
