"""The proxy of the fault suites ends quietly, whatever passes through it."""

from __future__ import annotations

import contextlib
import socket

import pytest

from benchmarks.proxy import Proxy


def test_it_ends_without_a_word_about_the_connections_it_cuts(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as far, contextlib.ExitStack() as held:
        with Proxy(far.getsockname()[1]) as proxy:
            near = held.enter_context(socket.create_connection(("127.0.0.1", proxy.port), timeout=20))
            there, _ = far.accept()
            held.enter_context(there)
            near.sendall(b"ping")
            assert there.recv(4) == b"ping"
        with contextlib.suppress(ConnectionResetError):
            assert near.recv(1) == b"", "the connection is over"
    assert not caplog.records
