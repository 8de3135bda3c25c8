"""One POST: no redirects, no proxy, a bound on the time and on what is read of the answer."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
import ssrfguard
from ssrfguard.httpx import AsyncClient

from detectors.notify.formats.base import Request
from detectors.notify.outbox import Outcome, Result
from dimwatch.app.sending.guard import refused
from dimwatch.clock import NS_PER_SECOND

MOST_READ: Final = 64 * 1024
"""Bytes of an answer; there is nothing in it that is needed."""
_SHOWN: Final = 300
_BUSY: Final = (408, 425, 429)
_GONE: Final = 410
_LONGEST_WISH_S: Final = 24 * 3600.0


def post(request: Request, policy: ssrfguard.Policy, context: ssl.SSLContext, timeout_s: float, now_ns: int) -> Result:
    """Send a request and wait for the answer, at most `timeout_s` in all. `now_ns` is for dates in the answer."""
    try:
        return asyncio.run(_post(request, policy, context, timeout_s, now_ns))
    except TimeoutError:
        return Result.said(f"no answer within {timeout_s:g} s")
    except ssrfguard.SSRFGuardError as error:
        return Result.said(refused(error))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, ValueError) as error:
        return Result.said(f"{type(error).__name__}: {error}")


async def _post(
    request: Request, policy: ssrfguard.Policy, context: ssl.SSLContext, timeout_s: float, now_ns: int
) -> Result:
    async with (
        asyncio.timeout(timeout_s),
        AsyncClient(policy=policy, verify=context, trust_env=False, timeout=timeout_s) as client,
        client.stream("POST", request.url, content=request.body, headers=dict(request.headers)) as response,
    ):
        if response.is_success:
            return Result(Outcome.DELIVERED, response.status_code)  # whatever else it has to say
        read = b""
        async for chunk in response.aiter_raw(4096):
            read += chunk
            if len(read) > MOST_READ:
                break
        return result(response.status_code, response.headers, read, now_ns)


def result(status: int, headers: httpx.Headers, body: bytes, now_ns: int) -> Result:
    """What an answer means."""
    if 200 <= status < 300:
        return Result(Outcome.DELIVERED, status)
    said = " ".join(body[:_SHOWN].decode(errors="replace").split())
    if 300 <= status < 400:
        return Result(Outcome.REFUSED, status, "redirects are not followed: give the address that it leads to")
    if status == _GONE:
        return Result(Outcome.GONE, status, said)
    if status in _BUSY or status >= 500:
        return Result(Outcome.FAILED, status, said, retry_after_s=_wish(headers.get("retry-after", ""), now_ns))
    return Result(Outcome.REFUSED, status, said)


def _wish(text: str, now_ns: int) -> float:
    """Seconds of a Retry-After header, 0 without one that can be read."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.fromtimestamp(now_ns / NS_PER_SECOND, UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WISH_S) if seconds == seconds else 0.0
