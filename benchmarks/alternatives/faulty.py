"""Runs in which a tool fails inside an answer that says OK."""

from __future__ import annotations

from typing import Final

from dimwatch.clock import NS_PER_SECOND
from dimwatch.simulate import wire
from dimwatch.simulate.build import build_run
from dimwatch.simulate.conventions import CONVENTIONS
from dimwatch.simulate.load import LOAD_AGENT
from dimwatch.simulate.rng import stream

RUNS: Final = 100
_BEFORE_NS: Final = 120 * NS_PER_SECOND
"""Runs start so long ago: all have ended."""


def request(now_ns: int) -> tuple[bytes, int, list[str]]:
    """An export request of such runs of the load's agent, the spans that it holds, and the ids of its traces."""
    convention = CONVENTIONS[LOAD_AGENT.convention]
    rng = stream("alternatives")
    payloads: list[bytes] = []
    trace_ids: list[str] = []
    for number in range(RUNS):
        run = build_run(
            LOAD_AGENT,
            rng,
            now_ns - _BEFORE_NS,
            conversation_id=f"c-faulty-{number}",
            user_id="u-1",
            fault="silent_tool_failure",
        )
        trace_ids.append(run.trace_id.hex())
        payloads += [item.payload for item in convention.emit(run)]
    resource = wire.attributes(
        wire.RESOURCE_ATTRIBUTES, {"service.name": "load", "service.version": LOAD_AGENT.release}
    )
    return wire.request(resource, convention.scope, payloads), len(payloads), trace_ids
