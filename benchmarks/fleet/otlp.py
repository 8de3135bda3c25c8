"""A day in columns as OTLP/JSON export requests, one a line, as a batching exporter would have sent them.

The text is put together from pieces: a hundred thousand spans a second, and every byte is in view.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.fleet.draw import DAY_S, EMPTY, ERROR, FAILED, INVALID, LENGTH, SWALLOWED, Day, Rows, draw
from benchmarks.fleet.faults import Times, Timetable
from benchmarks.fleet.world import AGENTS, MODELS, TOOLS, Agent

EPOCH_NS: Final = 1_772_409_600 * 10**9
"""The fleet's first moment: a Monday, 2026-03-02, midnight."""
EXPORT_S: Final = 5.0

_FAILURES: Final = (
    ("RateLimitError", "Error code: 429 - rate limit reached"),
    ("InternalServerError", "Error code: 500 - internal server error"),
    ("APITimeoutError", "Request timed out."),
)
_NOTHING: Final = ("[]", "", "{}", '{"results": []}')
_SWALLOWED: Final = (
    '{"error": "upstream timed out after 30s"}',
    "Error: connection refused",
    '{"status": "error", "message": "internal error, please retry"}',
)
_REFUSED: Final = (
    ("ValidationError", "Invalid arguments: missing required parameter 'id'"),
    ("ToolNotFoundError", "Unknown tool"),
)


@dataclass(frozen=True, slots=True)
class Style:
    """What the instrumentation tells."""

    content: bool = True
    """Arguments and results of tools. Messages are never there."""
    swallowed_below: bool = False
    """Swallowed errors are failed requests below the tool's span, and not in its result."""


def write(folder: Path, seed: int, end_s: float, table: Timetable, style: Style) -> int:
    """Write one file an agent and day into `folder`; return how many spans there are."""
    folder.mkdir(parents=True, exist_ok=True)
    spans = 0
    for number, agent in enumerate(AGENTS):
        held = _Exporter(agent)
        for day in range(int(np.ceil(end_s / DAY_S))):
            with (folder / f"{agent.service}.{day:03}.jsonl").open("w") as file:
                texts, ends, releases = _spans(draw(seed, number, day, end_s, table), seed, day, style)
                spans += len(texts)
                # What is still held at midnight goes out with the first requests of the next day.
                until = end_s + 3600 if (day + 1) * DAY_S >= end_s else (day + 1) * DAY_S
                file.writelines(held.requests(texts, ends, releases, until))
    return spans


