"""`dimwatch dlq` as a person uses it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from dimwatch import records
from dimwatch.cli import main
from dimwatch.eventlog import open_eventlog
from dimwatch.eventlog.base import NewRecord, Record, TopicPartition
from dimwatch.eventlog.letters import dead_letter
from dimwatch.settings import Settings

DAY_NS = 86_400_000_000_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    row = {"id": "i", "time": 0, "tenant": "", "stage": "s", "signal": "x", "reason": "r", "count": 1, "version": 1}
    table = records.encode(records.table_from_rows(records.DROP, [row]))
    log = open_eventlog(Settings(data=tmp_path))
    log.append(
        {
            records.DEAD_LETTERS: [
                dead_letter(Record("otlp_spans", 0, 41, 1, b"\n\x02hello\x00"), "worker", "truncated message", DAY_NS),
                dead_letter(Record("drops", 0, 3, 1, table), "sink", "refused_by_store: code 349", 2 * DAY_NS),
                NewRecord(b"old", 3 * DAY_NS, headers={"reason": "truncated"}),
            ]
        }
    )
    log.close()
    return tmp_path


def dlq(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["dlq", *words, "--data", str(data)])


def stored(data: Path, topic: str) -> int:
    log = open_eventlog(Settings(data=data))
    found = log.reader([TopicPartition(topic)]).poll(max_records=100, max_bytes=1 << 20, timeout_s=0)
    log.close()
    return len(found)


def test_list_counts_by_reason_and_filters(data: Path) -> None:
    lines = dlq(data, "list").output.splitlines()
    assert lines[0].split() == ["reason", "stage", "topic", "letters", "replayed", "size", "first", "last", "newest"]
    assert sorted(line.split()[0] for line in lines[1:]) == ["refused_by_store", "truncated", "truncated"]
    (only,) = dlq(data, "list", "--json", "--stage", "sink").output.splitlines()
    found = orjson.loads(only)
    assert (found["reason"], found["topic"], found["letters"]) == ("refused_by_store", "drops", 1)
    assert found["first"] == "1970-01-03T00:00:00.000000000Z"
    assert "No dead letters" in dlq(data, "list", "--since", "1971-01-01").output
    before = dlq(data, "list", "--until", "1970-01-02T12:00").output
    assert "truncated message" in before
    assert "refused" not in before


def test_show_tells_what_is_in_a_letter(data: Path) -> None:
    shown = dlq(data, "show", "0", "1").output
    assert "from     otlp_spans partition 0 offset 41" in shown
    assert "·hello·" in shown
    assert '"reason":"r"' in shown
    assert dlq(data, "show", "0", "--raw").stdout_bytes == b"\n\x02hello\x00"
    gone = dlq(data, "show", "99")
    assert gone.exit_code == 1
    assert "there is no dead letter 99" in gone.output


def test_replay_puts_back_once_and_says_of_which_it_can_not(data: Path) -> None:
    assert dlq(data, "replay").exit_code == 2
    assert "1 would be put back" in dlq(data, "replay", "--stage", "sink", "--dry-run").output
    assert stored(data, "drops") == 0
    assert "1 put back, 0 had been before" in dlq(data, "replay", "--letter", "1").output
    assert stored(data, "drops") == 1
    rest = dlq(data, "replay", "--all")
    assert rest.exit_code == 3
    assert "1 put back, 1 had been before" in rest.output
    assert "Of 1 nobody noted" in rest.output
    assert (stored(data, "drops"), stored(data, "otlp_spans")) == (1, 1)


def test_without_an_eventlog_it_says_so(tmp_path: Path) -> None:
    none = dlq(tmp_path, "list")
    assert none.exit_code == 1
    assert "there is no eventlog" in none.output
    assert list(tmp_path.iterdir()) == []


def test_brackets_in_a_reason_are_no_markup(tmp_path: Path) -> None:
    log = open_eventlog(Settings(data=tmp_path))
    letter = dead_letter(Record("otlp_spans", 0, 1, 1, b""), "worker", "tool [/x] [red]", DAY_NS)
    log.append({records.DEAD_LETTERS: [letter]})
    log.close()
    assert "tool [/x] [red]" in dlq(tmp_path, "list").output
