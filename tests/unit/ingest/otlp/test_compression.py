"""Every coding, and that damage, truncation and bombs are errors that cost nothing."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
import zstandard

from dimwatch.errors import BackpressureError, InvalidError
from ingest.otlp.compression import decompress
from ingest.otlp.gate import Gate
from ingest.otlp.refusals import TooLargeError, UnsupportedError

MIB = 1 << 20
CONTENT = bytes(range(256)) * 9_000


def raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


def zstd_stream(content: bytes) -> bytes:
    """Without the content size in the header, as streaming senders write it."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(content) + compressor.flush()


CODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd stream": ("zstd", zstd_stream),
}


@pytest.mark.parametrize("name", CODERS)
@pytest.mark.parametrize("content", [b"", b"x", CONTENT, bytes(5 * MIB)], ids=["empty", "one", "mixed", "zeros"])
def test_round_trip(name: str, content: bytes) -> None:
    coding, encode = CODERS[name]
    assert decompress(encode(content), coding, 8 * MIB) == content
    assert decompress(encode(content), coding.upper(), len(content)) == content


@pytest.mark.parametrize("name", CODERS)
def test_truncation_and_damage_are_invalid(name: str) -> None:
    coding, encode = CODERS[name]
    body = encode(CONTENT)
    for size in (0, 1, 5, len(body) // 2, len(body) - 1):
        with pytest.raises(InvalidError):
            decompress(body[:size], coding, 8 * MIB)
    with pytest.raises(InvalidError):
        decompress(b"definitely not compressed", coding, 8 * MIB)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_several_members_are_one_content(name: str) -> None:
    coding, encode = CODERS[name]
    assert decompress(encode(b"one ") + encode(b"two"), coding, MIB) == b"one two"
    with pytest.raises(InvalidError):
        decompress(encode(b"one") + b"junk", coding, MIB)


@pytest.mark.parametrize("name", CODERS)
def test_a_bomb_costs_no_more_than_the_limit(name: str) -> None:
    coding, encode = CODERS[name]
    bomb = encode(bytes(64 * MIB))
    tracemalloc.start()
    with pytest.raises(TooLargeError, match=r"receiver\.max_decompressed"):
        decompress(bomb, coding, 4 * MIB)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MIB


def test_a_body_that_is_not_compressed_has_the_same_limit() -> None:
    assert decompress(b"abc", "identity", 3) == b"abc"
    assert decompress(b"abc", "", 3) == b"abc"
    with pytest.raises(TooLargeError):
        decompress(b"abcd", "identity", 3)


def test_an_unknown_coding_names_the_known_ones() -> None:
    with pytest.raises(UnsupportedError, match="gzip, deflate, zstd"):
        decompress(b"", "br", 3)


def test_what_is_held_is_reserved_first() -> None:
    gate = Gate(max_bytes=3 * MIB, max_requests=2)
    with gate.enter() as hold:
        with pytest.raises(BackpressureError):
            decompress(gzip.compress(bytes(5 * MIB)), "gzip", 8 * MIB, hold.reserve)
        with gate.enter(), pytest.raises(BackpressureError, match="2 requests"):
            gate.enter()
    with gate.enter() as hold:
        assert len(decompress(gzip.compress(bytes(3 * MIB)), "gzip", 8 * MIB, hold.reserve)) == 3 * MIB
