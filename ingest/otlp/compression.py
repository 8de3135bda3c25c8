"""Decompression with a bound: what comes out is never larger than allowed, whatever went in."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import zstandard

from dimwatch.errors import InvalidError
from ingest.otlp.refusals import TooLargeError, UnsupportedError

CODINGS: Final = ("gzip", "deflate", "zstd", "identity")

_STEP: Final = 1 << 20
_ZSTD_STEP: Final = 512  # bytes in, which can not become more than 16 MiB at once
_ZSTD_WINDOW: Final = 1 << 23  # 8 MiB: what the format asks every decoder to support

Reserve = Callable[[int], None]
"""Told how many bytes are about to be held; raises BackpressureError when there is no room."""


def decompress(body: bytes, coding: str, limit: int, reserve: Reserve | None = None) -> bytes:
    """Return the content of `body`, at most `limit` bytes.

    Raises TooLargeError beyond the limit, InvalidError for damaged or truncated input, UnsupportedError for a
    coding that is not one of `CODINGS`.
    """
    coding = coding.strip().lower() or "identity"
    if coding in ("identity", "none"):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    if coding in ("gzip", "x-gzip"):
        pieces = _gunzip(body)
    elif coding == "deflate":
        pieces = _inflate(body)
    elif coding == "zstd":
        pieces = _unzstd(body)
    else:
        raise UnsupportedError(f"Content-Encoding {coding[:40]!r} is not one of {', '.join(CODINGS)}")
    held = io.BytesIO()
    size = 0
    try:
        for piece in pieces:
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            if reserve is not None:
                reserve(len(piece))
            held.write(piece)
    except (zlib.error, zstandard.ZstdError) as error:
        raise InvalidError(f"the body is not valid {coding}: {error}") from error
    return held.getvalue()


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"the request is over {limit} bytes after decompression (receiver.max_decompressed); send smaller batches"
    )


def _drain(decoder: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    while True:
        piece = decoder.decompress(data, _STEP)
        if piece:
            yield piece
        data = decoder.unconsumed_tail
        if decoder.eof or (not data and len(piece) < _STEP):
            return


def _gunzip(body: bytes) -> Iterator[bytes]:
    """All members of a gzip file, one after the other."""
    rest = body
    while rest:
        decoder = zlib.decompressobj(wbits=31)
        yield from _drain(decoder, rest)
        if not decoder.eof:
            raise InvalidError("the gzip body is truncated")
        rest = decoder.unused_data
    if not body:
        raise InvalidError("the gzip body is empty")


def _inflate(body: bytes) -> Iterator[bytes]:
    """A zlib stream, which is what HTTP and gRPC call deflate, or the raw one that some senders mean by it."""
    is_zlib = len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    decoder = zlib.decompressobj(wbits=15 if is_zlib else -15)
    yield from _drain(decoder, body)
    if not decoder.eof:
        raise InvalidError("the deflate body is truncated")
    if decoder.unused_data:
        raise InvalidError("the deflate body has bytes behind its end")


def _unzstd(body: bytes) -> Iterator[bytes]:
    rest = body
    while rest:
        decoder = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj(write_size=_STEP)
        # Small pieces in, so that what comes out of one call is bounded: zstd has no limit of its own.
        at = 0
        while at < len(rest) and not decoder.eof:
            piece = decoder.decompress(rest[at : at + _ZSTD_STEP])
            at += _ZSTD_STEP
            if piece:
                yield piece
        if not decoder.eof:
            raise InvalidError("the zstd body is truncated")
        rest = decoder.unused_data + rest[at:]
    if not body:
        raise InvalidError("the zstd body is empty")
