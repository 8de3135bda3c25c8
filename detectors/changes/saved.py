"""The ledger's state as bytes: a JSON head, then arrays of numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import orjson

from detectors.changes.sums import FloatArray
from dimwatch.errors import InvalidError

_VERSION: Final = 1


def encode(head: dict[str, Any], arrays: list[FloatArray]) -> bytes:
    """Serialise: the same state gives the same bytes."""
    told = orjson.dumps({"version": _VERSION, "shapes": [array.shape for array in arrays], **head})
    return b"".join([len(told).to_bytes(8, "big"), told, *(np.ascontiguousarray(array).tobytes() for array in arrays)])


def decode(state: bytes) -> tuple[dict[str, Any], list[FloatArray]]:
    """Undo `encode`. Raises InvalidError for anything else: start without a state then, the ledger warms up anew."""
    try:
        start = 8 + int.from_bytes(state[:8], "big")
        head = orjson.loads(state[8:start])
        if head["version"] != _VERSION:
            raise InvalidError(f"state of the change ledger of version {head['version']}, this program has {_VERSION}")
        arrays = []
        for shape in head["shapes"]:
            size = 8 * int(np.prod(shape))
            arrays.append(np.frombuffer(state[start : start + size], np.float64).reshape(shape))
            start += size
        return head, arrays
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidError(f"unreadable state of the change ledger: {error}") from error