class _Exporter:
    """Batches ended spans of one service."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._texts: list[str] = []
        self._ends = np.empty(0)
        self._releases = np.empty(0, dtype=np.int64)

    def requests(self, texts: list[str], ends: Times, releases: Rows, until_s: float) -> Iterator[str]:
        texts = self._texts + texts
        ends, releases = np.concatenate([self._ends, ends]), np.concatenate([self._releases, releases])
        due = np.flatnonzero(ends < until_s)
        kept = np.flatnonzero(ends >= until_s)
        self._texts, self._ends, self._releases = [texts[row] for row in kept.tolist()], ends[kept], releases[kept]
        # A batch is of one process, and a process is of one release.
        due = due[np.lexsort((ends[due], releases[due], ends[due] // EXPORT_S))]
        keys = np.stack([ends[due] // EXPORT_S, releases[due]])
        edges = [*np.flatnonzero((np.diff(keys, prepend=-1) != 0).any(axis=0)).tolist(), len(due)]
        rows = due.tolist()
        heads = {int(release): self._head(int(release)) for release in np.unique(releases[due])}
        for first, last in pairwise(edges):
            yield heads[int(releases[rows[first]])] + ",".join([texts[row] for row in rows[first:last]]) + "]}]}]}\n"

    def _head(self, release: int) -> str:
        resource = _attributes(
            **{
                "service.name": self._agent.service,
                "service.version": f"1.{release}.0",
                "deployment.environment.name": "production",
                "telemetry.sdk.language": "python",
            }
        )
        scope = '{"name":"opentelemetry.instrumentation.genai","version":"1.3b0"}'
        return (
            f'{{"resourceSpans":[{{"resource":{{"attributes":[{resource}]}},"scopeSpans":[{{"scope":{scope},"spans":['
        )


def _attributes(**values: str) -> str:
    return ",".join(f'{{"key":"{key}","value":{{"stringValue":{json.dumps(value)}}}}}' for key, value in values.items())


def _spans(day: Day, seed: int, number: int, style: Style) -> tuple[list[str], Times, Rows]:
    """The spans' texts, when each ended and of which release it was."""
    agent, runs, models, tools = day.agent, day.runs, day.models, day.tools
    rng = np.random.default_rng([seed, AGENTS.index(agent), number, 1])
    swallowed = np.flatnonzero(tools.state == SWALLOWED) if style.swallowed_below else np.empty(0, dtype=np.int64)
    run = np.concatenate([np.arange(len(runs.start)), models.run, tools.run, tools.run[swallowed]])
    trace_hex = rng.bytes(16 * len(runs.start)).hex()
    traces = [trace_hex[at : at + 32] for at in range(0, len(trace_hex), 32)]
    span_hex = rng.bytes(8 * len(run)).hex()
    ids = [span_hex[at : at + 16] for at in range(0, len(span_hex), 16)]
    start = np.concatenate([runs.start, models.start, tools.start, tools.start[swallowed]])
    end = np.concatenate([
        runs.end, models.start + models.duration, tools.start + tools.duration,
        tools.start[swallowed] + 0.9 * tools.duration[swallowed],
    ])  # fmt: skip
    start_ns = (EPOCH_NS + (start * 1e9).astype(np.int64)).tolist()
    end_ns = (EPOCH_NS + (end * 1e9).astype(np.int64)).tolist()
    of = run.tolist()
    count, calls = len(runs.start), len(models.run)

    def frame(row: int, name: str, kind: int, parent: str, attributes: str, status: str = "") -> str:
        return (
            f'{{"traceId":"{traces[of[row]]}","spanId":"{ids[row]}",{parent}"name":"{name}","kind":{kind},'
            f'"startTimeUnixNano":"{start_ns[row]}","endTimeUnixNano":"{end_ns[row]}",'
            f'"attributes":[{attributes}]{status}}}'
        )

    died = _status("AgentError")
    texts = [
        frame(row, f"invoke_agent {agent.name}", 1, "", _root(agent, traces[row]), died if bad else "")
        for row, bad in enumerate(runs.failed.tolist())
    ]
    parents = [f'"parentSpanId":"{ids[row]}",' for row in range(count)]
    failure = rng.integers(0, len(_FAILURES), calls).tolist()
    columns = (
        models.run, models.model, models.successor, models.state, models.last, models.input_tokens,
        models.output_tokens, models.reasoning_tokens, np.round(models.first_token, 4),
    )  # fmt: skip
    fixed = {index: _model(agent, index) for index in agent.models}
    rows = enumerate(zip(*(column.tolist() for column in columns), strict=True), count)
    for row, (owner, model, successor, state, last, given, output, reasoning, first) in rows:
        name = f"chat {MODELS[model].name}"
        if state == FAILED:
            error, message = _FAILURES[failure[row - count]]
            attributes = fixed[model] + "," + _attributes(**{"error.type": error})
            texts.append(frame(row, name, 3, parents[owner], attributes, _status(message)))
            continue
        finish = "length" if state == LENGTH else "stop" if last else "tool_calls"
        answered = MODELS[model].successor if successor else MODELS[model].answered
        attributes = (
            f'{fixed[model]},{{"key":"gen_ai.response.model","value":{{"stringValue":"{answered}"}}}},'
            f'{{"key":"gen_ai.response.id","value":{{"stringValue":"resp-{ids[row]}"}}}},'
            f'{{"key":"gen_ai.response.finish_reasons","value":{{"arrayValue":{{"values":[{{"stringValue":"{finish}"}}]}}}}}},'
            f'{{"key":"gen_ai.usage.input_tokens","value":{{"intValue":"{given}"}}}},'
            f'{{"key":"gen_ai.usage.output_tokens","value":{{"intValue":"{output}"}}}}'
        )
        if MODELS[model].reasoning:
            attributes += f',{{"key":"gen_ai.usage.reasoning.output_tokens","value":{{"intValue":"{reasoning}"}}}}'
        if agent.first_token_attribute:
            attributes += f',{{"key":"{agent.first_token_attribute}","value":{{"doubleValue":{first}}}}}'
        texts.append(frame(row, name, 3, parents[owner], attributes))
    texts += _tools(day, rng, style, ids, parents, frame, count + calls)
    offset = count + calls + len(tools.run)
    for position, tool in enumerate(swallowed.tolist()):
        parent = f'"parentSpanId":"{ids[count + calls + tool]}",'
        attributes = _attributes(**{"http.request.method": "GET", "server.address": "backend.internal"})
        attributes += ',{"key":"http.response.status_code","value":{"intValue":"503"}}'
        texts.append(frame(offset + position, "GET", 3, parent, attributes, _status("")))
    return texts, end, runs.release[run]


def _tools(
    day: Day,
    rng: np.random.Generator,
    style: Style,
    ids: Sequence[str],
    parents: Sequence[str],
    frame: Callable[[int, str, int, str, str, str], str],
    offset: int,
) -> list[str]:
    tools = day.tools
    texts: list[str] = []
    pick = rng.integers(0, 12, len(tools.run)).tolist()
    columns = (tools.run, tools.tool, tools.state, tools.argument)
    for position, (owner, tool, state, argument) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
        row, name, status = offset + position, TOOLS[tool].name, ""
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": f"call_{ids[row][:10]}",
        }
        result = f'{{"id": {argument % 9973}, "items": [{argument % 101}, {argument % 89}], "state": "open"}}'
        if state == EMPTY:
            result = _NOTHING[pick[position] % len(_NOTHING)]
        elif state == SWALLOWED and not style.swallowed_below:
            result = _SWALLOWED[pick[position] % len(_SWALLOWED)]
        elif state in (ERROR, INVALID):
            error, message = (
                ("TimeoutError", "timed out") if state == ERROR else _REFUSED[pick[position] % len(_REFUSED)]
            )
            attributes["error.type"] = error
            status = _status(message)
        if style.content:
            attributes["gen_ai.tool.call.arguments"] = f'{{"id": {argument}}}'
            if not status:
                attributes["gen_ai.tool.call.result"] = result
        texts.append(frame(row, f"execute_tool {name}", 1, parents[owner], _attributes(**attributes), status))
    return texts


def _root(agent: Agent, trace: str) -> str:
    return _attributes(
        **{
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": agent.name,
            "gen_ai.conversation.id": f"conv-{trace[:12]}",
        }
    )


def _model(agent: Agent, index: int) -> str:
    model = MODELS[index]
    return _attributes(
        **{
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model.provider,
            "gen_ai.request.model": model.name,
            "gen_ai.agent.name": agent.name,
            "server.address": model.host,
        }
    )


def _status(message: str) -> str:
    return f',"status":{{"code":2,"message":{json.dumps(message)}}}'
