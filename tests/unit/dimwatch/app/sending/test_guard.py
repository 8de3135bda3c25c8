"""Where the notifier must not go: private addresses in every spelling, redirects to them, names that change."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import httpx
import pytest

from detectors.notify.formats.base import Request
from detectors.notify.outbox import Outcome, Result
from dimwatch.app.sending import http
from dimwatch.app.sending.guard import connect, policy_of, tls
from dimwatch.errors import PermanentError
from tests.webhook_receiver import Receiver, reply

CONTEXT = tls()


def post(url: str, allow: tuple[str, ...] = (), timeout_s: float = 30.0) -> Result:
    return http.post(Request(url, b"{}", {}), policy_of(allow), CONTEXT, timeout_s, 0)


PRIVATE = (
    "http://127.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://①②⑦.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST.:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fe80::1]/",
    "http://100.64.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "http:///",
    "nonsense",
)


@pytest.mark.parametrize("url", PRIVATE)
def test_private_addresses_are_not_called_however_they_are_written(url: str) -> None:
    with Receiver() as receiver:
        result = post(url.format(port=receiver.port))
        assert result.outcome is Outcome.FAILED
        assert result.error
        assert not receiver.requests


def test_an_allowed_network_is_called_and_only_that() -> None:
    with Receiver() as receiver:
        assert post(receiver.url, ("127.0.0.0/8",)).outcome is Outcome.DELIVERED
        assert post(receiver.url, ("10.0.0.0/8",)).outcome is Outcome.FAILED
    assert len(receiver.requests) == 1


def test_the_refusal_names_the_remedy() -> None:
    assert "notify.allow_private" in post("http://10.0.0.1/").error


def test_an_allowance_that_hides_another_is_refused() -> None:
    with pytest.raises(PermanentError, match=r"notify\.allow_private"):
        policy_of(["64:ff9b::/96"])


def test_a_redirect_leads_nowhere() -> None:
    with Receiver() as inside:
        with Receiver(lambda handler, got, number: reply(handler, 302, Location=inside.url)) as outside:
            result = post(outside.url, ("127.0.0.1",))
        assert (result.outcome, result.status) == (Outcome.REFUSED, 302)
        assert not inside.requests


def test_a_name_that_changes_between_two_looks_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a public address for whoever checks, loopback for whoever connects."""
    asked: list[str] = []

    def rebinding(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = "198.51.100.7" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with Receiver() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", rebinding)
        for _ in range(3):
            assert post(f"http://rebind.example:{receiver.port}/", timeout_s=0.3).outcome is Outcome.FAILED
        with pytest.raises(Exception, match=r"127\.0\.0\.1"):
            connect("rebind.example", receiver.port, policy_of([]), 0.3)
        monkeypatch.undo()
        assert not receiver.requests
    assert len(asked) == 4, "once for each attempt"


def test_a_name_with_a_public_and_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("198.51.100.7", "127.0.0.1")]

    with Receiver() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", both)
        assert post(f"http://both.example:{receiver.port}/").outcome is Outcome.FAILED
        monkeypatch.undo()
        assert not receiver.requests


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert post("http://10.0.0.1/").outcome is Outcome.FAILED
        assert not proxy.requests


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, Outcome.DELIVERED) for status in (200, 202, 204)),
        *((status, Outcome.REFUSED) for status in (301, 400, 401, 404, 422)),
        *((status, Outcome.FAILED) for status in (408, 425, 429, 500, 502, 503)),
        (410, Outcome.GONE),
    ],
)
def test_what_an_answer_means(status: int, outcome: Outcome) -> None:
    assert http.result(status, httpx.Headers(), b"", 0).outcome is outcome


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), ("-1", 0.0), ("nan", 0.0), ("1e99", 86400.0), ("Thu, 01 Jan 1970 00:01:00 GMT", 60.0), ("?", 0.0)],
)
def test_retry_after_in_every_form_and_bounded(text: str, seconds: float) -> None:
    assert http.result(503, httpx.Headers({"retry-after": text}), b"", 0).retry_after_s == seconds


CONFINED = """
import socket, subprocess, sys, urllib.request
from dimwatch.app.sending.guard import confine, policy_of
confine(policy_of([]))
def refused(call):
    try:
        call()
    except PermissionError as error:
        return True
    except OSError as error:
        return isinstance(getattr(error, "reason", None), PermissionError)
    return False
port = int(sys.argv[1])
assert refused(lambda: socket.create_connection(("127.0.0.1", port)))
assert refused(lambda: socket.create_connection(("localhost", port)))
assert refused(lambda: urllib.request.urlopen(f"http://localhost:{port}/"))
assert refused(lambda: socket.socket().connect_ex(("127.0.0.1", port)))
assert refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)))
assert refused(lambda: socket.socket(socket.AF_UNIX).connect("/run/anything.sock"))
assert refused(lambda: subprocess.run(["true"]))
print("held")
"""


def test_a_confined_process_connects_to_nothing_private_and_starts_nothing() -> None:
    with Receiver() as receiver:
        done = subprocess.run(
            [sys.executable, "-P", "-c", CONFINED, str(receiver.port)], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "held", done.stderr
        assert not receiver.requests
