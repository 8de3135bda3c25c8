"""Logs of Dimwatch."""

from __future__ import annotations

import os
import subprocess
import sys

import orjson

_LOG = """
import sys, structlog
from dimwatch.telemetry import configure_logging
configure_logging("info", "auto", "worker")
log = structlog.get_logger()
sys.stdin.read()
for number in range(1000):
    log.info("turn", number=number)
log.debug("unwanted")
print("went on", flush=True)
"""


def test_logs_are_json_lines_where_no_person_looks() -> None:
    done = subprocess.run([sys.executable, "-c", _LOG], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    lines = [orjson.loads(line) for line in done.stderr.splitlines()]
    assert [line["number"] for line in lines] == list(range(1000))
    assert {(line["event"], line["level"], line["role"]) for line in lines} == {("turn", "info", "worker")}


def test_a_process_outlives_the_reader_of_its_logs() -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-c", _LOG]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writing)
    os.close(writing)
    os.close(reading)
    told, _ = process.communicate(timeout=120)
    assert told == b"went on\n"
