"""The checksum of compressed blocks, as clients of ClickHouse verify it."""

from __future__ import annotations

from hashlib import sha256

from dimwatch.store.encoding import checksum


def test_checksums_are_those_that_the_client_for_go_reckons() -> None:
    """Values of github.com/go-faster/city 1.0.1."""
    assert checksum(b"").hex() == "2b9ac064fc9df03d291ee592c340b53c"
    hashes = sha256()
    for size in range(700):
        hashes.update(checksum(bytes((i * i * 7 + i * 3 + size) & 255 for i in range(size))))
    assert hashes.hexdigest() == "3adcb43fa483bcc0af683084b237cce685a08b397cdd230215c0223478f50443"
