"""Load for benchmarks: requests of distinct, valid traces, faster than anybody can take them.

A few requests are built once. Each further one is a copy in which every id is masked with fresh random bytes
and every time is moved, with numpy and without a loop over spans.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dimwatch.simulate import wire
from dimwatch.simulate.agents.base import Agent, Tool, string
from dimwatch.simulate.build import build_run
from dimwatch.simulate.conventions import CONVENTIONS
from dimwatch.simulate.models import GPT_MINI, NS
from dimwatch.simulate.rng import stream

_TEMPLATES: Final = 8
_EPOCH_NS: Final = 1_000_000 * NS
_NAMES: Final = ("billing", "delivery", "refund", "login")

LOAD_AGENT: Final = Agent(
    name="load_agent",
    service="load",
    release="1.0.0",
    convention="otel_genai",
    models={GPT_MINI: 1.0},
    system="You answer questions about orders. Look the order up before you answer, and be brief and polite.",
    tools=(
        Tool(
            "lookup_order",
            "Find an order by its number.",
            {"number": string("Order number")},
            ["number"],
            lambda rng: {"number": f"{rng.randint(100000, 999999)}"},
            lambda rng, args: {
                "number": args["number"],
                "state": rng.choice(["packed", "sent", "delivered"]),
                "items": rng.randint(1, 9),
            },
        ),
    ),
    question=lambda rng: f"I have a question about {rng.choice(_NAMES)} of order {rng.randint(100000, 999999)}.",
    answer=lambda rng: f"Your order is on its way and arrives in {rng.randint(1, 5)} days. Anything else I can do?",
    input_tokens=(6.6, 0.5),
    output_tokens=(4.5, 0.5),
    tool_steps=(1, 3),
    share=1.0,
    burst_shape=18.0,
    parallel_tools=0.0,
)
"""Spans of about 1 kB: one agent, two to four model calls, one to three tool calls a trace."""

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Template:
    body: Bytes
    spans: int
    ids: Offsets
    """Where each byte of an id is."""
    masks: Offsets
    """Which byte of the mask it takes: 16 for trace ids, then 8 for span ids."""
    times: Offsets
    """Where the eight bytes of each time are, one row a time."""
    values: npt.NDArray[np.uint64]
    """The times, nanoseconds relative to the last end."""


class LoadPool:
    """An endless supply of trace export requests of about `spans` spans, whole traces only.

    `service` tells runs of a benchmark apart. One request is one agent's batch.
    """

    def __init__(self, spans: int = 512, *, seed: int = 1, service: str = "load") -> None:
        self._templates = [_template(spans, f"{seed}/{number}", service) for number in range(_TEMPLATES)]
        self._random = np.random.default_rng(seed)
        self._next = 0

    def request(self, now_ns: int) -> tuple[bytes, int]:
        """The next request, whose last span ends at `now_ns`, and how many spans it holds."""
        template = self._templates[self._next % len(self._templates)]
        self._next += 1
        body = template.body.copy()
        mask = self._random.integers(0, 256, 24, np.uint8)
        body[template.ids] ^= mask[template.masks]
        times = (template.values + np.uint64(now_ns)).view(np.uint8).reshape(-1, 8)
        body[template.times] = times
        return body.tobytes(), template.spans

    @property
    def bytes_per_span(self) -> float:
        """Mean size of a span in these requests, uncompressed."""
        return sum(template.body.size for template in self._templates) / sum(
            template.spans for template in self._templates
        )


def _template(spans: int, seed: str, service: str) -> _Template:
    convention = CONVENTIONS[LOAD_AGENT.convention]
    rng = stream("load", seed)
    payloads: list[bytes] = []
    ends: list[int] = []
    while len(payloads) < spans:
        run = build_run(LOAD_AGENT, rng, _EPOCH_NS, conversation_id=f"c-{rng.getrandbits(40):x}", user_id="u-1")
        for item in convention.emit(run):
            payloads.append(item.payload)
            ends.append(item.time_ns)
    resource = wire.attributes(
        wire.RESOURCE_ATTRIBUTES, {"service.name": service, "service.version": LOAD_AGENT.release}
    )
    body = wire.request(resource, convention.scope, payloads)
    ids: list[int] = []
    masks: list[int] = []
    times: list[int] = []
    values: list[int] = []
    last, begin = max(ends), 0
    for payload, end_ns in zip(payloads, ends, strict=True):
        begin = body.index(payload, begin)
        # trace id, span id, and the parent's if there is one: see `conventions.base.span`
        ids += [*range(begin + 2, begin + 18), *range(begin + 20, begin + 28)]
        masks += range(24)
        if payload[28:30] == b"\x22\x08":
            ids += range(begin + 30, begin + 38)
            masks += range(16, 24)
        end = payload.index(b"\x41" + struct.pack("<Q", end_ns)) + 1
        for place in (end - 9, end):
            times.append(begin + place)
            values.append(struct.unpack_from("<Q", payload, place)[0] - last + (1 << 64))
        begin += len(payload)
    return _Template(
        np.frombuffer(body, np.uint8),
        len(payloads),
        np.array(ids, np.int64),
        np.array(masks, np.int64),
        np.array(times, np.int64)[:, None] + np.arange(8),
        np.array([value % (1 << 64) for value in values], np.uint64),
    )
