"""`dimwatch simulate`: files, truth, and errors that name the remedy."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch.cli.simulate import simulate

PAST = ("--since", "2026-01-01T10:00:00", "--duration", "60s")


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(simulate, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_files_and_truth_are_the_same_every_time(tmp_path: Path) -> None:
    contents = []
    for name in ("first", "second"):
        truth = tmp_path / f"{name}.jsonl"
        _run(*PAST, "--out", str(tmp_path / name), "--labels", str(truth))
        files = sorted((tmp_path / name).iterdir())
        contents.append(([(file.name, file.read_bytes()) for file in files], truth.read_bytes()))
    assert contents[0] == contents[1]
    traces = set()
    for name, body in contents[0][0]:
        if name.endswith(".logs.pb"):
            assert ExportLogsServiceRequest.FromString(body).resource_logs
        else:
            request = ExportTraceServiceRequest.FromString(body)
            traces |= {s.trace_id.hex() for r in request.resource_spans for c in r.scope_spans for s in c.spans}
    labels = [orjson.loads(line) for line in contents[0][1].splitlines()]
    assert {label["trace_id"] for label in labels} == traces


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("--fault", "tool_eror=0.1"), "there are tool_error"),
        (("--duration", "soon"), "write for example 90s"),
        (("--out", "somewhere"), "needs --duration"),
        (("--brownout", "openai"), "write for example openai@2m+5m"),
        (("--empty-tool", "nothing@2m"), "there are "),
        (("--endpoint", "127.0.0.1:4318", "--duration", "60s", "--since", "1h"), "not an HTTP address"),
    ],
)
def test_wrong_options_name_the_remedy(arguments: tuple[str, ...], remedy: str) -> None:
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 1
    assert remedy in result.output


def test_help_has_examples() -> None:
    output = _run("--help")
    assert "dimwatch simulate --since 6h" in output
    assert "silent_tool_failure" in output
