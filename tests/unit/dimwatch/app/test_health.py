"""Asking whether a process is ready."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from pathlib import Path

from dimwatch.app import health
from tests.certificates import certificate


def test_a_server_that_does_not_end_its_tls_is_not_waited_for_and_leaves_nothing_open(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(cert, key)
    asked = threading.Event()

    def answer() -> None:
        taken, _ = listener.accept()
        with serving.wrap_socket(taken, server_side=True) as connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nOk.")
            asked.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            port = listener.getsockname()[1]
            trusted = ssl.create_default_context(cafile=str(cert))
            assert asyncio.run(health.get("127.0.0.1", port, "/ping", tls=trusted)) == b"Ok."
            gc.collect()  # where a connection that was left open would be told
        finally:
            asked.set()
            thread.join(20)
