"""What a request may cost before anybody looks at it."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Scope

from dimwatch.app.api.bounds import Bounds

SCOPE: Scope = {
    **{"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"", "headers": []},
    **{"http_version": "1.1", "scheme": "http", "server": ("x", 1), "client": None, "root_path": "", "asgi": {}},
}


async def _echo(request: Request) -> Response:
    return Response(await request.body())


def ask(*parts: bytes, then: str = "end") -> tuple[int, bytes]:
    """The answer to a body that comes in these parts; `then`: whether it ends. Status 0: no answer."""
    waiting: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if then == "end":
        waiting[-1]["more_body"] = False
    elif then == "leave":
        waiting.append({"type": "http.disconnect"})
    sent: list[Message] = []

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        sent.append(message)

    app = Starlette(routes=[Route("/", _echo, methods=["POST"])])
    asyncio.run(Bounds(app, max_body=10, body_s=0.05)(dict(SCOPE), receive, send))
    return sent[0]["status"] if sent else 0, b"".join(message.get("body", b"") for message in sent)


def test_a_body_within_the_bounds_arrives_whole() -> None:
    assert ask(b"12345", b"67890") == (200, b"1234567890")


def test_more_bytes_are_refused_without_reading_on() -> None:
    status, body = ask(b"12345", b"678901", then="never")
    assert status == 413
    assert b"at most 10 bytes" in body


def test_a_request_that_does_not_get_on_is_cut_off() -> None:
    status, body = ask(b"1", then="never")
    assert status == 408
    assert b"not complete after 0.05 s" in body


def test_half_a_request_of_somebody_who_left_is_no_request() -> None:
    assert ask(b"12345", then="leave") == (0, b"")
