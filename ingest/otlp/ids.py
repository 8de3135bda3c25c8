"""Trace and span ids as lower-case hex, a column at a time."""

from __future__ import annotations

from binascii import hexlify

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def hex_ids(ids: pa.Array, length: int) -> pa.Array:
    """Hex of binary ids; an id of another length than `length` bytes becomes ""."""
    count = len(ids)
    right = pc.equal(pc.binary_length(ids), length).to_numpy(zero_copy_only=False)
    kept = ids.filter(pa.array(right)) if not right.all() else ids
    offsets = np.frombuffer(kept.buffers()[1], dtype=np.int32)[kept.offset : kept.offset + len(kept) + 1]
    data = kept.buffers()[2]
    text = hexlify(memoryview(data)[offsets[0] : offsets[-1]]) if len(kept) and data is not None else b""
    ends = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(np.where(right, 2 * length, 0), out=ends[1:])
    return pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(text))
