"""Failed steps of agents, and what their error says that they failed of."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from detectors.traces.batch import NONE
from detectors.traces.context import Context

_LENGTH = 2000


def steps_that_say(context: Context, pattern: str, *kinds: str) -> list[tuple[int, str]]:
    """The innermost failed spans of these kinds whose error matches `pattern` (RE2), one a trace, with that error."""
    batch = context.batch
    failed = np.flatnonzero(batch.failed & batch.kind(*kinds))
    if not len(failed):
        return []
    said = pc.binary_join_element_wise(batch.take("error_type", failed), batch.take("status_message", failed), ": ")
    said = pc.utf8_slice_codeunits(said, 0, _LENGTH)
    matched = pc.match_substring_regex(said, pattern).to_numpy(zero_copy_only=False).astype(np.bool_)
    rows = failed[matched]
    saying = np.zeros(len(batch), dtype=np.bool_)
    saying[rows] = True
    outer = batch.ancestor(rows, saying)
    saying[outer[outer != NONE]] = False
    texts = dict(zip(rows.tolist(), said.filter(matched).to_pylist(), strict=True))
    first: dict[int, int] = {}
    for row in np.flatnonzero(saying).tolist():
        first.setdefault(int(batch.trace[row]), row)
    return [(row, texts[row].strip(": ")) for row in first.values()]
