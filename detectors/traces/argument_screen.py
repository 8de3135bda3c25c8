"""Vouches for tool arguments by the column: RE2 over all calls of a tool instead of a parser for each.

A schema without surprises (a flat object of strings, numbers and booleans) becomes one expression that only fitting
arguments match. What it does not vouch for is looked at by `tools.check_arguments`; it never condemns.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.traces.batch import Mask
from detectors.traces.tool_schema import ToolSchema

_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_INTEGER: Final = r"-?\d+"
_NUMBER: Final = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_VALUE_OF: Final[dict[type, str]] = {
    str: _STRING,
    int: _INTEGER,
    float: _NUMBER,
    bool: "(?:true|false)",
    type(None): "null",
}
_ANY_VALUE: Final = f"(?:{_STRING}|{_NUMBER}|true|false|null)"
_MAX_PROPERTIES: Final = 24


def surely_fit(schema: ToolSchema | None, arguments: pa.Array) -> Mask:
    """By call: do the arguments certainly parse, and fit the schema if one is known? Null fits: nothing is known."""
    pattern, required = _pattern(schema)
    fits = pc.is_null(arguments)
    if pattern is not None:
        said = pc.match_substring_regex(arguments, pattern)
        for name in required:
            said = pc.and_(said, pc.match_substring_regex(arguments, f'"{re.escape(name)}"\\s*:'))
        fits = pc.or_(fits, pc.fill_null(said, False))
    mask: Mask = fits.to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    return mask


@lru_cache(maxsize=1024)
def _pattern(schema: ToolSchema | None) -> tuple[str | None, tuple[str, ...]]:
    """The expression that fitting arguments match as a whole, and the properties that must be there."""
    if schema is None or not schema.known:
        return _object(f"{_STRING}\\s*:\\s*{_ANY_VALUE}"), ()
    simple = schema.simple
    if simple is None or len(simple.properties) > _MAX_PROPERTIES:
        return None, ()
    pairs = []
    for name, (types, items, enum) in simple.properties.items():
        if types is None or items is not None or enum is not None or not all(type_ in _VALUE_OF for type_ in types):
            return None, ()
        values = "|".join(dict.fromkeys(_VALUE_OF[type_] for type_ in types))
        pairs.append(f'"{re.escape(name)}"\\s*:\\s*(?:{values})')
    if not pairs:
        return None, ()
    return _object(f"(?:{'|'.join(pairs)})"), simple.required


def _object(pair: str) -> str:
    return rf"^\s*\{{\s*(?:{pair}(?:\s*,\s*{pair})*)?\s*\}}\s*$"
