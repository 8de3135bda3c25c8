"""Recorded OTLP: which files are understood, in which order, and what happens to the rest."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dimwatch.errors import InvalidError
from ingest.otlp.admission import Limits
from ingest.otlp.files import Index, Recordings
from ingest.otlp.signals import LOGS, METRICS, TRACES
from ingest.redaction import Redactor

SECOND = 1_000_000_000
START = 1_795_000_000 * SECOND
LIMITS = Limits(max_items=100, max_attributes=16, max_value=1_024)


def request(second: int, text: str = "x") -> ExportTraceServiceRequest:
    built = ExportTraceServiceRequest()
    span = built.resource_spans.add().scope_spans.add().spans.add(trace_id=os.urandom(16), span_id=os.urandom(8))
    span.name = text
    span.start_time_unix_nano = START + second * SECOND
    span.end_time_unix_nano = START + (second + 1) * SECOND
    return built


def as_json(second: int) -> str:
    span = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": f"json {second}"}
    span |= {"startTimeUnixNano": str(START + second * SECOND), "endTimeUnixNano": str(START + second * SECOND)}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})


def index(*paths: Path) -> Index:
    with Recordings(LIMITS, 1 << 20) as recordings:
        return recordings.index(paths)


def names(*paths: Path) -> list[str]:
    """Names of all spans, read back in the order of the index."""
    with Recordings(LIMITS, 1 << 20, Redactor()) as recordings:
        pieces = [p for entry in recordings.index(paths).entries for p in recordings.read(entry).pieces]
    parsed = [ExportTraceServiceRequest.FromString(piece.body) for piece in pieces]
    return [span.name for r in parsed for x in r.resource_spans for y in x.scope_spans for span in y.spans]


def test_every_form_is_read_in_order_of_event_time(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "z.pb").write_bytes(request(1, "plain").SerializeToString())
    (tmp_path / "deep" / "y.2.pb.gz").write_bytes(gzip.compress(request(2, "gzip").SerializeToString()))
    framed = request(3, "framed").SerializeToString()
    (tmp_path / "deep" / "er" / "x.grpc.pb").write_bytes(b"\0" + len(framed).to_bytes(4, "big") + framed)
    (tmp_path / "w.grpc.pb").write_bytes(request(4, "message").SerializeToString())
    (tmp_path / "v.otlpjson").write_text(as_json(5))
    (tmp_path / "u.json").write_text(json.dumps(json.loads(as_json(6)), indent=2))
    (tmp_path / "t.jsonl").write_text("\n".join([as_json(12), "", as_json(8), as_json(10)]))
    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress("\n".join([as_json(11), as_json(7), as_json(9)]).encode()))
    assert names(tmp_path) == ["plain", "gzip", "framed", "message", *(f"json {n}" for n in range(5, 13))]


def test_entries_tell_path_signal_and_times(tmp_path: Path) -> None:
    path = tmp_path / "a.pb"
    path.write_bytes(request(3).SerializeToString())
    [entry] = index(path).entries
    assert (entry.path, entry.signal) == (path, TRACES)
    assert (entry.first_ns, entry.last_ns) == (START + 3 * SECOND, START + 4 * SECOND)


def test_signals_are_told_by_name_or_by_content(tmp_path: Path) -> None:
    for name in ("logs.pb", "x.logs.pb", "x.logs.2.pb.gz", "x.metrics.pb", "x.pb"):
        (tmp_path / name).write_bytes(gzip.compress(b"") if name.endswith("gz") else b"")
    (tmp_path / "l.json").write_text('{"resourceLogs": []}')
    (tmp_path / "m.jsonl").write_text('{"resourceMetrics": []}')
    signals = {entry.path.name: entry.signal for entry in index(tmp_path).entries}
    assert signals == {
        "logs.pb": LOGS,
        "x.logs.pb": LOGS,
        "x.logs.2.pb.gz": LOGS,
        "x.metrics.pb": METRICS,
        "x.pb": TRACES,
        "l.json": LOGS,
        "m.jsonl": METRICS,
    }


def test_json_that_is_not_otlp_is_passed_over_quietly(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text('{"framework": "x"}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "events.jsonl").write_text('{"event": 1}\n{"event": 2}\n')
    (tmp_path / "notes.txt").write_text("not looked at")
    found = index(tmp_path)
    assert [path.name for path in found.skipped] == ["events.jsonl", "list.json", "meta.json"]
    assert (found.entries, found.problems) == ([], [])


def test_a_rendering_beside_its_original_is_read_only_when_named(tmp_path: Path) -> None:
    (tmp_path / "a.pb").write_bytes(request(1, "original").SerializeToString())
    (tmp_path / "a.json").write_text(as_json(2))
    (tmp_path / "b.otlpjson").write_text(as_json(3))
    (tmp_path / "b.otlpjson.decoded.json").write_text(as_json(4))
    assert names(tmp_path) == ["original", "json 3"]
    assert [path.name for path in index(tmp_path).skipped] == ["a.json", "b.otlpjson.decoded.json"]
    assert names(tmp_path / "a.json") == ["json 2"]


def test_unreadable_files_are_reported_and_passed_over(tmp_path: Path) -> None:
    (tmp_path / "bad.pb").write_bytes(b"\xff" * 30)
    (tmp_path / "cut.pb.gz").write_bytes(gzip.compress(request(1).SerializeToString())[:-5])
    (tmp_path / "worse.json").write_text("{")
    (tmp_path / "huge.pb").write_bytes(bytes(2 << 20))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(as_json(2).encode() * 50)[:-20])
    (tmp_path / "good.jsonl").write_text("\n".join([as_json(1), "{broken", as_json(2)]))
    found = index(tmp_path, tmp_path / "missing.pb")
    assert [entry.line for entry in found.entries] == [1, 3]
    problems = {problem.path.name: str(problem) for problem in found.problems}
    assert set(problems) == {"bad.pb", "cut.pb.gz", "worse.json", "huge.pb", "cut.jsonl.gz", "good.jsonl", "missing.pb"}
    assert "malformed protobuf" in problems["bad.pb"]
    assert "truncated" in problems["cut.pb.gz"]
    assert "receiver.max_decompressed" in problems["huge.pb"]
    assert problems["good.jsonl"].startswith(f"{tmp_path / 'good.jsonl'}:2: malformed JSON")
    assert "No such file" in problems["missing.pb"]


def test_recordings_are_checked_and_masked_like_live_requests(tmp_path: Path) -> None:
    broken = request(1, "mail bob@example.com")
    broken.resource_spans[0].scope_spans[0].spans.add(trace_id=b"short")
    (tmp_path / "a.pb").write_bytes(broken.SerializeToString())
    with Recordings(LIMITS, 1 << 20, Redactor()) as recordings:
        [entry] = recordings.index([tmp_path]).entries
        admitted = recordings.read(entry)
        assert admitted.dropped == {("spans", "invalid_trace_id"): 1}
        assert b"bob@example.com" not in admitted.pieces[0].body
        (tmp_path / "a.pb").unlink()
        with pytest.raises(InvalidError, match="any more"):
            recordings.read(entry)


def test_times_of_lines_are_those_of_the_spans_that_are_let_in(tmp_path: Path) -> None:
    good, bad = json.loads(as_json(50)), json.loads(as_json(10))
    bad["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] = "0" * 32
    mixed = {"resourceSpans": bad["resourceSpans"] + good["resourceSpans"]}
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, (good, mixed, bad))))
    entries = index(tmp_path / "a.jsonl").entries
    assert [(entry.line, entry.last_ns) for entry in entries] == [
        (3, 0),
        (1, START + 50 * SECOND),
        (2, START + 50 * SECOND),
    ]
    assert entries[1].first_ns == entries[2].first_ns


def test_what_is_dated_far_after_all_others_is_refused_as_live(tmp_path: Path) -> None:
    day = 24 * 3600
    ahead = json.loads(as_json(500))
    spans = ahead["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans.append(spans[0] | {"name": "mixed", "startTimeUnixNano": str(START), "endTimeUnixNano": str(START + SECOND)})
    spans[0] = spans[0] | {"startTimeUnixNano": str(START + 9 * day * SECOND)}
    spans[0]["endTimeUnixNano"] = spans[0]["startTimeUnixNano"]
    usual = [as_json(second) for second in range(2_000)]
    mixed, alone = tmp_path / "mixed.jsonl", tmp_path / "alone.jsonl"
    mixed.write_text("\n".join([json.dumps(ahead), *usual]))
    alone.write_text("\n".join([as_json(9 * day), *usual]))
    for path, refused in ((mixed, "json 500"), (alone, f"json {9 * day}")):
        assert index(path).entries[-1].last_ns == START + 1_999 * SECOND
        found = names(path)
        assert found[-1] == "json 1999"
        assert found.count(refused) == (refused == "json 500"), "but the one of that name in its time"
    assert "mixed" in names(mixed)

    later = tmp_path / "later.jsonl"
    later.write_text("\n".join([*(as_json(9 * day + second) for second in range(3)), *usual]))
    assert names(later)[-1] == f"json {9 * day + 2}", "three are another recording"
