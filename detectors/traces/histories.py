"""What model calls, and the spans around them, were given: results of tool calls, and the calls of former answers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from detectors.traces.batch import Mask, Rows, TraceBatch
from detectors.traces.documents import Documents
from detectors.traces.messages import MessageFacts


@dataclass(slots=True)
class Told:
    """Calls or results that documents tell of, as columns under construction."""

    trace: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    call_id: list[str | None] = field(default_factory=list)
    name: list[str | None] = field(default_factory=list)
    payload: list[str | None] = field(default_factory=list)
    is_error: list[bool | None] = field(default_factory=list)
    fresh: list[bool] = field(default_factory=list)

    def add(
        self,
        trace: int,
        row: int,
        call_id: str | None,
        name: str | None,
        payload: str | None,
        is_error: bool | None,
        *,
        fresh: bool = True,
    ) -> None:
        """`fresh`: it belongs to this trace and not to an earlier one of the same turn."""
        self.trace.append(trace)
        self.row.append(row)
        self.call_id.append(call_id)
        self.name.append(name)
        self.payload.append(payload)
        self.is_error.append(is_error)
        self.fresh.append(fresh)


def results_told(batch: TraceBatch, documents: Documents, tools: Rows, asked: Told) -> Told:
    """Results (and calls of former answers) in what model calls were given, for traces whose tool spans are not
    there or keep silent."""
    silent = tools[~batch.present("tool_result")[tools]]
    needs = np.zeros(batch.traces, dtype=np.bool_)
    needs[batch.trace[silent]] = True
    without_tools = np.ones(batch.traces, dtype=np.bool_)
    without_tools[batch.trace[tools]] = False
    needs |= without_tools
    wanted = batch.model_calls & needs[batch.trace]
    talking = documents.talks_of_tools("input_messages", wanted)
    rows, first = _latest_histories(batch, talking, wanted)
    # Frameworks that keep what was said on the agent's span only: read that where no model call tells.
    told = np.zeros(batch.traces, dtype=np.bool_)
    told[batch.trace[rows]] = True
    told[[*asked.trace]] = True
    spoken = needs & ~told
    elsewhere = batch.kind("agent", "chain", "workflow", "other") & spoken[batch.trace]
    found = Told()
    seen = {("call", trace, call_id) for trace, call_id in zip(asked.trace, asked.call_id, strict=True) if call_id}
    earlier = documents.read("input_messages", first)
    for row, facts, known in zip(rows.tolist(), documents.read("input_messages", rows), earlier, strict=True):
        old = sum(result.position < known.fresh_from for result in known.results)
        _add_history(batch, row, facts, asked, found, seen, old_calls=len(known.calls), old_results=old)
    for side in ("input_messages", "output_messages"):
        candidates = documents.talks_of_tools(side, elsewhere)
        for row, facts in zip(candidates.tolist(), documents.read(side, candidates), strict=True):
            _add_history(batch, row, facts, asked, found, seen)
    return found


def _add_history(
    batch: TraceBatch,
    row: int,
    facts: MessageFacts,
    asked: Told,
    found: Told,
    seen: set[tuple[str, int, str]],
    *,
    old_calls: int = 0,
    old_results: int = 0,
) -> None:
    """Take in the calls and results of the current turn; the first `old_calls` and `old_results` of the document were
    there before the trace began."""
    trace = int(batch.trace[row])
    names: dict[str | None, str] = {}
    for number, call in enumerate(facts.calls):
        names[call.id] = call.name
        if call.id is None or call.position < facts.turn_start or ("call", trace, call.id) in seen:
            continue
        seen.add(("call", trace, call.id))
        asked.add(trace, row, call.id, call.name, call.arguments, None, fresh=number >= old_calls)
    for number, result in enumerate(facts.results):
        key = ("result", trace, result.call_id or f"{row} {result.position}")
        if result.position < facts.turn_start or key in seen:
            continue
        seen.add(key)
        name = result.name or names.get(result.call_id)
        found.add(trace, row, result.call_id, name, result.content, result.is_error, fresh=number >= old_results)


def _latest_histories(batch: TraceBatch, talking: Rows, models: Mask) -> tuple[Rows, Rows]:
    """Model calls of `talking` whose input no later one of the same trace repeats from its beginning; and for each the
    first model call of the trace whose input it goes on from (itself, if there is none)."""
    counts = np.bincount(batch.trace[models], minlength=batch.traces)
    alone = counts[batch.trace[talking]] == 1
    several = np.zeros(batch.traces, dtype=np.bool_)
    several[batch.trace[talking[~alone]]] = True
    rows = np.flatnonzero(models & several[batch.trace])
    texts = batch.texts("input_messages", rows)
    wanted = set(talking.tolist())
    kept, first = talking[alone].tolist(), talking[alone].tolist()
    start = 0
    for position, row in enumerate(rows.tolist()):
        text, after = texts[position] or "", position + 1
        if after < len(rows) and batch.trace[rows[after]] == batch.trace[row]:
            following = texts[after] or ""
            if text and following.startswith(text.rstrip("]}")):
                continue
        if row in wanted:
            kept.append(row)
            first.append(int(rows[start]))
        start = after
    return np.array(kept, dtype=np.int64), np.array(first, dtype=np.int64)
