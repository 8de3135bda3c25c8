"""What a role that runs by itself says of its health."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from benchmarks.ports import free_ports
from benchmarks.running import until
from dimwatch import telemetry
from dimwatch.app import standalone
from dimwatch.app.standalone import Health, Need, keep_running, needs, serving
from dimwatch.app.stopping import Stop
from dimwatch.errors import PermanentError, RetryableError, TakenOverError
from dimwatch.settings import Settings


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    return free_ports(1)[0]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def settings(folder: Path, port: int, **telemetry: object) -> Settings:
    return Settings.model_validate({"data": folder, "telemetry": {"health_port": port, **telemetry}})


def get(port: int, path: str, token: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=30)


def test_a_loop_is_ready_from_its_first_turn_until_it_drains(stack: ExitStack, tmp_path: Path, port: int) -> None:
    health = stack.enter_context(serving(settings(tmp_path, port), "worker"))
    assert (get(port, "/readyz").status_code, get(port, "/readyz").json()) == (503, {"work": "starting"})
    health.beat(waiting="no partitions yet")
    assert (get(port, "/readyz").status_code, get(port, "/readyz").json()) == (503, {"work": "no partitions yet"})
    health.beat()
    assert (get(port, "/readyz").status_code, get(port, "/readyz").json()) == (200, {"work": "ready"})
    health.drain()
    assert (get(port, "/readyz").status_code, get(port, "/readyz").json()) == (503, {"work": "draining"})
    assert get(port, "/healthz").status_code == 200, "one that drains must not be killed"


def test_a_stuck_loop_is_told_first_and_then_to_be_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health("fleet")
    health.beat()
    now = time.monotonic()
    monkeypatch.setattr("dimwatch.app.standalone.time.monotonic", lambda: now + 60.0)
    assert health.states()["work"].startswith("stuck: no sign of life for 6")
    assert health.alive()
    monkeypatch.setattr("dimwatch.app.standalone.time.monotonic", lambda: now + 180.0)
    assert not health.alive()


def test_what_is_missing_is_named_with_its_place(stack: ExitStack, tmp_path: Path, port: int) -> None:
    (nobody,) = free_ports(1)
    own = settings(tmp_path, port)
    own.store.http_port = nobody
    stack.enter_context(serving(own, "dashboard"))
    answer = get(port, "/readyz")
    assert answer.status_code == 503
    assert answer.json()["store"] == f"unreachable: no ClickHouse interface answers at 127.0.0.1:{nobody}"
    assert answer.json()["work"] == "ready"


def test_brokers_that_are_away_are_told_and_one_that_answers_is_enough(port: int) -> None:
    away = Settings.model_validate(
        {"eventlog": {"backend": "kafka", "kafka": {"bootstrap_servers": f"127.0.0.1:1,127.0.0.1:{port}"}}}
    )
    health = Health("worker", needs(away, "worker"))
    assert health.states()["eventlog"] == f"unreachable: no Kafka broker answers at 127.0.0.1:1, 127.0.0.1:{port}"
    with socket.create_server(("127.0.0.1", port)):
        assert Health("worker", needs(away, "worker")).states()["eventlog"] == "ready"


def test_however_many_ask_a_need_is_looked_at_once_a_second() -> None:
    looks = []

    async def look() -> bool:
        looks.append(1)
        return False

    health = Health("api", {"store": Need(look, "unreachable")})
    began = time.monotonic()
    assert [health.states()["store"] for _ in range(50)] == ["unreachable"] * 50
    assert 1 <= len(looks) <= 1 + time.monotonic() - began


def test_it_tells_its_own_metrics_and_status(stack: ExitStack, tmp_path: Path, port: int) -> None:
    stack.enter_context(serving(settings(tmp_path, port), "worker"))
    telemetry.PROCESSED_SPANS.inc()
    assert "dimwatch_processed_spans_total" in get(port, "/metrics").text
    assert get(port, "/status").json()["role"] == "worker"
    assert get(port, "/elsewhere").status_code == 404


def test_with_a_token_strangers_learn_no_more_than_probes_need(stack: ExitStack, tmp_path: Path, port: int) -> None:
    stack.enter_context(serving(settings(tmp_path, port, token="hush"), "worker"))
    assert get(port, "/metrics").status_code == get(port, "/status").status_code == 401
    assert get(port, "/metrics", "wrong").status_code == 401
    assert get(port, "/metrics", "hush").status_code == 200
    assert json.loads(get(port, "/readyz").text) == {"ready": False}
    assert get(port, "/readyz", "hush").json() == {"work": "starting"}
    assert get(port, "/healthz").status_code == 200


def test_open_to_a_network_it_needs_a_token(stack: ExitStack, tmp_path: Path, port: int) -> None:
    with pytest.raises(PermanentError, match="DIMWATCH_TELEMETRY__TOKEN"):
        stack.enter_context(serving(settings(tmp_path, port, health_host="0.0.0.0"), "worker"))
    open_ = settings(tmp_path, port, health_host="0.0.0.0", token=SecretStr("hush"))
    stack.enter_context(serving(open_, "worker"))
    assert get(port, "/healthz").status_code == 200


def test_a_port_that_is_taken_is_an_error_with_the_remedy(stack: ExitStack, tmp_path: Path, port: int) -> None:
    stack.enter_context(socket.create_server(("127.0.0.1", port)))
    with pytest.raises(PermanentError, match=f"can not listen on 127.0.0.1:{port}.*--health-port"):
        stack.enter_context(serving(settings(tmp_path, port), "worker"))


def test_port_0_is_for_a_supervisor_which_reads_the_heartbeat(stack: ExitStack, tmp_path: Path) -> None:
    health = stack.enter_context(serving(settings(tmp_path, 0), "worker"))
    health.beat()
    assert (tmp_path / "run" / "worker.heartbeat").exists()


def test_a_role_begins_anew_when_what_it_needs_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standalone, "_WAIT_S", 0.01)
    health = Health("worker")
    errors: list[Exception] = [RetryableError("no broker answers"), TakenOverError("another one was faster")]
    waited = []

    def work() -> None:
        waited.append(health.states()["work"])
        if errors:
            raise errors.pop(0)

    keep_running(work, health)
    assert waited == ["starting", "waits: no broker answers", "waits: another one was faster"]


def test_a_role_that_can_not_finish_when_it_is_asked_to_end_does_not_begin_anew() -> None:
    health = Health("worker")

    def work() -> None:
        health.drain()
        raise RetryableError("no broker answers")

    with pytest.raises(RetryableError, match="no broker answers"):
        keep_running(work, health)


def test_what_no_time_can_mend_ends_it() -> None:
    def work() -> None:
        raise PermanentError("a wrong password")

    with pytest.raises(PermanentError, match="a wrong password"):
        keep_running(work, Health("worker"))


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers as they were, afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_asked_to_stop_it_waits_no_longer() -> None:
    health = Health("worker")

    def send() -> None:
        until(lambda: health.states()["work"].startswith("waits"), 60.0, "it does not wait")
        os.kill(os.getpid(), signal.SIGTERM)

    def work() -> None:
        sender.start()
        raise RetryableError("no broker answers")

    sender = threading.Thread(target=send)
    keep_running(work, health)
    sender.join()


@pytest.mark.usefixtures("handlers")
def test_asked_to_stop_while_it_waits_for_an_answer_that_does_not_come_it_does_not_begin_anew() -> None:
    errors = [RetryableError("no broker answers")]

    def work() -> None:
        Stop.by_signals()
        if errors:
            os.kill(os.getpid(), signal.SIGTERM)
            raise errors.pop()

    with pytest.raises(RetryableError, match="no broker answers"):
        keep_running(work, Health("worker"))
