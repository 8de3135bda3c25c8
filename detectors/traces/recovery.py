"""Failed model calls, and what made them good again."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow.compute as pc

from detectors.traces.batch import NONE, Mask, Rows, TraceBatch
from detectors.traces.context import Context

PROVIDER_FAILURE: Final = (
    r"(?i)rate.?limit|too many requests|overloaded|insufficient.?quota|quota exceeded|service.?unavailable"
    r"|internal ?server ?error|bad gateway|gateway time-?out|APITimeout|APIConnection|APIStatus|APIError|API_?CallError"
    r"|Error code: [45]\d\d|status(_| )?code:? [45]\d\d|ModelHTTPError|ModelRateLimit|ModelServer|ModelTimeout"
    r"|ThrottlingException|ModelThrottled|ReadTimeout|context.?length.?exceeded|maximum context length"
    r"|LLM (call|request) failed|litellm\.\w+Error|openai\.\w+Error|anthropic\.\w+Error|ResourceExhausted"
    r"|Request timed out|ServerError|PermissionDeniedError|AuthenticationError|Connection error|ConnectionError"
)


PROVIDER_SAYS: Final = (
    r"(?i)^\W{0,3}(rate limit|too many requests|request timed out|the server had an error|internal server error"
    r"|service unavailable|error code: \d|connection error|overloaded|(the )?(engine|model) is (currently )?overloaded"
    r"|you exceeded your current quota|bad gateway|gateway time-?out|\d{3} \W?\w+ (error|unavailable|limit))"
)
"""How a provider's error begins when an agent puts it out as its answer."""


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
    result = np.full(len(rows), NONE, dtype=np.int64)
    models = batch.kind("llm") & ~batch.failed
    for position, row in enumerate(rows.tolist()):
        parent = int(batch.parent[row])
        if parent == NONE:
            continue
        after = np.arange(row + 1, batch.first[batch.trace[row] + 1])
        good = after[models[after] & (batch.start[after] >= batch.end[row] - 1_000_000)]
        siblings = good[batch.parent[good] == parent]
        if not len(siblings) and batch.failed[parent] and batch.parent[parent] != NONE:
            uncles = good[batch.ancestor(good, _only(len(batch), int(batch.parent[parent])), depth=3) != NONE]
            siblings = uncles
        if len(siblings):
            result[position] = siblings[0]
    return result


def _only(count: int, row: int) -> Mask:
    mask = np.zeros(count, dtype=np.bool_)
    mask[row] = True
    return mask
