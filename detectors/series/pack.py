"""Nested dicts of arrays as bytes and back, exactly: what a snapshot is.

A checksum keeps damaged bytes from those who read the parts: Arrow, for one, may crash by them.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xxhash

from dimwatch.errors import InvalidError

_MAGIC = b"dimwatch-engine-5\n"


def pack(state: dict[str, Any]) -> bytes:
    """Arrays, strings, numbers and lists of them in nested dicts with text keys."""
    blobs: list[bytes] = []

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {"dict": {name: plain(of) for name, of in value.items()}}
        if isinstance(value, np.ndarray):
            blobs.append(np.ascontiguousarray(value).tobytes())
            return {"array": [value.dtype.str, list(value.shape), len(blobs[-1])]}
        return {"plain": value}

    header = json.dumps(plain(state), separators=(",", ":")).encode()
    parts = [len(header).to_bytes(8, "little"), header, *blobs]
    checksum = xxhash.xxh3_64()
    for part in parts:
        checksum.update(part)
    return b"".join([_MAGIC, checksum.digest(), *parts])


def unpack(packed: bytes) -> dict[str, Any]:
    """What `pack` was given. Raises InvalidError for anything else."""
    if not packed.startswith(_MAGIC):
        raise InvalidError("not a snapshot, or one of another version: start without it and replay the points")
    sealed = len(_MAGIC) + 8
    if xxhash.xxh3_64_digest(memoryview(packed)[sealed:]) != packed[len(_MAGIC) : sealed]:
        raise InvalidError("a damaged snapshot: start without it and replay the points")
    begin = sealed + 8
    end = begin + int.from_bytes(packed[sealed:begin], "little")
    at = end

    def rich(value: dict[str, Any]) -> Any:
        nonlocal at
        if "dict" in value:
            return {name: rich(of) for name, of in value["dict"].items()}
        if "array" in value:
            dtype, shape, size = value["array"]
            array = np.frombuffer(packed, dtype=np.dtype(dtype), count=size // np.dtype(dtype).itemsize, offset=at)
            at += size
            return array.reshape(shape).copy()
        return value["plain"]

    try:
        state: dict[str, Any] = rich(json.loads(packed[begin:end]))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidError(f"a damaged snapshot ({error}): start without it and replay the points") from error
    return state
