"""Message documents of the model calls of a batch: read at most once, and only where something asks for them."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import orjson
import pyarrow.compute as pc

from detectors.traces.batch import Mask, Rows, TraceBatch
from detectors.traces.messages import NOTHING, MessageFacts, read_messages

_MAX_DEPTH: Final = 48
_MAX_DIGITS: Final = 9
_FLAT: Final = re.compile(r'\{"\d+\.')
_TOOL_TALK: Final = (
    r"(?i)tool|function[_C]?call|functionresponse|function_response|\"arguments\"|\"args\"|call_id|tooluse"
)
"""What a document that asks for a tool or brings a tool's result cannot do without."""


class Documents:
    """Facts of input and output documents by span row."""

    def __init__(self, batch: TraceBatch) -> None:
        self._batch = batch
        self._facts: dict[tuple[str, int], MessageFacts] = {}

    def talks_of_tools(self, side: str, rows: Mask) -> Rows:
        """Those of `rows` whose input_messages or output_messages may hold tool calls or results."""
        candidates = np.flatnonzero(rows)
        texts = self._batch.take(side, candidates)
        matched = pc.fill_null(pc.match_substring_regex(texts, _TOOL_TALK), False)
        talking: Rows = candidates[matched.to_numpy(zero_copy_only=False)]
        return talking

    def read(self, side: str, rows: Rows) -> list[MessageFacts]:
        """The facts of `side` (input_messages or output_messages) at `rows`; NOTHING where it is not captured."""
        missing = [row for row in rows.tolist() if (side, row) not in self._facts]
        for row, text in zip(missing, self._batch.texts(side, missing), strict=True):
            self._facts[side, row] = NOTHING if text is None else read_messages(unflattened(text))
        return [self._facts[side, row] for row in rows.tolist()]


def unflattened(document: str) -> str:
    """A JSON object of dotted keys (`{"0.message.role": ...}`) as the nested list it stands for."""
    if _FLAT.match(document) is None:
        return document
    try:
        flat = orjson.loads(document)
    except orjson.JSONDecodeError:
        return document
    root: dict[str, object] = {}
    for key, value in flat.items():
        node = root
        *path, leaf = key.split(".", _MAX_DEPTH)
        for step in path:
            child = node.setdefault(step, {})
            if not isinstance(child, dict):
                child = node[step] = {}
            node = child
        node[leaf] = value
    return orjson.dumps(_lists(root)).decode()


def _lists(node: object) -> object:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() and len(key) <= _MAX_DIGITS for key in node):
        return [_lists(node[key]) for key in sorted(node, key=int)]
    nested = {key: _lists(child) for key, child in node.items()}
    message = nested.get("message")
    if isinstance(message, dict) and message.keys() <= {"role", "name", "tool_call_id"}:
        message["content"] = ""  # OpenInference leaves out the content of a message that has none
    return nested
