"""The queries of docs/tables.md and docs/sql.md run, and find something in what a simulated fleet sent."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from dimwatch.settings import Settings
from dimwatch.store.client import StoreClient
from tests.docs.generated import DOCS

_TABLES = (DOCS / "tables.md").read_text(encoding="utf-8")
_SQL = (DOCS / "sql.md").read_text(encoding="utf-8")
QUERIES = dict(re.findall(r"\n\n([^\n|#]+):\n\n```sql\n(.*?)```", _TABLES, flags=re.DOTALL))
QUESTIONS = dict(
    re.findall(r"^### \d+\. ([^\n]+)\n(?:(?!```|###).)*```sql\n(.*?)```", _SQL, flags=re.DOTALL | re.MULTILINE)
)

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def reader(filled_store: Settings) -> Iterator[StoreClient]:
    """A client without an account."""
    client = StoreClient(filled_store)
    yield client
    client.close()


def test_there_are_as_many_as_the_pages_promise() -> None:
    assert len(QUERIES) == _TABLES.count("```sql") == 10
    assert len(QUESTIONS) == _SQL.count("```sql") == 20
    assert [int(number) for number in re.findall(r"^### (\d+)\.", _SQL, flags=re.MULTILINE)] == list(range(1, 21))


@pytest.mark.parametrize("query", (QUERIES | QUESTIONS).values(), ids=(QUERIES | QUESTIONS).keys())
def test_it_runs_and_finds_something(query: str, reader: StoreClient) -> None:
    answer = reader.text(query, "TabSeparatedWithNames").decode()
    assert len(answer.splitlines()) > 1, answer


def test_every_row_is_seen_once_however_often_it_is_written(reader: StoreClient) -> None:
    """The guarantee of the page: the arrival row and the corrected one of a span are one row."""
    versions = int(reader.text("SELECT count() FROM span_versions", "TabSeparated"))
    seen = int(reader.text("SELECT count() FROM spans", "TabSeparated"))
    distinct = int(reader.text("SELECT uniqExact(trace_id, span_id) FROM span_versions", "TabSeparated"))
    assert versions >= seen == distinct > 0


def test_the_truth_about_the_fleet_is_found(reader: StoreClient) -> None:
    """Question 1 and 3, against what was made to fail."""
    (brownout,) = reader.rows("SELECT provider FROM incidents WHERE kind = 'brownout'")
    assert brownout == ("openai",)
    tools = [
        row[0] for row in reader.rows(QUESTIONS["Which tools fail in silence, and what do they say when they do?"])
    ]
    assert "search_flights" in tools
