"""The checksum of compressed blocks, as ClickHouse and its clients reckon it."""

from __future__ import annotations

from hashlib import sha256

from dimwatch.store.cityhash import city_hash_128


def test_nothing() -> None:
    assert city_hash_128(b"").hex() == "2b9ac064fc9df03d291ee592c340b53c"


def test_every_length_up_to_700() -> None:
    """Of the values of github.com/go-faster/city 1.0.1, which the Go client verifies with."""
    hashes = sha256()
    for size in range(700):
        hashes.update(city_hash_128(bytes((i * i * 7 + i * 3 + size) & 255 for i in range(size))))
    assert hashes.hexdigest() == "3adcb43fa483bcc0af683084b237cce685a08b397cdd230215c0223478f50443"
