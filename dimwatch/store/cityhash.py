"""CityHash128 in its version 1.0.2: the checksum of ClickHouse's compressed blocks, which clients verify.

Pure Python, some megabytes a second. Source of algorithm and constants: CityHash by Google; ClickHouse keeps to
version 1.0.2, whose values differ from those of later ones.
"""

from __future__ import annotations

import struct
from typing import Final

_MASK: Final = (1 << 64) - 1
_K0: Final = 0xC3A5C85C97CB3127
_K1: Final = 0xB492B66FBE98F273
_K2: Final = 0x9AE16A3B2F90404F
_K3: Final = 0xC949D7C7509E6557
_FOLD: Final = 0x9DDFEA08EB382D69


def city_hash_128(data: bytes) -> bytes:
    """The 16 bytes of the hash, lower half first, as they stand before a block."""
    size = len(data)
    if size >= 16:
        low, high = _long_or_short(data[16:], _word(data, 0) ^ _K3, _word(data, 8))
    elif size >= 8:
        low, high = _short(b"", (_word(data, 0) ^ size * _K0) & _MASK, _word(data, size - 8) ^ _K1)
    else:
        low, high = _short(data, _K0, _K1)
    return struct.pack("<QQ", low, high)


def _long_or_short(data: bytes, low: int, high: int) -> tuple[int, int]:
    return _long(data, low, high) if len(data) >= 128 else _short(data, low, high)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _rotate(value: int, by: int) -> int:
    value &= _MASK
    return (value >> by | value << 64 - by) & _MASK


def _mix(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _fold(low: int, high: int) -> int:
    """64 bits of 128."""
    high &= _MASK
    inner = _mix((low ^ high) * _FOLD)
    return _mix((high ^ inner) * _FOLD) * _FOLD & _MASK


def _weak(words: tuple[int, ...], a: int, b: int) -> tuple[int, int]:
    """Two halves of 32 bytes and a seed."""
    first, second, third, fourth = words
    a += first
    b = _rotate(b + a + fourth, 21)
    c = a
    a += second + third
    return (a + fourth) & _MASK, (b + _rotate(a, 44) + c) & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    if size > 8:
        last = _word(data, size - 8)
        return _fold(_word(data, 0), _rotate(last + size, size)) ^ last
    if size >= 4:
        return _fold(size + (int.from_bytes(data[:4], "little") << 3), int.from_bytes(data[-4:], "little"))
    if size:
        ends = data[0] + (data[size >> 1] << 8), size + (data[-1] << 2)
        return _mix(ends[0] * _K2 ^ ends[1] * _K3) * _K2 & _MASK
    return _K2


def _short(data: bytes, a: int, b: int) -> tuple[int, int]:
    size = len(data)
    if size <= 16:
        a = _mix(a * _K1) * _K1 & _MASK
        c = b * _K1 + _up_to_16(data) & _MASK
        d = _mix(a + (_word(data, 0) if size >= 8 else c))
    else:
        c = _fold(_word(data, size - 8) + _K1 & _MASK, a)
        d = _fold(b + size & _MASK, c + _word(data, size - 16))
        a = a + d & _MASK
        for at in range(0, size - 16, 16):
            a = (a ^ _mix(_word(data, at) * _K1) * _K1) * _K1 & _MASK
            b ^= a
            c = (c ^ _mix(_word(data, at + 8) * _K1) * _K1) * _K1 & _MASK
            d ^= c
    a, b = _fold(a, c), _fold(d, b)
    return a ^ b, _fold(b, a)


def _long(data: bytes, x: int, y: int) -> tuple[int, int]:
    size = len(data)
    words = struct.unpack_from(f"<{size // 8}Q", data)
    z = size * _K1 & _MASK
    v0 = _rotate(y ^ _K1, 49) * _K1 + words[0] & _MASK
    v1 = _rotate(v0, 42) * _K1 + words[1] & _MASK
    w0 = _rotate(y + z, 35) * _K1 + x & _MASK
    w1 = _rotate(x + words[11], 53) * _K1 & _MASK
    for at in range(0, size // 128 * 16, 8):
        x = _rotate(x + y + v0 + words[at + 2], 37) * _K1 & _MASK ^ w1
        y = _rotate(y + v1 + words[at + 6], 42) * _K1 & _MASK ^ v0
        z = _rotate(z ^ w0, 33)
        v0, v1 = _weak(words[at : at + 4], v1 * _K1, x + w0)
        w0, w1 = _weak(words[at + 4 : at + 8], z + w1, y)
        z, x = x, z
    y += _rotate(w0, 37) * _K0 + z
    x += _rotate(v0 + z, 49) * _K0
    for back in range(32, size % 128 + 32, 32):  # the tail from its end; it may reach into what was hashed
        tail = struct.unpack_from("<4Q", data, size - back)
        y = _rotate(y - x, 42) * _K0 + v1
        w0 = w0 + tail[2]
        x = _rotate(x, 49) * _K0 + w0
        w0 = w0 + v0
        v0, v1 = _weak(tail, v0, v1)
    x, y = _fold(x & _MASK, v0), _fold(y & _MASK, w0)
    return _fold(x + v1 & _MASK, w1) + y & _MASK, _fold(x + w1 & _MASK, y + v1)
