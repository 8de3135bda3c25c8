"""A receiver of pages, over real HTTP: it verifies, counts by idempotency key, and misbehaves on demand."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import orjson
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="


@dataclass(slots=True)
class Got:
    """A request."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def key(self) -> str:
        return self.headers.get("webhook-id", "")


class Receiver:
    """Listens on loopback while the `with` block runs."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler, Got, int], None] | None = None) -> None:
        """`answer` gives the answer; it is told the request and how many there were before it."""
        self.requests: list[Got] = []
        self.accepted: dict[str, Got] = {}
        """The first request of each idempotency key, as a receiver that honours it keeps them."""
        self.forged = 0
        self._lock = threading.Lock()
        self.answer = answer or (lambda handler, got, number: reply(handler, 200, b"ok"))
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got = Got(
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(int(self.headers.get("content-length", "0"))),
                )
                with receiver._lock:
                    number = len(receiver.requests)
                    receiver.requests.append(got)
                receiver.answer(self, got, number)

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Requests are not logged."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def accept(self, handler: BaseHTTPRequestHandler, got: Got, number: int) -> None:
        """Verify the signature, keep what is new by its key, and say that all is well."""
        genuine = self.keep(got)
        reply(handler, 200 if genuine else 401)

    def keep(self, got: Got) -> bool:
        """Keep a request that is genuine and has a new key; whether it is genuine."""
        try:
            Webhook(SECRET).verify(got.body, dict(got.headers))
        except WebhookVerificationError:
            self.forged += 1
            return False
        with self._lock:
            self.accepted.setdefault(got.key, got)
        return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed, or hung up on an answer that it did not want."""


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    """Answer a request."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
