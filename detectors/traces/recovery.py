"""Failed model calls, and what made them good again."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch
from detectors.traces.context import Context
from detectors.traces.lookup import first_row_from

PROVIDER_FAILURE: Final = (
    r"(?i)rate.?limit|too many requests|overloaded|insufficient.?quota|quota exceeded|service.?unavailable"
    r"|internal ?server ?error|bad gateway|gateway time-?out|APITimeout|APIConnection|APIStatus|APIError|API_?CallError"
    r"|Error code: [45]\d\d|status(_| )?code:? [45]\d\d|ModelHTTPError|ModelRateLimit|ModelServer|ModelTimeout"
    r"|ThrottlingException|ModelThrottled|ReadTimeout|context.?length.?exceeded|maximum context length"
    r"|(OpenAI|Anthropic|Gemini|Bedrock|Mistral|Cohere|LLM|model|completion)\b.{0,40}tim(ed|e) ?-?out"
    r"|LLM (call|request) failed|litellm\.\w+Error|openai\.\w+Error|anthropic\.\w+Error|ResourceExhausted"
    r"|Request timed out|The server had an error|^\W{0,3}(429|5\d\d) [A-Z]|ServerError"
    r"|PermissionDeniedError|AuthenticationError|Connection error|ConnectionError"
)


PROVIDER_SAYS: Final = (
    r"(?i)^\W{0,3}(rate limit|too many requests|request timed out|the server had an error|internal server error"
    r"|service unavailable|error code: \d|connection error|overloaded|(the )?(engine|model) is (currently )?overloaded"
    r"|you exceeded your current quota|bad gateway|gateway time-?out|\d{3} \W?\w+ (error|unavailable|limit))"
)
"""How a provider's error begins when an agent puts it out as its answer."""

_CLOCK_NS: Final = 1_000_000
"""By how much the retry may seem to begin before the failed call ends."""


def failed_model_calls(batch: TraceBatch) -> Rows:
    """One row a failed model call: the innermost failed model span, or, where a trace shows its failure on agents
    and steps only, the innermost of these that names a provider's error."""
    models = batch.kind("llm", "embedding") & batch.failed
    rows = np.flatnonzero(models)
    outer = batch.ancestor(rows, models, depth=4)
    innermost = models.copy()
    innermost[outer[outer != NONE]] = False

    told = batch.any_by_trace(models)
    steps = batch.kind("agent", "chain", "workflow", "other") & batch.failed & ~told[batch.trace]
    if steps.any():
        named = _names_provider_failure(batch, steps)
        rows = np.flatnonzero(named)
        outer = batch.ancestor(rows, named)
        named[outer[outer != NONE]] = False
        # A failed tool may quote a provider's words: then it is the tool's failure.
        tools = batch.any_by_trace(batch.kind("tool") & batch.failed)
        innermost |= named & ~tools[batch.trace]
    result: Rows = np.flatnonzero(innermost)
    return result


def _names_provider_failure(batch: TraceBatch, rows: Mask) -> Mask:
    said = pc.binary_join_element_wise(batch.column("error_type"), batch.column("status_message"), " ")
    named = rows.copy()
    candidates = np.flatnonzero(rows)
    texts = pc.utf8_slice_codeunits(said.take(candidates), 0, 2000)
    named[candidates] = pc.match_substring_regex(texts, PROVIDER_FAILURE).to_numpy(zero_copy_only=False)
    return named


def rescue_of(context: Context, rows: Rows) -> Rows:
    """For each failed model call the later model call of the same step that succeeded, NONE if there is none.

    The same step: under the same parent, or, when the failed call's parent failed too, under the same grandparent.
    """
    batch = context.batch
    good = np.flatnonzero(batch.kind("llm") & ~batch.failed)
    parent = batch.parent[rows]
    least = np.maximum(_first_started(batch, rows, batch.end[rows] - _CLOCK_NS), rows + 1)
    result = first_row_from(batch.parent[good], good, parent, least)

    failed_step = (result == NONE) & (parent != NONE) & batch.failed[np.maximum(parent, 0)]
    if failed_step.any():
        grandparent = batch.parent[parent[failed_step]]
        levels = [batch.parent[good]]
        for _ in range(2):
            levels.append(np.where(levels[-1] != NONE, batch.parent[np.maximum(levels[-1], 0)], NONE))
        owners, below = np.concatenate(levels), np.tile(good, len(levels))
        result[failed_step] = first_row_from(owners, below, grandparent, least[failed_step])
    return result


def _first_started(batch: TraceBatch, rows: Rows, not_before: Rows) -> Rows:
    """For each of `rows` the first row of its trace that starts at `not_before` (ns) or later."""
    trace = batch.trace[rows]
    spans = zip(batch.first[trace].tolist(), batch.first[trace + 1].tolist(), not_before.tolist(), strict=True)
    found = [first + int(np.searchsorted(batch.start[first:end], at)) for first, end, at in spans]
    return np.array(found, dtype=np.int64)
