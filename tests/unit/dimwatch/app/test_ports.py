"""Ports that are taken are named with their setting and their holder."""

from __future__ import annotations

import os
import socket

from benchmarks.ports import free_ports
from benchmarks.running import until
from dimwatch.app.ports import Port, holder_pid, ports_of, problem
from dimwatch.settings import Settings


def test_a_taken_port_names_setting_flag_and_holder() -> None:
    (number,) = free_ports(1)
    with socket.create_server(("127.0.0.1", number)):
        port = Port("store.http_port", "127.0.0.1", number, "--store-port")
        told = problem(port)
        assert told is not None
        for part in (f"port {number}", "store.http_port", f"process {os.getpid()}", "--store-port"):
            assert part in told
        assert holder_pid(number) == os.getpid()
    # The kernel may take a moment to let go of a listener.
    until(lambda: problem(port) is None, 60.0, "the port is not free")
    until(lambda: holder_pid(number) is None, 60.0, "the port has a holder")


def test_an_address_that_is_not_ours_is_told() -> None:
    assert "receiver.host" not in (problem(Port("x", "127.0.0.1", 0, "--x")) or "")
    assert problem(Port("receiver.grpc_port", "no.such.host.invalid", 1, "--grpc-port")) is not None
    assert problem(Port("receiver.grpc_port", "127.0.0.1", 70_000, "--grpc-port")) is not None


def test_every_port_of_the_settings_is_checked() -> None:
    assert {port.number for port in ports_of(Settings())} == {4317, 4318, 8123, 8501, 8502, 9464}
