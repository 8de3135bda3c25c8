"""Which of several payloads of a span to keep: what conventions write twice, once as messages and once whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from dimwatch import vocabulary
from ingest.fields import Mask, first_of, holds, only, valid

_MODEL: Final = (
    r'(?:"(?:model|model_name|modelVersion|model_version)\\*"\s*:\s*\\*"|\bmodel=\\*["\'])(?P<model>[^"\'\\]{1,120})'
)
_REASON: Final = r"""(?i)(?:finish_?reason|stop_?reason|incomplete_details|done_reason)['"\\]*\s*[:=]\s*['"\\{<]"""
_OFFER: Final = r'"tools\\*"\s*:\s*\\*"?\['
_OPAQUE: Final = r"^[\[(\s]*<[\w.]+( object)? at 0x[0-9a-f]+>[\])\s,]*$"
_REQUEST_KEYS: Final = ("kwargs", "options", "params", "input", "inputs", "body", "request", "arguments", "config")
_MAX_SEARCHED: Final = 1 << 20


def choose_answers(
    found: dict[str, pa.Array | None], outputs: pa.Array | None, is_model: Mask, sure: Mask | np.bool_
) -> None:
    """Keep a model call's whole response instead of the messages made of it, where it alone tells why the answer ended
    or which model gave it. `sure`: rows whose answering model is named for certain."""
    said = only(outputs, is_model)
    said = None if said is None else only(said, holds(pc.match_substring_regex(said, r"^\s*[\[{A-Z]")))
    if said is None or said.null_count == len(said):
        return
    nothing = pa.nulls(len(said), pa.string())
    answered, reason, messages = (
        nothing if found[name] is None else found[name]
        for name in ("response_model", "finish_reason", "output_messages")
    )
    model = pc.struct_field(pc.extract_regex(said, _MODEL), "model")
    named = vocabulary.translate(model, vocabulary.model)
    known = vocabulary.translate(answered, vocabulary.model)
    other = holds(pc.and_(pc.not_equal(named, ""), pc.not_equal(named, known))) & is_model & ~sure
    unsaid = holds(pc.equal(vocabulary.translate(reason, vocabulary.finish_reason), ""))
    tells = unsaid & holds(pc.match_substring_regex(said, _REASON))
    found["output_messages"] = pc.if_else(pa.array(other | tells), said, messages)
    # The name that the span gives is the one that was asked for; the response is read with its whole structure later.
    found["request_model"] = first_of(found["request_model"], only(answered, other))
    found["response_model"] = only(answered, ~other)


def asked_model(
    requested: pa.Array | None, answered: pa.Array | None, inputs: pa.Array | None, is_model: Mask
) -> pa.Array | None:
    """`requested`, and for model calls without it the model that their request names."""
    lacking = only(inputs, is_model & ~valid(requested))
    if lacking is None or lacking.null_count == len(lacking):
        return requested
    named = pc.struct_field(pc.extract_regex(lacking, _MODEL), "model")
    known = "" if answered is None else pc.fill_null(answered, "")
    doubtful = pc.fill_null(pc.not_equal(named, known), False)
    if pc.any(doubtful).as_py():
        # A tool's arguments may hold a "model", too: the request's own is at the top.
        checked = pa.array([_top_model(text) for text in lacking.filter(doubtful).to_pylist()], pa.string())
        named = pc.replace_with_mask(named, doubtful, checked)
    return first_of(requested, named)


def _top_model(text: str) -> str | None:
    for node in _requests(text):
        for key in ("model", "model_name", "modelId", "model_id"):
            model = node.get(key)
            if isinstance(model, str) and model:
                return model
    return None


def _requests(text: str) -> Iterator[dict[str, Any]]:
    """The request that a document is, or the one that it wraps."""
    try:
        node = orjson.loads(text) if len(text) <= _MAX_SEARCHED else None
    except orjson.JSONDecodeError:
        return
    if isinstance(node, dict):
        yield node
        yield from (node[key] for key in _REQUEST_KEYS if isinstance(node.get(key), dict))


def offered_tools(definitions: pa.Array | None, inputs: pa.Array | None, is_model: Mask) -> pa.Array | None:
    """`definitions`, and for model calls without them the tools that their request lists."""
    lacking = only(inputs, is_model & ~valid(definitions))
    if inputs is None or lacking is None:
        return definitions
    lists = pc.fill_null(pc.match_substring_regex(lacking, _OFFER), False)
    if not pc.any(lists).as_py():
        return definitions
    definitions = pa.nulls(len(lacking), pa.string()) if definitions is None else definitions
    encoded = inputs.filter(lists).dictionary_encode()
    tools = pa.array([_tools(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(definitions, lists, tools.take(encoded.indices))


def _tools(text: str) -> str | None:
    tools = next((node["tools"] for node in _requests(text) if node.get("tools")), None)
    try:
        return orjson.dumps(tools).decode() if tools else None
    except orjson.JSONEncodeError:  # nested deeper than any schema
        return None


def without_opaque(results: pa.Array | None) -> pa.Array | None:
    """Results without those that are only the address of an object: what it held was not captured."""
    if results is None:
        return None
    opaque = pc.match_substring_regex(results, _OPAQUE)
    return pc.if_else(opaque, None, results) if pc.any(opaque).as_py() else results
