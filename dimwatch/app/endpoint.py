"""The supervisor's own HTTP endpoint: `/metrics`, `/healthz`, `/readyz` and `/status`, on loopback."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import orjson
import structlog
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from dimwatch.errors import PermanentError

HOST: Final = "127.0.0.1"
Status = dict[str, object]


@contextmanager
def served(
    port: int,
    exposition: Callable[[], bytes],
    ready: Callable[[], dict[str, str]],
    status: Callable[[], Status],
) -> Iterator[None]:
    """Answer requests in threads of their own until the block ends.

    `ready` maps each process to its state; `/readyz` answers 200 when all are `ready`, else 503. Raises
    PermanentError when the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 5  # seconds for a request to arrive

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, exposition(), CONTENT_TYPE_PLAIN_0_0_4)
            elif path == "/healthz":
                self._answer(200, b"ok\n", "text/plain")
            elif path == "/readyz":
                states = ready()
                all_ready = all(state == "ready" for state in states.values())
                self._answer(200 if all_ready else 503, orjson.dumps(states), "application/json")
            elif path == "/status":
                self._answer(200, orjson.dumps(status()), "application/json")
            else:
                self._answer(404, b"/metrics, /healthz, /readyz or /status\n", "text/plain")

        def _answer(self, code: int, body: bytes, content_type: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not logged."""

    try:
        server = _Server((HOST, port), Handler)
    except OSError as error:
        raise PermanentError(
            f"can not listen on port {port} (telemetry.metrics_port): {error.strerror}; "
            "choose another with --metrics-port"
        ) from error
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; anything else is."""
        if not isinstance(sys.exception(), OSError):
            structlog.get_logger().exception("the metrics endpoint failed")
