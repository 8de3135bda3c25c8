"""What a request may cost before anybody looks at it: bytes, and the time until they are here."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dimwatch.app.api.problems import answer

MAX_BODY: Final = 64 * 1024
BODY_S: Final = 10.0


class Bounds:
    """Reads the body of a request before the application sees it."""

    def __init__(self, app: ASGIApp, *, max_body: int = MAX_BODY, body_s: float = BODY_S) -> None:
        self._app = app
        self._max_body = max_body
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._body_s):
                body = await self._read(receive)
        except TimeoutError:
            refusal = answer(HTTPStatus.REQUEST_TIMEOUT, f"the request was not complete after {self._body_s:g} s")
            await refusal(scope, receive, send)
            return
        except ClientDisconnect:
            return  # half of what somebody says is no order
        if body is None:
            refusal = answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body has at most {self._max_body} bytes")
            await refusal(scope, receive, send)
            return
        told = False

        async def replay() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The whole body, None where it is too large. Raises ClientDisconnect where it does not come."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body:
                return None
            more = message.get("more_body", False)
        return b"".join(parts)
