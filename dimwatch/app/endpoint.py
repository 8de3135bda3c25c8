"""What a process says of itself over HTTP: `/metrics`, `/healthz`, `/readyz` and `/status`."""

from __future__ import annotations

import hmac
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import orjson
import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from dimwatch.errors import PermanentError

HOST: Final = "127.0.0.1"
Status = dict[str, object]


@dataclass(frozen=True, slots=True)
class Door:
    """Where to listen; `remedy` is what to do when that is not possible.

    With a `token`, metrics and status are only for those who present it as a bearer token, and `/readyz` gives others
    its verdict without the reasons: what probes need.
    """

    port: int
    remedy: str
    host: str = HOST
    token: str = ""


@contextmanager
def served(
    door: Door,
    exposition: Callable[[], bytes],
    ready: Callable[[], dict[str, str]],
    status: Callable[[], Status],
    alive: Callable[[], bool] = lambda: True,
) -> Iterator[None]:
    """Answer requests in threads of their own until the block ends.

    `ready` maps each process, or each part of one, to its state; `/readyz` answers 200 when all are `ready`, else 503.
    `/healthz` answers 503 when a restart is the only help. Raises PermanentError when the port is taken.
    """
    expected = f"Bearer {door.token}".encode()

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds for a request to arrive

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            known = not door.token or hmac.compare_digest(
                self.headers.get("Authorization", "").encode(errors="replace"), expected
            )
            if path == "/healthz":
                living = alive()
                self._answer(200 if living else 503, b"ok\n" if living else b"stuck\n", "text/plain")
            elif path == "/readyz":
                states = ready()
                all_ready = all(state == "ready" for state in states.values())
                told = states if known else {"ready": all_ready}
                self._answer(200 if all_ready else 503, orjson.dumps(told), "application/json")
            elif path not in ("/metrics", "/status"):
                self._answer(404, b"/metrics, /healthz, /readyz or /status\n", "text/plain")
            elif not known:
                self._answer(401, b"present telemetry.token as a bearer token\n", "text/plain")
            elif path == "/metrics":
                self._answer(200, exposition(), CONTENT_TYPE_PLAIN_0_0_4)
            else:
                self._answer(200, orjson.dumps(status()), "application/json")

        def _answer(self, code: int, body: bytes, content_type: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not logged."""

    try:
        server = _Server((door.host, door.port), Handler)
    except OSError as error:
        raise PermanentError(f"can not listen on {door.host}:{door.port}: {error.strerror}; {door.remedy}") from error
    thread = threading.Thread(target=server.serve_forever, name="endpoint", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exception(), OSError):
            structlog.get_logger().exception("the metrics endpoint failed")
