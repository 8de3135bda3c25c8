"""The stored form of a record in SQLite: compressed where that pays, sealed with a checksum over every column.

Compression, measured on real OTLP trace requests (2 shared cores): zstd level 1 costs 0.7 to 1.5 ms of CPU a
MB, unpacking 0.3 to 0.5 ms, and 35 kB requests become 10 times, 500 kB requests 19 times smaller. Every byte is
written twice (WAL, then checkpoint), which costs more than that. Arrow streams are compressed when they come,
and below `MIN_COMPRESS_BYTES` there is nothing to gain.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson
import xxhash
import zstandard

from dimwatch.errors import InvalidError
from dimwatch.eventlog.base import Batch, NewRecord, Record

MIN_COMPRESS_BYTES: Final = 256
MAX_VALUE_BYTES: Final = 512 * 1024 * 1024
"""Far over any request that is accepted, and under SQLite's own limit of 1 GB a row."""
ROW_OVERHEAD_BYTES: Final = 64
"""What a row costs beside key, headers and value."""

COLUMNS: Final = "timestamp_ns, key, headers, codec, size, checksum, value"

_PLAIN, _ZSTD = 0, 1
_ARROW_STREAM: Final = b"\xff\xff\xff\xff"
_PREFIX = struct.Struct("<qBQII")

_local = threading.local()  # zstandard contexts may not be shared between threads


class CorruptRow(Exception):
    """A row that does not hold what was written."""


class Row(NamedTuple):
    """One record as the columns `COLUMNS`; `size` is that of the value before compression."""

    timestamp_ns: int
    key: bytes
    headers: bytes
    codec: int
    size: int
    checksum: bytes
    value: bytes

    @property
    def stored_bytes(self) -> int:
        """What the row takes on disk, about; `SQL_STORED_BYTES` computes the same."""
        return len(self.key) + len(self.headers) + len(self.value) + ROW_OVERHEAD_BYTES


SQL_STORED_BYTES: Final = f"length(key) + length(headers) + length(value) + {ROW_OVERHEAD_BYTES}"


def encode(record: NewRecord) -> Row:
    """Compress and seal `record`. Raises InvalidError for one that this eventlog can not carry."""
    if record.partition:
        raise InvalidError(f"there is no partition {record.partition}: the embedded eventlog has one (0) a topic")
    size = len(record.value)
    if size > MAX_VALUE_BYTES:
        raise InvalidError(f"a record of {size} bytes is over the eventlog's limit of {MAX_VALUE_BYTES}")
    codec, value = _PLAIN, record.value
    if size >= MIN_COMPRESS_BYTES and not value.startswith(_ARROW_STREAM):
        packed = _compressor().compress(value)
        if len(packed) < size:
            codec, value = _ZSTD, packed
    headers = orjson.dumps(dict(record.headers)) if record.headers else b""
    checksum = _checksum(record.timestamp_ns, record.key, headers, codec, size, value)
    return Row(record.timestamp_ns, record.key, headers, codec, size, checksum, value)


Encoded = Sequence[tuple[str, Sequence[Row]]]
"""Rows by topic."""


def encode_batch(batch: Batch) -> tuple[Encoded, int]:
    """The rows of `batch`, and about what they take on disk, in bytes."""
    encoded = [(topic, [encode(record) for record in records]) for topic, records in batch.items() if records]
    return encoded, sum(row.stored_bytes for _, rows in encoded for row in rows)


def decode(topic: str, offset: int, row: Row) -> Record:
    """Check and unpack a row. Raises CorruptRow if any of its columns changed since it was written."""
    try:
        if _checksum(row.timestamp_ns, row.key, row.headers, row.codec, row.size, row.value) != row.checksum:
            raise CorruptRow("checksum differs")
        value = row.value
        if row.codec == _ZSTD:
            value = _decompressor().decompress(value, max_output_size=row.size)
        headers = orjson.loads(row.headers) if row.headers else {}
    except (TypeError, ValueError, struct.error, zstandard.ZstdError) as error:
        # A damaged row can also change the types of its columns.
        raise CorruptRow(str(error)) from error
    return Record(topic, 0, offset, row.timestamp_ns, value, row.key, headers)


def _checksum(timestamp_ns: int, key: bytes, headers: bytes, codec: int, size: int, value: bytes) -> bytes:
    digest = xxhash.xxh3_64(_PREFIX.pack(timestamp_ns, codec, size, len(key), len(headers)))
    digest.update(key)
    digest.update(headers)
    digest.update(value)
    return digest.digest()


def _compressor() -> zstandard.ZstdCompressor:
    try:
        found: zstandard.ZstdCompressor = _local.compressor
    except AttributeError:
        found = _local.compressor = zstandard.ZstdCompressor(level=1)
    return found


def _decompressor() -> zstandard.ZstdDecompressor:
    try:
        found: zstandard.ZstdDecompressor = _local.decompressor
    except AttributeError:
        found = _local.decompressor = zstandard.ZstdDecompressor()
    return found
