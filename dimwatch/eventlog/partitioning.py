"""Which partition a key goes to: as the OpenTelemetry Collector's Kafka exporter decides by default.

So a trace is on the same partition, whether its spans came through our receiver or through a Collector.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

_BASIS: Final = 2166136261
_PRIME: Final = 16777619
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key: FNV-1a of 32 bits, as a signed number, its remainder without the sign (as sarama)."""
    found = _BASIS
    for byte in key:
        found = (found ^ byte) * _PRIME & 0xFFFFFFFF
    signed = found - (1 << 32) if found >> 31 else found
    return abs(signed) % partitions


def partitions_of_traces(trace_ids: npt.NDArray[np.uint8], partitions: int) -> npt.NDArray[np.int32]:
    """The partition of each row of 16 bytes, whose key is the trace id in hexadecimal."""
    digits = np.empty((32, len(trace_ids)), np.uint8)
    digits[0::2] = _HEX[trace_ids >> 4].T
    digits[1::2] = _HEX[trace_ids & 15].T
    found = np.full(len(trace_ids), _BASIS, np.uint32)
    for digit in digits:
        found ^= digit
        found *= np.uint32(_PRIME)
    signed = found.view(np.int32).astype(np.int64)
    return (np.abs(signed) % partitions).astype(np.int32)
