"""Who waits does not keep others out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from starlette.types import Receive, Scope, Send

from benchmarks.running import until
from dimwatch.app import impatient
from dimwatch.http_server import Server

PLACES = 4
LARGE = 32 << 20
"""More than the system's buffers hold."""


class Site:
    """A server with few places. `/slow` is answered when `go_on` is set, `/large` with `LARGE` bytes.

    A request's body is read first.
    """

    def __init__(self, unread_s: float = 60.0) -> None:
        self.go_on = threading.Event()
        self.asked = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        config = impatient.config(
            self, headers_s=60.0, max_headers=4096, most_at_a_time=PLACES, grace_s=1.0, unread_s=unread_s
        )
        self._server = Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))
        self._thread.start()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.release()
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/slow":
            await asyncio.to_thread(self.go_on.wait, 120)
        body = bytes(LARGE) if scope["path"] == "/large" else b"ok"
        length = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": body})

    @property
    def connections(self) -> int:
        """Those that have a place."""
        return len(self._server.server_state.connections)

    @property
    def in_flight(self) -> int:
        """Requests that are not over, those of connections that were just given up included."""
        return len(self._server.server_state.tasks)

    def close(self) -> None:
        self.go_on.set()
        self._server.should_exit = True
        self._thread.join(60)
        self._listener.close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


def status(site: Site, path: str = "/") -> int:
    """Of a request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().status


@pytest.mark.parametrize(
    "said",
    [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"],
    ids=["nothing", "half of the headers", "no body"],
)
def test_connections_that_wait_for_their_clients_give_way(site: Site, said: bytes) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(3 * PLACES):
            one = held.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
            one.sendall(said)
        assert [status(site) for _ in range(PLACES)] == [200] * PLACES


def test_a_request_in_flight_keeps_its_place(site: Site) -> None:
    with contextlib.ExitStack() as held:
        slow = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        held.callback(slow.close)
        slow.request("GET", "/slow")
        assert site.asked.acquire(timeout=60)
        for _ in range(3 * PLACES):
            held.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
        assert status(site) == 200
        site.go_on.set()
        assert slow.getresponse().status == 200


def test_an_answer_that_is_read_slowly_comes_whole(site: Site) -> None:
    with contextlib.ExitStack() as held:
        slow = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        held.callback(slow.close)
        slow.request("GET", "/large")
        answer = slow.getresponse()
        for _ in range(3 * PLACES):
            held.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
        assert status(site) == 200
        assert len(answer.read()) == LARGE


def test_answers_are_not_held_back_until_the_client_confirms_their_headers(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    took_s: list[float] = []
    with contextlib.closing(connection):
        while len(took_s) < 20 or (min(took_s[10:]) >= 0.03 and len(took_s) < 200):  # more on a busy machine
            began_s = time.perf_counter()
            connection.request("GET", "/")
            connection.getresponse().read()
            took_s.append(time.perf_counter() - began_s)
    assert min(took_s[10:]) < 0.03, "each takes 40 ms where they are held back"


def test_who_never_reads_an_answer_loses_the_place() -> None:
    with contextlib.ExitStack() as held:
        site = Site(unread_s=0.3)
        held.callback(site.close)
        for _ in range(PLACES - 1):
            deaf = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
            held.callback(deaf.close)
            deaf.request("GET", "/large")
            assert site.asked.acquire(timeout=60)
        until(lambda: not site.connections, 60.0, "who takes nothing keeps the place")
        assert status(site) == 200


def test_who_never_reads_an_answer_is_cut_off_at_the_end() -> None:
    with contextlib.ExitStack() as held:
        site = Site()
        deaf = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        held.callback(deaf.close)
        deaf.request("GET", "/large")
        assert site.asked.acquire(timeout=60)
        site.close()
        assert not site.connections
        gc.collect()  # where a connection that was left open would be told


def test_the_address_that_holds_most_gives_way_first(site: Site) -> None:
    with contextlib.ExitStack() as held:
        other = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60, source_address=("127.0.0.2", 0))
        held.callback(other.close)
        other.request("GET", "/")
        assert other.getresponse().read() == b"ok"
        assert site.asked.acquire(timeout=60)
        kept = other.sock
        for _ in range(3 * PLACES):
            one = held.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
            one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            assert site.asked.acquire(timeout=60)
        until(lambda: site.in_flight < PLACES, 60.0, "what was given up goes on")
        other.request("GET", "/")
        assert (other.getresponse().read(), other.sock) == (b"ok", kept)


def test_when_all_places_work_others_are_told_to_come_later(site: Site) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(PLACES):
            one = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
            held.callback(one.close)
            one.request("GET", "/slow")
        for _ in range(PLACES - 1):
            assert site.asked.acquire(timeout=60)
        assert status(site) == 503
