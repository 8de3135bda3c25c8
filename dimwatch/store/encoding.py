"""Compression on the wire: request bodies in, response bodies out, never more than a limit in memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import lz4.block  # type: ignore[import-untyped]
import lz4.frame  # type: ignore[import-untyped]
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from dimwatch.store.engine import EngineError

PIECE: Final = 1 << 20
_ZSTD_BITE: Final = 1 << 10
_FRAME_HEADER: Final = 25
_SIZES: Final = 9
"""Bytes of that header behind the checksum, which count for the size of a block."""
_LZ4: Final = 0x82
_FRAME_MAX: Final = 64 << 20


def _error(reason: str) -> EngineError:
    return EngineError.refusal(271, "CANNOT_DECOMPRESS", f"Cannot decompress the request body: {reason}")


def _too_large(limit: int) -> EngineError:
    return EngineError.refusal(
        307, "TOO_MANY_BYTES", f"The request body is over {limit} bytes when decompressed: send smaller batches"
    )


def decompress(body: bytes, encoding: str, limit: int) -> Iterator[bytes]:
    """Yield `body` decompressed in pieces. Raises EngineError for garbage, a cut body, or more than `limit`."""
    total = 0
    for piece in _pieces(body, encoding.strip().lower()):
        total += len(piece)
        if total > limit:
            raise _too_large(limit)
        yield piece


def _pieces(body: bytes, encoding: str) -> Iterator[bytes]:
    if encoding in ("", "identity"):
        yield body
    elif encoding == "gzip":
        yield from _inflate(body, 31)
    elif encoding == "deflate":
        yield from _inflate(body, 15)
    elif encoding == "zstd":
        yield from _zstd_frames(body)
    elif encoding == "lz4":
        yield from _lz4_frames(body)
    elif encoding == "clickhouse":
        yield from _clickhouse_frames(body)
    else:
        raise _error(f"Content-Encoding {encoding} is unknown: use gzip, deflate, zstd or lz4")


def _inflate(body: bytes, window: int) -> Iterator[bytes]:
    while body:
        inflater = zlib.decompressobj(window)
        try:
            while not inflater.eof:
                piece = inflater.decompress(body, PIECE)
                if not piece and not inflater.unconsumed_tail and not inflater.eof:
                    raise _error("it is cut short")
                body = inflater.unconsumed_tail
                yield piece
        except zlib.error as error:
            raise _error(str(error)) from error
        body = inflater.unused_data


def _zstd_frames(body: bytes) -> Iterator[bytes]:
    while body:
        frame = zstandard.ZstdDecompressor(max_window_size=128 << 20).decompressobj()
        try:
            # Small bites: each 4 bytes of input may stand for 128 KiB.
            for start in range(0, len(body), _ZSTD_BITE):
                if piece := frame.decompress(body[start : start + _ZSTD_BITE]):
                    yield piece
                if frame.eof:
                    break
        except zstandard.ZstdError as error:
            raise _error(str(error)) from error
        if not frame.eof:
            raise _error("it is cut short")
        body = frame.unused_data + body[start + _ZSTD_BITE :]


def _lz4_frames(body: bytes) -> Iterator[bytes]:
    while body:
        frame = lz4.frame.LZ4FrameDecompressor()
        try:
            yield frame.decompress(body, PIECE)
            while not frame.eof:
                if frame.needs_input:
                    raise _error("it is cut short")
                yield frame.decompress(b"", PIECE)
        except RuntimeError as error:
            raise _error(str(error)) from error
        body = frame.unused_data or b""


def _clickhouse_frames(body: bytes) -> Iterator[bytes]:
    """ClickHouse's own framing (`decompress=1`): checksum, method, sizes, block."""
    view = memoryview(body)
    while view:
        if len(view) < _FRAME_HEADER:
            raise _error("it is cut short")
        method = view[16]
        packed, size = int.from_bytes(view[17:21], "little"), int.from_bytes(view[21:25], "little")
        if not _SIZES <= packed <= len(view) - 16 or size > _FRAME_MAX:
            raise _error("a block has an impossible size")
        data = bytes(view[_FRAME_HEADER : 16 + packed])
        try:
            if method == _LZ4:
                yield lz4.block.decompress(data, uncompressed_size=size)
            elif method == 0x90:
                yield zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
            elif method == 0x02:
                yield data
            else:
                raise _error(f"compression method {method:#x} is unknown")
        except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
            raise _error(str(error)) from error
        view = view[16 + packed :]


def frames(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """ClickHouse's own framing (`compress=1`), which the clients for Java ask for, and those for Go with LZ4."""
    for piece in pieces:
        for start in range(0, len(piece), PIECE):
            data = piece[start : start + PIECE]
            packed = lz4.block.compress(data, store_size=False)
            block = struct.pack("<BII", _LZ4, _SIZES + len(packed), len(data)) + packed
            yield checksum(block) + block


def checksum(block: bytes) -> bytes:
    """What stands before a compressed block, for clients to check: CityHash128 1.0.2, the lower half first."""
    hashed: int = CityHash128(block)
    return struct.pack("<QQ", hashed >> 64, hashed & (1 << 64) - 1)


_ENCODINGS: Final = ("zstd", "lz4", "gzip", "deflate")


def choose(accepted: str) -> str | None:
    """The response encoding for an Accept-Encoding header."""
    offered = {part.split(";")[0].strip().lower() for part in accepted.split(",")}
    return next((name for name in _ENCODINGS if name in offered), None)


def compress(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Compress pieces as one stream."""
    packer = _packer(encoding)
    if encoding == "lz4":
        yield packer.begin()
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    if packed := packer.flush():
        yield packed


def _packer(encoding: str) -> Any:
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=1).compressobj()
    if encoding == "lz4":
        return lz4.frame.LZ4FrameCompressor()
    return zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
